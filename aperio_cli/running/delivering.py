"""Delivering: envelopes in batches that one call may carry, until there is a verdict on each."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from aperio_cli import clock
from aperio_cli.errors.running import (
    CheckpointMoved,
    DestinationUnavailable,
    PluginDeadlineExceeded,
    PluginRateLimited,
    PluginReportedError,
    PluginUnauthenticated,
)
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.answers import understood, word
from aperio_cli.host.calls.addressing import Address
from aperio_cli.host.calls.destination import DEFAULT_BATCH, MAX_BATCH_BYTES
from aperio_cli.host.calls.keeping import position_of
from aperio_cli.host.calls.lines import BadLine
from aperio_cli.running import rejects as kept
from aperio_cli.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.invocation import Invocation
    from aperio_cli.host.calls.keeping import CheckpointToStore, Position, SyncSource
    from aperio_cli.host.calls.session import Session
    from aperio_cli.host.calls.tally import Tally
    from aperio_cli.running.rejects import Rejects

_Answer = TypeVar("_Answer")

_MOST_REASONS: Final = 20
_MOST_SHOWN: Final = 3
_MOST_FAILED: Final = 10
"""Envelopes in a row that make a destination fail, before it counts as the destination's fault."""
_FIRST_WAIT_S: Final = 1.0
_LEAST_WAIT_S: Final = 0.1  # a destination that asks for less would have us call it without end
_LONGEST_PAUSE_S: Final = 60.0
_LONGEST_WAIT_S: Final = 366 * 24 * 3600.0
_TOKEN_MARGIN: Final = timedelta(seconds=60)


async def batches(
    envelopes: AsyncIterator[Outbound], *, most: int, most_bytes: int
) -> AsyncIterator[list[Outbound]]:
    """Give the envelopes in lists that one call of a destination may carry, never an empty one.

    Raises:
        UsageError: as it came from the envelopes, after those before it were given.
    """
    batch: list[Outbound] = []
    size_bytes = 0
    try:
        async for envelope in envelopes:
            if batch and (len(batch) >= most or size_bytes + len(envelope.json) > most_bytes):
                yield batch
                batch, size_bytes = [], 0
            batch.append(envelope)
            size_bytes += len(envelope.json)
    except UsageError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a destination says of one envelope.

    Attributes:
        status: accepted, rejected, retry, or a word of a newer minor version.
        reason: one line: why it was not accepted.
        detail: more about it.
        code: stable name of the cause.
        after_s: try again no sooner; 0: it does not say.
    """

    status: str
    reason: str = ""
    detail: str = ""
    code: str = ""
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DeliveryRepeated:
    """Envelopes are handed over once more, after a wait.

    Attributes:
        envelopes: how many.
        wait_s: the wait.
        reason: why the first of them was not taken.
    """

    envelopes: int
    wait_s: float
    reason: str


@dataclass(slots=True)
class Deliveries:
    """Counts what became of envelopes.

    Attributes:
        accepted: how many the destination has.
        rejected: how many it will never take, and lines that are no envelope.
        retry: how many have to be tried again.
        repeated: how many were handed over again, each repeat counted.
        reasons: id, status, reason, code and line of those that were not accepted; the first 20.
        rejects_file: where they are kept in full; None: nowhere, or there is none.
    """

    accepted: int = 0
    rejected: int = 0
    retry: int = 0
    repeated: int = 0
    reasons: list[dict[str, str | int | None]] = field(default_factory=list)
    rejects_file: str | None = None

    def __str__(self) -> str:
        return f"{self.accepted} accepted, {self.rejected} rejected, {self.retry} to try again"

    def count_in(self, tally: Tally) -> None:
        """Count it all as a part of a run."""
        tally.sent += self.accepted
        tally.dead_letters += self.rejected
        tally.left += self.retry

    def note(self, identity: str, verdict: Verdict, line: int) -> None:
        """Keep the reason of one that was not accepted, unless there are 20 already."""
        if len(self.reasons) < _MOST_REASONS:
            self.reasons.append({
                "id": identity,
                "status": verdict.status,
                "reason": one_line(verdict.reason),
                "code": verdict.code,
                "line": line or None,
            })  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeliveryTask:
    """How to deliver.

    Attributes:
        rejects: keeps what will never be delivered; None: only its count and 20 reasons.
        retry_for_s: how long to try again while nothing is taken.
        must_settle: whether an envelope without a verdict by then is an error; else it is counted.
        observe: hears of repeats; must not block.
    """

    rejects: Rejects | None = None
    retry_for_s: float = 0.0
    must_settle: bool = False
    observe: Callable[[DeliveryRepeated], None] = lambda _note: None


class Deliverer:
    """Hands envelopes to one destination.

    Args:
        session: of the destination.
        task: how.

    Attributes:
        tally: what became of them so far.
    """

    def __init__(self, session: Session, task: DeliveryTask) -> None:
        self.tally = Deliveries()
        self._session = session
        self._task = task
        asked = session.request
        self._address = Address(asked.organization_id, asked.integration_id)
        self._invocations = _Invocations(session)
        self._failed = 0
        self._most = session.declaration.destination.max_batch_envelopes or DEFAULT_BATCH

    async def deliver_all(self, found: AsyncIterator[Outbound | BadLine]) -> None:
        """Deliver an input to its end, in batches.

        Lines that are no envelope, and envelopes of another organization, are rejected.

        Raises:
            UsageError: as it came from the input, after what was before it was delivered.
            DestinationUnavailable: there is no verdict on an envelope, and there must be.
            PluginFault: as `Destination.deliver`.
        """
        async for batch in batches(
            self._addressed(found), most=self._most, most_bytes=MAX_BATCH_BYTES
        ):
            await self._settle(batch)

    async def __call__(self, envelopes: Sequence[Outbound]) -> None:
        """Deliver these; as the `accept` of a sync.

        Raises:
            DestinationUnavailable, PluginFault: as `deliver_all`.
        """
        await self.deliver_all(_each(envelopes))

    async def _addressed(self, found: AsyncIterator[Outbound | BadLine]) -> AsyncIterator[Outbound]:
        """Give what may be handed over of an input; the rest is rejected one by one."""
        async for item in found:
            if isinstance(item, BadLine):
                self._reject_line(item)
            elif self._address.takes(item):
                yield self._address.addressed(item)
            else:
                self._reject([(item, self._foreign(item))], by="aperio")

    def _foreign(self, envelope: Outbound) -> Verdict:
        theirs, ours = clean(envelope.organization_id, limit=80), self._address.organization_id
        reason = f"it is of the organization `{theirs}`, the call is for `{ours}` (`--org`)"
        return Verdict("rejected", reason, code="organization-foreign")

    async def store(self, envelopes: Sequence[Outbound], checkpoint: CheckpointToStore) -> None:
        """Deliver these, the last of them in one call with a checkpoint that covers them.

        What is rejected is on disk before the checkpoint is stored.

        Args:
            envelopes: may be none.
            checkpoint: of a destination that keeps them.

        Raises:
            CheckpointMoved: the destination has another cursor than the one to be replaced.
            PluginContractBroken: it stored a checkpoint too early, or not at all.
            DestinationUnavailable, PluginFault: as `deliver_all`.
        """
        found = batches(
            self._addressed(_each(envelopes)), most=self._most, most_bytes=MAX_BATCH_BYTES
        )
        last: Sequence[Outbound] = ()
        async for batch in found:
            if last:
                await self._settle(last)
            last = batch
        await self._settle(last, checkpoint)

    async def position(self, source: SyncSource) -> Position:
        """Return where the destination is in a sync; it is asked again while it cannot answer.

        Args:
            source: which sync.

        Raises:
            DestinationUnavailable: it could not answer, for too long.
            PluginContractBroken: what it says is out of bounds.
            PluginFault: as `Destination.position`.
        """
        destination, patience = self._session.plugin.destination, _Patience(self._task.retry_for_s)
        while True:
            try:
                answer = await self._asked(lambda call: destination.position(call, source))
            except (PluginDeadlineExceeded, PluginReportedError) as error:
                verdict = _verdict_of(error)
                if verdict is None:
                    raise
            else:
                with understood(self._session.plugin.broken, "Position"):
                    return position_of(answer)
            wait_s = patience.wait_s(verdict.after_s)
            if wait_s is None:
                self._fail("did not say in time where the sync is", [verdict], verdict.after_s)
            await asyncio.sleep(wait_s)

    async def _settle(
        self, batch: Sequence[Outbound], checkpoint: CheckpointToStore | None = None
    ) -> None:
        """Hand a batch over until there is a verdict on all of it, or no time is left.

        Args:
            batch: may be empty with a checkpoint.
            checkpoint: stored after all of it.

        Raises:
            DestinationUnavailable: no time is left, and there must be a verdict.
        """
        patience = _Patience(self._task.retry_for_s)
        while left := await self._attempt(batch, checkpoint):
            verdicts = left.verdicts
            has_progress = len(left.found) < len(batch)  # it takes some
            batch = [envelope for envelope, _ in left.found]
            if not verdicts:  # on all envelopes there is one: the checkpoint may be stored
                continue
            asked_s = max(verdict.after_s for verdict in verdicts)
            wait_s = patience.wait_s(asked_s, has_progress=has_progress)
            if wait_s is None:
                self._give_up(left, asked_s)
                return
            self.tally.repeated += len(batch)
            self._task.observe(DeliveryRepeated(len(batch), wait_s, verdicts[0].reason))
            await asyncio.sleep(wait_s)

    async def _attempt(
        self, batch: Sequence[Outbound], checkpoint: CheckpointToStore | None = None
    ) -> _Left:
        """Hand a batch over once; return what has to be tried again."""
        try:
            answer = await self._call(batch, checkpoint)
        except PluginDeadlineExceeded as error:
            if not self._task.must_settle:
                raise
            # It may have handed over some: a repeat has the same keys.
            return _Left.all_of(batch, checkpoint, Verdict("retry", error.what))
        except PluginReportedError as error:
            if error.is_failure:
                return await self._isolate(batch, checkpoint, error)
            verdict = _verdict_of(error)
            if verdict is None:
                raise
            left = _Left.all_of(batch, checkpoint, verdict)
            if self._task.must_settle:
                return left
            if isinstance(error, PluginRateLimited):
                raise
            self._fail(left.not_done, left.verdicts, verdict.after_s)
        with understood(self._session.plugin.broken, "Deliver"):
            found = list(_verdicts(batch, answer))
            outcome = word(answer.CheckpointOutcome, answer.checkpoint_outcome)
        accepted = sum(verdict.status == "accepted" for _, verdict in found)
        self.tally.accepted += accepted
        self._failed = 0 if accepted else self._failed
        self._reject([each for each in found if each[1].status == "rejected"])
        # Words of a newer minor version, too: what may not have arrived is tried again.
        left = _Left([each for each in found if each[1].status not in {"accepted", "rejected"}])
        if checkpoint:
            is_whole = accepted == len(batch)
            left = self._held(left, checkpoint, outcome, is_empty=not batch, is_whole=is_whole)
        return left

    def _held(
        self,
        left: _Left,
        checkpoint: CheckpointToStore,
        outcome: str,
        *,
        is_empty: bool,
        is_whole: bool,
    ) -> _Left:
        """Return what has to be tried again of a call with a checkpoint.

        Args:
            left: of its envelopes.
            checkpoint: which it was.
            outcome: what the destination says of it, in a word.
            is_empty: whether there were no envelopes.
            is_whole: whether all of them were accepted.

        Raises:
            CheckpointMoved: the destination has another cursor.
            PluginContractBroken: it stored the checkpoint too early, or not at all.
        """
        if outcome == "moved":
            raise self._moved()
        if outcome == "stored":
            if is_whole:
                return left
            self._keep(left.found)  # no sync reads it again
            why = "a checkpoint was stored although an envelope before it was not accepted"
            raise self._session.plugin.broken("Deliver", why)
        if is_empty:
            why = f"a checkpoint was not stored, with nothing before it: {outcome}"
            raise self._session.plugin.broken("Deliver", why)
        return replace(left, checkpoint=checkpoint)

    def _moved(self) -> CheckpointMoved:
        subject = self._session.plugin.program.subject
        return CheckpointMoved(
            f"the sync was ended: {subject} has another cursor of it than it had before",
            why="it was brought back from a backup meanwhile, or another sync of this integration"
            " goes on beside this one; nothing was stored over that cursor",
            next=["run it again: it goes on from the cursor that is there"],
        )

    async def _isolate(
        self,
        batch: Sequence[Outbound],
        checkpoint: CheckpointToStore | None,
        error: PluginReportedError,
    ) -> _Left:
        """Hand over one half after the other of what a destination failed at, down to one envelope.

        That one is rejected: else it, and all after it, would fail for ever. A checkpoint follows
        by itself: no envelope is rejected for what is wrong about it.

        Raises:
            PluginReportedError: it fails at every one, or at a checkpoint alone.
        """
        if checkpoint:
            if not batch:
                raise error
            return replace(await self._attempt(batch), checkpoint=checkpoint)
        if len(batch) > 1:
            middle = len(batch) // 2
            first = await self._attempt(batch[:middle])
            rest = await self._attempt(batch[middle:])
            return _Left([*first.found, *rest.found])
        self._failed += 1
        if self._failed > _MOST_FAILED:
            raise error
        self._reject([(batch[0], Verdict("rejected", error.what, error.detail, error.code))])
        return _Left()

    async def _call(
        self, batch: Sequence[Outbound], checkpoint: CheckpointToStore | None = None
    ) -> Any:
        destination = self._session.plugin.destination
        return await self._asked(lambda call: destination.deliver(call, batch, checkpoint))

    async def _asked(self, call: Callable[[Invocation], Awaitable[_Answer]]) -> _Answer:
        """Return what a call answers, made with another token where that may help."""
        try:
            return await call(await self._invocations.next())
        except PluginUnauthenticated:
            if not self._invocations.drop_token():
                raise
        return await call(await self._invocations.next())

    def _reject(self, those: Sequence[tuple[Outbound, Verdict]], by: str = "") -> None:
        self.tally.rejected += len(those)
        self._keep(those, by)

    def _keep(self, those: Sequence[tuple[Outbound, Verdict]], by: str = "") -> None:
        """Keep in full what was not taken, and the first reasons.

        Args:
            those: with what was said of each.
            by: who said it; empty: the destination.
        """
        for envelope, verdict in those:
            self.tally.note(envelope.id or envelope.key, verdict, envelope.number)
        by = by or self._session.plugin.program.producer
        self._write([_line(envelope, verdict, by) for envelope, verdict in those])

    def _reject_line(self, line: BadLine) -> None:
        self.tally.rejected += 1
        self.tally.note("", Verdict("rejected", line.reason, code=line.code), line.number)
        self._write([kept.line_line(line)])

    def _write(self, lines: Sequence[bytes]) -> None:
        if self._task.rejects and lines:
            self._task.rejects.add(lines)
            self.tally.rejects_file = self._task.rejects.file

    def _give_up(self, left: _Left, asked_s: float) -> None:
        self.tally.retry += len(left.found)
        if self._task.must_settle:
            self._fail(left.not_done, left.verdicts, asked_s)
        self._keep(left.found)

    def _fail(self, not_done: str, verdicts: Sequence[Verdict], asked_s: float) -> NoReturn:
        reasons = dict.fromkeys(verdict.reason for verdict in verdicts if verdict.reason)
        details = dict.fromkeys(verdict.detail for verdict in verdicts if verdict.detail)
        asked = [f"asked to wait {asked_s:g} s"] if asked_s else []
        retry_for_s = self._task.retry_for_s
        tried = f"tried for {retry_for_s:g} s (`--retry-for`)" if retry_for_s else "tried once"
        error = DestinationUnavailable(
            f"{self._session.plugin.program.subject} {not_done}",
            why="\n".join([*list(reasons)[:_MOST_SHOWN], *asked, tried]),
            next=[
                f"wait {asked_s:g} s, then run it again" if asked_s else "run it again later",
                "try for longer with `--retry-for SECONDS`",
                *(f"the plugin says: {detail}" for detail in list(details)[:_MOST_SHOWN]),
            ],
        )
        error.retry_after_s = int(-(-asked_s // 1)) or None
        raise error


@dataclass(frozen=True, slots=True)
class _Left:
    """What of a call has to be tried again.

    Attributes:
        found: envelopes, each with what was said of it.
        checkpoint: one that is not stored; None: there is none, or it is.
        why: why the call failed as a whole; None: it did not.
    """

    found: Sequence[tuple[Outbound, Verdict]] = ()
    checkpoint: CheckpointToStore | None = None
    why: Verdict | None = None

    @classmethod
    def all_of(
        cls, batch: Sequence[Outbound], checkpoint: CheckpointToStore | None, why: Verdict
    ) -> _Left:
        """Return all of a call that failed."""
        return cls([(envelope, why) for envelope in batch], checkpoint, why)

    def __bool__(self) -> bool:
        return bool(self.found or self.checkpoint)

    @property
    def verdicts(self) -> list[Verdict]:
        """What was said; none: nothing speaks against trying it at once."""
        return [verdict for _, verdict in self.found] or ([self.why] if self.why else [])

    @property
    def not_done(self) -> str:
        """What the destination did not do in time, as a part of a sentence."""
        if not self.found:
            return "did not store the checkpoint in time"
        return f"did not take {len(self.found)} envelopes in time"


class _Patience:
    """How long to wait before the next try, and when no time is left.

    Args:
        retry_for_s: how long to try while nothing gets on.
    """

    def __init__(self, retry_for_s: float) -> None:
        self._retry_for_s = retry_for_s
        self._until_s = 0.0
        self._pause_s = _FIRST_WAIT_S

    def wait_s(self, asked_s: float, *, has_progress: bool = False) -> float | None:
        """Return the seconds until the next try; None: no time is left.

        Args:
            asked_s: what the destination asks for; 0: it does not.
            has_progress: whether something was taken since the last try.
        """
        now_s = clock.monotonic_s()
        if not self._until_s or has_progress:
            self._until_s, self._pause_s = now_s + self._retry_for_s, _FIRST_WAIT_S
        left_s = self._until_s - now_s
        if left_s <= 0 or asked_s > left_s:
            return None
        wait_s = asked_s or min(self._pause_s, left_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return wait_s


def _verdict_of(error: PluginDeadlineExceeded | PluginReportedError) -> Verdict | None:
    """Return why a call has to be tried again; None: another try would not help."""
    if isinstance(error, PluginDeadlineExceeded):
        return Verdict("retry", error.what)
    if error.is_failure or not error.is_transient:
        return None
    return Verdict("retry", error.what, error.detail, after_s=error.retry_after_s or 0.0)


class _Invocations:
    """Invocations of a session, with one token for as long as it works."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last: Invocation | None = None
        self._is_reused = False

    async def next(self) -> Invocation:
        """Return a new invocation."""
        self._is_reused = self._last is not None and not _is_old(self._last)
        if self._last and self._is_reused:
            return replace(self._last, invocation_id=secrets.token_hex(16))
        self._last = await self._session.invocation()
        return self._last

    def drop_token(self) -> bool:
        """Forget the token; return whether another may help: the last one was not a new one."""
        self._last = None
        return self._is_reused and self._session.can_renew_token


def _is_old(invocation: Invocation) -> bool:
    """Return whether its token may have expired: the service does not say when, or it is soon."""
    token = invocation.token
    if token is None:
        return False
    return token.expires_at is None or token.expires_at - clock.now() < _TOKEN_MARGIN


async def _each(envelopes: Sequence[Outbound]) -> AsyncIterator[Outbound | BadLine]:
    for envelope in envelopes:
        yield envelope


def _verdicts(batch: Sequence[Outbound], answer: Any) -> Iterator[tuple[Outbound, Verdict]]:
    """Yield each envelope with what was said of it; one of which nothing was is tried again."""
    results = {result.id: result for result in answer.results}
    for envelope in batch:
        result = results.get(envelope.key)
        if result is None:
            yield envelope, Verdict("retry", "the plugin did not answer")
            continue
        said = result.diagnostic
        yield (
            envelope,
            Verdict(
                status=word(result.Status, result.status),
                reason=one_line(said.summary),
                detail=clean(said.detail, limit=2000),
                code=one_line(said.code, limit=80),
                after_s=_wait_s(result.retry_after),
            ),
        )


def _wait_s(asked: Any) -> float:
    """Return the seconds to wait as a plugin asks; 0: it does not ask, or makes no sense."""
    wait_s: float = asked.seconds + asked.nanos / 1e9
    return max(wait_s, _LEAST_WAIT_S) if 0 < wait_s <= _LONGEST_WAIT_S else 0.0


def _line(envelope: Outbound, verdict: Verdict, by: str) -> bytes:
    said = {"by": by, "status": verdict.status, "reason": verdict.reason}
    more = {"detail": verdict.detail, "code": verdict.code}
    return kept.envelope_line(envelope, said | {key: text for key, text in more.items() if text})
