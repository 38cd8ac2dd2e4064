"""The instance itself: closed off while it runs, gone when it stopped, however it was stopped."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.process.conftest import processes_below, wait_until
from tests.sigstack import layout, stack, tools
from tests.sigstack.conftest import REAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sigstack.stack import Stack

HERE = Path(__file__).resolve().parent
LISTENING = "0A"
KILLED_PARENT = """
import pathlib, sys, time
from tests.sigstack import stack
with stack.running(pathlib.Path(sys.argv[1])):
    print("running", flush=True)
    time.sleep(60)
"""


def marked(test: Callable[..., None]) -> Callable[..., None]:
    """A test that needs the real services."""
    for mark in REAL:
        test = mark(test)
    return test


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, real_stack: Stack) -> Iterator[Path]:
    """An empty folder for an instance of the test's own, where one can run at all."""
    assert real_stack.process_id
    folder = tmp_path / "own"
    folder.mkdir()
    yield folder
    assert wait_until(lambda: not processes_below(folder), within_s=30)


# ── while it runs ─────────────────────────────────────────────────────────────────────────────────


@marked
def test_services_are_in_a_network_of_their_own(real_stack: Stack) -> None:
    own, theirs = (Path(f"/proc/{pid}/ns/net") for pid in ("self", real_stack.process_id))
    assert own.readlink() != theirs.readlink()
    devices = real_stack.run(["cat", "/proc/net/dev"], {}).stdout.splitlines()[2:]
    assert [line.partition(":")[0].strip() for line in devices] == ["lo"]


@marked
def test_every_service_listens_where_the_plan_says(real_stack: Stack) -> None:
    tables = (real_stack.run(["cat", f"/proc/net/{name}"], {}).stdout for name in ("tcp", "tcp6"))
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    ports = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTENING}
    assert {service.port for service in layout.SERVICES} <= ports


@marked
def test_private_keys_are_their_owners_only(real_stack: Stack) -> None:
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in real_stack.folder.glob("*.pem")
        if "PRIVATE KEY" in path.read_text(encoding="ascii")
    }
    assert modes == dict.fromkeys(modes, 0o600)
    assert set(modes) == {"certificates.pem", "timestamps.pem", "log.pem", "certificate_log.pem"}


@marked
def test_command_that_hangs_is_ended(
    real_stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stack, "RUN_TIMEOUT_S", 0.2)
    with pytest.raises(subprocess.TimeoutExpired):
        real_stack.run(["sleep", "60"], {"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    assert wait_until(lambda: not processes_below(tmp_path), within_s=30)


# ── when it stops ─────────────────────────────────────────────────────────────────────────────────


@marked
def test_nothing_is_left_when_the_block_ends(folder: Path) -> None:
    with stack.running(folder):
        assert len(processes_below(folder)) == len(layout.SERVICES)
    assert processes_below(folder) == []


@marked
def test_nothing_is_left_when_the_block_fails(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), stack.running(folder):
        raise KeyboardInterrupt
    assert processes_below(folder) == []


@marked
def test_nothing_is_left_when_whoever_started_it_is_killed(folder: Path) -> None:
    argv = [sys.executable, "-c", KILLED_PARENT, str(folder)]
    with subprocess.Popen(argv, cwd=tools.ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"running\n"
        assert processes_below(folder)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
    assert wait_until(lambda: not processes_below(folder), within_s=stack.STOP_TIMEOUT_S)


@marked
def test_start_fails_with_the_services_log_when_one_of_them_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tools.program
    monkeypatch.setattr(
        tools, "program", lambda name: program("cosign" if name == "fulcio" else name)
    )
    with pytest.raises(stack.NotStarted) as caught, stack.running(folder):
        pytest.fail("it started all the same")
    assert str(caught.value).startswith("fulcio ended with status 1")
    assert 'unknown command "serve"' in str(caught.value)
    assert processes_below(folder) == []


# ── its programs ──────────────────────────────────────────────────────────────────────────────────


@marked
def test_program_is_built_once(real_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert real_stack.process_id
    monkeypatch.setattr(tools, "BUILD_TIMEOUT_S", 0.0)
    assert tools.program("fulcio").is_file()


def test_program_is_not_to_be_had_without_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(tools.NotBuilt, match="Go is not installed"):
        tools.program("fulcio")


def test_every_program_has_a_module_with_its_sums() -> None:
    modules = {path.parent.name for path in (HERE / "go").glob("*/go.mod")}
    assert modules == {*tools.SERVICES, tools.COSIGN}
    assert modules == {path.parent.name for path in (HERE / "go").glob("*/go.sum")}


def test_readme_states_the_versions_that_are_built() -> None:
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| `(\S+)` \| (v\S+) \|", readme, re.MULTILINE)
    assert {name for name, _, _ in rows} == {*tools.SERVICES, tools.COSIGN}
    for name, module, version in rows:
        pinned = (HERE / "go" / name / "go.mod").read_text(encoding="utf-8")
        assert f"\t{module} {version}" in pinned
