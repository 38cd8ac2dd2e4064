"""How patient supervision is; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_COUNTED: Final = 1_000_000
"""Where counters of a life stop: nobody reads them further, and nothing is a power of them."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How long to wait, and how often to try; times in seconds.

    Attributes:
        first_delay_s: from a death to the next start.
        longest_delay_s: where the doubling of that ends.
        jitter: by which part at most a delay is shortened, so that not all start at once.
        healthy_s: how long a plugin has to be up until its deaths before are forgotten.
        lasting_s: how long it has to be up until nobody wonders whether it will stay up.
        relapses: so many deaths in a row of what was healthy, none of which had been up for that
            long, and it is said.
        identical_deaths: so many deaths at start, one like the other, and it is given up.
        deaths_to_open: so many deaths of a plugin in a row, with no instance healthy, and its
            instances are held back together.
        first_open_s: for how long at first; the doubling ends at `longest_open_s`.
        longest_open_s: where that ends.
        heartbeat_s: from one health check to the next.
        heartbeat_timeout_s: how long the answer may take.
        missed_beats: so many in a row, and it hangs.
        throttled_beats: so many, when it was the limit of its processor that made it slow.
        drain_s: how long calls in flight may take to end when a plugin is stopped.
        idle_s: how long an instance that nobody wants but a call stays up after it.
        most_on_demand: how many of those there are at once.
        parallel_starts: how many plugins start at once; 0: four for each processor.
        reconcile_s: from one look at what is wanted to the next.
        doubt_s: after how long everything is cleared anew although nothing seems to have changed.
    """

    first_delay_s: float = 1.0
    longest_delay_s: float = 60.0
    jitter: float = 0.2
    healthy_s: float = 30.0
    lasting_s: float = 600.0
    relapses: int = 5
    identical_deaths: int = 5
    deaths_to_open: int = 8
    first_open_s: float = 60.0
    longest_open_s: float = 1800.0
    heartbeat_s: float = 10.0
    heartbeat_timeout_s: float = 5.0
    missed_beats: int = 2
    throttled_beats: int = 12
    drain_s: float = 10.0
    idle_s: float = 300.0
    most_on_demand: int = 32
    parallel_starts: int = 0
    reconcile_s: float = 2.0
    doubt_s: float = 60.0

    def delay_s(self, deaths: int, chance: float) -> float:
        """Return how long to wait before a start.

        Args:
            deaths: in a row, from 1.
            chance: from 0 to 1.
        """
        full_s = _doubled(self.first_delay_s, deaths, self.longest_delay_s)
        return full_s * (1.0 - self.jitter * chance)

    def open_s(self, times: int) -> float:
        """Return how long instances are held back together the so-many-th time, from 1."""
        return _doubled(self.first_open_s, times, self.longest_open_s)


def _doubled(first_s: float, times: int, longest_s: float) -> float:
    """Return `first_s`, doubled with each time after the first, as far as `longest_s`."""
    # The exponent is bounded first: a float overflows at 2**1024.
    return min(longest_s, first_s * 2.0 ** min(max(times - 1, 0), 64))
