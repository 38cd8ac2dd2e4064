"""The circuit breaker of one plugin, for all of its instances together; pure.

    CLOSED    --so many deaths in a row, and no instance healthy-->  OPEN
    OPEN      --its time is over, or an instance asks that has not died yet-->  HALF_OPEN, one probe
    HALF_OPEN --the probe is healthy-->  CLOSED
    HALF_OPEN --the probe dies-->        OPEN, for twice as long

While one instance is healthy the plugin works, so what dies is one organization's account or
settings: that is held back by its own backoff, and never holds back another's. For the same reason
an instance that had no part in the deaths need not wait to be the probe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from aperio_cli.host.supervising.rules import MOST_COUNTED

if TYPE_CHECKING:
    from aperio_cli.host.supervising.rules import Rules

_MOST_KNOWN: Final = 1024


class Position(Enum):
    """Whether starts are let through; the names are those that people see."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of one plugin.

    Attributes:
        position: whether starts are let through.
        deaths: in a row, of any instance, since one was healthy.
        died: the instances that had a part in those.
        healthy: the instances that are up, and have been for long enough.
        probe: the one instance that may start while the others are held back.
        times: how often it has opened since one was healthy.
        until_s: when the next probe may start, on the monotonic clock.
    """

    position: Position = Position.CLOSED
    deaths: int = 0
    died: frozenset[str] = frozenset()
    healthy: frozenset[str] = frozenset()
    probe: str | None = None
    times: int = 0
    until_s: float = 0.0

    def admit(self, who: str, now_s: float, rules: Rules) -> tuple[Breaker, float | None]:
        """Return what becomes of it when an instance asks to start, and when to ask again.

        Args:
            who: the instance.
            now_s: the monotonic clock.
            rules: how patient supervision is.

        Returns:
            None in place of the time: it may start.
        """
        if self.position is Position.CLOSED or self.probe == who:
            return self, None
        if self.position is Position.HALF_OPEN and self.probe is not None:
            return self, now_s + rules.first_delay_s
        is_due = now_s >= self.until_s
        if is_due or who not in self.died:
            return replace(self, position=Position.HALF_OPEN, probe=who), None
        return self, self.until_s

    def after_death(self, who: str, now_s: float, rules: Rules) -> Breaker:
        """Return what becomes of it when an instance has died."""
        known = replace(
            self,
            healthy=self.healthy - {who},
            died=self.died | {who} if len(self.died) < _MOST_KNOWN else self.died,
            deaths=min(self.deaths + 1, MOST_COUNTED),
        )
        is_last = self.position is Position.HALF_OPEN and self.probe == who
        is_enough = self.position is Position.CLOSED and known.deaths >= rules.deaths_to_open
        if known.healthy or not (is_last or is_enough):
            return known
        times = min(self.times + 1, MOST_COUNTED)
        until_s = now_s + rules.open_s(times)
        return replace(known, position=Position.OPEN, probe=None, times=times, until_s=until_s)

    def after_health(self, who: str) -> Breaker:
        """Return what becomes of it when an instance has been up for long enough: all is well."""
        return Breaker(healthy=self.healthy | {who})

    def without(self, who: str) -> Breaker:
        """Return what becomes of it when an instance has ended, and not by itself.

        It stays among those that died: who comes again under that name is no other.
        """
        known = replace(self, healthy=self.healthy - {who})
        if self.probe != who:
            return known
        # It is not known what would have become of the probe: whoever asks next is one.
        return replace(known, probe=None, position=Position.OPEN, until_s=0.0)

    def forgiven(self, who: str) -> Breaker:
        """Return what becomes of it when an instance is to begin again, or as something else."""
        left = self.without(who)
        return replace(left, died=left.died - {who})
