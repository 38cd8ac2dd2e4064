"""Built for a newer minor version: says things that this host does not know."""

from collections.abc import Iterator
from typing import Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

_UNKNOWN_FIELD = bytes.fromhex("c23e03616263")  # field 1000, a string


def sync(_request: Any, _context: Any) -> Iterator[connector_pb2.SyncEvent]:
    yield connector_pb2.SyncEvent.FromString(_UNKNOWN_FIELD)
    yield bare.batch(0, 1)


def schema(request: Any, context: Any) -> Any:
    made = bare.schema(request, context)
    made.interface.minor = 99
    made.interface.features.append("of-the-future")
    return connector_pb2.SchemaResponse.FromString(made.SerializeToString() + _UNKNOWN_FIELD)


bare.serve(
    {
        "Schema": bare.unary(schema, connector_pb2.SchemaRequest),
        "Sync": bare.stream(sync, connector_pb2.SyncRequest),
    }
)
