"""A connector that can be asked for streams, types and a beginning, and tells what it was asked.

It gives events of two types, whatever is asked for, as a plugin may: the host filters once more.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator


def schema(request: Any, context: Any) -> Any:
    made = bare.schema(request, context)
    made.interface.features.extend(
        ["backfill", "streams", "event-types", "something-of-a-newer-version"]
    )
    made.event_types.extend(["box.login", "box.logout"])
    for name in ("admin_logs", "sign_ins"):
        made.streams.add(name=name)
    return made


def sync(request: Any, _context: Any) -> Iterator[Any]:
    first = int(request.cursor or b"0")
    since = getattr(request, "from")
    asked = {
        "cursor": request.cursor.decode(),
        "from": since.ToJsonString() if request.HasField("from") else "",
        "streams": list(request.streams),
        "event_types": list(request.event_types),
    }
    made = bare.batch(first, 2)
    made.batch.events[1].event_type = "box.logout"
    for event in made.batch.events:
        event.record_json = json.dumps(asked).encode()
    yield made
    stored = bare.checkpoint(b"%d" % (first + 2))
    stored.checkpoint.covers_until.seconds = 1_767_603_600
    yield stored


if __name__ == "__main__":
    bare.serve(
        {
            "Schema": bare.unary(schema, connector_pb2.SchemaRequest),
            "Sync": bare.stream(sync, connector_pb2.SyncRequest),
        }
    )
