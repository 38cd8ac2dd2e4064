"""Delivering: envelopes in batches that one call may carry, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors.usage import UsageError
from aperio_cli.host.answers import word
from aperio_cli.host.calls.lines import BadLine
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aperio_cli.host.calls.envelopes import Outbound

_MAX_REASONS: Final = 20


async def envelopes_of(
    found: AsyncIterator[Outbound | BadLine], reject: Callable[[BadLine], None]
) -> AsyncIterator[Outbound]:
    """Give the envelopes of an input; lines that are none are rejected one by one."""
    async for item in found:
        if isinstance(item, BadLine):
            reject(item)
        else:
            yield item


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


@dataclass(slots=True)
class Deliveries:
    """Counts what became of envelopes.

    Attributes:
        accepted: how many the destination has.
        rejected: how many it will never take, and lines that are no envelope.
        retry: how many have to be tried again.
        reasons: id, status, reason and line of those that were not accepted; the first 20.
    """

    accepted: int = 0
    rejected: int = 0
    retry: int = 0
    reasons: list[dict[str, str | int | None]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.accepted} accepted, {self.rejected} rejected, {self.retry} to try again"

    def count(self, batch: Sequence[Outbound], answer: Any) -> None:
        """Take the results of one batch; an envelope without one has to be tried again."""
        results = {result.id: result for result in answer.results}
        for envelope in batch:
            result = results.get(envelope.id)
            status = word(result.Status, result.status) if result else "retry"
            if status == "accepted":
                self.accepted += 1
                continue
            if status == "rejected":
                self.rejected += 1
            else:  # of a newer minor version, too: what may not have arrived is tried again
                self.retry += 1
            reason = result.diagnostic.summary if result else "the plugin did not answer"
            self._note(envelope.id, status, reason)

    def reject_line(self, line: BadLine) -> None:
        """Count a line of the input that is no envelope."""
        self.rejected += 1
        self._note("", "rejected", line.reason, line.number)

    def _note(self, identity: str, status: str, reason: str, line: int | None = None) -> None:
        if len(self.reasons) < _MAX_REASONS:
            said = {"id": identity, "status": status, "reason": one_line(reason), "line": line}
            self.reasons.append(said)
