"""The policy is asked before every start, as it is on that day: nothing is started against it."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.config import load_config
from aperio_cli.errors.trust import PublisherUnknown
from aperio_cli.host.calls.envelopes import lines_of
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.calls.sync import SyncSummary
from aperio_cli.host.launch import LaunchOptions, launch
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.paths import Paths, find_paths, runtime_base
from aperio_cli.running import Collaborators, Listener, clear_target, find_target
from aperio_cli.running.operations import Answered, RunRequest, run_operation
from aperio_cli.store.installed import Store
from tests.lifecycle.cli import ROOT, SDK, Aperio
from tests.lifecycle.hello_api import KEY
from tests.lifecycle.plugins import artifact_of, sdk_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.verifying import Cleared
    from tests.lifecycle.conftest import Workshop
    from tests.lifecycle.hello_api import HelloApi

HELLO = "acme/hello-connector"
STUB = "acme/box-connector"
STARTS = {
    "sync": ["plugin", "run", HELLO],
    "schema": ["plugin", "run", HELLO, "schema"],
    "test": ["plugin", "run", HELLO, "test"],
    "connect": ["plugin", "run", HELLO, "connect"],
    "with its version": ["plugin", "run", f"{HELLO}@0.1.0", "schema"],
    "acceptance": ["plugin", "test", HELLO],
}
"""Every way to start an installed plugin."""


def configure(aperio: Aperio, *lines: str) -> None:
    """Add to the operator's configuration."""
    with (aperio.home / "config.toml").open("a") as config:
        config.write("\n".join([*lines, ""]))


def forget_publishers(aperio: Aperio) -> None:
    (aperio.home / "managed.toml").unlink()


def exception(rule: str, plugin: str = HELLO, until: str = "2030-01-01") -> Iterable[str]:
    """An `[[exceptions]]` entry."""
    return (
        "[[exceptions]]",
        f'plugin = "{plugin}"',
        f'rule = "{rule}"',
        f"until = {until}",
        'reason = "audit pending"',
    )


def destination(aperio: Aperio) -> Path:
    """An artifact of `STUB`, unsigned."""
    code, stated = sdk_program("destination"), {"kind": "destination", "provider": "STUB"}
    return artifact_of(aperio.folder / "dist", code, **stated)


def on(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be another day."""
    moment = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: moment)


def test_no_start_without_a_rule_for_the_publisher(installed: Aperio) -> None:
    forget_publishers(installed)
    for start in STARTS.values():
        told = installed.refuses(*start, code="publisher-unknown", status=3)
        assert told.what.startswith(f"`{HELLO}` 0.1.0 was not started")
        assert told.next[0].startswith("`aperio trust publisher add acme --from-bundle ")


def test_no_start_when_the_rule_names_somebody_else_now(installed: Aperio) -> None:
    rules = installed.home / "managed.toml"
    rules.write_text(rules.read_text().replace("alice@local", "bob@local"))
    for start in STARTS.values():
        installed.refuses(*start, code="signature-identity-mismatch", status=3)


def test_no_start_when_a_verified_publisher_is_required_now(installed: Aperio) -> None:
    configure(installed, "[policy]", 'require = "verified"')
    for start in STARTS.values():
        installed.refuses(*start, code="publisher-unverified", status=3)


def test_no_start_without_provenance_that_is_demanded_now(aperio: Aperio) -> None:
    artifact = destination(aperio)
    aperio("plugin", "sign", artifact, "--trust", "local")
    artifact.with_name(artifact.name + ".intoto.jsonl").unlink(missing_ok=True)
    aperio("plugin", "install", artifact)
    configure(aperio, "[policy]", "require_provenance = true")
    aperio.refuses("plugin", "run", STUB, "capabilities", code="provenance-missing", status=3)


def test_an_organization_that_requires_verified_publishers_starts_no_other(
    installed: Aperio,
) -> None:
    configure(installed, "[policy.organizations]", 'acme-prod = "verified"')
    run = ["plugin", "run", HELLO, "schema"]
    told = installed.refuses(*run, "--org", "acme-prod", code="publisher-unverified", status=3)
    assert "acme-prod" in told.why
    assert "hello.login" in installed(*run, "--org", "acme-test").out
    assert "hello.login" in installed(*run).out


@pytest.mark.parametrize("operation", [["run"], ["test"]])
def test_a_folder_does_not_run_where_publishers_have_to_be_verified(
    aperio: Aperio, workshop: Workshop, operation: list[str]
) -> None:
    configure(aperio, "[policy]", 'require = "verified"')
    told = aperio.refuses(
        "plugin", *operation, workshop.hello, code="publisher-unverified", status=3
    )
    assert "folder under development" in told.what


def test_a_folder_does_not_run_for_an_organization_that_requires_verified_publishers(
    aperio: Aperio, workshop: Workshop
) -> None:
    configure(aperio, "[policy.organizations]", 'acme-prod = "verified"')
    run = ["plugin", "run", workshop.hello, "schema"]
    aperio.refuses(*run, "--org", "acme-prod", code="publisher-unverified", status=3)
    assert "hello.login" in aperio(*run).out


def test_an_exception_starts_what_is_not_verified_until_its_last_day(
    installed: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = clock.now().date()
    until = today.replace(month=12, day=31).isoformat()
    configure(installed, "[policy]", 'require = "verified"', *exception("unverified", until=until))
    run = ["plugin", "run", HELLO, "schema"]
    assert "hello.login" in installed(*run).out
    on(f"{today.year + 1}-01-01", monkeypatch)
    told = installed.refuses(*run, code="exception-expired", status=3)
    assert "audit pending" in told.why


def test_an_exception_of_the_configuration_installs_and_starts_what_is_unsigned(
    aperio: Aperio,
) -> None:
    artifact = destination(aperio)
    aperio.refuses("plugin", "install", artifact, code="signature-missing", status=3)
    until = clock.now().date().replace(month=12, day=31).isoformat()
    configure(aperio, *exception("unsigned", STUB, until))
    aperio("plugin", "install", artifact)
    assert f"unsigned until {until}" in aperio("plugin", "list").out
    run = ["plugin", "run", STUB, "capabilities"]
    aperio(*run)
    (aperio.home / "config.toml").unlink()
    aperio.refuses(*run, code="signature-missing", status=3)


# ── required limits ───────────────────────────────────────────────────────────────────────────────


def test_a_limit_that_is_required_refuses_every_start(installed: Aperio) -> None:
    configure(installed, "[sandbox]", 'require = ["memory"]')
    for start in STARTS.values():
        assert "limit-required" in installed(*start, status=3).err


def test_a_limit_that_is_required_refuses_to_try_a_folder(aperio: Aperio, hello: Path) -> None:
    configure(aperio, "[sandbox]", 'require = ["memory"]')
    done = aperio("plugin", "test", f"./{hello.name}", status=3)
    assert "limit-required" in done.err


def test_an_exception_from_a_required_limit_starts_one_plugin_and_is_told(
    installed: Aperio,
) -> None:
    configure(installed, "[sandbox]", 'require = ["memory", "cpu"]')
    run = ["plugin", "run", HELLO, "schema"]
    told = installed.refuses(*run, code="limit-required", status=3, noted=True)
    assert told.next[-1].startswith(
        f"for a time: `aperio trust exception add {HELLO} --rule limit:memory"
    )
    until = clock.now().date().replace(month=12, day=31).isoformat()
    configure(installed, *exception("limit:memory", until=until))
    told = installed.refuses(*run, code="limit-required", status=3, noted=True)
    assert told.why == "[sandbox] require names cpu"
    configure(installed, *exception("limit:cpu", until=until))
    done = installed(*run, "--quiet")
    said = f"required limit `memory` is not enforced, by an exception until {until}"
    assert done.err.count(said) == 1
    assert installed("plugin", "test", HELLO, "--quiet").err.count(said) == 1
    assert "audit pending" in done.err


def test_an_exception_from_a_required_limit_is_not_for_a_folder(
    aperio: Aperio, hello: Path
) -> None:
    until = clock.now().date().replace(month=12, day=31).isoformat()
    configure(aperio, "[sandbox]", 'require = ["memory"]', *exception("limit:memory", until=until))
    done = aperio("plugin", "run", f"./{hello.name}", "schema", status=3)
    assert "limit-required" in done.err
    assert "exception add" not in done.err


# ── run, test and why ask the same ────────────────────────────────────────────────────────────────


def receipt_of(aperio: Aperio) -> dict[str, Any]:
    (path,) = (aperio.home / "plugins").rglob("receipt.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def change_receipt(aperio: Aperio, **changes: Any) -> None:
    document = receipt_of(aperio) | changes
    (path,) = (aperio.home / "plugins").rglob("receipt.json")
    path.write_text(json.dumps(document))


def remove_the_rule(aperio: Aperio) -> None:
    forget_publishers(aperio)


def end_the_exception(aperio: Aperio) -> None:
    ended = exception("unverified", until="2026-01-01")
    configure(aperio, "[policy]", 'require = "verified"', *ended)


def require_a_limit(aperio: Aperio) -> None:
    configure(aperio, "[sandbox]", 'require = ["memory"]')


def lose_the_interpreter(aperio: Aperio) -> None:
    gone = {"executable": str(aperio.folder / "python3.11")}
    change_receipt(aperio, interpreter=receipt_of(aperio)["interpreter"] | gone)


def move_to_another_platform(aperio: Aperio) -> None:
    change_receipt(aperio, platform="darwin/arm64")


def speak_another_interface(aperio: Aperio) -> None:
    manifest = receipt_of(aperio)["manifest"]
    change_receipt(aperio, protocol="2.0", manifest=manifest | {"protocol": "2.0"})


HINDRANCES: list[tuple[Callable[[Aperio], None], str, int]] = [
    (remove_the_rule, "publisher-unknown", 3),
    (end_the_exception, "exception-expired", 3),
    (require_a_limit, "limit-required", 3),
    (lose_the_interpreter, "interpreter-changed", 6),
    (move_to_another_platform, "platform-incompatible", 6),
    (speak_another_interface, "protocol-incompatible", 6),
]


@pytest.mark.parametrize(
    ("hinder", "code", "status"), HINDRANCES, ids=[row[1] for row in HINDRANCES]
)
def test_run_test_and_why_give_one_answer(
    installed: Aperio, hinder: Callable[[Aperio], None], code: str, status: int
) -> None:
    before = installed("plugin", "why", HELLO, "--json")
    assert (before.data["may_run"], before.data["refusal"]) == (True, None)
    hinder(installed)

    for start in (["run", HELLO, "schema"], ["test", HELLO]):
        told = installed.refuses("plugin", *start, code=code, status=status)
        assert told.what.startswith(f"`{HELLO}` 0.1.0 was not started")
    why = installed("plugin", "why", HELLO, "--json", status=status)
    assert (why.data["may_run"], why.data["refusal"]["code"]) == (False, code)
    assert why.data["refusal"]["what"].startswith(f"`{HELLO}` 0.1.0 would not be started")
    assert f"NO: {code}" in installed("plugin", "why", HELLO, status=status).out


def test_a_python_caller_cannot_start_what_the_policy_does_not_allow(installed: Aperio) -> None:
    """A receipt is not enough, and there is no leave without a rule."""
    paths = find_paths({}, home=str(installed.home))
    store = Store(paths)
    receipt = store.get(PluginRef.parse(HELLO))
    options = LaunchOptions(runtime_base(os.environ), store=store)

    async def start(cleared: Any) -> str:
        async with launch(cleared, options, lambda _record: None) as plugin:
            return str((await plugin.connector.schema(Invocation())).provider)

    def cleared() -> Cleared:
        return clear_target(collaborators_of(paths), receipt)

    with pytest.raises(TypeError, match="a Receipt is not launched"):
        asyncio.run(start(receipt))
    once = cleared()
    assert asyncio.run(start(once)) == "HELLO"
    with pytest.raises(ValueError, match="one launch"):
        asyncio.run(start(once))
    forget_publishers(installed)
    with pytest.raises(PublisherUnknown):
        cleared()


def collaborators_of(paths: Paths) -> Collaborators:
    """What running works with, as somebody has it who is no command."""
    return Collaborators(
        store=Store(paths),
        paths=paths,
        config=lambda: load_config(paths),
        policy=lambda: load_config(paths).policy,
        platform=Platform.of_machine(platform.system(), platform.machine()),
        environment=os.environ,
    )


def test_operations_run_on_a_loop_of_the_callers_own(
    installed: Aperio, hello_api: HelloApi
) -> None:
    settings = {"base_url": hello_api.url, "api_key": KEY}
    collaborators = collaborators_of(find_paths({}, home=str(installed.home)))
    logs: list[LogRecord] = []
    lines: list[bytes] = []

    async def accept(batch: Sequence[Outbound]) -> None:
        lines.extend(lines_of(batch).splitlines(keepends=True))

    async def main() -> tuple[object, ...]:
        target = find_target(collaborators, HELLO)
        listener = Listener(logs.append)
        leave = [clear_target(collaborators, target) for _ in range(2)]
        asked = RunRequest("schema"), RunRequest(settings=settings, accept=accept)
        return tuple(
            await asyncio.gather(
                *(
                    run_operation(collaborators, cleared, request, listener)
                    for cleared, request in zip(leave, asked, strict=True)
                )
            )
        )

    schema, summary = asyncio.run(main())
    assert isinstance(schema, Answered)
    assert schema.message.provider == "HELLO"
    assert isinstance(summary, SyncSummary)
    assert summary.events == len(lines) > 0
    assert [r.message for r in logs if r.message.startswith("not enforced")]


def test_an_operation_without_what_it_needs_starts_nothing(installed: Aperio) -> None:
    collaborators = collaborators_of(find_paths({}, home=str(installed.home)))
    logs: list[LogRecord] = []
    cleared = clear_target(collaborators, find_target(collaborators, HELLO))
    with pytest.raises(ValueError, match="accepts its events"):
        asyncio.run(run_operation(collaborators, cleared, RunRequest(), Listener(logs.append)))
    assert not logs
    assert cleared.spend() is cleared.target


# ── every start ───────────────────────────────────────────────────────────────────────────────────


def test_a_start_of_an_installed_plugin_imports_no_sigstore(installed: Aperio) -> None:
    code = (
        "import sys; from aperio_cli.__main__ import main; status = main(sys.argv[1:]);"
        "found = [m for m in ('sigstore', 'cryptography', 'httpx') if m in sys.modules];"
        "sys.exit(repr(found) if found else status)"
    )
    launched = subprocess.run(
        [sys.executable, "-c", code, "plugin", "run", HELLO, "schema"],
        cwd=installed.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SDK)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr
    assert "hello.login" in launched.stdout


# ── what `list` shows ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("option", [[], ["--check"]])
def test_list_shows_exceptions_of_the_configuration(installed: Aperio, option: list[str]) -> None:
    until = (clock.now().date() + timedelta(days=30)).isoformat()
    configure(installed, *exception("limit:memory", until=until))
    (row,) = installed("plugin", "list", "--json", *option).data["plugins"]
    assert [(e["rule"], e["until"]) for e in row["exceptions"]] == [("limit:memory", until)]
    assert f"limit:memory until {until}" in installed("plugin", "list", *option).out


def test_list_shows_no_exception_that_has_ended(installed: Aperio) -> None:
    configure(installed, *exception("unverified", until="2026-01-01"))
    (row,) = installed("plugin", "list", "--json").data["plugins"]
    assert row["exceptions"] == []


def test_list_needs_no_configuration_that_can_be_read(installed: Aperio) -> None:
    configure(installed, "[[publishers", "nonsense")
    assert f"{HELLO}  0.1.0" in installed("plugin", "list").out
    checked = installed("plugin", "list", "--check", status=3)  # as long as it is so, nothing may
    assert "NO: configuration-invalid" in checked.out
