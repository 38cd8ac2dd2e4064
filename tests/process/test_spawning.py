"""Starting a process beside everything else that a host does."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

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


def end(process: Process) -> None:
    process.kill_group()
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
        end(process)

    asyncio.run(asyncio.wait_for(main(), WITHIN_S))


def test_several_are_confined_at_once() -> None:
    meeting = threading.Barrier(2)
    sandbox = Slow(lambda: meeting.wait(WITHIN_S))

    async def main() -> None:
        for process in await asyncio.gather(start(sandbox), start(sandbox)):
            end(process)

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
