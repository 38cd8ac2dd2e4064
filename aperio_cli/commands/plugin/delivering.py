"""What `plugin run DESTINATION deliver` reads: lines on stdin, as envelopes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from aperio_cli.errors.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.lines import BadLine

_LONGEST_LINE_BYTES = 4 * 1024 * 1024
_KEPT_BYTES = 1024
_CHUNK_BYTES = 64 * 1024
_CHUNKS_AHEAD = 16


async def stdin_envelopes() -> AsyncIterator[Outbound | BadLine]:
    """Yield the envelopes on stdin, and the lines that are none.

    Raises:
        UsageError: stdin cannot be read.
    """
    from aperio_cli.host.calls.lines import BadLine, read_line

    if sys.stdin is None:
        raise _closed()
    number = 0
    async for line in _lines(sys.stdin.fileno()):
        number += 1
        if len(line) > _LONGEST_LINE_BYTES:
            why = f"expected a line of at most {_LONGEST_LINE_BYTES} bytes"
            yield BadLine(number, why, line[:_KEPT_BYTES])
        elif found := read_line(line, number=number):
            yield found


async def _lines(descriptor: int) -> AsyncIterator[bytes]:
    """Yield lines without their ends, read in a thread, so that waiting for one can be interrupted.

    What is too long for a line is given once, as far as it was read by then.
    """
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(_CHUNKS_AHEAD)
    arguments = (descriptor, chunks, asyncio.get_running_loop())
    threading.Thread(target=_pump, args=arguments, daemon=True).start()
    rest, is_skipping = b"", False
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            if chunk.errno == errno.EBADF:  # nothing that can be read stands in its place
                raise _closed() from chunk
            raise UsageError(
                "the input was not read to its end",
                why=str(chunk),
                next=["hand it over through a pipe or from a file: `… deliver < FILE`"],
            ) from chunk
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines[is_skipping:]:
            yield line
        is_skipping = is_skipping and not lines
        if is_skipping:
            rest = b""
        elif len(rest) > _LONGEST_LINE_BYTES:
            yield rest
            rest, is_skipping = b"", True
    if rest:
        yield rest


def _closed() -> UsageError:
    return UsageError(
        "nothing was delivered: stdin is closed", next=["give lines of events on stdin"]
    )


def _pump(
    descriptor: int, chunks: asyncio.Queue[bytes | OSError], loop: asyncio.AbstractEventLoop
) -> None:
    """Hand chunks over, an empty one at the end; stops when nobody takes them any more.

    It reads the descriptor itself: a daemon thread that waited inside `sys.stdin` would hold its
    lock when the process ends, and Python aborts on that.
    """
    with contextlib.suppress(RuntimeError, CancelledError):  # the loop has ended
        while True:
            chunk: bytes | OSError
            try:
                chunk = os.read(descriptor, _CHUNK_BYTES)
            except OSError as error:
                chunk = error
            asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
            if not chunk or isinstance(chunk, OSError):
                return
