from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.archive import reading as reading_of
from aperio_cli.archive import unpacking
from aperio_cli.building import BuildRequest, build, develop, load_project
from aperio_cli.commands.plugin.showing import tell_left_out
from aperio_cli.errors import INCOMPATIBLE
from aperio_cli.errors.building import (
    DependencyDigestMismatch,
    InterpreterNotDeclared,
    ProjectInvalid,
)
from aperio_cli.files.writing import ASIDE_PREFIX
from aperio_cli.models.artifact import DevelopmentBuild, Interpreter
from aperio_cli.output import Output
from tests.forking import forked_pip
from tests.projects import HERE, NO_INDEX, TAG, make_project, make_wheel, write

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERPRETER = Interpreter(
    executable=os.path.realpath(sys.executable),
    version=".".join(map(str, sys.version_info[:3])),
    tag=TAG,
    base_prefix=sys.base_prefix,
)


@pytest.fixture(scope="module", autouse=True)
def _forked_pip() -> Iterator[None]:
    """Fork pip: its start is most of a build, and tests/security/test_executions.py has it."""
    with forked_pip():
        yield


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path / "project")


def make(place: Path) -> Path:
    folder = make_project(place)
    write(folder, "plugin.py", "import client, one\nprint(client.NAME, one.NAME)\n")
    write(folder, "client.py", "NAME = 'first'\n")
    write(folder, "requirements.lock", make_wheel(folder / "vendor", "one"))
    return folder


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that has the project's dependencies; pip takes longer than all the rest."""
    root = tmp_path_factory.mktemp("furnished")
    develop(make(root / "project"), root / "cache", INTERPRETER, NO_INDEX)
    return root / "cache"


@pytest.fixture
def cache(furnished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(furnished, tmp_path / "cache", symlinks=True))


def started(build: DevelopmentBuild) -> str:
    command = [INTERPRETER.executable, "-I", "-B", str(build.script)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return ran.stdout


def library_of(build: DevelopmentBuild) -> Path:
    assert build.dependencies
    return build.dependencies


def test_develop_makes_the_folder_runnable(project: Path, tmp_path: Path) -> None:
    build = develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    assert started(build) == "first one\n"
    assert (build.project.path, build.interpreter) == (project, INTERPRETER)
    assert library_of(build).is_dir()


def test_develop_takes_what_was_changed(project: Path, cache: Path) -> None:
    develop(project, cache, INTERPRETER, NO_INDEX)
    write(project, "client.py", "NAME = 'second'\n")
    assert started(develop(project, cache, INTERPRETER, NO_INDEX)) == "second one\n"


# What a plugin can reach by its own path, and what it cannot: as where it is installed.
REACHED = {
    "mapping.json": "map",
    "schemas/event.json": "map",
    "data/map.json": "map",
    "box/data/roles.json": "map",
    "vendor/names.json": "map",
    "build/map.json": "map",
    "tests/map.json": "missing",
    ".hidden.json": "missing",
    "logs/map.json": "missing",
    "link.json": "missing",
    "README.md": "missing",
}
READ = """
import json, pathlib
import build.tool, vendor.tool, x_test
here = pathlib.Path(__file__).resolve().parent
names = NAMES
print(json.dumps({n: (here / n).read_text() if (here / n).exists() else "missing" for n in names}))
"""


@pytest.fixture(name="reading")
def _reading(tmp_path: Path) -> Path:
    """A project that reads what is beside its code, and has modules of every name."""
    folder = make_project(tmp_path / "reading")
    write(folder, "plugin.py", READ.replace("NAMES", repr(list(REACHED))))
    for name in REACHED.keys() - {"link.json", "README.md"}:
        write(folder, name, "map")
    for name in ("build/__init__.py", "build/tool.py", "vendor/tool.py", "x_test.py"):
        write(folder, name, "")
    (folder / "link.json").symlink_to("mapping.json")
    write(folder, ".aperioignore", "logs/\n")
    return folder


def test_what_runs_in_the_folder_runs_where_it_is_installed(reading: Path, tmp_path: Path) -> None:
    in_folder = started(develop(reading, tmp_path / "cache", INTERPRETER, NO_INDEX))
    (artifact,) = build(
        BuildRequest(load_project(reading), (HERE,), tmp_path / "out", environment=NO_INDEX)
    )
    with artifact.path.open("rb") as file:
        unpacking.unpack(file, tmp_path / "unpacked")
    script = str(tmp_path / "unpacked/bin/box-connector.py")
    command = [INTERPRETER.executable, "-I", "-B", script]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(in_folder) == json.loads(installed.stdout) == REACHED


@pytest.mark.parametrize("is_verbose", [False, True])
def test_what_is_left_out_of_a_run_is_told_when_asked_for(
    reading: Path, tmp_path: Path, *, is_verbose: bool
) -> None:
    made = develop(reading, tmp_path / "cache", INTERPRETER, NO_INDEX)
    said = io.StringIO()
    tell_left_out(Output(verbose=is_verbose, stderr=said), made)
    told = "left out, as of an artifact: .aperioignore, .hidden.json, link.json, logs/, tests/"
    assert (told in said.getvalue()) is is_verbose


def test_develop_keeps_modes_as_a_build_does(reading: Path, tmp_path: Path) -> None:
    for name, text in {"helper": "#!/bin/sh\n", "tool.py": "#!/bin/sh\n", "raw": "x"}.items():
        write(reading, f"box/{name}", text).chmod(0o700)
    (artifact,) = build(
        BuildRequest(load_project(reading), (HERE,), tmp_path / "out", environment=NO_INDEX)
    )
    with artifact.path.open("rb") as file:
        packed = {each.path: each.mode for each in reading_of.walk(file)}
    view = develop(reading, tmp_path / "cache", INTERPRETER, NO_INDEX).script.parents[1]
    modes = {
        path.relative_to(view / "app").as_posix(): path.stat().st_mode & 0o777
        for path in (view / "app").rglob("*")
        if path.is_file()
    }
    assert {f"lib/app/{name}": mode for name, mode in modes.items()} == {
        path: mode for path, mode in packed.items() if path.startswith("lib/app/")
    }
    assert (modes["box/helper"], modes["box/tool.py"], modes["box/raw"]) == (0o755, 0o644, 0o644)


@pytest.mark.parametrize("change", ["changed", "added", "removed", "link"])
def test_develop_repairs_a_copy_that_a_plugin_changed(
    project: Path, cache: Path, change: str
) -> None:
    first = develop(project, cache, INTERPRETER, NO_INDEX)
    client = first.script.parents[1] / "app" / "client.py"
    if change == "added":
        write(client.parent, "one.py", "NAME = 'added'\n")
    elif change == "changed":
        client.write_text("NAME = 'changed'\n")
    else:
        client.unlink()
    if change == "link":
        client.symlink_to("/nowhere")
    second = develop(project, cache, INTERPRETER, NO_INDEX)
    assert (second.script, started(second)) == (first.script, "first one\n")


def test_develop_keeps_the_latest_copies_only(project: Path, cache: Path) -> None:
    for number in range(4):
        write(project, "client.py", f"NAME = {number}\n")
        develop(project, cache, INTERPRETER, NO_INDEX)
    write(project, "client.py", "NAME = 4\n")
    made = develop(project, cache, INTERPRETER, NO_INDEX)
    assert len(list(made.script.parents[2].iterdir())) == 3
    assert started(made) == "4 one\n"


def test_develop_leaves_the_project_clean(project: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in project.rglob("*"))
    started(develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX))
    assert sorted(path.name for path in project.rglob("*")) == before


def test_develop_installs_a_lock_once(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # pip can no longer be started
    second = develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    assert (first.dependencies, first.script) == (second.dependencies, second.script)


def test_develop_writes_bytecode_for_the_interpreter(project: Path, tmp_path: Path) -> None:
    build = develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    assert list(library_of(build).glob("__pycache__/one.*.pyc"))


def test_develop_installs_again_for_another_lock(project: Path, tmp_path: Path) -> None:
    first = develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    with (project / "requirements.lock").open("a") as file:
        file.write(make_wheel(project / "vendor", "two"))
    second = develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    assert first.dependencies != second.dependencies
    assert (library_of(second) / "two.py").is_file()


def test_develop_keeps_two_projects_with_one_lock_apart(
    project: Path, cache: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-r", project, other], check=True, timeout=30)
    write(other, "client.py", "NAME = 'other'\n")
    first = develop(project, cache, INTERPRETER, NO_INDEX)
    second = develop(other, cache, INTERPRETER, NO_INDEX)
    assert first.dependencies == second.dependencies
    assert (started(first), started(second)) == ("first one\n", "other one\n")


def test_develop_repairs_a_starting_script_that_was_changed(project: Path, cache: Path) -> None:
    first = develop(project, cache, INTERPRETER, NO_INDEX)
    first.script.write_text("print('changed')\n")
    assert started(develop(project, cache, INTERPRETER, NO_INDEX)) == "first one\n"


def test_develop_run_twice_at_once_gives_one_library(project: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(develop, project, tmp_path / "cache", INTERPRETER, NO_INDEX)
            for _ in range(2)
        ]
        libraries = {run.result(timeout=60).dependencies for run in runs}
    assert len(libraries) == 1
    assert not list((tmp_path / "cache/development").glob(f"{ASIDE_PREFIX}*"))


def test_develop_leaves_nothing_when_a_dependency_is_refused(project: Path, tmp_path: Path) -> None:
    make_wheel(project / "vendor", "one", {"one.py": "changed\n"})
    with pytest.raises(DependencyDigestMismatch):
        develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    assert list((tmp_path / "cache/development").iterdir()) == []


def test_develop_refuses_an_interpreter_that_is_not_declared(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", tags=("cp398",))
    with pytest.raises(InterpreterNotDeclared) as caught:
        develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    assert caught.value.exit_status == INCOMPATIBLE
    assert "cp398" in caught.value.why
    assert not (tmp_path / "cache").exists()


def test_develop_refuses_what_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectInvalid):
        develop(tmp_path, tmp_path / "cache", INTERPRETER, NO_INDEX)
    assert not (tmp_path / "cache").exists()
