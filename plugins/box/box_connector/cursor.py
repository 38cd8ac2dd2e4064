"""Where a sync stands in Box's event streams, as the opaque cursor of a checkpoint."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self

Stream = Literal["admin_logs", "admin_logs_streaming"]
HISTORY: Final[Stream] = "admin_logs"
LIVE: Final[Stream] = "admin_logs_streaming"
BEGINNING: Final = "0"

_VERSION: Final = 1
_MAX_POSITION = 256
# Box keeps 14 days in the live stream (Box's guide "Stream Types"); a day less is on the safe side.
_LIVE_RETENTION: Final = timedelta(days=13)
# Events reach the history late (Box's guide "Get Enterprise Events"): go back further than needed.
_HISTORY_OVERLAP: Final = timedelta(days=1)


class CursorInvalid(ValueError):
    """The bytes are not a cursor that this connector wrote."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in one of the two streams.

    Attributes:
        stream: which stream is read.
        position: Box's `stream_position` of the next chunk.
        created_after: events that are older are not wanted; None: all that Box has.
        read_at: when Box gave the position.
    """

    stream: Stream
    position: str
    created_after: datetime | None
    read_at: datetime

    @classmethod
    def first(cls, created_after: datetime | None, now: datetime) -> Self:
        """Give the start: the history if a backfill is asked for, else the live stream."""
        stream = HISTORY if created_after else LIVE
        return cls(stream, BEGINNING, created_after, now)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote.

        Raises:
            CursorInvalid: not JSON, another version, or a field that is missing or malformed.
        """
        try:
            fields = json.loads(data)
            if fields["version"] != _VERSION:
                raise CursorInvalid(f"expected version {_VERSION}")
            return cls(
                stream=_stream(fields["stream_type"]),
                position=_position(fields["stream_position"]),
                created_after=_time(fields["created_after"]) if fields["created_after"] else None,
                read_at=_time(fields["read_at"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CursorInvalid(f"not a cursor of this connector: {error}") from error

    def encode(self) -> bytes:
        """Give the cursor as JSON: version, stream type, position and the two times."""
        fields = {
            "version": _VERSION,
            "stream_type": self.stream,
            "stream_position": self.position,
            "created_after": self.created_after.isoformat() if self.created_after else None,
            "read_at": self.read_at.isoformat(),
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    def advanced(self, position: str, now: datetime) -> Self:
        """Give the place after one chunk."""
        return replace(self, position=position, read_at=now)

    def at_the_end_of_history(self, now: datetime) -> Self:
        """Give the live stream from its oldest event on.

        The streams overlap by up to two weeks: starting the live one at `now` would lose the
        events that had not reached the history yet. Whoever reads drops the duplicates by id.
        """
        return replace(self, stream=LIVE, position=BEGINNING, read_at=now)

    def resumed(self, now: datetime) -> Self:
        """Give where to go on after a pause, without loss.

        After a pause that is longer than Box keeps live events, the history fills the gap.
        """
        if self.stream == HISTORY or now - self.read_at < _LIVE_RETENTION:
            return self
        after = self.read_at - _HISTORY_OVERLAP
        return replace(self, stream=HISTORY, position=BEGINNING, created_after=after)


def _stream(value: Any) -> Stream:
    if value == HISTORY:
        return HISTORY
    if value == LIVE:
        return LIVE
    raise CursorInvalid("unknown stream_type")


def _position(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_POSITION:
        raise CursorInvalid("malformed stream_position")
    return value


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(value)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
