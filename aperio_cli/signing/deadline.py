"""A bound on the time of calls that take none: most of sigstore's requests have no timeout."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.errors import AperioError

_Result = TypeVar("_Result")


def within(
    limit_s: float, work: Callable[[], _Result], *, late: Callable[[], AperioError]
) -> _Result:
    """Return what `work` gives, or raises, when it comes in time.

    It runs in a thread of its own. One that is late is left behind: nothing can stop it, what it
    still gives is dropped, and it ends with the process.

    Args:
        limit_s: seconds that it may take.
        work: what to do.
        late: makes the error to raise when it took longer.
    """
    done: Future[_Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            done.set_exception(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    try:
        result = done.result(limit_s)
    except TimeoutError:
        if done.done():  # the work itself raised it
            raise
        raise late() from None
    finally:
        if done.done():
            worker.join()
    return result
