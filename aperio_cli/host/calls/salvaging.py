"""Salvaging: a batch of which an item cannot be decoded, because a text in it is not UTF-8.

A reader of protobuf refuses the whole message for one such text (protobuf.dev, proto3, string), and
so every event, finding or audit log entry of the batch. Makers of messages check it, but not all of
them. The fields are taken one by one here: names of whoever did something are mended visibly, as
SDKs do; any other such text makes its own item a dead letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aperio_cli.host.calls.stamping import ITEMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_plugin.wire import connector_pb2

_VARINT: Final = 0  # wire types: numbers and enums
_BYTES: Final = 2  # texts, bytes and messages
_INT32: Final = (1 << 31) - 1
_LETTER_FIELDS: Final = ("source_event_id", "event_type", "origin")
_RECORDS: Final = ("record_json", "evidence_json")


def salvage(data: bytes) -> list[connector_pb2.SyncEvent]:
    """Return what is sound in a message that cannot be decoded; nothing if it is no batch.

    Returns:
        one batch with the items that can be passed on, and a dead letter for each other one.
    """
    from google.protobuf.message import DecodeError

    try:
        for kind in ITEMS:
            if found := _salvaged(data, kind):
                return found
    except DecodeError:
        pass
    return []


def _salvaged(data: bytes, kind: str) -> list[connector_pb2.SyncEvent]:
    """Return what is sound in a batch of a kind; nothing if it is none.

    Raises:
        DecodeError: it is no message at all.
    """
    from aperio_plugin.wire import connector_pb2

    made = connector_pb2.SyncEvent()
    batch = getattr(made, kind)
    batch.SetInParent()
    items = getattr(batch, ITEMS[kind])
    number = made.DESCRIPTOR.fields_by_name[kind].number
    letters = []
    found = [item for part in _parts(data, number) for item in _parts(part, 1)]
    for item in found:
        added = items.add()
        try:
            _mend_into(added, item)
        except ValueError as error:
            items.pop()
            letters.append(connector_pb2.SyncEvent(dead_letter=_letter(added, item, error)))
    return [made, *letters] if found else []


def _fields(data: bytes) -> list[tuple[int, int, Any]]:
    """Return the fields of a message by number and wire type.

    Raises:
        DecodeError: it is no message at all.
    """
    from google.protobuf import empty_pb2
    from google.protobuf.unknown_fields import UnknownFieldSet

    found: Any = UnknownFieldSet(empty_pb2.Empty.FromString(data))
    return [(each.field_number, each.wire_type, each.data) for each in found]


def _parts(data: bytes, number: int) -> list[bytes]:
    return [value for found, wire, value in _fields(data) if (found, wire) == (number, _BYTES)]


def _known(message: Any, data: bytes) -> Iterator[tuple[Any, Any]]:
    """Yield the fields that the message has, described, each with its value.

    Others are of a newer minor version.
    """
    for number, wire, value in _fields(data):
        field = message.DESCRIPTOR.fields_by_number.get(number)
        if field is not None and wire == (_BYTES if _is_long(field) else _VARINT):
            yield field, value


def _is_long(field: Any) -> bool:
    return field.type in {field.TYPE_STRING, field.TYPE_BYTES, field.TYPE_MESSAGE}


def _mend_into(message: Any, data: bytes) -> None:
    """Fill a message with its fields, its actor's texts mended.

    Raises:
        ValueError: another text is not UTF-8.
        DecodeError: it is no such message.
    """
    for field, value in _known(message, data):
        if field.name == "actor":
            _mend_actor(message.actor, value)
        elif field.type == field.TYPE_MESSAGE:
            getattr(message, field.name).MergeFromString(value)
        elif field.type != field.TYPE_STRING:
            setattr(message, field.name, value if _is_long(field) else value & _INT32)
        elif field.is_repeated:
            getattr(message, field.name).append(_text(field.name, value))
        else:
            setattr(message, field.name, _text(field.name, value))


def _mend_actor(actor: connector_pb2.Actor, data: bytes) -> None:
    actor.SetInParent()
    for field, value in _known(actor, data):
        setattr(actor, field.name, value.decode(errors="replace"))


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 from byte {error.start}") from error


def _letter(message: Any, data: bytes, error: ValueError) -> connector_pb2.DeadLetter:
    from aperio_plugin.wire import connector_pb2

    from aperio_cli.host.calls.letters import INVALID

    found = {field.name: value for field, value in _known(message, data) if _is_long(field)}
    record = next((found[name] for name in _RECORDS if name in found), b"")
    texts = {name: found.get(name, b"").decode(errors="replace") for name in _LETTER_FIELDS}
    return connector_pb2.DeadLetter(
        reason=str(error),
        code=INVALID,
        excerpt=record.decode(errors="replace"),
        record_bytes=len(record),
        **texts,
    )
