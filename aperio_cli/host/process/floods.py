"""How much of what a plugin prints is passed on: a flood is counted, and left out.

A pipe is always drained, as a plugin that waits for its log does nothing else. But each line costs
its host more than it costs the plugin, so that there is an end to what is made of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aperio_cli import clock

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_AT_ONCE: Final = 50_000
"""Lines that a plugin may print whenever it has been quiet for a while."""

MOST_A_SECOND: Final = 5_000
"""Lines that it may print on and on."""

_LINE_BYTES: Final = 1024  # so much of a line counts as one
_MIB: Final = 1024**2


class Allowance:
    """Lets lines pass, so many at once and so many a second, and counts those that are too many.

    Args:
        say: takes the sentence about what was left out, once a second at most.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._left = float(MOST_AT_ONCE)
        self._at_s = clock.monotonic_s()
        self._lines = 0
        self._bytes = 0
        self._is_over = False

    def admit(self, data: bytes) -> tuple[bytes, bool]:
        """Return what passes of the next bytes, and whether what follows them was left out.

        Once something was left out, what passes begins with a line again.
        """
        now_s = clock.monotonic_s()
        self._left = min(MOST_AT_ONCE, self._left + (now_s - self._at_s) * MOST_A_SECOND)
        self._at_s = now_s
        if self._is_over:
            if self._left < MOST_A_SECOND:
                self._leave_out(data)
                return b"", True
            data = self._again(data)
        cost = data.count(b"\n") + len(data) / _LINE_BYTES
        if cost <= self._left:
            self._left -= cost
            return data, False
        passed = data.rfind(b"\n", 0, int(len(data) * self._left / cost)) + 1
        self._left = 0.0
        self._is_over = True
        self._leave_out(data[passed:])
        return data[:passed], True

    def end(self) -> None:
        """Say what was left out last."""
        if self._is_over:
            self._tell()

    def _again(self, data: bytes) -> bytes:
        """Return what passes of the first bytes after a time in which nothing did."""
        begun = data.find(b"\n") + 1
        self._leave_out(data[: begun or len(data)])
        if begun:
            self._tell()
        return data[begun:] if begun else b""

    def _leave_out(self, data: bytes) -> None:
        self._lines += data.count(b"\n")
        self._bytes += len(data)

    def _tell(self) -> None:
        size = f"{self._bytes / _MIB:.1f} MiB"
        self._say(
            f"too much was printed: {self._lines} lines ({size}) were left out of the log;"
            f" {MOST_A_SECOND} lines a second pass, of {_LINE_BYTES} bytes"
        )
        self._lines = self._bytes = 0
        self._is_over = False
