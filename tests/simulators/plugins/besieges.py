"""Opens as many connections to its host's store as it can; its schema tells what came of them."""

import os
import socket
from typing import Any

HOST = os.environ["APERIO_HOST_SOCKET"]

import bare  # noqa: E402 - it takes the cookie out of the environment
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2  # noqa: E402 - after it

WANTED = 100
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113, 3.4
held: list[socket.socket] = []


def is_let_in(dialled: socket.socket) -> bool:
    try:
        dialled.sendall(PREFACE)
        return bool(dialled.recv(9))
    except OSError:
        return False


def schema(_request: Any, _context: Any) -> Any:
    for _ in range(WANTED):
        dialled = socket.socket(socket.AF_UNIX)
        dialled.connect(HOST)  # without a timeout: else it fails at once where many wait (unix(7))
        dialled.settimeout(10)
        held.append(dialled)
    inside = sum(map(is_let_in, held))
    return connector_pb2.SchemaResponse(provider="BOX", name=f"{inside} of {WANTED}")


bare.serve({"Schema": bare.unary(schema, connector_pb2.SchemaRequest)})
