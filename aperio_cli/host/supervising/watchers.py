"""Who follows how instances are: each gets the newest state of each, however slowly it reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.host.supervising.instances import Name, Status

_MOST_PENDING: Final = 4096


class Watcher:
    """What one reader has not heard of yet; never more than once of each instance."""

    def __init__(self) -> None:
        self._pending: dict[Name, Callable[[], Status]] = {}
        self._is_there = asyncio.Event()
        self._is_over = False

    def put(self, name: Name, status: Callable[[], Status]) -> None:
        """Note that an instance has changed.

        Args:
            name: which.
            status: gives how it is by then; it is asked when that is read, as it asks the kernel.
        """
        self._pending.pop(name, None)
        if len(self._pending) >= _MOST_PENDING:  # of instances that have come and gone meanwhile
            self._pending.pop(next(iter(self._pending)))
        self._pending[name] = status
        self._is_there.set()

    def end(self) -> None:
        """Say that nothing more will come."""
        self._is_over = True
        self._is_there.set()

    async def take(self) -> tuple[Status, ...]:
        """Wait for news and return them; none means that there will be no more."""
        await self._is_there.wait()
        found = tuple(status() for status in self._pending.values())
        self._pending.clear()
        if not self._is_over:
            self._is_there.clear()
        return found
