"""Read regular files within limits, and nothing that only looks like one."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from aperio_cli.errors.files import (
    FileNotRegular,
    FileTooLarge,
)
from aperio_cli.models.digest import Digest

_CHUNK_BYTES = 1024 * 1024
# O_NONBLOCK: opening a pipe that stands in a file's place must not wait for its other end.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_regular(path: Path, *, follow_links: bool = False) -> BinaryIO:
    """Return a regular file opened for reading; never waits, as opening a pipe would.

    Args:
        path: the file.
        follow_links: whether the last part of the path may be a link to a regular file.

    Raises:
        FileNotRegular: it is a link (unless followed), a folder, a pipe, a socket or a device.
        OSError: it is missing or may not be read.
    """
    flags = READ_FLAGS & ~os.O_NOFOLLOW if follow_links else READ_FLAGS
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
    """Return what `st_mode` says a path is, in words: "a symbolic link", "a folder", "a socket"."""
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


def read_capped(path: Path, limit_bytes: int) -> bytes:
    """Return the contents of a regular file, or of the one a link leads to, up to a limit.

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
    """Hash a regular file, or an open one from its position, with SHA-256 in constant memory.

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
