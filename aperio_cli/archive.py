"""Artifacts: a deterministic writer, and a reader that trusts nothing it reads.

The format (DESIGN, section 3) is one gzip member (RFC 1952: no name, no time, system 255) around
a POSIX ustar archive (IEEE Std 1003.1, pax, "ustar Interchange Format"): regular files only, owner
0:0 without names, modes 0755 or 0644, one time for all, manifest.yaml first and the others in the
order of their paths' bytes, two zero blocks at the end. Folders are implied by the files in them
and not stored, so an empty folder cannot be packed.

The reader accepts exactly that, and besides: folders as members, any order after the manifest,
and zero padding up to a tar record. `tarfile` is not used for reading: it also understands
links, devices, sparse files and four header extensions, and every one of them has been a hole.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
import unicodedata
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Self

from aperio_cli.errors.files import (
    ArchiveDuplicate,
    ArchiveMalformed,
    ArchiveManifestMissing,
    ArchiveMemberType,
    ArchivePath,
    ArchiveRefused,
    ArchiveTooLarge,
    ArchiveTruncated,
    MemberUnfit,
)
from aperio_cli.files import (
    AsideFile,
    FileRecord,
    disk_full_guard,
    open_regular,
    remove_tree,
    show_path,
)
from aperio_cli.models.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

MANIFEST = "manifest.yaml"
MAX_MANIFEST_BYTES = 64 * 1024

_BLOCK_BYTES = 512
_RECORD_BYTES = 20 * _BLOCK_BYTES  # what tar pads an archive to, IEEE Std 1003.1
_ZERO_BLOCK = bytes(_BLOCK_BYTES)
_CHUNK_BYTES = 64 * 1024
_COMPRESSED_CHUNK_BYTES = 32 * 1024
_NAME_BYTES = 100
_PREFIX_BYTES = 155
_MAX_OCTAL_11 = 8**11 - 1
_MAX_PATH_BYTES = 255
_MAX_DEPTH = 32
_GZIP_LEVEL = 6
# ID1 ID2 CM FLG, MTIME 0, XFL 0, OS 255 (unknown): RFC 1952, section 2.3.
_GZIP_HEADER = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"
_OCTAL = re.compile(rb" *[0-7]+[ \x00]*")
_TYPE_NAMES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
    b"7": "a contiguous file",
    b"g": "a pax extension for the whole archive",
    b"x": "a pax extension",
    b"D": "a GNU folder listing",
    b"K": "a GNU long link name",
    b"L": "a GNU long name",
    b"M": "a GNU multi-volume continuation",
    b"N": "an old GNU long name",
    b"S": "a GNU sparse file",
    b"V": "a GNU volume label",
    b"X": "a Solaris extension",
}
_MISLEADING = frozenset({"Cc", "Cf", "Zl", "Zp"})  # controls, bidirectional marks, line ends
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much an artifact may unpack to.

    Attributes:
        total_bytes: the whole tar stream, headers included.
        file_bytes: one file.
        members: number of files, and of folders, stored or implied.
        ratio: uncompressed to compressed bytes, once `ratio_free_bytes` have been unpacked.
        ratio_free_bytes: what may be unpacked at any ratio; short texts compress very well.
    """

    total_bytes: int = 2 * 1024**3
    file_bytes: int = 1024**3
    members: int = 20_000
    ratio: int = 200
    ratio_free_bytes: int = 10 * 1024**2


DEFAULT_LIMITS = UnpackLimits()


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


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


def write(destination: Path, members: Iterable[Member], *, mtime: int) -> tuple[Digest, int]:
    """Writes an artifact, and gives its digest and its length in bytes.

    The bytes depend on the members' paths, contents and executable flags, on `mtime` and on the
    implementation of zlib; not on folder, umask, locale, clock or order. The artifact takes its
    name only when it is complete.

    Args:
        destination: the artifact; replaced when it exists.
        members: the files, in any order; one of them is manifest.yaml.
        mtime: seconds since 1970 for every member.

    Raises:
        MemberUnfit: a path that the reader would refuse or that ustar cannot hold, a member
            twice, no manifest.yaml or one over 64 KiB, a file that is too long or changes while
            it is packed, a time out of range, a whole that breaks the default limits.
        FileNotRegular: a source is a link, a folder or a device.
        DiskFull: there is no space; nothing is left.
        OSError: a source cannot be read or the destination's folder cannot be written.
    """
    if not 0 <= mtime <= _MAX_OCTAL_11:
        raise _unfit("the time of the members", f"{mtime} is not in 0..{_MAX_OCTAL_11}")
    ordered = _in_order(members)
    with AsideFile(destination) as aside:
        gzip = _GzipWriter(aside.file)
        for member in ordered:
            _write_member(gzip, member, mtime)
        gzip.write(2 * _ZERO_BLOCK)
        result = gzip.finish()
        aside.file.flush()
        _check_readable(aside.file)
        aside.commit()
    return result


def _check_readable(file: BinaryIO) -> None:
    """Nothing, when our own reader takes the artifact; above all its limits on size and ratio."""
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
            _GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_DEFAULT_STRATEGY
        )
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self._checksum = 0
        self._input_bytes = 0
        self._put(_GZIP_HEADER)

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
    """The members in their order in the file, once it is sure that the reader takes them."""
    ordered = sorted(members, key=lambda member: (member.path != MANIFEST, _bytes_of(member.path)))
    names = _Names(DEFAULT_LIMITS.members)
    for member in ordered:
        fault = _fault_in_path(_bytes_of(member.path)) or names.add(member.path, is_folder=False)
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
    """The ustar header block of one regular file."""
    limit = MAX_MANIFEST_BYTES if member.path == MANIFEST else DEFAULT_LIMITS.file_bytes
    if size > limit:
        raise _unfit(f"`{member.path}`", f"{size} bytes long; at most {limit} are allowed")
    prefix, name = _split(member.path)
    fields = (
        name.ljust(_NAME_BYTES, b"\0"),
        b"0000755\0" if member.executable else b"0000644\0",
        b"0000000\0" * 2,  # owner and group
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b" " * 8,  # the checksum counts itself as spaces
        b"0",
        bytes(100),  # link name
        b"ustar\0" + b"00",
        bytes(64),  # names of owner and group
        b"0000000\0" * 2,  # device
        prefix.ljust(_PREFIX_BYTES, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _split(path: str) -> tuple[bytes, bytes]:
    """A path as ustar's prefix and name, cut at the first `/` that lets both fit."""
    raw = path.encode()
    if len(raw) <= _NAME_BYTES:
        return b"", raw
    cut = raw.find(b"/", len(raw) - _NAME_BYTES - 1)
    if 0 < cut <= _PREFIX_BYTES:
        return raw[:cut], raw[cut + 1 :]
    raise _unfit(
        f"`{path}`",
        f"{len(raw)} bytes do not divide at a `/` into at most {_PREFIX_BYTES} and {_NAME_BYTES}",
    )


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK_BYTES)


def _unfit(subject: str, why: str) -> MemberUnfit:
    return MemberUnfit(
        f"{subject} cannot be packed; no artifact was written",
        why=why,
        next=["rename the file, or leave it out"],
    )


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def read_manifest(file: BinaryIO, *, subject: str = "the artifact") -> bytes:
    """The contents of manifest.yaml, the first member; nothing behind it is decompressed or seen.

    What it says is a claim until the whole artifact has been verified.

    Args:
        file: the artifact; read from its beginning.
        subject: how messages name it.

    Raises:
        ArchiveRefused: one of its subclasses, for whatever is wrong up to the manifest's end.
        OSError: the file cannot be read.
    """
    reader = Reader(file, DEFAULT_LIMITS, subject=subject)
    next(iter(reader))
    return b"".join(reader.body())


def walk(
    file: BinaryIO, limits: UnpackLimits = DEFAULT_LIMITS, *, subject: str = "the artifact"
) -> list[FileRecord]:
    """The files of an artifact, after every check that `unpack` makes, with nothing written.

    Args:
        file: the artifact; read from its beginning.
        limits: how much it may unpack to.
        subject: how messages name it.

    Raises:
        ArchiveRefused: one of its subclasses, for whatever is wrong with it.
        OSError: the file cannot be read.
    """
    reader = Reader(file, limits, subject=subject)
    records = []
    for entry in reader:
        digest = hashlib.sha256()
        for chunk in reader.body():
            digest.update(chunk)
        records.append(FileRecord(entry.path, entry.mode, digest.hexdigest()))
    return sorted(records, key=lambda record: record.path.encode())


def list_members(
    file: BinaryIO, limits: UnpackLimits = DEFAULT_LIMITS, *, subject: str = "the artifact"
) -> list[Entry]:
    """The files of an artifact in its order, after every check that `unpack` makes; not digested.

    Args:
        file: the artifact; read from its beginning.
        limits: how much it may unpack to.
        subject: how messages name it.

    Raises:
        ArchiveRefused: one of its subclasses, for whatever is wrong with it.
        OSError: the file cannot be read.
    """
    return list(Reader(file, limits, subject=subject))


def unpack(
    file: BinaryIO,
    destination: Path,
    limits: UnpackLimits = DEFAULT_LIMITS,
    *,
    subject: str = "the artifact",
) -> list[FileRecord]:
    """Unpacks an artifact into a new folder, and gives its files as they stand there.

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

    Raises:
        ArchiveRefused: one of its subclasses, for whatever is wrong with the artifact.
        DiskFull: there is no space.
        FileExistsError: the destination exists; it is left alone.
        OSError: the artifact cannot be read or the folder cannot be written.
    """
    with disk_full_guard(f"{subject} was not unpacked"):
        destination.mkdir(mode=0o755)
        try:
            return _unpack_into(destination, Reader(file, limits, subject=subject))
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
        self._descriptors = [os.open(root, _FOLDER_FLAGS)]
        os.fchmod(self._descriptors[0], 0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def enter(self, parts: Sequence[str]) -> int:
        """The descriptor of a folder, made with those above it where they are missing."""
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
            return os.open(part, _FOLDER_FLAGS, dir_fd=parent)
        descriptor = os.open(part, _FOLDER_FLAGS, dir_fd=parent)
        os.fchmod(descriptor, 0o755)
        return descriptor


@dataclass(frozen=True, slots=True)
class Entry:
    """One file found in an artifact.

    Attributes:
        path: its path, already checked.
        mode: 0o755 or 0o644, whatever other bits were stored.
        size_bytes: its length.
    """

    path: str
    mode: int
    size_bytes: int


class Reader:
    """The files of an artifact one after the other; iterating to the end checks all of it.

    Between two steps of the iteration `body` gives the contents of the file just named; what was
    not asked for is skipped, and checked all the same. Memory use does not depend on the
    artifact's contents, except for the names seen.

    Args:
        file: the artifact; read from its beginning.
        limits: how much it may unpack to.
        subject: how messages name it.

    Raises:
        ArchiveRefused: one of its subclasses, from the iteration and from `body`.
        OSError: the file cannot be read.
    """

    def __init__(self, file: BinaryIO, limits: UnpackLimits, *, subject: str) -> None:
        self._stream = _GzipReader(file, limits)
        self._limits = limits
        self._subject = subject
        self._names = _Names(limits.members)
        self._remaining_bytes = 0  # of the current file
        self._padding_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        try:
            yield from self._entries()
        except _Fault as fault:
            raise fault.refusal(self._subject) from fault

    def body(self) -> Iterator[bytes]:
        """The contents of the current file in chunks, from where the last call stopped."""
        try:
            while self._remaining_bytes:
                chunk = self._stream.read_exactly(min(self._remaining_bytes, _CHUNK_BYTES))
                self._remaining_bytes -= len(chunk)
                yield chunk
        except _Fault as fault:
            raise fault.refusal(self._subject) from fault

    def _entries(self) -> Iterator[Entry]:
        is_first = True
        while (block := self._stream.read_exactly(_BLOCK_BYTES)) != _ZERO_BLOCK:
            header = _parse_header(block)
            self._check(header, is_first=is_first)
            is_first = False
            if not header.is_folder:
                self._remaining_bytes = header.size_bytes
                self._padding_bytes = -header.size_bytes % _BLOCK_BYTES
                mode = 0o755 if header.mode & stat.S_IXUSR else 0o644
                yield Entry(header.path, mode, header.size_bytes)
                self._skip_rest_of_file()
        if is_first:
            raise _Fault(ArchiveManifestMissing, "the archive is empty")
        self._check_end()

    def _check(self, header: _Header, *, is_first: bool) -> None:
        if is_first and (header.is_folder or header.path != MANIFEST):
            found = show_path(header.path)
            raise _Fault(ArchiveManifestMissing, f"the first member is `{found}`, not {MANIFEST}")
        if is_first and header.size_bytes > MAX_MANIFEST_BYTES:
            why = f"{MANIFEST} is {header.size_bytes} bytes long"
            raise _Fault(ArchiveTooLarge, f"{why}; at most {MAX_MANIFEST_BYTES} are allowed")
        if header.size_bytes > self._limits.file_bytes:
            why = f"`{show_path(header.path)}` is {header.size_bytes} bytes long"
            raise _Fault(ArchiveTooLarge, f"{why}; at most {self._limits.file_bytes} are allowed")
        if fault := self._names.add(header.path, is_folder=header.is_folder):
            raise fault

    def _skip_rest_of_file(self) -> None:
        while self._remaining_bytes:
            step = min(self._remaining_bytes, _CHUNK_BYTES)
            self._remaining_bytes -= len(self._stream.read_exactly(step))
        if any(self._stream.read_exactly(self._padding_bytes)):
            raise _Fault(ArchiveMalformed, "the padding behind a file is not zero")
        self._padding_bytes = 0

    def _check_end(self) -> None:
        """The second zero block, zeros up to a tar record at most, and the end of the file."""
        if self._stream.read_exactly(_BLOCK_BYTES) != _ZERO_BLOCK:
            raise _Fault(ArchiveMalformed, "one zero block does not end an archive; two do")
        rest = self._stream.read_up_to(_RECORD_BYTES)
        if any(rest) or len(rest) == _RECORD_BYTES:
            raise _Fault(ArchiveMalformed, "there is data after the end of the archive")
        self._stream.check_end()


class _Fault(Exception):
    """What is wrong, before it is said whose artifact it is in; never leaves this module."""

    def __init__(self, kind: type[ArchiveRefused], why: str) -> None:
        super().__init__(why)
        self.kind = kind
        self.why = why

    def refusal(self, subject: str) -> ArchiveRefused:
        """The refusal that people see."""
        step = "get the artifact again, in case it was changed on the way"
        if self.kind not in {ArchiveTruncated, ArchiveMalformed}:
            step = "do not use this artifact, and tell its publisher"
        return self.kind(
            f"{subject} was not unpacked: {_TITLES[self.kind]}", why=self.why, next=[step]
        )


_TITLES: dict[type[ArchiveRefused], str] = {
    ArchiveTruncated: "it ends too early",
    ArchiveMalformed: "it is not a well-formed archive",
    ArchiveMemberType: "it holds something other than files",
    ArchivePath: "a path in it is not safe",
    ArchiveDuplicate: "two members of it claim the same path",
    ArchiveTooLarge: "it is larger than a plugin may be",
    ArchiveManifestMissing: f"it does not begin with {MANIFEST}",
}


class _GzipReader:
    """The decompressed bytes of a file that is exactly one gzip member, within limits."""

    def __init__(self, file: BinaryIO, limits: UnpackLimits) -> None:
        file.seek(0)
        self._file = file
        self._limits = limits
        # 16 + window: zlib reads the gzip header and checks CRC and length in the trailer.
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._compressed = b""
        self._compressed_bytes = 0
        self._output = b""
        self._position = 0  # what of the output has been handed out
        self._output_bytes = 0

    def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes.

        Raises:
            _Fault: there are fewer, or what is there breaks a rule.
        """
        data = self.read_up_to(count)
        if len(data) < count:
            raise _Fault(ArchiveTruncated, "the archive inside ends before its end mark")
        return data

    def read_up_to(self, count: int) -> bytes:
        """The next `count` bytes, or all that are left."""
        parts = []
        missing = count
        while missing and (self._position < len(self._output) or self._inflate()):
            part = self._output[self._position : self._position + missing]
            self._position += len(part)
            missing -= len(part)
            parts.append(part)
        return b"".join(parts)

    def check_end(self) -> None:
        """Nothing, when the file ends where the gzip member, read to its end, did."""
        if self._inflater.unused_data or self._file.read(1):
            raise _Fault(ArchiveMalformed, "there is data after the end of the gzip stream")

    def _inflate(self) -> bool:
        """Replaces the output by the next chunk; False at the end of the gzip member."""
        self._output = b""
        self._position = 0
        while not self._output and not self._inflater.eof:
            if not self._compressed:
                self._compressed = self._file.read(_COMPRESSED_CHUNK_BYTES)
                self._compressed_bytes += len(self._compressed)
            was_last = not self._compressed
            try:
                self._output = self._inflater.decompress(self._compressed, _CHUNK_BYTES)
            except zlib.error as error:
                raise _Fault(ArchiveMalformed, f"the gzip stream is damaged: {error}") from error
            self._compressed = self._inflater.unconsumed_tail
            if was_last and not self._output and not self._inflater.eof:
                raise _Fault(ArchiveTruncated, "the gzip stream has no end")
        self._output_bytes += len(self._output)
        self._check_size()
        return bool(self._output)

    def _check_size(self) -> None:
        limits = self._limits
        if self._output_bytes > limits.total_bytes:
            raise _Fault(ArchiveTooLarge, f"it unpacks to more than {limits.total_bytes} bytes")
        consumed = self._compressed_bytes - len(self._compressed)
        is_free = self._output_bytes <= limits.ratio_free_bytes
        if not is_free and self._output_bytes > limits.ratio * consumed:
            why = f"{consumed} bytes of it unpack to {self._output_bytes} bytes"
            raise _Fault(ArchiveTooLarge, f"{why}; at most {limits.ratio} times as many may be")


@dataclass(frozen=True, slots=True)
class _Header:
    path: str
    mode: int
    size_bytes: int
    is_folder: bool


def _parse_header(block: bytes) -> _Header:
    """One ustar header block, its path checked; the field offsets are IEEE Std 1003.1's."""
    stated = _octal(block[148:156], "checksum")
    if stated != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise _Fault(ArchiveMalformed, "the checksum of a header is wrong")
    if block[257:265] != b"ustar\0" + b"00":
        raise _Fault(ArchiveMalformed, f"a header is not POSIX ustar: {block[257:265]!r}")
    raw_path = _text(block[0:100], "name")
    if prefix := _text(block[345:500], "prefix"):
        raw_path = prefix + b"/" + raw_path
    kind = block[156:157]
    if kind not in {b"0", b"\0", b"5"}:
        name = _TYPE_NAMES.get(kind, f"of unknown type {kind!r}")
        raise _Fault(ArchiveMemberType, f"`{show_path(raw_path)}` is {name}")
    is_folder = kind == b"5"
    if is_folder:
        raw_path = raw_path.removesuffix(b"/")
    if fault := _fault_in_path(raw_path):
        raise fault
    for offset, width, name in ((108, 8, "owner"), (116, 8, "group"), (136, 12, "time")):
        _octal(block[offset : offset + width], name)
    size_bytes = _octal(block[124:136], "size")
    if is_folder and size_bytes:
        raise _Fault(ArchiveMalformed, f"the folder `{show_path(raw_path)}` has contents")
    return _Header(raw_path.decode(), _octal(block[100:108], "mode"), size_bytes, is_folder)


def _octal(raw: bytes, name: str) -> int:
    if raw[0] & 0x80:
        raise _Fault(ArchiveMalformed, f"the {name} in a header is a base-256 number")
    if not _OCTAL.fullmatch(raw):
        raise _Fault(ArchiveMalformed, f"the {name} in a header is not an octal number: {raw!r}")
    return int(raw.strip(b" \0"), 8)


def _text(raw: bytes, name: str) -> bytes:
    text, _, rest = raw.partition(b"\0")
    if any(rest):
        raise _Fault(ArchivePath, f"a NUL hides the end of a {name}: {show_path(raw)}")
    return text


def _fault_in_path(raw: bytes) -> _Fault | None:
    """What is wrong with a member's path by itself, or None."""
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        return _Fault(ArchivePath, f"`{show_path(raw)}` is not UTF-8")
    parts = path.split("/")
    rules = (
        (path.startswith("/"), "is absolute"),
        (".." in parts, "has a part `..`"),
        ("." in parts, "has a part `.`"),
        ("" in parts, "has an empty part"),
        ("\\" in path, "has a backslash"),
        (any(unicodedata.category(c) in _MISLEADING for c in path), "has invisible characters"),
        (not unicodedata.is_normalized("NFC", path), "is not in Unicode normal form C"),
        (len(raw) > _MAX_PATH_BYTES, f"is longer than {_MAX_PATH_BYTES} bytes"),
        (len(parts) > _MAX_DEPTH, f"is more than {_MAX_DEPTH} folders deep"),
    )
    broken = next((words for is_broken, words in rules if is_broken), None)
    return _Fault(ArchivePath, f"`{show_path(path)}` {broken}") if broken else None


@dataclass(slots=True)
class _Names:
    """The paths seen so far, with the folders they imply."""

    max_members: int
    stored: set[str] = field(default_factory=set)
    is_folder_by_path: dict[str, bool] = field(default_factory=dict)
    path_by_folded: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, *, is_folder: bool) -> _Fault | None:
        """Takes note of a member's path, or says what it collides with."""
        if path in self.stored:
            return _Fault(ArchiveDuplicate, f"`{show_path(path)}` is there twice")
        self.stored.add(path)
        parts = path.split("/")
        for length in range(1, len(parts)):
            if fault := self._claim("/".join(parts[:length]), is_folder=True):
                return fault
        return self._claim(path, is_folder=is_folder)

    def _claim(self, path: str, *, is_folder: bool) -> _Fault | None:
        known = self.is_folder_by_path.setdefault(path, is_folder)
        if known != is_folder:
            return _Fault(ArchiveDuplicate, f"`{show_path(path)}` is both a file and a folder")
        if len(self.is_folder_by_path) > self.max_members:
            return _Fault(ArchiveTooLarge, f"it has more than {self.max_members} files and folders")
        folded = unicodedata.normalize("NFC", path.casefold())
        other = self.path_by_folded.setdefault(folded, path)
        if other != path:
            why = f"`{show_path(other)}` and `{show_path(path)}` differ in case only"
            return _Fault(ArchiveDuplicate, why)
        return None
