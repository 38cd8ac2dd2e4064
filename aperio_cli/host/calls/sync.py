"""A whole sync: token, stored checkpoint, events to a sink, checkpoints stored when they may be.

At least once (docs/reference/events.md): a checkpoint is stored only after every event before it
was accepted. Killed at any point and started again, nothing is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from aperio_plugin.wire import limits

from aperio_cli import clock
from aperio_cli.data.state import MAX_CURSOR_BYTES
from aperio_cli.errors import AperioError
from aperio_cli.errors.running import EventNotPassedOn, PluginFault, PluginUnauthenticated
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.answers import understood
from aperio_cli.host.calls.envelopes import Origin, Promises, format_time, lines_of
from aperio_cli.host.calls.letters import DeadLetter
from aperio_cli.host.calls.scope import EVERYTHING, SyncScope, require_understood
from aperio_cli.host.calls.stamping import ITEMS, MOST_ITEMS, MessageStamper, count_of, parts
from aperio_cli.host.calls.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aperio_cli.data.state import Checkpoint, Slice
    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.session import Session

MOST_DOUBTS: Final = 20
"""How many doubts about events are told of one sync."""
MOST_TOKENS: Final = 100
"""Tokens of one sync; at an hour each, four days."""


@dataclass(frozen=True, slots=True)
class CheckpointStored:
    """A checkpoint was stored; everything before it was accepted.

    Attributes:
        events: accepted so far.
        stream: the declared stream that has come on; empty: all of the call's.
        covers_until: everything of it up to this time was read, RFC 3339 in UTC; None: not known.
    """

    events: int
    stream: str = ""
    covers_until: str | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a stream was read.

    Attributes:
        stream: its name; empty: the connector has one stream without a name.
        covers_until: everything of it up to this time was read, RFC 3339 in UTC; None: not known.
    """

    stream: str
    covers_until: str | None


@dataclass(frozen=True, slots=True)
class ProgressMade:
    """What the plugin says about its progress; for people.

    Attributes:
        done: events read so far.
        total: how many there will be; 0: unknown.
        message: one line; not cleaned.
    """

    done: int
    total: int
    message: str


@dataclass(frozen=True, slots=True)
class TokenRenewed:
    """The token had expired; the sync goes on from the last checkpoint with another."""


@dataclass(frozen=True, slots=True)
class EventDoubted:
    """An event, or a checkpoint, was taken that is less than the connector promises.

    Attributes:
        source_event_id: which event; empty: a checkpoint. Not cleaned.
        why: what is wrong; not cleaned.
    """

    source_event_id: str
    why: str


Note = CheckpointStored | ProgressMade | TokenRenewed | DeadLetter | EventDoubted
"""What an observer of a sync hears, in order."""


@dataclass(frozen=True, slots=True)
class SyncSummary:
    """What a sync did.

    Attributes:
        events: accepted by the sink, repeats after a new token included.
        dead_letters: events and records that could not be passed on, repeats included.
        checkpoints: stored.
        tokens_renewed: how often a token expired in mid-sync.
        duration_s: from the first request to the last answer.
        filtered: events of types that were not asked for, which the connector gave all the same.
        coverage: how far each stream of the call was read, by this sync and those before it.
        findings: accepted, as events are.
        audit_log: entries of an audit log that were accepted.
    """

    events: int
    dead_letters: int
    checkpoints: int
    tokens_renewed: int
    duration_s: float
    coverage: tuple[Coverage, ...] = ()
    filtered: int = 0
    findings: int = 0
    audit_log: int = 0


class CursorStore(Protocol):
    """Who keeps the cursor of a sync: `StateDatabase`, or whoever asked for the sync."""

    def checkpoint(self, slice_: Slice, choice: str = "") -> Checkpoint | None:
        """Return the last stored checkpoint, or None."""

    def store_checkpoint(
        self,
        slice_: Slice,
        cursor: bytes,
        *,
        version: str,
        choice: str = "",
        covered: Mapping[str, str] | None = None,
    ) -> None:
        """Replace the checkpoint."""


async def _go_on() -> None:
    """Nobody has to be waited for."""


async def _keep_nothing(_cursor: bytes, _covered: Mapping[str, str]) -> None:
    """Nobody beside the store keeps it."""


@dataclass(frozen=True, slots=True)
class SyncTask:
    """What to do with a connector's events.

    Attributes:
        accept: takes events; returns when they are written and flushed, or delivered. Not called
            again before it has returned.
        state: where checkpoints are.
        observe: hears notes, of a dead letter before the checkpoint that covers it; must not block.
        full: read everything again, whatever the stored checkpoint.
        strict: stop at the first dead letter.
        scope: what is asked for.
        settle: awaited after each message of the connector: an observer that may have to wait
            passes on there what it has heard.
        tally: counts what becomes of the records, while it does.
        keep: awaited with the cursor of a checkpoint and what it covers, before it is stored: who
            accepts the events stores it with them. What was accepted before may be held back for
            it.
        drain: awaited when the connector has ended, well or not: nothing is held back any more.
    """

    accept: Callable[[Sequence[Outbound]], Awaitable[None]]
    state: CursorStore
    observe: Callable[[Note], None] = lambda _note: None
    full: bool = False
    strict: bool = False
    scope: SyncScope = EVERYTHING
    settle: Callable[[], Awaitable[None]] = _go_on
    tally: Tally = field(default_factory=Tally)
    keep: Callable[[bytes, Mapping[str, str]], Awaitable[None]] = _keep_nothing
    drain: Callable[[], Awaitable[None]] = _go_on


async def sync_connector(session: Session, task: SyncTask) -> SyncSummary:
    """Sync until the connector has caught up.

    Whatever `accept` raises passes through; what was accepted and checkpointed before stays stored.

    Raises:
        PluginUnauthenticated: a token expired and no checkpoint came since the last one did, so
            another would bring nothing; or the host cannot obtain tokens for it.
        EventNotPassedOn: an event cannot be passed on, and the task is strict.
        UsageError: the connector cannot be asked for the scope, or it says where to begin and a
            checkpoint is stored.
        PluginContractBroken: a message or a cursor is not as the interface says.
        PluginLimitReached: all of it takes longer than the plugin's limit.
        PluginFault: as `Connector.sync`.
        AperioError: as `Session.invocation` and `CursorStore.store_checkpoint`.
    """
    return await _Sync(session, task).run()


class _Sync:
    def __init__(self, session: Session, task: SyncTask) -> None:
        self._session = session
        self._task = task
        plugin = session.plugin
        self._mask = plugin.masks.cut
        promises = Promises.of(session.declaration, self._doubt)
        self._stamper = MessageStamper(_origin(session), self._mask, promises)
        self._doubts = 0
        self._accepted = dict.fromkeys(ITEMS, 0)
        self._dead_letters = 0
        self._checkpoints = 0
        self._filtered = 0
        require_understood(task.scope, session.declaration, plugin.program.subject)
        self._wanted = frozenset(task.scope.event_types)
        self._declared = [stream.name for stream in session.declaration.streams]
        self._streams = list(dict.fromkeys(task.scope.streams)) or self._declared or [""]
        stored = None if task.full else task.state.checkpoint(session.slice, task.scope.key)
        if stored and task.scope.from_time:
            raise _begun(plugin.program.subject, stored.stored_at)
        self._cursor = stored.cursor if stored else b""
        self._covered = dict(stored.covered) if stored else {}
        self._deadline_s = plugin.connector.sync_deadline_s()  # of all calls, with whatever tokens

    async def run(self) -> SyncSummary:
        began_s = clock.monotonic_s()
        renewed = 0
        while True:
            progress = self._checkpoints
            try:
                await self._stream()
                break
            except PluginUnauthenticated as error:
                renewed += 1
                self._require_hope(error, renewed, has_progress=self._checkpoints > progress)
                self._task.observe(TokenRenewed())
        duration_s = clock.monotonic_s() - began_s
        coverage = tuple(Coverage(name, self._covered.get(name)) for name in self._streams)
        events, findings, entries = self._accepted.values()
        counts = (events, self._dead_letters, self._checkpoints, renewed)
        return SyncSummary(
            *counts, duration_s, coverage, self._filtered, findings, audit_log=entries
        )

    async def _stream(self) -> None:
        """Make one call of Sync, from the last checkpoint to its end."""
        invocation = await self._session.invocation()
        connector, scope = self._session.plugin.connector, self._task.scope
        messages = connector.sync(
            invocation, self._cursor, scope=scope, deadline_s=self._deadline_s
        )
        self._stamper.restart()
        try:
            async for message in messages:
                await self._take(message)
                await self._task.settle()
        except PluginFault:
            with contextlib.suppress(AperioError):  # that one says why it ended
                await self._task.drain()
            raise
        finally:
            await messages.aclose()
        await self._task.drain()

    async def _take(self, message: Any) -> None:
        match message.WhichOneof("item"):
            case "batch" | "findings" | "audit_log" as kind:
                await self._pass_on(kind, message)
            case "dead_letter":
                self._bury(self._stamper.letter(message.dead_letter))
            case "checkpoint":
                with understood(self._session.plugin.broken, "Sync"):
                    stream, covers_until = self._covers(message.checkpoint)
                await self._store(message.checkpoint.cursor, stream, covers_until)
            case "progress":
                seen = message.progress
                text = self._mask(seen.message)
                self._task.observe(ProgressMade(seen.done, seen.total, text))
            case _:  # of a newer minor version: nothing that has to be understood
                pass

    def _asked(self, batch: Any) -> Any:
        """Return the batch without events of types that were not asked for; they are counted."""
        if not self._wanted:
            return batch
        events = [event for event in batch.events if event.event_type in self._wanted]
        left_out = len(batch.events) - len(events)
        self._filtered += left_out
        self._task.tally.filtered += left_out
        return type(batch)(events=events)

    async def _pass_on(self, kind: str, message: Any) -> None:
        count = count_of(kind, message)
        if count > MOST_ITEMS:
            why = f"expected at most {MOST_ITEMS} items in a message\nreceived {count}"
            raise self._session.plugin.broken("Sync", why)
        for batch in parts(kind, message):
            with understood(self._session.plugin.broken, "Sync"):
                asked = self._asked(batch) if kind == "batch" else batch
                envelopes, dead = self._stamper.stamp(kind, asked)
            for letter in dead:
                self._bury(letter)
            if envelopes:
                await self._task.accept(envelopes)
            self._accepted[kind] += len(envelopes)
            self._task.tally.sent += len(envelopes)
            if count > limits.MAX_BATCH:  # other plugins have their turn, and nothing piles up here
                await self._task.settle()
                await asyncio.sleep(0)

    def _bury(self, letter: DeadLetter) -> None:
        """Count a dead letter and tell it.

        Raises:
            EventNotPassedOn: the task is strict.
        """
        self._dead_letters += 1
        self._task.tally.dead_letters += 1
        self._task.observe(letter)
        if self._task.strict:
            raise EventNotPassedOn(
                f"{self._session.plugin.program.subject} was stopped at an event that cannot be"
                " passed on",
                why=str(letter),
                next=[
                    self._session.plugin.program.advice.bad_event,
                    "nothing after the last checkpoint was recorded: the next sync meets it again",
                ],
            )

    def _doubt(self, source_event_id: str, why: str) -> None:
        self._doubts += 1
        if self._doubts <= MOST_DOUBTS:
            self._task.observe(EventDoubted(self._mask(source_event_id), self._mask(why)))

    def _covers(self, checkpoint: Any) -> tuple[str, str | None]:
        """Return the stream of a checkpoint and the time that it covers; less where it errs.

        The cursor holds all the same: events must not come again for what is told about them.
        """
        stream = checkpoint.stream
        if not checkpoint.HasField("covers_until"):
            until = None
        else:
            until = format_time(checkpoint.covers_until) or None
            if until is None:
                self._doubt("", "covers_until: expected a time in years 1 to 9999")
        if stream and stream not in self._streams:
            is_declared = stream in self._declared
            why = "it was not asked for" if is_declared else "the schema does not declare it"
            self._doubt("", f"stream {stream}: {why}")
            return "", None
        return stream, until

    async def _store(self, cursor: bytes, stream: str, covers_until: str | None) -> None:
        if len(cursor) > MAX_CURSOR_BYTES:
            raise self._session.plugin.broken(
                "Sync", f"expected a cursor of at most {MAX_CURSOR_BYTES} bytes"
            )
        version = self._session.plugin.program.version
        if covers_until:
            streams = [stream] if stream else self._streams
            self._covered |= dict.fromkeys(streams, covers_until)
        await self._task.keep(cursor, self._covered)
        self._task.state.store_checkpoint(
            self._session.slice,
            cursor,
            version=version,
            choice=self._task.scope.key,
            covered=self._covered,
        )
        self._cursor = cursor
        self._checkpoints += 1
        tally = self._task.tally
        tally.checkpoint_sha256 = hashlib.sha256(cursor).hexdigest()
        tally.covers_until = _covered_by_all(self._covered, self._streams)
        observed = CheckpointStored(self._accepted["batch"], stream, covers_until)
        self._task.observe(observed)

    def _require_hope(self, error: PluginFault, renewed: int, *, has_progress: bool) -> None:
        """Raise the error again when another token cannot help."""
        if not self._session.can_renew_token or not has_progress or renewed >= MOST_TOKENS:
            raise error


def _covered_by_all(covered: Mapping[str, str], streams: Sequence[str]) -> str:
    """Return the time until which every one of the streams was read; empty: not known of one."""
    return min((covered.get(stream, "") for stream in streams), key=_in_order, default="")


def _in_order(text: str) -> tuple[str, str]:
    """Return what sorts times of RFC 3339 in UTC, whose fractions differ in length."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return whole, fraction.rstrip("0")


def _begun(subject: str, stored_at: str) -> UsageError:
    at = f" at {stored_at}" if stored_at else ""  # whoever keeps it need not say when
    return UsageError(
        f"`--from` says where {subject} begins, and it has begun: nothing was read",
        why=f"a checkpoint was stored{at}, from which the next sync goes on",
        next=["read again from that time: add `--full`", "go on from there: leave `--from` out"],
    )


def _origin(session: Session) -> Origin:
    program, request = session.plugin.program, session.request
    return Origin(
        program.producer, request.organization_id, request.integration_id, program.provider
    )


class WriterSink:
    """An `accept` that writes to a blocking file from a thread of its own.

    A reader that has stopped reading then blocks that thread, not the loop, so that the sync can
    still be cancelled. The thread is a daemon: it never keeps the process from ending.

    Args:
        write: writes all of its bytes and flushes them, blocking.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._jobs: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def __call__(self, events: Sequence[Outbound]) -> None:
        """Write the events as lines.

        Raises:
            Exception: whatever `write` raises, such as BrokenPipeError.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sink", daemon=True)
            self._thread.start()
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._jobs.put((lines_of(events), written))
        await written

    def _work(self) -> None:
        while True:
            data, written = self._jobs.get()
            error: Exception | None = None
            try:
                self._write(data)
            except Exception as failure:  # noqa: BLE001 - handed to whoever waits
                error = failure
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
                written.get_loop().call_soon_threadsafe(_settle, written, error)


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():  # cancelled meanwhile
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(None)
