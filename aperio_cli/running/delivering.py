"""Delivering: envelopes in batches that one call may carry, until there is a verdict on each."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_cli import clock
from aperio_cli.errors.running import (
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
from aperio_cli.host.calls.lines import BadLine
from aperio_cli.running import rejects as kept
from aperio_cli.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.invocation import Invocation
    from aperio_cli.host.calls.session import Session
    from aperio_cli.host.calls.tally import Tally
    from aperio_cli.running.rejects import Rejects

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

    async def _settle(self, batch: Sequence[Outbound]) -> None:
        """Hand a batch over until there is a verdict on all of it, or no time is left.

        Raises:
            DestinationUnavailable: no time is left, and there must be a verdict.
        """
        until_s, pause_s = 0.0, _FIRST_WAIT_S
        while left := await self._attempt(batch):
            now_s = clock.monotonic_s()
            if not until_s or len(left) < len(batch):  # it takes some: that is progress
                until_s, pause_s = now_s + self._task.retry_for_s, _FIRST_WAIT_S
            asked_s = max(verdict.after_s for _, verdict in left)
            wait_s = asked_s or min(pause_s, until_s - now_s)
            if now_s >= until_s or asked_s > until_s - now_s:
                self._give_up(left, asked_s)
                return
            batch = [envelope for envelope, _ in left]
            self.tally.repeated += len(batch)
            self._task.observe(DeliveryRepeated(len(batch), wait_s, left[0][1].reason))
            await asyncio.sleep(wait_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _attempt(self, batch: Sequence[Outbound]) -> list[tuple[Outbound, Verdict]]:
        """Hand a batch over once; return what has to be tried again."""
        try:
            answer = await self._call(batch)
        except PluginDeadlineExceeded as error:
            if not self._task.must_settle:
                raise
            # It may have handed over some: a repeat has the same keys.
            return [(envelope, Verdict("retry", error.what)) for envelope in batch]
        except PluginReportedError as error:
            if error.is_failure:
                return await self._isolate(batch, error)
            if not error.is_transient:
                raise
            wait_s = error.retry_after_s or 0.0
            verdict = Verdict("retry", error.what, error.detail, after_s=wait_s)
            left = [(envelope, verdict) for envelope in batch]
            if self._task.must_settle:
                return left
            if isinstance(error, PluginRateLimited):
                raise
            self._fail(left, verdict.after_s)
        with understood(self._session.plugin.broken, "Deliver"):
            found = list(_verdicts(batch, answer))
        accepted = sum(verdict.status == "accepted" for _, verdict in found)
        self.tally.accepted += accepted
        self._failed = 0 if accepted else self._failed
        self._reject([each for each in found if each[1].status == "rejected"])
        # Words of a newer minor version, too: what may not have arrived is tried again.
        return [each for each in found if each[1].status not in {"accepted", "rejected"}]

    async def _isolate(
        self, batch: Sequence[Outbound], error: PluginReportedError
    ) -> list[tuple[Outbound, Verdict]]:
        """Hand over one half after the other of what a destination failed at, down to one envelope.

        That one is rejected: else it, and all after it, would fail for ever.

        Raises:
            PluginReportedError: it fails at every one.
        """
        if len(batch) > 1:
            middle = len(batch) // 2
            first = await self._attempt(batch[:middle])
            return [*first, *await self._attempt(batch[middle:])]
        self._failed += 1
        if self._failed > _MOST_FAILED:
            raise error
        self._reject([(batch[0], Verdict("rejected", error.what, error.detail, error.code))])
        return []

    async def _call(self, batch: Sequence[Outbound]) -> Any:
        destination = self._session.plugin.destination
        try:
            return await destination.deliver(await self._invocations.next(), batch)
        except PluginUnauthenticated:
            if not self._invocations.drop_token():
                raise
        return await destination.deliver(await self._invocations.next(), batch)

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

    def _give_up(self, left: Sequence[tuple[Outbound, Verdict]], asked_s: float) -> None:
        self.tally.retry += len(left)
        if self._task.must_settle:
            self._fail(left, asked_s)
        self._keep(left)

    def _fail(self, left: Sequence[tuple[Outbound, Verdict]], asked_s: float) -> NoReturn:
        reasons = dict.fromkeys(verdict.reason for _, verdict in left if verdict.reason)
        details = dict.fromkeys(verdict.detail for _, verdict in left if verdict.detail)
        asked = [f"asked to wait {asked_s:g} s"] if asked_s else []
        retry_for_s = self._task.retry_for_s
        tried = f"tried for {retry_for_s:g} s (`--retry-for`)" if retry_for_s else "tried once"
        error = DestinationUnavailable(
            f"{self._session.plugin.program.subject} did not take {len(left)} envelopes in time",
            why="\n".join([*list(reasons)[:_MOST_SHOWN], *asked, tried]),
            next=[
                f"wait {asked_s:g} s, then run it again" if asked_s else "run it again later",
                "try for longer with `--retry-for SECONDS`",
                *(f"the plugin says: {detail}" for detail in list(details)[:_MOST_SHOWN]),
            ],
        )
        error.retry_after_s = int(-(-asked_s // 1)) or None
        raise error


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
