"""Dead letters: what a connector read, and what cannot be passed on; told, counted, left behind."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Self

from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_plugin.wire import connector_pb2

INVALID: Final = "event-invalid"
"""The code of an event that the host refused; plugins give codes of their own."""

_LONGEST: Final = 1024
_LONGEST_CODE: Final = 64


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event, or a record that could not become one; made by `of_event` and `of_message`.

    Whatever a plugin sends makes one: its texts are masked, cleaned and cut.

    Attributes:
        reason: one line: what is wrong.
        code: stable name of the cause.
        source_event_id: id in the service; empty: it could not be read.
        position: where it was read, when it has no id.
        event_type: its type; empty: it could not be read.
        origin: where in the service it was read.
        excerpt: the beginning of the record.
        record_bytes: length of the whole record; 0: unknown.
    """

    reason: str
    code: str = INVALID
    source_event_id: str = ""
    position: str = ""
    event_type: str = ""
    origin: str = ""
    excerpt: str = ""
    record_bytes: int = 0

    @classmethod
    def of_event(cls, event: connector_pb2.Event, reason: str, mask: Callable[[str], str]) -> Self:
        """Make the dead letter of an event that the host cannot pass on."""
        return cls(
            reason=shown(reason, mask),
            source_event_id=shown(event.source_event_id, mask),
            event_type=shown(event.event_type, mask),
            origin=shown(event.origin, mask),
            excerpt=shown(event.record_json.decode(errors="replace"), mask),
            record_bytes=len(event.record_json),
        )

    @classmethod
    def of_message(cls, message: connector_pb2.DeadLetter, mask: Callable[[str], str]) -> Self:
        """Make the dead letter that a plugin tells of."""
        return cls(
            reason=shown(message.reason, mask) or "the plugin gives no reason",
            code=one_line(mask(message.code), limit=_LONGEST_CODE),
            source_event_id=shown(message.source_event_id, mask),
            position=shown(message.position, mask),
            event_type=shown(message.event_type, mask),
            origin=shown(message.origin, mask),
            excerpt=shown(message.excerpt, mask),
            record_bytes=message.record_bytes,
        )

    def __str__(self) -> str:
        named = f"event {self.source_event_id!r}" if self.source_event_id else self.position
        kind = f" ({self.event_type})" if self.event_type else ""
        return f"{named or 'an event without an id'}{kind}: {self.reason}"

    def to_json(self) -> dict[str, str | int]:
        """Return it as a line of a stream."""
        return {"type": "dead_letter"} | asdict(self)


def shown(text: str, mask: Callable[[str], str]) -> str:
    """Return a text as a dead letter has it: masked, cleaned and cut."""
    return one_line(mask(text), limit=_LONGEST)
