"""Several things that are waited for, done side by side."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MOST_AT_ONCE: Final = 4
_POLL_S: Final = 0.2
_Job = TypeVar("_Job")


def do_together(work: Callable[[_Job], None], jobs: Iterable[_Job]) -> None:
    """Do the same for each of several, four at a time, and wait for all of them.

    Args:
        work: what is done, within a time of its own; it raises nothing.
        jobs: what for.
    """
    waiting: queue.SimpleQueue[_Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)

    def work_off() -> None:
        while True:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            work(job)

    workers = [
        # Daemons: whoever interrupts must not wait for a server.
        threading.Thread(target=work_off, name="aperio-download", daemon=True)
        for _ in range(min(MOST_AT_ONCE, waiting.qsize()))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        while worker.is_alive():
            worker.join(_POLL_S)


def read_together(
    read: Callable[[str], bytes], places: Sequence[str]
) -> dict[str, bytes | Exception]:
    """Return by place what was read there, or what reading it has raised."""
    found: dict[str, bytes | Exception] = {}

    def note(place: str) -> None:
        try:
            found[place] = read(place)
        except Exception as error:  # noqa: BLE001 - raised by whoever needs what is there
            found[place] = error

    do_together(note, places)
    return found
