"""The Go SDK's host package in a stock Go server, with plugins that were really installed.

The policy that it asks is a real aperio's. What may not be started is not, and what runs is not
removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.errors.installing import PluginInUse
from aperio_cli.files import tree
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.removing import remove
from tests.builders import Machine, new_machine, rule
from tests.interop.test_go_sdk import (
    NUMBERS,
    PROGRAMS,
    Programs,
    folder,
    go,
    install_numbers,
    programs,
)
from tests.lifecycle.conftest import Workshop, workshop
from tests.lifecycle.plugins import artifact_of, simulating
from tests.process.conftest import is_alive, wait_until
from tests.projects import ROOT
from tests.sharing import linked_once
from tests.simulators import box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.receipt import Receipt

pytestmark = [pytest.mark.go, pytest.mark.timeout(600)]

__all__ = ["folder", "programs", "workshop"]

BIN = Path(sys.executable).parent
PAGE = ROOT / "docs" / "how-to" / "load-plugins-in-a-go-server.md"
_DEADLINE_S = 90


@dataclass
class GoServer:
    """Runs the Go program that loads plugins of one home."""

    program: Path
    machine: Machine
    folder: Path
    path: str = f"{BIN}:/usr/bin:/bin"
    options: dict[str, str] = field(default_factory=dict)

    def command(self, plugin: str, *flags: str, **settings: Any) -> list[str]:
        stated = {
            "home": str(self.machine.paths.home),
            "id": plugin,
            "runtime": str(self.folder),
            "config": json.dumps(settings),
        }
        named = [f"-{name}={value}" for name, value in (stated | self.options).items()]
        return [str(self.program), *named, *flags]

    def environment(self) -> dict[str, str]:
        return {"PATH": self.path, "AWS_SECRET_ACCESS_KEY": "hunter2", "PLUGIN_CLIENT_CERT": ""}

    def run(self, plugin: str, *flags: str, **settings: Any) -> tuple[int, str]:
        done = subprocess.run(
            self.command(plugin, *flags, **settings),
            env=self.environment(),
            capture_output=True,
            timeout=_DEADLINE_S,
            check=False,
            text=True,
        )
        return done.returncode, done.stderr if done.returncode else done.stdout

    def sees(self, plugin: str, *flags: str, **settings: Any) -> Any:
        """What it saw of a plugin that may be started."""
        status, told = self.run(plugin, *flags, **settings)
        assert status == 0, told
        return json.loads(told)

    def refuses(self, plugin: str, *flags: str, **settings: Any) -> str:
        """The error of a start that is refused; nothing was executed."""
        status, told = self.run(plugin, *flags, **settings)
        assert status == 1, told
        assert not list(self.folder.glob("plugin[0-9]*"))
        return told.splitlines()[-1]

    @contextlib.contextmanager
    def running(self, plugin: str) -> Iterator[subprocess.Popen[str]]:
        """A server whose plugin runs; its process id is the first line."""
        process = subprocess.Popen(
            self.command(plugin, "-stay"),
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def supplied(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that has the connector made with the Go SDK; tests copy its home."""
    made = new_machine(tmp_path_factory.mktemp("supplied"))
    install_numbers(made, programs)
    return made


@pytest.fixture
def server(programs: Programs, supplied: Machine, tmp_path: Path, folder: Path) -> GoServer:
    """A Go server beside an operator whose rules admit what the machine has."""
    shutil.copytree(supplied.paths.home, tmp_path / "home", symlinks=True)
    made = GoServer(programs.host, supplied.but(root=tmp_path), folder)
    configure(made)
    return made


@pytest.fixture
def numbers(server: GoServer) -> Receipt:
    """The connector, as it is installed."""
    return server.machine.store.get(PluginRef.parse(NUMBERS))


def configure(server: GoServer, *more: str, stated: str = rule().to_toml()) -> None:
    """Write the operator's configuration."""
    file = server.machine.paths.config_file
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text("\n\n".join([*more, stated]) + "\n")


def link_shown(folder: Path) -> None:
    """Link the server that the page shows."""
    text = PAGE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```go\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    source, program = folder / "server.go", folder / "server"
    source.write_text(shown)
    go(PROGRAMS, "build", "-trimpath", "-ldflags=-s -w", "-o", str(program), str(source))


def test_the_server_that_the_page_shows_syncs(
    server: GoServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program = linked_once(tmp_path_factory, "page-of-servers", link_shown) / "server"

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, server.machine.paths.home, NUMBERS],
            env=server.environment(),
            capture_output=True,
            timeout=_DEADLINE_S,
            check=False,
            text=True,
        )

    done = run()
    assert done.returncode == 0, done.stderr
    assert "number-9 numbers.counted" in done.stderr
    configure(server, stated="")
    done = run()
    assert done.returncode == 1
    assert "publisher-unknown: `acme/numbers` 1.2.3 was not started" in done.stderr


# ── what may be started ───────────────────────────────────────────────────────────────────────────


def test_a_go_server_loads_an_installed_go_plugin(server: GoServer) -> None:
    seen = server.sees(NUMBERS, count=300, mode="environment")
    assert (seen["provider"], seen["ok"], seen["exited"]) == ("NUMBERS", True, True)
    assert seen["event_ids"] == [f"number-{number}" for number in range(300)]
    assert seen["records"][5] == {"number": 5, "text": "<&> \u2028"}
    assert seen["cursors"] == ["100", "200", "300"]
    assert not [line for line in seen["account"] if "hunter2" in line]
    assert not is_alive(int(seen["pid"]))
    assert not list(server.folder.iterdir())


def test_a_go_server_loads_the_installed_box_connector(
    server: GoServer, workshop: Workshop
) -> None:
    (built,) = workshop.box.glob("*.tar.gz")
    artifact = Path(shutil.copy(built, server.machine.root))
    receipt = server.machine.install(server.machine.sign(artifact)).receipt
    with box.BoxSimulator(box.make_events(50)) as simulator:
        seen = server.sees(
            str(receipt.id),
            f"-tokens={simulator.issue_token()}",
            enterprise_id=box.ENTERPRISE_ID,
            base_url=simulator.url,
            created_after="2026-01-01T00:00:00Z",
        )
    assert (seen["provider"], seen["ok"], seen["exited"]) == ("BOX", True, True)
    assert len(seen["event_ids"]) == 50
    assert seen["cursors"]
    assert not is_alive(int(seen["pid"]))
    assert not list(server.folder.iterdir())


def unread(shown: Any, stated: Any, name: str = "") -> Iterator[str]:
    """The keys of a receipt, also inner ones, that a Go server does not read as they are stated."""
    match stated:
        case dict() if isinstance(shown, dict):
            for key, value in stated.items():
                yield from unread(shown.get(key, "missing"), value, f"{name}.{key}")
        case list() if isinstance(shown, list) and len(shown) == len(stated):
            for number, value in enumerate(stated):
                yield from unread(shown[number], value, f"{name}[{number}]")
        case _ if shown != stated:
            yield name


def test_a_go_server_lists_what_is_installed_with_every_key_of_its_record(
    server: GoServer, numbers: Receipt
) -> None:
    damaged = server.machine.store.folder(numbers.id, "9.9.9")
    damaged.mkdir()
    (damaged / "receipt.json").write_text("{}")
    first, second = server.sees("", "-list")
    stated = json.loads((numbers.folder / "receipt.json").read_bytes())
    assert (first["ID"], first["Version"], first["Current"]) == (NUMBERS, "1.2.3", True)
    assert list(unread(first["Receipt"], stated)) == []
    assert list(unread(first["Receipt"], stated | {"more": 1, "badge": "x"})) == [".badge", ".more"]
    assert (second["Version"], second["Receipt"], second["Current"]) == ("9.9.9", None, False)


# ── what may not ──────────────────────────────────────────────────────────────────────────────────


def required_until(day: str) -> tuple[str, ...]:
    return (
        '[policy]\nrequire = "verified"',
        f'[[exceptions]]\nplugin = "{NUMBERS}"\nrule = "unverified"\nuntil = {day}\nreason = "r"',
    )


def _day(days: int) -> str:
    return (clock.now().date() + timedelta(days=days)).isoformat()


POLICIES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "the same rules": ((), rule().to_toml(), ""),
    "the rule is gone": ((), "", "publisher-unknown"),
    "another signer": ((), rule(identity="bob@local").to_toml(), "signature-identity-mismatch"),
    "a verified publisher is required": (
        ('[policy]\nrequire = "verified"',), rule().to_toml(), "publisher-unverified",
    ),
    "with an exception": (required_until(_day(1)), rule().to_toml(), ""),
    "that has ended": (required_until(_day(-1)), rule().to_toml(), "exception-expired"),
    "a limit is required": (
        ('[sandbox]\nrequire = ["open_files"]',), rule().to_toml(), "limit-required",
    ),
    "no configuration": (("[polici]",), "", "configuration-invalid"),
}  # fmt: skip


def test_a_go_server_starts_what_the_policy_of_that_moment_allows(server: GoServer) -> None:
    for policy, (more, stated, code) in POLICIES.items():
        configure(server, *more, stated=stated)
        if not code:
            assert server.sees(NUMBERS)["provider"] == "NUMBERS", policy
            continue
        told = server.refuses(NUMBERS)
        assert told.endswith(f"({code})"), policy
        assert "; " in told  # what to do about it stands behind


def test_a_go_server_asks_for_the_organization_that_it_starts_for_and_calls_for(
    server: GoServer,
) -> None:
    configure(server, '[policy.organizations]\nprod = "verified"')
    assert server.sees(NUMBERS, "-org=test", "-caller=other")["ok"]
    assert server.refuses(NUMBERS, "-org=prod").endswith("(publisher-unverified)")
    told = server.refuses(NUMBERS, "-caller=prod")
    assert told.startswith("test: ")
    assert told.endswith("(publisher-unverified)")


def test_a_go_server_starts_nothing_without_the_verdict_that_is_meant(server: GoServer) -> None:
    tools = server.machine.root / "tools"
    tools.mkdir()
    server.path = f"{tools}:/usr/bin:/bin"
    told = server.refuses(NUMBERS)
    assert told.endswith("(verdict-missing)")
    assert "install aperio-cli where this server finds it" in told
    for script, code in {
        f'{BIN}/aperio "$@"; exit 3': "verdict-missing",
        f'{BIN}/aperio "$@" | sed \'s/judged_at": "20../judged_at": "2001/\'': "verdict-stale",
        f"exec {BIN}/aperio $(echo \"$@\" | sed 's/--org local/--org other/')": "verdict-mismatch",
        f'exec {BIN}/aperio "$@"': "",
    }.items():
        (tools / "aperio").write_text(f"#!/bin/sh\n{script}\n")
        (tools / "aperio").chmod(0o755)
        if code:
            assert server.refuses(NUMBERS).endswith(f"({code})"), script
    assert server.sees(NUMBERS)["ok"]


@pytest.mark.parametrize("change", ["contents", "mode", "new", "missing", "link", "list"])
def test_a_go_server_refuses_files_that_changed_and_executes_nothing(
    server: GoServer, numbers: Receipt, change: str
) -> None:
    binary = numbers.files / "bin" / "numbers"
    numbers.files.chmod(0o755)
    binary.parent.chmod(0o755)
    mark = server.folder / "executed"
    script = f"#!/bin/sh\ntouch {mark}\n"
    match change:
        case "contents":
            binary.write_text(script)
        case "mode":
            binary.chmod(0o777)
        case "new":
            (numbers.files / "bin" / "more").write_text("x")
        case "missing":
            (numbers.files / "LICENSE").unlink()
        case "link":
            binary.rename(server.machine.root / "moved")
            binary.symlink_to(server.machine.root / "moved")
        case _:
            binary.write_text(script)
            listed = tree.format_tree(tree.list_tree(numbers.files))
            (numbers.folder / "files.sha256").write_bytes(listed)

    told = server.refuses(NUMBERS)

    assert "the files are not as they were installed" in told
    named = {"missing": "LICENSE", "new": "bin/more", "list": "files.sha256"}
    assert named.get(change, "bin/numbers") in told
    assert not mark.exists()


# ── while it runs ─────────────────────────────────────────────────────────────────────────────────


def removes(server: GoServer) -> bool:
    """Whether the plugin can be removed; it is, then."""
    try:
        remove(server.machine.store, PluginRef.parse(NUMBERS))
    except PluginInUse:
        return False
    return True


@pytest.mark.parametrize("end", ["stop", "kill the server", "kill the plugin"])
def test_what_a_go_server_runs_is_not_removed_until_it_has_ended(
    server: GoServer, numbers: Receipt, end: str
) -> None:
    with server.running(NUMBERS) as process:
        assert process.stdout
        assert process.stdin
        pid = int(process.stdout.readline())
        assert not removes(server)
        assert numbers.folder.is_dir()
        match end:
            case "stop":
                process.stdin.write("\n")
                process.stdin.flush()
                assert json.loads(process.stdout.readline())["exited"] is True
            case "kill the server":
                process.kill()
                process.wait(30)
            case _:
                os.kill(pid, 9)
        assert wait_until(lambda: removes(server), within_s=30)
        assert wait_until(lambda: not is_alive(pid), within_s=30)
    assert not numbers.folder.exists()


def test_a_go_server_starts_nothing_that_is_just_being_removed(
    server: GoServer, numbers: Receipt
) -> None:
    with server.machine.store.exclusively(numbers.id, numbers.version):
        assert server.refuses(NUMBERS).endswith("(plugin-in-use)")
    assert server.sees(NUMBERS)["ok"]


# ── tokens and diagnostics ────────────────────────────────────────────────────────────────────────


def test_a_go_server_goes_on_from_the_last_checkpoint_with_a_new_token(server: GoServer) -> None:
    artifact = artifact_of(server.machine.root / "dist", simulating("expiring"))
    plugin = str(server.machine.install(server.machine.sign(artifact)).receipt.id)
    seen = server.sees(plugin, "-tokens=token-1,token-2,token-3")
    assert seen["event_ids"] == ["e0", "e1", "e2", "e2", "e3", "e4", "e4", "e5"]
    assert (seen["cursors"], seen["tokens"]) == (["2", "4", "6"], 3)
    told = server.refuses(plugin, "-tokens=token-1,token-2", stuck=True)
    assert told.startswith("sync after [2]: ")
    assert "code = Unauthenticated" in told


@pytest.mark.parametrize("tokens", ["", "one,two"])
def test_a_go_server_gives_up_when_another_token_brings_nothing(
    server: GoServer, tokens: str
) -> None:
    told = server.refuses(NUMBERS, f"-tokens={tokens}", mode="unauthenticated", count=200)
    assert told.startswith("sync after [100 200]: ")
    assert told.endswith("; 0s says: the token has expired")


def test_a_go_server_reads_what_a_plugin_says_about_a_failed_call(server: GoServer) -> None:
    told = server.refuses(NUMBERS, mode="rate-limited", count=1)
    assert "code = ResourceExhausted" in told
    assert told.endswith("; 30s says: too many requests")
