"""Dead letters: records that cannot become events, told in texts that always fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

if TYPE_CHECKING:
    from aperio_plugin.connector import DeadLetter

# Limits of proto/aperio/plugin/v1/connector.proto, in bytes.
_MAX_REASON_BYTES = 1024
_MAX_CODE_BYTES = 64
_MAX_ID_BYTES = 512
_MAX_POSITION_BYTES = 512
_MAX_NAME_BYTES = 128
_MAX_EXCERPT_BYTES = 1024
_LONGEST_CHARACTER = 4


def dead_letter_message(letter: DeadLetter) -> connector_pb2.SyncEvent:
    """Return the stream's message of a dead letter.

    What is too long is cut, what is not UTF-8 is replaced, nothing is refused: a dead letter is
    what is left to say about a record that already was.
    """
    record = (
        letter.record.encode(errors="replace") if isinstance(letter.record, str) else letter.record
    )
    start = bytes(record[: _MAX_EXCERPT_BYTES + _LONGEST_CHARACTER])
    return connector_pb2.SyncEvent(
        dead_letter=connector_pb2.DeadLetter(
            reason=_line(letter.reason, _MAX_REASON_BYTES) or "no reason was given",
            code=_line(letter.code, _MAX_CODE_BYTES),
            source_event_id=_cut(letter.source_event_id, _MAX_ID_BYTES),
            position=_line(letter.position, _MAX_POSITION_BYTES),
            event_type=_cut(letter.event_type, _MAX_NAME_BYTES),
            source=_cut(letter.source, _MAX_NAME_BYTES),
            excerpt=_cut(start.decode(errors="replace"), _MAX_EXCERPT_BYTES),
            record_bytes=len(record),
        )
    )


def _line(text: str, most: int) -> str:
    return _cut(" ".join(str(text).split()), most)


def _cut(text: str, most: int) -> str:
    """Return at most so many bytes of a text, whole characters, with `\ufffd` for surrogates."""
    mended = str(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return mended.encode()[:most].decode(errors="ignore")
