"""What becomes of a process group when its host is gone, by the kernel's doing alone."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.process.lifeline import Lifeline
from tests.descriptors import open_descriptors

from .conftest import is_alive, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
# The child looks at no lifeline, and has a child of its own.
CHILD = ("/bin/sh", "-c", "sleep 300 & echo $!; wait")
HOST = f"""
import os, subprocess, time
from aperio_cli.host.process.lifeline import Lifeline
lifeline = Lifeline.make()
child = subprocess.Popen(
    {CHILD!r}, stdout=subprocess.PIPE, pass_fds=(lifeline.plugin_end,), start_new_session=True
)
lifeline.arm(child.pid)
grandchild = int(child.stdout.readline())
copy = os.fork() if {{forks}} else 0
if {{forks}} and copy == 0:
    time.sleep(60)
print(child.pid, grandchild, copy, flush=True)
time.sleep(60)
"""


@pytest.fixture
def child() -> Iterator[tuple[Lifeline, subprocess.Popen[bytes]]]:
    """A lifeline, and a process in a group of its own that has inherited it."""
    lifeline = Lifeline.make()
    started = subprocess.Popen(
        ("/bin/sleep", "300"), pass_fds=(lifeline.plugin_end,), start_new_session=True
    )
    yield lifeline, started
    lifeline.cut()
    started.kill()
    started.wait()


def killed_host(*, forks: bool) -> list[int]:
    """The child, the grandchild and the copy of a host that has just been killed."""
    code = HOST.format(forks=forks)
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout
        pids = [int(word) for word in host.stdout.readline().split()]
        assert all(is_alive(pid) for pid in pids[:2])
        host.kill()
        return pids


def test_the_whole_group_dies_with_a_killed_host() -> None:
    child, grandchild, _ = killed_host(forks=False)

    assert wait_until(lambda: not is_alive(child) and not is_alive(grandchild), within_s=30)


def test_a_forked_copy_of_the_host_keeps_nobody_alive() -> None:
    child, grandchild, copy = killed_host(forks=True)

    try:
        assert wait_until(lambda: not is_alive(child) and not is_alive(grandchild), within_s=30)
        assert is_alive(copy)
    finally:
        os.kill(copy, 9)


def test_letting_go_ends_the_pipe_and_kills_nobody(
    child: tuple[Lifeline, subprocess.Popen[bytes]],
) -> None:
    lifeline, started = child
    lifeline.arm(started.pid)
    watched = os.dup(lifeline.plugin_end)

    lifeline.let_go()

    readable, _, _ = select.select([watched], [], [], 30)
    assert readable
    assert os.read(watched, 1) == b""
    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(timeout=0.2)
    os.close(watched)


def test_cutting_an_armed_lifeline_kills(
    child: tuple[Lifeline, subprocess.Popen[bytes]],
) -> None:
    lifeline, started = child
    lifeline.arm(started.pid)

    lifeline.cut()

    assert started.wait(timeout=30) == -9


def test_cutting_one_that_is_not_armed_kills_nobody(
    child: tuple[Lifeline, subprocess.Popen[bytes]],
) -> None:
    lifeline, started = child

    lifeline.cut()

    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(timeout=0.2)


def test_one_that_was_cut_cannot_be_armed() -> None:
    lifeline = Lifeline.make()
    lifeline.cut()

    with pytest.raises(ValueError, match="file descriptor"):
        lifeline.arm(os.getpgrp())


def test_letting_go_twice_leaves_no_descriptor_and_closes_no_other() -> None:
    before = open_descriptors()
    lifeline = Lifeline.make()
    lifeline.let_go()
    other = os.open(os.devnull, os.O_RDONLY)

    lifeline.let_go()
    lifeline.cut()

    os.fstat(other)
    os.close(other)
    assert not open_descriptors() - before
