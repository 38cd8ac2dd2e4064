"""A lock between processes."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Self

from aperio_cli import clock
from aperio_cli.errors.files import (
    LockHeld,
)
from aperio_cli.files.reading import _not_regular

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_LOCK_POLL_S = 0.02
_LOCKED_BYTE = 1024  # behind the process id
_NAME_BYTES = 20


class FileLock:
    """A lock between processes, held for the length of a `with` block (exclusive).

    The kernel releases it when the holder ends, however it ends. The lock file stays: removing it
    would let two processes hold locks on two files of the same name. It holds the process id of
    whoever took the lock last, if there was space for it. Not reentrant.

    Args:
        path: the lock file; its folder must exist.
        what: what cannot happen meanwhile, as the start of a sentence: "`acme/box` was not
            installed".
        timeout_s: how long to wait for another holder; 0 asks once.
        folder: descriptor of the folder that the file is in; None takes the path as it is.

    Raises:
        LockHeld: another process still holds it at the deadline; names that process.
        FileNotRegular: a link, a folder, a pipe, a socket or a device stands in its place.
        OSError: the lock file cannot be made.
    """

    def __init__(
        self, path: Path, *, what: str, timeout_s: float = 10.0, folder: int | None = None
    ) -> None:
        self._path = path
        self._what = what
        self._timeout_s = timeout_s
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        name = self._path if self._folder is None else self._path.name
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=self._folder)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
                raise
            mode = os.lstat(name, dir_fd=self._folder).st_mode
            raise _not_regular(self._path, mode) from error
        try:
            self._refuse_irregular(descriptor)
            self._acquire(descriptor)
            with contextlib.suppress(OSError):  # on a full disk, say, where `remove` has to work
                os.pwrite(descriptor, _named(os.getpid()), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
        self._descriptor = -1

    def _refuse_irregular(self, descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise _not_regular(self._path, mode)

    def _acquire(self, descriptor: int) -> None:
        deadline_s = clock.monotonic_s() + self._timeout_s
        while True:
            try:
                _take(descriptor)
            except (BlockingIOError, PermissionError):  # the second on Windows
                if clock.monotonic_s() >= deadline_s:
                    raise self._held(descriptor) from None
                time.sleep(_LOCK_POLL_S)
            else:
                return

    def _held(self, descriptor: int) -> LockHeld:
        # Between taking the lock and writing its id a holder is nameless for a moment.
        holder = os.pread(descriptor, _NAME_BYTES, 0).strip().decode("ascii", "replace")
        name = f"process {holder}" if holder.isdigit() else "another process"
        return LockHeld(
            f"{self._what}: {name} is at work on the same files",
            why=f"waited {self._timeout_s:g} s for {self._path}",
            next=["wait until it has ended, then run the same command again"],
        )


def _named(pid: int) -> bytes:
    """Return a process id in a line of one length, which takes the place of another whole.

    A file that is cut first is written to the disk when it is closed, on ext4, for nothing: some
    hundred times what all the rest of a lock takes.
    """
    return b"%-*d\n" % (_NAME_BYTES - 1, pid)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file until it is closed; return whether nobody else holds it."""
    try:
        _take(descriptor)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _take(descriptor: int) -> None:
    """Take the lock at once.

    Raises:
        BlockingIOError, PermissionError: somebody else holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows, where a byte is locked that nobody reads
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined] # of Windows
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
