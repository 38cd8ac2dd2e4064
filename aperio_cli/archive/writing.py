"""Write artifacts: the same members give the same bytes."""

from __future__ import annotations

import hashlib
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from aperio_cli.archive.header import (
    GZIP_HEADER,
    MAX_NUMBER,
    NAME_BYTES,
    PREFIX_BYTES,
    header_block,
    split_path,
)
from aperio_cli.archive.reading import list_members
from aperio_cli.archive.rules import (
    BLOCK_BYTES,
    DEFAULT_LIMITS,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    ZERO_BLOCK,
    Names,
    fault_in_path,
)
from aperio_cli.errors.files import (
    ArchiveRefused,
    MemberUnfit,
)
from aperio_cli.files.reading import open_regular
from aperio_cli.files.writing import AsideFile
from aperio_cli.models.digest import Digest
from aperio_cli.text import show_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_CHUNK_BYTES = 64 * 1024
GZIP_LEVEL = 6
"""How hard an artifact is compressed (docs/reference/artifact.md)."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file to be packed.

    Attributes:
        path: its path in the artifact, parts joined by `/`.
        source: the regular file to copy, or the contents themselves.
        executable: packed with mode 0755 instead of 0644.
    """

    path: str
    source: Path | bytes
    executable: bool = False


def write(
    destination: Path, members: Iterable[Member], *, mtime: int, folder: int | None = None
) -> tuple[Digest, int]:
    """Write an artifact, and give its digest and its length in bytes.

    The bytes depend on the members' paths, contents and executable flags, on `mtime` and on the
    implementation of zlib; not on folder, umask, locale, clock or order. The artifact takes its
    name only when it is complete.

    Args:
        destination: the artifact; replaced when it exists.
        members: the files, in any order; one of them is manifest.yaml.
        mtime: seconds since 1970 for every member.
        folder: descriptor of the folder that it is in; None opens the one that its path names.

    Raises:
        MemberUnfit: a path that the reader would refuse or that ustar cannot hold, a member
            twice, no manifest.yaml or one over 64 KiB, a file that is too long or changes while
            it is packed, a time out of range, a whole that breaks the default limits.
        FileNotRegular: a source is a link, a folder or a device.
        DiskFull: there is no space; nothing is left.
        OSError: a source cannot be read or the destination's folder cannot be written.
    """
    if not 0 <= mtime <= MAX_NUMBER:
        raise _unfit("the time of the members", f"{mtime} is not in 0..{MAX_NUMBER}")
    ordered = _in_order(members)
    with AsideFile(destination, folder=folder) as aside:
        gzip = _GzipWriter(aside.file)
        for member in ordered:
            _write_member(gzip, member, mtime)
        gzip.write(2 * ZERO_BLOCK)
        result = gzip.finish()
        aside.file.flush()
        _check_readable(aside.file)
        aside.commit()
    return result


def _check_readable(file: BinaryIO) -> None:
    """Check that our own reader takes the artifact; above all its limits on size and ratio."""
    try:
        list_members(file)
    except ArchiveRefused as refusal:
        raise _unfit("the project", refusal.why) from refusal


class _GzipWriter:
    """A gzip file with a fixed header, digested while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # Every parameter stated, so that a default that changes does not change an artifact.
        self._compressor = zlib.compressobj(
            GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY
        )
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self._checksum = 0
        self._input_bytes = 0
        self._put(GZIP_HEADER)

    def write(self, data: bytes) -> None:
        self._checksum = zlib.crc32(data, self._checksum)
        self._input_bytes += len(data)
        self._put(self._compressor.compress(data))

    def finish(self) -> tuple[Digest, int]:
        self._put(self._compressor.flush())
        self._put(self._checksum.to_bytes(4, "little"))
        self._put((self._input_bytes % 2**32).to_bytes(4, "little"))
        return Digest(self._digest.hexdigest()), self._size_bytes

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._size_bytes += len(data)
        self._file.write(data)


def _in_order(members: Iterable[Member]) -> list[Member]:
    """Return the members in their order in the file, once it is sure that the reader takes them."""
    ordered = sorted(members, key=lambda member: (member.path != MANIFEST, _bytes_of(member.path)))
    names = Names(DEFAULT_LIMITS.members)
    for member in ordered:
        fault = fault_in_path(_bytes_of(member.path)) or names.add(member.path)
        if fault:
            raise _unfit(f"`{show_path(member.path)}`", fault.why) from fault
    if not ordered or ordered[0].path != MANIFEST:
        raise _unfit(f"a project without {MANIFEST}", "it has to be the first member")
    return ordered


def _bytes_of(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _write_member(gzip: _GzipWriter, member: Member, mtime: int) -> None:
    if isinstance(member.source, bytes):
        gzip.write(_header(member, len(member.source), mtime))
        gzip.write(member.source)
        gzip.write(_padding(len(member.source)))
        return
    with open_regular(member.source) as file:
        size = os.fstat(file.fileno()).st_size
        gzip.write(_header(member, size, mtime))
        remaining = size
        while chunk := file.read(min(_CHUNK_BYTES, remaining)):
            gzip.write(chunk)
            remaining -= len(chunk)
        if remaining or file.read(1):
            raise _unfit(f"`{member.path}`", "its length changed while it was packed")
    gzip.write(_padding(size))


def _header(member: Member, size: int, mtime: int) -> bytes:
    """Return the ustar header block of one regular file."""
    limit = MAX_MANIFEST_BYTES if member.path == MANIFEST else DEFAULT_LIMITS.file_bytes
    if size > limit:
        raise _unfit(f"`{member.path}`", f"{size} bytes long; at most {limit} are allowed")
    path = split_path(member.path)
    if path is None:
        raise _unfit(
            f"`{member.path}`",
            f"{len(member.path.encode())} bytes do not divide at a `/` into at most"
            f" {PREFIX_BYTES} and {NAME_BYTES}",
        )
    return header_block(path, size, mtime, executable=member.executable)


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK_BYTES)


def _unfit(subject: str, why: str) -> MemberUnfit:
    return MemberUnfit(
        f"{subject} cannot be packed; no artifact was written",
        why=why,
        next=["rename the file, or leave it out"],
    )
