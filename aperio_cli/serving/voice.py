"""The voice of a host: what it writes for people and programs, without ever waiting for a reader.

A journal that does not keep up, or a terminal that was stopped with Ctrl-S, must not stop the loop
that keeps plugins up. So a thread writes, and what it cannot write in time is dropped and counted.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOST_WAITING: Final = 1000
_LAST_WORDS_S: Final = 2.0


class Voice:
    """Does one thing after the other in a thread of its own; nobody waits for it.

    Args:
        dropped: called in the thread with how much was left out, once there is room again.
    """

    def __init__(self, dropped: Callable[[int], None] = lambda _count: None) -> None:
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue(_MOST_WAITING)
        self._dropped = dropped
        self._left_out = 0
        self._thread = threading.Thread(target=self._work, name="voice", daemon=True)

    def do(self, job: Callable[[], object]) -> None:
        """Have something done soon; an error of it ends nothing, and is not told."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._left_out += 1

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Speak while the block runs; at its end what waits has a moment to be said."""
        self._thread.start()
        try:
            yield
        finally:
            with contextlib.suppress(queue.Full):
                self._jobs.put(None, timeout=_LAST_WORDS_S)
            self._thread.join(_LAST_WORDS_S)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._left_out:
                left_out, self._left_out = self._left_out, 0
                self._attempt(functools.partial(self._dropped, left_out))
            self._attempt(job)

    @staticmethod
    def _attempt(job: Callable[[], object]) -> None:
        with contextlib.suppress(Exception):  # the writer must go on, whatever cannot be written
            job()
