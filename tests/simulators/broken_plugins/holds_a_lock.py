"""cancel: a sync that is broken off keeps a lock that the next one needs."""

import threading
from collections.abc import Iterator

import sound  # type: ignore[import-not-found] # beside this file

lock = threading.Lock()
sync = sound.sync


def other(request: object, context: object) -> Iterator[object]:
    lock.acquire()
    yield from sync(request, context)
    lock.release()


sound.sync = other
sound.serve()
