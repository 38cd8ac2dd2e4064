"""A sync's messages: the hot path."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aperio_plugin import errors
from aperio_plugin._convert.objects import encode_object
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

if TYPE_CHECKING:
    from aperio_plugin.connector import Actor, Checkpoint, Event, Progress

MAX_RECORD_BYTES: Final = 1024 * 1024
MAX_CURSOR_BYTES: Final = 64 * 1024
_MAX_ID_BYTES = 512
_MAX_NAME_BYTES = 128
_MAX_ACTOR_BYTES = 64 * 1024
_MAX_PROGRESS_TEXT = 1000
_MOST_BESIDE_ACTOR_TEXT = 32  # tags and lengths
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # google/protobuf/timestamp.proto
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_BESIDE_RECORD = _MAX_ID_BYTES + 2 * _MAX_NAME_BYTES + 64  # and the time, tags and lengths


def event_fields(event: Event) -> tuple[dict[str, Any], int]:
    """Return an event as the arguments of its message, and an upper bound of its size in bytes.

    All is checked here, so that making the message of a whole batch cannot fail.

    Raises:
        errors.InvalidRecord: a part of it is malformed or too long; the error names the event.
    """
    try:
        record = event.record
        if not isinstance(record, bytes):
            record = encode_object(record)
        identifier, kind, source = event.source_event_id, event.event_type, event.source
        # The common case first: what is ASCII and short needs no closer look.
        if not (
            0 < len(identifier) <= _MAX_ID_BYTES
            and 0 < len(kind) <= _MAX_NAME_BYTES
            and len(source) <= _MAX_NAME_BYTES
            and len(record) <= MAX_RECORD_BYTES
            and (identifier + kind + source).isascii()
        ):
            _check_lengths(event, record)
        fields: dict[str, Any] = {
            "source_event_id": identifier,
            "event_type": kind,
            "occurred_at": _time(event.occurred_at),
            "source": source,
            "record_json": record,
        }
        size = len(record) + _MOST_BESIDE_RECORD
        if event.actor is not None:
            fields["actor"], actor_size = _actor_fields(event.actor)
            size += actor_size
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError) as error:
        name = repr(event.source_event_id)[:200]
        raise errors.InvalidRecord(f"event {name} cannot be passed on: {error}") from error
    return fields, size


def _check_lengths(event: Event, record: bytes) -> None:
    for name, value, least, most in (
        ("source_event_id", event.source_event_id.encode(), 1, _MAX_ID_BYTES),
        ("event_type", event.event_type.encode(), 1, _MAX_NAME_BYTES),
        ("source", event.source.encode(), 0, _MAX_NAME_BYTES),
        ("record", record, 0, MAX_RECORD_BYTES),
    ):
        if len(value) < least:
            raise ValueError(f"{name} is empty")
        if len(value) > most:
            raise ValueError(f"{name} has {len(value)} bytes, {most} are the most")


def _actor_fields(actor: Actor) -> tuple[dict[str, str], int]:
    fields = {
        "id": actor.id,
        "email": actor.email,
        "display_name": actor.display_name,
        "type": actor.type,
        "ip_address": actor.ip_address,
    }
    size = len("".join(fields.values()).encode())
    if size > _MAX_ACTOR_BYTES:
        raise ValueError(f"actor has {size} bytes, {_MAX_ACTOR_BYTES} are the most")
    return fields, size + _MOST_BESIDE_ACTOR_TEXT


def _time(value: datetime | str | float) -> dict[str, int]:
    """Return the arguments of a Timestamp."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"occurred_at has no time zone: {value}")
        since = value - _EPOCH
        return {"seconds": since.days * 86400 + since.seconds, "nanos": since.microseconds * 1000}
    seconds, microseconds = divmod(round(value * 1_000_000), 1_000_000)
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise ValueError(f"occurred_at is outside of the years 1 to 9999: {value}")
    return {"seconds": seconds, "nanos": microseconds * 1000}


def batch_message(events: list[dict[str, Any]]) -> connector_pb2.SyncEvent:
    """Return the stream's message of the events that `event_fields` gave."""
    # From dictionaries it is made in half the time that appending messages takes, measured.
    return connector_pb2.SyncEvent(batch={"events": events})


def checkpoint_message(checkpoint: Checkpoint) -> connector_pb2.SyncEvent:
    """Return the stream's message of a checkpoint.

    Raises:
        errors.InvalidRecord: the cursor is not bytes, or too long.
    """
    try:
        length = len(checkpoint.cursor)  # None would count as no cursor
        message = connector_pb2.Checkpoint(cursor=checkpoint.cursor)
    except TypeError as error:
        raise errors.InvalidRecord("a cursor must be bytes") from error
    if length > MAX_CURSOR_BYTES:
        raise errors.InvalidRecord(f"a cursor has {length} bytes, {MAX_CURSOR_BYTES} are the most")
    return connector_pb2.SyncEvent(checkpoint=message)


def progress_message(progress: Progress) -> connector_pb2.SyncEvent:
    """Return the stream's message of a progress."""
    line = " ".join(progress.message.split())[:_MAX_PROGRESS_TEXT]
    return connector_pb2.SyncEvent(
        progress=connector_pb2.Progress(done=progress.done, total=progress.total, message=line)
    )
