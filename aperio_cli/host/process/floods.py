"""How much of what a plugin prints is passed on: a flood is counted, and left out.

A pipe is always drained, as a plugin that waits for its log does nothing else. But each line costs
its host more than it costs the plugin, so that there is an end to what is made of them: one for all
that a plugin prints to, whatever it spreads its lines over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable

_LINE_BYTES: Final = 1024  # so much of a line counts as one
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Chatter:
    """How many lines a plugin may print.

    Attributes:
        at_once: whenever it has been quiet for a while; not fewer than the other.
        a_second: on and on.
    """

    at_once: int
    a_second: int


ALONE: Final = Chatter(50_000, 5_000)
"""Of a plugin that somebody runs and looks at."""

AMONG_OTHERS: Final = Chatter(2_000, 500)
"""Of one of many in a host: while it takes in the lines of one, it does nothing for the others."""


class Allowance:
    """How many lines of one plugin may pass now.

    Args:
        chatter: how many at all.
    """

    def __init__(self, chatter: Chatter = ALONE) -> None:
        self.chatter = chatter
        self._left = float(chatter.at_once)
        self._at_s = clock.monotonic_s()

    def left(self) -> float:
        """Return how many may pass now."""
        now_s = clock.monotonic_s()
        more = (now_s - self._at_s) * self.chatter.a_second
        self._left = min(self.chatter.at_once, self._left + more)
        self._at_s = now_s
        return self._left

    def take(self, lines: float) -> None:
        """Let so many pass; not more than are left."""
        self._left -= lines


class Flow:
    """One of the streams that a plugin prints to: lets lines pass, and counts what is too many.

    Args:
        allowance: of the plugin.
        say: takes the sentence about what was left out, once a second at most.
    """

    def __init__(self, allowance: Allowance, say: Callable[[str], None]) -> None:
        self._allowance = allowance
        self._say = say
        self._lines = 0
        self._bytes = 0
        self._is_over = False

    def admit(self, data: bytes) -> tuple[bytes, bool]:
        """Return what passes of the next bytes, and whether what follows them was left out.

        Once something was left out, what passes begins with a line again.
        """
        left = self._allowance.left()
        if self._is_over:
            if left < self._allowance.chatter.a_second:
                self._leave_out(data)
                return b"", True
            data = self._again(data)
        cost = data.count(b"\n") + len(data) / _LINE_BYTES
        if cost <= left:
            self._allowance.take(cost)
            return data, False
        passed = data.rfind(b"\n", 0, int(len(data) * left / cost)) + 1
        self._allowance.take(left)
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
            f"too much was printed: {counted(self._lines, 'line')} ({size}) left out of the log;"
            f" {self._allowance.chatter.a_second} lines a second pass, of {_LINE_BYTES} bytes"
        )
        self._lines = self._bytes = 0
        self._is_over = False
