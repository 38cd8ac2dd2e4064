"""What the plugin prints: to go-plugin's stdio service, without ever holding up the author's code.

Descriptor 2 stays for log records (`_logging`), faulthandler and crashes of native code.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

STDOUT: Final = 1
STDERR: Final = 2
KEPT_BYTES: Final = 1024 * 1024
CHUNK_BYTES: Final = 32 * 1024


class Printed:
    """Printed bytes until the host fetches them: the latest `KEPT_BYTES`, the rest is counted."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, bytearray]] = deque()
        self._kept_bytes = 0
        self._dropped_bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, channel: int, data: bytes) -> None:
        """Keep bytes of `STDOUT` or `STDERR`; never waits for the host."""
        with self._changed:
            for start in range(0, len(data), CHUNK_BYTES):
                self._append(channel, data[start : start + CHUNK_BYTES])
            while self._kept_bytes > KEPT_BYTES:
                lost = len(self._pieces.popleft()[1])
                self._kept_bytes -= lost
                self._dropped_bytes += lost
            self._changed.notify_all()

    def close(self) -> None:
        """Let `read` end once it has given what is there."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def read(self, gone: threading.Event) -> Iterator[tuple[int, bytes]]:
        """Give channel and bytes as they come, until closed or the reader is gone (`wake`)."""
        while (piece := self._next(gone)) is not None:
            yield piece

    def wake(self) -> None:
        """Let readers see that they are gone."""
        with self._changed:
            self._changed.notify_all()

    def _append(self, channel: int, data: bytes) -> None:
        # One message for many prints: as many as there are lines take longer than a process has
        # that is ending.
        last_channel, last = self._pieces[-1] if self._pieces else (channel, bytearray())
        if not self._pieces or last_channel != channel or len(last) + len(data) > CHUNK_BYTES:
            last = bytearray()
            self._pieces.append((channel, last))
        last += data
        self._kept_bytes += len(data)

    def _next(self, gone: threading.Event) -> tuple[int, bytes] | None:
        with self._changed:
            while not (self._pieces or self._closed or gone.is_set()):
                self._changed.wait()
            if gone.is_set():
                return None
            if self._dropped_bytes:
                notice = f"[{self._dropped_bytes} bytes of earlier output were dropped]\n"
                self._dropped_bytes = 0
                return STDERR, notice.encode()
            if not self._pieces:
                return None
            channel, data = self._pieces.popleft()
            self._kept_bytes -= len(data)
            return channel, bytes(data)


class _Stream(io.RawIOBase):
    """The binary side of `sys.stdout` or `sys.stderr`."""

    def __init__(self, printed: Printed, channel: int) -> None:
        self._printed = printed
        self._channel = channel

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        copy = bytes(data)
        self._printed.put(self._channel, copy)
        return len(copy)

    def fileno(self) -> int:
        """Give the real descriptor, for programs that the plugin starts: standard error."""
        return self._channel


def redirect(printed: Printed) -> None:
    """Make all that writes to `sys.stdout` or `sys.stderr`, such as `print`, feed `printed`."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()  # what was printed before goes to descriptor 2
    sys.stdout = _text(_Stream(printed, STDOUT))
    sys.stderr = _text(_Stream(printed, STDERR))


def _text(stream: _Stream) -> io.TextIOWrapper:
    # write_through: there is no line to wait for; backslashreplace: no character can fail.
    return io.TextIOWrapper(
        stream,  # type: ignore[arg-type]  # a raw stream takes the place of a buffered one
        encoding="utf-8",
        errors="backslashreplace",
        newline="\n",
        write_through=True,
    )
