from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building import BuildRequest, build, develop, load_project
from aperio_cli.building.closure import check_closure, check_roots
from aperio_cli.building.dependencies import Target
from aperio_cli.building.lock import parse_lock, read_lock
from aperio_cli.building.pyproject import read_pyproject
from aperio_cli.errors.building import LockInconsistent, LockInvalid, ProjectInvalid
from aperio_cli.machine.interpreters import choose_interpreter
from aperio_cli.models.platform import Platform
from tests.forking import forked_pip
from tests.projects import HERE, NO_INDEX, TAG, make_project, make_wheel, write
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.building.lock import Lock

HASH = f"--hash=sha256:{'a' * 64}"
LINUX = Target("cp311", Platform("linux", "amd64"))


@pytest.fixture(scope="module", autouse=True)
def _forked_pip() -> Iterator[None]:
    """Fork pip: its start is most of a build, and tests/security/test_executions.py has it."""
    with forked_pip():
        yield


def a_lock(*pins: str) -> Lock:
    return parse_lock("".join(f"{pin} {HASH}\n" for pin in pins).encode(), Path("lock"))


def pyproject(folder: Path, *dependencies: str, more: str = "") -> None:
    write(
        folder,
        "pyproject.toml",
        f'[project]\nname = "box"\ndependencies = {list(dependencies)!r}\n{more}',
    )


# ── what pyproject.toml asks for ──────────────────────────────────────────────────────────────────


@each_row(
    ("asked", "locked", "problem"),
    [
        ("one", ("one==1",), ""),
        ("One_Two>=1,<2", ("one-two==1.5",), ""),
        ("one>=1", ("one==1.2.3+local.1",), ""),
        ("one==1.2.3", ("one==1.2.3+local.1",), ""),
        ("one>=1", ("one==2.0rc1",), ""),
        ("one[extra]>=1", ("one==1",), ""),
        ("one; python_version < '3.11'", (), ""),
        ("one; sys_platform == 'win32'", (), ""),
        ("one; platform_machine == 'aarch64'", (), ""),
        ("one; python_full_version < '3.11.3'", (), ""),
        ("one @ https://acme.test/one.whl", ("one==1",), ""),
        ("box[dev]", (), ""),
        ("one", (), "pyproject.toml needs one, which is not there"),
        ("one", ("two==1",), "pyproject.toml needs one, which is not there"),
        ("one>=2", ("one==1.5",), "pyproject.toml needs one>=2, and 1.5 is there"),
        ("one==1.2.3+other", ("one==1.2.3+local.1",), "and 1.2.3+local.1 is there"),
        ("one; python_version >= '3.11'", (), "which is not there"),
        ("one; sys_platform == 'linux'", (), "which is not there"),
        ("one; platform_machine == 'x86_64'", (), "which is not there"),
        ("one @ https://acme.test/one.whl", (), "which is not there"),
    ],
)
def test_what_the_project_asks_for_is_locked(
    asked: str, locked: tuple[str, ...], problem: str, tmp_path: Path
) -> None:
    pyproject(tmp_path, asked)
    wanted = read_pyproject(tmp_path).dependencies
    if not problem:
        check_roots(tmp_path, a_lock(*locked), wanted, LINUX)
        return
    with pytest.raises(LockInconsistent) as caught:
        check_roots(tmp_path, a_lock(*locked), wanted, LINUX)
    assert problem in caught.value.why
    assert "uv pip compile" in caught.value.next[0]


@each_row("text", ["", "[tool.other]\n", "[project]\nname = 'x'\ndynamic = ['dependencies']\n"])
def test_a_project_need_not_state_its_dependencies(text: str, tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", text)
    assert read_pyproject(tmp_path).dependencies == ()
    (tmp_path / "pyproject.toml").unlink()
    assert read_pyproject(tmp_path).dependencies == ()


@each_row(
    ("text", "why"),
    [
        ("[project", "it is not TOML"),
        ("project = 1", "`project`"),
        ("[project]\ndependencies = 'one'", "`project.dependencies`"),
        ("[project]\ndependencies = ['one ~~ 2']", "`project.dependencies`: one ~~ 2"),
        ("[project]\nrequires-python = 'three'", "`project.requires-python`"),
        ("[project]\nversion = 3", "`project.version`"),
    ],
)
def test_a_pyproject_that_is_none_is_refused(text: str, why: str, tmp_path: Path) -> None:
    write(tmp_path, "pyproject.toml", text)
    with pytest.raises(ProjectInvalid) as caught:
        read_pyproject(tmp_path)
    assert why in caught.value.why
    assert "pyproject.toml" in caught.value.what


# ── what the packages ask for ─────────────────────────────────────────────────────────────────────


@each_row(
    ("metadata", "pins", "problem"),
    [
        ({"one": ["two>=1"]}, ("one==1", "two==1"), ""),
        ({"one": ["Two_X"]}, ("one==1", "two.x==1"), ""),
        ({"one": ["two; extra == 'more'"]}, ("one==1",), ""),
        ({"one": ["two; python_version < '3'"]}, ("one==1",), ""),
        ({"one": ["this is no requirement"]}, ("one==1",), ""),
        ({"one": ["two"]}, ("one==1",), "one 1 needs two, which is not there"),
        ({"one": ["two"], "two": ["three<2"]}, ("one==1", "two==1"), "two 1 needs three<2"),
        ({"one": ["two>=2"]}, ("one==1", "two==1"), "one 1 needs two>=2, and 1 is there"),
        ({"one": ["two; extra == 'more'"]}, ("one[more]==1",), "one 1 needs two"),
        ({"one": ["two[x]"], "two": ["three; extra == 'x'"]}, ("one==1", "two==1"), "three"),
        ({"root": [], "one": ["two; extra == 'more'"]}, ("one==1", "root==1"), "one 1 needs two"),
    ],
)
def test_the_lock_is_closed(
    metadata: dict[str, list[str]], pins: tuple[str, ...], problem: str, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    for name, requires in metadata.items():
        lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{lines}"
        write(library, f"{name}-1.dist-info/METADATA", text)
    pyproject(tmp_path, *(["one[more]"] if "root" in metadata else []))
    wanted = read_pyproject(tmp_path).dependencies
    if not problem:
        check_closure(tmp_path, a_lock(*pins), wanted, LINUX, library)
        return
    with pytest.raises(LockInconsistent) as caught:
        check_closure(tmp_path, a_lock(*pins), wanted, LINUX, library)
    assert problem in caught.value.why


# ── whole builds ──────────────────────────────────────────────────────────────────────────────────


def request_for(project: Path, out: Path) -> BuildRequest:
    return BuildRequest(load_project(project), (HERE,), out, environment=NO_INDEX)


def test_build_takes_a_local_version(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    line = make_wheel(project / "vendor", "one", version="1.2.3+local.1")
    write(project, "requirements.lock", line)
    pyproject(project, "one>=1.2")
    (artifact,) = build(request_for(project, tmp_path / "out"))
    assert artifact.size > 0


def test_build_refuses_a_lock_that_is_not_closed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    lines = [
        make_wheel(project / "vendor", "one"),
        make_wheel(project / "vendor", "three", requires=("two",)),
    ]
    write(project, "requirements.lock", "".join(lines))
    with pytest.raises(LockInconsistent) as caught:
        build(request_for(project, tmp_path / "out"))
    assert caught.value.why.startswith("three 1.0 needs")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_not_run_without_what_it_asks_for(tmp_path: Path) -> None:
    """Also when its dependencies have been installed before."""
    project = make_project(tmp_path / "project")
    interpreter = choose_interpreter([TAG], [sys.executable], subject="it")
    develop(project, tmp_path / "cache", interpreter, NO_INDEX)
    pyproject(project, "one")
    with pytest.raises(LockInconsistent):
        develop(project, tmp_path / "cache", interpreter, NO_INDEX)


# ── the command that messages suggest ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("broken", ["one>=1\n", ""])
def test_the_suggested_command_mends_the_lock(broken: str, tmp_path: Path) -> None:
    """Typed as it is shown; `one` is in vendor/ only, as the SDK is."""
    project = make_project(tmp_path / "project")
    make_wheel(project / "vendor", "one", requires=("two",))
    make_wheel(project / "vendor", "two")
    pyproject(project, "one", more='version = "1.2.3"\n')
    write(project, "requirements.lock", broken)
    with pytest.raises((LockInvalid, LockInconsistent)) as caught:
        build(request_for(project, tmp_path / "out"))
    (command,) = re.findall("`(.+)`", caught.value.next[0])
    uv = Path(sys.executable).with_name("uv")
    words = [str(uv), *shlex.split(command)[1:]]
    ran = subprocess.run(
        words, cwd=project, capture_output=True, text=True, timeout=60, check=False,
        env={"UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_NO_CONFIG": "1", "HOME": str(tmp_path),
             "UV_PYTHON_DOWNLOADS": "never", "PATH": str(Path(sys.executable).parent)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert [pin.name for pin in read_lock(project).pins] == ["one", "two"]
    assert build(request_for(project, tmp_path / "out"))
