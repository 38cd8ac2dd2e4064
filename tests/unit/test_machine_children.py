from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

import pytest

from aperio_cli.machine import kernel
from aperio_cli.machine.children import ChildFailed, ask_child, run_child
from tests.rows import each_row

DEADLINE_S = 30.0


def ask(program: str, deadline_s: float = DEADLINE_S) -> bytes:
    return ask_child([sys.executable, "-I", "-S", "-c", program], deadline_s)


def test_a_child_gets_nothing_of_our_environment_or_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    answer = ask("import os; print(os.getcwd(), sorted(os.environ))").decode()
    assert answer.startswith("/ ")
    assert "SECRET_TOKEN" not in answer


def test_a_child_answers_on_stdout_alone() -> None:
    assert ask("import sys; print('odd', file=sys.stderr); print('even')") == b"even\n"


def test_an_answer_beyond_its_limit_is_cut() -> None:
    command = [sys.executable, "-I", "-S", "-c", "print('x' * 1_000_000)"]
    assert ask_child(command, DEADLINE_S, limit_bytes=10) == b"x" * 10


def test_a_failed_child_says_its_status_and_its_last_words() -> None:
    with pytest.raises(ChildFailed, match="exit status 3") as caught:
        ask("import sys; sys.stderr.write('no \\x1b[31mroom\\n'); sys.exit(3)")
    assert "room" in caught.value.complaint
    assert "\x1b" not in caught.value.complaint


def test_a_killed_child_says_the_signal() -> None:
    with pytest.raises(ChildFailed, match="killed by signal 9"):
        ask("import os; os.kill(os.getpid(), 9)")


def test_a_late_child_is_ended_with_its_group(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        f"    open({str(note)!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(60)"
    )
    with pytest.raises(ChildFailed, match="not done after"):
        ask(program, 2.0)
    grandchild = int(note.read_text())
    deadline_s = time.monotonic() + DEADLINE_S
    while Path(f"/proc/{grandchild}").exists() and time.monotonic() < deadline_s:
        if Path(f"/proc/{grandchild}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        os.sched_yield()
    else:
        assert not Path(f"/proc/{grandchild}").exists()


def test_output_and_errors_may_share_a_file(tmp_path: Path) -> None:
    output = tmp_path / "output"
    program = "import sys; print('one', flush=True); print('two', file=sys.stderr)"
    status = run_child([sys.executable, "-c", program], tmp_path, {}, output, DEADLINE_S)
    assert (status, output.read_text()) == (0, "one\ntwo\n")


def lacked(_pid: int) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@each_row("has_descriptors", [True, False])
@each_row(("program", "status"), [("", 0), ("import sys; sys.exit(3)", 3), ("input()", 1)])
def test_a_child_ends_the_same_with_and_without_process_descriptors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    status: int,
    *,
    has_descriptors: bool,
) -> None:
    if not has_descriptors:  # as on macOS
        monkeypatch.setattr(kernel, "pidfd_open", lacked)
    command = [sys.executable, "-I", "-S", "-c", program]
    assert run_child(command, tmp_path, {}, tmp_path / "output", DEADLINE_S) == status


@pytest.mark.parametrize("has_descriptors", [True, False])
def test_a_late_child_has_no_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_descriptors: bool
) -> None:
    if not has_descriptors:
        monkeypatch.setattr(kernel, "pidfd_open", lacked)
    command = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
    assert run_child(command, tmp_path, {}, tmp_path / "output", 0.3) is None
