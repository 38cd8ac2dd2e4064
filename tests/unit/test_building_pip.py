from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building import pip
from aperio_cli.building.pip import PipRun, run_pip
from aperio_cli.errors import NOT_DONE, REFUSED, UNAVAILABLE
from aperio_cli.errors.building import (
    BuildDependencyFailed,
    BuildDependencyUnavailable,
    DependencyDigestMismatch,
)
from aperio_cli.errors.files import DiskFull, FileSizeLimited, NetworkUnavailable
from tests.projects import write

if TYPE_CHECKING:
    from collections.abc import Callable

DIGESTS = ("a" * 64, "b" * 64)
MISMATCH = f"""\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
    one==1.0 from http://192.0.2.1/one-1.0.whl (from -r /tmp/requirements.txt (line 1)):
        Expected sha256 {DIGESTS[0]}
        Expected     or {"c" * 64}
             Got        {DIGESTS[1]}
"""
NOT_FOUND = """\
ERROR: Could not find a version that satisfies the requirement one==1.0 (from versions: none)
ERROR: No matching distribution found for one==1.0
"""
UNREACHABLE = "WARNING: Retrying (Retry(total=0)) after connection broken\n" + NOT_FOUND


@pytest.fixture
def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in the place of this interpreter, and so of pip."""

    def install(script: str) -> None:
        program = write(
            tmp_path, "fake-python", f"#!/bin/sh\ngiven=$PATH\nPATH={os.defpath}\n{script}\n"
        )
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return install


def a_run(tmp_path: Path, **environment: str) -> PipRun:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return PipRun(["install"], scratch, environment, tmp_path / "project", "cp311 on linux/amd64")


def failing_with(output: str) -> str:
    return f"cat <<'END'\n{output}\nEND\nexit 1"


def test_pip_gets_an_environment_built_from_nothing(
    tmp_path: Path, fake_pip: Callable[[str], None]
) -> None:
    fake_pip("env > environment; pwd >> environment; echo searched=$given >> environment")
    run = a_run(
        tmp_path,
        PIP_NO_INDEX="1",
        PIP_TARGET="/elsewhere",
        PYTHONPATH="/elsewhere",
        GITHUB_TOKEN="made-up",
        https_proxy="http://127.0.0.1:9",
    )
    run_pip(run)
    seen = (run.scratch / "environment").read_text()
    assert "PIP_NO_INDEX=1" in seen
    assert "https_proxy=http://127.0.0.1:9" in seen
    assert f"HOME={run.scratch}\n" in seen
    assert f"PIP_CONFIG_FILE={os.devnull}\n" in seen
    assert f"searched={os.devnull}\n" in seen
    for name in ("PIP_TARGET", "PYTHONPATH", "GITHUB_TOKEN", "APERIO_HOME"):
        assert name not in seen


def test_another_digest_is_a_refusal_with_both_digests(
    tmp_path: Path, fake_pip: Callable[[str], None]
) -> None:
    fake_pip(failing_with(MISMATCH))
    with pytest.raises(DependencyDigestMismatch) as caught:
        run_pip(a_run(tmp_path))
    assert caught.value.exit_status == REFUSED
    assert caught.value.what.startswith("one==1.0 is not the file that requirements.lock names")
    assert DIGESTS[0] in caught.value.why
    assert DIGESTS[1] in caught.value.why
    assert "192.0.2.1" not in caught.value.what + caught.value.why


def test_no_wheel_names_package_interpreter_and_platform(
    tmp_path: Path, fake_pip: Callable[[str], None]
) -> None:
    fake_pip(failing_with(NOT_FOUND))
    with pytest.raises(BuildDependencyUnavailable) as caught:
        run_pip(a_run(tmp_path, PIP_NO_INDEX="1"))
    assert caught.value.exit_status == NOT_DONE
    assert caught.value.what.startswith("one==1.0 has no wheel for cp311 on linux/amd64")
    assert "PIP_NO_INDEX is set" in caught.value.why


def test_an_index_that_does_not_answer_is_told_from_a_missing_wheel(
    tmp_path: Path, fake_pip: Callable[[str], None]
) -> None:
    fake_pip(failing_with(UNREACHABLE))
    with pytest.raises(NetworkUnavailable) as caught:
        run_pip(a_run(tmp_path))
    assert caught.value.exit_status == UNAVAILABLE


@pytest.mark.parametrize(("stated", "given"), [("0", "1"), (" 0", "1"), ("4", "4"), ("", "")])
def test_an_index_is_tried_twice_at_least(
    tmp_path: Path, fake_pip: Callable[[str], None], stated: str, given: str
) -> None:
    """Of an index that it tried once pip says nothing but that it has no such package."""
    fake_pip("env > environment")
    run = a_run(tmp_path, PIP_RETRIES=stated)
    run_pip(run)
    assert f"PIP_RETRIES={given}\n" in (run.scratch / "environment").read_text()


def test_a_full_disk_is_told_as_one(tmp_path: Path, fake_pip: Callable[[str], None]) -> None:
    fake_pip(failing_with("ERROR: Could not install: [Errno 28] No space left on device"))
    with pytest.raises(DiskFull) as caught:
        run_pip(a_run(tmp_path))
    assert caught.value.code == "disk-full"


def test_a_file_that_may_not_become_that_long_is_told_as_one(
    tmp_path: Path, fake_pip: Callable[[str], None]
) -> None:
    fake_pip(failing_with("ERROR: Could not install: [Errno 27] File too large"))
    with pytest.raises(FileSizeLimited, match="a file would become longer than it may"):
        run_pip(a_run(tmp_path))


def test_another_failure_shows_the_last_lines_of_pip(
    tmp_path: Path, fake_pip: Callable[[str], None]
) -> None:
    fake_pip("seq 1000; echo the reason >&2; exit 3")
    with pytest.raises(BuildDependencyFailed) as caught:
        run_pip(a_run(tmp_path))
    assert caught.value.why.endswith("1000\nthe reason")
    assert "\n980\n" not in caught.value.why


def test_a_hanging_pip_is_ended_with_its_children_at_the_deadline(
    tmp_path: Path, fake_pip: Callable[[str], None]
) -> None:
    fake_pip("sleep 60 & echo $! > child; wait")
    run = a_run(tmp_path)
    started = time.monotonic()
    with pytest.raises(BuildDependencyFailed, match="could not be installed"):
        run_pip(run, deadline_s=3)  # in which its child has begun, on a busy machine too
    assert time.monotonic() - started < 30
    child = int((run.scratch / "child").read_text())
    wait_until_gone(child)


def test_an_interrupted_pip_is_ended_with_its_children(
    tmp_path: Path, fake_pip: Callable[[str], None]
) -> None:
    fake_pip("sleep 60 & echo $! > child; kill -INT $PPID; wait")
    run = a_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_pip(run)
    wait_until_gone(int((run.scratch / "child").read_text()))


def wait_until_gone(process: int, deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.01)
    pytest.fail("a child of pip was left running")


def test_passed_on_variables_hold_no_way_to_change_what_is_installed() -> None:
    changing = {"PIP_TARGET", "PIP_NO_BINARY", "PIP_REQUIREMENT", "PIP_CONSTRAINT", "PIP_PREFIX"}
    assert changing.isdisjoint(pip.PASSED_ON)
