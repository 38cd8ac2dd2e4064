"""One host on a home: what is said of one that is not there, and of one that is and is silent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from aperio_cli.paths import find_paths
from aperio_cli.serving.single import RunningHost, not_running

SAID = "UNAVAILABLE: Socket closed"


def found(pid: int) -> RunningHost:
    return RunningHost(pid, Path("/s"), "0.1.0", "2026-01-02T03:04:05Z")


def test_a_host_that_is_there_and_silent_is_not_said_to_have_ended(tmp_path: Path) -> None:
    """It was stopped, hangs, or has as many callers as it takes."""
    paths = find_paths({}, home=str(tmp_path))
    error = not_running(paths, found(os.getpid()), SAID)
    assert error.what == f"the host of `{tmp_path}` does not answer"
    assert error.why.splitlines()[1] == SAID
    assert error.next[1].startswith(f"if it stays so: end it by `kill {os.getpid()}`")


def test_a_host_that_has_ended_is_said_to_have_and_how_to_start_one(tmp_path: Path) -> None:
    paths = find_paths({}, home=str(tmp_path))
    beyond = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    error = not_running(paths, found(beyond), SAID)
    assert error.why == f"process {beyond}, which ran since 2026-01-02T03:04:05Z, has ended"
    assert error.next[0] == "`aperio host run`"
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # its number is still its own
        error = not_running(paths, found(child.pid), SAID)
    assert error.why == f"process {child.pid}, which ran since 2026-01-02T03:04:05Z, has ended"
    assert not_running(paths, steps=["read what it kept"]).next[-1] == "read what it kept"
    assert not_running(paths).why == f"{tmp_path}/host/host.json is not there"
