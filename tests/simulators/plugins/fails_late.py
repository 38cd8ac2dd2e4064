"""A connector that fails with an error of its own behind its last checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bare
import grpc
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator


def sync(_request: Any, context: Any) -> Iterator[connector_pb2.SyncEvent]:
    yield bare.batch(0, 2)
    yield bare.checkpoint(b"2")
    yield bare.batch(2, 1)
    context.abort(grpc.StatusCode.UNAVAILABLE, "down")


bare.serve({"Sync": bare.stream(sync, connector_pb2.SyncRequest)})
