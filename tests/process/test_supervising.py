"""The supervisor with real plugin processes: what dies comes again, what is wanted is there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from aperio_cli import clock
from aperio_cli.errors.running import (
    PluginCrashed,
    PluginHung,
    PluginInterrupted,
    PluginNotReady,
    TooManyPaused,
    TooManyPlugins,
)
from aperio_cli.errors.trust import PublisherUnknown
from aperio_cli.errors.usage import ConfigurationInvalid, NotFound
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import launch
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising import supervisor as supervisor_module
from aperio_cli.host.supervising.instances import InstanceKey, Pause, Wanted
from aperio_cli.host.supervising.launcher import Leave, Survey
from aperio_cli.host.supervising.reach import reach_of
from aperio_cli.host.supervising.rules import Rules
from aperio_cli.host.supervising.supervisor import Supervisor
from aperio_cli.models.manifest import EgressFromConfig
from aperio_cli.models.plugin_id import PluginId
from tests.clearances import cleared

from .conftest import PLUGINS, Host, development, is_alive, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.supervising.instances import Status
    from aperio_cli.host.supervising.life import Reason

pytestmark = pytest.mark.usefixtures("forked_plugins")
BOX: Final = PluginId("acme", "box")
KEY: Final = InstanceKey(BOX, "acme", "main")
RESTS: Final = Pause("alice", "2026-01-02T03:04:05Z", "the service is down")
WITHIN_S: Final = 20.0
QUICK: Final = Rules(
    first_delay_s=0.05,
    longest_delay_s=0.2,
    healthy_s=0.3,
    first_open_s=0.3,
    heartbeat_s=0.2,
    heartbeat_timeout_s=2.0,
    drain_s=0.3,
    idle_s=60.0,
    reconcile_s=0.05,
)


@dataclass
class Shelf:
    """What can be launched: scripts by plugin, and whatever keeps them from it."""

    host: Host
    scripts: dict[PluginId, Path] = field(default_factory=lambda: {BOX: PLUGINS / "bare.py"})
    versions: dict[PluginId, str] = field(default_factory=dict)
    refusals: dict[tuple[PluginId, str], Exception] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    is_changed: bool = False
    healthy: dict[PluginId, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    may_fall_back: bool = True
    cleared: list[str] = field(default_factory=list)
    launched: dict[InstanceKey, Wanted] = field(default_factory=dict)
    waited_since: dict[InstanceKey, float | None] = field(default_factory=dict)
    surveyed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    before_launch: Callable[[], Coroutine[Any, Any, None]] | None = None

    def survey(self) -> Survey:
        self.surveyed.release()
        is_changed, self.is_changed = self.is_changed, False
        return Survey(None, is_changed)

    def clear(self, wanted: Wanted) -> Leave:
        plugin = wanted.key.plugin
        version = wanted.version or self.versions.get(plugin, "1.0.0")
        if error := self.refusals.get((plugin, version)):
            raise error
        target = development(self.scripts[plugin], id=plugin, version=version, **self.changes)
        manifest = target.project.manifest
        likeness = f"{version} {reach_of(manifest, wanted.settings)}"
        self.cleared.append(version)
        return Leave(cleared(target), manifest, "local", "", likeness)

    def settled(self, plugin: PluginId, version: str) -> None:
        self.healthy[plugin] = version

    def fall_back(self, wanted: Wanted, failed: Leave, reason: Reason) -> bool:
        del wanted
        plugin = failed.manifest.id
        self.asked.append((failed.version, reason.code))
        if self.healthy.get(plugin, failed.version) == failed.version or not self.may_fall_back:
            return False
        self.versions[plugin] = self.healthy[plugin]
        return True

    @contextlib.asynccontextmanager
    async def launch(
        self, leave: Leave, wanted: Wanted, log: Callable[[LogRecord], None]
    ) -> AsyncIterator[RunningPlugin]:
        self.launched[wanted.key] = wanted
        self.waited_since[wanted.key] = leave.asked_s
        if self.before_launch:
            await self.before_launch()
        async with launch(leave.cleared, self.host.launch_options(), log) as plugin:
            yield plugin


@dataclass
class Scene:
    """A supervisor that runs."""

    supervisor: Supervisor
    shelf: Shelf

    async def until(self, condition: Callable[[Status], bool], key: InstanceKey = KEY) -> Status:
        """How an instance is, as soon as it is as expected."""
        async with asyncio.timeout(WITHIN_S):
            async for status in self.supervisor.watch():
                if status.key == key and condition(status):
                    return status
        raise AssertionError("the supervisor has ended")

    async def ready(self, key: InstanceKey = KEY, *, restarts: int = 0) -> Status:
        return await self.until(
            lambda status: status.phase is Phase.READY and status.restarts >= restarts, key
        )

    async def in_phase(self, phase: Phase, key: InstanceKey = KEY) -> Status:
        return await self.until(lambda status: status.phase is phase, key)


@pytest.fixture
def shelf(host: Host) -> Shelf:
    return Shelf(host)


def supervise(
    shelf: Shelf, play: Any, *wanted: Wanted, rules: Rules = QUICK, log: Any = None
) -> Any:
    """Run a supervisor beside the play, and drain it."""

    async def whole() -> Any:
        heard = log or (lambda _key, _record: None)
        supervisor = Supervisor(shelf, rules, log=heard)
        supervisor.want(wanted)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            running = group.create_task(supervisor.run())
            await asyncio.sleep(0)
            result = await play(Scene(supervisor, shelf))
            await supervisor.drain()
            await running
        assert supervisor.statuses() == ()
        return result

    return asyncio.run(whole())


# ── what dies comes again ─────────────────────────────────────────────────────────────────────────


def test_a_plugin_that_is_killed_is_ready_again_and_says_what_happened(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        first = await scene.ready()
        assert first.pid
        os.kill(first.pid, signal.SIGKILL)
        dead = await scene.in_phase(Phase.BACKOFF)
        assert (dead.code, dead.pid) == ("plugin-crashed", None)
        assert "killed by SIGKILL" in dead.reason
        assert dead.until
        again = await scene.ready(restarts=1)
        assert (again.code, again.restarts) == ("", 1)
        assert again.pid != first.pid
        assert not is_alive(first.pid)

    supervise(shelf, play, Wanted(KEY))

    assert len(shelf.cleared) >= 2, "a clearance is for one launch"


def test_a_call_in_flight_fails_at_once_when_its_plugin_dies(shelf: Shelf) -> None:
    shelf.scripts[BOX] = PLUGINS / "engrossed.py"

    async def play(scene: Scene) -> float:
        status = await scene.ready()
        loop = asyncio.get_running_loop()
        async with scene.supervisor.use(KEY, {}) as plugin:
            call = asyncio.ensure_future(plugin.connector.test_connection(Invocation()))
            await asyncio.sleep(0)
            began_s = loop.time()
            assert status.pid
            os.kill(status.pid, signal.SIGKILL)
            with pytest.raises(PluginCrashed):
                await call
        return loop.time() - began_s

    assert supervise(shelf, play, Wanted(KEY)) < 5


def is_stopped(pid: int | None) -> bool:
    """Whether no thread of a process goes on: a signal that stops it comes to one after another."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(each.read_text().rpartition(")")[2].split()[0] == "T" for each in threads)


def test_a_plugin_that_does_not_answer_is_killed_and_comes_again(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        first = await scene.ready()
        assert first.pid
        os.kill(first.pid, signal.SIGSTOP)
        assert await asyncio.to_thread(wait_until, lambda: is_stopped(first.pid), within_s=30)
        async with scene.supervisor.use(KEY, {}) as plugin:
            with pytest.raises(PluginHung) as caught:
                await plugin.connector.schema(Invocation())
        assert caught.value.exit_status == 5
        dead = await scene.until(lambda status: status.code == "plugin-hung")
        assert dead.phase is Phase.BACKOFF
        assert not is_alive(first.pid)
        await scene.ready(restarts=1)

    # It rests for long enough to be seen by whoever hears first that its call has failed.
    rules = replace(QUICK, first_delay_s=1.0, longest_delay_s=1.0)
    supervise(shelf, play, Wanted(KEY), rules=rules)


def test_a_plugin_that_cannot_start_is_given_up_once_and_comes_when_it_is_another(
    shelf: Shelf,
) -> None:
    shelf.scripts[BOX] = PLUGINS / "exits_at_once.py"
    heard: list[str] = []

    async def play(scene: Scene) -> None:
        failed = await scene.in_phase(Phase.FAILED)
        assert failed.code == "plugin-exited-early"
        assert failed.restarts == QUICK.identical_deaths - 1
        shelf.scripts[BOX], shelf.versions[BOX], shelf.is_changed = (
            PLUGINS / "bare.py",
            "1.0.1",
            True,
        )
        assert (await scene.ready()).version == "1.0.1"

    supervise(shelf, play, Wanted(KEY), log=lambda _key, record: heard.append(record.message))

    assert len([message for message in heard if message.startswith("given up")]) == 1


def test_a_supervisor_that_just_begins_to_look_again_ends_when_it_is_drained(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        await asyncio.sleep(2 * QUICK.reconcile_s)
        scene.supervisor.doubt()  # and in the same moment it is drained

    supervise(shelf, play)


# ── what is wanted ────────────────────────────────────────────────────────────────────────────────


def test_what_is_wanted_comes_and_what_is_not_any_more_goes(shelf: Shelf) -> None:
    other = InstanceKey(BOX, "other", "main")

    async def play(scene: Scene) -> None:
        first = await scene.ready()
        scene.supervisor.want([Wanted(KEY), Wanted(other)])
        second = await scene.ready(other)
        assert first.pid != second.pid
        scene.supervisor.want([Wanted(other)])
        await scene.in_phase(Phase.STOPPED)
        assert [status.key for status in scene.supervisor.statuses()] == [other]
        assert first.pid
        assert not is_alive(first.pid)

    supervise(shelf, play, Wanted(KEY))


def test_names_with_blanks_that_read_alike_are_different_organizations(shelf: Shelf) -> None:
    """Neither is given the other's process, nor its settings."""
    one, other = InstanceKey(BOX, "acme corp", "main"), InstanceKey(BOX, "acme", "corp main")
    third = InstanceKey(BOX, "acme corp main", "")
    assert str(one) == str(other)

    async def play(scene: Scene) -> None:
        standing = (await scene.ready(one)).pid
        pids = []
        for key in (one, other, third):
            async with scene.supervisor.use(key, {}) as plugin:
                pids.append(plugin.pid)
        assert pids[0] == standing
        assert len(set(pids)) == 3
        assert scene.supervisor.configured(one) == {"token": "of acme corp"}
        assert scene.supervisor.configured(other) is None

    supervise(shelf, play, Wanted(one, settings={"token": "of acme corp"}))


def test_a_plugin_that_may_not_run_is_said_by_name_and_the_others_run(shelf: Shelf) -> None:
    bad = PluginId("acme", "bad")
    shelf.refusals[bad, "1.0.0"] = PublisherUnknown("`acme/bad` 1.0.0 was not started")
    refused = InstanceKey(bad, "acme", "main")

    async def play(scene: Scene) -> None:
        await scene.ready()
        failed = await scene.in_phase(Phase.FAILED, refused)
        assert (failed.code, failed.restarts) == ("publisher-unknown", 0)
        assert "acme/bad" in failed.reason
        shelf.scripts[bad], shelf.is_changed = PLUGINS / "bare.py", True
        shelf.refusals.clear()
        await scene.ready(refused)

    supervise(shelf, play, Wanted(refused), Wanted(KEY))


def test_a_version_that_was_healthy_and_dies_again_and_again_is_said_and_goes_on(
    shelf: Shelf,
) -> None:
    heard: list[str] = []
    shelf.healthy[BOX] = "0.9.0"  # nobody goes back to it but the operator

    async def play(scene: Scene) -> None:
        for deaths in range(3):
            status = await scene.ready(restarts=deaths)
            await asyncio.sleep(QUICK.healthy_s)  # which is what its health is measured by
            os.kill(status.pid or 0, signal.SIGKILL)
        again = await scene.ready(restarts=3)
        assert again.version == "1.0.0"

    rules = replace(QUICK, relapses=2)
    log = lambda _key, record: heard.append(record.message)  # noqa: E731
    supervise(shelf, play, Wanted(KEY), rules=rules, log=log)
    (said,) = (message for message in heard if "although it had been healthy" in message)
    assert said.startswith("1.0.0 has died 2 times in a row")
    assert f"`aperio plugin rollback {BOX}`" in said
    assert shelf.asked == []


@pytest.mark.parametrize("then", ["pause", "drain"])
def test_a_start_that_is_taken_back_at_once_is_none(shelf: Shelf, then: str) -> None:
    """Both in one turn of the loop: what is to start it has not taken a step."""
    pause = Pause("alice", "2026-11-29T20:00:00Z", "maintenance")

    async def play(scene: Scene) -> None:
        await scene.ready()
        await scene.supervisor.pause(KEY, pause)
        await scene.in_phase(Phase.PAUSED)
        await scene.supervisor.resume(KEY)
        if then == "pause":
            await scene.supervisor.pause(KEY, pause)
            await scene.in_phase(Phase.PAUSED)
            await scene.supervisor.resume(KEY)
            await scene.ready()

    supervise(shelf, play, Wanted(KEY))


def test_only_so_many_are_paused_and_those_that_are_stay_so(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "MOST_PAUSED", 1)
    other = InstanceKey(BOX, "another", "main")
    pause = Pause("alice", "2026-11-29T20:00:00Z", "maintenance")

    async def play(scene: Scene) -> None:
        await scene.ready()
        await scene.supervisor.pause(KEY, pause)
        await scene.ready(other)
        with pytest.raises(TooManyPaused) as caught:
            await scene.supervisor.pause(other, pause)
        assert caught.value.code == "too-many-paused"
        await scene.supervisor.pause(KEY, replace(pause, reason="still"))
        assert scene.supervisor.paused == {KEY: replace(pause, reason="still")}
        await scene.supervisor.resume(KEY)
        await scene.supervisor.pause(other, pause)
        assert set(scene.supervisor.paused) == {other}

    supervise(shelf, play, Wanted(KEY), Wanted(other))


def test_what_waits_for_its_start_is_cleared_once_as_it_is_wanted_by_then(shelf: Shelf) -> None:
    other = PluginId("acme", "other")
    second = InstanceKey(other, "acme", "main")
    shelf.scripts[other] = PLUGINS / "bare.py"
    shelf.versions[other] = "2.0.0"
    launching, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        launching.set()
        await may_go_on.wait()

    shelf.before_launch = wait

    async def play(scene: Scene) -> None:
        async with asyncio.timeout(WITHIN_S):
            await launching.wait()
        for _ in range(3):
            scene.supervisor.doubt()
            assert await asyncio.to_thread(shelf.surveyed.acquire, timeout=WITHIN_S)
        assert "2.0.0" not in shelf.cleared
        waiting_s = clock.monotonic_s()
        shelf.versions[other] = "2.1.0"
        scene.supervisor.want([Wanted(KEY), Wanted(second, settings={"a": "b"})])
        may_go_on.set()
        ready = await scene.ready(second)
        assert ready.version == "2.1.0"
        assert shelf.launched[second].settings == {"a": "b"}
        assert ready.restarts == 0
        asked_s = shelf.waited_since[second]
        assert asked_s is not None
        assert asked_s < waiting_s  # since then, a check of its files is good for it

    rules = replace(QUICK, parallel_starts=1)
    supervise(shelf, play, Wanted(KEY), Wanted(second), rules=rules)
    assert "2.0.0" not in shelf.cleared


def test_a_host_that_is_drained_while_a_plugin_is_released_ends(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        first = await scene.ready()
        async with scene.supervisor.release(BOX), asyncio.timeout(WITHIN_S):
            await scene.supervisor.drain()
        assert not is_alive(first.pid or 0)

    # Nobody looks meanwhile, so it rests, and is still wanted.
    supervise(shelf, play, Wanted(KEY), rules=replace(QUICK, reconcile_s=60.0))


def test_what_was_changed_while_it_could_not_be_started_is_started_afterwards(
    shelf: Shelf,
) -> None:
    async def play(scene: Scene) -> None:
        first = await scene.ready()
        async with scene.supervisor.release(BOX) as ended:
            assert ended == (KEY,)
            failed = await scene.in_phase(Phase.FAILED)  # it is wanted, and was tried
            assert failed.code == "plugin-in-use"
            shelf.versions[BOX] = "1.1.0"
        second = await scene.ready()
        assert (second.version, second.pid != first.pid) == ("1.1.0", True)

    supervise(shelf, play, Wanted(KEY))


def test_a_new_version_is_healthy_before_the_old_one_stops(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        old = await scene.ready()
        assert old.pid
        shelf.versions[BOX], shelf.is_changed = "2.0.0", True
        seen = []
        async with asyncio.timeout(WITHIN_S):
            async for status in scene.supervisor.watch():
                seen.append(status.phase)
                if status.version == "2.0.0":
                    break
        assert set(seen) == {Phase.READY}
        assert status.pid != old.pid
        await scene.until(lambda _status: not is_alive(old.pid or 0))

    supervise(shelf, play, Wanted(KEY))


def test_a_new_version_that_does_not_start_leaves_the_old_one_at_work(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        old = await scene.ready()
        shelf.scripts[BOX] = PLUGINS / "exits_at_once.py"
        shelf.versions[BOX], shelf.is_changed = "2.0.0", True
        status = await scene.until(lambda status: "FAILED" in status.newcomer)
        assert (status.phase, status.version, status.pid) == (Phase.READY, "1.0.0", old.pid)
        shelf.versions[BOX], shelf.is_changed = "1.0.0", True
        status = await scene.until(lambda status: not status.newcomer)
        assert status.pid == old.pid

    supervise(shelf, play, Wanted(KEY))


def test_a_new_version_that_may_not_run_leaves_the_old_one_which_may(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        old = await scene.ready()
        shelf.refusals[BOX, "2.0.0"] = PublisherUnknown("`acme/box` 2.0.0 was not started")
        shelf.versions[BOX], shelf.is_changed = "2.0.0", True
        status = await scene.until(lambda status: "2.0.0 was not started" in status.newcomer)
        assert (status.phase, status.pid) == (Phase.READY, old.pid)
        shelf.refusals[BOX, "1.0.0"] = PublisherUnknown("`acme/box` 1.0.0 was not started")
        shelf.is_changed = True
        failed = await scene.in_phase(Phase.FAILED)
        assert failed.code == "publisher-unknown"
        assert old.pid
        assert not is_alive(old.pid)

    supervise(shelf, play, Wanted(KEY))


def test_while_nobody_knows_what_may_run_what_runs_goes_on(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        first = await scene.ready()
        shelf.refusals[BOX, "1.0.0"] = ConfigurationInvalid("`config.toml` cannot be read")
        shelf.is_changed = True
        status = await scene.until(lambda status: "config.toml" in status.newcomer)
        assert (status.phase, status.pid) == (Phase.READY, first.pid)
        assert first.pid
        os.kill(first.pid, signal.SIGKILL)
        failed = await scene.in_phase(Phase.FAILED)
        assert failed.code == "configuration-invalid"
        shelf.refusals.clear()
        shelf.is_changed = True
        await scene.ready()

    supervise(shelf, play, Wanted(KEY))


def test_a_mistake_of_ours_about_one_plugin_ends_no_other_and_shows_no_secret(
    shelf: Shelf,
) -> None:
    other = InstanceKey(PluginId("acme", "other"), "acme", "main")
    shelf.scripts[other.plugin] = PLUGINS / "bare.py"
    heard: list[str] = []

    async def play(scene: Scene) -> None:
        first, second = await scene.ready(), await scene.ready(other)
        shelf.refusals[BOX, "1.0.0"] = KeyError("hunter2")
        shelf.is_changed = True
        status = await scene.until(lambda status: "mistake" in status.newcomer)
        assert (status.phase, status.pid) == (Phase.READY, first.pid)
        assert first.pid
        os.kill(first.pid, signal.SIGKILL)
        failed = await scene.until(lambda status: status.code == "internal-error")
        assert failed.reason == "a mistake in aperio: KeyError"
        assert (await scene.ready(other)).pid == second.pid
        shelf.refusals.clear()
        shelf.is_changed = True
        await scene.ready()

    def hear(_key: InstanceKey, record: LogRecord) -> None:
        heard.append(record.message)

    supervise(shelf, play, Wanted(KEY), Wanted(other), log=hear)

    assert any("KeyError" in message and "test_supervising.py" in message for message in heard)
    assert not any("hunter2" in message for message in heard)


def test_what_is_withdrawn_is_stopped_and_its_call_fails_at_once(shelf: Shelf) -> None:
    shelf.scripts[BOX] = PLUGINS / "engrossed.py"

    async def play(scene: Scene) -> None:
        await scene.ready()
        async with scene.supervisor.use(KEY, {}) as plugin:
            call = asyncio.ensure_future(plugin.connector.test_connection(Invocation()))
            shelf.refusals[BOX, "1.0.0"] = PublisherUnknown("`acme/box` 1.0.0 was not started")
            shelf.is_changed = True
            with pytest.raises(PluginInterrupted, match="while it was at work") as caught:
                await call
        assert "acme/box" in caught.value.why
        assert (await scene.in_phase(Phase.FAILED)).code == "publisher-unknown"

    supervise(shelf, play, Wanted(KEY), rules=replace(QUICK, drain_s=30))


# ── pause, drain ──────────────────────────────────────────────────────────────────────────────────


def test_a_paused_plugin_rests_and_its_calls_fail_at_once(shelf: Shelf) -> None:
    shelf.scripts[BOX] = PLUGINS / "engrossed.py"

    async def play(scene: Scene) -> None:
        first = await scene.ready()
        async with scene.supervisor.use(KEY, {}) as plugin:
            call = asyncio.ensure_future(plugin.connector.test_connection(Invocation()))
            await asyncio.sleep(0)
            await scene.supervisor.pause(KEY, RESTS)
            with pytest.raises(PluginInterrupted, match="stopped by its host") as caught:
                await call
            assert caught.value.why == "it was paused"
        await scene.in_phase(Phase.PAUSED)
        assert first.pid
        assert not is_alive(first.pid)
        with pytest.raises(PluginNotReady) as refused:
            async with scene.supervisor.use(KEY, {}):
                pass
        assert (refused.value.exit_status, refused.value.why) == (5, str(RESTS))
        with pytest.raises(PluginNotReady):  # nor is another process started for it
            async with scene.supervisor.use(KEY, {"base_url": "https://elsewhere.example"}):
                pass
        scene.supervisor.want([])
        await scene.in_phase(Phase.STOPPED)
        scene.supervisor.want([Wanted(KEY)])
        assert (await scene.in_phase(Phase.PAUSED)).pause == RESTS
        await scene.supervisor.resume(KEY)
        assert (await scene.ready()).pause is None

    supervise(shelf, play, Wanted(KEY), rules=replace(QUICK, drain_s=30))


def test_nobody_pauses_what_is_not_there(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        with pytest.raises(NotFound, match="acme/box"):
            await scene.supervisor.pause(KEY, RESTS)

    supervise(shelf, play)


def test_a_drain_lets_calls_end_and_fails_those_that_do_not(shelf: Shelf) -> None:
    shelf.scripts[BOX] = PLUGINS / "engrossed.py"
    outcomes: list[Any] = []

    async def play(scene: Scene) -> None:
        await scene.ready()

        async def use(ask: Callable[[RunningPlugin], Coroutine[Any, Any, Any]]) -> None:
            async with scene.supervisor.use(KEY, {}) as plugin:
                outcomes.extend(await asyncio.gather(ask(plugin), return_exceptions=True))

        quick = asyncio.ensure_future(use(lambda plugin: plugin.connector.schema(Invocation())))
        slow = asyncio.ensure_future(
            use(lambda plugin: plugin.connector.test_connection(Invocation()))
        )
        await asyncio.sleep(0)
        await scene.supervisor.drain()
        await asyncio.gather(quick, slow)

    # As long as a busy machine may take over the quick one: the slow one takes all of it.
    supervise(shelf, play, Wanted(KEY), rules=replace(QUICK, drain_s=2.0))

    quick, slow = outcomes
    assert quick.name == "Bare"
    assert isinstance(slow, PluginInterrupted)


# ── on demand ─────────────────────────────────────────────────────────────────────────────────────


def test_a_call_without_an_instance_starts_one_which_ends_when_idle(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        async def call() -> int:
            async with scene.supervisor.use(KEY, {}) as plugin:
                assert (await plugin.connector.schema(Invocation())).name == "Bare"
                return plugin.pid

        pids = await asyncio.gather(call(), call())
        assert len(set(pids)) == 1
        assert await call() == pids[0]
        [status] = scene.supervisor.statuses()
        assert status.is_on_demand
        await scene.in_phase(Phase.STOPPED)
        assert not is_alive(pids[0])

    supervise(shelf, play, rules=replace(QUICK, idle_s=0.3))


def test_a_call_whose_settings_reach_elsewhere_gets_a_process_of_its_own(shelf: Shelf) -> None:
    shelf.changes["egress_from_config"] = (EgressFromConfig("host", ".box.com", 443),)

    async def play(scene: Scene) -> None:
        async def pid(**settings: str) -> int:
            async with scene.supervisor.use(KEY, settings) as plugin:
                return plugin.pid

        standing = (await scene.ready()).pid
        assert await pid(host="a.box.com", name="x") == standing
        other = await pid(host="b.box.com")
        assert other != standing
        assert await pid(host="b.box.com", name="y") == other

    supervise(shelf, play, Wanted(KEY, "", {"host": "a.box.com"}))


def test_there_are_only_so_many_on_demand_and_the_one_unused_for_longest_goes(
    shelf: Shelf,
) -> None:
    keys = [InstanceKey(BOX, name, "main") for name in ("a", "b", "c")]

    async def play(scene: Scene) -> None:
        use = scene.supervisor.use
        async with use(keys[0], {}):
            async with use(keys[1], {}):
                with pytest.raises(TooManyPlugins) as caught:
                    async with use(keys[2], {}):
                        pass
                assert caught.value.exit_status == 4
            async with use(keys[2], {}):
                there = {status.key for status in scene.supervisor.statuses() if status.pid}
                assert keys[1] not in there
                assert keys[0] in there

    supervise(shelf, play, rules=replace(QUICK, most_on_demand=2))


def test_a_call_for_what_may_not_run_fails_with_that(shelf: Shelf) -> None:
    shelf.refusals[BOX, "1.0.0"] = PublisherUnknown("`acme/box` 1.0.0 was not started")

    async def play(scene: Scene) -> None:
        with pytest.raises(PublisherUnknown):
            async with scene.supervisor.use(KEY, {}):
                pass
        assert scene.supervisor.statuses() == ()

    supervise(shelf, play)


def test_a_host_that_is_not_up_makes_no_calls(shelf: Shelf) -> None:
    async def whole() -> None:
        with pytest.raises(PluginNotReady, match="the host is not up"):
            async with Supervisor(shelf, QUICK).use(KEY, {}):
                pass

    asyncio.run(whole())
    assert shelf.cleared == []


# ── watching ──────────────────────────────────────────────────────────────────────────────────────


def test_a_reader_that_sleeps_gets_the_newest_state_and_no_queue(shelf: Shelf) -> None:
    async def play(scene: Scene) -> None:
        reader = scene.supervisor.watch()
        await anext(reader)
        for restarts in (1, 2, 3):
            status = await scene.ready(restarts=restarts - 1)
            assert status.pid
            os.kill(status.pid, signal.SIGKILL)
            await scene.ready(restarts=restarts)
        newest = await anext(reader)
        assert (newest.phase, newest.restarts) == (Phase.READY, 3)
        await reader.aclose()

    supervise(shelf, play, Wanted(KEY))


def test_a_supervisor_that_is_cancelled_leaves_nothing(shelf: Shelf) -> None:
    async def whole() -> int:
        supervisor = Supervisor(shelf, QUICK)
        supervisor.want([Wanted(KEY)])
        running = asyncio.ensure_future(supervisor.run())
        status = await Scene(supervisor, shelf).ready()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return status.pid or 0

    assert not is_alive(asyncio.run(whole()))
