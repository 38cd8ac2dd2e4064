"""One supervised life, and its plugin's breaker: whatever happens, in whatever order."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising.breaker import Breaker, Position
from aperio_cli.host.supervising.life import (
    Action,
    Event,
    Goal,
    Life,
    Moment,
    Reason,
    Step,
    advance,
)
from aperio_cli.host.supervising.rules import MOST_COUNTED, Rules
from tests.rows import each_row

RULES: Final = Rules(
    first_delay_s=1,
    longest_delay_s=16,
    healthy_s=30,
    lasting_s=600,
    relapses=3,
    identical_deaths=3,
    deaths_to_open=6,
    first_open_s=60,
    longest_open_s=240,
)
CRASH: Final = Reason("plugin-crashed", "exit status 1", "plugin-crashed exit status 0")
LATE: Final = Reason("handshake-timeout", "it printed no handshake", "handshake-timeout")
WITHDRAWN: Final = Reason("publisher-unknown", "no rule names it")
ENDS: Final = (Event.DIED, Event.ENDED, Event.REFUSED, Event.UNFIT)
SAID: Final = tuple(each for each in Event if each not in {*ENDS, Event.READY})
GRAPH: Final = {
    Phase.STOPPED: {Phase.STARTING, Phase.BACKOFF, Phase.PAUSED},
    Phase.STARTING: {Phase.READY, Phase.BACKOFF, Phase.FAILED, Phase.STOPPING},
    Phase.READY: {Phase.STOPPING, Phase.BACKOFF, Phase.FAILED},
    Phase.BACKOFF: {Phase.STARTING, Phase.STOPPED, Phase.PAUSED, Phase.FAILED},
    Phase.PAUSED: {Phase.STARTING, Phase.STOPPED, Phase.BACKOFF},
    Phase.STOPPING: {Phase.STOPPED, Phase.PAUSED, Phase.STARTING, Phase.FAILED, Phase.BACKOFF},
    Phase.FAILED: {Phase.STARTING, Phase.STOPPED, Phase.PAUSED, Phase.BACKOFF},
}
"""Every step there may be; written down here again, from the page, not taken from the code."""


class World:
    """A life with its breaker, a clock, and what the effects side would hold."""

    def __init__(self, life: Life | None = None, rules: Rules = RULES) -> None:
        self.life = life or Life("a")
        self.breaker = Breaker()
        self.rules = rules
        self.now_s = 1000.0
        self.processes = 0
        self.said = 0

    def tell(self, event: Event, reason: Reason | None = None, chance: float = 0.0) -> Step:
        """One event, with its actions performed."""
        before = self.life
        if event in ENDS and before.has_process:
            self.processes -= 1
        step = advance(before, self.breaker, event, self.moment(chance), reason)
        self.life, self.breaker = step.life, step.breaker
        self.processes += step.actions.count(Action.START)
        self.said += step.actions.count(Action.GIVE_UP)
        return step

    def moment(self, chance: float = 0.0) -> Moment:
        return Moment(self.now_s, self.rules, chance)

    def wait(self) -> float:
        """Let the time come for which it waits; return how long that was."""
        assert self.life.until_s is not None
        waited_s = self.life.until_s - self.now_s
        self.now_s = self.life.until_s
        self.tell(Event.TICK)
        return waited_s

    def up(self) -> World:
        self.tell(Event.WANT)
        self.tell(Event.READY)
        return self


# ── by example ────────────────────────────────────────────────────────────────────────────────────


def test_a_plugin_that_dies_is_started_again_later_and_later_until_it_is_healthy() -> None:
    world, waits = World(rules=replace(RULES, deaths_to_open=100)).up(), []
    for _ in range(7):
        world.tell(Event.DIED, CRASH)
        assert (world.life.phase, world.life.reason) == (Phase.BACKOFF, CRASH)
        waits.append(world.wait())
        world.tell(Event.READY)

    assert waits == [1, 2, 4, 8, 16, 16, 16]

    world.wait()  # so it is healthy
    assert (world.life.phase, world.life.deaths) == (Phase.READY, 0)
    world.tell(Event.DIED, CRASH)
    assert world.wait() == 1


def test_being_up_for_a_moment_does_not_reset_the_backoff() -> None:
    world = World().up()
    world.tell(Event.DIED, CRASH)
    world.wait()
    world.tell(Event.READY)
    world.now_s += RULES.healthy_s - 0.001
    world.tell(Event.DIED, CRASH)

    assert world.wait() == 2


def test_a_healthy_time_counts_even_when_nobody_has_looked_before_the_death() -> None:
    world = World().up()
    world.tell(Event.DIED, CRASH)
    world.wait()
    world.tell(Event.READY)
    world.now_s += RULES.healthy_s
    world.tell(Event.DIED, CRASH)

    assert world.wait() == 1


def relapse(world: World, up_s: float) -> int:
    """Have it die after so long, and come up again; how often that it dies again was said."""
    world.now_s += up_s
    step = world.tell(Event.DIED, CRASH)
    assert world.life.phase is Phase.BACKOFF
    world.wait()
    world.tell(Event.READY)
    return step.actions.count(Action.RELAPSED)


def test_what_dies_again_and_again_after_it_was_healthy_goes_on_and_is_said_once() -> None:
    world = World().up()

    said = [relapse(world, RULES.healthy_s + number) for number in range(3 * RULES.relapses)]

    assert said == [0, 0, 1] + [0] * (len(said) - 3)
    assert (world.life.phase, world.life.deaths, world.said) == (Phase.READY, 1, 0)


@pytest.mark.parametrize("up_s", [RULES.lasting_s, 1e9])
def test_a_death_of_what_was_up_for_long_begins_that_count_anew(up_s: float) -> None:
    world = World().up()
    deaths = [*[RULES.lasting_s - 1] * (RULES.relapses - 1), up_s]

    assert sum(relapse(world, each) for each in deaths * 3) == 0


def test_deaths_of_what_was_not_healthy_are_no_relapses_and_forgive_none() -> None:
    world = World().up()
    deaths = [RULES.healthy_s, 1.0] * RULES.relapses

    assert [relapse(world, each) for each in deaths] == [0, 0, 0, 0, 1, 0]


@each_row("chance", [0.0, 0.3, 1.0])
def test_jitter_shortens_a_wait_and_never_beyond_its_part(chance: float) -> None:
    world = World().up()
    world.tell(Event.DIED, CRASH, chance)

    assert world.wait() == pytest.approx(1 - RULES.jitter * chance)


def test_deaths_at_start_one_like_the_other_end_in_failed_which_is_said_once() -> None:
    world = World()
    world.tell(Event.WANT)
    for _ in range(RULES.identical_deaths - 1):
        world.tell(Event.DIED, CRASH)
        world.wait()
    assert world.said == 0
    world.tell(Event.DIED, CRASH)

    assert (world.life.phase, world.life.until_s, world.said) == (Phase.FAILED, None, 1)
    for event in (Event.WANT, Event.TICK, Event.ALLOWED, Event.DIED, Event.READY):
        world.tell(event, CRASH)
    assert (world.life.phase, world.said, world.processes) == (Phase.FAILED, 1, 0)


def test_deaths_at_start_that_differ_go_on_with_backoff() -> None:
    world = World()
    world.tell(Event.WANT)
    for number in range(5):
        world.tell(Event.DIED, CRASH if number % 2 else LATE)
        assert world.life.phase is Phase.BACKOFF
        world.wait()


def test_a_start_that_took_too_long_may_work_another_time_however_often_it_did_not() -> None:
    late = Reason("handshake-timeout", "it printed no handshake")
    world = World()
    world.tell(Event.WANT)
    for _ in range(3 * RULES.identical_deaths):
        world.tell(Event.DIED, late)
        world.wait()
        while world.life.phase is Phase.BACKOFF:  # held back by the breaker
            world.wait()

    assert (world.life.phase, world.said) == (Phase.STARTING, 0)


def test_a_start_that_worked_in_between_begins_the_count_of_like_deaths_anew() -> None:
    world = World()
    world.tell(Event.WANT)
    for _ in range(2 * RULES.identical_deaths - 1):
        world.tell(Event.DIED, CRASH)
        world.wait()
        if world.life.alike == RULES.identical_deaths - 1:
            world.tell(Event.READY)
            world.tell(Event.DIED, CRASH)
            world.wait()

    assert world.said == 0


@pytest.mark.parametrize("event", [Event.RESUME, Event.RENEW])
def test_what_was_given_up_begins_again_when_somebody_says_so_or_it_changes(event: Event) -> None:
    world = World(Life("a", Phase.FAILED, Goal.RUN, CRASH, deaths=9, alike=3))

    step = world.tell(event)

    assert (world.life.phase, step.actions) == (Phase.STARTING, (Action.START,))
    assert (world.life.deaths, world.life.alike, world.life.reason) == (0, 0, None)


def test_a_refused_start_fails_without_a_death_and_is_asked_anew() -> None:
    world = World()
    world.tell(Event.WANT)
    world.tell(Event.REFUSED, WITHDRAWN)

    assert (world.life.phase, world.life.reason) == (Phase.FAILED, WITHDRAWN)
    assert (world.life.deaths, world.breaker.deaths, world.processes) == (0, 0, 0)
    world.tell(Event.WITHDRAWN, WITHDRAWN)
    assert world.life.phase is Phase.FAILED
    assert world.tell(Event.ALLOWED).actions == (Action.START,)


def test_settings_that_do_not_fit_are_not_tried_again_by_themselves() -> None:
    world = World()
    world.tell(Event.WANT)
    world.tell(Event.UNFIT, Reason("plugin-config-invalid", "`nmae` is unknown"))

    assert (world.life.phase, world.said) == (Phase.FAILED, 1)
    assert world.tell(Event.ALLOWED).actions == ()
    assert world.tell(Event.RENEW).actions == (Action.START,)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.READY])
def test_what_is_withdrawn_is_ended_and_then_failed_with_the_reason(phase: Phase) -> None:
    world = World().up() if phase is Phase.READY else World()
    world.tell(Event.WANT)

    assert world.tell(Event.WITHDRAWN, WITHDRAWN).actions == (Action.END,)
    assert world.life.phase is Phase.STOPPING
    world.tell(Event.ENDED)
    assert (world.life.phase, world.life.reason) == (Phase.FAILED, WITHDRAWN)


def test_what_is_withdrawn_while_it_waits_is_not_started_any_more() -> None:
    world = World().up()
    world.tell(Event.DIED, CRASH)
    world.tell(Event.WITHDRAWN, WITHDRAWN)

    assert (world.life.phase, world.life.until_s) == (Phase.FAILED, None)


def test_a_paused_plugin_rests_until_it_is_resumed() -> None:
    world = World().up()
    world.tell(Event.PAUSE)
    world.tell(Event.ENDED)

    for event in (Event.WANT, Event.ALLOWED, Event.TICK, Event.WITHDRAWN):
        assert world.tell(event).actions == ()
    assert world.life.phase is Phase.PAUSED
    assert world.tell(Event.RESUME).actions == (Action.START,)


def test_what_is_wanted_again_while_it_ends_is_started_once_it_has_ended() -> None:
    world = World().up()
    world.tell(Event.STOP)
    assert world.tell(Event.WANT).actions == ()

    assert world.tell(Event.ENDED).actions == (Action.START,)
    assert world.processes == 1


def test_a_death_while_it_is_being_stopped_counts_for_nothing() -> None:
    world = World().up()
    world.tell(Event.STOP)
    world.tell(Event.DIED, CRASH)

    assert (world.life.phase, world.life.deaths, world.breaker.deaths) == (Phase.STOPPED, 0, 0)


def test_a_death_by_our_own_limit_counts_with_its_reason() -> None:
    limit = Reason("plugin-limit-reached", "memory: limit 64MiB, peak 64MiB, killed once")
    world = World().up()
    world.tell(Event.DIED, limit)

    assert (world.life.reason, world.life.deaths) == (limit, 1)
    assert world.life.reason is not None
    assert world.life.reason.text == limit.text


# ── the breaker ───────────────────────────────────────────────────────────────────────────────────


def opened(*names: str) -> Breaker:
    breaker = Breaker()
    for _ in range(RULES.deaths_to_open):
        for name in names:
            breaker = breaker.after_death(name, 0.0, RULES)
    assert breaker.position is Position.OPEN
    return breaker


def test_a_breaker_lets_one_probe_through_and_closes_when_that_is_healthy() -> None:
    breaker = opened("a", "b")
    assert breaker.admit("a", 59.0, RULES)[1] == 60.0

    breaker, until_s = breaker.admit("a", 60.0, RULES)
    assert (breaker.position, until_s) == (Position.HALF_OPEN, None)
    assert breaker.admit("b", 60.0, RULES)[1] == 61.0
    assert breaker.admit("a", 60.0, RULES)[1] is None

    breaker = breaker.after_health("a")
    assert breaker.admit("b", 60.0, RULES) == (breaker, None)


def test_a_breaker_opens_for_longer_each_time_its_probe_dies() -> None:
    breaker, waits, now_s = opened("a"), [], 60.0
    for _ in range(4):
        breaker, until_s = breaker.admit("a", now_s, RULES)
        assert until_s is None
        breaker = breaker.after_death("a", now_s, RULES)
        waits.append(breaker.until_s - now_s)
        now_s = breaker.until_s

    assert waits == [120, 240, 240, 240]


def test_a_breaker_stays_closed_while_one_instance_is_healthy() -> None:
    breaker = Breaker().after_health("other")
    for _ in range(100):
        breaker = breaker.after_death("a", 0.0, RULES)
    assert breaker.position is Position.CLOSED

    breaker = breaker.after_death("other", 0.0, RULES)
    assert breaker.position is Position.OPEN


def test_an_instance_that_had_no_part_in_the_deaths_need_not_wait() -> None:
    breaker, until_s = opened("a").admit("another organization", 1.0, RULES)

    assert (breaker.position, breaker.probe, until_s) == (
        Position.HALF_OPEN,
        "another organization",
        None,
    )


def test_a_probe_that_ends_otherwise_leaves_its_place_to_the_next() -> None:
    breaker, _ = opened("a", "b").admit("a", 60.0, RULES)
    breaker = breaker.without("a")

    assert breaker.admit("b", 60.0, RULES)[1] is None


# ── in any order ──────────────────────────────────────────────────────────────────────────────────

NAMES: Final = ("a", "b", "c")


class Lives(RuleBasedStateMachine):
    """Three instances of one plugin, whatever happens to them and to the clock."""

    @initialize(terms=st.builds(Rules, deaths_to_open=st.integers(1, 9)))
    def begin(self, terms: Rules) -> None:
        self.terms = terms
        self.lives = {name: Life(name) for name in NAMES}
        self.processes = dict.fromkeys(NAMES, 0)
        self.breaker = Breaker()
        self.now_s = 0.0

    def tell(
        self, name: str, event: Event, reason: Reason | None = None, chance: float = 0.0
    ) -> None:
        before, known = self.lives[name], self.breaker
        if event in ENDS:
            self.processes[name] -= 1
        moment = Moment(self.now_s, self.terms, chance)
        step = advance(before, known, event, moment, reason)
        self.lives[name], self.breaker = step.life, step.breaker
        after = step.life.phase
        assert after is before.phase or after in GRAPH[before.phase], (before, event, step.life)
        self.processes[name] += step.actions.count(Action.START)
        if after is Phase.STARTING and before.phase is not Phase.STARTING:
            assert step.actions == (Action.START,)
        assert (Action.END in step.actions) == (
            after is Phase.STOPPING and before.phase is not Phase.STOPPING
        )

    @rule(
        name=st.sampled_from(NAMES),
        event=st.sampled_from(SAID),
    )
    def anybody_says_anything(self, name: str, event: Event) -> None:
        self.tell(name, event, WITHDRAWN)

    @rule(name=st.sampled_from(NAMES))
    def a_start_works(self, name: str) -> None:
        if self.processes[name]:
            self.tell(name, Event.READY)

    @rule(
        name=st.sampled_from(NAMES),
        event=st.sampled_from(ENDS),
        reason=st.sampled_from([CRASH, LATE, None]),
        chance=st.floats(0, 1),
    )
    def a_process_ends(self, name: str, event: Event, reason: Reason | None, chance: float) -> None:
        if self.processes[name]:
            self.tell(name, event, reason, chance)

    @rule(jump_s=st.sampled_from([0.001, 1.0, 30.0, 60.0, 3600.0, 1e9]))
    def time_passes(self, jump_s: float) -> None:
        self.now_s += jump_s
        for name in NAMES:
            self.tell(name, Event.TICK)

    @precondition(lambda self: any(life.until_s is not None for life in self.lives.values()))
    @rule()
    def the_next_time_comes(self) -> None:
        due = [life.until_s for life in self.lives.values() if life.until_s is not None]
        self.now_s = max(self.now_s, min(due))
        for name in NAMES:
            self.tell(name, Event.TICK)

    @invariant()
    def never_two_processes(self) -> None:
        for name, life in self.lives.items():
            assert self.processes[name] in {0, 1}
            assert life.has_process == (self.processes[name] == 1), life

    @invariant()
    def counters_and_delays_are_bounded(self) -> None:
        longest_s = max(self.terms.longest_delay_s, self.terms.longest_open_s, self.terms.healthy_s)
        for life in self.lives.values():
            assert 0 <= life.deaths <= MOST_COUNTED
            assert 0 <= life.alike <= self.terms.identical_deaths
            assert 0 <= life.relapses <= MOST_COUNTED
            assert 0 <= life.starts <= MOST_COUNTED
            if life.until_s is not None:
                assert life.until_s <= self.now_s + longest_s
        assert self.breaker.until_s <= self.now_s + longest_s

    @invariant()
    def whoever_waits_is_told_when_and_why(self) -> None:
        for life in self.lives.values():
            if life.phase is Phase.BACKOFF:
                assert life.until_s is not None
                assert life.reason is not None
            if life.phase in {Phase.STOPPED, Phase.PAUSED, Phase.FAILED, Phase.STOPPING}:
                assert life.until_s is None

    @invariant()
    def an_open_breaker_has_one_probe_at_most_and_nobody_healthy(self) -> None:
        breaker = self.breaker
        assert (breaker.position is Position.HALF_OPEN) == (breaker.probe is not None)
        if breaker.position is not Position.CLOSED:
            assert not breaker.healthy

    @invariant()
    def nobody_is_held_back_for_ever(self) -> None:
        """From anywhere: left alone, and with starts that work, whoever is wanted comes up."""
        lives, breaker, now_s = dict(self.lives), self.breaker, self.now_s
        wanted = [
            name
            for name, life in lives.items()
            if life.goal is Goal.RUN and life.phase not in {Phase.FAILED, Phase.STOPPING}
        ]
        for _ in range(12):
            now_s += self.terms.longest_open_s
            for name in wanted:
                for event in (Event.TICK, Event.READY):
                    step = advance(lives[name], breaker, event, Moment(now_s, self.terms))
                    lives[name], breaker = step.life, step.breaker
        assert {lives[name].phase for name in wanted} <= {Phase.READY}


Lives.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, database=None, derandomize=True
)
TestLives = Lives.TestCase


def test_counters_stop_and_nothing_overflows_after_a_million_deaths() -> None:
    world = World(Life("a", Phase.READY, Goal.RUN, ready_since_s=1000.0, deaths=MOST_COUNTED))
    world.processes = 1
    world.tell(Event.DIED, CRASH)

    assert world.life.deaths == MOST_COUNTED
    assert world.wait() == RULES.longest_delay_s
    assert RULES.open_s(10**9) == RULES.longest_open_s


def test_a_life_that_waited_through_a_jump_of_the_clock_starts_once() -> None:
    world = World().up()
    world.tell(Event.DIED, CRASH)
    world.now_s += 1e9

    assert world.tell(Event.TICK).actions == (Action.START,)
    assert world.tell(Event.TICK).actions == ()
