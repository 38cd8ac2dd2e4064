"""A part of the events: asked for on the command line, refused where nobody would understand it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lifecycle.plugins import project_of, simulating

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.cli import Aperio


@pytest.fixture
def project(aperio: Aperio) -> Path:
    return project_of(aperio.folder / "project", simulating("choosy"))


def refused(aperio: Aperio, project: Path, *words: str) -> dict[str, Any]:
    """The one line of a sync that was refused as wrong usage."""
    found: dict[str, Any] = json.loads(
        aperio("plugin", "run", project, *words, "--json", status=2).out
    )
    assert (found["type"], found["code"]) == ("error", "usage")
    assert found["what"].endswith(": nothing was read")
    return found


def test_a_part_is_read_and_the_rest_is_not_skipped(aperio: Aperio, project: Path) -> None:
    words = ("plugin", "run", project, "--json")
    choice = ("--stream", "sign_ins", "--event-type", "box.login", "--from", "2026-01-05")

    event, checkpoint, summary = map(json.loads, aperio(*words, *choice).out.splitlines())
    everything = aperio(*words).out.splitlines()

    asked: dict[str, Any] = event["envelope"]["record"]
    assert asked == {
        "cursor": "",
        "from": "2026-01-05T00:00:00Z",
        "streams": ["sign_ins"],
        "event_types": ["box.login"],
    }
    assert checkpoint["covers_until"] == "2026-01-05T09:00:00Z"
    assert (summary["events"], summary["filtered"]) == (1, 1)
    assert summary["coverage"] == [{"stream": "sign_ins", "covers_until": "2026-01-05T09:00:00Z"}]
    assert [json.loads(line)["type"] for line in everything].count("event") == 2
    shown = aperio("plugin", "run", project, *choice, "--full").err
    assert "1 event, 1 of other types left out, 1 checkpoint" in shown
    assert "; sign_ins read until 2026-01-05 09:00 UTC" in shown


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--stream", "other"), "`--stream other` is nothing that"),
        (("--event-type", "box.other"), "`--event-type box.other` is nothing that"),
    ],
)
def test_what_the_connector_does_not_have_is_refused(
    aperio: Aperio, project: Path, words: tuple[str, str], what: str
) -> None:
    assert refused(aperio, project, *words)["what"].startswith(what)


def test_a_time_that_is_none_is_refused_before_anything_is_started(
    aperio: Aperio, project: Path
) -> None:
    words = ("plugin", "run", project, "--from", "yesterday")
    told = aperio.refuses(*words, code="usage", status=2)
    assert told.what == "`--from` is no time: nothing was read"


def test_a_beginning_after_a_checkpoint_needs_full(aperio: Aperio, project: Path) -> None:
    aperio("plugin", "run", project)
    assert "--full" in refused(aperio, project, "--from", "2026-01-05")["next"][0]
    again = aperio("plugin", "run", project, "--from", "2026-01-05", "--full")
    assert again.out.count('"type":"event"') == 2


def test_a_connector_without_the_feature_is_not_asked(aperio: Aperio) -> None:
    project = project_of(aperio.folder / "project", simulating("bare"))
    told = refused(aperio, project, "--stream", "a")
    assert "expected the feature `streams` in its schema, found none" in told["why"]
