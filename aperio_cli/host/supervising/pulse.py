"""Whether a plugin hangs, by the health checks that it answered and did not; pure.

A check that went wrong is repeated at once. What the machine or the host slept through, in a
suspended process say, is not held against the plugin: nobody has waited for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperio_cli.host.supervising.rules import Rules


@dataclass(frozen=True, slots=True)
class Beat:
    """One health check.

    Attributes:
        why: what was wrong; empty: it answered that it is serving.
        took_s: from the question to the outcome.
        was_throttled: whether it reached the limit of its processor meanwhile.
    """

    why: str
    took_s: float
    was_throttled: bool = False


@dataclass(frozen=True, slots=True)
class Pulse:
    """The health checks in a row that went wrong.

    Attributes:
        missed: how many.
        throttled: how many besides, in which it was held back by its own limit.
    """

    missed: int = 0
    throttled: int = 0

    def after(self, beat: Beat, rules: Rules) -> Pulse:
        """Return what is known after another check."""
        if not beat.why:
            return Pulse()
        if beat.took_s > 2 * rules.heartbeat_timeout_s:
            return self
        if beat.was_throttled:
            return Pulse(self.missed, self.throttled + 1)
        return Pulse(self.missed + 1, self.throttled)

    def wait_s(self, rules: Rules, chance: float) -> float:
        """Return how long to wait until the next check: not at all after one that went wrong."""
        if self != Pulse():
            return 0.0
        return rules.heartbeat_s * (1.0 + rules.jitter * (chance - 0.5))

    def hangs(self, rules: Rules) -> bool:
        """Return whether that is enough."""
        return self.missed >= rules.missed_beats or self.throttled >= rules.throttled_beats
