"""Answers in as many parts as a message has room for: as many as it is asked for."""

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

EMPTY = b"\0"


class Raw:
    """Bytes in place of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - as a message
        return self._data


def tag(message: type, name: str) -> bytes:
    number: int = message.DESCRIPTOR.fields_by_name[name].number  # type: ignore[attr-defined]
    return bytes([number << 3 | 2])


def varint(number: int) -> bytes:
    data = bytearray()
    while number >> 7:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


def sync(request: connector_pb2.SyncRequest, _context: object) -> object:
    events = (tag(connector_pb2.EventBatch, "events") + EMPTY) * int(request.cursor or b"1")
    yield Raw(tag(connector_pb2.SyncEvent, "batch") + varint(len(events)) + events)


def tested(request: connector_pb2.TestRequest, _context: object) -> object:
    count = int(request.context.organization_id.removeprefix("of-"))
    return Raw((tag(connector_pb2.TestResponse, "diagnostics") + EMPTY) * count)


bare.serve(
    {
        "Sync": bare.stream(sync, connector_pb2.SyncRequest),
        "TestConnection": bare.unary(tested, connector_pb2.TestRequest),
    }
)
