"""Streams: what a destination takes of a sync. The rest is told once, counted and left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_plugin.wire import finding_rules

from aperio_cli.errors.usage import UsageError
from aperio_cli.host.answers import word

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.session import Session

SPOKEN: Final = {"event": "events", "finding": "findings", "audit_log": "audit log entries"}
"""By their kind, what people call them."""

_FEATURES: Final = {finding_rules.FINDINGS: "finding", finding_rules.AUDIT_LOG: "audit_log"}


@dataclass(frozen=True, slots=True)
class StreamNotTaken:
    """A destination does not take what the connector gives; told once for each kind.

    Attributes:
        kind: event, finding or audit_log.
        to: the destination, as `<id>@<version>`.
    """

    kind: str
    to: str


class TakenStreams:
    """Hands on what a destination takes, as the `accept` of a sync.

    Args:
        session: of the destination.
        accept: takes that.
        observe: hears once of each kind that is left out.

    Attributes:
        left_out: how many, by kind.
    """

    def __init__(
        self,
        session: Session,
        accept: Callable[[Sequence[Outbound]], Awaitable[None]],
        observe: Callable[[StreamNotTaken], None],
    ) -> None:
        self.left_out: Counter[str] = Counter()
        self._kinds = _kinds_taken(session)
        self._to = session.plugin.program.producer
        self._accept = accept
        self._observe = observe

    async def __call__(self, envelopes: Sequence[Outbound]) -> None:
        """Hand on the envelopes that are taken.

        Raises:
            Exception: whatever `accept` raises.
        """
        for envelope in envelopes:
            if envelope.kind not in self._kinds:
                if not self.left_out[envelope.kind]:
                    self._observe(StreamNotTaken(envelope.kind, self._to))
                self.left_out[envelope.kind] += 1
        taken = [envelope for envelope in envelopes if envelope.kind in self._kinds]
        if taken:
            await self._accept(taken)


def require_common_stream(source: Session, target: Session) -> None:
    """Require that a destination takes something of what a connector says it gives.

    Raises:
        UsageError: it takes nothing of it.
    """
    features = source.declaration.interface.features
    given = {"event"} | {_FEATURES[name] for name in features if name in _FEATURES}
    if not given & _kinds_taken(target):
        names = " and no ".join(SPOKEN[kind] for kind in SPOKEN if kind in given)
        raise UsageError(
            f"nothing was synced: {target.plugin.program.subject} takes no {names}",
            why=f"it takes {' and '.join(SPOKEN[kind] for kind in sorted(_kinds_taken(target)))}",
            next=["name a destination that takes them, or another connector"],
        )


def _kinds_taken(session: Session) -> frozenset[str]:
    """Return the kinds that a destination takes; all of them where it does not say."""
    declared = session.declaration.destination
    return frozenset(word(declared.Stream, each) for each in declared.streams) or frozenset(SPOKEN)
