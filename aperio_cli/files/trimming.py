"""Keeps a folder of files that can be made again within a size and an age, oldest first.

A file's time says when it was used last: whoever uses one says so (`note_use`). Folders in it are
left alone, and files that are being written (`writing.ASIDE_PREFIX`) until they are too old.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from aperio_plugin.lazy_dataclass import dataclass

from aperio_cli.errors import AperioError
from aperio_cli.files import owning
from aperio_cli.files.writing import ASIDE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bound:
    """How much a folder may hold.

    Attributes:
        size_bytes: of all files together.
        age_s: for how long a file stays that nobody uses, in seconds.
    """

    size_bytes: int
    age_s: float


@dataclass(frozen=True, slots=True)
class _Used:
    """A file: when it was used last, seconds since 1970, its name and its length."""

    at_s: float
    name: str
    size_bytes: int


def note_use(path: Path) -> None:
    """Note that a file is used now, where that can be noted."""
    with contextlib.suppress(OSError):
        os.utime(path, follow_symlinks=False)


def is_within(folder: Path, bound: Bound, now_s: float) -> bool:
    """Return whether a folder holds no more than it may; one that is missing or not ours does."""
    files = _files(folder)
    return _total(files) <= bound.size_bytes and all(
        each.at_s >= now_s - bound.age_s for each in files
    )


def trim(folder: Path, bound: Bound, now_s: float, keeps: Callable[[str, float], bool]) -> None:
    """Remove what is too old, then the least lately used, until a folder is within its bound.

    Nothing is told that cannot be removed: the next call tries again.

    Args:
        folder: the folder; one that somebody else may write to is left alone.
        bound: what it may hold.
        now_s: the current moment, seconds since 1970.
        keeps: says by name and time of last use which files stay whatever the bound is.
    """
    files = sorted(_files(folder), key=lambda each: (each.at_s, each.name))
    total = _total(files)
    for each in files:
        is_old = each.at_s < now_s - bound.age_s
        is_whole = not each.name.startswith(ASIDE_PREFIX)
        is_over = total > bound.size_bytes and is_whole
        if (is_old or is_over) and not keeps(each.name, each.at_s):
            with contextlib.suppress(OSError):
                (folder / each.name).unlink()
                total -= each.size_bytes


def _total(files: list[_Used]) -> int:
    return sum(each.size_bytes for each in files)


def _files(folder: Path) -> list[_Used]:
    found = []
    with contextlib.suppress(OSError, AperioError):
        owning.require_own(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # it has just gone
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found.append(_Used(status.st_mtime, entry.name, status.st_size))
    return found
