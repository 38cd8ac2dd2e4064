"""Read artifacts, and trust nothing that is read.

The reader accepts exactly what the writer writes: the same files at the same time are one tar
stream, and only their compression may differ. `tarfile` is not used: it also understands links,
devices, sparse files and four header extensions, and every one of them has been a hole.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import stat
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from aperio_cli.archive.header import (
    GZIP_HEADER,
    MAX_NUMBER,
    fault_in_gzip_header,
    fault_in_header,
    header_block,
    split_path,
)
from aperio_cli.archive.rules import (
    BLOCK_BYTES,
    DEFAULT_LIMITS,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    ZERO_BLOCK,
    Fault,
    Names,
    UnpackLimits,
    fault_in_path,
)
from aperio_cli.errors.files import (
    ArchiveMalformed,
    ArchiveManifestMissing,
    ArchiveMemberType,
    ArchivePath,
    ArchiveTooLarge,
    ArchiveTruncated,
)
from aperio_cli.files.tree import FileRecord
from aperio_cli.text import show_path

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_INFLATED_BYTES = 256 * 1024 * 1024
"""How much is kept of what an artifact was inflated to."""

_CHUNK_BYTES = 64 * 1024
_COMPRESSED_CHUNK_BYTES = 32 * 1024
_OCTAL = re.compile(rb" *[0-7]+[ \x00]*")
_TYPE_NAMES = {
    b"\0": "a file of the kind before POSIX",
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
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


def read_manifest(file: BinaryIO, *, subject: str = "the artifact") -> bytes:
    """Return the contents of manifest.yaml, the first member.

    Nothing behind it is decompressed or seen.

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
    """Return the files of an artifact, after every check that `unpack` makes, with nothing written.

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
    file: BinaryIO,
    limits: UnpackLimits = DEFAULT_LIMITS,
    *,
    subject: str = "the artifact",
    inflated: Inflated | None = None,
) -> list[Entry]:
    """Return the files of an artifact in its order, after every check that `unpack` makes.

    Not digested.

    Args:
        file: the artifact; read from its beginning.
        limits: how much it may unpack to.
        subject: how messages name it.
        inflated: takes what is inside of the gzip stream.

    Raises:
        ArchiveRefused: one of its subclasses, for whatever is wrong with it.
        OSError: the file cannot be read.
    """
    return list(Reader(file, limits, subject=subject, inflated=inflated))


class Inflated:
    """What is inside of an artifact's gzip stream, kept by the walk that checks it for the next.

    Inflating is most of what unpacking costs. Nothing depends on it: of a stream that is too long,
    or where there is no space, nothing is kept, and the next walk inflates it once more.

    Args:
        file: an empty file of nobody else's; it is closed with this.

    Attributes:
        is_whole: whether all of it is there, of an artifact that was found in order.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.is_whole = False
        self._is_given_up = False

    def add(self, data: bytes) -> None:
        """Take in the next bytes."""
        if self._is_given_up:
            return
        try:
            self.file.write(data)
            if self.file.tell() > MOST_INFLATED_BYTES:
                self._give_up()
        except OSError:
            self._give_up()

    def end(self) -> None:
        """Say that the artifact was read to its end, and is in order."""
        if self._is_given_up:
            return
        try:
            self.file.flush()
            self.is_whole = True
        except OSError:
            self._give_up()

    def close(self) -> None:
        """Let go of it."""
        self.is_whole = False
        with contextlib.suppress(OSError):  # closing flushes, which a full disk refuses again
            self.file.close()

    def _give_up(self) -> None:
        self._is_given_up = True
        self.close()


@dataclass(frozen=True, slots=True)
class Entry:
    """One file found in an artifact.

    Attributes:
        path: its path, already checked.
        mode: 0o755 or 0o644.
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
        inflated: what an earlier walk has kept; else takes what this one finds.

    Raises:
        ArchiveRefused: one of its subclasses, from the iteration and from `body`.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        file: BinaryIO,
        limits: UnpackLimits,
        *,
        subject: str,
        inflated: Inflated | None = None,
    ) -> None:
        is_kept = inflated is not None and inflated.is_whole
        self._kept = None if is_kept else inflated
        self._stream = (
            _PlainReader(inflated.file)
            if inflated is not None and is_kept
            else _GzipReader(file, limits, inflated)
        )
        self._limits = limits
        self._subject = subject
        self._names = Names(limits.members)
        self._last: _Header | None = None
        self._remaining_bytes = 0  # of the current file
        self._padding_bytes = 0

    def __iter__(self) -> Iterator[Entry]:
        try:
            yield from self._entries()
        except Fault as fault:
            raise fault.refusal(self._subject) from fault

    def body(self) -> Iterator[bytes]:
        """Yield the contents of the current file in chunks, from where the last call stopped."""
        try:
            while self._remaining_bytes:
                chunk = self._stream.read_exactly(min(self._remaining_bytes, _CHUNK_BYTES))
                self._remaining_bytes -= len(chunk)
                yield chunk
        except Fault as fault:
            raise fault.refusal(self._subject) from fault

    def _entries(self) -> Iterator[Entry]:
        while (block := self._stream.read_exactly(BLOCK_BYTES)) != ZERO_BLOCK:
            header = _parse_header(block)
            self._check(header)
            self._last = header
            self._remaining_bytes = header.size_bytes
            self._padding_bytes = -header.size_bytes % BLOCK_BYTES
            yield Entry(header.path, 0o755 if header.executable else 0o644, header.size_bytes)
            self._skip_rest_of_file()
        if self._last is None:
            raise Fault(ArchiveManifestMissing, "the archive is empty")
        self._check_end()

    def _check(self, header: _Header) -> None:
        is_first = self._last is None
        if is_first and header.path != MANIFEST:
            found = show_path(header.path)
            raise Fault(ArchiveManifestMissing, f"the first member is `{found}`, not {MANIFEST}")
        if is_first and header.size_bytes > MAX_MANIFEST_BYTES:
            why = f"{MANIFEST} is {header.size_bytes} bytes long"
            raise Fault(ArchiveTooLarge, f"{why}; at most {MAX_MANIFEST_BYTES} are allowed")
        if header.size_bytes > self._limits.file_bytes:
            why = f"`{show_path(header.path)}` is {header.size_bytes} bytes long"
            raise Fault(ArchiveTooLarge, f"{why}; at most {self._limits.file_bytes} are allowed")
        if fault := self._names.add(header.path):
            raise fault
        if self._last:
            _check_sequence(self._last, header)

    def _skip_rest_of_file(self) -> None:
        while self._remaining_bytes:
            step = min(self._remaining_bytes, _CHUNK_BYTES)
            self._remaining_bytes -= len(self._stream.read_exactly(step))
        if any(self._stream.read_exactly(self._padding_bytes)):
            raise Fault(ArchiveMalformed, "the padding behind a file is not zero")
        self._padding_bytes = 0

    def _check_end(self) -> None:
        """Require the second zero block, and then the end."""
        if self._stream.read_exactly(BLOCK_BYTES) != ZERO_BLOCK:
            raise Fault(ArchiveMalformed, "one zero block does not end an archive; two do")
        if self._stream.read_up_to(1):
            raise Fault(ArchiveMalformed, "there is data after the end of the archive")
        self._stream.check_end()
        if self._kept:
            self._kept.end()


class _PlainReader:
    """The bytes that an earlier walk has inflated, within limits then."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self._file = file

    def read_exactly(self, count: int) -> bytes:
        """Return the next `count` bytes (`_GzipReader.read_exactly`)."""
        data = self._file.read(count)
        if len(data) < count:
            raise Fault(ArchiveTruncated, "the archive inside ends before its end mark")
        return data

    def read_up_to(self, count: int) -> bytes:
        """Return the next `count` bytes, or all that are left."""
        return self._file.read(count)

    def check_end(self) -> None:
        """Check nothing: the walk that kept it has found its end."""


class _GzipReader:
    """The decompressed bytes of a file that is exactly one gzip member, within limits."""

    def __init__(self, file: BinaryIO, limits: UnpackLimits, inflated: Inflated | None) -> None:
        file.seek(0)
        self._file = file
        self._limits = limits
        self._inflated = inflated
        # 16 + window: zlib reads the gzip header and checks CRC and length in the trailer.
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._compressed = b""
        self._compressed_bytes = 0
        self._output = b""
        self._position = 0  # what of the output has been handed out
        self._output_bytes = 0
        self._is_begun = False

    def read_exactly(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            Fault: there are fewer, or what is there breaks a rule.
        """
        data = self.read_up_to(count)
        if len(data) < count:
            raise Fault(ArchiveTruncated, "the archive inside ends before its end mark")
        return data

    def read_up_to(self, count: int) -> bytes:
        """Return the next `count` bytes, or all that are left."""
        parts = []
        missing = count
        while missing and (self._position < len(self._output) or self._inflate()):
            part = self._output[self._position : self._position + missing]
            self._position += len(part)
            missing -= len(part)
            parts.append(part)
        return b"".join(parts)

    def check_end(self) -> None:
        """Check that the file ends where the gzip member, read to its end, did."""
        if self._inflater.unused_data or self._file.read(1):
            raise Fault(ArchiveMalformed, "there is data after the end of the gzip stream")

    def _inflate(self) -> bool:
        """Replace the output by the next chunk; False at the end of the gzip member."""
        self._begin()
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
                raise Fault(ArchiveMalformed, f"the gzip stream is damaged: {error}") from error
            self._compressed = self._inflater.unconsumed_tail
            if was_last and not self._output and not self._inflater.eof:
                raise Fault(ArchiveTruncated, "the gzip stream has no end")
        self._output_bytes += len(self._output)
        self._check_size()
        if self._inflated:
            self._inflated.add(self._output)
        return bool(self._output)

    def _begin(self) -> None:
        """Read the gzip header, once: zlib would take one with a name, a comment and much else."""
        if self._is_begun:
            return
        self._is_begun = True
        self._compressed = self._file.read(_COMPRESSED_CHUNK_BYTES)
        self._compressed_bytes = len(self._compressed)
        head = self._compressed[: len(GZIP_HEADER)]
        is_cut_off = GZIP_HEADER.startswith(head)
        if not is_cut_off and (fault := fault_in_gzip_header(head)):
            raise fault

    def _check_size(self) -> None:
        limits = self._limits
        if self._output_bytes > limits.total_bytes:
            raise Fault(ArchiveTooLarge, f"it unpacks to more than {limits.total_bytes} bytes")
        consumed = self._compressed_bytes - len(self._compressed)
        is_free = self._output_bytes <= limits.ratio_free_bytes
        if not is_free and self._output_bytes > limits.ratio * consumed:
            why = f"{consumed} bytes of it unpack to {self._output_bytes} bytes"
            raise Fault(ArchiveTooLarge, f"{why}; at most {limits.ratio} times as many may be")


@dataclass(frozen=True, slots=True)
class _Header:
    path: str
    executable: bool
    size_bytes: int
    mtime: int


def _parse_header(block: bytes) -> _Header:
    """Return one header, once nothing in it is other than the writer would have written."""
    stated = _octal(block[148:156], "checksum")
    if stated != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise Fault(ArchiveMalformed, "the checksum of a header is wrong")
    if block[257:265] != b"ustar\0" + b"00":
        raise Fault(ArchiveMalformed, f"a header is not POSIX ustar: {block[257:265]!r}")
    path = _path(block)
    header = _Header(
        path,
        executable=bool(_octal(block[100:108], "mode") & stat.S_IXUSR),
        size_bytes=min(_octal(block[124:136], "size"), MAX_NUMBER),
        mtime=min(_octal(block[136:148], "time"), MAX_NUMBER),
    )
    parts = split_path(path)
    if parts is None:
        why = f"`{show_path(path)}` does not divide into a prefix and a name"
        raise Fault(ArchivePath, why)
    expected = header_block(parts, header.size_bytes, header.mtime, executable=header.executable)
    if fault := fault_in_header(block, expected, path):
        raise fault
    return header


def _path(block: bytes) -> str:
    """Return the path of a header of a regular file, checked."""
    raw_path = _text(block[0:100], "name")
    if prefix := _text(block[345:500], "prefix"):
        raw_path = prefix + b"/" + raw_path
    kind = block[156:157]
    if kind != b"0":
        name = _TYPE_NAMES.get(kind, f"of unknown type {kind!r}")
        raise Fault(ArchiveMemberType, f"`{show_path(raw_path)}` is {name}")
    if fault := fault_in_path(raw_path):
        raise fault
    return raw_path.decode()


def _check_sequence(last: _Header, header: _Header) -> None:
    """Require the order of paths behind the manifest, and one time for all.

    Raises:
        Fault: one is not as it has to be.
    """
    if last.path != MANIFEST and last.path.encode() > header.path.encode():
        why = f"`{show_path(header.path)}` stands behind `{show_path(last.path)}`"
        raise Fault(ArchiveMalformed, f"{why}; members have the order of their paths' bytes")
    if last.mtime != header.mtime:
        why = f"the time of `{show_path(header.path)}` is {header.mtime}, not {last.mtime}"
        raise Fault(ArchiveMalformed, f"{why} as that of the member before it")


def _octal(raw: bytes, name: str) -> int:
    if raw[0] & 0x80:
        raise Fault(ArchiveMalformed, f"the {name} in a header is a base-256 number")
    if not _OCTAL.fullmatch(raw):
        raise Fault(ArchiveMalformed, f"the {name} in a header is not an octal number: {raw!r}")
    return int(raw.strip(b" \0"), 8)


def _text(raw: bytes, name: str) -> bytes:
    text, _, rest = raw.partition(b"\0")
    if any(rest):
        raise Fault(ArchivePath, f"a NUL hides the end of a {name}: {show_path(raw)}")
    return text
