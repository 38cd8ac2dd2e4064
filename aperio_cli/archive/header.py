"""The one form of a header: what the writer writes, and the reader compares with.

A header has room for much that says nothing about a plugin: owners, devices, set-user-id bits, a
file's name as it once was. In each part that is free two artifacts may differ that unpack to the
same, and one tool may see what another does not. So nothing is free. The fields are those of POSIX
ustar (IEEE Std 1003.1, pax, "ustar Interchange Format").
"""

from __future__ import annotations

from typing import Final

from aperio_cli.archive.rules import BLOCK_BYTES, Fault
from aperio_cli.errors.files import ArchiveMalformed
from aperio_cli.text import show_path

# ID1 ID2 CM FLG, MTIME 0, XFL 0, OS 255 (unknown): RFC 1952, section 2.3.
GZIP_HEADER: Final = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"
MAX_NUMBER: Final = 8**11 - 1
"""The largest of eleven octal digits, for a size or a time."""

NAME_BYTES: Final = 100
PREFIX_BYTES: Final = 155
_FIELDS: Final = (
    ("name", NAME_BYTES),
    ("mode", 8),
    ("owner's number", 8),
    ("group's number", 8),
    ("size", 12),
    ("time", 12),
    ("checksum", 8),
    ("type", 1),
    ("link name", 100),
    ("magic", 8),
    ("owner's name", 32),
    ("group's name", 32),
    ("device's major number", 8),
    ("device's minor number", 8),
    ("prefix", PREFIX_BYTES),
    ("unused rest", 12),
)
_GZIP_FIELDS: Final = (
    ("magic", 2),
    ("method", 1),
    ("flags", 1),
    ("time", 4),
    ("extra flags", 1),
    ("system", 1),
)
_SHOWN_BYTES: Final = 32


def split_path(path: str) -> tuple[bytes, bytes] | None:
    """Return a path as ustar's prefix and name; None when it cannot be divided so.

    It is cut at the first `/` that lets both fit, and only when it has to be.
    """
    raw = path.encode()
    if len(raw) <= NAME_BYTES:
        return b"", raw
    cut = raw.find(b"/", len(raw) - NAME_BYTES - 1)
    return (raw[:cut], raw[cut + 1 :]) if 0 < cut <= PREFIX_BYTES else None


def header_block(path: tuple[bytes, bytes], size: int, mtime: int, *, executable: bool) -> bytes:
    """Return the header of one regular file.

    Args:
        path: its prefix and name, as `split_path` gives them.
        size: of its contents in bytes.
        mtime: its time, at most `MAX_NUMBER`.
        executable: whether its mode is 0755 instead of 0644.
    """
    prefix, name = path
    fields = (
        name.ljust(NAME_BYTES, b"\0"),
        b"0000755\0" if executable else b"0000644\0",
        b"0000000\0" * 2,  # owner and group
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b" " * 8,  # the checksum counts itself as spaces
        b"0",
        bytes(100),  # link name
        b"ustar\0" + b"00",
        bytes(64),  # names of owner and group
        b"0000000\0" * 2,  # device
        prefix.ljust(PREFIX_BYTES, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def fault_in_header(block: bytes, expected: bytes, path: str) -> Fault | None:
    """Return in which field a header is not what it has to be, or None.

    Args:
        block: the header as it was found.
        expected: as `header_block` gives it.
        path: what it is about, for the message.
    """
    if block == expected:
        return None
    assert len(block) == len(expected) == BLOCK_BYTES  # noqa: S101 - both are blocks
    field, found, wanted = _first_difference(block, expected, _FIELDS)
    why = f"the {field} in the header of `{show_path(path)}` is {found}, not {wanted}"
    return Fault(ArchiveMalformed, why)


def fault_in_gzip_header(head: bytes) -> Fault | None:
    """Return in which field the first ten bytes of a file are not our gzip header, or None."""
    if head == GZIP_HEADER:
        return None
    field, found, wanted = _first_difference(head, GZIP_HEADER, _GZIP_FIELDS)
    return Fault(ArchiveMalformed, f"{field} in the gzip header: {found}, not {wanted}")


def _first_difference(
    found: bytes, expected: bytes, fields: tuple[tuple[str, int], ...]
) -> tuple[str, str, str]:
    """Return the first field in which the two differ, and what stands there in each.

    The checksum comes last: it differs because another field does.
    """
    differing, start = [], 0
    for name, width in fields:
        there, wanted = found[start : start + width], expected[start : start + width]
        if there != wanted:
            differing.append((name, _shown(there), _shown(wanted)))
        start += width
    return min(differing, key=lambda difference: difference[0] == "checksum")


def _shown(raw: bytes) -> str:
    """Return bytes of a field as Python writes them, which is ASCII; without the filling."""
    kept = raw.rstrip(b"\0") or raw[:1]
    return repr(kept[:_SHOWN_BYTES]) + ("…" if len(kept) > _SHOWN_BYTES else "")
