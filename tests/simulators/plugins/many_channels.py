"""Prints by go-plugin's stream to channels that nobody has named, a flood of lines on each."""

from collections.abc import Iterator
from typing import Any

import bare
from aperio_plugin._generated.goplugin import goplugin_pb2
from google.protobuf import empty_pb2

CHANNELS = 200
LINES = 1_000


def stream_stdio(_request: Any, _context: Any) -> Iterator[goplugin_pb2.StdioData]:
    yield goplugin_pb2.StdioData(channel="STDOUT", data=b"of standard output\n")
    for number in range(3, 3 + CHANNELS):
        channel: Any = number
        yield goplugin_pb2.StdioData(channel=channel, data=b"x\n" * LINES)
    bare.STOP.wait()


bare.SERVICES["plugin.GRPCStdio"] = {"StreamStdio": bare.stream(stream_stdio, empty_pb2.Empty)}
bare.serve()
