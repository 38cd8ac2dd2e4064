"""Files on this machine: atomic writes, private folders, locks, digests, the list of a tree.

Format of `files.sha256` (DESIGN, section 3): one line for each regular file below a folder,
`<sha256 in hex>  <0755|0644>  <path>` and a line feed. Paths are relative, parts joined by `/`;
lines are in the order of the paths' UTF-8 bytes. The tree digest is `t1:` and the sha256 in hex
of exactly these bytes. Folders are not listed, so an empty one makes no difference.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import re
import stat
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from aperio_cli import clock
from aperio_cli.errors.files import (
    DiskFull,
    FileNotRegular,
    FilesChanged,
    FileTooLarge,
    FolderNotPrivate,
    LockHeld,
    TreeNotPlain,
)
from aperio_cli.models.digest import Digest
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

ASIDE_PREFIX = ".aside-"
"""How the name of everything half-written begins; `sweep` removes what a crash left of it."""

FILE_MODES = (0o644, 0o755)
"""The only modes that a file of an artifact, or of an installed tree, has."""

_NAMED_AT_MOST = 5
_CHUNK_BYTES = 1024 * 1024
_HASHING_THREADS = 2
_LOCK_POLL_S = 0.02
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_TREE_LINE = re.compile(rb"([0-9a-f]{64})  (0755|0644)  ([^\x00-\x1f\x7f]+)\n")
# O_NONBLOCK: opening a pipe that stands in a file's place must not wait for its other end.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_O_PATH = getattr(os, "O_PATH", 0)  # Linux: a descriptor of what may be walked through, not read


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a tree.

    Attributes:
        path: relative to the tree, parts joined by `/`.
        mode: permission bits, such as 0o644.
        sha256: digest of the contents, 64 lower-case hex digits.
    """

    path: str
    mode: int
    sha256: str


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def disk_full_guard(what: str) -> Iterator[None]:
    """Turns "no space" and "over quota" inside the block into one error that people can act on.

    Args:
        what: the thing being written and the state a full disk leaves it in, for instance
            "`acme/box-connector` 1.2.0 was not installed".

    Raises:
        DiskFull: for ENOSPC and EDQUOT, and for a DiskFull of something smaller: people are told
            of the thing that they named. Every other exception passes through.
    """
    try:
        yield
    except DiskFull as smaller:
        raise _disk_full(what, smaller.why) from smaller
    except OSError as error:
        if error.errno not in _FULL:
            raise
        why = f"{os.strerror(error.errno)}: {error.filename}" if error.filename else str(error)
        raise _disk_full(what, why) from error


def _disk_full(what: str, why: str) -> DiskFull:
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
                self._folder = os.open(self._path.parent, _FOLDER_FLAGS & ~os.O_NOFOLLOW)
                on_failure.callback(os.close, self._folder)
            # Private until it is complete: fchmod in commit gives the mode whatever the umask.
            descriptor = os.open(self._aside, flags, 0o600, dir_fd=self._folder)
            self.file = os.fdopen(descriptor, "w+b")
            self._opened = on_failure.pop_all()
        self._guard.__enter__()
        return self

    def commit(self) -> None:
        """Gives the file its name, after its bytes and before the folder's entry are on disk."""
        self.file.flush()
        os.fchmod(self.file.fileno(), self._mode)
        os.fsync(self.file.fileno())
        os.rename(self._aside, self._path.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
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
    """Replaces a file with these bytes: afterwards it is wholly the old one or wholly the new one.

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
    """Makes renames inside a folder survive a power failure (fsync of the folder).

    Raises:
        OSError: the folder is missing or cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(directory: Path) -> None:
    """Makes a folder, and any missing ones above it, that only this user can look into (0700).

    A folder that is there is closed to others, unless they could write in it: what they put there
    by now cannot be told from what is ours.

    Raises:
        FolderNotPrivate: a link, a file, somebody else's folder, or one that all may write in.
        DiskFull: there is no space.
        OSError: a folder above it cannot be written.
    """
    with disk_full_guard(f"`{directory}` was not made"):
        # Not `parents=True`, which leaves the mode of those above it to the umask.
        missing = itertools.takewhile(
            lambda path: not path.exists(), [directory, *directory.parents]
        )
        for folder in reversed(list(missing)):
            folder.mkdir(mode=0o700, exist_ok=True)
    try:
        descriptor = os.open(directory, _FOLDER_FLAGS)
    except OSError as error:
        raise _not_private(directory, f"it is a link or cannot be opened: {error}") from error
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise _not_private(
                directory, f"it belongs to user {status.st_uid}, not to {os.geteuid()}"
            )
        if status.st_mode & stat.S_IWOTH:
            raise _not_private(
                directory, f"everybody may write in it: mode {stat.S_IMODE(status.st_mode):04o}"
            )
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _not_private(directory: Path, why: str) -> FolderNotPrivate:
    return FolderNotPrivate(
        f"`{directory}` is not a folder of your own and was not used",
        why=why,
        next=["name another folder, or the one that the link leads to"],
    )


# ── removing ──────────────────────────────────────────────────────────────────────────────────────


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
    """A folder that is to be emptied, opened to its owner where he closed it."""
    try:
        descriptor = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except PermissionError:
        closed = os.open(name, _FOLDER_FLAGS | _O_PATH, dir_fd=parent)
        try:
            # By descriptor, which no chmod of a name is: the name may be a link by now.
            os.chmod(f"/proc/self/fd/{closed}", 0o700)  # noqa: PTH101 - no path of anybody's
            return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        finally:
            os.close(closed)
    if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        with contextlib.suppress(PermissionError):  # somebody else's: removing from it may work
            os.fchmod(descriptor, 0o700)
    return descriptor


def _open_above(folder: int, level: _Level) -> int:
    above = os.open("..", _FOLDER_FLAGS, dir_fd=folder)
    if _identity(above) != level.identity:
        os.close(above)
        raise OSError(errno.ESTALE, "a folder was moved away while it was removed", "..")
    return above


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def sweep(directory: Path, prefix: str = ASIDE_PREFIX) -> int:
    """Removes what a crash left half-written directly in a folder, and says how many entries.

    Call it while holding the lock that writers of this folder hold: it cannot tell a crashed
    writer's entry from a working one's. A missing folder holds nothing.

    Args:
        directory: the folder to look in, not below.
        prefix: how the names to remove begin; never empty.

    Raises:
        ValueError: the prefix is empty.
        OSError: an entry cannot be removed.
    """
    if not prefix:
        raise ValueError("an empty prefix would remove everything")
    try:
        left_over = [
            Path(entry) for entry in os.scandir(directory) if entry.name.startswith(prefix)
        ]
    except FileNotFoundError:
        return 0
    for path in left_over:
        remove_tree(path)
    return len(left_over)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def open_regular(path: Path, *, follow_links: bool = False) -> BinaryIO:
    """A regular file opened for reading; never waits, as opening a pipe would.

    Args:
        path: the file.
        follow_links: whether the last part of the path may be a link to a regular file.

    Raises:
        FileNotRegular: it is a link (unless followed), a folder, a pipe, a socket or a device.
        OSError: it is missing or may not be read.
    """
    flags = _READ_FLAGS & ~os.O_NOFOLLOW if follow_links else _READ_FLAGS
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        # ELOOP: a link. ENXIO: a socket, or a device without its driver.
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise _not_regular(path, path.lstat().st_mode) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_regular(path, mode)
    return os.fdopen(descriptor, "rb")


def _not_regular(path: Path, mode: int) -> FileNotRegular:
    return FileNotRegular(
        f"`{path}` was not read: it is not a regular file",
        why=f"expected a regular file\nfound    {kind_of(mode)}",
        next=["name the file itself"],
    )


def kind_of(mode: int) -> str:
    """What `st_mode` says a path is, in words: "a symbolic link", "a folder", "a socket"."""
    for is_kind, words in (
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a fifo"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    ):
        if is_kind(mode):
            return words
    return "something unknown"


def show_path(path: str | bytes) -> str:
    """A path from outside, safe to show within one line: bounded, no controls, no line ends."""
    return clean(path).replace("\n", "\N{REPLACEMENT CHARACTER}").replace("\t", " ")


def read_capped(path: Path, limit_bytes: int) -> bytes:
    """The contents of a regular file, or of the one a link leads to, up to a limit.

    Args:
        path: the file.
        limit_bytes: the longest contents; one byte more is an error. Holds for a file that grows
            while it is read, too.

    Raises:
        FileTooLarge: it is longer.
        FileNotRegular: a folder, a pipe, a socket or a device stands there.
        OSError: it is missing or may not be read.
    """
    with open_regular(path, follow_links=True) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise FileTooLarge(
            f"`{path}` was not read: it is too long",
            why=f"expected at most {limit_bytes} bytes",
            next=["check that this is the file you meant"],
        )
    return data


def hash_file(source: Path | BinaryIO) -> Digest:
    """The SHA-256 of a regular file, or of an open one from its position on, in constant memory.

    Raises:
        FileNotRegular: the path is a link or not a file.
        OSError: it is missing or may not be read.
    """
    if isinstance(source, Path):
        with open_regular(source) as file:
            return hash_file(file)
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
    return Digest(digest.hexdigest())


# ── locking ───────────────────────────────────────────────────────────────────────────────────────


class Lock:
    """A lock between processes, held for the length of a `with` block (flock, exclusive).

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
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
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
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if clock.monotonic_s() >= deadline_s:
                    raise self._held(descriptor) from None
                time.sleep(_LOCK_POLL_S)
            else:
                return

    def _held(self, descriptor: int) -> LockHeld:
        # Between taking the lock and writing its id a holder is nameless for a moment.
        holder = os.pread(descriptor, 20, 0).strip().decode("ascii", "replace")
        name = f"process {holder}" if holder.isdigit() else "another process"
        return LockHeld(
            f"{self._what}: {name} is at work on the same files",
            why=f"waited {self._timeout_s:g} s for {self._path}",
            next=["wait until it has ended, then run the same command again"],
        )


# ── the list of a tree ────────────────────────────────────────────────────────────────────────────


def list_tree(root: Path) -> list[FileRecord]:
    """Every file below a folder, in the order of the paths' UTF-8 bytes, with mode and digest.

    Raises:
        TreeNotPlain: it holds a link, a device, or a name with control characters or not UTF-8;
            or `root` itself is a link.
        OSError: something is missing or may not be read.
    """
    scan = _scan(root, {})
    if scan.oddities:
        raise TreeNotPlain(
            f"`{root}` holds what is not a plain file",
            why=_at_most_five(scan.oddities),
            next=["put regular files in their place, or leave them out"],
        )
    return scan.records


def format_tree(records: Iterable[FileRecord]) -> bytes:
    """The contents of `files.sha256` for these files, in whatever order they come.

    Raises:
        ValueError: a mode is neither 0644 nor 0755.
    """
    lines = []
    for record in sorted(records, key=_path_bytes):
        if record.mode not in FILE_MODES:
            raise ValueError(f"mode {record.mode:04o} of {record.path!r} cannot be listed")
        lines.append(_line(record))
    return "".join(lines).encode()


def tree_digest(text: bytes) -> str:
    """The tree digest, `t1:<hex>`, of the contents of a `files.sha256`."""
    return f"t1:{hashlib.sha256(text).hexdigest()}"


def parse_tree(text: bytes) -> list[FileRecord]:
    """The files that the contents of a `files.sha256` list, in their order.

    Raises:
        FilesChanged: the text is not what `format_tree` writes: another form, an order that is
            not bytewise, a path twice, or one that leads outside.
    """
    records = [_parse_line(line) for line in text.splitlines(keepends=True)]
    keys = [_path_bytes(record) for record in records]
    if any(second <= first for first, second in itertools.pairwise(keys)):
        raise _list_damaged("its lines are not in the order of their paths")
    return records


def compare_tree(
    root: Path, expected: bytes, *, subject: str, digests: Mapping[str, str] | None = None
) -> None:
    """Nothing, when the files below `root` are exactly those listed; runs before every launch.

    Contents, modes and the set of files are compared; 300 files of 25 MB take some 15 ms.

    Args:
        root: the folder.
        expected: the contents of `files.sha256`, which the caller has checked against the
            receipt's tree digest.
        subject: the installed thing, for the message: "`acme/box-connector` 1.2.0".
        digests: SHA-256 in hexadecimal, by path, of files that the caller has just read to the
            end and uses only what was read of: they are not read a second time.

    Raises:
        FilesChanged: names at most five files that differ, are missing, or are new.
        OSError: a file may not be read.
    """
    try:
        scan = _scan(root, digests or {})
    except FileNotFoundError:
        scan = _Scan()
    found = "".join(map(_line, scan.records)).encode()
    if found == expected and not scan.oddities:
        return
    differences = sorted(scan.oddities + _differences(parse_tree(expected), scan.records))
    count = f"{len(differences)} file{'s' if len(differences) > 1 else ''}"
    raise FilesChanged(
        f"{subject} is not as it was installed: {count} changed; nothing was executed",
        why=_at_most_five(differences),
        next=[
            "install it again, which brings back the published files",
            "if nobody changed these files on purpose, find out who can write to this account",
        ],
    )


@dataclass(slots=True)
class _Scan:
    """What is below a folder: records in the order of the format, and oddities in words."""

    records: list[FileRecord] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)


def _scan(root: Path, digests: Mapping[str, str]) -> _Scan:
    scan = _Scan()
    try:
        descriptor = os.open(root, _FOLDER_FLAGS)
    except NotADirectoryError:  # also what O_NOFOLLOW with O_DIRECTORY answers for a link
        scan.oddities.append(f"{root}  is not a folder")
        return scan
    try:
        paths = list(_walk(descriptor, scan.oddities))
        _hash_all(descriptor, paths, digests, scan)
    finally:
        os.close(descriptor)
    scan.records.sort(key=_path_bytes)
    return scan


def _walk(root: int, oddities: list[str]) -> Iterator[str]:
    """Paths of everything below that looks like a file; the rest goes to the oddities."""
    pending = [""]
    while pending:
        folder = pending.pop()
        descriptor = os.open(folder or ".", _FOLDER_FLAGS, dir_fd=root)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path)
                    elif not entry.is_file(follow_symlinks=False):
                        mode = entry.stat(follow_symlinks=False).st_mode
                        oddities.append(f"{show_path(path)}  is {kind_of(mode)}")
                    elif not _is_listable(path):
                        oddities.append(f"{show_path(path)}  has a name that cannot be listed")
                    else:
                        yield path
        finally:
            os.close(descriptor)


def _is_listable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return not any(character < " " or character == "\x7f" for character in path)


def _hash_all(root: int, paths: Sequence[str], digests: Mapping[str, str], scan: _Scan) -> None:
    """Fills the scan's records from several threads: reading and hashing release the GIL."""
    remaining = iter(paths)  # advancing a list's iterator is atomic
    failures: list[OSError] = []

    def work() -> None:
        try:
            for path in remaining:
                record = _record(root, path, digests.get(path))
                if isinstance(record, FileRecord):
                    scan.records.append(record)
                else:
                    scan.oddities.append(record)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(_HASHING_THREADS - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _record(root: int, path: str, digest: str | None) -> FileRecord | str:
    """The record of one file, or what is odd about it when it was swapped since it was seen.

    It is read unless its digest is known.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return f"{path}  disappeared while it was read"
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            return f"{path}  became a link or a device while it was read"
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return f"{path}  is {kind_of(status.st_mode)}"
        digest = digest or _sha256(descriptor, status.st_size)
        return FileRecord(path, stat.S_IMODE(status.st_mode), digest)
    finally:
        os.close(descriptor)


def _sha256(descriptor: int, size_bytes: int) -> str:
    digest = hashlib.sha256()
    # One byte more than it has: a short file takes one read and one that finds the end.
    step = min(size_bytes + 1, _CHUNK_BYTES)
    while chunk := os.read(descriptor, step):
        digest.update(chunk)
    return digest.hexdigest()


def _differences(expected: Sequence[FileRecord], found: Sequence[FileRecord]) -> list[str]:
    before = {record.path: record for record in expected}
    after = {record.path: record for record in found}
    lines = [f"{path}  is missing" for path in before.keys() - after.keys()]
    lines += [f"{path}  is new" for path in after.keys() - before.keys()]
    for path in before.keys() & after.keys():
        if before[path].sha256 != after[path].sha256:
            lines.append(f"{path}  has other contents")
        elif before[path].mode != after[path].mode:
            was, now = before[path].mode, after[path].mode
            lines.append(f"{path}  has mode {now:04o}, expected {was:04o}")
    return lines


def _at_most_five(lines: Sequence[str]) -> str:
    shown = sorted(lines)[:_NAMED_AT_MOST]
    if len(lines) > _NAMED_AT_MOST:
        shown.append(f"and {len(lines) - _NAMED_AT_MOST} more")
    return "\n".join(shown)


def _path_bytes(record: FileRecord) -> bytes:
    return record.path.encode()


def _line(record: FileRecord) -> str:
    return f"{record.sha256}  {record.mode:04o}  {record.path}\n"


def _parse_line(line: bytes) -> FileRecord:
    matched = _TREE_LINE.fullmatch(line)
    try:
        path = matched[3].decode() if matched else ""
    except UnicodeDecodeError:
        path = ""
    if not matched or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise _list_damaged(f"not a line of it: {clean(line)}")
    return FileRecord(path, int(matched[2], 8), matched[1].decode())


def _list_damaged(why: str) -> FilesChanged:
    return FilesChanged(
        "the list of installed files, files.sha256, is damaged",
        why=why,
        next=["remove the plugin and install it again"],
    )
