"""Starting a process beside everything else that a host does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.host.process import spawning
from aperio_cli.host.process.spawning import Process, spawn
from aperio_cli.host.sandbox.interface import Command, Confinement
from aperio_cli.host.sandbox.unconfined import Unconfined, Unheld

from .conftest import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

WITHIN_S = 10.0
SLEEPER = Command(
    (sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"), {}, Path("/"), 64
)


class Slow:
    """A sandbox that takes its time: it is made once `meet` returns."""

    name = "slow"
    owner = None

    def __init__(self, meet: Callable[[], object]) -> None:
        self._meet = meet
        self.is_begun = threading.Event()
        self.made: list[Unheld] = []

    def start(self, command: Command, wanted: Confinement, lifeline: int) -> Unheld:
        self.is_begun.set()
        self._meet()
        self.made.append(Unconfined().start(command, wanted, lifeline))
        return self.made[-1]

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.is_begun.wait, WITHIN_S)


def start(sandbox: Any) -> Coroutine[Any, Any, Process]:
    return spawn(SLEEPER, sandbox, Confinement())


async def end(process: Process) -> None:
    await process.end_group()
    process.close()


def test_the_loop_goes_on_while_a_process_is_confined() -> None:
    may_go_on = threading.Event()
    sandbox = Slow(lambda: may_go_on.wait(WITHIN_S))

    async def main() -> None:
        starting = asyncio.create_task(start(sandbox))
        await sandbox.until_begun()
        may_go_on.set()  # by the loop, which a start that blocked it would have to wait for
        process = await starting
        assert is_alive(process.pid)
        await end(process)

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))


def test_several_are_confined_at_once() -> None:
    meeting = threading.Barrier(2)
    sandbox = Slow(lambda: meeting.wait(WITHIN_S))

    async def main() -> None:
        for process in await asyncio.gather(start(sandbox), start(sandbox)):
            await end(process)

    asyncio.run(asyncio.wait_for(main(), 2 * WITHIN_S))


def test_a_start_that_is_cancelled_ends_only_with_what_it_has_begun() -> None:
    may_go_on = threading.Event()
    sandbox = Slow(lambda: may_go_on.wait(WITHIN_S))

    async def main() -> None:
        starting = asyncio.create_task(start(sandbox))
        await sandbox.until_begun()
        for _ in range(2):  # nobody may think that it is over while a process is still to come
            starting.cancel()
            await asyncio.sleep(0)
            assert not starting.done()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))
    assert [made.popen.returncode for made in sandbox.made] == [-9]


def test_a_start_that_is_cancelled_and_fails_says_that_it_was_cancelled() -> None:
    may_go_on = threading.Event()

    def fail() -> None:
        may_go_on.wait(WITHIN_S)
        raise OSError("no such thing")

    sandbox = Slow(fail)

    async def main() -> None:
        starting = asyncio.create_task(start(sandbox))
        await sandbox.until_begun()
        starting.cancel()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await starting
        with pytest.raises(OSError, match="no such thing"):
            await start(sandbox)

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))
    assert not sandbox.made


class Undying(Unheld):
    """A process that the kernel does not let die yet."""

    def __init__(self, confined: Unheld) -> None:
        super().__init__(confined.popen)
        self.is_let_go = threading.Event()

    def kill(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        self.is_let_go.set()


class Stuck(Slow):
    """A sandbox of such processes."""

    def start(self, command: Command, wanted: Confinement, lifeline: int) -> Undying:
        self.kept = Undying(super().start(command, wanted, lifeline))
        return self.kept


def test_the_loop_goes_on_while_a_killed_process_dies() -> None:
    async def main() -> None:
        process = await start(Stuck(lambda: None))
        ending = asyncio.create_task(process.end_group())
        await asyncio.wait([process.exited], timeout=WITHIN_S)  # nobody waits for it any more
        assert not ending.done()
        os.kill(process.pid, signal.SIGKILL)  # by the loop, which would have to wait for it
        await ending
        assert process.returncode == -signal.SIGKILL
        process.close()

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))


def test_a_process_that_does_not_die_is_left_and_reaped_when_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spawning, "_REAP_TIMEOUT_S", 0.05)
    sandbox = Stuck(lambda: None)

    async def main() -> None:
        process = await start(sandbox)
        await end(process)
        assert process.returncode is None
        assert not sandbox.kept.is_let_go.is_set()
        os.kill(process.pid, signal.SIGKILL)

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))
    assert sandbox.kept.is_let_go.wait(WITHIN_S)
    assert sandbox.kept.popen.returncode == -signal.SIGKILL
