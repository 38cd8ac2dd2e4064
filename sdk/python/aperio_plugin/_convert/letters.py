"""Dead letters: records that cannot become events, told in texts that always fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aperio_plugin._convert.texts import cut
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2
from aperio_plugin.connector import DeadLetter
from aperio_plugin.limits import (
    MAX_CODE_BYTES,
    MAX_EXCERPT_BYTES,
    MAX_ID_BYTES,
    MAX_NAME_BYTES,
    MAX_POSITION_BYTES,
    MAX_REASON_BYTES,
)

if TYPE_CHECKING:
    from aperio_plugin.connector import Event

_LONGEST_CHARACTER = 4


def dead_letter_message(letter: DeadLetter) -> connector_pb2.SyncEvent:
    """Return the stream's message of a dead letter.

    What is too long is cut, what is not UTF-8 is replaced, nothing is refused: a dead letter is
    what is left to say about a record that already was.
    """
    record = (
        str.encode(letter.record, errors="replace")
        if isinstance(letter.record, str)
        else letter.record
    )
    start = bytes(record[: MAX_EXCERPT_BYTES + _LONGEST_CHARACTER])
    return connector_pb2.SyncEvent(
        dead_letter=connector_pb2.DeadLetter(
            reason=_line(letter.reason, MAX_REASON_BYTES) or "no reason was given",
            code=_line(letter.code, MAX_CODE_BYTES),
            source_event_id=cut(letter.source_event_id, MAX_ID_BYTES),
            position=_line(letter.position, MAX_POSITION_BYTES),
            event_type=cut(letter.event_type, MAX_NAME_BYTES),
            origin=cut(letter.origin, MAX_NAME_BYTES),
            excerpt=cut(start.decode(errors="replace"), MAX_EXCERPT_BYTES),
            record_bytes=len(record),
        )
    )


def _line(text: str, most: int) -> str:
    return cut(" ".join(str(text).split()), most)


def letter_of(event: Event, reason: str) -> DeadLetter:
    """Return the dead letter of an event that cannot be passed on."""
    return DeadLetter(
        reason=reason,
        source_event_id=plain(event.source_event_id),
        event_type=plain(event.event_type),
        origin=plain(event.origin),
        record=readable(event.record),
    )


def plain(value: object) -> str:
    """Return a text as it is, and nothing for what is none."""
    return value if isinstance(value, str) else ""


def readable(record: object) -> bytes | str:
    """Return something that a person can read of a record, whatever it is."""
    if isinstance(record, bytes):
        return record
    try:
        return json.dumps(record, ensure_ascii=False, default=repr)
    except Exception:  # noqa: BLE001 - endless, too deep, or with methods that fail
        return ""
