"""Checkpoints that a destination keeps beside what it writes, in one transaction with it.

What a destination answers is outside text: it is read within bounds, and decides where a sync
begins, as an operator asks for with a setting of the destination.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from aperio_plugin.wire import limits

from aperio_cli.data.state import Checkpoint
from aperio_cli.host.calls.envelopes import format_time
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_plugin.wire import destination_pb2

FEATURE: Final = "checkpoints"
"""Its name in `Interface.features`."""

_OWNER_DIGITS: Final = 32
_MOST_VERSION: Final = 128


@dataclass(frozen=True, slots=True)
class SyncSource:
    """Which sync of an organization's integration a checkpoint is of.

    Attributes:
        connector: its id, a space, and what tells apart who stands behind it.
        choice: of which streams and event types; empty: of all.
    """

    connector: str
    choice: str = ""

    @classmethod
    def of(cls, owner: str, choice: str) -> SyncSource:
        """Return the source of whoever owns the state of a connector.

        Args:
            owner: as `models.ownership` names owners. The destination gets the id in it as it is,
                and else a digest: it may have a path of this machine in it.
            choice: the key of a scope; a longer one than fits stands there as a digest.
        """
        digest = hashlib.sha256(owner.encode()).hexdigest()[:_OWNER_DIGITS]
        if len(choice.encode()) > limits.MAX_SOURCE_BYTES:
            choice = f"sha256:{hashlib.sha256(choice.encode()).hexdigest()}"
        return cls(f"{owner.partition(' ')[0]} {digest}", choice)

    def to_message(self) -> destination_pb2.SyncSource:
        """Return the source as its message."""
        from aperio_plugin.wire import destination_pb2

        return destination_pb2.SyncSource(connector=self.connector, choice=self.choice)


@dataclass(frozen=True, slots=True)
class CheckpointToStore:
    """A checkpoint that a destination is to store in one transaction with envelopes.

    Attributes:
        source: which sync it is of.
        cursor: the connector's, at most 64 KiB.
        replaces: the cursor that the destination is known to have; empty: none.
        covered: the time until which a stream was read, RFC 3339 in UTC, by its name.
        version: of the connector.
    """

    source: SyncSource
    cursor: bytes
    replaces: bytes = b""
    covered: Mapping[str, str] = field(default_factory=dict)
    version: str = ""

    def to_message(self) -> destination_pb2.StoreCheckpoint:
        """Return it as its message."""
        from aperio_plugin.wire import destination_pb2

        message = destination_pb2.StoreCheckpoint(
            source=self.source.to_message(), replaces=self.replaces
        )
        message.checkpoint.cursor = self.cursor
        message.checkpoint.connector_version = self.version
        for name, until in islice(self.covered.items(), limits.MAX_COVERED):
            message.checkpoint.covered[name].FromJsonString(until)
        return message


@dataclass(frozen=True, slots=True)
class Position:
    """Where a destination is in a sync.

    Attributes:
        kept: whether it keeps checkpoints, with the settings that it was asked with.
        checkpoint: the one that it stored last; None: none.
    """

    kept: bool
    checkpoint: Checkpoint | None = None

    @property
    def cursor(self) -> bytes:
        """The cursor that it has; empty: none."""
        return self.checkpoint.cursor if self.checkpoint else b""


def position_of(answer: destination_pb2.PositionResponse) -> Position:
    """Return what a destination says of a sync; times that are none are left out.

    Raises:
        ValueError: the cursor is longer than 64 KiB.
    """
    if not answer.kept:
        return Position(kept=False)
    if not answer.HasField("checkpoint"):
        return Position(kept=True)
    found: Any = answer.checkpoint
    if len(found.cursor) > limits.MAX_CURSOR_BYTES:
        raise ValueError(
            f"expected a cursor of at most {limits.MAX_CURSOR_BYTES} bytes,"
            f" received {len(found.cursor)}"
        )
    times = ((name, format_time(time)) for name, time in found.covered.items())
    covered = {name: time for name, time in times if time}
    version = one_line(found.connector_version, limit=_MOST_VERSION)
    stored_at = format_time(answer.stored_at) if answer.HasField("stored_at") else ""
    return Position(kept=True, checkpoint=Checkpoint(found.cursor, version, stored_at, covered))
