"""Checks of installed files, one for all starts of a version that wait for it at the same time.

A start is given the outcome of a check that began after it had asked, never of one before: what was
changed until then is seen for each of them, as if its files had been hashed for it alone.
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.host.process.program import Program
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.store.installed import Store

_PACE_S: Final = 0.1


@dataclass(slots=True, eq=False)
class _Check:
    """One check: of what, and what is done for it."""

    receipt: Receipt
    store: Store
    task: asyncio.Future[Program] = field(init=False)


class SharedChecks:
    """Has the files of a version hashed for everybody who asked before that began; on one loop.

    Args:
        pace_s: from the begin of one check of a version to that of its next: where many starts
            follow each other that leaves some of them to each check. A start that none was just
            before does not wait.
    """

    def __init__(self, pace_s: float = _PACE_S) -> None:
        self._pace_s = pace_s
        self._next_s: dict[str, float] = {}
        self._coming: dict[str, _Check] = {}
        self._going: dict[str, _Check] = {}

    async def program(
        self, receipt: Receipt, store: Store, check: Callable[[Receipt, Store], Program]
    ) -> Program:
        """Return the program of an installed version once its files were checked; close it later.

        Args:
            receipt: which version.
            store: where it is.
            check: what checks it; it is called in a thread.

        Raises:
            AperioError, OSError: as `check`; each start gets an error of its own.
        """
        name = str(receipt.folder)
        shared = self._coming.get(name)
        if shared is None or shared.store is not store or shared.receipt != receipt:
            shared = self._coming[name] = _Check(receipt, store)
            shared.task = asyncio.ensure_future(self._do(name, shared, check))
            shared.task.add_done_callback(_see)
        try:
            program = await asyncio.shield(shared.task)
        except Exception as error:
            raise copy.copy(error) from error
        return program.another()

    async def _do(
        self, name: str, mine: _Check, check: Callable[[Receipt, Store], Program]
    ) -> Program:
        await self._turn(name)
        if self._coming.get(name) is mine:
            del self._coming[name]  # whoever asks from now on is given the next one
        self._going[name] = mine
        try:
            return await asyncio.to_thread(check, mine.receipt, mine.store)
        finally:
            del self._going[name]

    async def _turn(self, name: str) -> None:
        """Wait until a check of the version may begin."""
        while True:
            now_s = clock.monotonic_s()
            self._next_s = {each: at_s for each, at_s in self._next_s.items() if at_s > now_s}
            if before := self._going.get(name):
                await asyncio.wait([before.task])
            elif name in self._next_s:
                await asyncio.sleep(self._next_s[name] - now_s)
            else:
                self._next_s[name] = now_s + self._pace_s
                return


def _see(done: asyncio.Future[Any]) -> None:
    """Take note of an error that nobody waits for any more."""
    if not done.cancelled():
        done.exception()
