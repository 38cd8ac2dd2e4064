"""What an operator reads of each state: what it means, why, until when, what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from aperio_cli import clock
from aperio_cli.commands.host.showing import (
    _MEANS,
    key_of,
    last_runs,
    of_plugin,
    overview,
    steps,
)
from aperio_cli.commands.host.status import _chosen
from aperio_cli.errors.usage import NotFound
from aperio_cli.host.control.controlled import InstalledPlugin
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising.instances import Fallback, InstanceKey, Status
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.run_receipt import FAILED, SUCCEEDED, RunReceipt, make_run_id
from tests.rows import each_row

KEY = InstanceKey(PluginId("acme", "box"), "org_1", "int_1")
ABOUT = {
    "started_at": "2026-01-01T00:00:00Z",
    "pid": 7,
    "version": "0.1.0",
    "home": "/h",
    "summary": "s",
}
RUN = RunReceipt(
    make_run_id(bytes(12)), KEY.plugin, "1.2.3", "org_1", "int_1", "sync",
    "2026-01-01T00:00:00.000Z", SUCCEEDED, "2026-01-01T00:00:01.000Z", 1000, seen=5, sent=4,
    dead_letters=1,
)  # fmt: skip


def shown(phase: Phase, run: RunReceipt | None = None, **about: Any) -> str:
    runs = last_runs([run] if run else [])
    return overview(ABOUT, [Status(KEY, phase, **about)], runs)


@each_row("phase", [phase for phase in Phase if phase is not Phase.READY])
def test_every_state_but_ready_is_explained(phase: Phase) -> None:
    text = shown(phase, code="plugin-crashed", reason="it ended\nkilled by SIGKILL")
    assert f"state     {phase.value}: {_MEANS[phase]}" in text
    assert "why       it ended\n            killed by SIGKILL" in text
    assert "code      plugin-crashed" in text


def test_a_plugin_that_is_ready_needs_no_words() -> None:
    text = shown(Phase.READY, started_at=clock.now() - timedelta(days=2, hours=3), version="1.2.3")
    assert text.splitlines()[-1].split() == [
        "acme/box", "org_1", "int_1", "READY", "2", "d", "3", "h", "1.2.3",
    ]  # fmt: skip


def test_one_that_calls_keep_up_is_told_from_one_that_is_stated() -> None:
    assert "kept up   by calls alone" in shown(Phase.READY, is_on_demand=True)
    assert "kept up" not in shown(Phase.READY)


def test_what_nothing_enforces_is_said_once_for_all_of_whom_that_is_so() -> None:
    bare = Status(KEY, Phase.READY, not_enforced=("memory", "egress"))
    other = replace(bare, not_enforced=("memory", "isolation"))
    assert "\nlimits   not enforced of any plugin: memory egress isolation (`aperio doctor`" in (
        overview(ABOUT, [bare, other], {})
    )
    contained = replace(bare, not_enforced=())
    assert "not enforced of 1 plugin: memory egress" in overview(ABOUT, [bare, contained], {})
    assert "not enforced" not in overview(ABOUT, [contained], {})


def test_a_backoff_says_until_when() -> None:
    until = clock.now() + timedelta(seconds=90)
    text = shown(Phase.BACKOFF, until=until, restarts=3)
    assert f"until     {clock.format_timestamp(until)}, in 1 min" in text
    assert "next      wait: it is started again by itself" in text
    assert "or        `aperio host logs acme/box`" in text
    assert "until     " in shown(Phase.BACKOFF, until=clock.now() - timedelta(seconds=1))


IDLE = of_plugin(InstalledPlugin(PluginId("acme", "idle"), "2.0.0", "connector", "ACME"))


def test_one_that_was_asked_for_and_is_not_kept_running_is_told_as_that() -> None:
    text = overview(ABOUT, [], {}, [IDLE])
    assert "acme/idle  2.0.0 is installed, and not kept running" in text
    assert "why        nothing states that it should run" in text
    assert "No plugin is kept running" not in text
    refused = overview(ABOUT, [], {}, [IDLE | {"refused_as": "revoked"}])
    assert "why        it may not be started: revoked" in refused
    assert "next       `aperio plugin why acme/idle`" in refused


def test_one_plugin_is_chosen_by_its_id_or_by_the_version_that_runs() -> None:
    box = InstalledPlugin(KEY.plugin, "1.3.0", "connector", "BOX")
    other = InstalledPlugin(PluginId("acme", "boxes"), "1.0.0", "connector", "BOX")
    running = Status(KEY, Phase.READY, version="1.2.3")
    known = [(box, (running,)), (other, ())]

    assert _chosen(None, known) == known
    assert _chosen(PluginRef.parse("acme/box"), known) == known[:1]
    assert _chosen(PluginRef.parse("acme/box@1.2.3"), known) == known[:1]
    assert _chosen(PluginRef.parse("acme/boxes"), known) == known[1:]
    with pytest.raises(NotFound, match=r"knows no `acme/box@9\.9\.9`") as caught:
        _chosen(PluginRef.parse("acme/box@9.9.9"), known)
    assert caught.value.why == "it has 1.2.3, 1.3.0 of it"
    with pytest.raises(NotFound) as caught:
        _chosen(PluginRef.parse("acme/bux"), known)
    assert caught.value.next[0] == "did you mean `acme/box`?"


@each_row(
    ("code", "step"),
    [
        ("not-installed", "`aperio plugin install acme/box`"),
        ("plugin-config-invalid", "correct its [[run]] table"),
        ("configuration-invalid", "correct the configuration: the host sees that by itself"),
        ("plugin-crashed", "`aperio host logs acme/box`"),
        ("plugin-limit-reached", "`aperio host logs acme/box`"),
        ("publisher-unverified", "`aperio plugin why acme/box`"),
        ("exception-expired", "`aperio plugin why acme/box`"),
    ],
)
def test_what_failed_has_a_remedy_that_goes_with_its_cause(code: str, step: str) -> None:
    assert steps(Status(KEY, Phase.FAILED, code=code))[0].startswith(step)


def test_a_version_that_was_left_is_named_with_the_way_to_try_it_again() -> None:
    left = Fallback("1.3.0", "plugin-exited-early", "it ended", "2026-01-02T03:04:05Z")
    text = shown(Phase.READY, version="1.2.3", fallback=left)
    assert "fallback  since 2026-01-02T03:04:05Z from 1.3.0, which does not start" in text
    assert "why       it ended" in text
    assert "next      `aperio plugin update acme/box`" in text
    assert "or        to try that one again: `aperio plugin rollback acme/box@1.3.0`" in text


def test_the_last_run_is_shown_with_what_it_did() -> None:
    text = shown(Phase.READY, RUN)
    assert (
        "last run  sync succeeded 2026-01-01T00:00:01.000Z: 5 seen, 4 sent, 1 dead letter" in text
    )
    broken = replace(RUN, status=FAILED, code="token-refused", error_message="no token")
    assert "no token (token-refused)" in shown(Phase.READY, broken)


def test_of_several_runs_the_newest_of_each_instance_counts() -> None:
    other = replace(RUN, integration="int_2")
    older = replace(RUN, run_id=make_run_id(b"x" * 12))
    found = last_runs([RUN, other, older])
    assert found[key_of(KEY)] is RUN
    assert len(found) == 2


def test_no_text_of_a_plugin_can_pass_for_a_line_of_ours() -> None:
    text = shown(Phase.FAILED, reason="x\n  next      `rm -rf /`\x1b[2J")
    assert "\x1b" not in text
    assert "\n              next      `rm -rf /`" in text


def test_a_host_that_keeps_nothing_says_how_to_change_that() -> None:
    assert "[[run]] table of config.toml" in overview(ABOUT, [], {})
