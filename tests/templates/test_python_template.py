"""The rendered project, judged by the tools that its author would use."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from aperio_cli import scaffolding
from aperio_cli.archive import reading, unpacking
from aperio_cli.building import BuildRequest, build, load_project
from aperio_cli.building.lock import read_lock
from aperio_cli.models.manifest import KINDS
from aperio_cli.models.platform import Platform
from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from tests.projects import HERE, ROOT, SDK, TAG, WHEELS, snapshot
from tests.templates.workflows import epoch_of_build

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.artifact import Artifact

TEMPLATE = ROOT / "plugin_templates/python"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELS)}
MODULES = {
    "short": "github.com/acme/aperio-plugin-x",
    "words": "github.com/acme/aperio-plugin-google-workspace",
    # The longest name there may be: lines that hold it must still fit.
    "long": "github.com/acme/aperio-plugin-" + "-".join(["abcdefghi"] * 4),
}
PINNED_ACTION = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> str:
    return MODULES[request.param]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def project(module: str, kind: str, tmp_path: Path) -> Path:
    return scaffold(ScaffoldRequest(module, kind=kind, output=tmp_path / "project")).path


@pytest.fixture
def of_each_kind(kind: str, tmp_path: Path) -> Path:
    module = "github.com/acme/aperio-plugin-box"
    return scaffold(ScaffoldRequest(module, kind=kind, output=tmp_path / "box")).path


@pytest.fixture
def box(tmp_path: Path) -> Path:
    module = "github.com/acme/aperio-plugin-box"
    return scaffold(ScaffoldRequest(module, output=tmp_path / "box")).path


def tool(project: Path, *words: str) -> str:
    """Runs a tool of this environment in the project; gives its output, fails with it."""
    ran = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=project,
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "PYTHONPATH": str(SDK),
            "MYPYPATH": str(SDK),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_rendered_projects_are_clean_for_ruff(tmp_path: Path) -> None:
    """Each by the settings in its own folder, as ruff does where it is started above them."""
    for kind, (length, module) in itertools.product(KINDS, MODULES.items()):
        scaffold(ScaffoldRequest(module, kind=kind, output=tmp_path / f"{kind}-{length}"))
    tool(tmp_path, "ruff", "check", "--no-cache", ".")
    tool(tmp_path, "ruff", "format", "--no-cache", "--check", ".")
    broken = tmp_path / "connector-long" / "broken.py"
    broken.write_text("import os\n")
    with pytest.raises(AssertionError, match="F401"):
        tool(tmp_path, "ruff", "check", "--no-cache", ".")


MYPY = ("mypy", "--follow-imports=silent", "--cache-dir")


@pytest.fixture(scope="module")
def imported_types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mypy's cache of what the projects import, which takes longer than to check one of them."""
    folder = tmp_path_factory.mktemp("mypy")
    module = "github.com/acme/aperio-plugin-box"
    # In a project, because what its settings are is a part of what is remembered.
    project = scaffold(ScaffoldRequest(module, output=folder / "box")).path
    imports = "import aperio_plugin, aperio_plugin.testing, http.server, pytest"
    tool(project, *MYPY, str(folder / "cache"), "-c", imports)
    return folder / "cache"


def test_rendered_project_is_clean_for_mypy(
    of_each_kind: Path, imported_types: Path, tmp_path: Path
) -> None:
    # A cache of its own: each kind has a module `plugin`, and mypy mixes those of two up.
    cache = str(shutil.copytree(imported_types, tmp_path / "cache"))
    tool(of_each_kind, *MYPY, cache, ".")
    (of_each_kind / "broken.py").write_text("import plugin\n\nplugin.main(7)\n")
    with pytest.raises(AssertionError, match=r"broken\.py:3: error: "):
        tool(of_each_kind, *MYPY, cache, ".")


TESTS = {"connector": 13, "remediation": 17, "destination": 21}


def test_rendered_project_passes_its_own_tests(of_each_kind: Path, kind: str) -> None:
    output = tool(of_each_kind, "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert f"{TESTS[kind]} passed" in output


def test_rendered_project_can_be_built_at_once_and_started_by_hand(
    box: Path, tmp_path: Path
) -> None:
    (artifact,) = build(BuildRequest(load_project(box), (HERE,), tmp_path / "out", (), OFFLINE))
    with artifact.path.open("rb") as file:
        packed = {record.path for record in reading.walk(file)}
    assert {"lib/app/plugin.py", "lib/app/connector.py"} <= packed
    assert "lib/app/test_connector.py" not in packed
    assert f"lib/{TAG}/aperio_plugin/connector.py" in packed
    assert f"lib/{TAG}/grpc/__init__.py" in packed
    assert_tells_a_person_who_starts_it_by_hand(artifact, tmp_path / "tree")


def test_rendered_project_can_be_built_for_another_architecture(box: Path, tmp_path: Path) -> None:
    other = Platform("linux", "arm64" if HERE.arch == "amd64" else "amd64")
    if not list(WHEELS.glob(f"grpcio-*-{TAG}-*_{MACHINES[other.arch]}.whl")):
        pytest.skip("the wheel cache has no wheels for another architecture")
    (artifact,) = build(BuildRequest(load_project(box), (other,), tmp_path / "out", (), OFFLINE))
    with artifact.path.open("rb") as file:
        libraries = [r.path for r in reading.walk(file) if r.path.endswith(".so")]
    assert libraries
    assert all(MACHINES[HERE.arch] not in path for path in libraries)


MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def assert_tells_a_person_who_starts_it_by_hand(artifact: Artifact, tree: Path) -> None:
    with artifact.path.open("rb") as file:
        unpacking.unpack(file, tree)
    ran = subprocess.run(
        [tree / "bin/box-connector"],
        capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL, env={"PATH": os.defpath, "APERIO_PYTHON": sys.executable},
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
    assert ran.stderr


def test_rendered_files_hold_nothing_unrendered(project: Path) -> None:
    for name, data in snapshot(project).items():
        if not name.startswith(("vendor/", ".github/aperio/")):
            assert b"cookiecutter" not in data, name
            assert b"{%" not in data, name
            # What a workflow expands itself stands as ${{ … }}.
            assert not re.search(rb"(?<!\$)\{\{", data), name


def test_template_variables_are_those_that_scaffolding_gives(box: Path) -> None:
    declared = set(json.loads((TEMPLATE / "cookiecutter.json").read_text()))
    used = {
        name
        for path in TEMPLATE.rglob("*")
        if path.is_file()
        for name in re.findall(r"cookiecutter\.(\w+)", path.read_text() + str(path))
        if name != "json"
    }
    assert used == declared
    assert box.is_dir()


def test_template_has_no_hooks() -> None:
    assert not (TEMPLATE / "hooks").exists()


def test_lock_has_wheels_for_every_interpreter_it_claims(box: Path) -> None:
    pins = {pin.name: pin for pin in read_lock(box).pins}
    assert set(pins) == {
        *("aperio-plugin-sdk", "grpcio", "msgspec", "protobuf", "python-rapidjson"),
        "typing-extensions",
    }
    # Two architectures of Linux and universal wheels of macOS for each interpreter.
    assert len(pins["grpcio"].digests) == 3 * len(scaffolding.LOCKED_TAGS)
    for name in ("msgspec", "python-rapidjson"):  # no universal ones
        assert len(pins[name].digests) == 4 * len(scaffolding.LOCKED_TAGS)
    assert "http" not in (box / "requirements.lock").read_text()


@pytest.fixture
def workflow(box: Path) -> dict[str, Any]:
    text = (box / ".github/workflows/release.yml").read_text()
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def test_workflow_pins_every_action_by_commit(box: Path) -> None:
    text = (box / ".github/workflows/release.yml").read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert len(uses) == 10
    assert all(PINNED_ACTION.fullmatch(action) for action in uses)


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
    steps = workflow["jobs"]["sign"]["steps"]
    (checkout,) = (step["with"] for step in steps if "checkout" in step.get("uses", ""))
    assert checkout["sparse-checkout"] == "/.github/aperio/"
    installed, compared, signed = (step["run"] for step in steps if "run" in step)
    assert installed == INSTALL
    assert "sha256sum" in compared
    assert signed == "aperio plugin sign dist"


def test_workflow_builds_with_hash_locked_packages_only(workflow: dict[str, Any]) -> None:
    """What the tests install stays in their job."""
    scripts = [step["run"] for step in workflow["jobs"]["build"]["steps"] if "run" in step]
    assert [script for script in scripts if "install" in script] == [INSTALL]


INSTALL = (
    "python -I -m pip install --require-hashes --only-binary :all: -r .github/aperio/aperio.lock\n"
)


def test_workflow_publishes_everything_that_signing_makes(workflow: dict[str, Any]) -> None:
    release = str(workflow["jobs"]["publish"]["steps"][-1])
    assert all(f"dist/*{end}" in release for end in (".tar.gz", ".sigstore.json", ".intoto.jsonl"))


@pytest.mark.parametrize(
    ("version", "tag", "passes"),
    [("0.1.0", "v0.1.0", True), ('"0.1.0"', "v0.1.0", True), ("0.1.0", "v0.1.1", False)],
)
def test_workflow_compares_the_tag_with_the_manifest(
    box: Path, workflow: dict[str, Any], version: str, tag: str, *, passes: bool
) -> None:
    manifest = box / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("version: 0.1.0", f"version: {version}"))
    (script,) = (
        step["run"]
        for step in workflow["jobs"]["test"]["steps"]
        if "manifest.yaml" in step.get("run", "")
    )
    environment = {"PATH": os.defpath, "GITHUB_REF_NAME": tag}
    ran = subprocess.run(
        ["bash", "-e", "-c", script], cwd=box, env=environment, timeout=30, check=False
    )
    assert (ran.returncode == 0) is passes


def test_workflow_states_the_time_of_the_commit(workflow: dict[str, Any], tmp_path: Path) -> None:
    assert epoch_of_build(workflow, tmp_path / "built", 1_600_000_000) == "1600000000"
