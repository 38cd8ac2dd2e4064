"""What is waited for side by side: bounded, complete, and with each error where it belongs."""

from __future__ import annotations

import threading

from aperio_cli.errors.usage import NotFound
from aperio_cli.net.together import MOST_AT_ONCE, do_together, read_together


def test_four_at_a_time_and_no_more() -> None:
    meeting = threading.Barrier(MOST_AT_ONCE, timeout=30)
    lock, running, most = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        meeting.wait()  # breaks unless four of them are here at once
        with lock:
            running -= 1

    do_together(work, range(MOST_AT_ONCE * 3))
    assert (running, most) == (0, MOST_AT_ONCE)


def test_nothing_to_do_starts_nobody() -> None:
    before = threading.active_count()
    do_together(lambda _: None, [])
    assert threading.active_count() == before


def test_each_place_gives_its_bytes_or_its_error() -> None:
    gone = NotFound("`b` is not there")

    def read(place: str) -> bytes:
        if place == "b":
            raise gone
        return place.encode()

    assert read_together(read, ["a", "b", "c"]) == {"a": b"a", "b": gone, "c": b"c"}
