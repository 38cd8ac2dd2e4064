"""Where tests make their files: in memory only where there is room for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import roomy

if TYPE_CHECKING:
    from pathlib import Path


def said(folder: Path, available: str) -> Path | None:
    """Where tests make their files when the kernel says so of memory."""
    meminfo = folder / "meminfo"
    meminfo.write_text(f"MemTotal:       24684084 kB\n{available}HugePages_Total:       0\n")
    return roomy.find_folder(folder, meminfo)


def test_there_is_room_in_a_large_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roomy, "ROOM_BYTES", 1024**2)
    assert said(tmp_path, "MemAvailable:       1024 kB\n") == tmp_path


@pytest.mark.parametrize("available", ["MemAvailable:       1023 kB\n", ""])
def test_there_is_none_in_a_small_one_and_where_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: str
) -> None:
    monkeypatch.setattr(roomy, "ROOM_BYTES", 1024**2)
    assert said(tmp_path, available) is None


def test_there_is_none_in_a_small_file_system_or_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roomy, "ROOM_BYTES", 1024**5)
    assert said(tmp_path, f"MemAvailable:       {1024**4} kB\n") is None
    assert roomy.find_folder(tmp_path / "nowhere") is None
