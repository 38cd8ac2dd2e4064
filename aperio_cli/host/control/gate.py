"""The gate: the socket that callers dial, and whom it lets through to the gRPC server.

gRPC accepts connections without saying whose they are. So it listens in a folder that only this
user may enter, and the gate in front of it accepts, asks the kernel for the peer (SO_PEERCRED,
unix(7)), and relays the bytes of those that may come in. It also bounds their number, which gRPC
does not: each costs descriptors, which a host has for all of its plugins together. What a peer does
not read is not read from the server either: a relay holds one piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, Self

from aperio_cli import clock
from aperio_cli.errors.controlling import SocketPathTooLong

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_CONNECTIONS: Final = 64
LONGEST_PATH_BYTES: Final = 100
"""Of a socket: the kernel takes 107, and whoever dials through /proc or a link needs some."""

_PIECE_BYTES: Final = 256 * 1024
_BACKLOG: Final = 64
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_TOLD_AGAIN_S: Final = 60.0


class Gate:
    """Listens on a path for callers of one user.

    Args:
        path: where; what is there is replaced, so that whoever makes a gate holds its home's lock.
        behind: the path of the server's own socket, in a private folder.
        tell: hears of callers that were refused, once a minute for each reason; must not block.
        uid: whose callers are let in; None: this process's user's.
        most: how many at once.
    """

    def __init__(
        self,
        path: Path,
        behind: Path,
        tell: Callable[[str], None],
        *,
        uid: int | None = None,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self._path = path
        self._behind = str(behind)
        self._tell = tell
        self._uid = os.geteuid() if uid is None else uid
        self._most = most
        self._told: dict[str, float] = {}
        self._inside: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None
        # Of all relays: each takes what it was given before the loop goes on.
        self.buffer = memoryview(bytearray(_PIECE_BYTES))

    async def __aenter__(self) -> Self:
        """Open it."""
        await self.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close it."""
        await self.close()

    async def open(self) -> None:
        """Listen from now on.

        Raises:
            SocketPathTooLong: no socket can have that path.
        """
        listener = _listener(self._path, 0o600 if self._uid == os.geteuid() else 0o666)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_unix_server(
                lambda: _Outer(self), sock=listener, backlog=_BACKLOG
            )
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Stop listening, and end what is still connected."""
        assert self._server  # noqa: S101 - it was opened
        self._server.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        for transport in list(self._inside):
            transport.abort()
        await asyncio.sleep(0)  # for their protocols to hear of it

    def admits(self, transport: asyncio.Transport) -> bool:
        """Return whether a caller that has just connected may come in; counts it if so."""
        uid = _peer_uid(transport)
        if uid != self._uid:
            why = f"this host serves user {self._uid}"
            self._refused(f"a caller of user {uid} was refused: {why}")
            return False
        if len(self._inside) >= self._most:
            self._refused(f"a caller was refused: {self._most} are connected already")
            return False
        self._inside.add(transport)
        return True

    def _refused(self, words: str) -> None:
        """Tell of a refusal, unless that was told just now: callers can come by the thousand."""
        now_s = clock.monotonic_s()
        self._told = {said: s for said, s in self._told.items() if now_s - s < _TOLD_AGAIN_S}
        if words not in self._told:
            self._told[words] = now_s
            self._tell(words)

    def left(self, transport: asyncio.Transport) -> None:
        """Take note that a caller has gone."""
        self._inside.discard(transport)

    async def connect(self, outer: _Outer) -> None:
        """Join a caller to the server behind."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: _Inner(outer, self.buffer), self._behind)
        except OSError:  # it is just ending
            outer.end()


class _Relay(asyncio.BufferedProtocol):
    """One end of a joint: what it receives goes to the other end, as fast as that takes it."""

    def __init__(self, buffer: memoryview) -> None:
        self.other: _Relay | None = None
        self.transport: Any = None
        self._buffer = buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=0)  # type: ignore[attr-defined] # one piece at most

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self.other  # noqa: S101 - nothing is read before the ends are joined
        # A copy: the transport may keep a part of it, and the buffer is used again.
        self.other.transport.write(bytes(self._buffer[:nbytes]))

    def pause_writing(self) -> None:
        if self.other:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other:
            self.other.transport.resume_reading()

    def eof_received(self) -> bool:
        return False  # HTTP/2 knows no half-closed connection

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other:
            self.other.end()

    def end(self) -> None:
        """Close this end, once what was written has left."""
        if self.transport:
            self.transport.close()


class _Outer(_Relay):
    """The caller's end."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate.buffer)
        self._gate = gate
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._gate.admits(self.transport):
            self.transport.abort()
            return
        # Nothing is read before the ends are joined. Not at once: a loop of Python 3.11.2 begins to
        # read after this method, whether or not it paused; what is queued here comes after that.
        loop = asyncio.get_running_loop()
        loop.call_soon(self.transport.pause_reading)
        self._task = loop.create_task(self._gate.connect(self))

    def connection_lost(self, error: Exception | None) -> None:
        self._gate.left(self.transport)
        super().connection_lost(error)


class _Inner(_Relay):
    """The server's end."""

    def __init__(self, outer: _Outer, buffer: memoryview) -> None:
        super().__init__(buffer)
        self.other = outer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        outer = self.other
        assert outer  # noqa: S101 - as it was made
        if outer.transport.is_closing():
            self.end()
            return
        outer.other = self
        outer.transport.resume_reading()


def _peer_uid(transport: asyncio.Transport) -> int:
    """Return the user id of whoever connected."""
    peer = transport.get_extra_info("socket")
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(data)[1]
    return uid


def _listener(path: Path, mode: int) -> socket.socket:
    """Return a socket of that mode that listens on a path.

    Raises:
        SocketPathTooLong: as `Gate.open`.
    """
    if len(os.fsencode(path)) > LONGEST_PATH_BYTES:
        raise SocketPathTooLong(
            f"no socket can be at `{path}`: the path is too long",
            why=f"expected at most {LONGEST_PATH_BYTES} bytes",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setblocking(False)  # noqa: FBT003 - its one parameter
        aside = path.with_name(f".{os.getpid()}")  # no longer than the path
        aside.unlink(missing_ok=True)
        listener.bind(str(aside))
        aside.chmod(mode)  # nobody listens yet, so nobody could connect before
        listener.listen(_BACKLOG)  # before it is found: whoever finds it is let in, or waits
        aside.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener
