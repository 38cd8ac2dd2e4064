"""Archives built byte by byte, so that they can be as wrong as an attacker wants them."""

from __future__ import annotations

import random
import struct
import unicodedata
import zlib
from dataclasses import dataclass

BLOCK = 512
END = bytes(2 * BLOCK)
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
MANIFEST_TEXT = b"id: acme/box-connector\n"


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a tar header that a test may want to get wrong; None means the right one."""

    mode: bytes = b"0000644\0"
    owner: bytes = b"0000000\0"
    group: bytes = b"0000000\0"
    size: bytes | None = None
    mtime: bytes = b"00000000000\0"
    magic: bytes = b"ustar\x0000"
    checksum: bytes | None = None
    linkname: bytes = b""
    owner_name: bytes = b""
    group_name: bytes = b""
    device: bytes = b"0000000\0" * 2
    prefix: bytes = b""
    rest: bytes = bytes(12)


RIGHT = Fields()


def tar_member(
    name: str | bytes, data: bytes = b"", *, kind: bytes = b"0", fields: Fields = RIGHT
) -> bytes:
    """One member: header, contents, padding."""
    raw = name.encode() if isinstance(name, str) else name
    size = b"%011o\0" % len(data) if fields.size is None else fields.size
    block = b"".join(
        (
            raw.ljust(100, b"\0"),
            fields.mode,
            fields.owner,
            fields.group,
            size,
            fields.mtime,
            b" " * 8,
            kind,
            fields.linkname.ljust(100, b"\0"),
            fields.magic,
            fields.owner_name.ljust(32, b"\0"),
            fields.group_name.ljust(32, b"\0"),
            fields.device,
            fields.prefix.ljust(155, b"\0"),
            fields.rest,
        )
    )
    assert len(block) == BLOCK, "a field has the wrong width"
    checksum = b"%06o\0 " % sum(block) if fields.checksum is None else fields.checksum
    return block[:148] + checksum + block[156:] + data + bytes(-len(data) % BLOCK)


def manifest_member(text: bytes = MANIFEST_TEXT) -> bytes:
    """The first member of every artifact."""
    return tar_member("manifest.yaml", text)


def tar_of(*members: bytes, end: bytes = END) -> bytes:
    """A tar stream: the manifest, these members, the end."""
    return manifest_member() + b"".join(members) + end


def gzip_of(data: bytes) -> bytes:
    """One gzip member around data, with the header that an artifact has."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return sealed_gzip(compressor.compress(data) + compressor.flush(), data)


def stored_gzip(data: bytes, *, empty_blocks: int) -> bytes:
    """The same, not compressed, with empty blocks before; 10 + 5 * (blocks + 1) + data + 8 long."""
    assert len(data) < 2**16
    length = struct.pack("<HH", len(data), len(data) ^ 0xFFFF)
    return sealed_gzip(b"\0\0\0\xff\xff" * empty_blocks + b"\x01" + length + data, data)


def sealed_gzip(deflated: bytes, data: bytes, *, head: bytes = GZIP_HEADER) -> bytes:
    """A gzip member of what was deflated already."""
    return head + deflated + struct.pack("<II", zlib.crc32(data), len(data) % 2**32)


def artifact_of(*members: bytes) -> bytes:
    """An artifact with the manifest and these members."""
    return gzip_of(tar_of(*members))


def zeros_gzip(head: bytes, zero_bytes: int) -> bytes:
    """One gzip member around `head` and very many zeros, made without holding them."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    step = bytes(1024 * 1024)
    first = compressor.compress(head) + compressor.flush(zlib.Z_FULL_FLUSH)
    # What follows such a flush refers to nothing before it: each step is the same bytes.
    again = compressor.compress(step) + compressor.flush(zlib.Z_FULL_FLUSH)
    count = zero_bytes // len(step)
    checksum = zlib.crc32(head)
    for _ in range(count):
        checksum = zlib.crc32(step, checksum)
    size_bytes = (len(head) + count * len(step)) % 2**32
    end = compressor.flush() + struct.pack("<II", checksum, size_bytes)
    return GZIP_HEADER + first + again * count + end


def decomposed(text: str) -> str:
    """The text in Unicode normal form D, as some file systems hand it out."""
    return unicodedata.normalize("NFD", text)


def seeded(seed: int) -> random.Random:
    """Random numbers that are the same in every run."""
    return random.Random(seed)  # noqa: S311 - makes up test data, guards nothing
