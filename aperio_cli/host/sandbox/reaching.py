"""Which limits a plugin has reached, in words: the limit, how much was used, how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.models.limits import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.host.sandbox.interface import Counters
    from aperio_cli.models.limits import Limits

_FULL: Final = 0.97  # a file system counts in pages, and keeps some for itself
_WORTH_TELLING_S: Final = 0.25
_MIB: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Reached:
    """A limit that was reached.

    Attributes:
        limit: its key in the manifest.
        words: how much it is, how much was used, how often.
        was_fatal: whether the plugin was killed for it.
    """

    limit: str
    words: str
    was_fatal: bool = False

    def __str__(self) -> str:
        return f"{self.limit}: {self.words}"


def limits_reached(limits: Limits, counted: Counters) -> tuple[Reached, ...]:
    """Return the limits that were reached, what was fatal first."""
    return tuple(sorted(_reached(limits, counted), key=lambda each: not each.was_fatal))


def _reached(limits: Limits, counted: Counters) -> Iterator[Reached]:
    if counted.memory_kills:
        peak = counted.memory_peak_bytes or 0
        used = f"peak {_mib(peak)}, killed {_times(counted.memory_kills)}"
        yield Reached("memory", f"limit {format_size(limits.memory_bytes)}, {used}", was_fatal=True)
    if counted.refused_processes:
        refused = f"refused {_times(counted.refused_processes)}"
        yield Reached("processes", f"limit {limits.processes}, threads count, {refused}")
    if counted.tmp_used_bytes and counted.tmp_used_bytes >= limits.tmp_bytes * _FULL:
        yield Reached("tmp", f"limit {format_size(limits.tmp_bytes)}, full at the end")
    if (counted.throttled_s or 0.0) >= _WORTH_TELLING_S:
        held = f"held back {_times(counted.throttled or 0)}, {counted.throttled_s:.1f} s in all"
        yield Reached("cpu", f"limit {limits.cpu:g} cores, {held}")


def _mib(size_bytes: int) -> str:
    return f"{-(-size_bytes // _MIB)}MiB"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
