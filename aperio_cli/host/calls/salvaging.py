"""Salvaging: a batch of which an event cannot be decoded, because a text in it is not UTF-8.

A reader of protobuf refuses the whole message for one such text (protobuf.dev, proto3, string), and
so every event of the batch. Makers of messages check it, but not all of them. The fields are taken
one by one here: names of whoever did something are mended visibly, as SDKs do; any other such text
makes its own event a dead letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aperio_plugin.wire import connector_pb2

_BYTES: Final = 2  # a wire type: texts, bytes and messages
_LETTER_FIELDS: Final = ("source_event_id", "event_type", "origin")
_EVENT_FIELDS: Final = (*_LETTER_FIELDS, "native_event_type")


def salvage(data: bytes) -> list[connector_pb2.SyncEvent]:
    """Return what is sound in a message that cannot be decoded; nothing if it is no batch.

    Returns:
        one batch with the events that can be passed on, and a dead letter for each other one.
    """
    from aperio_plugin.wire import connector_pb2
    from google.protobuf.message import DecodeError

    batch = connector_pb2.SyncEvent()
    letters = []
    try:
        events = [event for item in _parts(data, 1) for event in _parts(item, 1)]
        for event in events:
            try:
                batch.batch.events.append(_mended(event))
            except ValueError as error:
                letters.append(connector_pb2.SyncEvent(dead_letter=_letter(event, error)))
    except DecodeError:
        return []
    return [batch, *letters] if events else []


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """Return the fields of a message that are texts, bytes and messages, by number.

    Raises:
        DecodeError: it is no message at all.
    """
    from google.protobuf import empty_pb2
    from google.protobuf.unknown_fields import UnknownFieldSet

    found: Any = UnknownFieldSet(empty_pb2.Empty.FromString(data))
    return [(each.field_number, each.data) for each in found if each.wire_type == _BYTES]


def _parts(data: bytes, number: int) -> list[bytes]:
    return [value for found, value in _fields(data) if found == number]


def _mended(data: bytes) -> connector_pb2.Event:
    """Return an event, its actor's texts mended.

    Raises:
        ValueError: another text is not UTF-8.
        DecodeError: it is no event.
    """
    from aperio_plugin.wire import connector_pb2

    numbers = connector_pb2.Event.DESCRIPTOR.fields_by_number
    made = connector_pb2.Event()
    for number, value in _fields(data):
        match numbers[number].name if number in numbers else "":
            case "actor":
                _mend(made.actor, value)
            case "occurred_at":
                made.occurred_at.MergeFromString(value)
            case "record_json":
                made.record_json = value
            case name if name in _EVENT_FIELDS:
                setattr(made, name, _text(name, value))
            case _:  # of a newer minor version
                pass
    return made


def _mend(actor: connector_pb2.Actor, data: bytes) -> None:
    actor.SetInParent()
    numbers = actor.DESCRIPTOR.fields_by_number
    for number, value in _fields(data):
        if number in numbers:
            setattr(actor, numbers[number].name, value.decode(errors="replace"))


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 from byte {error.start}") from error


def _letter(data: bytes, error: ValueError) -> connector_pb2.DeadLetter:
    from aperio_plugin.wire import connector_pb2

    from aperio_cli.host.calls.letters import INVALID

    numbers = connector_pb2.Event.DESCRIPTOR.fields_by_number
    found = {numbers[number].name: value for number, value in _fields(data) if number in numbers}
    record = found.get("record_json", b"")
    texts = {name: found.get(name, b"").decode(errors="replace") for name in _LETTER_FIELDS}
    excerpt = record.decode(errors="replace")
    return connector_pb2.DeadLetter(
        reason=str(error), code=INVALID, excerpt=excerpt, record_bytes=len(record), **texts
    )
