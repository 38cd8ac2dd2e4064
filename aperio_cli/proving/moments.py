"""Times that lie ahead: no proof of anything, and a sign of a clock that is wrong.

A machine's clock may be years off, after its battery or in a new virtual machine. What it is
compared with are times that others have vouched for: those of certificates and trusted roots, among
them the roots that came with this aperio.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.errors.trust import ClockSuspect
from aperio_cli.proving.refusals import Fault
from aperio_cli.proving.trusted_root import begins_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aperio_cli.proving.trusted_root import TrustedRootSource

TOLERANCE: Final = timedelta(minutes=5)
"""How far two clocks that are right may be apart."""

_SET_IT: Final = "set this machine's clock, then run the same command again"


def is_ahead(moment: datetime, now: datetime) -> bool:
    """Return whether a moment is yet to come, by more than clocks differ; both are aware."""
    return moment > now + TOLERANCE


def latest_known(roots: Iterable[TrustedRootSource]) -> tuple[datetime, str] | None:
    """Return the latest moment at which a root was known to be current, and the root's name.

    None when that is known of none.
    """
    known = []
    for root in roots:
        try:
            moment = datetime.fromisoformat(root.as_of)
        except ValueError:
            continue
        if moment.tzinfo is not None:
            known.append((moment, root.name))
    return max(known, default=None)


def require_past(moment: datetime, roots: Iterable[TrustedRootSource]) -> None:
    """Check that a signature was not made at a time that is yet to come.

    Args:
        moment: the time that its certificate or its log states, aware.
        roots: what else says which time it is.

    Raises:
        Fault: ClockSuspect, when it was.
    """
    now = clock.now()
    if not is_ahead(moment, now):
        return
    lines = [f"signed at {_shown(moment)}", f"this clock {_shown(now)}"]
    steps = [_SET_IT, "if the clock is right, tell the publisher and do not use this file"]
    known = latest_known(roots)
    if known:
        lines.append(f"the trusted root `{known[1]}` was current at {_shown(known[0])}")
    if known and is_ahead(known[0], now):
        steps.pop()  # it is not: that root says so, too
    raise Fault(
        ClockSuspect,
        "it was signed at a time that is yet to come, by this machine's clock",
        why="\n".join(lines),
        next=steps,
    )


def see_clock(now: datetime) -> str:
    """Return the step for what seems to have ended: a clock that is ahead shows the same."""
    return f"see that this machine's clock is right: it says {_shown(now)}"


def require_begun(subject: str, what: str, document: Mapping[str, Any]) -> None:
    """Check that a trusted root counts by now: one that was made by a clock ahead does not yet.

    Args:
        subject: what is not done then, for people.
        what: whose root it is, for people.
        document: the root; what cannot be read of it is left to whoever uses it.

    Raises:
        ClockSuspect: it begins at a time that is yet to come.
    """
    now, begins = clock.now(), begins_at(document)
    if begins is None or not is_ahead(begins, now):
        return
    raise ClockSuspect(
        f"{subject}: {what} begins at a time that is yet to come, by this machine's clock",
        why=f"it begins  {_shown(begins)}\nthis clock {_shown(now)}",
        next=[_SET_IT, "if the clock is right and was not then, make a new one in its place"],
    )


def find_wrong_clock(roots: Iterable[TrustedRootSource], now: datetime) -> ClockSuspect | None:
    """Return what shows that the clock is behind; None when nothing does.

    Args:
        roots: of this machine.
        now: what the clock says, aware.
    """
    known = latest_known(roots)
    if known is None or not is_ahead(known[0], now):
        return None
    return ClockSuspect(
        "this machine's clock is behind: nothing that depends on the time can be relied upon",
        why=f"this clock {_shown(now)}\n"
        f"the trusted root `{known[1]}` was current at {_shown(known[0])}",
        next=[_SET_IT],
    )


def _shown(moment: datetime) -> str:
    return clock.format_timestamp(moment)
