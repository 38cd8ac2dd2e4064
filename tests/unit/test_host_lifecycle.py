"""The lifecycle as a pure function: every order of events ends cleaned up."""

from __future__ import annotations

import itertools

from aperio_cli.host.lifecycle import Action, Event, Patience, Phase, RunState, advance
from tests.rows import each_row

PATIENCE = Patience()
NOW_S = 100.0


def walk(*events: Event) -> tuple[RunState, list[Action]]:
    """The state after these events, and every action on the way."""
    state = RunState()
    done: list[Action] = []
    for event in events:
        state, actions = advance(state, event, NOW_S, PATIENCE)
        done += actions
    return state, done


STARTED = (Event.START, Event.DONE, Event.DONE, Event.DONE)


def test_a_start_spawns_greets_and_checks_health_before_it_is_ready() -> None:
    state, actions = walk(*STARTED)

    assert actions == [Action.SPAWN, Action.READ_HANDSHAKE, Action.CHECK_HEALTH]
    assert state == RunState(Phase.READY)


def test_a_gentle_stop_ends_stopped() -> None:
    state, actions = walk(*STARTED, Event.STOP, Event.DONE, Event.EXITED, Event.DONE, Event.DONE)

    assert actions[3:] == [Action.ASK_SHUTDOWN, Action.AWAIT_EXIT, Action.KILL, Action.CLEAN_UP]
    assert state.phase is Phase.STOPPED


def test_a_stop_that_is_ignored_goes_on_to_terminate_and_kill() -> None:
    late = (Event.LATE, Event.LATE, Event.LATE)

    state, actions = walk(*STARTED, Event.STOP, *late, Event.DONE, Event.DONE)

    assert actions[3:] == [
        Action.ASK_SHUTDOWN,
        Action.AWAIT_EXIT,
        Action.TERMINATE,
        Action.KILL,
        Action.CLEAN_UP,
    ]
    assert state.phase is Phase.STOPPED


@each_row("steps", [1, 2, 3])
@each_row("event", [Event.BROKEN, Event.LATE, Event.EXITED])
def test_a_start_that_fails_kills_cleans_up_and_ends_failed(steps: int, event: Event) -> None:
    state, actions = walk(*STARTED[:steps], event, Event.DONE, Event.DONE)

    assert actions[-2:] == [Action.KILL, Action.CLEAN_UP]
    assert state.phase is Phase.FAILED


@each_row(
    ("action", "after_exit", "after_others"),
    [
        (Action.ASK_SHUTDOWN, Action.KILL, Action.AWAIT_EXIT),
        (Action.AWAIT_EXIT, Action.KILL, Action.TERMINATE),
        (Action.TERMINATE, Action.KILL, Action.KILL),
        (Action.KILL, Action.CLEAN_UP, Action.CLEAN_UP),
    ],
)
@each_row("failed", [False, True])
def test_an_end_goes_on_whatever_becomes_of_a_step(
    action: Action, after_exit: Action, after_others: Action, *, failed: bool
) -> None:
    state = RunState(Phase.STOPPING, action, failed=failed)
    outcomes = (Event.DONE, Event.BROKEN, Event.LATE, Event.EXITED)

    following = {event: advance(state, event, NOW_S, PATIENCE) for event in outcomes}

    for event, (reached, actions) in following.items():
        expected = after_exit if event is Event.EXITED else after_others
        assert actions == (expected,), event
        assert (reached.phase, reached.action) == (Phase.STOPPING, expected)
        assert reached.failed == failed


@each_row("action", list(Action)[3:])
@each_row("event", [Event.START, Event.STOP])
def test_an_end_is_not_disturbed_by_wishes(action: Action, event: Event) -> None:
    state = RunState(Phase.STOPPING, action)

    if action is Action.CLEAN_UP:
        assert advance(state, event, NOW_S, PATIENCE) == (RunState(Phase.STOPPED), ())
    else:
        assert advance(state, event, NOW_S, PATIENCE) == (state, ())


def test_an_exit_while_ready_ends_failed() -> None:
    state, actions = walk(*STARTED, Event.EXITED, Event.DONE, Event.DONE)

    assert actions[-2:] == [Action.KILL, Action.CLEAN_UP]
    assert state.phase is Phase.FAILED


def test_a_failed_plugin_can_be_started_again() -> None:
    state, actions = walk(Event.START, Event.BROKEN, Event.DONE, Event.DONE, Event.START)

    assert (state.phase, actions[-1]) == (Phase.STARTING, Action.SPAWN)


@each_row("event", list(Event))
@each_row("phase", [Phase.BACKOFF, Phase.PAUSED])
def test_the_phases_of_supervision_are_not_touched(phase: Phase, event: Event) -> None:
    assert advance(RunState(phase), event, NOW_S, PATIENCE) == (RunState(phase), ())


def test_a_stop_of_what_is_stopped_changes_nothing() -> None:
    assert walk(Event.STOP) == (RunState(), [])


@each_row(
    ("events", "deadline_s"),
    [
        ((Event.START,), None),
        (STARTED[:2], NOW_S + PATIENCE.handshake_s),
        (STARTED[:3], NOW_S + PATIENCE.health_s),
        ((*STARTED, Event.STOP), NOW_S + PATIENCE.shutdown_s),
        ((*STARTED, Event.STOP, Event.DONE), NOW_S + PATIENCE.exit_s),
        ((*STARTED, Event.STOP, Event.DONE, Event.LATE), NOW_S + PATIENCE.terminate_s),
        ((*STARTED, Event.EXITED, Event.DONE), NOW_S + PATIENCE.drain_s),
    ],
)
def test_every_wait_has_its_deadline(events: tuple[Event, ...], deadline_s: float | None) -> None:
    assert walk(*events)[0].deadline_s == deadline_s


def test_whatever_happens_after_a_spawn_kill_and_clean_up_come_last_and_once() -> None:
    for events in itertools.product(Event, repeat=5):
        state, actions = walk(Event.START, *events)
        for _ in range(8):  # and then somebody stops it, and nothing answers
            state, more = advance(state, Event.STOP, NOW_S, PATIENCE)
            actions += more
            state, more = advance(state, Event.LATE, NOW_S, PATIENCE)
            actions += more

        assert state.phase in {Phase.STOPPED, Phase.FAILED}
        runs = "".join(action.name + " " for action in actions).split("SPAWN ")[1:]
        assert all(run.endswith("KILL CLEAN_UP ") for run in runs), (events, actions)
        assert all(run.count("KILL") == 1 for run in runs)
