"""A connector whose tokens are good for two events each.

Config key `stuck`: the second token and all after it are good for nothing.
"""

import json
from collections.abc import Iterator
from typing import Any

import bare
import grpc
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2, connector_pb2

_LAST = 6


def schema(_request: Any, _context: Any) -> Any:
    made = connector_pb2.SchemaResponse(provider="BOX")
    for key, type_name, host_only in (
        ("base_url", "TYPE_URL", False),
        ("client_id", "TYPE_TEXT", True),
        ("client_secret", "TYPE_PASSWORD", True),
        ("stuck", "TYPE_BOOLEAN", False),
    ):
        made.fields.add(key=key, type=type_name, host_only=host_only, secret=host_only)
    made.auth.oauth2.CopyFrom(
        common_pb2.Auth.OAuth2(
            token_url="{base_url}/token",
            grants=[common_pb2.Auth.OAuth2.GRANT_CLIENT_CREDENTIALS],
            client_id_field="client_id",
            client_secret_field="client_secret",
        )
    )
    return made


def sync(request: Any, context: Any) -> Iterator[connector_pb2.SyncEvent]:
    config = json.loads(request.context.config_json)
    if "client_secret" in config or "client_id" in config:
        context.abort(grpc.StatusCode.INTERNAL, "the host gave its secrets away")
    first = int(request.cursor or b"0")
    if config.get("stuck") and request.context.token.value != "token-1":
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token expired")
    yield bare.batch(first, 2)
    yield bare.checkpoint(b"%d" % (first + 2))
    if first + 2 < _LAST:
        yield bare.batch(first + 2, 1)  # read with the old token, and not checkpointed
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token expired")


bare.serve(
    {
        "Schema": bare.unary(schema, connector_pb2.SchemaRequest),
        "Sync": bare.stream(sync, connector_pb2.SyncRequest),
    }
)
