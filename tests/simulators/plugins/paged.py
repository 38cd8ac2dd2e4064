"""A connector that gives twelve events in pages of five, a checkpoint after each but the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE, ALL = 5, 12


def sync(request: Any, _context: Any) -> Iterator[connector_pb2.SyncEvent]:
    for first in range(int(request.cursor or b"0"), ALL, PAGE):
        yield bare.batch(first, min(PAGE, ALL - first))
        if first + PAGE <= ALL:
            made = bare.checkpoint(b"%d" % (first + PAGE))
            made.checkpoint.covers_until.seconds = 1_700_000_000 + first
            yield made


bare.serve({"Sync": bare.stream(sync, connector_pb2.SyncRequest)})
