"""A connector whose test of the connection takes a minute, unless it is broken off."""

import time
from typing import Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

LONG_S = 60


def connection(_request: Any, context: Any) -> Any:
    until_s = time.monotonic() + LONG_S
    while context.is_active() and time.monotonic() < until_s:
        time.sleep(0.01)
    return connector_pb2.TestResponse(ok=True)


bare.serve({"TestConnection": bare.unary(connection, connector_pb2.TestRequest)})
