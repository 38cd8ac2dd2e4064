"""What a plugin's process goes through, as a pure function of what happened.

The effects side performs one action at a time and reports its outcome as an event:

    STOPPED  --START-->   STARTING   spawn, read the handshake, check health
    STARTING --DONE-->    READY
    READY    --STOP-->    STOPPING   ask for shutdown, await the exit, terminate, kill, clean up
    STARTING, READY --BROKEN, EXITED, LATE-->  STOPPING, and in the end FAILED

In every case KILL and CLEAN_UP are the last two actions, so nothing of the plugin is left.
BACKOFF and PAUSED belong to supervision: no event of a single run leads there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Phase(Enum):
    """What state a plugin is in; the names are those that people see."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    READY = "READY"
    BACKOFF = "BACKOFF"
    PAUSED = "PAUSED"
    STOPPING = "STOPPING"
    FAILED = "FAILED"


class Event(Enum):
    """What happened."""

    START = auto()
    """Somebody wants it to run."""
    STOP = auto()
    """Somebody wants it to end."""
    DONE = auto()
    """The action in progress succeeded."""
    BROKEN = auto()
    """The action in progress failed, or was cancelled."""
    LATE = auto()
    """The action in progress did not end before its deadline."""
    EXITED = auto()
    """The process ended."""


class Action(Enum):
    """What the effects side has to do next."""

    SPAWN = auto()
    READ_HANDSHAKE = auto()
    CHECK_HEALTH = auto()
    ASK_SHUTDOWN = auto()
    AWAIT_EXIT = auto()
    TERMINATE = auto()
    """SIGTERM to the whole group, then wait for the process to end."""
    KILL = auto()
    """SIGKILL to the whole group, then reap the process."""
    CLEAN_UP = auto()
    """Drain and close the pipes, remove the private folder."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each step may take, in seconds; go-plugin hosts give 2 s between answer and kill.

    Attributes:
        handshake_s: from the start of the process to the end of its first line.
        health_s: for the first health check.
        shutdown_s: for the answer to Shutdown.
        exit_s: from that answer to the end of the process.
        terminate_s: from SIGTERM to the end of the process.
        drain_s: for what is left in the pipes once the process has ended.
    """

    handshake_s: float = 10.0
    health_s: float = 5.0
    shutdown_s: float = 2.0
    exit_s: float = 2.0
    terminate_s: float = 1.0
    drain_s: float = 1.0

    @classmethod
    def stated(cls, handshake_s: float) -> Patience:
        """Return the usual patience, but for the handshake when that is not 0."""
        return cls(handshake_s=handshake_s) if handshake_s else cls()


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a plugin is.

    Attributes:
        phase: what people see.
        action: what is in progress, or None.
        deadline_s: when `action` is late, on the monotonic clock; None: it has its own bound.
        failed: whether the run ends in FAILED once everything is cleaned up.
    """

    phase: Phase = Phase.STOPPED
    action: Action | None = None
    deadline_s: float | None = None
    failed: bool = False


_STARTING: Final = {
    Action.SPAWN: Action.READ_HANDSHAKE,
    Action.READ_HANDSHAKE: Action.CHECK_HEALTH,
}
_STOPPING: Final = {
    Action.ASK_SHUTDOWN: Action.AWAIT_EXIT,
    Action.AWAIT_EXIT: Action.TERMINATE,
    Action.TERMINATE: Action.KILL,
    Action.KILL: Action.CLEAN_UP,
}
_GOES_ON_AFTER_EXIT: Final = frozenset({Action.KILL, Action.CLEAN_UP})
_Step = tuple[RunState, tuple[Action, ...]]


def advance(state: RunState, event: Event, now_s: float, patience: Patience) -> _Step:
    """Return the next state, and the actions to perform: one, or none when there is nothing to do.

    An event that means nothing in a state changes nothing: stopping twice is harmless.

    Args:
        state: where the plugin is.
        event: what happened.
        now_s: the monotonic clock, in seconds.
        patience: how long each step may take.
    """
    match state.phase:
        case Phase.STOPPED | Phase.FAILED if event is Event.START:
            return _perform(RunState(Phase.STARTING), Action.SPAWN, now_s, patience)
        case Phase.STARTING:
            return _starting(state, event, now_s, patience)
        case Phase.READY if event is Event.STOP:
            return _perform(RunState(Phase.STOPPING), Action.ASK_SHUTDOWN, now_s, patience)
        case Phase.READY if event in {Event.EXITED, Event.BROKEN}:
            return _perform(RunState(Phase.STOPPING, failed=True), Action.KILL, now_s, patience)
        case Phase.STOPPING:
            return _stopping(state, event, now_s, patience)
        case _:
            return state, ()


def _starting(state: RunState, event: Event, now_s: float, patience: Patience) -> _Step:
    if event is not Event.DONE:
        stopping = RunState(Phase.STOPPING, failed=event is not Event.STOP)
        return _perform(stopping, Action.KILL, now_s, patience)
    following = _STARTING.get(state.action) if state.action else None
    if following is None:
        return RunState(Phase.READY), ()
    return _perform(state, following, now_s, patience)


def _stopping(state: RunState, event: Event, now_s: float, patience: Patience) -> _Step:
    if state.action is Action.CLEAN_UP:
        return RunState(Phase.FAILED if state.failed else Phase.STOPPED, failed=state.failed), ()
    if event in {Event.START, Event.STOP} or state.action is None:
        return state, ()
    exited = event is Event.EXITED and state.action not in _GOES_ON_AFTER_EXIT
    following = Action.KILL if exited else _STOPPING[state.action]
    return _perform(state, following, now_s, patience)


def _perform(state: RunState, action: Action, now_s: float, patience: Patience) -> _Step:
    seconds = {
        Action.READ_HANDSHAKE: patience.handshake_s,
        Action.CHECK_HEALTH: patience.health_s,
        Action.ASK_SHUTDOWN: patience.shutdown_s,
        Action.AWAIT_EXIT: patience.exit_s,
        Action.TERMINATE: patience.terminate_s,
        Action.CLEAN_UP: patience.drain_s,
    }.get(action)
    deadline_s = None if seconds is None else now_s + seconds
    return RunState(state.phase, action, deadline_s, state.failed), (action,)
