"""Keeps a folder of files that can be made again within a size and an age, oldest first.

A file's time says when it was used last: whoever uses one says so (`note_use`). Folders in it are
left alone, and files that are being written (`writing.ASIDE_PREFIX`) until they are too old.
`trim_trees` takes the folders in it as wholes, and `trim_below` the files at any depth.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.files import owning
from aperio_cli.files.removing import remove_tree
from aperio_cli.files.writing import ASIDE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable


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


def trim_trees(
    folder: Path, bound: Bound, now_s: float, keeps: Callable[[str, float], bool]
) -> None:
    """Remove what is in a folder, each with all it holds, until it is within its bound; as `trim`.

    A folder counts as used when its own time says so. It is renamed before it is removed, so that
    nobody finds a part of it.
    """
    trees = sorted(_trees(folder), key=lambda each: (each.at_s, each.name))
    total = _total(trees)
    for each in trees:
        is_old = each.at_s < now_s - bound.age_s
        is_over = total > bound.size_bytes and not each.name.startswith(ASIDE_PREFIX)
        if (is_old or is_over) and not keeps(each.name, each.at_s):
            with contextlib.suppress(OSError):
                remove_whole(folder / each.name)
                total -= each.size_bytes


def trim_below(folder: Path, bound: Bound, now_s: float) -> None:
    """Remove files at any depth, the oldest first, until a folder is within its bound.

    For what each file of can be missing, as of what was downloaded.
    """
    files = sorted(_below(folder), key=lambda each: (each.at_s, each.name))
    total = _total(files)
    for each in files:
        if each.at_s < now_s - bound.age_s or total > bound.size_bytes:
            with contextlib.suppress(OSError):
                Path(each.name).unlink()
                total -= each.size_bytes


def size_of(path: Path) -> int:
    """Return how many bytes the files at or below a path have; what cannot be read counts for 0.

    Links are not followed.
    """
    try:
        status = path.lstat()
    except OSError:
        return 0
    return _total(_below(path)) if stat.S_ISDIR(status.st_mode) else status.st_size


def remove_whole(path: Path) -> None:
    """Remove something with all it holds, so that nobody finds a part of it under its name.

    Raises:
        OSError: it cannot be removed; what is left has another name.
    """
    aside = path.with_name(f"{ASIDE_PREFIX}{secrets.token_hex(8)}")
    path.rename(aside)
    remove_tree(aside)


def _trees(folder: Path) -> list[_Used]:
    found = []
    with contextlib.suppress(OSError, AperioError):
        owning.require_own(folder)
        for path in folder.iterdir():
            with contextlib.suppress(OSError):  # it has just gone
                status = path.lstat()
                found.append(_Used(status.st_mtime, path.name, size_of(path)))
    return found


def _below(folder: Path) -> list[_Used]:
    """Return the files below a folder by their whole paths; none, where others may write to it."""
    found = []
    with contextlib.suppress(OSError, AperioError):
        owning.require_own(folder)
        for place, _, names in os.walk(folder):
            for name in names:
                path = f"{place}/{name}"
                with contextlib.suppress(OSError):
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode):
                        found.append(_Used(status.st_mtime, path, status.st_size))
    return found


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
