"""A connector in Python and a destination in Go, at the two ends of a shell pipe."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from tests import captured
from tests.go_operators import (
    COMMAND,
    CONNECTOR,
    EVENTS,
    FINDER,
    Operator,
    copy_plugin,
    go_test,
    install,
)
from tests.projects import write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.go,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("forked_plugins"),
]
PLUGIN = "aperio/jsonl-file"


class Piper(Operator):
    """An operator in whose home the Go destination is installed."""

    def pipe(self, source: Path, export: Path) -> dict[str, Any]:
        """`run SOURCE sync | run aperio/jsonl-file deliver`; gives what the right end answers."""
        aperio = " ".join(COMMAND)
        line = (
            f"{aperio} plugin run {source} sync --full"
            f" | {aperio} plugin run {PLUGIN} deliver --set folder={export} --json"
        )
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            env=self.environment, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

    def sync(self, source: Path, export: Path) -> list[dict[str, Any]]:
        """`run SOURCE sync --to aperio/jsonl-file`; gives what it tells."""
        to = ("--to", PLUGIN, "--to-set", f"folder={export}")
        return self.lines("plugin", "run", str(source), "sync", "--full", *to)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_plugin("jsonl-file", tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Piper:
    return Piper(install(project, tmp_path_factory.mktemp("operator")).folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A connector in Python that needs no service."""
    request = ScaffoldRequest("github.com/acme/aperio-plugin-source", output=tmp_path / "source")
    folder = scaffold(request).path
    write(folder, "connector.py", CONNECTOR)
    return folder


def test_its_own_tests_pass(project: Path) -> None:
    go_test(project)


def read_lines(export: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (export / "aperio.jsonl").read_bytes().splitlines()]


def test_what_a_python_connector_reads_reaches_the_file_of_a_go_destination_once(
    operator: Piper, source: Path, tmp_path: Path
) -> None:
    answer = operator.pipe(source, tmp_path / "export")
    assert answer["data"]["accepted"] == EVENTS
    lines = read_lines(tmp_path / "export")
    assert [line["source_event_id"] for line in lines] == [f"e{n}" for n in range(EVENTS)]
    assert len({line["id"] for line in lines}) == EVENTS
    assert lines[7]["record"] == {"number": 7, "text": "Grüße\n\u2028"}
    assert lines[7]["producer"] == "acme/source-connector@0.1.0"
    # A second sync, without the pipe, adds no line.
    before = (tmp_path / "export/aperio.jsonl").read_bytes()
    *_, summary = operator.sync(source, tmp_path / "export")
    assert summary["deliveries"]["accepted"] == EVENTS
    assert (tmp_path / "export/aperio.jsonl").read_bytes() == before


def test_a_change_of_a_findings_status_is_written_and_a_repeat_is_not(
    operator: Piper, tmp_path: Path
) -> None:
    def deliver(*lines: str, to: str = captured.DESTINATION) -> None:
        given, folder = "\n".join(lines), f"folder={tmp_path / 'export'}"
        of = ("--org", captured.ORGANIZATION, "--integration", to)
        answer = operator.aperio("plugin", "run", PLUGIN, "--set", folder, *of, given=given)
        assert answer["data"]["accepted"] == len(lines)

    opened, resolved, again, *others = captured.ALL
    own = [opened.replace("{", '{"id":"own",', 1), resolved.replace("{", '{"id":"own",', 1)]
    deliver(opened, opened, resolved)
    deliver(*own, again, *others)
    deliver(*captured.ALL, *own)
    written = (tmp_path / "export/aperio.jsonl").read_text()
    assert written == "".join(f"{line}\n" for line in captured.ALL)
    deliver(opened, to="siem_2")
    assert (tmp_path / "export/aperio.jsonl").read_text() == f"{written}{opened}\n"


def test_a_finding_that_is_resolved_arrives_twice_and_each_repeat_once(
    operator: Piper, source: Path, tmp_path: Path
) -> None:
    write(source, "connector.py", FINDER)
    for _ in range(2):
        *_, summary = operator.sync(source, tmp_path / "export")
        assert summary["deliveries"]["accepted"] == 2
    lines = read_lines(tmp_path / "export")
    assert [line["record"]["status"] for line in lines] == ["OPEN", "RESOLVED"]
    assert len({line["record"]["findingId"] for line in lines}) == 1


def test_an_installed_go_plugin_says_what_it_can_do(operator: Piper) -> None:
    data = operator.aperio("plugin", "run", PLUGIN, "capabilities")["data"]
    assert data["provider"] == "JSONL_FILE"
    assert [field["key"] for field in data["fields"]] == ["folder", "max_file_bytes", "window"]
    (listed,) = operator.aperio("plugin", "list", "--check")["data"]["plugins"]
    assert (listed["id"], listed["badge"]) == (PLUGIN, "local")


def test_a_go_project_runs_from_its_folder(operator: Piper, project: Path, tmp_path: Path) -> None:
    envelope = {"id": "a", "organization_id": "local", "kind": "event", "record": {}}
    answer = operator.aperio(
        "plugin", "run", str(project), "deliver", "--set", f"folder={tmp_path}",
        given=json.dumps({"type": "event", "envelope": envelope}) + "\n",
    )  # fmt: skip
    assert answer["data"]["accepted"] == 1
    assert [line["id"] for line in read_lines(tmp_path)] == ["a"]


def test_a_setting_that_the_go_plugin_refuses_is_told(operator: Piper, tmp_path: Path) -> None:
    answer = operator.aperio(
        "plugin", "run", PLUGIN, "deliver", "--set", "folder=not/absolute",
        given=captured.EVENT.replace('"org_1"', '"local"'), status=5,
    )  # fmt: skip
    assert "absolute path" in json.dumps(answer)
    assert list(tmp_path.iterdir()) == [tmp_path / "user-home"]
