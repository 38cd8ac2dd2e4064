"""The door: serves the listeners of one plugin's namespace, and records every connection.

Each connection that comes in by a listener counts as the plugin's, that of a relay inside of its
sandbox included, and is held to the plugin's rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.host.egress.connection import Connection
from aperio_cli.host.egress.decisions import Decision, Tally
from aperio_cli.host.egress.reaching import Network, Outside

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable

    from aperio_cli.host.egress.plan import Listener
    from aperio_cli.host.egress.rules import Policy
    from aperio_cli.host.egress.targets import Target

OPENING_S: Final = 10.0
IDLE_S: Final = 900.0
MOST_CONNECTIONS: Final = 128
AT_ONCE: Final = 1000
A_SECOND: Final = 200
"""Connections that a plugin may begin, after a while without any, and on and on; whoever is faster
waits. Each costs the host more than the plugin, one that is refused no less, and leaves a line."""
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_AGAIN_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms connections are made.

    Attributes:
        policy: where to.
        outside: what is beyond this machine.
        opening_s: how long a plugin may take to say what it wants.
        idle_s: how long a connection may be silent.
    """

    policy: Policy
    outside: Outside = field(default_factory=Network)
    opening_s: float = OPENING_S
    idle_s: float = IDLE_S


class Pace:
    """Lets so many pass at once, and so many a second."""

    def __init__(self) -> None:
        self._left = float(AT_ONCE)
        self._at_s = clock.monotonic_s()

    def wait_s(self) -> float:
        """Return for how long the next one has to wait."""
        now_s = clock.monotonic_s()
        self._left = min(AT_ONCE, self._left + (now_s - self._at_s) * A_SECOND) - 1.0
        self._at_s = now_s
        return max(0.0, -self._left / A_SECOND)


class Door:
    """One plugin's only way out.

    Args:
        plugin: its id, for the record.
        organization: for whom it works, likewise.
        terms: on what terms connections are made.
        record: takes each decision once its connection is over, and whether it is the first of its
            place that was not simply let through.

    Attributes:
        tally: counts of what was decided.
        failed: done with an exception when a listener is not served any more: the plugin has to be
            stopped then.
    """

    def __init__(
        self,
        plugin: str,
        organization: str,
        terms: Terms,
        record: Callable[[Decision, bool], None],
    ) -> None:
        self._plugin = plugin
        self._organization = organization
        self._terms = terms
        self._record = record
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[socket.socket] = []
        self._is_closed = False
        self._places = asyncio.Semaphore(MOST_CONNECTIONS)
        self._pace = Pace()
        self.tally = Tally()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def has_failed(self) -> bool:
        """Whether a listener is not served any more."""
        failed = self.failed
        return failed.done() and not failed.cancelled() and failed.exception() is not None

    def open(self, listening: Iterable[tuple[Listener, socket.socket]]) -> None:
        """Begin to serve sockets that listen; they are the door's from now on."""
        for listener, made in listening:
            if self._is_closed:
                made.close()
                continue
            made.settimeout(0)
            self._listening.append(made)
            task = self._start(self._accept(made, listener.target))
            task.add_done_callback(self._note_end)

    async def close(self) -> None:
        """End every connection and close every listener; harmless when repeated."""
        await asyncio.gather(*self.abandon(), return_exceptions=True)

    def abandon(self) -> tuple[asyncio.Task[None], ...]:
        """Do the same without waiting; return what ends then."""
        self._is_closed = True
        if not self.failed.done():
            self.failed.cancel()
        for task in (tasks := tuple(self._tasks)):
            task.cancel()
        return tasks

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self.failed.done():
            self.failed.set_exception(task.exception() or RuntimeError("a listener ended"))

    async def _accept(self, listening: socket.socket, target: Target | None) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(listening)
                except ConnectionError:  # gone before it was taken
                    continue
                except OSError as error:
                    if error.errno not in _PASSING:
                        raise
                    await asyncio.sleep(_AGAIN_S)
                    continue
                try:
                    await self._places.acquire()
                    if wait_s := self._pace.wait_s():
                        await asyncio.sleep(wait_s)
                except BaseException:
                    accepted.close()
                    raise
                self._start(self._serve(accepted, target))

    async def _serve(self, accepted: socket.socket, target: Target | None) -> None:
        by = "door" if target else "proxy"
        decision = Decision(self._plugin, self._organization, clock.timestamp(), by)
        try:
            await Connection(self._terms, decision, target).serve(accepted)
        finally:
            self._places.release()
            self._tell(decision)

    def _tell(self, decision: Decision) -> None:
        is_first = self.tally.add(decision)
        with contextlib.suppress(OSError, ValueError):  # a sink that fails must not stop the rest
            self._record(decision, is_first)
