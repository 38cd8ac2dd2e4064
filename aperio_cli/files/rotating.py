"""A file of lines that is appended to for ever and stays bounded.

When it is full it is renamed to `NAME.1`, what stood there to `NAME.2`, and the oldest is dropped.
Several processes may append to one: a line is one write at the end of the file (O_APPEND), so that
lines of two writers never mix, and what a writer that was killed had written stays. A folder that
has vanished is made again; what a full disk took half of is no line, and spoils none after it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.files import FileNotRegular
from aperio_cli.files import writing
from aperio_cli.files.reading import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class RotatingFile:
    """Appends lines to a file and to those that it was before.

    Args:
        path: the newest of them; its folder is made for this user alone when it is missing.
        most_bytes: of one file; one line more may stand in it.
        kept: how many older ones there are at most.
    """

    def __init__(self, path: Path, *, most_bytes: int, kept: int) -> None:
        self.path = path
        self._most_bytes = most_bytes
        self._kept = kept
        self._descriptor = -1
        self._is_torn = False

    def append(self, line: bytes) -> None:
        """Append one line, without its line feed.

        Raises:
            FileNotRegular: a link, a folder or a pipe stands in its place.
            FolderNotPrivate, PlaceUnusable, DiskFull: its folder cannot be made, or has no space.
            OSError: it cannot be written; some of the line may have been.
        """
        size_bytes = self._open()
        if size_bytes and size_bytes + len(line) > self._most_bytes:
            self._rotate()
            self._open()
        data = line + b"\n"
        if self._is_torn:  # by a disk that was full: what stands there is a line of its own
            data = b"\n" + data
        self._is_torn = True
        written = 0
        while written < len(data):
            written += os.write(self._descriptor, data[written:])
        self._is_torn = False

    def close(self) -> None:
        """Let go of the file; the next line opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        """Open the file unless it is open, and stands where it stood; return its size."""
        if self._descriptor >= 0:
            status = os.fstat(self._descriptor)
            with contextlib.suppress(OSError):  # it, or its folder, is gone
                if os.path.samestat(status, os.lstat(self.path)):
                    return status.st_size
            self.close()
        try:
            descriptor = os.open(self.path, _FLAGS, 0o600)
        except FileNotFoundError:
            writing.ensure_own(self.path.parent)
            descriptor = os.open(self.path, _FLAGS, 0o600)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise FileNotRegular(f"`{self.path}` was not written: it is not a regular file")
        self._descriptor = descriptor
        size_bytes = status.st_size
        self._is_torn = bool(size_bytes) and os.pread(descriptor, 1, size_bytes - 1) != b"\n"
        return size_bytes

    def _rotate(self) -> None:
        """Set the file aside, unless another process is just doing that, or has."""
        import fcntl

        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(self._descriptor), os.lstat(self.path)):
                for number in range(self._kept, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(older(self.path, number - 1), older(self.path, number))  # noqa: PTH105 - as for the rest
        self.close()


def older(path: Path, number: int) -> Path:
    """Return the file that was set aside so many times ago; 0 is the newest."""
    return path.with_name(f"{path.name}.{number}") if number else path


def newest_lines(path: Path, *, kept: int, most_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a rotating file, the newest first; none where it is missing.

    Args:
        path: the newest file.
        kept: how many older ones there are at most.
        most_bytes: how much of each is read at most, from its end.

    Raises:
        FileNotRegular: a link, a folder or a pipe stands in the place of one.
        OSError: one may not be read.
    """
    seen: set[tuple[int, int]] = set()
    for number in range(kept + 1):
        with contextlib.suppress(FileNotFoundError), open_regular(older(path, number)) as file:
            status = os.fstat(file.fileno())
            if (status.st_dev, status.st_ino) in seen:  # it was set aside meanwhile
                continue
            seen.add((status.st_dev, status.st_ino))
            size_bytes = file.seek(0, os.SEEK_END)
            begin = max(0, size_bytes - most_bytes)
            file.seek(begin)
            lines = file.read(most_bytes).split(b"\n")
            yield from (line for line in reversed(lines[1:] if begin else lines) if line)
