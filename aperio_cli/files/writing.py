"""Write files so that a crash leaves the old or the new; make folders of this user's own."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shlex
import stat
from typing import TYPE_CHECKING, BinaryIO, Self

from aperio_cli.errors.files import (
    DiskFull,
    FileSizeLimited,
    FolderNotPrivate,
)
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.files import owning
from aperio_cli.files.reading import FOLDER_FLAGS, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType


ASIDE_PREFIX = ".aside-"
"""How the name of everything half-written begins; `sweep` removes what a crash left of it."""
_LIMIT = "files of this process may have"


@contextlib.contextmanager
def disk_full_guard(what: str) -> Iterator[None]:
    """Turn "no space" and "over quota" inside the block into one error that people can act on.

    Args:
        what: the thing being written and the state a full disk leaves it in, for instance
            "`acme/box-connector` 1.2.0 was not installed".

    Raises:
        DiskFull: for ENOSPC and EDQUOT, and for a DiskFull of something smaller: people are told
            of the thing that they named. Every other exception passes through.
        FileSizeLimited: the same for EFBIG.
    """
    try:
        yield
    except FileSizeLimited as smaller:
        raise size_limited(what, smaller.why) from smaller
    except DiskFull as smaller:
        raise disk_full(what, smaller.why) from smaller
    except OSError as error:
        made = {errno.EFBIG: size_limited, errno.ENOSPC: disk_full, errno.EDQUOT: disk_full}
        if error.errno not in made:
            raise
        why = f"{os.strerror(error.errno)}: {error.filename}" if error.filename else str(error)
        raise made[error.errno](what, why) from error


def size_limit() -> int | None:
    """Return how long a file of this process may become, in bytes; None: as long as may be."""
    try:
        import resource
    except ImportError:  # on Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit


def size_limited(what: str, why: str) -> FileSizeLimited:
    """Return the error for a file that would be longer than one may be.

    Args:
        what: as `disk_full_guard`.
        why: what the system said.
    """
    limit = size_limit()
    if limit is None:
        steps = ["name a place on a file system that takes files of that length"]
    else:
        why = why if _LIMIT in why else f"{why}\n{_LIMIT} {limit} bytes"
        steps = ["raise the limit: `ulimit -f unlimited`; of a systemd unit, LimitFSIZE=infinity"]
    return FileSizeLimited(f"{what}: a file would become longer than it may", why=why, next=steps)


def disk_full(what: str, why: str) -> DiskFull:
    """Return the error for a disk without space; arguments as `size_limited`."""
    return DiskFull(
        f"{what}: the disk is full",
        why=why,
        next=["free some space, then run the same command again"],
    )


class AsideFile:
    """A file written beside its final place, which it takes only when `commit` is called.

    Leaving the block without `commit`, for whatever reason, removes it; what stood in the final
    place stays. A link in the final place is replaced, not followed.

    Args:
        path: the file; its folder must exist.
        mode: permission bits, given exactly, whatever the umask.
        folder: descriptor of the folder that the file is in, open until the block ends; None
            opens the one that the path names.

    Attributes:
        file: the binary file to write, at its beginning.

    Raises:
        DiskFull: when there is no space, from the block too.
        OSError: when the folder is missing or cannot be written.
    """

    file: BinaryIO

    def __init__(self, path: Path, *, mode: int = 0o644, folder: int | None = None) -> None:
        self._path = path
        self._mode = mode
        self._folder = -1 if folder is None else folder
        self._aside = ASIDE_PREFIX + os.urandom(8).hex()
        self._opened = contextlib.ExitStack()
        self._guard = disk_full_guard(f"`{path}` was not written")

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with (
            disk_full_guard(f"`{self._path}` was not written"),
            contextlib.ExitStack() as on_failure,
        ):
            if self._folder == -1:
                self._folder = os.open(self._path.parent, FOLDER_FLAGS & ~os.O_NOFOLLOW)
                on_failure.callback(os.close, self._folder)
            # Private until it is complete: fchmod in commit gives the mode whatever the umask.
            with self._named():
                descriptor = os.open(self._aside, flags, 0o600, dir_fd=self._folder)
            self.file = os.fdopen(descriptor, "w+b")
            self._opened = on_failure.pop_all()
        self._guard.__enter__()
        return self

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Have errors name the file that people know, and not the one that stands beside it."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno or 0), str(self._path)) from error

    def commit(self, *, durable: bool = True) -> None:
        """Give the file its name, after its bytes and before the folder's entry are on disk.

        Args:
            durable: whether to wait for the disk; without, a power failure may leave any bytes.
        """
        self.file.flush()
        os.fchmod(self.file.fileno(), self._mode)
        if durable:
            os.fsync(self.file.fileno())
        os.rename(self._aside, self._path.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        if durable:
            os.fsync(self._folder)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # closing flushes, which a full disk refuses again
            self.file.close()
        with self._opened, contextlib.suppress(FileNotFoundError):  # it is gone after a commit
            os.unlink(self._aside, dir_fd=self._folder)
        self._guard.__exit__(kind, error, trace)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file with these bytes: afterwards it is wholly the old one or wholly the new one.

    Args:
        path: the file; its folder must exist. A link in its place is replaced, not followed.
        data: the contents.
        mode: permission bits, given exactly, whatever the umask.

    Raises:
        DiskFull: there is no space; the old file is untouched.
        OSError: the folder is missing or cannot be written; the old file is untouched.
    """
    with AsideFile(path, mode=mode) as aside:
        aside.file.write(data)
        aside.commit()


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power failure (fsync of the folder).

    Raises:
        OSError: the folder is missing or cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_own(directory: Path, *, mode: int = 0o700, is_read_again: bool = True) -> None:
    """Make a folder, and any missing ones above it, for this user alone, whatever the umask.

    A folder that is there keeps its mode: others may read in it, where its owner lets them. It is
    refused where they may write in it, as what they put there by now cannot be told from ours, and
    where they could put another folder in its place.

    Args:
        directory: the folder.
        mode: of those that are made, for folders that others are to read in.
        is_read_again: whether what is put there is believed later; what is not may lie in a folder
            that is shared.

    Raises:
        FolderNotPrivate: a link, somebody else's folder, or one that others may write in.
        PathShared: a folder above it is somebody else's, or others may write in it.
        PlaceUnusable: something else than a folder is there.
        DiskFull: there is no space.
        OSError: a folder above it cannot be written, or it cannot be opened.
    """
    if is_read_again:
        owning.require_own(directory.parent / "any")  # a name makes each folder one on the way
    with disk_full_guard(f"`{directory}` was not made"):
        # Not `parents=True`, which leaves the mode of those above it to the umask.
        missing = itertools.takewhile(
            lambda path: not os.path.lexists(path), [directory, *directory.parents]
        )
        for folder in reversed(list(missing)):
            with contextlib.suppress(FileExistsError):  # another process was faster
                folder.mkdir(mode=0o700)
                if mode != 0o700:  # noqa: PLR2004 - exactly, whatever the umask
                    folder.chmod(mode)
    status = directory.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise _not_private(directory, "it is a link")
    if not stat.S_ISDIR(status.st_mode):
        raise PlaceUnusable(
            f"`{directory}` cannot be used: it is {kind_of(status.st_mode)}",
            why=f"expected a folder\nfound    {kind_of(status.st_mode)}",
            next=["name another folder, or move away what is there"],
        )
    _refuse_others(directory, status)


def _refuse_others(directory: Path, status: os.stat_result) -> None:
    """Refuse a folder that is not this user's, or that others may write in."""
    if not hasattr(os, "geteuid"):  # on Windows
        return
    if status.st_uid != os.geteuid():
        raise _not_private(directory, f"it belongs to user {status.st_uid}, not to {os.geteuid()}")
    writers = {
        "everybody": status.st_mode & stat.S_IWOTH,
        f"group {status.st_gid}": status.st_mode & stat.S_IWGRP
        and not owning.is_owners_alone(str(directory), status),
    }
    if found := [name for name, may_write in writers.items() if may_write]:
        mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
        raise _not_private(directory, f"{' and '.join(found)} may write in it: {mode}")


def _not_private(directory: Path, why: str) -> FolderNotPrivate:
    return FolderNotPrivate(
        f"`{directory}` is not a folder of your own and was not used",
        why=why,
        next=[
            "name another folder, or the one that the link leads to",
            f"see that it holds what you want, then `chmod go-w {shlex.quote(str(directory))}`",
        ],
    )
