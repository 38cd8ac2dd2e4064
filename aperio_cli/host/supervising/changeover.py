"""When another version, or the same with other settings, takes the place of what runs; pure.

The newcomer is healthy before the old one is asked to stop, and from then on takes all calls: it is
the only time at which there are two processes of one instance. A newcomer that does not start
leaves the old one where it is, and it stays in its place when it dies, too.
"""

from __future__ import annotations

from enum import Enum, auto

from aperio_cli.host.lifecycle import Phase


class Turn(Enum):
    """What to do with an instance."""

    KEEP = auto()
    RENEW = auto()
    """Have the life that is not healthy begin again: the newcomer's, when there is one."""
    BEGIN = auto()
    """Start a newcomer beside it."""
    DROP = auto()
    """End the newcomer: what it was to take over from is wanted again."""
    TAKE_OVER = auto()
    """Let the newcomer be the instance, and end the old one."""


def turn(
    current: Phase,
    newcomer: Phase | None,
    *,
    wants_current: bool,
    wants_newcomer: bool,
    is_holding: bool = False,
) -> Turn:
    """Return what to do with an instance.

    Args:
        current: the phase of the life that takes its calls.
        newcomer: of that which is to take over; None: there is none.
        wants_current: whether what is wanted is what the first was started as.
        wants_newcomer: the same of the second.
        is_holding: whether the first stays, whatever becomes of it: the second does not start.
    """
    if newcomer and (newcomer is Phase.READY or (current is not Phase.READY and not is_holding)):
        return Turn.TAKE_OVER
    if wants_current:
        return Turn.DROP if newcomer else Turn.KEEP
    if newcomer:
        return Turn.KEEP if wants_newcomer else Turn.RENEW
    return Turn.BEGIN if current is Phase.READY else Turn.RENEW
