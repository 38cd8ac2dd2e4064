from __future__ import annotations

import itertools
import os
import socket
from typing import TYPE_CHECKING

import pytest

from aperio_cli.archive.rules import UnpackLimits
from aperio_cli.building import contents
from aperio_cli.building.contents import select
from aperio_cli.errors import REFUSED
from aperio_cli.errors.building import ProjectInvalid
from aperio_cli.errors.files import MemberUnfit, TreeNotPlain
from tests.builders import nested
from tests.projects import make_project, write
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path


def packed(root: Path, *, out: Path | None = None, language: str = "python") -> list[str]:
    return list(select(root, language, out=out).names)


def left_out(root: Path, *, out: Path | None = None, language: str = "python") -> dict[str, str]:
    return {each.path: each.why for each in select(root, language, out=out).left_out}


PACKED = [
    "plugin.py",
    "box/client.py",
    "box/deep/er.py",
    "box/data/roles.json",
    "mapping.json",
    "data/map.json",
    "schemas/event.json",
    "schemas/nested/deep/event.json",
    "notes.txt",
    "setup.md",
    "docs/api.md",
    "example.env",
    "templates/mail.j2",
    "cities.bin",
    "x_test.py",
    "box/box_test.py",
    "testdata/sample.json",
    "lib/app/plugin.py",
    "box/build/a.py",
    "box/dist/a.py",
    "box/vendor/a.py",
    "name with space.json",
    "übersicht.json",
]
LEFT_OUT = {
    ".git/hook.py": ".git/",
    ".env": ".env",
    ".hidden.py": ".hidden.py",
    "box/.hidden.json": "box/.hidden.json",
    "__pycache__/a.py": "__pycache__/",
    "box/__pycache__/a.py": "box/__pycache__/",
    "box/a.pyc": "box/a.pyc",
    "node_modules/a.py": "node_modules/",
    "the.egg-info/a.py": "the.egg-info/",
    "tests/a.py": "tests/",
    "box/tests/a.py": "box/tests/",
    "conftest.py": "conftest.py",
    "test_box.py": "test_box.py",
    "box/test_box.py": "box/test_box.py",
    "pyproject.toml": "pyproject.toml",
    "build/lib/box/__init__.py": "build/",
    "build/notes.txt": "build/",
    "dist/notes.txt": "dist/",
    "dist/old.py": "dist/",
    "vendor/notes.txt": "vendor/",
    "box-connector_1.0.0_linux_amd64.tar.gz": "box-connector_1.0.0_linux_amd64.tar.gz",
    "old/box_1.0.0_darwin_arm64.tar.gz.sigstore.json": (
        "old/box_1.0.0_darwin_arm64.tar.gz.sigstore.json"
    ),
}


@each_row("name", PACKED)
def test_code_and_data_are_packed_wherever_they_stand(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "")
    assert packed(tmp_path) == [name]
    assert left_out(tmp_path) == {}


@each_row(("name", "told"), LEFT_OUT.items())
def test_what_is_no_part_of_the_plugin_is_left_out_and_told(
    tmp_path: Path, name: str, told: str
) -> None:
    write(tmp_path, "box/__init__.py", "")
    write(tmp_path, name, "")
    assert packed(tmp_path) == ["box/__init__.py"]
    assert list(left_out(tmp_path)) == [told]
    assert all(left_out(tmp_path).values())


def test_what_is_packed_in_another_place_is_neither_packed_again_nor_told(tmp_path: Path) -> None:
    make_project(tmp_path)
    assert packed(tmp_path) == ["plugin.py"]
    assert left_out(tmp_path) == {}


@each_row(
    ("folder", "module"),
    [
        *itertools.product(["build", "vendor"], ["tool.py", "__init__.py", "inner/__init__.py"]),
        ("dist", "__init__.py"),
    ],
)
def test_folders_that_builds_use_are_packed_when_they_hold_code(
    tmp_path: Path, folder: str, module: str
) -> None:
    write(tmp_path, f"{folder}/{module}", "")
    write(tmp_path, f"{folder}/data/map.json", "")
    wheel = write(tmp_path, f"{folder}/one-1.0-py3-none-any.whl", "")
    artifact = write(tmp_path, f"{folder}/box_1.0.0_linux_amd64.tar.gz", "")
    expected = {f"{folder}/{module}", f"{folder}/data/map.json"}
    expected |= {f"{folder}/{wheel.name}"} if folder != "vendor" else set()
    assert set(packed(tmp_path, out=tmp_path / "dist")) == expected
    assert list(left_out(tmp_path)) == [f"{folder}/{artifact.name}"]


def test_a_virtual_environment_is_left_out_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, "my-python/pyvenv.cfg", "")
    write(tmp_path, "my-python/lib/a.py", "")
    assert left_out(tmp_path) == {"my-python/": "a virtual environment"}


def test_the_folder_for_artifacts_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "out/notes.txt", "")
    assert packed(tmp_path, out=tmp_path / "out") == []
    assert packed(tmp_path) == ["out/notes.txt"]


# ── what cannot be packed ─────────────────────────────────────────────────────────────────────────


def sparse(path: Path, size_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size_bytes)


@pytest.mark.parametrize("name", ["dump.sql", "data/dump.bin"])
def test_a_dump_of_200_megabytes_is_left_out(tmp_path: Path, name: str) -> None:
    sparse(tmp_path / name, 200_000_000)
    assert left_out(tmp_path) == {name: "over 64 MiB"}


def test_a_file_of_64_mebibytes_is_packed(tmp_path: Path) -> None:
    sparse(tmp_path / "model.bin", 64 * 1024 * 1024)
    assert packed(tmp_path) == ["model.bin"]


LINKS = {"notes.txt": "/etc/hostname", "elsewhere": "/etc", "dangling.json": "/nowhere", "up": ".."}


@each_row("name", LINKS)
@each_row("language", ["python", "go"])
def test_a_link_where_no_code_belongs_is_left_out(tmp_path: Path, name: str, language: str) -> None:
    (tmp_path / name).symlink_to(LINKS[name])
    assert packed(tmp_path, language=language) == []
    assert left_out(tmp_path, language=language) == {name: "a symbolic link"}


@each_row("name", ["config.py", "data/config.py", "box/data.json", "box/data/more"])
def test_a_link_where_code_belongs_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, "box/__init__.py", "")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).symlink_to("/etc/hostname")
    with pytest.raises(TreeNotPlain, match="neither a file nor a folder") as caught:
        select(tmp_path, "python")
    assert caught.value.exit_status == REFUSED
    assert f"{name}  is a symbolic link" in caught.value.why


def test_a_link_that_the_author_names_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "config.py").symlink_to("/etc/hostname")
    write(tmp_path, ".aperioignore", "/config.py\n")
    assert "config.py" in left_out(tmp_path)


def test_a_link_is_not_packed_because_the_author_wants_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").symlink_to("/etc/hostname")
    write(tmp_path, ".aperioignore", "!notes.txt\n")
    assert packed(tmp_path) == []


@each_row("name", [".venv", "node_modules", "tests"])
def test_a_link_in_place_of_a_skipped_folder_is_left_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/nowhere")
    assert list(left_out(tmp_path)) == [name]


def test_a_pipe_is_refused_where_code_belongs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert left_out(tmp_path) == {"pipe": "a fifo"}
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(TreeNotPlain):
        select(tmp_path, "python")


def test_a_socket_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert left_out(tmp_path) == {"s": "a socket"}


@each_row("name", ["a\nb.json", "a\u202eb.json", "a\\b.json", "a" * 250 + ".txt"])
def test_a_name_that_no_artifact_can_have_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "")
    with pytest.raises(MemberUnfit, match="cannot be packed") as caught:
        select(tmp_path, "python")
    assert "\n" not in caught.value.what
    write(tmp_path, ".aperioignore", "a*\n")
    assert packed(tmp_path) == []


# ── how much there may be ─────────────────────────────────────────────────────────────────────────


def fill(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        os.close(os.open(f"{folder}/{number:05}.txt", os.O_CREAT | os.O_WRONLY))


def test_more_than_10_000_files_that_are_never_packed_do_not_matter(tmp_path: Path) -> None:
    write(tmp_path, "plugin.py", "")
    fill(tmp_path / "logs", 10_001)
    write(tmp_path, ".aperioignore", "logs/*.txt\n")
    assert packed(tmp_path) == ["plugin.py"]
    assert left_out(tmp_path)["logs/"] == "10,001 files in it: named in .aperioignore, line 1"


def test_more_files_than_an_artifact_has_are_refused_with_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "DEFAULT_LIMITS", UnpackLimits(members=200))
    write(tmp_path, "plugin.py", "")
    fill(tmp_path / "samples/all", 200)
    with pytest.raises(ProjectInvalid, match="more than an artifact can hold") as caught:
        select(tmp_path, "python")
    assert "samples/  200 files" in caught.value.why
    write(tmp_path, ".aperioignore", "samples/\n")
    assert packed(tmp_path) == ["plugin.py"]


def test_more_bytes_than_an_artifact_has_are_refused(tmp_path: Path) -> None:
    for number in range(35):
        sparse(tmp_path / f"data/{number}", 63 * 1024 * 1024)
    with pytest.raises(ProjectInvalid, match="more than an artifact can hold"):
        select(tmp_path, "python")


def test_a_folder_with_files_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_MAX_SEEN", 3)
    for number in range(4):
        write(tmp_path, f"{number}.pyc", "")
    with pytest.raises(ProjectInvalid, match="more than 3 files"):
        select(tmp_path, "python")


@pytest.mark.parametrize("levels", [101, 1500, 3000])
def test_folders_nested_without_end_are_refused(tmp_path: Path, levels: int) -> None:
    with (
        nested(tmp_path, levels),
        pytest.raises(ProjectInvalid, match="nested more than 100 deep"),
    ):
        select(tmp_path, "go")


def test_folders_nested_as_people_do_are_walked(tmp_path: Path) -> None:
    with nested(tmp_path, 100):
        assert len(packed(tmp_path, language="go")) == 100


def test_folders_nested_in_what_is_skipped_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    with nested(tmp_path / "node_modules", 3000):
        assert packed(tmp_path) == []


# ── Go ────────────────────────────────────────────────────────────────────────────────────────────


@each_row(
    "name",
    ["plugin.go", "box_test.go", "testdata/key", "vendor/x/x.go", "dist/x", ".k/x", ".env", "a.md"],
)
def test_go_sees_what_it_could_compile_or_embed(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "")
    assert packed(tmp_path, language="go") == [name]


@each_row("name", [".git/x.go", "node_modules/x.go", "out/x.txt", "x.pyc"])
def test_go_does_not_see_what_is_left_out(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "")
    assert packed(tmp_path, language="go", out=tmp_path / "out") == []


@each_row("name", ["x.go", "go.mod", "third_party/x/go.mod", "x.s"])
def test_a_link_that_go_would_follow_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).symlink_to("/etc/hostname")
    with pytest.raises(TreeNotPlain):
        select(tmp_path, "go")
