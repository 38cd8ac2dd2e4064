"""A connector that gives as much as it can, without an end, and counts the batches it has given.

It appends a byte for each to the file `poured` in the folder of its setting `folder`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2


def schema(request: Any, context: Any) -> Any:
    made = bare.schema(request, context)
    made.fields.add(key="folder", type="TYPE_TEXT", required=True)
    return made


def sync(request: Any, _context: Any) -> Iterator[connector_pb2.SyncEvent]:
    given = bare.batch(0, 256)
    for event in given.batch.events:
        event.record_json = b'{"text":"%s"}' % (b"x" * 3000)
    with Path(json.loads(request.context.config_json)["folder"], "poured").open("ab", 0) as file:
        while True:
            file.write(b".")
            yield given


bare.serve(
    {
        "Schema": bare.unary(schema, connector_pb2.SchemaRequest),
        "Sync": bare.stream(sync, connector_pb2.SyncRequest),
    }
)
