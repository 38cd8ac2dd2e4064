"""A sync's messages: the hot path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aperio_plugin import errors
from aperio_plugin._convert.objects import encode_object
from aperio_plugin._convert.records import LEAST_DEEP, Json, checked, require_size
from aperio_plugin._convert.texts import mended
from aperio_plugin._convert.times import time_fields
from aperio_plugin._event_rules import actor_text
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2
from aperio_plugin._schema_rules import is_stream_name
from aperio_plugin.connector import Actor
from aperio_plugin.limits import (
    MAX_ACTOR_CHARACTERS,
    MAX_CURSOR_BYTES,
    MAX_ID_BYTES,
    MAX_NAME_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_plugin.connector import Checkpoint, Event, Progress

_MAX_PROGRESS_TEXT = 1000
_MOST_BESIDE_ACTOR_TEXT = 32  # tags and lengths
_MOST_BESIDE_RECORD = MAX_ID_BYTES + 3 * MAX_NAME_BYTES + 64  # and the time, tags and lengths
_EVENT_TEXTS: Final = ("source_event_id", "event_type", "origin", "native_event_type")
_ACTOR_TEXTS: Final = ("id", "email", "display_name", "type", "ip_address")


def event_fields(event: Event) -> tuple[dict[str, Any], int]:
    """Return an event as the arguments of its message, and an upper bound of its size in bytes.

    All is checked here, so that making the message of a whole batch cannot fail.

    Raises:
        errors.InvalidRecord: a part of it is malformed or too long; the error names the part.
    """
    try:
        record = _record(event.record)
        identifier, kind = event.source_event_id, event.event_type
        origin, native = event.origin, event.native_event_type
        together = "".join((identifier, kind, origin, native))  # noqa: FLY002 - no text is a TypeError
        # The common case first: what is ASCII and short needs no closer look.
        # A text of a class of its own may say of itself what it likes.
        is_plain = type(identifier) is type(kind) is str and identifier and kind
        if not (is_plain and len(together) <= MAX_NAME_BYTES and together.isascii()):
            _check_lengths(event)
        fields: dict[str, Any] = {
            "source_event_id": identifier,
            "event_type": kind,
            "occurred_at": time_fields(event.occurred_at),
            "origin": origin,
            "record_json": record,
            "native_event_type": native,
        }
        size = len(record) + _MOST_BESIDE_RECORD
        if event.actor is not None:
            fields["actor"], actor_size = actor_fields(event.actor)
            size += actor_size
    except Exception as error:  # whatever an odd mapping or text raises
        raise errors.InvalidRecord(_what_is_wrong(event, error)) from error
    return fields, size


def _record(record: Mapping[str, Any] | bytes) -> bytes:
    """Return a record as JSON that may pass."""
    if type(record) is Json:
        return record
    if isinstance(record, bytes):
        return checked(record)
    encoded = encode_object(record)
    if len(encoded) >= LEAST_DEEP:
        require_size(encoded)
    return encoded


def _check_lengths(event: Event) -> None:
    for name, value, least, most in (
        ("source_event_id", _utf8("source_event_id", event.source_event_id), 1, MAX_ID_BYTES),
        ("event_type", _utf8("event_type", event.event_type), 1, MAX_NAME_BYTES),
        ("origin", _utf8("origin", event.origin), 0, MAX_NAME_BYTES),
        (
            "native_event_type",
            _utf8("native_event_type", event.native_event_type),
            0,
            MAX_NAME_BYTES,
        ),
    ):
        if len(value) < least:
            raise ValueError(f"{name} is empty")
        if len(value) > most:
            raise ValueError(f"{name} has {len(value)} bytes, {most} are the most")


def _utf8(name: str, text: str) -> bytes:
    try:
        return str.encode(text)  # whatever a class of its own makes of it
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} has half of a surrogate pair, which UTF-8 does not have"
        ) from error


def actor_fields(actor: Actor) -> tuple[dict[str, str], int]:
    """Return an actor as the arguments of its message, and an upper bound of its size in bytes.

    Raises:
        ValueError: it is too long.
    """
    fields = {
        "id": actor.id,
        "email": actor.email,
        "display_name": actor.display_name,
        "type": actor.type,
        "ip_address": actor.ip_address,
    }
    # The record has what the service wrote; an actor is for people, and fits what they have.
    together = "".join(fields.values())
    if len(together) > MAX_ACTOR_CHARACTERS or "\0" in together:
        fields = {name: actor_text(mended(text)) for name, text in fields.items()}
        together = "".join(fields.values())
    try:
        size = len(together) if together.isascii() else len(together.encode())
    except UnicodeEncodeError:
        fields = {name: mended(text) for name, text in fields.items()}
        size = len("".join(fields.values()).encode())
    return fields, size + _MOST_BESIDE_ACTOR_TEXT


def _what_is_wrong(event: Event, error: Exception) -> str:
    """Return the part that has a wrong type, if one has, else what the error says."""
    texts = [(name, getattr(event, name)) for name in _EVENT_TEXTS]
    actor: object = event.actor  # whatever stands there
    if isinstance(actor, Actor):
        texts += [(f"actor.{name}", getattr(actor, name)) for name in _ACTOR_TEXTS]
    elif actor is not None:
        return f"actor: expected an Actor, received {type(actor).__name__}"
    for name, value in texts:
        if not isinstance(value, str):
            return f"{name}: expected text, received {type(value).__name__}"
    return (
        f"record is nested too deeply: {error}" if isinstance(error, RecursionError) else str(error)
    )


def batch_message(events: list[dict[str, Any]]) -> connector_pb2.SyncEvent:
    """Return the stream's message of the events that `event_fields` gave."""
    # From dictionaries it is made in half the time that appending messages takes, measured.
    return connector_pb2.SyncEvent(batch={"events": events})


def checkpoint_message(checkpoint: Checkpoint) -> connector_pb2.SyncEvent:
    """Return the stream's message of a checkpoint.

    Raises:
        errors.InvalidRecord: the cursor is not bytes, or too long, the stream no name, or the time
            none.
    """
    try:
        length = len(checkpoint.cursor)  # None would count as no cursor
        message = connector_pb2.Checkpoint(cursor=checkpoint.cursor)
    except TypeError as error:
        raise errors.InvalidRecord("a cursor must be bytes") from error
    if length > MAX_CURSOR_BYTES:
        raise errors.InvalidRecord(f"a cursor has {length} bytes, {MAX_CURSOR_BYTES} are the most")
    if checkpoint.stream:
        if not is_stream_name(checkpoint.stream):
            raise errors.InvalidRecord(f"a checkpoint of no stream: {checkpoint.stream!r:.80}")
        message.stream = checkpoint.stream
    if checkpoint.covers_until is not None:
        _cover(message, checkpoint.covers_until)
    return connector_pb2.SyncEvent(checkpoint=message)


def _cover(message: connector_pb2.Checkpoint, covers_until: object) -> None:
    try:
        fields = time_fields(covers_until)
    except (TypeError, ValueError) as error:
        told = str(error).replace("occurred_at", "covers_until", 1)
        raise errors.InvalidRecord(f"a checkpoint's {told}") from error
    message.covers_until.seconds = fields["seconds"]
    message.covers_until.nanos = fields.get("nanos", 0)


def progress_message(progress: Progress) -> connector_pb2.SyncEvent:
    """Return the stream's message of a progress."""
    line = " ".join(progress.message.split())[:_MAX_PROGRESS_TEXT]
    return connector_pb2.SyncEvent(
        progress=connector_pb2.Progress(done=progress.done, total=progress.total, message=line)
    )
