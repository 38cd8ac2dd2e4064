"""Answers with bytes that are no message, or with more than the interface allows."""

from collections.abc import Iterator
from typing import Any

import bare
import grpc
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

_GARBAGE = b"\x0a\xff\xff\xff\xff\x0f"
_TOO_MUCH = connector_pb2.TestResponse(ok=True, account={"a": "x" * 5_000_000})


def schema(_request: Any, _context: Any) -> bytes:
    return _GARBAGE


def test(_request: Any, _context: Any) -> bytes:
    return _TOO_MUCH.SerializeToString()


def sync(_request: Any, _context: Any) -> Iterator[bytes]:
    yield bare.batch(0, 1).SerializeToString()
    yield _GARBAGE
    yield bare.batch(1, 1).SerializeToString()


bare.serve(
    {
        "Schema": grpc.unary_unary_rpc_method_handler(schema),
        "TestConnection": grpc.unary_unary_rpc_method_handler(test),
        "Sync": grpc.unary_stream_rpc_method_handler(sync),
    }
)
