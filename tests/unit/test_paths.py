from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.paths import find_paths, find_program, runtime_base
from tests.projects import write
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which holds a program `tool`."""
    write(tmp_path, "here/tool", "#!/bin/sh\n").chmod(0o755)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("path", ["", ".", ":", "./", "../here", ":/nonexistent:", "here:.."])
def test_a_program_in_the_current_folder_is_not_found(here: Path, path: str) -> None:
    assert (here / "tool").is_file()
    assert find_program("tool", path) is None


def test_a_program_in_an_absolute_folder_is_found(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = write(tmp_path, "programs/tool", "#!/bin/sh\n")
    tool.chmod(0o755)
    path = f":.:{tool.parent}:{here}"
    assert find_program("tool", path) == str(tool)
    monkeypatch.setenv("PATH", path)
    assert find_program("tool") == str(tool)


def test_a_program_named_with_its_folder_is_that_one(here: Path) -> None:
    assert find_program(f".{os.sep}tool", "/nonexistent") == "./tool"
    assert find_program(str(here / "tool"), "") == str(here / "tool")


# ── the runtime folder ────────────────────────────────────────────────────────────────────────────


@pytest.fixture(name="runtime")
def _runtime() -> Iterator[Path]:
    """A runtime folder of this user's, with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    (folder / "me").mkdir(mode=0o700)
    yield folder / "me"
    shutil.rmtree(folder)


def base(runtime: Path | str) -> Path:
    """Return where private folders are made."""
    return runtime_base({"XDG_RUNTIME_DIR": str(runtime)})


def test_runtime_folder_of_ones_own_counts(runtime: Path) -> None:
    assert base(runtime) == runtime


@pytest.mark.parametrize("mode", [0o770, 0o750, 0o701, 0o1777, 0o500])
def test_runtime_folder_that_is_not_private_does_not_count(runtime: Path, mode: int) -> None:
    runtime.chmod(mode)
    assert base(runtime) == Path("/tmp")


@pytest.mark.sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders to another user")
@pytest.mark.parametrize("level", ["itself", "above"])
def test_runtime_folder_of_another_user_does_not_count(runtime: Path, level: str) -> None:
    """As root has it after `su` without `-`: its owner could exchange what is made in it."""
    os.chown(runtime if level == "itself" else runtime.parent, 54_321, -1)
    assert base(runtime) == Path("/tmp")


def test_runtime_folder_below_one_that_all_may_write_does_not_count(runtime: Path) -> None:
    runtime.parent.chmod(0o777)
    assert base(runtime) == Path("/tmp")


def test_runtime_folder_that_is_a_link_does_not_count(runtime: Path) -> None:
    link = runtime.parent / "link"
    link.symlink_to(runtime)
    assert base(link) == Path("/tmp")


@each_row("stated", ["", ".", "run", "/nonexistent/runtime", "/tmp/" + "x" * 60])
def test_runtime_folder_that_is_none_does_not_count(stated: str) -> None:
    assert base(stated) == Path("/tmp")


def test_the_home_of_a_user_that_is_not_there_is_a_part_of_the_name(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        found = find_paths({}, home="~nobody-here/x", config_file="~nobody-here/c.toml")
    assert found.home == tmp_path / "~nobody-here" / "x"
    assert found.config_file == tmp_path / "~nobody-here" / "c.toml"
