"""Files below one folder, for folders whose contents somebody else has written.

A registry from a clone, a folder that another program made: a link in it can lead anywhere. So
every part of a path is opened from the descriptor of the folder before it, and no link is ever
followed. The folder itself is what the operator named, and may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import OrderedDict
from typing import TYPE_CHECKING, BinaryIO, Self

from aperio_cli import text
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import FileNotRegular, FileTooLarge
from aperio_cli.files import locking, reading, removing, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

_MOST_LEVELS = 16
_ROOT_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER_FLAGS = _ROOT_FLAGS | os.O_NOFOLLOW
# O_NONBLOCK: opening a pipe that stands in a file's place must not wait for its other end.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_NAMES = frozenset({"", ".", ".."})
_CHUNK_BYTES = 1024 * 1024
# ELOOP and ENOTDIR: a link, where a file and where a folder was expected. ENXIO: a socket.
_OTHER_KIND = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO})


def require_files(folder: Path, names: Iterable[str]) -> None:
    """Refuse names in a folder that are links, folders, pipes, sockets or devices.

    Raises:
        FileNotRegular: one of them is.
        OSError: one of them is missing, or the folder cannot be opened.
    """
    with Beneath(folder) as files:
        for name in names:
            files.open_file(name).close()


def _is_encodable(name: str) -> bool:
    if name.isascii():
        return True
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


class Beneath:
    """A folder held open, and what is done to files below it; a context manager closes it.

    Every method takes a path as its parts, and raises:
        FileNotRegular: a link stands at or above the path, something else than a file or a folder
            where it takes one, or a part is no name: empty, `.`, `..`, with `/` or NUL.
        OSError: something on the way is missing, or may not be used. Names the whole path.

    Attributes:
        root: the folder, as it was named.

    Raises:
        OSError: the folder is missing, is none, or cannot be opened.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._descriptor = os.open(root, _ROOT_FLAGS)

    def below(self, *parts: str) -> Beneath:
        """Open a folder below, or without parts this one again, as a root of its own."""
        opened = object.__new__(Beneath)
        opened.root = self.path(*parts)
        with self._parent(parts) if parts else self._folder(()) as folder:
            opened._descriptor = (
                self._open(folder, parts, _FOLDER_FLAGS) if parts else os.dup(folder)
            )
        return opened

    @property
    def descriptor(self) -> int:
        """Of the root itself, open until this is closed."""
        return self._descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)
        self._descriptor = -1

    def path(self, *parts: str) -> Path:
        """Return the whole path, to be shown; opening it would follow links."""
        return self.root.joinpath(*parts)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    def mode(self, *parts: str) -> int | None:
        """Return `st_mode` of a file or folder; None when there is nothing."""
        try:
            with self._parent(parts) as folder:
                mode = os.lstat(parts[-1], dir_fd=folder).st_mode
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise self._refusal(parts, "a regular file or a folder", mode)
        return mode

    def has_file(self, *parts: str) -> bool:
        """Return whether a regular file stands there."""
        mode = self.mode(*parts)
        return mode is not None and stat.S_ISREG(mode)

    @property
    def inode(self) -> int:
        """Inode of the root itself."""
        return os.fstat(self._descriptor).st_ino

    def status(self, *parts: str) -> os.stat_result:
        """Return the status of what is there, of a link itself."""
        with self._parent(parts) as folder:
            return os.lstat(parts[-1], dir_fd=folder)

    def open_file(self, *parts: str) -> BinaryIO:
        """Return a regular file opened for reading; never wait, as opening a pipe would."""
        return os.fdopen(self._open_file(parts)[0], "rb")

    def read(self, *parts: str, limit_bytes: int) -> bytes:
        """Return the contents of a regular file.

        Raises:
            FileTooLarge: it is longer than the limit.
        """
        descriptor, size_bytes = self._open_file(parts)
        try:
            data = os.read(descriptor, min(size_bytes, limit_bytes) + 1)
            # It may have grown meanwhile, or be longer than one call gives.
            while len(data) <= limit_bytes and (
                more := os.read(descriptor, min(limit_bytes + 1 - len(data), _CHUNK_BYTES))
            ):
                data += more
        finally:
            os.close(descriptor)
        if len(data) > limit_bytes:
            raise FileTooLarge(
                f"`{self.path(*parts)}` was not read: it is too long",
                why=f"expected at most {limit_bytes} bytes",
                next=["check that this is the file you meant"],
            )
        return data

    def names(self, *parts: str) -> list[str]:
        """Return the names in a folder, or without parts in the root itself, sorted."""
        with self._folder(parts) as folder:
            return sorted(os.listdir(folder))  # noqa: PTH208 - of a descriptor, not a path

    def entries(self, *parts: str) -> list[tuple[str, os.stat_result]]:
        """Return names and status of what is in a folder, sorted; links are not followed.

        A link, a pipe, a socket or a device among them refuses.
        """
        with self._folder(parts) as folder, os.scandir(folder) as found:
            entries = sorted((each.name, each.stat(follow_symlinks=False)) for each in found)
        for name, status in entries:
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise self._refusal((*parts, name), "a regular file or a folder", status.st_mode)
        return entries

    def walk(self, *parts: str) -> Iterator[tuple[tuple[str, ...], os.stat_result]]:
        """Yield path and status of all files below a folder, and of folders without any; sorted.

        Folders deeper in each other than anybody means refuse, too: whoever put them there wants
        the walk to last.
        """
        pending = [(parts, self.status(*parts))]
        while pending:
            path, status = pending.pop()
            if not stat.S_ISDIR(status.st_mode):
                yield path, status
                continue
            if len(path) - len(parts) > _MOST_LEVELS:
                raise self._too_deep(path)
            entries = self.entries(*path)
            if not entries:
                yield path, status
            pending += [((*path, name), found) for name, found in reversed(entries)]

    # ── writing ───────────────────────────────────────────────────────────────────────────────────

    def make_folders(self, *parts: str, mode: int = 0o755) -> None:
        """Make a folder and the missing ones above it; new ones get the mode whatever the umask."""
        for depth in range(1, len(parts) + 1):
            with self._parent(parts[:depth]) as folder:
                try:
                    os.mkdir(parts[depth - 1], mode, dir_fd=folder)
                except FileExistsError:
                    continue
            self.change_mode(*parts[:depth], mode=mode)
        with self._folder(parts):  # a link or a file in its place refuses
            pass

    def change_mode(self, *parts: str, mode: int) -> None:
        """Give a folder permission bits."""
        with self._folder(parts) as folder:
            os.fchmod(folder, mode)

    @contextlib.contextmanager
    def aside_file(self, *parts: str, mode: int = 0o644) -> Iterator[writing.AsideFile]:
        """Write a file beside its place, as `files.AsideFile` does.

        Raises:
            DiskFull: there is no space.
        """
        with (
            self._parent(parts) as folder,
            writing.AsideFile(self.path(*parts), mode=mode, folder=folder) as aside,
        ):
            yield aside

    def write_atomic(self, *parts: str, data: bytes, mode: int = 0o644) -> None:
        """Replace a file, or a link in its place, with these bytes; its folder must exist.

        Raises:
            DiskFull: there is no space; what was there is untouched.
        """
        with self.aside_file(*parts, mode=mode) as aside:
            aside.file.write(data)
            aside.commit()

    def add_file(self, *parts: str, data: bytes, mode: int = 0o644) -> os.stat_result:
        """Write a new file in a folder that nobody sees yet; it may not be on the disk afterwards.

        Returns:
            The status of the file.

        Raises:
            FileExistsError: something is there.
            DiskFull: there is no space.
        """
        try:
            with self._parent(parts) as folder:
                descriptor = os.open(parts[-1], _NEW_FLAGS, mode, dir_fd=folder)
            try:
                left = memoryview(data)
                while left := left[os.write(descriptor, left) :]:
                    pass
                os.fchmod(descriptor, mode)
                return os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            with writing.disk_full_guard(f"`{self.path(*parts)}` was not written"):
                raise  # the guard's text takes longer to make than a file

    def link(self, name: str, into: Beneath, other: str = "") -> None:
        """Give a file in the root itself a second place in another root, under a name there."""
        other = other or name
        self._check((name, other))
        ours, theirs = self._descriptor, into._descriptor
        os.link(name, other, src_dir_fd=ours, dst_dir_fd=theirs, follow_symlinks=False)

    def move(self, name: str, into: Beneath, other: str = "") -> None:
        """Move what is in the root itself into another root, under a name there."""
        other = other or name
        self._check((name, other))
        os.rename(name, other, src_dir_fd=self._descriptor, dst_dir_fd=into._descriptor)

    def rename(self, name: str, other: str) -> None:
        """Give what is in the root itself another name there, and bring that to the disk.

        An empty folder of the other name is replaced by a folder.
        """
        for part in (name, other):
            self._check((part,))
        os.rename(name, other, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        os.fsync(self._descriptor)

    def remove_tree(self, *parts: str) -> None:
        """Remove a file, a link, or a folder with all it holds, as `files.remove_below` does."""
        with self._parent(parts) as folder:
            removing.remove_below(folder, parts[-1])

    @contextlib.contextmanager
    def lock(self, *parts: str, what: str) -> Iterator[None]:
        """Hold the lock of a file for the length of the block, as `files.Lock` does.

        Args:
            parts: the lock file.
            what: what cannot happen meanwhile, as the start of a sentence.

        Raises:
            LockHeld: another process holds it.
        """
        self.mode(*parts)
        with (
            self._parent(parts) as folder,
            locking.FileLock(self.path(*parts), what=what, folder=folder),
        ):
            yield

    # ── the way down ──────────────────────────────────────────────────────────────────────────────

    def _parent(self, parts: tuple[str, ...]) -> contextlib.AbstractContextManager[int]:
        """Open the folder that holds the last part, which is checked here, not opened."""
        if not parts:
            raise self._not_a_name(parts, "")
        self._check(parts)
        # The root is open already; `_folder` opens it anew for those who read its entries.
        return self._folder(parts[:-1]) if parts[1:] else contextlib.nullcontext(self._descriptor)

    @contextlib.contextmanager
    def _folder(self, parts: tuple[str, ...]) -> Iterator[int]:
        """Open a folder for the length of the block."""
        self._check(parts)
        descriptor = os.open(".", _ROOT_FLAGS, dir_fd=self._descriptor)
        try:
            for depth in range(1, len(parts) + 1):
                above, descriptor = (
                    descriptor,
                    self._open(descriptor, parts[:depth], _FOLDER_FLAGS),
                )
                os.close(above)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_file(self, parts: tuple[str, ...]) -> tuple[int, int]:
        """Return the descriptor of a regular file, and its length."""
        with self._parent(parts) as folder:
            descriptor = self._open(folder, parts, _FILE_FLAGS)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise self._refusal(parts, "a regular file", status.st_mode)
        return descriptor, status.st_size

    def _open(self, folder: int, parts: tuple[str, ...], flags: int) -> int:
        """Open the last part from the folder that holds it."""
        try:
            return os.open(parts[-1], flags, dir_fd=folder)
        except OSError as error:
            if error.errno in _OTHER_KIND:
                mode = os.lstat(parts[-1], dir_fd=folder).st_mode
                expected = "a folder" if flags & os.O_DIRECTORY else "a regular file"
                raise self._refusal(parts, expected, mode) from error
            path = str(self.path(*parts))
            raise OSError(error.errno, os.strerror(error.errno or 0), path) from error

    def _check(self, parts: tuple[str, ...]) -> None:
        for part in parts:
            if part in _NO_NAMES or "/" in part or "\0" in part or not _is_encodable(part):
                raise self._not_a_name(parts, part)

    def _refusal(self, parts: tuple[str, ...], expected: str, mode: int) -> FileNotRegular:
        return FileNotRegular(
            f"`{self.path(*parts)}` was not used: it is {reading.kind_of(mode)}",
            why=f"expected {expected}\nfound    {reading.kind_of(mode)}\n"
            f"below {self.root} no link is followed",
            next=[f"put {expected} in its place", "name the place that it leads to"],
        )

    def _too_deep(self, parts: tuple[str, ...]) -> FileNotRegular:
        return FileNotRegular(
            f"`{self.path(parts[0])}` was not used: too many folders stand in each other",
            why=f"expected at most {_MOST_LEVELS} levels\n{text.show_path('/'.join(parts))}",
            next=["remove what does not belong there"],
        )

    def _not_a_name(self, parts: tuple[str, ...], part: str) -> FileNotRegular:
        shown = text.show_path("/".join(parts))
        return FileNotRegular(
            f"`{shown}` was not used: it leads out of `{self.root}`",
            why=f"expected names of files and folders\nfound    {text.show_path(repr(part))}",
            next=["check it for a typing error"],
        )


class OpenFolders:
    """Folders below a root that were used last, held open: a walk in order opens each once.

    Args:
        root: the root.
        most: how many are held open.
    """

    def __init__(self, root: Beneath, most: int) -> None:
        self._root = root
        self._most = most
        self._opened: OrderedDict[tuple[str, ...], Beneath] = OrderedDict()

    def get(self, parts: tuple[str, ...], *, is_made: bool = False) -> Beneath:
        """Return a folder below, with `is_made` made where it is missing; without parts the root.

        Raises:
            FileNotRegular: as `Beneath.below`, below the folder above it.
            OSError: it is missing, or may not be used.
        """
        if not parts:
            return self._root
        found = self._opened.get(parts)
        if found is not None:
            self._opened.move_to_end(parts)
            return found
        above = self.get(parts[:-1], is_made=is_made)
        if is_made:
            above.make_folders(parts[-1])
        opened = self._opened[parts] = above.below(parts[-1])
        if len(self._opened) > self._most:
            self._opened.popitem(last=False)[1].close()
        return opened

    def read(self, *parts: str, limit_bytes: int) -> bytes:
        """Return the contents of a regular file, and refuse, as `Beneath.read`."""
        try:
            return self.get(parts[:-1]).read(parts[-1], limit_bytes=limit_bytes)
        except (OSError, AperioError):
            return self._root.read(*parts, limit_bytes=limit_bytes)  # it names the whole way

    def close(self) -> None:
        """Let go of them all."""
        while self._opened:
            self._opened.popitem()[1].close()
