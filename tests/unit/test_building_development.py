from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building import develop
from aperio_cli.errors import INCOMPATIBLE
from aperio_cli.errors.building import (
    DependencyDigestMismatch,
    InterpreterNotDeclared,
    ProjectInvalid,
)
from aperio_cli.files.writing import ASIDE_PREFIX
from aperio_cli.models.artifact import DevelopmentBuild, Interpreter
from tests.projects import NO_INDEX, TAG, make_project, make_wheel, write

if TYPE_CHECKING:
    from pathlib import Path

INTERPRETER = Interpreter(
    executable=os.path.realpath(sys.executable),
    version=".".join(map(str, sys.version_info[:3])),
    tag=TAG,
    base_prefix=sys.base_prefix,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = make_project(tmp_path / "project")
    write(folder, "plugin.py", "import client, one\nprint(client.NAME, one.NAME)\n")
    write(folder, "client.py", "NAME = 'first'\n")
    write(folder, "requirements.lock", make_wheel(folder / "vendor", "one"))
    return folder


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


def test_develop_uses_the_source_in_place(project: Path, tmp_path: Path) -> None:
    build = develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    write(project, "client.py", "NAME = 'second'\n")
    assert started(build) == "second one\n"


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


def test_develop_keeps_two_projects_with_one_lock_apart(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["cp", "-r", project, other], check=True, timeout=30)
    write(other, "client.py", "NAME = 'other'\n")
    first = develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    second = develop(other, tmp_path / "cache", INTERPRETER, NO_INDEX)
    assert first.dependencies == second.dependencies
    assert (started(first), started(second)) == ("first one\n", "other one\n")


def test_develop_repairs_a_starting_script_that_was_changed(project: Path, tmp_path: Path) -> None:
    first = develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)
    first.script.write_text("print('changed')\n")
    assert started(develop(project, tmp_path / "cache", INTERPRETER, NO_INDEX)) == "first one\n"


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
