"""The host over a real store and real plugins: everything is taken up while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.errors.running import PluginConfigInvalid, PluginNotReady
from aperio_cli.errors.usage import ConfigurationInvalid
from aperio_cli.host.calls.session import SessionRequest, open_session
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.sandbox.unconfined import Unconfined
from aperio_cli.host.supervising.instances import Pause, Status
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.registry.edition import Edition
from aperio_cli.models.registry.plugin_file import VersionStatus
from aperio_cli.paths import find_paths
from aperio_cli.running import containing
from aperio_cli.running.operations import open_state
from aperio_cli.serving.wanted import all_installed, stated
from aperio_cli.trust.known_versions import remember
from tests.hosts import QUICK, WITHIN_S, Place, Served, serving

from .conftest import is_alive, processes_below, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from aperio_cli.data.state import StateDatabase
    from aperio_cli.running import Collaborators
    from aperio_cli.serving.host import Host

pytestmark = pytest.mark.usefixtures("forked_plugins")
ROOT = Path(__file__).resolve().parents[2]
BOX = PluginId.parse("acme/box")
SECRET = "hunter2"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A home with one plugin; nothing of a plugin may be left in the end."""
    base = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    base.chmod(0o700)
    monkeypatch.setattr("aperio_cli.running.operations.runtime_base", lambda _environment: base)
    made = Place(tmp_path / "home")
    made.put()
    yield made
    assert wait_until(lambda: not processes_below(base) and not [*base.iterdir()], within_s=30)
    base.rmdir()


def play(
    place: Place, scene: Callable[[Served], Coroutine[Any, Any, None]], **changes: Any
) -> Served:
    """Serve for as long as the scene takes."""

    async def whole() -> Served:
        async with asyncio.timeout(60), serving(place, **changes) as served:
            await scene(served)
        return served

    return asyncio.run(whole())


def test_what_is_installed_updated_and_removed_is_taken_up(place: Place) -> None:
    async def scene(served: Served) -> None:
        first = await served.ready()
        assert (first.version, first.badge, first.code) == ("1.0.0", "local", "")
        assert first.not_enforced == ("cpu", "memory", "egress", "processes", "tmp", "isolation")
        assert first.signer == "alice@local"

        other = place.put("acme/other")
        assert (await served.ready("acme/other")).pid != first.pid

        box = place.put(version="1.1.0")
        second = await served.until(lambda status: status.version == "1.1.0")
        assert (second.phase, second.restarts) == (Phase.READY, 0)
        await served.until(lambda _status: not is_alive(first.pid or 0))

        place.use(box, "1.0.0")
        third = await served.until(lambda status: status.version == "1.0.0")
        assert third.phase is Phase.READY

        place.drop(other)
        await served.until(lambda status: status.phase is Phase.STOPPED, "acme/other")
        assert (await served.ready()).pid == third.pid

    play(place, scene)


def test_the_sandbox_is_chosen_once_for_each_reading(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[tuple[object, ...]] = []

    def choose(*stated: object) -> Unconfined:
        chosen.append(stated)
        return Unconfined()

    monkeypatch.setattr(containing, "choose_sandbox", choose)
    place.put("acme/other")

    async def scene(served: Served) -> None:
        await served.ready()
        await served.ready("acme/other")
        await served.next_beat()
        count = len(chosen)
        assert count <= 2  # of the reading at the start, and of the first look
        place.put("acme/third")
        await served.ready("acme/third")
        place.allow("[sandbox]\nplugin_uid = 61002\n")
        await served.until(lambda _status: chosen[-1] == ("none", 61002))
        await served.next_beat()
        assert len(chosen) == count + 2

    play(place, scene)


def test_what_was_just_cleared_is_no_change_and_what_changes_then_is(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[int] = []
    collaborate = place.collaborate

    def read() -> Collaborators:
        readings.append(1)
        return collaborate()

    monkeypatch.setattr(place, "collaborate", read)
    record = place.home / "plugins/acme/box/1.0.0/receipt.json"

    async def scene(served: Served) -> None:
        await served.ready()
        for _ in range(3):
            await served.next_beat()
        assert len(readings) == 2  # at the start, and by the first look, which knows of nothing
        aside = record.with_name("aside")
        aside.write_bytes(record.read_bytes())
        aside.replace(record)
        async with asyncio.timeout(WITHIN_S):
            while len(readings) < 3:
                await served.next_beat()

    play(place, scene)


def test_a_plugin_whose_rule_is_withdrawn_is_stopped_and_comes_with_it(place: Place) -> None:
    async def scene(served: Served) -> None:
        first = await served.ready()
        place.state("")
        failed = await served.in_phase(Phase.FAILED)
        assert failed.code == "publisher-unknown"
        assert not is_alive(first.pid or 0)
        place.allow()
        await served.ready()

    play(place, scene)


def test_a_version_that_its_registry_revokes_is_stopped_until_that_is_taken_back(
    place: Place,
) -> None:
    def say(serial: int, versions: dict[str, VersionStatus]) -> None:  # as any command hears it
        edition = Edition(registry="https://registry.example/", epoch=1, serial=serial, signer=None)
        remember(find_paths(os.environ, home=str(place.home)), BOX, edition, versions)

    async def scene(served: Served) -> None:
        first = await served.ready()
        deprecated = VersionStatus("deprecated", "there is a better one", "2026-06-06T00:00:00Z")
        say(1, {first.version: deprecated})
        revoked = VersionStatus("revoked", "it leaks tokens", "2026-06-06T00:00:00Z")
        say(2, {first.version: revoked})
        failed = await served.in_phase(Phase.FAILED)
        assert failed.code == "revoked"
        assert not is_alive(first.pid or 0)
        say(3, {first.version: deprecated})
        await served.ready()

    play(place, scene)


def test_what_is_paused_rests_under_the_next_host_until_it_is_resumed(place: Place) -> None:
    pause = Pause("alice", "2026-01-02T03:04:05Z", "its service is down")

    async def first(served: Served) -> None:
        ready = await served.ready()
        await served.host.pause(ready.key, pause)
        await served.in_phase(Phase.PAUSED)

    async def second(served: Served) -> None:
        paused = await served.in_phase(Phase.PAUSED)
        assert (paused.pause, paused.started_at) == (pause, None)
        served.host.reload()
        await served.next_beat()
        await served.next_beat()
        with pytest.raises(PluginNotReady, match="paused"):
            async with served.host.supervisor.use(paused.key, {}):
                pass
        await served.host.resume(paused.key)
        assert (await served.ready()).pause is None

    async def third(served: Served) -> None:
        await served.ready()

    for scene in (first, second, third):
        assert play(place, scene).said == []


# ── a new version that does not start ─────────────────────────────────────────────────────────────

DEAD = "sys.exit(3)"


def used(place: Place) -> str:
    """The version that every command uses by now."""
    found = json.loads((place.home / "plugins/acme/box/current.json").read_text())
    return str(found["version"])


async def settled(served: Served, version: str = "1.0.0") -> Status:
    """How the plugin is once the host remembers this version as healthy."""
    status = await served.until(
        lambda status: status.version == version and status.phase is Phase.READY
    )
    async with asyncio.timeout(WITHIN_S):
        while served.host.launching.versions.healthy(BOX) != version:
            await served.next_beat()
    return status


def test_a_version_that_dies_at_start_is_left_for_the_last_healthy_one(place: Place) -> None:
    async def scene(served: Served) -> None:
        first = await settled(served)
        place.put(version="1.1.0", code=DEAD)
        back = await served.until(lambda status: status.fallback is not None)
        assert (back.version, back.phase, back.pid) == ("1.0.0", Phase.READY, first.pid)
        assert back.fallback
        assert (back.fallback.version, back.fallback.code) == ("1.1.0", "plugin-exited-early")
        assert used(place) == "1.0.0"
        os.kill(first.pid or 0, signal.SIGKILL)
        again = await served.ready(restarts=1)
        assert (again.version, again.newcomer) == ("1.0.0", "")

        place.put(version="1.2.0")
        later = await served.until(lambda status: status.version == "1.2.0")
        assert (later.phase, later.fallback) == (Phase.READY, None)

    served = play(place, scene)

    (said,) = (line for line in served.said if line.startswith("error"))
    assert "`acme/box` 1.1.0 does not start: " in said
    assert "1.0.0, which was healthy last, runs in its place" in said
    assert "warn: to try it again: `aperio plugin rollback acme/box@1.1.0`" in served.said


def test_a_host_that_starts_leaves_a_version_that_dies_and_the_next_does_not_try_it(
    place: Place,
) -> None:
    async def first(served: Served) -> None:
        await settled(served)

    async def second(served: Served) -> None:
        back = await served.until(lambda status: status.version == "1.0.0")
        assert back.fallback
        assert used(place) == "1.0.0"

    async def third(served: Served) -> None:
        ready = await served.ready()
        assert (ready.version, ready.restarts) == ("1.0.0", 0)
        assert ready.fallback
        place.use(BOX, "1.1.0")  # who uses it again means it
        await served.until(lambda status: "1.1.0 BACKOFF" in status.newcomer)
        await served.until(lambda status: status.fallback is not None and not status.newcomer)
        assert used(place) == "1.0.0"

    play(place, first)
    place.put(version="1.1.0", code=DEAD)
    play(place, second)
    play(place, third)


def test_a_version_that_may_not_run_is_not_gone_back_to(place: Place) -> None:
    async def scene(served: Served) -> None:
        first = await settled(served)
        edition = Edition(registry="https://registry.example/", epoch=1, serial=1, signer=None)
        revoked = {"1.0.0": VersionStatus("revoked", "it leaks tokens", "2026-06-06T00:00:00Z")}
        place.put(version="1.1.0", code=DEAD)
        remember(find_paths(os.environ, home=str(place.home)), BOX, edition, revoked)
        failed = await served.in_phase(Phase.FAILED)
        assert not is_alive(first.pid or 0)
        failed = await served.until(lambda status: status.code == "plugin-exited-early")
        async with asyncio.timeout(WITHIN_S):
            while not any("is not used instead" in line for line in served.said):
                await served.next_beat()
        assert (failed.version, used(place)) == ("1.1.0", "1.1.0")

    served = play(place, scene)

    assert not any("runs in its place" in line for line in served.said)


def test_an_old_version_at_work_beside_a_dead_one_is_stopped_when_it_is_revoked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aperio_cli.serving.launching.Launching.fall_back", lambda *_: False)

    async def scene(served: Served) -> None:
        first = await settled(served)
        place.put(version="1.1.0", code=DEAD)
        await served.until(lambda status: "1.1.0 FAILED" in status.newcomer)
        os.kill(first.pid or 0, signal.SIGKILL)
        held = await served.ready(restarts=1)
        assert held.version == "1.0.0"
        edition = Edition(registry="https://registry.example/", epoch=1, serial=1, signer=None)
        revoked = {"1.0.0": VersionStatus("revoked", "it leaks tokens", "2026-06-06T00:00:00Z")}
        remember(find_paths(os.environ, home=str(place.home)), BOX, edition, revoked)
        assert (await served.in_phase(Phase.FAILED)).code == "revoked"
        assert not is_alive(held.pid or 0)

    play(place, scene)


def test_where_the_store_cannot_be_changed_the_host_alone_holds_to_the_healthy_version(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("aperio_cli.serving.launching.fall_back", refuse)

    async def first(served: Served) -> None:
        await settled(served)
        place.put(version="1.1.0", code=DEAD)
        back = await served.until(lambda status: status.fallback is not None)
        assert (back.version, used(place)) == ("1.0.0", "1.1.0")
        assert any("under this host only" in line for line in served.said)

    async def second(served: Served) -> None:
        ready = await served.ready()
        assert (ready.version, ready.restarts) == ("1.0.0", 0)
        served.host.reload()
        await served.until(lambda status: "1.1.0 " in status.newcomer)

    play(place, first)
    play(place, second)


def test_a_version_that_dies_again_and_again_before_it_was_healthy_is_left(place: Place) -> None:
    async def scene(served: Served) -> None:
        await served.ready()
        served.host.launching.settled(BOX, "1.0.0")
        place.put(version="1.1.0")
        for restarts in range(3):
            new = await served.until(
                lambda status, restarts=restarts: (  # type: ignore[misc] # a default argument
                    (status.version, status.restarts) == ("1.1.0", restarts) and bool(status.pid)
                )
            )
            os.kill(new.pid or 0, signal.SIGKILL)
        back = await served.until(lambda status: status.fallback is not None)
        assert (back.version, used(place)) == ("1.0.0", "1.0.0")
        assert back.fallback
        assert back.fallback.code == "plugin-crashed"

    play(place, scene, rules=replace(QUICK, healthy_s=60.0, deaths_to_open=3))


def test_a_version_that_works_for_one_organization_is_left_by_none(place: Place) -> None:
    mark = place.home / "config.toml"
    tables = '[[run]]\nplugin = "acme/box"\n[[run]]\nplugin = "acme/box"\norganization = "other"\n'
    place.allow(tables)
    lock = f"import fcntl; f = open({str(mark)!r}); fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"

    async def scene(served: Served) -> None:
        await settled(served)
        for name in ("local", "other"):  # what is not up yet has nothing to go back to
            await served.until(
                lambda status, name=name: (  # type: ignore[misc] # bound at once
                    status.key.organization == name and status.phase is Phase.READY
                )
            )
        place.put(version="1.1.0", code=lock)  # only one of the two gets it
        await served.until(lambda status: status.version == "1.1.0")
        held = await served.until(lambda status: "1.1.0 FAILED" in status.newcomer)
        assert (held.version, held.phase, used(place)) == ("1.0.0", Phase.READY, "1.1.0")
        os.kill(held.pid or 0, signal.SIGKILL)
        again = await served.until(
            lambda status: (
                status.key == held.key and status.restarts > 0 and status.phase is Phase.READY
            )
        )
        assert again.version == "1.0.0"

    play(place, scene, wanted_of=stated)


def test_a_version_that_has_been_healthy_is_not_left_for_an_older_one(
    place: Place, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    place.put(version="1.1.0", code=f"import os; os.path.exists({str(mark)!r}) and sys.exit(3)")

    async def scene(served: Served) -> None:
        first = await settled(served, "1.1.0")
        mark.touch()  # the world has changed, and the version has not
        os.kill(first.pid or 0, signal.SIGKILL)
        failed = await served.in_phase(Phase.FAILED)
        assert (failed.version, used(place)) == ("1.1.0", "1.1.0")

    play(place, scene)


def test_what_is_released_does_not_run_until_the_release_is_over(place: Place) -> None:
    place.put("acme/other")

    async def scene(served: Served) -> None:
        first, other = await served.ready(), await served.ready("acme/other")
        supervisor = served.host.supervisor
        async with supervisor.release(BOX, "9.9.9") as ended:
            assert (ended, is_alive(first.pid or 0)) == ((), True)
        async with supervisor.release(BOX) as ended:
            assert ended == (first.key,)
            assert not is_alive(first.pid or 0)
            served.host.reload()
            held = await served.in_phase(Phase.FAILED)
            assert (held.code, held.pid) == ("plugin-in-use", None)
            with pytest.raises(PluginNotReady):
                async with supervisor.use(first.key, {}):
                    pass
        again = await served.ready(restarts=1)
        assert again.version == "1.0.0"
        async with supervisor.release(BOX):
            place.drop(BOX)
        await served.until(lambda status: status.phase is Phase.STOPPED)
        assert (await served.ready("acme/other")).pid == other.pid

    play(place, scene)


def test_a_call_in_flight_may_end_before_its_plugin_is_released(place: Place) -> None:
    place.put("acme/slow", "drips")

    async def scene(served: Served) -> None:
        await served.ready("acme/slow")
        key = served.key("acme/slow")
        async with served.host.supervisor.use(key, {}) as plugin:
            releasing = asyncio.create_task(_released(served.host, key.plugin))
            await served.in_phase(Phase.STOPPING, "acme/slow")
            assert is_alive(plugin.pid)
            assert not releasing.done()
        await releasing
        await served.ready("acme/slow", restarts=1)

    play(place, scene, rules=replace(QUICK, drain_s=30.0))


async def _released(host: Host, plugin: PluginId) -> None:
    async with host.supervisor.release(plugin):
        pass


def test_a_required_limit_and_the_end_of_its_exception_are_taken_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = clock.now().date().isoformat()
    required = '[sandbox]\nrequire = ["memory"]\n'
    exception = (
        f'[[exceptions]]\nplugin = "acme/box"\nrule = "limit:memory"\nuntil = "{today}"\n'
        'reason = "a test"\n'
    )

    async def scene(served: Served) -> None:
        await served.ready()
        place.allow(required + exception)
        await served.until(lambda status: any("limit:memory" in e for e in status.exceptions))
        tomorrow = clock.now().replace(year=clock.now().year + 1)
        monkeypatch.setattr(clock, "now", lambda: tomorrow)
        assert (await served.in_phase(Phase.FAILED)).code == "limit-required"

    play(place, scene)


def test_a_table_with_a_mistake_is_said_by_name_and_the_others_run(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put("acme/strict", "with_sdk")
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    tables = (
        '[[run]]\nplugin = "acme/box"\n'
        '[[run]]\nplugin = "acme/unknown"\n'
        '[[run]]\nplugin = "acme/strict"\nsettings = { nmae = "x" }\n'
        '[[run]]\nplugin = "acme/strict"\norganization = "other"\n'
        'settings = { token = "env:NO_SUCH_SECRET" }\n'
    )
    place.allow(tables)

    async def scene(served: Served) -> None:
        await served.ready()
        unknown = await served.in_phase(Phase.FAILED, "acme/unknown")
        assert unknown.code == "not-installed"
        wrong = await served.until(
            lambda status: status.phase is Phase.FAILED and status.key.organization == "local",
            "acme/strict",
        )
        assert wrong.code == "plugin-config-invalid"
        assert "nmae" in wrong.reason
        secret = await served.until(
            lambda status: status.phase is Phase.FAILED and status.key.organization == "other",
            "acme/strict",
        )
        assert "NO_SUCH_SECRET" in secret.reason
        place.allow(tables.replace("nmae", "name"))
        mended = await served.until(
            lambda status: status.phase is Phase.READY or "name" in status.reason, "acme/strict"
        )
        assert mended.key.organization == "local"

    play(place, scene, wanted_of=stated)


def test_while_the_configuration_cannot_be_read_what_runs_goes_on(place: Place) -> None:
    async def scene(served: Served) -> None:
        first = await served.ready()
        place.state("[[publishers")
        await served.until(lambda status: "config.toml" in status.newcomer)
        assert (await served.ready()).pid == first.pid
        place.allow()
        await served.until(lambda status: not status.newcomer)
        assert (await served.ready()).pid == first.pid

    served = play(place, scene)

    assert [line.partition(":")[0] for line in served.said] == ["error", "warn", "info"]


def test_a_mistake_of_ours_while_it_looks_ends_nothing_and_is_said(place: Place) -> None:
    def wanted_of(collaborators: Collaborators) -> Any:
        yield from all_installed(collaborators)
        if collaborators.config().handshake_timeout_s == 7:
            raise KeyError(SECRET)

    async def scene(served: Served) -> None:
        first = await served.ready()
        place.allow("[host]\nhandshake_timeout_s = 7\n")
        await served.until(lambda status: "mistake" in status.newcomer)
        place.allow()
        await served.until(lambda status: not status.newcomer)
        assert (await served.ready()).pid == first.pid

    served = play(place, scene, wanted_of=wanted_of)

    assert [line.partition(":")[0] for line in served.said] == ["error", "warn", "info"]
    assert "a mistake in aperio: KeyError" in served.said[0]
    assert SECRET not in served.said[0]


def test_a_host_does_not_begin_with_a_configuration_that_cannot_be_read(place: Place) -> None:
    place.state("[[publishers")

    async def scene(_served: Served) -> None:
        await asyncio.sleep(60)

    with pytest.raises(ExceptionGroup) as caught:
        play(place, scene)

    assert (
        caught.group_contains(ConfigurationInvalid) if hasattr(caught, "group_contains") else True
    )
    assert isinstance(caught.value.exceptions[0], ConfigurationInvalid)


def test_without_a_table_each_call_brings_the_settings_that_a_plugin_needs(place: Place) -> None:
    place.put("acme/demanding", "moody", kind="destination", provider="MOODY")

    async def scene(served: Served) -> None:
        await served.ready("acme/demanding")
        settings = {"plan": json.dumps({"out": "/dev/null"})}
        async with served.host.supervisor.use(served.key("acme/demanding"), settings) as plugin:
            await open_session(plugin, SessionRequest(settings=settings))
            with pytest.raises(PluginConfigInvalid):
                await open_session(plugin, SessionRequest())

    play(place, scene)


def test_a_reload_begins_again_with_what_was_given_up(place: Place, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    place.put("acme/late", code=f"import os; os.path.exists({str(mark)!r}) or sys.exit(3)")

    async def scene(served: Served) -> None:
        failed = await served.in_phase(Phase.FAILED, "acme/late")
        assert failed.code == "plugin-exited-early"
        mark.touch()
        served.host.reload()
        await served.ready("acme/late")

    play(place, scene)


def test_changed_files_are_found_at_the_restart_and_nothing_of_them_runs(place: Place) -> None:
    start = place.home / "plugins/acme/box/1.0.0/files/bin/box.py"

    async def scene(served: Served) -> None:
        first = await served.ready()
        start.write_text(start.read_text() + "\n")
        os.kill(first.pid or 0, signal.SIGKILL)
        failed = await served.in_phase(Phase.FAILED)
        assert failed.code == "files-changed"

    play(place, scene)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EMFILE])
def test_a_home_that_cannot_be_written_runs_what_keeps_nothing(
    place: Place, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put("acme/keeper", "remembers", state=True)
    mended = threading.Event()

    def opened(collaborators: Collaborators) -> StateDatabase:
        if not mended.is_set():
            raise OSError(number, os.strerror(number), str(place.home / "state.db"))
        return open_state(collaborators)

    monkeypatch.setattr("aperio_cli.serving.launching.open_state", opened)

    async def scene(served: Served) -> None:
        await served.ready()
        failed = await served.in_phase(Phase.FAILED, "acme/keeper")
        assert os.strerror(number) in failed.reason
        assert failed.code == "place-unusable"
        mended.set()
        await served.ready("acme/keeper")

    play(place, scene, rules=replace(QUICK, doubt_s=0.3))


def test_parts_are_up_before_the_first_plugin_and_end_after_the_last(place: Place) -> None:
    seen: list[tuple[str, int]] = []

    @contextlib.asynccontextmanager
    async def part(host: Host) -> AsyncIterator[None]:
        seen.append(("up", len(host.supervisor.statuses())))
        yield
        seen.append(("down", len(host.supervisor.statuses())))

    async def scene(served: Served) -> None:
        await served.ready()

    play(place, scene, parts=(part,))

    assert seen == [("up", 0), ("down", 0)]


def test_each_reconciliation_is_a_beat(place: Place) -> None:
    async def scene(served: Served) -> None:
        await served.ready()
        async with asyncio.timeout(60):
            for _ in range(3):
                await served.next_beat()

    play(place, scene)


def test_a_loop_that_is_stuck_feeds_no_watchdog(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(served: Served) -> None:
        await served.ready()
        monkeypatch.setattr(served.host.launching, "survey", stuck.wait)
        await asyncio.sleep(5 * QUICK.reconcile_s)
        before = len(served.beats)
        await asyncio.sleep(5 * QUICK.reconcile_s)
        assert len(served.beats) == before
        stuck.set()

    stuck = threading.Event()
    with pytest.raises(ExceptionGroup):  # what it got in the end is no survey
        play(place, scene)


_STOPPABLE = """
import asyncio, dataclasses, sys
from pathlib import Path
from tests.hosts import QUICK, Place, serving

async def main():
    rules = dataclasses.replace(QUICK, heartbeat_s=0.05, heartbeat_timeout_s=1.0)
    async with serving(Place(Path(sys.argv[1])), rules) as served:
        print((await served.ready()).pid, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            for _ in range(10):
                await served.next_beat()
            status = await served.ready()
            print(status.pid, status.restarts, status.code, flush=True)

asyncio.run(main())
"""


def test_a_host_that_is_stopped_by_a_signal_holds_it_against_no_plugin(place: Place) -> None:
    place.put(version="1.1.0", simulator="unhurried")  # so that it is being asked at that moment
    program = (sys.executable, "-c", _STOPPABLE, str(place.home))
    with subprocess.Popen(
        program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdin
        assert host.stdout
        pid = host.stdout.readline().strip()
        for _ in range(3):
            host.send_signal(signal.SIGSTOP)
            time.sleep(1.5)  # half as long again as a plugin may take to answer
            host.send_signal(signal.SIGCONT)
            host.stdin.write("how are they?\n")
            host.stdin.flush()
            assert host.stdout.readline().split() == [pid, "0"]
        host.stdin.close()
        assert host.wait(30) == 0


_WATCHED = """
import asyncio, os, sys, threading
from pathlib import Path
from aperio_cli.serving.host import Hearing, Host
from aperio_cli.serving.notify import Notifier
from aperio_cli.serving.wanted import all_installed
from tests.hosts import QUICK, Place, until

async def main():
    place, stuck = Place(Path(sys.argv[1])), threading.Event()
    hearing = Hearing(beat=Notifier(os.environ).beat)
    host = Host(place.collaborate, all_installed, QUICK, hearing)
    async with asyncio.TaskGroup() as group:
        group.create_task(host.serve())
        status = await until(host, lambda status: status.phase.value == "READY", "acme/box")
        print(status.pid, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        host.launching.survey = stuck.wait
        print("stuck", flush=True)
        while True:  # the loop itself lives, and so do heartbeats and calls
            await asyncio.sleep(0.05)

asyncio.run(main())
"""


def test_a_host_whose_reconciliation_is_dead_is_killed_by_its_watchdog(
    place: Place, tmp_path: Path
) -> None:
    """The service manager is ours: it kills, as systemd does, what has not said it is at work."""
    watchdog_s = 2.0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(watchdog_s)
        environment = os.environ | {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": str(int(watchdog_s * 1e6)),
        }
        program = (sys.executable, "-c", _WATCHED, str(place.home))
        with subprocess.Popen(
            program, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as host:
            assert host.stdin
            assert host.stdout
            pid = int(host.stdout.readline())
            for _ in range(40):  # as long as it is well it is fed
                assert manager.recv(1024) == b"WATCHDOG=1"
            host.stdin.write(b"be stuck\n")
            host.stdin.flush()
            assert host.stdout.readline() == b"stuck\n"
            with contextlib.suppress(TimeoutError):
                while manager.recv(1024):  # what was on its way
                    pass
            assert host.poll() is None
            assert is_alive(pid)
            host.kill()
        assert wait_until(lambda: not is_alive(pid), within_s=30)


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_time_of_day_may_be_set_as_it_likes(
    place: Place, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    async def scene(served: Served) -> None:
        first = await served.ready()
        real = clock.now
        monkeypatch.setattr(clock, "now", lambda: real() + timedelta(hours=hours))
        os.kill(first.pid or 0, signal.SIGKILL)
        waiting = await served.in_phase(Phase.BACKOFF)
        assert waiting.until
        assert abs((waiting.until - clock.now()).total_seconds()) < 5
        await served.ready(restarts=1)

    play(place, scene)
