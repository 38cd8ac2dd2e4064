"""Where the lock file in force stands, and how it is read and written.

A home has one, beside its store: whoever changes which version is used there changes it, too. A
folder may have one of its own, which then says which versions are used by whoever stands in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import LockHeld
from aperio_cli.errors.installing import LockFileInvalid
from aperio_cli.errors.usage import NotFound
from aperio_cli.files import owning, reading, writing
from aperio_cli.models.lock_file import MAX_BYTES, LockFile
from aperio_cli.paths import LOCK_FILE_NAME as FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.plugin_id import PluginId

with contextlib.suppress(ImportError):  # Windows lacks it: there plugins are looked at only
    import fcntl

_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class LockPlace:
    """A lock file, which may not be there yet.

    Attributes:
        path: of the file, absolute.
        is_home: whether it is the home's own.
        is_found: whether nobody named it: it was found in the working folder.
    """

    path: Path
    is_home: bool
    is_found: bool = False

    def exists(self) -> bool:
        """Return whether something stands there."""
        return os.path.lexists(self.path)

    def read(self) -> LockFile | None:
        """Return what it says; None when it is not there.

        Raises:
            LockFileInvalid: it cannot be read as a lock file.
            RecordNewer: a newer aperio made it.
            FileNotRegular: a link stands in its place, which somebody else may have put there.
            PathShared: somebody else may change it, and nobody named it.
        """
        if self.is_found or self.is_home:
            owning.require_own(self.path)
        try:
            with reading.open_regular(self.path, follow_links=not self.is_found) as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LockFileInvalid(
                f"`{self.path}` was not read",
                why=error.strerror or str(error),
                next=["see who may read it"],
            ) from error
        return LockFile.parse(data, self.path)

    def encode(self, lock: LockFile) -> bytes:
        """Return the contents of the file that says this.

        Raises:
            LockFileInvalid: it would not be read as this: it is too long, or a path in it is no
                text.
        """
        try:
            data = lock.to_bytes(self.path.parent)
            is_same = LockFile.parse(data, self.path) == lock
        except (AperioError, ValueError) as error:
            why = error.why if isinstance(error, AperioError) else str(error)
            raise self._unfit(why) from error
        if not is_same:
            raise self._unfit("it would be read as something else")
        return data

    def _unfit(self, why: str) -> LockFileInvalid:
        return LockFileInvalid(
            f"`{self.path}` was not written: what is to stand in it does not fit",
            why=why,
            next=["install from a path of printable characters"],
        )

    @contextlib.contextmanager
    def changing(self, plugin: PluginId) -> Iterator[None]:
        """Keep others from changing a folder's lock file while the block runs.

        The folder itself is locked, so that nothing is left in it.

        Raises:
            NotFound: there is no such folder.
            LockHeld: somebody else is changing it.
        """
        what = f"`{plugin}` in `{self.path}` was left as it is"
        try:
            descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(
                f"{what}: there is no folder `{self.path.parent}`",
                next=["make the folder, or name another file"],
            ) from error
        try:
            _take(descriptor, what)
            yield
        finally:
            os.close(descriptor)

    def write(self, lock: LockFile) -> None:
        """Write the file, wholly or not at all.

        Raises:
            LockFileInvalid: as `encode`.
            DiskFull: there is no space.
            OSError: the folder cannot be written.
        """
        path = self.path if self.is_found else self.path.resolve()
        writing.write_atomic(path, self.encode(lock))


def find_place(home: Path, stated: str = "") -> LockPlace:
    """Return the lock file in force: the one stated, else the working folder's, else the home's.

    Args:
        home: `$APERIO_HOME`.
        stated: `--lock`; empty for none.
    """
    own = LockPlace(home / FILE_NAME, is_home=True)
    if stated:
        path = Path(os.path.abspath(os.path.expanduser(stated)))  # noqa: PTH100, PTH111 - pathlib fails where no such user is
        return own if _is_same(path, own.path) else LockPlace(path, is_home=False)
    if not os.path.lexists(FILE_NAME):  # also where the working folder is gone
        return own
    path = Path(os.path.abspath(FILE_NAME))  # noqa: PTH100 - without following a link
    return own if _is_same(path, own.path) else LockPlace(path, is_home=False, is_found=True)


def _is_same(path: Path, own: Path) -> bool:
    with contextlib.suppress(OSError):
        if path.name == own.name and path.parent.samefile(own.parent):
            return True
    return path == own


def _take(descriptor: int, what: str) -> None:
    deadline_s = clock.monotonic_s() + _TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EINTR}:
                return  # a file system without such locks: the rename alone keeps it whole
            if clock.monotonic_s() >= deadline_s:
                raise LockHeld(
                    f"{what}: another process is changing it",
                    why=f"waited {_TIMEOUT_S:g} s",
                    next=["wait until it has ended, then run the same command again"],
                ) from None
            time.sleep(_POLL_S)
        else:
            return
