"""`aperio plugin may-run`: the launch verdict for other hosts, judged as a start would be."""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.host.sandbox.interface import LIMITS as OURS
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.paths import find_paths
from aperio_cli.store.installed import Store
from tests.builders import go_members, write_artifact
from tests.lifecycle.test_policy_at_start import configure, exception, forget_publishers, on

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lifecycle.cli import Aperio
    from tests.lifecycle.conftest import Workshop

HELLO = "acme/hello-connector"
ASK = ("plugin", "may-run", HELLO, "--json")
LIMITS = sorted(OURS)
REQUIRED = ("[policy]", 'require = "verified"')


def record(aperio: Aperio) -> Path:
    """The receipt of the plugin."""
    [found] = aperio.home.rglob("receipt.json")
    return found


def verdict(aperio: Aperio, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = aperio(*ASK, *words).data
    return found


def test_a_verdict_says_what_may_be_started_and_by_which_proof(installed: Aperio) -> None:
    before = clock.timestamp()
    data = verdict(installed)
    receipt = json.loads(record(installed).read_bytes())
    assert (data["schema"], data["may_run"], data["organization"]) == (
        "aperio.launch-verdict/v1",
        True,
        "local",
    )
    assert data["receipt_sha256"] == hashlib.sha256(record(installed).read_bytes()).hexdigest()
    same = ("id", "version", "kind", "platform", "protocol", "tree_digest", "state_owner", "grant")
    for key in same:
        assert data[key] == receipt[key], key
    assert before <= data["judged_at"] <= clock.timestamp()
    assert (data["until"], data["exceptions"], data["files_checked"]) == (None, [], True)
    assert (data["badge"], data["required"]) == ("local", "signed")
    assert data["signer"]["identity"] == receipt["signer"]["identity"]
    assert data["rule_source"] == str(installed.home / "managed.toml")
    assert (data["enforced"], data["not_enforced"]) == ([], LIMITS)


def test_what_a_verdict_names_starts_the_plugin(installed: Aperio) -> None:
    arguments = verdict(installed)["arguments"]
    assert arguments[0] == json.loads(record(installed).read_bytes())["interpreter"]["executable"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert "plugin" in done.stdout + done.stderr
    assert "can't open" not in done.stderr


def test_a_verdict_on_a_binary_has_its_digest_and_no_interpreter(aperio: Aperio) -> None:
    [*_, binary] = members = go_members()
    artifact = write_artifact(aperio.folder / "dist", members)
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("plugin", "install", artifact)
    [listed] = aperio("plugin", "list", "--json").data["plugins"]
    data = aperio("plugin", "may-run", listed["id"], "--json").data
    assert isinstance(binary.source, bytes)
    assert data["binary_sha256"] == hashlib.sha256(binary.source).hexdigest()
    assert data["interpreter"] is None
    assert data["arguments"] == [str(Path(data["folder"]) / "files" / binary.path)]


def _change_a_file(aperio: Aperio) -> None:
    (record(aperio).parent / "files" / "manifest.yaml").write_text("id: x\n")


def _require_a_limit(aperio: Aperio) -> None:
    configure(aperio, "[sandbox]", 'require = ["memory"]')


def _replace_interpreter(aperio: Aperio) -> None:
    document = json.loads(record(aperio).read_text())
    document["interpreter"]["executable"] = "/nowhere/python3"
    record(aperio).write_text(json.dumps(document))


REFUSED: dict[str, tuple[Callable[[Aperio], object], str, int]] = {
    "no rule for the publisher": (forget_publishers, "publisher-unknown", 3),
    "a verified publisher is required": (
        lambda a: configure(a, *REQUIRED), "publisher-unverified", 3,
    ),
    "an exception has ended": (
        lambda a: configure(a, *REQUIRED, *exception("unverified", until="2020-01-01")),
        "exception-expired",
        3,
    ),
    "a file was changed": (_change_a_file, "files-changed", 3),
    "a required limit": (_require_a_limit, "limit-required", 3),
    "another interpreter": (_replace_interpreter, "interpreter-changed", 6),
    "a damaged record": (lambda a: record(a).write_text("{}"), "receipt-invalid", 3),
    "a configuration that is none": (
        lambda a: (a.home / "config.toml").write_text("[polici]\n"), "configuration-invalid", 2,
    ),
    "not installed": (lambda a: a("plugin", "remove", HELLO), "not-installed", 1),
}  # fmt: skip


@pytest.mark.parametrize("change", REFUSED)
def test_a_verdict_is_refused_with_the_error_of_a_start(installed: Aperio, change: str) -> None:
    deed, code, status = REFUSED[change]
    assert verdict(installed)["may_run"] is True
    deed(installed)
    found = installed.type(*ASK)
    assert found.status == status
    assert found.document["data"] == {}
    assert [error["code"] for error in found.document["errors"]] == [code]
    started = installed.type("plugin", "run", HELLO, "schema", "--json")
    assert started.status == status
    assert started.document["errors"] == found.document["errors"]


def test_a_verdict_is_for_an_organization(installed: Aperio) -> None:
    configure(installed, "[policy.organizations]", 'acme-prod = "verified"')
    assert verdict(installed)["required"] == "signed"
    refused = installed(*ASK, "--org", "acme-prod", status=3)
    assert refused.document["errors"][0]["code"] == "publisher-unverified"


def test_a_verdict_says_which_exceptions_it_takes_and_until_when(
    installed: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = clock.now().date() + timedelta(days=30)
    later = (last + timedelta(days=1)).isoformat()
    configure(
        installed,
        *REQUIRED,
        *exception("unverified", until=later),
        *exception("limit:memory", until=last.isoformat()),
        "[sandbox]",
        'require = ["memory", "open_files"]',
    )
    data = verdict(installed, "--enforces", "open_files")
    assert [each["rule"] for each in data["exceptions"]] == ["unverified", "limit:memory"]
    assert data["until"] == last.isoformat()
    on(later, monkeypatch)
    ended = installed(*ASK, "--enforces", "open_files", status=3)
    assert ended.document["errors"][0]["code"] == "limit-required"


def test_a_required_limit_counts_as_enforced_only_when_the_other_host_claims_it(
    installed: Aperio,
) -> None:
    configure(installed, "[sandbox]", 'require = ["open_files"]')
    installed("plugin", "run", HELLO, "schema")
    refused = installed(*ASK, status=3)
    assert refused.document["errors"][0]["code"] == "limit-required"
    data = verdict(installed, "--enforces", "open_files")
    assert (data["enforced"], "open_files" in data["not_enforced"]) == (["open_files"], False)
    unknown = installed(*ASK, "--enforces", "gravity", status=2)
    assert "gravity" in unknown.document["errors"][0]["what"]


def test_what_a_verdict_hashed_is_the_last_launch_check(installed: Aperio) -> None:
    def last() -> Any:
        [row] = installed("plugin", "list", "--json").data["plugins"]
        return row["last_check"]

    assert last() is None
    verdict(installed)
    assert last()["ok"] is True
    _change_a_file(installed)
    installed(*ASK, status=3)
    assert last()["ok"] is False


def test_no_verdict_on_what_is_just_being_removed(installed: Aperio) -> None:
    store = Store(find_paths({}, home=str(installed.home)))
    receipt = store.get(PluginRef.parse(HELLO))
    with store.exclusively(receipt.id, receipt.version):
        refused = installed(*ASK, status=1)
    assert refused.document["errors"][0]["code"] == "plugin-in-use"
    verdict(installed)


def test_a_verdict_is_about_what_is_installed(aperio: Aperio, workshop: Workshop) -> None:
    for named in (workshop.hello, "https://example.com/x.tar.gz"):
        said = aperio("plugin", "may-run", named, "--json", status=2).document["errors"][0]
        assert "a launch verdict is about what is installed" in said["what"]


def test_people_are_told_the_verdict_in_words(installed: Aperio) -> None:
    said = installed(*ASK[:-1]).out
    lines = {line[:14].strip(): line[14:].strip() for line in said.splitlines()}
    assert lines["may run"] == "yes, for the organization local"
    assert lines["not enforced"] == ", ".join(LIMITS)
