"""Prints its handshake and serves, but its health check says that it does not."""

from typing import Any

import bare
from aperio_plugin._generated.goplugin import goplugin_pb2


def health(request: Any, context: Any) -> Any:  # noqa: ARG001 - as the one it replaces
    return goplugin_pb2.HealthCheckResponse(status="NOT_SERVING")


bare.health = health
bare.serve()
