"""One supervised life, as a pure function of what happened; `lifecycle` is one run within it.

    STOPPED  --WANT-->    STARTING    a run: STARTING to READY, and to its end
    STARTING --READY-->   READY
    STARTING, READY --DIED-->      BACKOFF, until it is time; or FAILED, when that is of no use
    STARTING --REFUSED-->          FAILED, and asked anew when something has changed
    STARTING, READY --STOP, PAUSE, RENEW, WITHDRAWN-->  STOPPING, and where it was sent from there
    BACKOFF  --TICK-->    STARTING
    PAUSED, FAILED --RESUME-->     STARTING
    FAILED   --ALLOWED-->          STARTING, where it was refused
    BACKOFF, FAILED --RENEW-->     STARTING, with nothing held against it

START is asked for on the way into STARTING only, and every way there begins where no process is: in
no order of events are there two. A process ends with one of DIED, ENDED and REFUSED.
All times are on the monotonic clock: the time of day may jump as it likes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising.breaker import Breaker, Position
from aperio_cli.host.supervising.rules import MOST_COUNTED, Rules

if TYPE_CHECKING:
    from collections.abc import Mapping


class Goal(Enum):
    """Where a life is to go."""

    STOP = auto()
    RUN = auto()
    PAUSE = auto()


class Event(Enum):
    """What happened."""

    WANT = auto()
    """Somebody wants it to run; one that is paused stays so."""
    STOP = auto()
    """Nobody wants it any more."""
    PAUSE = auto()
    """The operator wants it to rest."""
    RESUME = auto()
    """The operator wants it to go on, whatever was before."""
    RENEW = auto()
    """What is to be run is another version now, or has other settings."""
    ALLOWED = auto()
    """It may be started, by everything as it is now."""
    WITHDRAWN = auto()
    """It may not be run any more; with the reason."""
    READY = auto()
    """Its process is healthy."""
    DIED = auto()
    """Its process has ended by itself, or had to be killed; with the reason."""
    ENDED = auto()
    """Its process has ended as it was asked to."""
    REFUSED = auto()
    """It was not started, or not left running; with the reason. Nothing of it is left."""
    UNFIT = auto()
    """As that, and only another version or other settings can help."""
    TICK = auto()
    """Time has passed."""


class Action(Enum):
    """What the effects side has to do."""

    START = auto()
    """Clear it, start it, and tell READY, then DIED, ENDED, REFUSED or UNFIT."""
    END = auto()
    """Bring the process to its end, whatever it is doing; it tells how that came out."""
    GIVE_UP = auto()
    """Say, this once, that it is not started again by itself."""
    RELAPSED = auto()
    """Say, this once, that it dies again and again although it was healthy; it goes on."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is not running.

    Attributes:
        code: of the error.
        text: the error in words, with what it was seen by.
        likeness: what it has in common with others of its kind; empty: nothing that would tell
            that the next start ends in the same way.
    """

    code: str
    text: str = field(compare=False)
    likeness: str = ""


@dataclass(frozen=True, slots=True)
class Life:
    """Where one instance of a plugin is.

    Attributes:
        who: its name, for the breaker.
        phase: what people see.
        goal: where it is to go.
        reason: why it is not running; None while nothing is wrong with it.
        pending: what it will have been refused for, once its process has ended.
        until_s: when to look again: BACKOFF, for the next start; READY, for being healthy.
        ready_since_s: since when it is READY; None: it is not.
        deaths: in a row, since it was healthy.
        alike: deaths at start in a row, one like the other.
        relapses: deaths in a row of what was healthy, and not up for long.
        starts: how often it was started.
        is_refused: whether it is FAILED for something that may change without it.
    """

    who: str
    phase: Phase = Phase.STOPPED
    goal: Goal = Goal.STOP
    reason: Reason | None = None
    pending: Reason | None = None
    until_s: float | None = None
    ready_since_s: float | None = None
    deaths: int = 0
    alike: int = 0
    relapses: int = 0
    starts: int = 0
    is_refused: bool = False

    @property
    def has_process(self) -> bool:
        """Whether there is a process, or may be one at any moment."""
        return self.phase in _WITH_PROCESS


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happens, and by which rules.

    Attributes:
        now_s: the monotonic clock.
        rules: how patient supervision is.
        chance: from 0 to 1, for the jitter.
    """

    now_s: float
    rules: Rules
    chance: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a life.

    Attributes:
        life: where it is now.
        breaker: its plugin's.
        actions: what to do, in this order.
    """

    life: Life
    breaker: Breaker
    actions: tuple[Action, ...] = ()


_WITH_PROCESS: Final = frozenset({Phase.STARTING, Phase.READY, Phase.STOPPING})
_RESTING: Final[Mapping[Goal, Phase]] = {Goal.STOP: Phase.STOPPED, Goal.PAUSE: Phase.PAUSED}
_GOALS: Final[Mapping[Event, Goal]] = {
    Event.WANT: Goal.RUN,
    Event.STOP: Goal.STOP,
    Event.PAUSE: Goal.PAUSE,
    Event.RESUME: Goal.RUN,
}
_ENDS: Final = frozenset({Event.DIED, Event.ENDED, Event.REFUSED, Event.UNFIT})
_HELD: Final = Reason("plugin-held-back", "other instances of the plugin have died in a row")


def advance(
    life: Life, breaker: Breaker, event: Event, moment: Moment, reason: Reason | None = None
) -> Step:
    """Return where a life goes, what becomes of its plugin's breaker, and what to do.

    An event that means nothing in a phase changes nothing.

    Args:
        life: where it is.
        breaker: its plugin's.
        event: what happened.
        moment: when, and by which rules.
        reason: of DIED, REFUSED, UNFIT and WITHDRAWN.
    """
    if event in _GOALS:
        return _sent(life, breaker, event, moment)
    if event in _ENDS and life.has_process:
        return _ended(life, breaker, event, moment, reason)
    match event:
        case Event.READY if life.phase is Phase.STARTING:
            step = _ready(life, breaker, moment)
        case Event.TICK:
            step = _tick(life, breaker, moment)
        case Event.RENEW:
            step = _renewed(life, breaker, moment)
        case Event.ALLOWED if life.phase is Phase.FAILED and life.is_refused:
            step = _start(life, breaker, moment)
        case Event.WITHDRAWN:
            step = _withdrawn(life, breaker, reason)
        case _:
            step = _as_is(life, breaker)
    return step


def _as_is(life: Life, breaker: Breaker) -> Step:
    return Step(life, breaker)


# ── wishes ────────────────────────────────────────────────────────────────────────────────────────


def _sent(life: Life, breaker: Breaker, event: Event, moment: Moment) -> Step:
    """Send a life to another goal; from there it goes by itself."""
    if event is Event.WANT and life.goal is Goal.PAUSE:
        return _as_is(life, breaker)
    sent = replace(life, goal=_GOALS[event])
    if life.phase is Phase.STOPPING:  # how it ends decides
        return _as_is(sent, breaker)
    if sent.goal is Goal.RUN:
        return _wanted(sent, breaker, event, moment)
    return _end(sent, breaker) if life.has_process else _rest(sent, breaker)


def _wanted(life: Life, breaker: Breaker, event: Event, moment: Moment) -> Step:
    if event is Event.RESUME and life.phase in {Phase.PAUSED, Phase.FAILED, Phase.BACKOFF}:
        return _start(_afresh(life), breaker.forgiven(life.who), moment)
    return _start(life, breaker, moment) if life.phase is Phase.STOPPED else _as_is(life, breaker)


def _renewed(life: Life, breaker: Breaker, moment: Moment) -> Step:
    """Begin again with what is to be run now; what was before says nothing about it."""
    fresh = _afresh(life)
    if life.phase in {Phase.STARTING, Phase.READY}:
        return _end(fresh, breaker)
    if life.phase in {Phase.BACKOFF, Phase.FAILED}:
        return _start(fresh, breaker.forgiven(life.who), moment)
    return _as_is(fresh, breaker)


def _withdrawn(life: Life, breaker: Breaker, reason: Reason | None) -> Step:
    if life.goal is not Goal.RUN:
        return _as_is(life, breaker)
    if life.phase in {Phase.STARTING, Phase.READY}:
        return _end(replace(life, pending=reason), breaker)
    if life.phase is Phase.STOPPING:
        return _as_is(replace(life, pending=reason), breaker)
    return _refused(life, breaker, reason)


# ── what becomes of a process ─────────────────────────────────────────────────────────────────────


def _start(life: Life, breaker: Breaker, moment: Moment) -> Step:
    breaker, until_s = breaker.admit(life.who, moment.now_s, moment.rules)
    if until_s is not None:
        held = replace(life, phase=Phase.BACKOFF, until_s=until_s, reason=life.reason or _HELD)
        return _as_is(replace(held, is_refused=False), breaker)
    starting = replace(
        life,
        phase=Phase.STARTING,
        pending=None,
        until_s=None,
        ready_since_s=None,
        is_refused=False,
        starts=min(life.starts + 1, MOST_COUNTED),
    )
    return Step(starting, breaker, (Action.START,))


def _ready(life: Life, breaker: Breaker, moment: Moment) -> Step:
    now_s = moment.now_s
    until_s = now_s + moment.rules.healthy_s
    ready = replace(life, phase=Phase.READY, ready_since_s=now_s, until_s=until_s, reason=None)
    return _as_is(ready, breaker)


def _tick(life: Life, breaker: Breaker, moment: Moment) -> Step:
    if life.until_s is None or moment.now_s < life.until_s:
        return _as_is(life, breaker)
    if life.phase is Phase.BACKOFF:
        return _start(life, breaker, moment)
    if life.phase is Phase.READY:
        healthy = replace(life, until_s=None, deaths=0, alike=0)
        return _as_is(healthy, breaker.after_health(life.who))
    return _as_is(life, breaker)


def _end(life: Life, breaker: Breaker) -> Step:
    stopping = replace(life, phase=Phase.STOPPING, until_s=None)
    return Step(stopping, breaker, (Action.END,))


def _ended(
    life: Life, breaker: Breaker, event: Event, moment: Moment, reason: Reason | None
) -> Step:
    """Go on from the end of the process."""
    if life.goal is not Goal.RUN:
        return _rest(life, breaker)
    if life.pending:
        return _refused(life, breaker, life.pending)
    if life.phase is Phase.STOPPING:  # it was asked to: to begin again
        return _start(replace(life, ready_since_s=None), breaker.without(life.who), moment)
    if event is Event.REFUSED:
        return _refused(life, breaker, reason)
    if event is Event.UNFIT:
        failed = replace(_refused(life, breaker, reason).life, is_refused=False)
        return Step(failed, breaker.without(life.who), (Action.GIVE_UP,))
    return _died(life, breaker, moment, reason or Reason("plugin-crashed", "it has ended"))


def _rest(life: Life, breaker: Breaker) -> Step:
    resting = replace(
        life,
        phase=_RESTING[life.goal],
        pending=None,
        until_s=None,
        ready_since_s=None,
        is_refused=False,
    )
    return _as_is(resting, breaker.without(life.who))


def _refused(life: Life, breaker: Breaker, reason: Reason | None) -> Step:
    failed = replace(
        life,
        phase=Phase.FAILED,
        reason=reason,
        pending=None,
        until_s=None,
        ready_since_s=None,
        is_refused=True,
    )
    return _as_is(failed, breaker.without(life.who))


def _died(life: Life, breaker: Breaker, moment: Moment, reason: Reason) -> Step:
    now_s, rules, before = moment.now_s, moment.rules, life.relapses
    since_s = life.ready_since_s
    if since_s is not None and now_s - since_s >= rules.healthy_s:
        breaker = breaker.after_health(life.who)
        life = replace(life, deaths=0, alike=0, relapses=_relapses(life, now_s - since_s, rules))
    is_like = life.alike > 0 and life.reason == reason and reason.likeness != ""
    deaths = min(life.deaths + 1, MOST_COUNTED)
    alike = (min(life.alike, MOST_COUNTED) + 1 if is_like else 1) if since_s is None else 0
    breaker = breaker.after_death(life.who, now_s, rules)
    dead = replace(life, reason=reason, ready_since_s=None, deaths=deaths, alike=alike)
    if alike >= rules.identical_deaths:
        failed = replace(dead, phase=Phase.FAILED, until_s=None, is_refused=False)
        return Step(failed, breaker.without(life.who), (Action.GIVE_UP,))
    until_s = now_s + rules.delay_s(deaths, moment.chance)
    if breaker.position is Position.OPEN:
        until_s = max(until_s, breaker.until_s)
    waiting = replace(dead, phase=Phase.BACKOFF, until_s=until_s)
    is_to_be_said = before < waiting.relapses == rules.relapses
    return Step(waiting, breaker, (Action.RELAPSED,) if is_to_be_said else ())


def _relapses(life: Life, up_s: float, rules: Rules) -> int:
    """Return how often in a row it has died that was healthy, and up for no longer than now."""
    return min(life.relapses + 1, MOST_COUNTED) if up_s < rules.lasting_s else 0


def _afresh(life: Life) -> Life:
    """Return the life with nothing held against it."""
    return replace(life, reason=None, pending=None, deaths=0, alike=0, relapses=0, is_refused=False)
