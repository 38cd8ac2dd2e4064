"""One line of the table of `make bench`, and how it is measured."""

from __future__ import annotations

import contextlib
import os
import select
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.machine import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table.

    Attributes:
        name: what was measured.
        value: the measured number.
        unit: `x` for a ratio, `/s` for a rate, ` µs` for a time.
        at_most: the highest value that is good.
        at_least: the lowest value that is good; with neither, it is only reported.
        detail: the medians behind it.
    """

    name: str
    value: float
    unit: str = "x"
    at_most: float | None = None
    at_least: float | None = None
    detail: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether the bounds are kept."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def bound(self) -> float | None:
        """What it must keep to."""
        return self.at_least if self.at_most is None else self.at_most

    def row(self, width: int) -> str:
        """The line, with the name filled up to so many characters."""
        digits = 0 if self.unit == "/s" else 2
        value = f"{self.value:,.{digits}f}{self.unit}"
        bound, kept = "", "      "
        if self.bound is not None:
            side = "at least" if self.at_most is None else "at most"
            bound = f"{side} {self.bound:,g}{self.unit}"
            kept = "kept  " if self.is_kept else "MISSED"
        return f"{self.name:<{width}}  {value:>12}  {bound:<20} {kept}  {self.detail}".rstrip()


def run(arguments: tuple[str, ...], environment: Mapping[str, str]) -> float:
    """Seconds that a process takes, from its start to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
        subprocess.TimeoutExpired: it did not end; it was killed.
    """
    began_s = time.perf_counter()
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as process:
        # `wait` with a timeout looks at 0.5, 1.5, 3.5 … 15.5, 31.5 ms only; this wakes at the end.
        end = kernel.pidfd_open(process.pid)
        ended, _, _ = select.select([end], [], [], TIMEOUT_S)
        took_s = time.perf_counter() - began_s
        os.close(end)
        if not ended:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, TIMEOUT_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return took_s


def paired(
    measured: Callable[[], float], compared: Callable[[], float], rounds: int
) -> tuple[float, float]:
    """The medians of two measurements that take turns; the first round only warms up."""
    pairs = [(measured(), compared()) for _ in range(rounds + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process, and those below it, have taken so far.

    A plugin in a sandbox is a grandchild of what the host has started (proc(5), `/proc/pid/stat`).
    """
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            number = int(path.parent.name)
            parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[member] for member in family) / os.sysconf("SC_CLK_TCK")


def in_ms(ours_s: float, other_s: float) -> str:
    """Two times, as the detail of a ratio."""
    return f"{ours_s * 1000:.1f} ms to {other_s * 1000:.1f} ms"
