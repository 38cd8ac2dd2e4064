"""The two ends of one connection, and what is passed between them.

Bytes of a peer are held, within a bound, until somebody says where they go; then they go there at
once, and a side that sends faster than the other one takes is not read from.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from aperio_cli.host.egress.decisions import Denied, Reason

if TYPE_CHECKING:
    from aperio_cli.host.egress.opening import Screen

HELD_BYTES: Final = 128 * 1024
WRITTEN_AHEAD_BYTES: Final = 512 * 1024
HALF_OPEN_S: Final = 120.0


class Side(asyncio.Protocol):
    """One end.

    Attributes:
        received_bytes: that were passed on from here.
        ended: whether it says nothing more.
        failure: why what it sent is not passed on any more.
        changed: set whenever something of this is another, or something came that is looked at.
        is_lost: whether the connection is gone.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        self._peer: Side | None = None
        self._screen: Screen | None = None
        self._last_s = self._loop.time()
        self._is_stalled = False
        self.received_bytes = 0
        self.ended = False
        self.failure: Denied | None = None
        self.changed = asyncio.Event()
        self.is_lost = False

    # ── what the loop calls ───────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop when there is a connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP's is
        self.transport = transport
        transport.set_write_buffer_limits(WRITTEN_AHEAD_BYTES)

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what came."""
        self._last_s = self._loop.time()
        if self._peer:
            self._pass_on(data)
            return
        self._held += data
        if len(self._held) > HELD_BYTES:
            self.transport.pause_reading()
        self.changed.set()

    def eof_received(self) -> bool:
        """Called by the loop when nothing more will come; the other direction stays open."""
        self.ended = True
        self._last_s = self._loop.time()
        if self._peer:
            self._peer.say_no_more()
        self.changed.set()
        return self.transport.can_write_eof()  # TLS cannot be half closed

    def pause_writing(self) -> None:
        """Called by the loop when more was written than is taken."""
        self._is_stalled = True
        if self._peer and not self._peer.transport.is_closing():
            self._peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """Called by the loop when it was taken."""
        self._is_stalled = False
        self._last_s = self._loop.time()
        if self._peer and not self._peer.transport.is_closing():
            self._peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the connection is gone."""
        self.ended = self.is_lost = True
        if self._peer:
            if exc:
                self._peer.transport.abort()
            else:
                self._peer.transport.close()
        self.changed.set()

    # ── what the door does ────────────────────────────────────────────────────────────────────────

    async def more(self) -> bytes:
        """Return what came since the last time; nothing, when nothing more will come."""
        while not self._held and not self.ended:
            self.changed.clear()
            await self.changed.wait()
        taken = bytes(self._held)
        self._held.clear()
        if not self.transport.is_closing():
            self.transport.resume_reading()
        return taken

    def put_back(self, data: bytes) -> None:
        """Take back what came and is not for whoever read it."""
        self._held[:0] = data

    def write(self, data: bytes) -> None:
        """Send it, unless nobody is there any more."""
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def say_no_more(self) -> None:
        """Tell the peer that nothing more will be sent, after what was written."""
        if self.transport.can_write_eof() and not self.transport.is_closing():
            with contextlib.suppress(OSError):  # it was reset, as will be told in a moment
                self.transport.write_eof()

    def lead_to(self, peer: Side, screen: Screen | None = None) -> None:
        """Pass on everything that comes from here, what is held first.

        Args:
            peer: where it goes.
            screen: looks at it before.
        """
        self._peer, self._screen = peer, screen
        held = bytes(self._held)
        self._held.clear()
        if held:
            self._pass_on(held)
        if self.ended:
            peer.say_no_more()
        if not self.transport.is_closing() and not peer._is_stalled:
            self.transport.resume_reading()

    def idle_s(self) -> float:
        """Return for how long nothing has come."""
        return self._loop.time() - self._last_s

    def _pass_on(self, data: bytes) -> None:
        assert self._peer  # noqa: S101 - the caller has seen to it
        if self._screen:
            try:
                data = self._screen.feed(data)
            except Denied as denied:
                self._fail(denied)
                return
            except Exception as error:  # noqa: BLE001 - a screen that fails refuses
                self._fail(Denied(Reason.BROKEN, type(error).__name__))
                return
            if self._screen.is_done:
                self._screen = None
            self.changed.set()
        self.received_bytes += len(data)
        self._peer.write(data)

    def _fail(self, denied: Denied) -> None:
        self.failure, self._screen = self.failure or denied, _Nothing()
        self.changed.set()


class _Nothing:
    """The screen behind a refusal."""

    is_done = False

    def feed(self, _data: bytes) -> bytes:
        return b""


async def relay(near: Side, far: Side, idle_s: float, *, is_one_request: bool = False) -> None:
    """Wait until two sides that lead to each other are done, or silent for too long.

    Args:
        near: the plugin's.
        far: the other.
        idle_s: how long both may say nothing.
        is_one_request: whether all is over once the other side has answered.

    Raises:
        Denied: what the plugin sent was not passed on.
    """
    far.changed = changed = near.changed
    while not (near.is_lost and far.is_lost):
        changed.clear()
        if near.failure:
            raise near.failure
        if far.ended and (near.ended or is_one_request):
            near.transport.close()
            far.transport.close()
        bound_s = min(idle_s, HALF_OPEN_S) if near.ended or far.ended else idle_s
        left_s = bound_s - min(near.idle_s(), far.idle_s())
        if left_s <= 0:
            near.transport.abort()
            far.transport.abort()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await changed.wait()
