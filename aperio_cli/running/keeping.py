"""Keeping: a sync whose cursor the destination stores in one transaction with what it writes.

Where it does, its cursor is the one that the sync begins from, whatever the host has stored: what
was brought back from a backup goes on from where it was then. A destination that has none yet
begins anew, because nobody knows what it has of what came before; repeats do no harm. The host
stores its own after each one all the same, for a sync without.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aperio_cli.host.calls.keeping import FEATURE, CheckpointToStore, SyncSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aperio_cli.data.state import Checkpoint, Slice
    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.keeping import Position
    from aperio_cli.host.calls.session import Session
    from aperio_cli.host.calls.sync import CursorStore, SyncTask
    from aperio_cli.running.delivering import Deliverer


@dataclass(frozen=True, slots=True)
class CursorKept:
    """The destination keeps the cursor of the sync; told once, before anything is read.

    Attributes:
        by: the destination, as `<id>@<version>`.
        goes_on: whether the sync goes on from it; else it begins anew: there is none yet, or all is
            read again.
        stored_at: when the destination stored the one that it goes on from, RFC 3339 in UTC; None:
            it does not say, or there is none.
        own_stored_at: when the host stored its own, where that is another one, and is not used.
    """

    by: str
    goes_on: bool
    stored_at: str | None = None
    own_stored_at: str | None = None


class Keeper:
    """Hands envelopes to a destination that keeps the checkpoints of their sync.

    The last ones are held back until their checkpoint is there, so that one call has both.

    Args:
        deliverer: of the destination.
        source: which sync it is.
        position: where the destination is in it.
        own: the host's checkpoints, which are stored as well.
        version: of the connector.
    """

    def __init__(
        self,
        deliverer: Deliverer,
        source: SyncSource,
        position: Position,
        own: CursorStore,
        version: str,
    ) -> None:
        self._deliverer = deliverer
        self._position = position
        self._own = own
        self._next = CheckpointToStore(source, b"", position.cursor, version=version)
        self._held: Sequence[Outbound] = ()
        self._has_failed = False

    @property
    def held(self) -> int:
        """How many envelopes it took, and the destination has not for certain."""
        return len(self._held)

    # ── as the sink ───────────────────────────────────────────────────────────────────────────────

    async def __call__(self, envelopes: Sequence[Outbound]) -> None:
        """Deliver those before these, and hold these back.

        Raises:
            DestinationUnavailable, PluginFault: as `Deliverer.deliver_all`.
        """
        await self._deliver()
        self._held = envelopes

    async def keep(self, cursor: bytes, covered: Mapping[str, str]) -> None:
        """Deliver what is held back, with the checkpoint after it.

        Raises:
            AperioError: as `Deliverer.store`.
        """
        checkpoint = replace(self._next, cursor=cursor, covered=dict(covered))
        await self._deliver(checkpoint)
        self._next = replace(self._next, replaces=cursor)

    async def drain(self) -> None:
        """Deliver what is held back, unless the destination has failed.

        Raises:
            DestinationUnavailable, PluginFault: as `Deliverer.deliver_all`.
        """
        if not self._has_failed:
            await self._deliver()

    async def _deliver(self, checkpoint: CheckpointToStore | None = None) -> None:
        self._has_failed = True
        if checkpoint:
            await self._deliverer.store(self._held, checkpoint)
        elif self._held:
            await self._deliverer(self._held)
        self._has_failed = False
        self._held = ()

    # ── as the keeper of the cursor ───────────────────────────────────────────────────────────────

    def checkpoint(self, _slice: Slice, _choice: str = "") -> Checkpoint | None:
        """Return the destination's checkpoint."""
        return self._position.checkpoint

    def store_checkpoint(
        self,
        slice_: Slice,
        cursor: bytes,
        *,
        version: str,
        choice: str = "",
        covered: Mapping[str, str] | None = None,
    ) -> None:
        """Store the host's own, after the destination's.

        Raises:
            AperioError: as `StateDatabase.store_checkpoint`.
        """
        self._own.store_checkpoint(slice_, cursor, version=version, choice=choice, covered=covered)

    def of(self, task: SyncTask) -> SyncTask:
        """Return a sync that goes by what the destination keeps."""
        return replace(task, state=self, keep=self.keep, drain=self.drain)


async def find_keeper(
    deliverer: Deliverer,
    connector: Session,
    target: Session,
    task: SyncTask,
    tell: Callable[[CursorKept], None],
) -> Keeper | None:
    """Return the keeper of a sync's checkpoints; None: the destination keeps none.

    Args:
        deliverer: of the destination.
        connector: whose sync it is.
        target: the destination.
        task: the sync.
        tell: hears that it does.

    Raises:
        AperioError: as `Deliverer.position`.
    """
    if FEATURE not in target.declaration.interface.features:
        return None
    source = SyncSource.of(connector.plugin.program.state_owner, task.scope.key)
    position = await deliverer.position(source)
    if not position.kept:
        return None
    found = position.checkpoint
    if found:
        names = {"", *(stream.name for stream in connector.declaration.streams)}
        covered = {name: until for name, until in found.covered.items() if name in names}
        found = replace(found, covered=covered)
        position = replace(position, checkpoint=found)
    own = task.state.checkpoint(connector.slice, task.scope.key)
    told = CursorKept(target.plugin.program.producer, goes_on=bool(found and not task.full))
    if found and told.goes_on:
        told = replace(told, stored_at=found.stored_at or None)
    if own and own.cursor != position.cursor:
        told = replace(told, own_stored_at=own.stored_at)
    tell(told)
    return Keeper(deliverer, source, position, task.state, connector.plugin.program.version)
