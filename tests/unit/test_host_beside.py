from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aperio_cli.host.beside import beside


async def failing(began: asyncio.Event) -> None:
    """Fails when it is cancelled, as a call does whose channel closes at that moment."""
    began.set()
    try:
        await asyncio.Event().wait()
    finally:
        raise RuntimeError("late")


def test_what_fails_as_its_block_is_left_is_not_said_by_the_loop() -> None:
    """Its error is nobody's any more: "Task exception was never retrieved" would be the end."""
    told: list[dict[str, Any]] = []

    async def waiting(began: asyncio.Event) -> None:
        async with beside(failing(began)):
            await asyncio.Event().wait()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, said: told.append(said))
        began = asyncio.Event()
        task = asyncio.create_task(waiting(began))
        async with asyncio.timeout(10):
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert told == []


def test_its_outcome_is_the_blocks_to_ask_for() -> None:
    async def answer() -> int:
        return 7

    async def main() -> int:
        async with beside(answer()) as task:
            await asyncio.wait([task], timeout=10)
            return int(task.result())

    assert asyncio.run(main()) == 7


def test_it_does_not_outlive_its_block() -> None:
    async def main() -> bool:
        async with beside(asyncio.Event().wait()) as task:
            await asyncio.sleep(0)
        return task.cancelled()

    assert asyncio.run(main())
