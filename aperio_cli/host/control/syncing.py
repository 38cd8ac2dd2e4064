"""A sync on behalf of a caller: stamped as every other, and passed on in the order of its stream.

The pipeline is `calls.sync`; what differs is who keeps the cursor. It comes with the request, and
goes to the caller as a checkpoint once everything before it was written to the stream. gRPC takes
the next message when the caller has room for it, and until then the plugin is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aperio_cli.data.state import Checkpoint
from aperio_cli.host.calls.letters import DeadLetter
from aperio_cli.host.calls.sync import (
    CheckpointStored,
    EventDoubted,
    ProgressMade,
    SyncTask,
    TokenRenewed,
    sync_connector,
)
from aperio_cli.host.control import encoding
from aperio_cli.host.control.telling import letter_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from aperio_plugin.wire import control_pb2

    from aperio_cli.data.state import Slice
    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.scope import SyncScope
    from aperio_cli.host.calls.session import Session
    from aperio_cli.host.calls.sync import Note
    from aperio_cli.host.calls.tally import Tally

MOST_BATCH_BYTES: Final = 1024 * 1024
"""Of the envelopes in one message, unless a single one is longer."""

_TOKEN_RENEWED: Final = "the access token had expired; the sync goes on with another"  # noqa: S105 - a sentence


class Outlet:
    """Takes what a sync gives, and writes it to the caller; who keeps the cursor is the caller.

    Args:
        write: passes a SyncResponse on, or the bytes of one; returns when there is room for the
            next.
        cursor: of the caller's last checkpoint; empty: it has none.
    """

    def __init__(self, write: Callable[[Any], Awaitable[None]], cursor: bytes) -> None:
        from aperio_plugin.wire import control_pb2

        self._response = control_pb2.SyncResponse
        self._write = write
        self._cursor = cursor
        self._pending: list[control_pb2.SyncResponse] = []

    # ── as the keeper of the cursor ───────────────────────────────────────────────────────────────

    def checkpoint(self, _slice: Slice, _choice: str = "") -> Checkpoint | None:
        """Return the caller's checkpoint."""
        return Checkpoint(self._cursor, "", "") if self._cursor else None

    def store_checkpoint(
        self,
        _slice: Slice,
        cursor: bytes,
        *,
        version: str,  # noqa: ARG002 - of `CursorStore`
        choice: str = "",  # noqa: ARG002 - as above
        covered: Mapping[str, str] | None = None,  # noqa: ARG002 - as above
    ) -> None:
        """Keep the cursor for the note that follows, which says what it covers."""
        self._cursor = cursor

    # ── as the observer ───────────────────────────────────────────────────────────────────────────

    def observe(self, note: Note) -> None:
        """Take a note for the caller; `settle` passes it on."""
        response = self._response()
        match note:
            case CheckpointStored():
                checkpoint = response.checkpoint
                checkpoint.cursor, checkpoint.stream = self._cursor, note.stream
                if note.covers_until:
                    checkpoint.covers_until.FromJsonString(note.covers_until)
            case DeadLetter():
                response.dead_letter.CopyFrom(letter_message(note))
            case ProgressMade():
                made = response.progress
                made.done, made.total, made.message = note.done, note.total, note.message
            case TokenRenewed():
                _notice(response, "token-renewed", _TOKEN_RENEWED)
            case EventDoubted():
                _notice(response, "event-doubted", note.why, note.source_event_id)
        self._pending.append(response)

    async def settle(self) -> None:
        """Pass on what was observed."""
        pending, self._pending = self._pending, []
        for response in pending:
            await self._write(response)

    # ── as the sink ───────────────────────────────────────────────────────────────────────────────

    async def accept(self, envelopes: Sequence[Outbound]) -> None:
        """Pass envelopes on, behind what was observed before them."""
        await self.settle()
        for part in _parts(envelopes):
            await self._write(encoding.batch(part))


async def sync(
    session: Session, outlet: Outlet, scope: SyncScope, tally: Tally, *, strict: bool
) -> None:
    """Sync until the connector has caught up; everything that was observed is passed on.

    Raises:
        AperioError: as `sync_connector`.
    """
    task = SyncTask(
        outlet.accept,
        outlet,
        outlet.observe,
        strict=strict,
        scope=scope,
        settle=outlet.settle,
        tally=tally,
    )
    try:
        await sync_connector(session, task)
    except Exception:
        await outlet.settle()  # the dead letter that a strict sync ends at, say
        raise


def _parts(envelopes: Sequence[Outbound]) -> Iterator[Sequence[Outbound]]:
    """Yield the envelopes in parts that a message can carry."""
    sizes = [len(each.json) for each in envelopes]
    if sum(sizes) <= MOST_BATCH_BYTES:
        yield envelopes
        return
    begin = size_bytes = 0
    for at, more in enumerate(sizes):
        if size_bytes + more > MOST_BATCH_BYTES and at > begin:
            yield envelopes[begin:at]
            begin, size_bytes = at, 0
        size_bytes += more
    yield envelopes[begin:]


def _notice(response: control_pb2.SyncResponse, code: str, summary: str, event: str = "") -> None:
    notice = response.notice
    notice.severity = notice.SEVERITY_WARNING
    notice.code, notice.summary = code, summary
    if event:
        notice.attribute.steps.add(key=event)
