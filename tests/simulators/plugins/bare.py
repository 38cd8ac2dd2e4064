"""A well-behaved connector on bare grpcio, without the SDK: a go-plugin program of another maker.

Other simulators import it and change one thing; `serve` takes what they change.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

os.environ.pop("APERIO_PLUGIN_MAGIC_COOKIE")  # or else importing messages would claim stdout

import grpc
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2, connector_pb2
from aperio_plugin._generated.goplugin import goplugin_pb2
from google.protobuf import empty_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOP = threading.Event()
SERVICES: dict[str, dict[str, Any]] = {}
"""More services, by name and method, for simulators of other kinds."""


def unary(function: Callable[[Any, Any], Any], request: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        function, request.FromString, lambda message: message.SerializeToString()
    )


def stream(function: Callable[[Any, Any], Any], request: Any) -> Any:
    return grpc.unary_stream_rpc_method_handler(
        function, request.FromString, lambda message: message.SerializeToString()
    )


def health(request: Any, context: grpc.ServicerContext) -> Any:
    if request.service != "plugin":
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return goplugin_pb2.HealthCheckResponse(status="SERVING")


def shutdown(_request: Any, _context: grpc.ServicerContext) -> Any:
    STOP.set()
    return empty_pb2.Empty()


def schema(_request: Any, _context: grpc.ServicerContext) -> Any:
    interface = common_pb2.Interface(minor=0)
    return connector_pb2.SchemaResponse(interface=interface, provider="BOX", name="Bare")


def event(number: int) -> connector_pb2.Event:
    made = connector_pb2.Event(
        source_event_id=f"e{number}",
        event_type="box.login",
        origin="admin_logs",
        native_event_type="LOGIN",
        record_json=b'{"n": %d}' % number,
    )
    made.occurred_at.seconds = 1_700_000_000 + number
    return made


def batch(first: int, count: int) -> connector_pb2.SyncEvent:
    events = [event(number) for number in range(first, first + count)]
    return connector_pb2.SyncEvent(batch=connector_pb2.EventBatch(events=events))


def checkpoint(cursor: bytes) -> connector_pb2.SyncEvent:
    return connector_pb2.SyncEvent(checkpoint=connector_pb2.Checkpoint(cursor=cursor))


def sync(request: Any, _context: grpc.ServicerContext) -> Iterator[connector_pb2.SyncEvent]:
    first = int(request.cursor or b"0")
    yield batch(first, 2)
    yield checkpoint(b"%d" % (first + 2))


def socket_path() -> str:
    return os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "s")  # noqa: PTH118 - short


def announce(address: str, version: int = 1) -> None:
    os.write(1, f"1|{version}|unix|{address}|grpc|\n".encode())


def make_server(methods: dict[str, Any] | None = None) -> grpc.Server:
    connector = {
        "Schema": unary(schema, connector_pb2.SchemaRequest),
        "Sync": stream(sync, connector_pb2.SyncRequest),
    } | (methods or {})
    server = grpc.server(futures.ThreadPoolExecutor(8))
    services = SERVICES | {
        "aperio.plugin.v1.ConnectorPlugin": connector,
        "grpc.health.v1.Health": {"Check": unary(health, goplugin_pb2.HealthCheckRequest)},
        "plugin.GRPCController": {"Shutdown": unary(shutdown, empty_pb2.Empty)},
    }
    for service, handlers in services.items():
        handler = grpc.method_handlers_generic_handler(service, handlers)
        server.add_generic_rpc_handlers((handler,))
    return server


def serve(methods: dict[str, Any] | None = None) -> None:
    """Serve until Shutdown, with some methods of the connector replaced."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = make_server(methods)
    server.add_insecure_port(f"unix:{socket_path()}")
    server.start()
    announce(socket_path())
    STOP.wait()
    server.stop(0.2).wait()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    serve()
