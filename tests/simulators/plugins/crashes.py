"""Sends one batch and a checkpoint, then dies of a signal in the middle of its sync."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2


def sync(_request: Any, _context: Any) -> Iterator[connector_pb2.SyncEvent]:
    yield bare.batch(0, 2)
    yield bare.checkpoint(b"2")
    for _ in range(40):  # more than fits on the way: what was sent before has been read by then
        yield connector_pb2.SyncEvent(progress=connector_pb2.Progress(message="x" * 65536))
    sys.stderr.write("out of rules\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGSEGV)
    threading.Event().wait()  # another thread may be the one that takes the signal


bare.serve({"Sync": bare.stream(sync, connector_pb2.SyncRequest)})
