"""Stamping whatever a sync's message carries: events, findings, audit log entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aperio_plugin.wire import limits

from aperio_cli.host.calls.envelopes import Stamper
from aperio_cli.host.calls.findings import AuditLogStamper, FindingStamper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aperio_plugin.wire import connector_pb2

    from aperio_cli.host.calls.envelopes import Origin, Outbound, Promises
    from aperio_cli.host.calls.letters import DeadLetter

ITEMS: Final = {"batch": "events", "findings": "findings", "audit_log": "entries"}
"""By their field in SyncEvent, the field in which a batch has its items."""
MOST_ITEMS: Final = 65_536
"""In one message, split or not: an item of any use has more than 64 of its 4 MiB."""


def count_of(kind: str, message: connector_pb2.SyncEvent) -> int:
    """Return how many items the batch of a message has."""
    return len(getattr(getattr(message, kind), ITEMS[kind]))


def parts(kind: str, message: connector_pb2.SyncEvent) -> Iterator[Any]:
    """Yield the batch of a message; one of more than connector.proto allows in several.

    So it costs no more memory than batches that keep to it.

    Args:
        kind: of `ITEMS`, as the message has it.
        message: has such a batch.
    """
    batch = getattr(message, kind)
    field = ITEMS[kind]
    items = getattr(batch, field)
    if len(items) <= limits.MAX_BATCH:
        yield batch
        return
    for first in range(0, len(items), limits.MAX_BATCH):
        yield type(batch)(**{field: items[first : first + limits.MAX_BATCH]})


class MessageStamper:
    """Makes envelopes of what the messages of one sync carry.

    Args:
        origin: of all of it.
        mask: returns a text without secrets; for dead letters only.
        promises: of the connector.
    """

    def __init__(self, origin: Origin, mask: Callable[[str], str], promises: Promises) -> None:
        self._events = Stamper(origin, mask=mask, promises=promises)
        self._stampers: dict[str, Stamper | FindingStamper | AuditLogStamper] = {
            "batch": self._events,
            "findings": FindingStamper(origin, mask, promises),
            "audit_log": AuditLogStamper(origin, mask, promises),
        }

    def restart(self) -> None:
        """Take note that the sync goes on from its last checkpoint, and repeats what came after."""
        for stamper in self._stampers.values():
            stamper.restart()

    def stamp(self, kind: str, batch: Any) -> tuple[list[Outbound], list[DeadLetter]]:
        """Return the envelopes of a batch in order, and what of it cannot be passed on.

        Args:
            kind: of `ITEMS`.
            batch: EventBatch, FindingBatch or AuditLogBatch.
        """
        stamper: Any = self._stampers[kind]
        made: tuple[list[Outbound], list[DeadLetter]] = stamper.stamp(batch)
        return made

    def letter(self, message: connector_pb2.DeadLetter) -> DeadLetter:
        """Return what the plugin says that it cannot pass on."""
        return self._events.letter(message)
