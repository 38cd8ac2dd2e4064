"""Plugins that are after their host itself: floods, silence, messages without end, a hard death.

Each is tried in a sandbox and without one, as the host has to stand it either way; what only a
sandbox holds is shown to happen without one. After each the same plugin still works, or is ended
with its cause named.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.running import (
    PluginContractBroken,
    PluginCrashed,
    PluginDeadlineExceeded,
    PluginFault,
    PluginLimitReached,
    PluginNotHealthy,
    PluginReportedError,
)
from aperio_cli.host.calls import connector
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.process import floods
from aperio_cli.host.sandbox.unconfined import Unconfined
from tests.process.conftest import is_alive, wait_until
from tests.sandbox.conftest import (
    LIMITS,
    MIB,
    ORDINARY,
    PATIENT,
    ROOT_ONLY,
    acting,
    host_process,
    left_behind,
)

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.host.sandbox.interface import Sandbox
    from tests.sandbox.conftest import Actor, Stage, Target

pytestmark = pytest.mark.sandbox
WHERE = ("in a sandbox", "without one")


@pytest.fixture(params=WHERE)
def either(request: pytest.FixtureRequest, sandbox: Sandbox) -> Sandbox:
    """The machine's sandbox, and none: the host has to stand these plugins in both."""
    return sandbox if request.param == WHERE[0] else Unconfined()


@pytest.fixture(params=WHERE)
def actor(request: pytest.FixtureRequest, confined: Actor, free: Actor) -> Actor:
    """The hostile plugin, running in the one or the other."""
    return confined if request.param == WHERE[0] else free


async def read_sync(actor: Actor, how: str, **options: Any) -> int:
    """How many messages a sync gave that went as it was told to."""
    asked = Invocation(config_json=json.dumps({"sync": how}).encode())
    return len([m async for m in actor.plugin.connector.sync(asked, **options)])


def synced(actor: Actor, how: str, **options: Any) -> int:
    """As `read_sync`, to its end."""
    return actor.runner.run(read_sync(actor, how, **options))


def own_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# ── what it prints ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("descriptor", [1, 2], ids=["stdout", "stderr"])
def test_a_flood_of_output_is_drained_counted_and_told(
    actor: Actor, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "TEST_TIMEOUT_S", 1200)  # where a machine is emulated
    before, memory_bytes = len(actor.logs), own_memory_bytes()
    began_s = time.monotonic()
    is_whole = descriptor == 2 and actor.do("own")["host"] == "plugin"
    size_bytes = (256 if is_whole else 64) * MIB
    assert actor.do("flood", descriptor, size_bytes // MIB, 64) >= size_bytes
    assert actor.do("own"), "it goes on"
    # Told with the next words that pass: the log is not asked between them.
    assert wait_until(lambda: bool(_told(actor, descriptor, before)), within_s=30)
    passed_s = time.monotonic() - began_s  # more than a minute where a machine is emulated
    allowed = floods.ALONE.at_once + floods.ALONE.a_second * passed_s
    lines = len(actor.logs) - before
    assert lines < 2 * allowed
    kept_bytes = 512 * lines  # by this test
    assert own_memory_bytes() - memory_bytes < 128 * MIB + kept_bytes
    del actor.logs[before:]


def _told(actor: Actor, descriptor: int, before: int) -> list[str]:
    """What was said of too much, once a few more words were printed."""
    actor.do("flood", descriptor, 1, 65536)
    return [r.message for r in actor.logs[before:] if r.message.startswith("too much was printed")]


def test_what_it_says_within_measure_all_arrives(actor: Actor) -> None:
    """Once a flood of a test before is over: for a second after it lines are still left out."""
    assert wait_until(lambda: _printed(actor) == ["line 1", "line 2", "line 3"], within_s=30)


def _printed(actor: Actor) -> list[str]:
    """Have three lines printed, and return those that came; the loop reads them while it runs."""
    before = len(actor.logs)
    actor.do("run", ["/bin/sh", "-c", "for n in 1 2 3; do echo line $n; done"], 5.0)
    actor.do("own")
    return [r.message for r in actor.logs[before:] if r.message.startswith("line ")]


# ── what it answers ───────────────────────────────────────────────────────────────────────────────


def test_a_message_that_is_too_large_is_an_error_and_no_end(actor: Actor) -> None:
    memory_bytes = own_memory_bytes()
    with pytest.raises(PluginReportedError) as caught:
        actor.do("huge", 64)
    assert "RESOURCE_EXHAUSTED" in caught.value.why
    with pytest.raises(PluginFault):
        synced(actor, "huge")
    assert own_memory_bytes() - memory_bytes < 128 * MIB
    assert len(actor.do("huge", 1)) == MIB
    assert synced(actor, "well") == 2


def test_a_sync_without_end_is_ended_in_words(stage: Stage, either: Sandbox) -> None:
    limited = {"limits": replace(LIMITS, duration_s=2)}
    with acting(stage.build(**limited), either) as actor:

        async def read() -> list[Any]:
            syncs = [read_sync(actor, how) for how in ("endless", "drips", "silent")]
            return await asyncio.gather(*syncs, return_exceptions=True)

        for error in actor.runner.run(read()):
            assert isinstance(error, PluginLimitReached)
            assert (error.code, error.exit_status) == ("plugin-limit-reached", 5)
            assert "was stopped: it reached its limit of duration" in error.what
            assert error.why == "duration: limit 2s, its sync was not done by then"
            assert error.next == (
                "run it again: it goes on from the last checkpoint",
                "use less, or ask for more: `limits.duration` in manifest.yaml",
            )
        assert synced(actor, "well") == 2, "and the next is its own again"


def test_a_call_without_an_answer_is_ended(actor: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "TEST_TIMEOUT_S", 0.5)
    with pytest.raises(PluginDeadlineExceeded, match="did not answer TestConnection in time"):
        actor.do("run", ["/bin/sleep", "3"], 3.0)
    with pytest.raises(PluginDeadlineExceeded, match="did not answer Sync in time"):
        synced(actor, "silent", silence_s=0.5)
    monkeypatch.undo()
    assert actor.do("own")
    assert synced(actor, "well") == 2


def test_a_plugin_that_answers_byte_by_byte_is_not_started(stage: Stage, either: Sandbox) -> None:
    build = stage.build()
    loris = replace(build, script=build.script.with_name("slow_loris.py"))
    began_s = time.monotonic()
    hurried = replace(PATIENT, health_s=1)
    with pytest.raises(PluginNotHealthy) as caught, acting(loris, either, patience=hurried):
        pass
    assert "did not pass its health check" in caught.value.what
    assert time.monotonic() - began_s < 30


# ── its end, and its host's ───────────────────────────────────────────────────────────────────────


def test_a_plugin_that_ignores_every_request_to_end_is_killed(
    stage: Stage, either: Sandbox
) -> None:
    build = stage.build()
    stubborn = replace(build, script=build.script.with_name("stubborn.py"))
    with acting(stubborn, either) as actor:
        pid = actor.plugin.pid
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 30
    assert not is_alive(pid)


def test_who_holds_its_pipes_open_does_not_hold_up_its_end(stage: Stage, sandbox: Sandbox) -> None:
    with acting(stage.build(), sandbox) as actor:
        actor.do("hold_pipes", mark := f"pipes-{os.getpid()}")
        assert wait_until(lambda: bool(left_behind(mark)), within_s=30)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 30
    assert wait_until(lambda: not left_behind(mark), within_s=30)


def test_a_plugin_that_kills_all_it_can_see_kills_itself(stage: Stage, sandbox: Sandbox) -> None:
    for deed in (["kill_all", "plugin"], ["kill_parents_group"]):
        with acting(stage.build(), sandbox) as actor:
            with contextlib.suppress(PluginCrashed):
                assert actor.do(*deed) in {"sent", "EPERM", "ESRCH"}
            with contextlib.suppress(PluginCrashed):
                assert actor.do("own")["host"] == "plugin"


def test_a_host_survives_a_plugin_that_kills_its_parents_group(
    stage: Stage, sandbox: Sandbox, base: Path
) -> None:
    """In a sandbox the parent is bubblewrap's; without one it is the host, which dies of it."""
    del sandbox
    deeds = [["kill_parents_group"], ["own"]]
    process = host_process(stage, base, deeds, uid=os.geteuid())
    out, err = process.communicate("", timeout=120)
    assert process.returncode == 0, err
    done = json.loads(out.splitlines()[-1])["done"]
    assert done[0] in {"sent", "EPERM", "ESRCH"} or done[0].startswith("plugin-crashed")
    process = host_process(stage, base, deeds, uid=os.geteuid(), mode="none")
    process.communicate("", timeout=120)
    assert process.returncode == -9


def test_a_plugin_that_closes_the_lifeline_dies_with_its_host_all_the_same(
    stage: Stage, sandbox: Sandbox, base: Path
) -> None:
    del sandbox
    deeds = [["take_back_lifeline"], ["daemon", f"lifeline-{os.getpid()}"], ["wait"]]
    process = host_process(stage, base, deeds, uid=os.geteuid())
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.communicate(timeout=30)
    pids = json.loads(line)["pids"]
    assert len(pids) > 3
    process.kill()
    process.communicate(timeout=30)
    assert wait_until(lambda: not any(map(is_alive, pids)), within_s=30)


def test_without_a_sandbox_who_closes_the_lifeline_stays(stage: Stage, base: Path) -> None:
    deeds = [["take_back_lifeline"], ["own"], ["wait"]]
    process = host_process(stage, base, deeds, uid=os.geteuid(), mode="none")
    assert process.stdout
    pids = json.loads(process.stdout.readline())["pids"]
    process.kill()
    process.communicate(timeout=30)
    try:
        assert not wait_until(lambda: not any(map(is_alive, pids)), within_s=0.5)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


# ── space, files, rights ──────────────────────────────────────────────────────────────────────────


def test_the_places_that_it_can_write_to_are_two_and_small(confined: Actor) -> None:
    places = confined.do("writable_places")
    assert {place for place in places if not place.startswith("/tmp/")} == {"/dev/shm", "/tmp"}
    fitted = confined.do("fill_everywhere", places, 64)
    assert 0 < fitted <= LIMITS.tmp_bytes // MIB
    assert confined.do("write", "/tmp/after", "kept") == "written"


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


WAYS = (
    "append", "truncate", "remove", "rename", "chmod", "touch", "link", "symlink", "folder",
    "attribute", "bytecode", "remount",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_its_own_files_cannot_be_tampered_with(way: str, confined: Actor, stage: Stage) -> None:
    file = stage.folder / "project" / "hostile.py"
    before = (file.read_bytes(), names_in(file.parent), file.stat().st_mode)
    assert confined.do("tamper", way, str(file)) in {"EROFS", "EPERM", "EACCES", "ENOTSUP"}
    confined.do("write", "/tmp/own.py")
    if way not in {"attribute", "remount"}:
        assert confined.do("tamper", way, "/tmp/own.py") == "done"
    assert (file.read_bytes(), names_in(file.parent), file.stat().st_mode) == before
    confined.do("run", ["/bin/sh", "-c", "rm -rf /tmp/own* /tmp/added /tmp/__pycache__"], 5.0)


def test_it_has_no_rights_and_gets_none(confined: Actor, free: Actor) -> None:
    found = confined.do("rights")
    assert found["no_new_privileges"].strip() == "1"
    assert found["capabilities"] == [0, 0, 0, 0]
    assert found["suid"] == []
    assert found["dev"] in ([], ["/dev"])
    assert free.do("rights")["suid"], "and outside there are mounts that give some"
    if os.geteuid() == 0:
        assert any(free.do("rights")["capabilities"])


def test_it_cannot_look_into_a_sibling(confined: Actor, free: Actor) -> None:
    assert confined.do("trace_sibling") == "EPERM"
    assert free.do("trace_sibling") == "attached"


@ROOT_ONLY
def test_outside_a_device_is_made_which_it_cannot_make(
    confined: Actor, free: Actor, prey: Target
) -> None:
    assert confined.do("make_device", "/tmp/null") == "EPERM"
    assert free.do("make_device", str(prey.folder / "null")) == "made"


# family, kind, protocol: what leads past a network namespace, or into parts that nobody needs
SOCKETS = {
    "vsock": (40, 1, 0), "packet": (17, 3, 768), "netlink audit": (16, 3, 9),
    "netlink netfilter": (16, 3, 12), "bluetooth": (31, 3, 1), "algorithms": (38, 5, 0),
    "tipc": (30, 1, 0), "can": (29, 3, 1), "key": (15, 3, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", SOCKETS)
def test_no_socket_of_another_family_is_opened(name: str, confined: Actor) -> None:
    assert confined.do("open_socket", *SOCKETS[name]) == "EAFNOSUPPORT"


def test_sockets_that_programs_need_are_opened(confined: Actor, free: Actor) -> None:
    for family, kind, protocol in ((1, 1, 0), (2, 1, 0), (2, 2, 0), (10, 1, 0), (16, 3, 0)):
        assert confined.do("open_socket", family, kind, protocol) == "opened"
    found = {name: free.do("open_socket", *SOCKETS[name]) for name in SOCKETS}
    assert "opened" in found.values(), "a kernel that has none of them proves nothing"


@pytest.mark.parametrize("kind", [2, 3], ids=["ping", "raw"])
def test_nothing_but_streams_and_datagrams_leaves_by_ip(kind: int, confined: Actor) -> None:
    assert confined.do("open_socket", 2, kind, 1) in {"EPERM", "EACCES"}


# ── other plugins ─────────────────────────────────────────────────────────────────────────────────


def test_a_plugin_reaches_no_other_plugin(stage: Stage, sandbox: Sandbox, free: Actor) -> None:
    with acting(stage.build(), sandbox) as one, acting(stage.build(), sandbox) as other:
        address = str(other.plugin.address)
        assert one.do("connect", "AF_UNIX", address) == "ENOENT"
        assert one.do("listing", f"/proc/{other.plugin.pid}/root") == "ENOENT"
        assert one.do("signal_process", other.plugin.pid) == "ESRCH"
        assert len(one.do("processes")) < 5
        assert other.do("own")["host"] == "plugin"
        if os.geteuid() == 0:
            assert free.do("connect", "AF_UNIX", address) == "connected"


# ── as an ordinary user ───────────────────────────────────────────────────────────────────────────


@ROOT_ONLY
def test_the_same_plugins_of_an_ordinary_user_are_contained(stage: Stage, base: Path) -> None:
    file = str(stage.folder / "project" / "hostile.py")
    expected: list[tuple[list[Any], Any]] = [
        (["trace_sibling"], "EPERM"),
        (["system_call", 250, 0, -3, 0], "EPERM"),
        (["open_socket", *SOCKETS["vsock"]], "EAFNOSUPPORT"),
        (["make_device", "/tmp/null"], "EPERM"),
        (["set_user", 0], "EINVAL"),
        (["set_user_by_program", "/tmp/id"], str(ORDINARY)),
        (["tamper", "append", file], "EACCES"),
        (["writable_places"], ["/dev/shm", "/tmp"]),
        (["flood", 2, 64, 64], 64 * MIB),
        (["write", "/proc/self/exe"], "EROFS"),
        (["listing", "/root"], "ENOENT"),
        (["environment_of", str(os.getpid())], "ENOENT"),
        (["kill_parents_group"], "ESRCH"),
    ]
    process = host_process(stage, base, [deed for deed, _ in expected], uid=ORDINARY)
    out, err = process.communicate("", timeout=120)
    assert process.returncode == 0, err
    done = json.loads(out.splitlines()[-1])["done"]
    found = {str(deed): came for (deed, _), came in zip(expected, done, strict=True)}
    places = found["['writable_places']"]
    # Below its own /tmp are places for what is mounted there, such as a checkout in ours.
    found["['writable_places']"] = [each for each in places if not each.startswith("/tmp/")]
    assert found == {str(deed): wanted for deed, wanted in expected}


def test_a_broken_answer_is_named(stage: Stage, either: Sandbox) -> None:
    """The twin of what is contained: what is merely wrong is told as that."""
    build = stage.build()
    garbage = replace(build, script=build.script.with_name("garbage.py"))
    with acting(garbage, either) as actor, pytest.raises(PluginContractBroken):
        actor.runner.run(actor.plugin.connector.schema(Invocation()))
