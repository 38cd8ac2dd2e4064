"""Archives built byte by byte, so that they can be as wrong as an attacker wants them."""

from __future__ import annotations

import gzip
import random
import unicodedata
import zlib
from dataclasses import dataclass

BLOCK = 512
END = bytes(2 * BLOCK)
MANIFEST_TEXT = b"id: acme/box-connector\n"


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a tar header that a test may want to get wrong; None means the right one."""

    mode: bytes = b"0000644\0"
    size: bytes | None = None
    mtime: bytes = b"00000000000\0"
    magic: bytes = b"ustar\x0000"
    checksum: bytes | None = None
    linkname: bytes = b""
    prefix: bytes = b""


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
            b"0000000\0" * 2,
            size,
            fields.mtime,
            b" " * 8,
            kind,
            fields.linkname.ljust(100, b"\0"),
            fields.magic,
            bytes(64),
            b"0000000\0" * 2,
            fields.prefix.ljust(155, b"\0"),
            bytes(12),
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
    """One gzip member around data."""
    return gzip.compress(data, mtime=0)


def artifact_of(*members: bytes) -> bytes:
    """An artifact with the manifest and these members."""
    return gzip_of(tar_of(*members))


def zeros_gzip(head: bytes, zero_bytes: int) -> bytes:
    """One gzip member around `head` and very many zeros, made without holding them."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    step = bytes(1024 * 1024)
    parts = [compressor.compress(head)]
    parts += [compressor.compress(step) for _ in range(zero_bytes // len(step))]
    return b"".join((*parts, compressor.flush()))


def decomposed(text: str) -> str:
    """The text in Unicode normal form D, as some file systems hand it out."""
    return unicodedata.normalize("NFD", text)


def seeded(seed: int) -> random.Random:
    """Random numbers that are the same in every run."""
    return random.Random(seed)  # noqa: S311 - makes up test data, guards nothing
