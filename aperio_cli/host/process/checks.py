"""Checks of installed files, one for all starts of a version that wait for it at the same time.

A start is given the outcome of a check that began after it had asked, never of one before: what was
changed until then is seen for each of them, as if its files had been hashed for it alone. Where
many wait for their turn, the check of one is good for those whose turn comes within a second.
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
_GOOD_FOR_S: Final = 1.0


@dataclass(slots=True, eq=False)
class _Check:
    """One check: of what, since when on the monotonic clock, and what is done for it."""

    receipt: Receipt
    store: Store
    began_s: float = float("-inf")
    task: asyncio.Future[Program] = field(init=False)

    def is_of(self, receipt: Receipt, store: Store) -> bool:
        """Return whether it is of this version in this store."""
        return self.store is store and self.receipt == receipt


class SharedChecks:
    """Has the files of a version hashed for everybody who asked before that began; on one loop.

    Args:
        pace_s: from the begin of one check of a version to that of its next: where many starts
            follow each other that leaves some of them to each check. A start that none was just
            before does not wait.
        good_for_s: how long after its begin a check that was passed is good for starts that had
            asked before it.
    """

    def __init__(self, pace_s: float = _PACE_S, good_for_s: float = _GOOD_FOR_S) -> None:
        self._pace_s = pace_s
        self._good_for_s = good_for_s
        self._asked_s: float | None = None
        self._next_s: dict[str, float] = {}
        self._coming: dict[str, _Check] = {}
        self._going: dict[str, _Check] = {}
        self._passed: dict[str, _Check] = {}

    def since(self, asked_s: float) -> SharedChecks:
        """Return the same checks, for a start that had asked before its turn came.

        Args:
            asked_s: when, on the monotonic clock.
        """
        found = copy.copy(self)  # what it shares of them, it shares with all
        found._asked_s = asked_s  # noqa: SLF001 - of its own kind
        return found

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
        shared = self._begun(name, receipt, store) or self._coming.get(name)
        if shared is None or not shared.is_of(receipt, store):
            shared = self._coming[name] = _Check(receipt, store)
            shared.task = asyncio.ensure_future(self._do(name, shared, check))
            shared.task.add_done_callback(_see)
        try:
            program = await asyncio.shield(shared.task)
        except Exception as error:
            raise copy.copy(error) from error
        return program.another()

    def _begun(self, name: str, receipt: Receipt, store: Store) -> _Check | None:
        """Return a check that has begun since it was asked for, and is good; None: there is none.

        What is passed late was not looked at as it is now.
        """
        if self._asked_s is None:
            return None
        oldest_s = max(self._asked_s, clock.monotonic_s() - self._good_for_s)
        found = (self._going.get(name), self._passed.get(name))
        usable = (each for each in found if each and each.is_of(receipt, store))
        return next((each for each in usable if each.began_s > oldest_s), None)

    async def _do(
        self, name: str, mine: _Check, check: Callable[[Receipt, Store], Program]
    ) -> Program:
        await self._turn(name)
        if self._coming.get(name) is mine:
            del self._coming[name]  # whoever asks from now on is given the next one
        self._going[name] = mine
        mine.began_s = clock.monotonic_s()
        try:
            program = await asyncio.to_thread(check, mine.receipt, mine.store)
        finally:
            del self._going[name]
        self._keep(name, mine)
        return program

    def _keep(self, name: str, passed: _Check) -> None:
        """Keep the outcome for as long as it is good, and what it holds open no longer."""

        def forget() -> None:
            if self._passed.get(name) is passed:
                del self._passed[name]

        self._passed[name] = passed
        left_s = passed.began_s + self._good_for_s - clock.monotonic_s()
        asyncio.get_running_loop().call_later(left_s, forget)

    async def _turn(self, name: str) -> None:
        """Wait until a check of the version may begin."""
        while True:
            now_s = clock.monotonic_s()
            for each in [each for each, at_s in self._next_s.items() if at_s <= now_s]:
                del self._next_s[each]
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
