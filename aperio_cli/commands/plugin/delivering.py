"""What `plugin run DESTINATION deliver` reads: lines on stdin, as envelopes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from aperio_cli.errors.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aperio_cli.host.calls.envelopes import Outbound

_LONGEST_LINE_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_CHUNKS_AHEAD = 16


async def stdin_envelopes() -> AsyncIterator[Outbound]:
    """Yield the envelopes on stdin.

    Raises:
        UsageError: stdin cannot be read, or a line of it is too long, or is no envelope.
    """
    from aperio_cli.host.calls.envelopes import read_outbound

    if sys.stdin is None:
        raise UsageError(
            "nothing was delivered: stdin is closed", next=["give lines of events on stdin"]
        )
    number = 0
    async for line in _lines(sys.stdin.fileno()):
        number += 1
        if len(line) >= _LONGEST_LINE_BYTES:
            raise UsageError(
                f"line {number} of the input was not delivered, nor any after it: it is too long",
                why=f"expected at most {_LONGEST_LINE_BYTES} bytes",
            )
        if envelope := read_outbound(line, number=number):
            yield envelope


async def _lines(descriptor: int) -> AsyncIterator[bytes]:
    """Yield lines without their ends, read in a thread, so that waiting for one can be interrupted.

    What is too long for a line is given as far as it was read.
    """
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(_CHUNKS_AHEAD)
    arguments = (descriptor, chunks, asyncio.get_running_loop())
    threading.Thread(target=_pump, args=arguments, daemon=True).start()
    rest = b""
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise UsageError("the input was not read to its end", why=str(chunk)) from chunk
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) >= _LONGEST_LINE_BYTES:
            yield rest
            return
    if rest:
        yield rest


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
