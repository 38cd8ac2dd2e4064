"""The acceptance suite, on a sound plugin and on plugins that each break one thing."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.accepting import (
    CHECKS,
    AcceptanceReport,
    AcceptanceRequest,
    Outcome,
    Verdict,
    accept,
    starting,
)
from aperio_cli.errors.running import PluginConfigInvalid
from aperio_cli.errors.usage import UsageError
from tests.clearances import cleared

from .conftest import HURRIED, PLUGINS, Host, development

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.accepting import Check
    from aperio_cli.models.artifact import DevelopmentBuild

pytestmark = pytest.mark.usefixtures("forked_plugins")
BROKEN = Path(__file__).resolve().parents[1] / "simulators" / "broken_plugins"
SECRET = "correct-horse-battery-staple"
REQUEST = AcceptanceRequest(
    settings={"key": SECRET}, action="box.unshare", target="folder-1", approved=True
)
KINDS = ["connector", "remediation", "destination"]
ENDING = {"by-hand", "start-twice", "shutdown", "sigterm", "host-gone"}
STAYING = tuple(check for check in CHECKS if check.key not in ENDING)
"""The checks that share one start; each of the others takes a start of its own."""

# Every check, and the plugins that fail it and nothing else.
FAILING = [
    ("start", "ends_before_handshake", "connector"),
    ("by-hand", "serves_by_hand", "connector"),
    ("by-hand", "explains_on_stdout", "connector"),
    ("start-twice", "runs_once", "connector"),
    ("shutdown", "survives_shutdown", "connector"),
    ("shutdown", "fails_at_shutdown", "connector"),
    ("sigterm", "ignores_sigterm", "connector"),
    ("sigterm", "dies_of_sigterm", "connector"),
    ("host-gone", "outlives_its_host", "connector"),
    ("declaration", "other_provider", "connector"),
    ("declaration", "sound", "other"),
    ("same-declaration", "changes_its_mind", "connector"),
    ("fields", "twin_fields", "connector"),
    ("fields", "twin_fields", "remediation"),
    ("fields", "auth_without_field", "connector"),
    ("fields", "shares_its_secret", "connector"),
    ("egress", "leads_elsewhere", "connector"),
    ("egress", "leads_elsewhere", "remediation"),
    ("names", "foreign_names", "connector"),
    ("streams", "takes_nothing", "destination"),
    ("wrong-settings", "crashes_on_settings", "connector"),
    ("wrong-settings", "crashes_on_settings", "remediation"),
    ("wrong-settings", "mute_about_settings", "connector"),
    ("wrong-settings", "does_unknown_actions", "remediation"),
    ("deadline", "keeps_its_workers", "connector"),
    ("connection", "finds_nobody", "connector"),
    ("events", "timeless_events", "connector"),
    ("events", "foreign_events", "connector"),
    ("events", "shares_an_id", "connector"),
    ("events", "undeclared_events", "connector"),
    ("events", "undeclared_findings", "connector"),
    ("events", "checkpoints_another_stream", "connector"),
    ("events", "covers_no_time", "connector"),
    ("same-events", "numbers_its_events", "connector"),
    ("resume", "checkpoints_too_far", "connector"),
    ("resume", "loses_findings", "connector"),
    ("resume", "no_checkpoint", "connector"),
    ("parts", "forgets_its_streams", "connector"),
    ("parts", "begins_too_late", "connector"),
    ("parts", "misses_its_types", "connector"),
    ("cancel", "holds_a_lock", "connector"),
    ("results", "forgets_envelopes", "destination"),
    ("repeat", "refuses_repeats", "destination"),
    ("product-envelopes", "demands_ids", "destination"),
    ("checkpoints", "stores_too_early", "destination"),
    ("checkpoints", "replaces_any_cursor", "destination"),
    ("dry-run", "acts_in_a_dry_run", "remediation"),
    ("approval", "asks_for_no_approval", "remediation"),
    ("same-key", "acts_twice", "remediation"),
    ("stdout", "prints_on_stdout", "connector"),
    ("logs", "logs_plain_text", "connector"),
    ("secrets", "tells_its_settings", "connector"),
    ("secrets", "tells_its_token", "connector"),
]


def target(name: str, kind: str = "connector") -> DevelopmentBuild:
    script = BROKEN / f"{name}.py"
    if kind == "other":  # what the manifest says is wrong, not the plugin
        return development(script, provider="DROPBOX")
    if name == "sound" and kind == "destination":
        script = BROKEN / "sound_destination.py"
    return development(script, kind=kind)


def examine(
    host: Host,
    build: DevelopmentBuild,
    request: AcceptanceRequest = REQUEST,
    seen: list[Verdict] | None = None,
    checks: Sequence[Check] = CHECKS,
) -> AcceptanceReport:
    observe = (lambda _verdict: None) if seen is None else seen.append
    clear = functools.partial(cleared, build)
    return asyncio.run(accept(clear, host.launch_options(), request, observe, checks))


def outcomes(report: AcceptanceReport, outcome: Outcome) -> dict[str, Verdict]:
    return {v.key: v for v in report.verdicts if v.outcome is outcome}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_plugin_without_the_sdk_passes_every_check(host: Host, kind: str) -> None:
    report = examine(host, target("sound", kind))

    assert [v for v in report.verdicts if v.outcome is not Outcome.PASSED] == []
    assert [v.key for v in report.verdicts] == [c.key for c in CHECKS if kind in c.kinds]
    assert report.passed
    warnings = [v.key for v in report.verdicts if "warning: event 'e19': record" in v.evidence]
    assert warnings == (["events"] if kind == "connector" else [])
    if kind == "connector":
        evidence = {v.key: v.evidence for v in report.verdicts}
        assert evidence["events"].startswith("20 events, 4 findings, 4 entries, 4 checkpoints")
        assert evidence["same-events"] == "twice the same 28 ids in the same order"
        asked = "1 event types, events from a time, each of 2 streams"
        assert evidence["parts"] == f"asked for {asked}: nothing of it was missing"


# One broken plugin takes seconds, because checks wait for what must not happen. These stand for all
# in `make test`, in the checks that share a start; `make test-all` makes every check of every one.
QUICK = {
    "forgets_envelopes",
    "acts_twice",
    "tells_its_settings",
    "no_checkpoint",
    "shares_its_secret",
    "forgets_its_streams",
}


@pytest.mark.parametrize(("key", "plugin", "kind"), [row for row in FAILING if row[1] in QUICK])
def test_a_broken_plugin_fails_its_check_and_no_other(
    host: Host, key: str, plugin: str, kind: str
) -> None:
    require_one_failure(examine(host, target(plugin, kind), checks=STAYING), key)


@pytest.mark.slow
@pytest.mark.parametrize(("key", "plugin", "kind"), FAILING)
def test_a_broken_plugin_fails_its_check_and_no_other_of_all(
    host: Host, key: str, plugin: str, kind: str
) -> None:
    """Examine every plugin by all checks; the quick test above has some of each kind."""
    if key == "by-hand":
        host.options["patience"] = replace(HURRIED, handshake_s=5)  # waited for to the end
    require_one_failure(examine(host, target(plugin, kind)), key)


@pytest.mark.parametrize("is_patient", [True, False])
def test_a_plugin_that_imports_slowly_is_given_the_time_that_is_stated(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_patient: bool
) -> None:
    """To start, and to refuse to be started by hand, which it can only when it has imported."""
    monkeypatch.setattr(starting, "_BY_HAND_S", 0.3)
    host.options["patience"] = replace(HURRIED, handshake_s=30 if is_patient else 0.3)
    script = tmp_path / "slow.py"
    script.write_text(
        f"import runpy, sys, time\ntime.sleep(0.8)\nsys.path.insert(0, {str(BROKEN)!r})\n"
        f"runpy.run_path({str(BROKEN / 'sound.py')!r}, run_name='__main__')\n"
    )
    checks = [check for check in CHECKS if check.key in {"start", "by-hand"}]
    failed = outcomes(examine(host, development(script), checks=checks), Outcome.FAILED)
    assert set(failed) == (set() if is_patient else {"start", "by-hand"})
    if not is_patient:
        assert "`[host] handshake_timeout_s = 60`" in failed["start"].evidence


def require_one_failure(report: AcceptanceReport, key: str) -> None:
    failed = outcomes(report, Outcome.FAILED)
    assert list(failed) == [key], failed
    assert failed[key].evidence
    assert failed[key].fix
    assert not report.passed
    reasons = {v.evidence for v in outcomes(report, Outcome.SKIPPED).values()}
    assert all("means nothing unless" in reason for reason in reasons)


def test_a_secret_that_is_not_for_the_host_only_is_told_with_what_it_has_to_be(host: Host) -> None:
    report = examine(host, target("shares_its_secret"), checks=STAYING)

    evidence = outcomes(report, Outcome.FAILED)["fields"].evidence
    assert evidence.splitlines() == [
        "`client_secret` holds the client's secret, so it has to be host_only",
        "`client_secret` holds the client's secret, so it has to be secret",
    ]


def test_every_check_has_a_plugin_that_fails_it() -> None:
    assert {key for key, _, _ in FAILING} == {check.key for check in CHECKS}
    assert len({check.key for check in CHECKS}) == len(CHECKS)


def test_the_how_to_page_names_every_check_in_order() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "accept-a-plugin.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    named = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert named == [check.key for check in CHECKS]


def test_every_broken_plugin_is_examined() -> None:
    files = {path.stem for path in BROKEN.glob("*.py")}
    assert files == {name for _, name, _ in FAILING} | {"sound", "sound_destination"}


def test_a_plugin_made_with_the_sdk_passes(host: Host) -> None:
    request = AcceptanceRequest({"mode": "read"})

    report = examine(host, development(PLUGINS / "with_sdk.py", state=True), request)

    skipped = outcomes(report, Outcome.SKIPPED)
    assert outcomes(report, Outcome.PASSED).keys() | skipped.keys() == {
        verdict.key for verdict in report.verdicts
    }
    assert list(skipped) == ["parts"]  # it can be asked for nothing less
    assert "`backfill`, `event-types`, `streams`" in skipped["parts"].evidence


@pytest.mark.parametrize("kind", KINDS)
def test_without_settings_what_needs_the_service_is_skipped_with_how_to_enable_it(
    host: Host, kind: str
) -> None:
    report = examine(host, target("sound", kind), AcceptanceRequest(), checks=STAYING)

    needy = {c.key for c in CHECKS if kind in c.kinds and c.needs_settings}
    skipped = outcomes(report, Outcome.SKIPPED)
    assert set(skipped) == needy
    assert report.passed
    assert all("--set KEY=VALUE" in v.evidence and not v.fix for v in skipped.values())


def test_an_action_is_only_done_with_consent(host: Host) -> None:
    request = AcceptanceRequest(REQUEST.settings, action="box.unshare", target="folder-1")

    report = examine(host, target("sound", "remediation"), request, checks=STAYING)

    skipped = outcomes(report, Outcome.SKIPPED)
    assert list(skipped) == ["approval", "same-key"]
    assert "--approve" in skipped["same-key"].evidence


def test_without_an_action_none_is_tried(host: Host) -> None:
    request = AcceptanceRequest(REQUEST.settings)

    report = examine(host, target("sound", "remediation"), request, checks=STAYING)

    skipped = outcomes(report, Outcome.SKIPPED)
    assert list(skipped) == ["dry-run", "approval", "same-key"]
    assert "--action A --target T" in skipped["dry-run"].evidence


def test_an_action_that_is_not_there_is_the_authors_mistake(host: Host) -> None:
    request = AcceptanceRequest(REQUEST.settings, action="box.share", target="folder-1")

    with pytest.raises(UsageError, match=r"box\.share"):
        examine(host, target("sound", "remediation"), request, checks=STAYING)


def test_a_setting_that_is_not_there_is_the_authors_mistake(host: Host) -> None:
    with pytest.raises(PluginConfigInvalid):
        examine(host, target("sound"), AcceptanceRequest({"kye": SECRET}), checks=STAYING)


def test_no_secret_is_in_a_report(host: Host) -> None:
    report = examine(host, target("tells_its_settings"), checks=STAYING)

    assert SECRET not in repr(report.to_json())
    assert "the setting `key`" in outcomes(report, Outcome.FAILED)["secrets"].evidence


def test_each_verdict_is_told_as_soon_as_it_is_there(host: Host) -> None:
    seen: list[Verdict] = []

    report = examine(host, target("ends_before_handshake"), seen=seen)

    assert tuple(seen) == report.verdicts
    first: dict[str, Any] = report.to_json()["verdicts"][0]
    assert first.keys() == {"key", "title", "outcome", "evidence", "fix"}
    assert first["outcome"] == "failed"
