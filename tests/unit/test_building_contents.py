from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building import contents
from aperio_cli.building.contents import project_files
from aperio_cli.errors import REFUSED
from aperio_cli.errors.building import ProjectInvalid
from aperio_cli.errors.files import TreeNotPlain
from tests.builders import nested
from tests.projects import write

if TYPE_CHECKING:
    from pathlib import Path


def packed(root: Path, *, without: Path | None = None) -> list[str]:
    return [file.name for file in project_files(root, without=without) if file.is_packed]


def test_python_files_are_packed_wherever_they_stand(tmp_path: Path) -> None:
    for name in ("plugin.py", "box/client.py", "box/deep/er.py"):
        write(tmp_path, name, "")
    assert packed(tmp_path) == ["box/client.py", "box/deep/er.py", "plugin.py"]


def test_other_files_are_packed_inside_packages_only(tmp_path: Path) -> None:
    for name in ("box/__init__.py", "box/py.typed", "box/data/roles.json", "data/notes.json"):
        write(tmp_path, name, "")
    write(tmp_path, "notes.txt", "")
    assert packed(tmp_path) == ["box/__init__.py", "box/data/roles.json", "box/py.typed"]


@pytest.mark.parametrize(
    "name",
    [
        ".git/hook.py",
        ".venv/lib/a.py",
        "__pycache__/a.py",
        "box/__pycache__/a.py",
        "box/tests/a.py",
        "build/a.py",
        "dist/a.py",
        "node_modules/a.py",
        "tests/a.py",
        "the.egg-info/a.py",
        "vendor/a.py",
        "conftest.py",
        "test_box.py",
        "box/test_box.py",
        "box/box_test.py",
        ".hidden.py",
        "box/.hidden.json",
        "box/a.pyc",
    ],
)
def test_files_that_are_no_part_of_the_plugin_are_not_packed(tmp_path: Path, name: str) -> None:
    write(tmp_path, "box/__init__.py", "")
    write(tmp_path, name, "")
    assert packed(tmp_path) == ["box/__init__.py"]


@pytest.mark.parametrize("name", ["box/build/a.py", "box/dist/a.py", "box/vendor/a.py"])
def test_folders_skipped_at_the_top_are_packed_below(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "")
    assert packed(tmp_path) == [name]


def test_a_virtual_environment_is_skipped_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, "my-python/pyvenv.cfg", "")
    write(tmp_path, "my-python/lib/a.py", "")
    assert packed(tmp_path) == []


def test_the_folder_for_artifacts_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, "out/a.py", "")
    assert packed(tmp_path, without=tmp_path / "out") == []


def test_test_code_is_marked_so(tmp_path: Path) -> None:
    write(tmp_path, "test_box.py", "")
    write(tmp_path, "box.py", "")
    assert [file.is_test for file in project_files(tmp_path)] == [False, True]


def test_a_link_to_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.py").symlink_to("/etc/hostname")
    with pytest.raises(TreeNotPlain) as caught:
        project_files(tmp_path)
    assert caught.value.exit_status == REFUSED
    assert "config.py  is a symbolic link" in caught.value.why


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to("/etc")
    with pytest.raises(TreeNotPlain):
        project_files(tmp_path)


def test_a_link_in_place_of_a_skipped_folder_is_skipped(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to("/nowhere")
    assert project_files(tmp_path) == ()


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(TreeNotPlain, match="neither a file nor a folder"):
        project_files(tmp_path)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(TreeNotPlain):
            project_files(tmp_path)


def test_a_folder_with_too_many_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_MAX_FILES", 3)
    for number in range(4):
        write(tmp_path, f"{number}.txt", "")
    with pytest.raises(ProjectInvalid, match="more than 3 files"):
        project_files(tmp_path)


@pytest.mark.parametrize(
    "name", ["box_test.go", "inner/box_test.go", "testdata/key", "a/testdata/b/k"]
)
def test_tests_of_go_are_test_code(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "")
    (file,) = project_files(tmp_path)
    assert (file.name, file.is_test, file.is_packed) == (name, True, False)


@pytest.mark.parametrize("name", ["box.go", "testdata", "test.go", "mytestdata/x"])
def test_other_files_of_a_go_project_are_none(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "")
    (file,) = project_files(tmp_path)
    assert (file.is_test, file.is_packed) == (False, False)


def test_test_data_inside_a_python_package_is_packed(tmp_path: Path) -> None:
    write(tmp_path, "box/__init__.py", "")
    write(tmp_path, "box/testdata/sample.json", "")
    assert all(file.is_packed for file in project_files(tmp_path))


@pytest.mark.parametrize("levels", [101, 1500, 3000])
def test_folders_nested_without_end_are_refused(tmp_path: Path, levels: int) -> None:
    with (
        nested(tmp_path, levels),
        pytest.raises(ProjectInvalid, match="nested more than 100 deep"),
    ):
        project_files(tmp_path)


def test_folders_nested_as_people_do_are_walked(tmp_path: Path) -> None:
    with nested(tmp_path, 100):
        assert len(project_files(tmp_path)) == 100


def test_folders_nested_in_what_is_skipped_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    with nested(tmp_path / "node_modules", 3000):
        assert project_files(tmp_path) == ()
