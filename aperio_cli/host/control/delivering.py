"""A delivery on behalf of a caller: envelopes to a destination, and an answer for each of them."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors.controlling import CallInvalid
from aperio_cli.errors.running import PluginFault, PluginReportedError
from aperio_cli.host.calls.addressing import Address
from aperio_cli.host.calls.destination import DEFAULT_BATCH, MAX_BATCH_BYTES
from aperio_cli.host.calls.lines import BadLine, read_envelope
from aperio_cli.host.control.encoding import cut
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aperio_plugin.wire import destination_pb2

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.invocation import Invocation
    from aperio_cli.host.calls.session import Session
    from aperio_cli.host.calls.tally import Tally

LONGEST_KEY_BYTES: Final = 512

MOST_ENVELOPES: Final = 16_384
"""In one call, whose 4 MiB are no more of any that a destination takes."""
_AT_ONCE: Final = 256
"""Are read before anybody else has a turn."""
_MOST_SAID_BYTES: Final = 3 * 1024 * 1024
"""In all results of a call, which go into one message."""

_FOREIGN: Final = "organization-foreign"
_LONGEST_CODE_BYTES: Final = 80
_LONGEST_RESULT_BYTES: Final = 4096
_FRAMING_BYTES: Final = 16
_MOST_FAILED: Final = 10
"""Envelopes in a row that make a destination fail, before it counts as the destination's fault."""


class Delivery:
    """One call of Deliver.

    Args:
        session: of the destination.
        tally: counts what becomes of the envelopes.
    """

    def __init__(self, session: Session, tally: Tally) -> None:
        from aperio_plugin.wire import destination_pb2

        self._result = destination_pb2.EnvelopeResult
        self._session = session
        self._tally = tally
        asked = session.request
        self._address = Address(asked.organization_id, asked.integration_id)
        self._found: dict[str, destination_pb2.EnvelopeResult] = {}
        self._invocation: Invocation | None = None
        self._failed = 0

    async def deliver(
        self, envelopes: Sequence[destination_pb2.OutboundEnvelope]
    ) -> list[destination_pb2.EnvelopeResult]:
        """Return a result for each envelope, in their order.

        Raises:
            CallInvalid: they are too many, two have the same id, or one an id that is none.
            PluginFault: as `Destination.deliver`, before anything was answered.
        """
        if len(envelopes) > MOST_ENVELOPES:
            _refuse(f"expected at most {MOST_ENVELOPES}, received {len(envelopes)}")
        handed: dict[str, Outbound] = {}
        answers: list[destination_pb2.EnvelopeResult | str] = []  # or the key of one
        for number, given in enumerate(envelopes, 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            read = self._read(given)
            if isinstance(read, self._result):
                answers.append(read)
                continue
            if given.id and read.key in handed:
                _refuse(f"received the id {clean(given.id, limit=80)} twice")
            handed[read.key] = read
            answers.append(read.key)
        await self._hand_over(list(handed.values()))
        results = [
            each if isinstance(each, self._result) else self._found[each] for each in answers
        ]
        self._count(results)
        return self._fitting(results)

    def _fitting(
        self, results: list[destination_pb2.EnvelopeResult]
    ) -> list[destination_pb2.EnvelopeResult]:
        """Return results that go into one message: what each says is cut to its share, if need be.

        Else the caller would hear of none, and deliver all of them again.
        """
        if sum(result.ByteSize() for result in results) <= _MOST_SAID_BYTES:
            return results
        share = _MOST_SAID_BYTES // len(results)
        return [self._shortened(each, share) for each in results]

    def _shortened(
        self, result: destination_pb2.EnvelopeResult, share: int
    ) -> destination_pb2.EnvelopeResult:
        """Return a result of its own, which keeps nothing else of the answer that it came in."""
        short, said = self._result(), result.diagnostic
        if result.ByteSize() <= share:
            short.CopyFrom(result)
            return short
        short.id, short.status = result.id, result.status
        if result.HasField("retry_after"):
            short.retry_after.CopyFrom(result.retry_after)
        short.diagnostic.severity = said.severity
        short.diagnostic.code = cut(said.code, _LONGEST_CODE_BYTES)
        left = max(0, share - short.ByteSize() - _FRAMING_BYTES)
        short.diagnostic.summary = cut(said.summary, left) if left > _FRAMING_BYTES else ""
        return short

    def _read(self, given: destination_pb2.OutboundEnvelope) -> Any:
        """Return the envelope with its key, or the result of one that is not handed over."""
        if len(given.id.encode()) > LONGEST_KEY_BYTES:
            _refuse(f"expected ids of at most {LONGEST_KEY_BYTES} bytes")
        try:
            envelope = read_envelope(given.envelope_json)
            if given.kind not in {"", envelope.kind}:
                raise ValueError(f"expected the kind {envelope.kind}, as the envelope says")  # noqa: TRY301 - refused as what the reader refuses
            if self._address.takes(envelope):
                return (
                    envelope._replace(key=given.id)
                    if given.id
                    else self._address.addressed(envelope)
                )
        except ValueError as error:
            return self._rejected(given.id, BadLine.code, str(error))
        theirs = clean(envelope.organization_id, limit=80)
        ours = self._address.organization_id
        why = f"it is of the organization `{theirs}`, the call is for `{ours}`"
        return self._rejected(given.id, _FOREIGN, why)

    async def _hand_over(self, envelopes: Sequence[Outbound]) -> None:
        """Hand everything over; what fails once there was an answer is to be tried again."""
        for batch in self._batches(envelopes):
            try:
                await self._attempt(batch)
            except PluginFault as error:
                if not self._found:
                    raise
                self._postpone(envelopes, error)
                return

    def _batches(self, envelopes: Sequence[Outbound]) -> Iterator[Sequence[Outbound]]:
        """Yield what one call of the plugin may carry."""
        most = self._session.declaration.destination.max_batch_envelopes or DEFAULT_BATCH
        begin = size_bytes = 0
        for at, envelope in enumerate(envelopes):
            is_full = at - begin == most or size_bytes + len(envelope.json) > MAX_BATCH_BYTES
            if at > begin and is_full:
                yield envelopes[begin:at]
                begin, size_bytes = at, 0
            size_bytes += len(envelope.json)
        if envelopes:
            yield envelopes[begin:]

    async def _attempt(self, batch: Sequence[Outbound]) -> None:
        """Hand a batch over; of one that the destination fails at, one half after the other.

        Down to one envelope, which is rejected: else it, and all beside it, would fail for ever.

        Raises:
            PluginFault: as `deliver`.
        """
        try:
            answer = await self._session.plugin.destination.deliver(await self._next(), batch)
        except PluginReportedError as error:
            if not error.is_failure:
                raise
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._attempt(batch[:middle])
                await self._attempt(batch[middle:])
                return
            self._failed += 1
            if self._failed > _MOST_FAILED:
                raise
            key = batch[0].key
            self._found[key] = self._rejected(key, error.code, error.what)
            return
        given = {result.id: result for result in answer.results}
        for envelope in batch:
            result = given.get(envelope.key)
            if result is None:
                result = self._result(id=envelope.key, status="STATUS_RETRY")
                result.diagnostic.summary = "the plugin did not answer"
            elif result.status == self._result.STATUS_ACCEPTED:
                self._failed = 0
            self._found[envelope.key] = self._shortened(result, _LONGEST_RESULT_BYTES)

    async def _next(self) -> Invocation:
        """Return a new invocation, with the one token of this call."""
        if self._invocation:
            return replace(self._invocation, invocation_id=secrets.token_hex(16))
        self._invocation = await self._session.invocation()
        return self._invocation

    def _postpone(self, envelopes: Sequence[Outbound], error: PluginFault) -> None:
        """Answer for what has no answer yet that it has to be tried again."""
        wait_s = getattr(error, "retry_after_s", None)
        for envelope in envelopes:
            if envelope.key not in self._found:
                result = self._result(id=envelope.key, status="STATUS_RETRY")
                result.diagnostic.summary, result.diagnostic.code = error.what, error.code
                if wait_s is not None:
                    result.retry_after.seconds = wait_s
                self._found[envelope.key] = result

    def _rejected(self, key: str, code: str, why: str) -> destination_pb2.EnvelopeResult:
        result = self._result(id=key, status="STATUS_REJECTED")
        result.diagnostic.severity = result.diagnostic.SEVERITY_ERROR
        result.diagnostic.summary, result.diagnostic.code = clean(why, limit=1000), code
        return result

    def _count(self, results: Iterable[destination_pb2.EnvelopeResult]) -> None:
        for result in results:
            if result.status == self._result.STATUS_ACCEPTED:
                self._tally.sent += 1
            elif result.status == self._result.STATUS_REJECTED:
                self._tally.dead_letters += 1
            else:
                self._tally.left += 1


def _refuse(why: str) -> None:
    raise CallInvalid(
        "nothing was delivered: `envelopes` makes no sense",
        why=why,
        next=["mend the program that calls: the same call is refused again"],
    )
