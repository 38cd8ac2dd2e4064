"""Who uses a version, and who makes one: known by locks that end with their processes.

Whoever runs a version holds a shared flock on its receipt, so nothing about it is written for that;
whoever prepares one holds an exclusive flock on the folder aside that it is prepared in.
"""

from __future__ import annotations

import contextlib
import enum
import os
from typing import TYPE_CHECKING, Final

from aperio_cli.errors import AperioError
from aperio_cli.files import reading
from aperio_cli.models.receipt import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

with contextlib.suppress(ImportError):  # Windows lacks it: there plugins are looked at only
    import fcntl

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Hold(enum.Enum):
    """The outcome of an attempt to lock a receipt."""

    HELD = enum.auto()
    BUSY = enum.auto()
    MISSING = enum.auto()


@contextlib.contextmanager
def receipt_locked(folder: Path, operation: int) -> Iterator[Hold]:
    """Lock the receipt of a version folder for the block, without waiting."""
    try:
        file = reading.open_regular(folder / FILE_NAME)
    except (OSError, AperioError):
        yield Hold.MISSING
        return
    with file:
        try:
            fcntl.flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Hold.BUSY
            return
        yield Hold.HELD if _is_still(folder / FILE_NAME, file.fileno()) else Hold.MISSING


def is_owned(folder: Path) -> bool:
    """Return whether a living process holds its flock on an aside folder."""
    try:
        descriptor = os.open(folder, FOLDER_FLAGS)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether the path still names the open file: it may have been removed meanwhile."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
