"""The rendered Go project, judged by the tools that its author would use."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from aperio_cli.archive import reading, unpacking
from aperio_cli.building import BuildRequest, build, check_reproducible, load_project
from aperio_cli.models.manifest import KINDS
from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from tests.go_projects import CACHE, COMPILED, OFFLINE, require_go
from tests.projects import HERE, ROOT, snapshot
from tests.templates.workflows import epoch_of_build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPLATE = ROOT / "plugin_templates/go"
SDK = "github.com/writer/aperio-plugin-go"
MODULES = {
    "short": "github.com/acme/aperio-plugin-x",
    "words": "github.com/acme/aperio-plugin-google-workspace",
    "long": "github.com/acme/aperio-plugin-" + "-".join(["abcdefghi"] * 4),
}
PINNED_ACTION = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def make(folder: Path, kind: str = "connector", module: str = MODULES["words"]) -> Path:
    return scaffold(ScaffoldRequest(module, kind=kind, language="go", output=folder)).path


@pytest.fixture(params=KINDS)
def project(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A project of each kind, in one place: there Go has compiled its copy of the SDK before."""
    folder = tmp_path_factory.getbasetemp() / "go-template"
    yield make(folder, request.param)
    shutil.rmtree(folder)


def go(project: Path, *words: str) -> str:
    """Runs go, or a tool beside it, as the author would, without a network."""
    require_go(with_modules=True)
    environment = {
        **OFFLINE,
        "HOME": os.environ["HOME"],
        "GOMODCACHE": str(CACHE / "go"),
        "GOCACHE": str(COMPILED),
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",  # as `make setup` has compiled the modules
        # As `build` compiles: without it, what is compiled counts for this very folder only.
        "GOFLAGS": "-trimpath",
    }
    ran = subprocess.run(
        words, cwd=project, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.go
@pytest.mark.timeout(400)
def test_rendered_project_is_vetted_and_passes_its_own_tests(project: Path) -> None:
    """That it can be linked is seen below, where it is built."""
    go(project, "go", "vet", "./...")
    assert go(project, "go", "test", "./...").startswith("ok")


@pytest.mark.go
def test_rendered_projects_are_formatted(tmp_path: Path) -> None:
    files = []
    for kind, (length, module) in itertools.product(KINDS, MODULES.items()):
        found = sorted(make(tmp_path / f"{kind}-{length}", kind, module).glob("*.go"))
        names = {"plugin.go", f"{kind}.go", f"{kind}_test.go"}
        assert {path.name for path in found} == names
        files += [str(path) for path in found]
    assert go(tmp_path, "go", "run", "cmd/gofmt", "-l", *files) == ""
    broken = tmp_path / "broken.go"
    broken.write_text("package  x\n")
    assert go(tmp_path, "go", "run", "cmd/gofmt", "-l", str(broken)).split() == [str(broken)]


@pytest.mark.go
def test_go_mod_requires_what_is_imported_and_nothing_else(project: Path) -> None:
    form = "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}"
    imported = set(go(project, "go", "list", "-deps", "-test", "-f", form, "./...").split())
    found = json.loads(go(project, "go", "mod", "edit", "-json"))
    direct = {item["Path"] for item in found["Require"] if not item.get("Indirect")}
    assert {item["Path"] for item in found["Require"]} == imported
    assert direct == {SDK}


@pytest.mark.go
def test_dropping_the_replace_asks_for_the_published_sdk(tmp_path: Path) -> None:
    project = make(tmp_path / "project")
    go(project, "go", "mod", "edit", f"-dropreplace={SDK}")
    found = json.loads(go(project, "go", "mod", "edit", "-json"))
    assert not found.get("Replace")
    assert SDK in {required["Path"] for required in found["Require"]}


@pytest.mark.go
@pytest.mark.timeout(400)
def test_rendered_project_can_be_built_at_once(project: Path, tmp_path: Path) -> None:
    require_go(with_modules=True)
    loaded = load_project(project)
    request = BuildRequest(loaded, (HERE,), tmp_path / "out", (), OFFLINE, CACHE, COMPILED)
    (artifact,) = build(request)
    with artifact.path.open("rb") as file:
        packed = {record.path for record in reading.walk(file)}
        file.seek(0)
        unpacking.unpack(file, tmp_path / "tree")
    program = f"bin/{loaded.manifest.entrypoint}"
    assert packed == {"manifest.yaml", "sbom.cdx.json", "LICENSE", "README.md", program}
    ran = subprocess.run(
        [tmp_path / "tree" / program],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False, env={},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "plugin" in ran.stderr


@pytest.mark.go
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rendered_project_gives_the_same_bytes_from_another_folder(tmp_path: Path) -> None:
    require_go(with_modules=True)
    project = make(tmp_path / "project")
    request = BuildRequest(load_project(project), (HERE,), tmp_path / "out", (), OFFLINE, CACHE)
    check_reproducible(request, build(replace(request, compile_cache=COMPILED)))


def test_rendered_project_has_the_documented_files(project: Path) -> None:
    kind = load_project(project).manifest.kind
    own = {name for name in snapshot(project) if not name.startswith("third_party/")}
    assert own == {
        ".github/aperio/aperio.lock",
        ".github/aperio/aperio_plugin_sdk-0.1.0-py3-none-any.whl",
        ".github/workflows/release.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        f"{kind}.go",
        f"{kind}_test.go",
        "go.mod",
        "go.sum",
        "manifest.yaml",
        "plugin.go",
    }


def test_rendered_project_carries_the_sdk_without_its_tests(project: Path) -> None:
    carried = {
        name.removeprefix("third_party/aperio-plugin-go/")
        for name in snapshot(project)
        if name.startswith("third_party/")
    }
    assert {"go.mod", "LICENSE", "connector/connector.go", "plugintest/plugintest.go"} <= carried
    assert not [name for name in carried if name.endswith("_test.go") or "testdata" in name]


def test_scaffold_gives_the_same_bytes_every_time(project: Path, tmp_path: Path) -> None:
    again = make(tmp_path / "again", load_project(project).manifest.kind)
    assert snapshot(again) == snapshot(project)


def test_rendered_files_hold_nothing_unrendered(project: Path) -> None:
    for name, data in snapshot(project).items():
        if name.startswith(".github/aperio/"):
            continue
        assert b"cookiecutter" not in data, name
        assert b"{%" not in data, name
        # What a workflow expands itself stands as ${{ … }}; `}}` ends literals in Go.
        assert not re.search(rb"(?<!\$)\{\{ ", data), name


def test_template_variables_are_those_that_scaffolding_gives() -> None:
    declared = set(json.loads((TEMPLATE / "cookiecutter.json").read_text()))
    used = {
        name
        for path in TEMPLATE.rglob("*")
        if path.is_file()
        for name in re.findall(r"cookiecutter\.(\w+)", path.read_text() + str(path))
        if name != "json"
    }
    assert used == declared
    assert not (TEMPLATE / "hooks").exists()


@pytest.fixture
def workflow(tmp_path: Path) -> dict[str, Any]:
    text = (make(tmp_path / "flow") / ".github/workflows/release.yml").read_text()
    assert all(PINNED_ACTION.fullmatch(action) for action in re.findall(r"uses: (.*)", text))
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def test_workflow_has_no_permission_but_what_each_job_needs(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        "test": {"contents": "read"},
        "build": {"contents": "read"},
        "sign": {"contents": "read", "id-token": "write"},
        "publish": {"contents": "write"},
    }


def test_workflow_uses_no_secret_and_pastes_no_expression_into_a_script(
    workflow: dict[str, Any],
) -> None:
    assert "secrets" not in str(workflow)
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")


def test_workflow_runs_nothing_of_the_project_where_it_can_sign(workflow: dict[str, Any]) -> None:
    sign = str(workflow["jobs"]["sign"]["steps"])
    assert "'sparse-checkout': '/.github/aperio/'" in sign
    assert "setup-go" not in sign
    assert "go test" not in sign
    assert "aperio plugin sign dist" in sign
    assert "dist/*.intoto.jsonl" in str(workflow["jobs"]["publish"]["steps"])


def test_workflow_builds_for_every_platform(workflow: dict[str, Any]) -> None:
    steps = str(workflow["jobs"]["build"]["steps"])
    for platform in ("linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64"):
        assert f"--platform {platform}" in steps


def test_workflow_states_the_time_of_the_commit(workflow: dict[str, Any], tmp_path: Path) -> None:
    assert epoch_of_build(workflow, tmp_path / "built", 1_600_000_000) == "1600000000"
