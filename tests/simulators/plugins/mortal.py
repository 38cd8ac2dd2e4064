"""A connector that gives two events, one that cannot be passed on, and a dead letter of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator


def sync(_request: Any, _context: Any) -> Iterator[connector_pb2.SyncEvent]:
    made = bare.batch(0, 3)
    made.batch.events[1].record_json = b'{"number": NaN}'
    yield made
    letter = connector_pb2.DeadLetter(reason="no entry", position="entry 7", code="record-invalid")
    yield connector_pb2.SyncEvent(dead_letter=letter)
    yield bare.checkpoint(b"3")


bare.serve({"Sync": bare.stream(sync, connector_pb2.SyncRequest)})
