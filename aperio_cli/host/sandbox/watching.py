"""Limits of memory and processor where no control group can be had: looked at, ten times a second.

One thread watches all plugins of this host. A plugin that uses too much memory is killed; one that
uses too much of the processor is stopped (SIGSTOP) for as long as it takes to come down to its
share. A failure here kills the plugin: nobody goes on unwatched.

Processes are found by their process namespace, so none is missed for having left its parent. All of
this machine are gone through once for all plugins together; where there are so many that this takes
long it is done less often, so that the host has its processor for something else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.host.sandbox.interface import Counters
from aperio_cli.machine import kernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_cli.models.limits import Limits

PERIOD_S: Final = 0.1
_LEAST_REST: Final = 9.0
_LONGEST_REST_S: Final = 0.5
"""After a look there is none for nine times as long, a tenth of one processor, up to that."""
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_IN_MEMORY: Final = ("/tmp", "/dev/shm")  # noqa: S108 - those of the plugin
_NAME_BYTES: Final = 1024  # of the kernel's, for a file and its name
_FIELDS_BEFORE_TIMES: Final = 11  # of proc_pid_stat(5), behind the name: utime is field 14


@dataclass(slots=True)
class Watched:
    """One plugin that is watched.

    Attributes:
        init: pid of the first process in its namespace.
        limits: what it may use.
        watches_memory: whether nobody else limits its memory.
        watches_cpu: whether nobody else limits its processor, from `settle` on.
    """

    init: int
    limits: Limits
    watches_memory: bool
    watches_cpu: bool
    _pidfd: int = -1
    _namespace: str = ""
    _peak_bytes: int = 0
    _kills: int = 0
    _stops: int = 0
    _stopped_s: float = 0.0
    _is_settled: bool = False
    _is_stopped: bool = False
    _debt_s: float = 0.0
    _last: tuple[float, float] | None = None  # moment, processor time until then
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looked_s: float = -1.0  # when the last look at it began
    _looking: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Begin to watch it.

        Raises:
            OSError: it has just ended.
        """
        self._pidfd = kernel.pidfd_open(self.init)
        self._namespace = os.readlink(f"/proc/{self.init}/ns/pid")  # noqa: PTH115 - no file
        _watcher.add(self)

    def settle(self) -> None:
        """Begin to hold it to its share of the processor, and to count its temporary folder.

        Before, bubblewrap may still be making the folder, and see this machine's in its place.
        """
        with self._lock:
            self._is_settled = True
            if self.watches_cpu:
                self._last = (clock.monotonic_s(), _used_s(self._processes()))

    def counters(self) -> Counters:
        """Return what was seen."""
        return Counters(
            memory_peak_bytes=self._peak_bytes or None,
            memory_kills=self._kills if self.watches_memory else None,
            throttled=self._stops if self.watches_cpu else None,
            throttled_s=self._stopped_s if self.watches_cpu else None,
        )

    def look_since(self, moment_s: float) -> None:
        """Look at its memory, if nobody has since a moment of `clock.monotonic_s`.

        A plugin that is refused memory says so at once, maybe before anybody has looked. However
        many ask at once, one looks for all of them: it may take a while.
        """
        with self._looking:
            if self._looked_s < moment_s:
                look_at([self])

    def end(self) -> None:
        """Stop watching it; harmless when repeated."""
        _watcher.remove(self)
        with self._lock:
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1

    def look(self, there: Mapping[str, Sequence[int]], began_s: float) -> None:
        """Look at it once, and do what follows.

        Args:
            there: the processes of this machine, by their process namespace.
            began_s: before they were gone through.
        """
        with self._lock:
            self._looked_s = began_s
            if self._pidfd < 0:
                return
            try:
                pids = there.get(self._namespace, ())
                self._look_at_memory(pids)
                self._look_at_cpu(pids)
            except ProcessLookupError:
                return
            except BaseException:
                self._kill()
                raise

    def give_up(self) -> None:
        """Kill it, as it cannot be watched."""
        with self._lock:
            if self._pidfd >= 0:
                self._kill()

    def _look_at_memory(self, pids: Sequence[int]) -> None:
        if not self.watches_memory:
            return
        used = sum(map(_resident_bytes, pids))
        used += self._space_bytes() if self._is_settled else 0
        self._peak_bytes = max(self._peak_bytes, used)
        if used > self.limits.memory_bytes and not self._kills:
            self._kills = 1
            self._kill()

    def _look_at_cpu(self, pids: Sequence[int]) -> None:
        if self._last is None:
            return
        (then_s, before_s), now_s, used_s = self._last, clock.monotonic_s(), _used_s(pids)
        self._last = (now_s, used_s)
        share_s = self.limits.cpu * (now_s - then_s)
        if self._is_stopped:
            self._stopped_s += now_s - then_s
        # Processes that ended take their time with them: less than before is no credit.
        self._debt_s += max(0.0, used_s - before_s) - share_s
        self._debt_s = max(self._debt_s, -share_s)
        if self._debt_s > 0:
            self._stops += not self._is_stopped
            self._is_stopped = True
            self._signal(signal.SIGSTOP)  # again: what was started meanwhile
        elif self._is_stopped:
            self._is_stopped = False
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._processes():
            if pid != self.init:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            kernel.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _processes(self) -> Sequence[int]:
        return by_namespace().get(self._namespace, ())

    def _space_bytes(self) -> int:
        """Return what is used of its own file systems, which is memory, too; names are as well."""
        return sum(_space_bytes(f"/proc/{self.init}/root{place}") for place in _IN_MEMORY)


def by_namespace() -> dict[str, list[int]]:
    """Return the processes of this machine by their process namespace, those that may be seen."""
    found: dict[str, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if name.isdigit():
            with contextlib.suppress(OSError):
                namespace = os.readlink(f"/proc/{name}/ns/pid")  # noqa: PTH115 - no file
                found.setdefault(namespace, []).append(int(name))
    return found


def _used_s(pids: Sequence[int]) -> float:
    return sum(map(_processor_s, pids))


def _space_bytes(place: str) -> int:
    try:
        found = os.statvfs(place)
    except OSError:
        return 0
    blocks = (found.f_blocks - found.f_bfree) * found.f_frsize
    return blocks + (found.f_files - found.f_ffree) * _NAME_BYTES


def _resident_bytes(pid: int) -> int:
    """Return anonymous and shared memory of a process; files that are mapped can be let go of."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    found = (line.split() for line in lines.splitlines() if line.startswith(("RssA", "RssS")))
    return sum(int(words[1]) * 1024 for words in found)


def _processor_s(pid: int) -> float:
    """Return processor time of a process and of its children that have ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()[_FIELDS_BEFORE_TIMES : _FIELDS_BEFORE_TIMES + 4]
    return sum(map(int, fields)) / _TICKS_A_SECOND


class _Watcher:
    """The thread that looks at all of them, for as long as there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: list[Watched] = []
        self._thread: threading.Thread | None = None

    def add(self, watched: Watched) -> None:
        with self._lock:
            self._watched.append(watched)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="aperio-watcher", daemon=True
                )
                self._thread.start()

    def remove(self, watched: Watched) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._watched.remove(watched)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            with self._lock:
                watched = tuple(self._watched)
                if not watched:
                    self._thread = None
                    return
            began_s = clock.monotonic_s()
            look_at(watched)
            rest_s = min(_LONGEST_REST_S, _LEAST_REST * (clock.monotonic_s() - began_s))
            pause.wait(max(PERIOD_S, rest_s))


def look_at(watched: Sequence[Watched]) -> None:
    """Look at each plugin once."""
    began_s = clock.monotonic_s()
    try:
        there = by_namespace()
    except OSError:  # of this machine: nobody can be looked at, so nobody goes on
        there = {}
        for each in watched:
            each.give_up()
    for each in watched:
        # It has killed the plugin; the others are still to be watched.
        with contextlib.suppress(Exception):
            each.look(there, began_s)


_watcher = _Watcher()
