"""Sends two events and a checkpoint at a time, slowly, until 160 events have been read in all."""

import threading
from collections.abc import Iterator
from typing import Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

LAST = 160
PAUSE_S = 0.01


def sync(request: Any, _context: Any) -> Iterator[connector_pb2.SyncEvent]:
    for first in range(int(request.cursor or b"0"), LAST, 2):
        yield bare.batch(first, 2)
        yield bare.checkpoint(b"%d" % (first + 2))
        threading.Event().wait(PAUSE_S)


bare.serve({"Sync": bare.stream(sync, connector_pb2.SyncRequest)})
