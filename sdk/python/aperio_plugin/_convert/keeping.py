"""Checkpoints that a destination keeps: what the host asks for, and where a destination is."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from aperio_plugin import destination, errors
from aperio_plugin._convert.times import time_fields
from aperio_plugin._generated.aperio.plugin.v1 import destination_pb2 as pb
from aperio_plugin.limits import MAX_CURSOR_BYTES

if TYPE_CHECKING:
    from datetime import datetime

_OUTCOMES = {
    destination.CheckpointOutcome.NOT_STORED: pb.DeliverResponse.CHECKPOINT_OUTCOME_UNSPECIFIED,
    destination.CheckpointOutcome.STORED: pb.DeliverResponse.CHECKPOINT_OUTCOME_STORED,
    destination.CheckpointOutcome.MOVED: pb.DeliverResponse.CHECKPOINT_OUTCOME_MOVED,
}


def source_from(message: pb.SyncSource) -> destination.SyncSource:
    """Return which sync the host speaks of.

    Raises:
        errors.InvalidArgument: it is none's.
    """
    if not message.connector:
        raise errors.InvalidArgument("a checkpoint of no connector")
    return destination.SyncSource(message.connector, message.choice)


def source_message(source: destination.SyncSource) -> pb.SyncSource:
    """Return the message of a source."""
    return pb.SyncSource(connector=source.connector, choice=source.choice)


def store_from(message: pb.StoreCheckpoint) -> destination.StoreCheckpoint:
    """Return what the host wants stored.

    Raises:
        errors.InvalidArgument: it is of no connector, or a time is none.
    """
    return destination.StoreCheckpoint(
        source_from(message.source), checkpoint_from(message.checkpoint), message.replaces
    )


def store_message(request: destination.StoreCheckpoint) -> pb.StoreCheckpoint:
    """Return the message of what is to be stored.

    Raises:
        errors.InvalidRecord: as `checkpoint_message`.
    """
    return pb.StoreCheckpoint(
        source=source_message(request.source),
        checkpoint=checkpoint_message(request.checkpoint),
        replaces=request.replaces,
    )


def checkpoint_from(message: pb.SyncCheckpoint) -> destination.SyncCheckpoint:
    """Return a checkpoint, its times down to the microsecond before.

    Raises:
        errors.InvalidArgument: a time is none.
    """
    try:
        covered = {name: time.ToDatetime(tzinfo=UTC) for name, time in message.covered.items()}
    except (ValueError, OverflowError) as error:
        raise errors.InvalidArgument("covered has no time in the years 1 to 9999") from error
    return destination.SyncCheckpoint(message.cursor, covered, message.connector_version)


def checkpoint_message(checkpoint: destination.SyncCheckpoint) -> pb.SyncCheckpoint:
    """Return the message of a checkpoint.

    Raises:
        errors.InvalidRecord: the cursor is not bytes, or too long, or a time none.
    """
    cursor: Any = checkpoint.cursor
    if not isinstance(cursor, bytes):
        raise errors.InvalidRecord("a cursor must be bytes")
    if len(cursor) > MAX_CURSOR_BYTES:
        raise errors.InvalidRecord(
            f"a cursor has {len(cursor)} bytes, {MAX_CURSOR_BYTES} are the most"
        )
    message = pb.SyncCheckpoint(cursor=cursor, connector_version=checkpoint.connector_version)
    for name, time in checkpoint.covered.items():
        _set_time(message.covered[name], time, f"covered of {name!r:.80}")
    return message


def position_message(position: destination.Position | None) -> pb.PositionResponse:
    """Return the message of where a destination is.

    Raises:
        errors.InvalidRecord: as `checkpoint_message`, or the time of the checkpoint is none.
    """
    if position is None:
        return pb.PositionResponse()
    message = pb.PositionResponse(kept=True)
    if position.checkpoint is not None:
        message.checkpoint.CopyFrom(checkpoint_message(position.checkpoint))
        if position.stored_at is not None:
            _set_time(message.stored_at, position.stored_at, "stored_at")
    return message


def outcome_of(outcome: destination.CheckpointOutcome) -> pb.DeliverResponse.CheckpointOutcome:
    """Return the wire's word for what became of a checkpoint.

    Raises:
        TypeError: it is something else.
    """
    found = _OUTCOMES.get(outcome)
    if found is None:
        raise TypeError(f"expected a CheckpointOutcome, received {type(outcome).__name__}")
    return found


def _set_time(message: Any, time: datetime, what: str) -> None:
    try:
        fields = time_fields(time)
    except (TypeError, ValueError) as error:
        raise errors.InvalidRecord(
            f"{what} is no time in the years 1 to 9999 with a zone"
        ) from error
    message.seconds, message.nanos = fields["seconds"], fields.get("nanos", 0)
