"""Prints its handshake and serves, but its health check says that it does not."""

from typing import Any

import bare  # type: ignore[import-not-found] # beside this file
from aperio_plugin._generated.goplugin import goplugin_pb2


def health(_request: Any, _context: Any) -> Any:
    return goplugin_pb2.HealthCheckResponse(status="NOT_SERVING")


bare.health = health
bare.serve()
