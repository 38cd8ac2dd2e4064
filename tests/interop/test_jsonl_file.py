"""A connector in Python and a destination in Go, at the two ends of a shell pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from aperio_cli.scaffolding.go_sdk import go_sdk
from tests.go_projects import CACHE, COMPILED, OFFLINE, require_go
from tests.projects import ROOT, SDK, WHEELS, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.go, pytest.mark.timeout(400)]
PLUGIN = "aperio/jsonl-file"
EVENTS = 1000
COMMAND = [sys.executable, "-m", "aperio_cli"]
CONNECTOR = f"""\
from collections.abc import Iterator

from aperio_plugin import connector


class SourceConnector(connector.Connector):
    def schema(self) -> connector.Schema:
        return connector.Schema(provider="SOURCE", name="Source")

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        return connector.TestResult(ok=True)

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        for number in range({EVENTS}):
            yield connector.Event(
                source_event_id=f"e{{number}}",
                event_type="source.login",
                occurred_at="2026-01-01T00:00:00Z",
                record={{"number": number, "text": "Grüße\\n\\u2028"}},
            )
            if number % 250 == 249:
                yield connector.Checkpoint(str(number).encode())
"""


@dataclass(frozen=True)
class Operator:
    """An operator with a home, in which the Go destination is installed."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the operator's shell has: little, and no network for pip and go."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "APERIO_HOME": str(self.folder / "home"),
            "PYTHONPATH": f"{ROOT}:{SDK}",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(WHEELS),
            "GOPROXY": f"file://{CACHE}/go/cache/download",
            "GOSUMDB": "off",
        }

    def aperio(self, *words: str, given: str = "", status: int = 0) -> dict[str, Any]:
        """One command with `--json`; gives what it answers."""
        ran = subprocess.run(
            [*COMMAND, *words, "--json"],
            input=given, env=self.environment, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip
        assert ran.returncode == status, ran.stdout + ran.stderr
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

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


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of plugins/jsonl-file with this checkout's SDK in it."""
    require_go(with_modules=True)
    copy = tmp_path_factory.mktemp("project") / "jsonl-file"
    shutil.copytree(
        ROOT / "plugins/jsonl-file", copy, ignore=shutil.ignore_patterns("third_party", "dist")
    )
    go_sdk().put_into(copy)
    return copy


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Operator:
    made = Operator(tmp_path_factory.mktemp("operator"))
    COMPILED.mkdir(parents=True, exist_ok=True)
    cache = made.folder / "home/cache"
    cache.mkdir(parents=True)
    (cache / "go-build").symlink_to(COMPILED)
    made.aperio("trust", "local", "init")
    built = made.aperio("plugin", "build", str(project))["data"]["artifacts"][0]["path"]
    made.aperio("plugin", "sign", built, "--trust", "local")
    made.aperio("plugin", "install", built)
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A connector in Python that needs no service."""
    request = ScaffoldRequest("github.com/acme/aperio-plugin-source", output=tmp_path / "source")
    folder = scaffold(request).path
    write(folder, "connector.py", CONNECTOR)
    return folder


def test_its_own_tests_pass(project: Path) -> None:
    environment = {
        **OFFLINE,
        "HOME": os.environ["HOME"],
        "GOMODCACHE": str(CACHE / "go"),
        "GOCACHE": str(COMPILED),
        "CGO_ENABLED": "0",
    }
    ran = subprocess.run(
        ["go", "test", "./..."],
        cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def read_lines(export: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (export / "aperio.jsonl").read_bytes().splitlines()]


def test_what_a_python_connector_reads_reaches_the_file_of_a_go_destination(
    operator: Operator, source: Path, tmp_path: Path
) -> None:
    answer = operator.pipe(source, tmp_path / "export")
    assert answer["data"]["accepted"] == EVENTS
    lines = read_lines(tmp_path / "export")
    assert [line["source_event_id"] for line in lines] == [f"e{n}" for n in range(EVENTS)]
    assert len({line["id"] for line in lines}) == EVENTS
    assert lines[7]["record"] == {"number": 7, "text": "Grüße\n\u2028"}
    assert lines[7]["producer"] == "acme/source-connector@0.1.0"


def test_a_second_sync_adds_no_line(operator: Operator, source: Path, tmp_path: Path) -> None:
    operator.pipe(source, tmp_path / "export")
    before = (tmp_path / "export/aperio.jsonl").read_bytes()
    assert operator.pipe(source, tmp_path / "export")["data"]["accepted"] == EVENTS
    assert (tmp_path / "export/aperio.jsonl").read_bytes() == before


def test_an_installed_go_plugin_says_what_it_can_do(operator: Operator) -> None:
    data = operator.aperio("plugin", "run", PLUGIN, "capabilities")["data"]
    assert data["provider"] == "JSONL_FILE"
    assert [field["key"] for field in data["fields"]] == ["folder", "max_file_bytes", "window"]
    (listed,) = operator.aperio("plugin", "list", "--check")["data"]["plugins"]
    assert (listed["id"], listed["badge"]) == (PLUGIN, "local")


def test_a_go_project_runs_from_its_folder(
    operator: Operator, project: Path, tmp_path: Path
) -> None:
    envelope = {"id": "a", "kind": "event", "record": {}}
    answer = operator.aperio(
        "plugin", "run", str(project), "deliver", "--set", f"folder={tmp_path}",
        given=json.dumps({"type": "event", "envelope": envelope}) + "\n",
    )  # fmt: skip
    assert answer["data"]["accepted"] == 1
    assert [line["id"] for line in read_lines(tmp_path)] == ["a"]


def test_a_setting_that_the_go_plugin_refuses_is_told(operator: Operator, tmp_path: Path) -> None:
    answer = operator.aperio(
        "plugin", "run", PLUGIN, "deliver", "--set", "folder=not/absolute",
        given=json.dumps({"id": "a", "kind": "event", "record": {}}) + "\n", status=5,
    )  # fmt: skip
    assert "absolute path" in json.dumps(answer)
    assert list(tmp_path.iterdir()) == [tmp_path / "user-home"]
