from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aperio_cli.paths import find_program
from tests.projects import write

if TYPE_CHECKING:
    from pathlib import Path


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
