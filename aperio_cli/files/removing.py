"""Remove trees by folder descriptors, without recursion and without following links."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from aperio_cli.files.reading import FOLDER_FLAGS
from aperio_cli.files.writing import ASIDE_PREFIX

_O_PATH = getattr(os, "O_PATH", 0)  # Linux: a descriptor of what may be walked through, not read


def remove_tree(path: Path) -> None:
    """Remove a file, a link or a folder with all it holds; links are removed, never followed.

    What is not there is no error.

    Raises:
        OSError: something cannot be removed; what came before it is gone.
    """
    try:
        folder = os.open(path.parent, os.O_DIRECTORY | os.O_CLOEXEC | _O_PATH)
    except FileNotFoundError:
        return
    try:
        remove_below(folder, path.name)
    except OSError as error:
        error.filename = f"{path.parent}/{error.filename}"
        raise
    finally:
        os.close(folder)


def remove_below(folder: int, name: str) -> None:
    """Remove a file, a link or a folder with all it holds from an open folder.

    Works through descriptors, two at a time, and without recursion: a folder swapped for a link
    in the meantime leads nowhere, and no depth of folders is too deep. Folders that their owner
    closed to himself are opened first.

    Args:
        folder: descriptor of the folder.
        name: what to remove from it; what is not there is no error.

    Raises:
        OSError: something cannot be removed, or a folder was moved away meanwhile; what came
            before it is gone.
    """
    try:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            os.unlink(name, dir_fd=folder)
            return
    except FileNotFoundError:
        return
    trail = [_Level(name)]
    try:
        _remove_contents(_open_doomed(folder, name), trail)
    except OSError as error:
        error.filename = "/".join([*(level.name for level in trail), str(error.filename)])
        raise
    os.rmdir(name, dir_fd=folder)


def remove_contents(folder: int) -> None:
    """Remove all that an open folder holds, as `remove_below` does, wherever the folder is by now.

    Raises:
        OSError: as `remove_below`.
    """
    os.fchmod(folder, 0o700)
    _remove_contents(os.open(".", FOLDER_FLAGS, dir_fd=folder), [_Level(".")])


@dataclass(slots=True)
class _Level:
    """A folder on the way down to what is being removed.

    Attributes:
        name: in the folder above.
        identity: its device and inode, by which it is found again on the way up.
        folders: names of the folders in it that are still there.
    """

    name: str
    identity: tuple[int, int] = (0, 0)
    folders: list[str] = field(default_factory=list)


def _remove_contents(current: int, trail: list[_Level]) -> None:
    """Empty the folder that is open and the only one of the trail; closes it."""
    try:
        _remove_files(current, trail[0])
        while len(trail) > 1 or trail[0].folders:
            if trail[-1].folders:
                level = _Level(trail[-1].folders.pop())
                current = _swap(current, _open_doomed(current, level.name))
                trail.append(level)
                _remove_files(current, level)
            else:
                current = _swap(current, _open_above(current, trail[-2]))
                os.rmdir(trail.pop().name, dir_fd=current)
    finally:
        os.close(current)


def _swap(current: int, other: int) -> int:
    os.close(current)
    return other


def _remove_files(folder: int, level: _Level) -> None:
    """Remove all but folders, which are noted."""
    level.identity = _identity(folder)
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if is_folder:
            level.folders.append(name)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)


def _open_doomed(parent: int, name: str) -> int:
    """Return a folder that is to be emptied, opened to its owner where he closed it."""
    try:
        descriptor = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    except PermissionError:
        closed = os.open(name, FOLDER_FLAGS | _O_PATH, dir_fd=parent)
        try:
            # By descriptor, which no chmod of a name is: the name may be a link by now.
            os.chmod(f"/proc/self/fd/{closed}", 0o700)  # noqa: PTH101 - no path of anybody's
            return os.open(name, FOLDER_FLAGS, dir_fd=parent)
        finally:
            os.close(closed)
    if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        with contextlib.suppress(PermissionError):  # somebody else's: removing from it may work
            os.fchmod(descriptor, 0o700)
    return descriptor


def _open_above(folder: int, level: _Level) -> int:
    above = os.open("..", FOLDER_FLAGS, dir_fd=folder)
    if _identity(above) != level.identity:
        os.close(above)
        raise OSError(errno.ESTALE, "a folder was moved away while it was removed", "..")
    return above


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def sweep(directory: Path, prefix: str = ASIDE_PREFIX) -> int:
    """Remove what a crash left half-written directly in a folder; return how many entries went.

    An entry that cannot be removed stays: it keeps nobody from what is to be done.

    Call it while holding the lock that writers of this folder hold: it cannot tell a crashed
    writer's entry from a working one's. A missing folder holds nothing.

    Args:
        directory: the folder to look in, not below.
        prefix: how the names to remove begin; never empty.

    Raises:
        ValueError: the prefix is empty.
        OSError: the folder may not be read.
    """
    if not prefix:
        raise ValueError("an empty prefix would remove everything")
    try:
        left_over = [
            Path(entry) for entry in os.scandir(directory) if entry.name.startswith(prefix)
        ]
    except FileNotFoundError:
        return 0
    removed = 0
    for path in left_over:
        with contextlib.suppress(OSError):
            remove_tree(path)
            removed += 1
    return removed
