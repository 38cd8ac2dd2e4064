"""Each limit of a manifest, reached by a plugin and kept; below it the same plugin works."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.running import PluginFault, PluginLimitReached, PluginReportedError
from aperio_cli.host.sandbox import watching
from aperio_cli.host.sandbox.bubblewrap import Bubblewrap
from aperio_cli.host.sandbox.groups import NOTHING
from tests.sandbox.conftest import LIMITS, MIB, acting, own_groups
from tests.unwatched import Nobody

if TYPE_CHECKING:
    from aperio_cli.host.sandbox.interface import Sandbox
    from aperio_cli.models.limits import Limits
    from tests.sandbox.conftest import Stage

pytestmark = pytest.mark.sandbox


@pytest.fixture(params=["as the machine offers", "without control groups"])
def kept(request: pytest.FixtureRequest, sandbox: Sandbox) -> Sandbox:
    """The machine's sandbox, and the same where no control group can be had."""
    assert isinstance(sandbox, Bubblewrap)
    if request.param == "without control groups":
        return replace(sandbox, offer=NOTHING)
    if not sandbox.offer.controllers:
        pytest.skip("this machine offers no control groups")
    return sandbox


def at(**changes: Any) -> dict[str, Limits]:
    return {"limits": replace(LIMITS, **changes)}


def test_memory_hog_is_stopped_and_told_why(stage: Stage, kept: Sandbox) -> None:
    limit = at(memory_bytes=96 * MIB)
    with acting(stage.build(**limit), kept) as actor, pytest.raises(PluginLimitReached) as told:
        actor.do("hog", 4096)
    error = told.value
    assert (error.code, error.exit_status) == ("plugin-limit-reached", 5)
    assert "its limit of memory" in error.what
    assert error.why.startswith("memory: limit 96MiB, peak ")
    assert "killed once" in error.why
    assert list(error.next) == ["use less, or ask for more: `limits.memory` in manifest.yaml"]


def test_who_is_refused_memory_before_anybody_looked_is_told_its_limit(
    stage: Stage, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_watcher", Nobody())
    assert isinstance(sandbox, Bubblewrap)
    build = stage.build(**at(memory_bytes=96 * MIB))
    with acting(build, replace(sandbox, offer=NOTHING)) as actor:
        with pytest.raises(PluginReportedError, match="no_such_deed"):
            actor.do("no_such_deed")
        with pytest.raises(PluginLimitReached) as told:
            actor.do("hog", 4096)
    assert told.value.why.startswith("memory: limit 96MiB, peak ")


HIDDEN = {
    "names of files": ("many_names", "/tmp", 10_000_000),
    "memfd": ("share", "memfd", 4096),
    "System V": ("share", "System V", 4000),
    "shared pages": ("share", "pages", 4096),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_memory_that_no_process_has_is_counted_or_not_given(
    name: str, stage: Stage, kept: Sandbox
) -> None:
    """Without a control group what could be hidden is refused; the rest is seen."""
    build = stage.build(**at(memory_bytes=96 * MIB))
    with acting(build, kept) as actor:
        try:
            found = actor.do(*HIDDEN[name])
        except PluginLimitReached as error:
            assert error.why.startswith("memory: limit 96MiB, peak ")  # noqa: PT017 - or refused
        else:
            assert found == "ENOSYS"
            assert kept.offer == NOTHING  # type: ignore[attr-defined] # the fixture's is bubblewrap


def test_memory_that_is_shared_and_small_is_the_plugins_own(stage: Stage, kept: Sandbox) -> None:
    with acting(stage.build(**at(memory_bytes=256 * MIB)), kept) as actor:
        assert actor.do("share", "pages", 50) == 50
        assert actor.do("many_names", "/tmp", 2000) == 2000


def test_memory_below_the_limit_is_the_plugins_own(stage: Stage, kept: Sandbox) -> None:
    with acting(stage.build(**at(memory_bytes=256 * MIB)), kept) as actor:
        assert actor.do("hog", 100) == 100
        assert actor.do("reserve", 8) == "reserved"  # what is not used does not count


def test_processes_and_threads_are_refused_beyond_the_limit(stage: Stage, kept: Sandbox) -> None:
    with acting(stage.build(**at(processes=40)), kept) as actor:
        assert 8 <= actor.do("children", 100) < 40
        assert 8 <= actor.do("threads", 100) < 40
        assert actor.do("children", 4) == 4
        assert actor.do("threads", 4) == 4
    if kept.offer.controllers:  # type: ignore[attr-defined] # the fixture's is bubblewrap
        told = [r.message for r in actor.logs if r.message.startswith("limit reached")]
        assert any("processes: limit 40, threads count, refused" in text for text in told)


def test_two_plugins_do_not_count_against_each_other(stage: Stage, kept: Sandbox) -> None:
    limit = at(processes=40)
    with acting(stage.build(**limit), kept) as one, acting(stage.build(**limit), kept) as other:
        assert one.do("children", 20) == other.do("children", 20) == 20


def test_processor_is_shared_as_asked_for(stage: Stage, kept: Sandbox) -> None:
    with acting(stage.build(**at(cpu=0.1)), kept) as actor:
        used_s = actor.do("burn", 2.0)
    assert used_s < 1.2  # two cores would have given up to four
    told = [r.message for r in actor.logs if r.message.startswith("limit reached: cpu")]
    assert told
    assert "limit 0.1 cores, held back" in told[0]


def test_a_fork_bomb_leaves_the_machine_alone(stage: Stage, kept: Sandbox) -> None:
    bomb = ["/bin/sh", "-c", "b() { b | b & }; b; sleep 1"]
    with acting(stage.build(**at(processes=40)), kept) as actor:
        actor.do("run", bomb, 1.0)
        assert len([each for each in Path("/proc").iterdir() if each.name.isdigit()]) < 2000
        assert actor.do("own")["host"] == "plugin"


def test_no_group_is_left_behind(stage: Stage, sandbox: Sandbox) -> None:
    assert isinstance(sandbox, Bubblewrap)
    before = own_groups()
    with acting(stage.build(), sandbox) as actor:
        assert actor.do("own")
        made = own_groups() - before
        assert len(made) == (len(sandbox.offer.controllers) if sandbox.offer.version == 1 else 0)
    assert own_groups() == before


def test_a_watcher_that_fails_stops_the_plugin(
    stage: Stage, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aperio_cli.host.sandbox import watching

    assert isinstance(sandbox, Bubblewrap)

    def fail(_pid: int) -> int:
        raise RuntimeError("broken")

    with acting(stage.build(), replace(sandbox, offer=NOTHING)) as actor:
        assert actor.do("own")
        monkeypatch.setattr(watching, "_resident_bytes", fail)
        with pytest.raises(PluginFault):
            actor.do("run", ["/bin/sleep", "30"], 30.0)


def test_a_plugin_cannot_lift_its_limits(stage: Stage, sandbox: Sandbox) -> None:
    """Nor those of bubblewrap's own process, nor stop being watched by stopping that."""
    with acting(stage.build(), sandbox) as actor:
        assert actor.do("signal_process", 1, signal.SIGSTOP) in {"sent", "EPERM"}
        assert actor.do("raise_limit") in {"EPERM", "ValueError"}
        assert actor.do("own")["host"] == "plugin"
