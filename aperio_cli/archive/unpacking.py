"""Unpack an artifact into a folder, through folder descriptors."""

from __future__ import annotations

import hashlib
import itertools
import os
from typing import TYPE_CHECKING, BinaryIO, Self

from aperio_cli.archive.reading import Reader
from aperio_cli.archive.rules import DEFAULT_LIMITS, UnpackLimits
from aperio_cli.files.reading import FOLDER_FLAGS
from aperio_cli.files.removing import remove_tree
from aperio_cli.files.tree import FileRecord
from aperio_cli.files.writing import disk_full_guard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aperio_cli.archive.reading import Inflated

_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(
    file: BinaryIO,
    destination: Path,
    limits: UnpackLimits = DEFAULT_LIMITS,
    *,
    subject: str = "the artifact",
    inflated: Inflated | None = None,
) -> list[FileRecord]:
    """Unpack an artifact into a new folder, and give its files as they stand there.

    Files are made with 0755 or 0644 by their owner's execute bit, folders with 0755, whatever
    the umask; times and owners in the artifact are ignored. Every name is opened relative to its
    folder's descriptor and never through a link. Files are not synchronised one by one: the tree
    is compared with these records before each launch, which finds a write that a crash lost.

    Args:
        file: the artifact; read from its beginning.
        destination: a folder that does not exist yet, in one that does. After any failure it
            does not exist.
        limits: how much the artifact may unpack to.
        subject: how messages name it.
        inflated: what an earlier walk has kept of it; every check is made once more all the same.

    Raises:
        ArchiveRefused: one of its subclasses, for whatever is wrong with the artifact.
        DiskFull: there is no space.
        FileExistsError: the destination exists; it is left alone.
        OSError: the artifact cannot be read or the folder cannot be written.
    """
    with disk_full_guard(f"{subject} was not unpacked"):
        destination.mkdir(mode=0o755)
        try:
            reader = Reader(file, limits, subject=subject, inflated=inflated)
            return _unpack_into(destination, reader)
        except BaseException:
            remove_tree(destination)
            raise


def _unpack_into(destination: Path, reader: Reader) -> list[FileRecord]:
    records = []
    with _Folders(destination) as folders:
        for entry in reader:
            *parents, name = entry.path.split("/")
            descriptor = os.open(name, _NEW_FILE_FLAGS, 0o600, dir_fd=folders.enter(parents))
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                digest = hashlib.sha256()
                for chunk in reader.body():
                    digest.update(chunk)
                    _write_all(file.fileno(), chunk)
                os.fchmod(file.fileno(), entry.mode)
            records.append(FileRecord(entry.path, entry.mode, digest.hexdigest()))
    return sorted(records, key=lambda record: record.path.encode())


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class _Folders:
    """The folder being unpacked into and the chain of open folders below it."""

    def __init__(self, root: Path) -> None:
        self._parts: list[str] = []
        self._descriptors = [os.open(root, FOLDER_FLAGS)]
        os.fchmod(self._descriptors[0], 0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def enter(self, parts: Sequence[str]) -> int:
        """Return the descriptor of a folder, made with those above it where they are missing."""
        both = zip(self._parts, parts, strict=False)
        shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], both))
        while len(self._parts) > shared:
            self._parts.pop()
            os.close(self._descriptors.pop())
        for part in parts[shared:]:
            self._descriptors.append(self._make(part))
            self._parts.append(part)
        return self._descriptors[-1]

    def _make(self, part: str) -> int:
        parent = self._descriptors[-1]
        try:
            os.mkdir(part, 0o755, dir_fd=parent)
        except FileExistsError:
            return os.open(part, FOLDER_FLAGS, dir_fd=parent)
        descriptor = os.open(part, FOLDER_FLAGS, dir_fd=parent)
        os.fchmod(descriptor, 0o755)
        return descriptor
