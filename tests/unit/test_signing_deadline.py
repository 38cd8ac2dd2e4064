from __future__ import annotations

import threading
import time

import pytest

from aperio_cli.errors.trust import SigningTimeout
from aperio_cli.signing.deadline import within
from tests.rows import each_row

LONG_S = 30.0


def late() -> SigningTimeout:
    return SigningTimeout("too late")


def test_work_in_time_gives_its_result_and_leaves_no_thread() -> None:
    before = threading.active_count()
    assert within(LONG_S, lambda: 42, late=late) == 42
    assert threading.active_count() == before


def test_work_runs_in_another_thread_that_ends_with_the_process() -> None:
    thread = within(LONG_S, threading.current_thread, late=late)
    assert thread is not threading.current_thread()
    assert thread.daemon


@each_row("error", [ValueError("no"), TimeoutError("mine"), KeyboardInterrupt()])
def test_error_of_the_work_comes_through_as_it_is(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        within(LONG_S, fail, late=late)
    assert caught.value is error


def test_work_that_is_late_is_left_behind() -> None:
    ended = threading.Event()
    started = time.monotonic()
    with pytest.raises(SigningTimeout, match="too late"):
        within(0.05, lambda: ended.wait(LONG_S), late=late)
    assert time.monotonic() - started < LONG_S / 2
    ended.set()
