"""`aperio doctor` and `plugin why` say what a machine enforces, after it was tried."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.__main__ import main
from aperio_cli.errors.running import SandboxFailed
from aperio_cli.host.sandbox.bubblewrap import Bubblewrap
from aperio_cli.host.sandbox.trying import try_sandbox, unreadable
from tests.sandbox.conftest import ROOT_ONLY, acting

if TYPE_CHECKING:
    from aperio_cli.host.sandbox.interface import Sandbox
    from tests.sandbox.conftest import Stage

pytestmark = pytest.mark.sandbox


def doctor(capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[str, Any]:
    assert main(["doctor", "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["data"]
    return found


def test_doctor_tries_what_it_says(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APERIO_SANDBOX", "auto")
    assert isinstance(sandbox, Bubblewrap)
    found = doctor(capsys)
    levels = {each["limit"]: each["level"] for each in found["limits"]}
    assert found["sandbox"] == "bubblewrap"
    assert levels["isolation"] == levels["tmp"] == levels["egress"] == "kernel"
    expected = "kernel" if "memory" in sandbox.offer.controllers else "polled"
    assert levels["memory"] == expected
    assert found["not_enforced"] == []


def test_doctor_finds_a_sandbox_that_does_not_work(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that forbids namespaces: everything is installed, and fails."""
    assert sandbox.name == "bubblewrap"
    folder = Path(tempfile.mkdtemp(prefix="aperio-stub-", dir="/tmp"))
    try:
        (folder / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2; exit 1\n")
        (folder / "bwrap").chmod(0o755)
        folder.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setenv("APERIO_SANDBOX", "auto")
        found = doctor(capsys, status=1)
    finally:
        shutil.rmtree(folder)
    (finding,) = [each for each in found["findings"] if each["code"] == "sandbox-failed"]
    assert "No permissions" in finding["why"]
    assert {each["level"] for each in found["limits"]} == {"none"}


def test_doctor_finds_a_requirement_that_nothing_meets(
    aperio_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aperio_home.mkdir()
    (aperio_home / "config.toml").write_text('[sandbox]\nrequire = ["memory", "open_files"]\n')
    monkeypatch.setenv("APERIO_SANDBOX", "none")
    found = doctor(capsys, status=1)
    (finding,) = [each for each in found["findings"] if each["code"] == "limit-required"]
    assert finding["why"] == "[sandbox] require names memory"
    monkeypatch.setenv("APERIO_SANDBOX", "auto")
    (aperio_home / "config.toml").write_text('[sandbox]\nrequire = ["open_files"]\n')
    assert doctor(capsys)["findings"] == []


def test_trying_is_the_real_thing(sandbox: Sandbox) -> None:
    assert try_sandbox(sandbox) is None
    assert isinstance(sandbox, Bubblewrap)
    broken = replace(sandbox, tools=replace(sandbox.tools, bwrap="/bin/false"))
    failed = try_sandbox(broken)
    assert isinstance(failed, SandboxFailed)
    assert failed.next


@ROOT_ONLY
def test_what_the_plugins_user_may_not_read_refuses_with_the_remedy(
    stage: Stage, sandbox: Sandbox
) -> None:
    build = stage.build()
    closed = stage.folder / "closed"
    shutil.copytree(build.script.parent, closed)
    closed.chmod(0o700)
    locked = replace(build, script=closed / build.script.name)
    with pytest.raises(SandboxFailed, match="could not read") as caught:
        acting(locked, sandbox).__enter__()
    assert f"chmod -R o+rX {closed}" in caught.value.next[0]
    closed.chmod(0o755)
    with acting(locked, sandbox) as actor:
        assert actor.do("own")["uid"] == sandbox.owner


def test_reading_is_judged_by_modes(tmp_path: Path) -> None:
    open_, closed = tmp_path / "open", tmp_path / "closed"
    open_.write_text("")
    closed.write_text("")
    open_.chmod(0o644)
    closed.chmod(0o600)
    gone = tmp_path / "gone"
    assert unreadable((open_, gone, closed), 61001) == closed
    assert unreadable((open_, gone), 61001) is None
    assert unreadable((closed,), None) is None
    assert unreadable((closed,), closed.stat().st_uid) is None
