"""What has arrived of a body whose digest is known, in a file that outlives the process.

It is worth no more than the digest that the whole is held against: what was put in its place is
found out at the end, and then the body is fetched anew. So it needs no mark of the server's.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from aperio_cli.errors import AperioError
from aperio_cli.files import locking, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.models.digest import Digest

_CHUNK_BYTES: Final = 1024 * 1024


class Part:
    """An unfinished download, held by one process at a time.

    No failure to read or write it is told: the download then begins anew, or cannot be gone on
    with later.

    Attributes:
        digest: what the whole body has to be.
    """

    def __init__(self, file: BinaryIO, path: Path, digest: Digest) -> None:
        self.digest = digest
        self._path = path
        self._file = file
        self._is_broken = False

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path, digest: Digest) -> Iterator[Self | None]:
        """Hold the part at a path, which is made; None while another process holds it.

        Args:
            path: the file; its folder is made when missing.
            digest: what the whole body has to be.
        """
        file = _open(path)
        if file is None:
            yield None
            return
        part = cls(file, path, digest)
        with contextlib.closing(file):
            try:
                yield part
            finally:
                part._remove_empty()

    def contents(self) -> Iterator[bytes]:
        """Yield what has arrived; what comes is added behind it."""
        with contextlib.suppress(OSError):
            self._file.seek(0)
            while chunk := self._file.read(_CHUNK_BYTES):
                yield chunk

    def append(self, chunk: bytes) -> None:
        """Add what came."""
        if self._is_broken:
            return
        try:
            self._is_broken = self._file.write(chunk) != len(chunk)
        except OSError:
            self._is_broken = True
        if self._is_broken:  # a full disk, say: it is no beginning of the body any more
            self.drop()

    def drop(self) -> None:
        """Forget what has arrived."""
        with contextlib.suppress(OSError):
            self._file.seek(0)
            self._file.truncate()

    def finish(self, path: Path) -> None:
        """Give it its final name: it is whole."""
        with contextlib.suppress(OSError):
            if not self._is_broken:
                self._path.rename(path)

    def _remove_empty(self) -> None:
        with contextlib.suppress(OSError):
            if not os.fstat(self._file.fileno()).st_size:
                self._path.unlink()

    def remove(self) -> None:
        """Take it away: nobody goes on with it."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def _open(path: Path) -> BinaryIO | None:
    """Open a part for this process alone; None when it cannot be had."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        writing.ensure_own(path.parent)
        descriptor = os.open(path, flags, 0o600)
    except (OSError, AperioError):
        return None
    # Without a buffer: what has arrived is in the file, however this process ends.
    file: BinaryIO = os.fdopen(descriptor, "r+b", buffering=0)
    try:
        is_ours = stat.S_ISREG(os.fstat(descriptor).st_mode) and locking.try_lock(descriptor)
        # Whoever held it may have given it its final name meanwhile: then this is that file.
        is_there = is_ours and os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        is_there = False
    if is_there:
        return file
    file.close()
    return None
