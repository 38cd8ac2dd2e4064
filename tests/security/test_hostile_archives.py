from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest

from aperio_cli.archive import reading, rules
from aperio_cli.archive import unpacking as archive_unpacking
from aperio_cli.errors import REFUSED
from aperio_cli.errors.files import (
    ArchiveMalformed,
    ArchiveManifestMissing,
    ArchiveMemberType,
    ArchivePath,
    ArchiveRefused,
    ArchiveTooLarge,
)
from aperio_cli.files import removing
from tests.archives import (
    BLOCK,
    END,
    GZIP_HEADER,
    Fields,
    artifact_of,
    decomposed,
    gzip_of,
    manifest_member,
    seeded,
    stored_gzip,
    tar_member,
    tar_of,
    zeros_gzip,
)
from tests.rows import each_row

if TYPE_CHECKING:
    import random
    from pathlib import Path

MIB = 1024 * 1024


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder: nothing but what the test puts there."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def assert_refused(data: bytes, folder: Path, limits: rules.UnpackLimits | None = None) -> str:
    """The code of the refusal, the same with and without writing, with nothing left on disk."""
    chosen = limits or rules.DEFAULT_LIMITS
    before = snapshot(folder)
    with pytest.raises(ArchiveRefused) as unpacking:
        archive_unpacking.unpack(io.BytesIO(data), folder / "aside", chosen)
    with pytest.raises(ArchiveRefused) as walking:
        reading.walk(io.BytesIO(data), chosen)
    assert snapshot(folder) == before
    assert unpacking.value.exit_status == REFUSED
    assert (walking.value.code, walking.value.why) == (unpacking.value.code, unpacking.value.why)
    assert walking.value.why
    return unpacking.value.code


def snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mode) for path in folder.rglob("*"))


# ── kinds of members ──────────────────────────────────────────────────────────────────────────────


@each_row(
    ("kind", "words"),
    [
        (b"1", "a hard link"),
        (b"2", "a symbolic link"),
        (b"3", "a character device"),
        (b"4", "a block device"),
        (b"6", "a fifo"),
        (b"7", "a contiguous file"),
        (b"x", "a pax extension"),
        (b"g", "a pax extension for the whole archive"),
        (b"L", "a GNU long name"),
        (b"K", "a GNU long link name"),
        (b"S", "a GNU sparse file"),
        (b"Z", "of unknown type b'Z'"),
    ],
)
def test_reader_refuses_by_name_when_a_member_is_not_a_file(
    tmp_path: Path, kind: bytes, words: str
) -> None:
    data = artifact_of(tar_member("bin/x", kind=kind, fields=Fields(linkname=b"/etc/passwd")))

    assert assert_refused(data, tmp_path) == "archive-member-type"
    with pytest.raises(ArchiveMemberType) as caught:
        reading.walk(io.BytesIO(data))
    assert caught.value.why == f"`bin/x` is {words}"


def test_unpack_refuses_when_a_link_would_redirect_a_later_file(here: Path) -> None:
    outside = here / "outside"
    outside.mkdir()
    link = tar_member("lib", kind=b"2", fields=Fields(linkname=os.fsencode(outside)))

    code = assert_refused(artifact_of(link, tar_member("lib/evil", b"x")), here)

    assert code == "archive-member-type"
    assert list(outside.iterdir()) == []


@each_row(
    ("kind", "data", "words"),
    [(b"5", b"", "a folder"), (b"5", tar_member("lib/hidden"), "a folder"),
     (b"\0", b"a", "a file of the kind before POSIX")],
)  # fmt: skip
def test_reader_refuses_folders_and_old_files_though_they_do_no_harm(
    tmp_path: Path, kind: bytes, data: bytes, words: str
) -> None:
    artifact = artifact_of(tar_member("lib", data, kind=kind))

    assert assert_refused(artifact, tmp_path) == "archive-member-type"
    with pytest.raises(ArchiveMemberType) as caught:
        reading.walk(io.BytesIO(artifact))
    assert caught.value.why == f"`lib` is {words}"
    assert len(reading.walk(io.BytesIO(artifact_of(tar_member("lib", data))))) == 2


# ── one form: nothing in an artifact is free ──────────────────────────────────────────────────────

PLAIN = tar_of(tar_member("bin/x", b"x", fields=Fields(mode=b"0000755\0")), tar_member("lib/a"))
EXTRA = struct.pack("<H", 6) + b"AP\2\0hi"
GZIP_HEADS = {
    "name": (b"\x08", b"plugin.tar\0", "flags"),
    "name that climbs out": (b"\x08", b"../../evil\0", "flags"),
    "comment of a mebibyte": (b"\x10", b"c" * MIB + b"\0", "flags"),
    "extra field": (b"\x04", EXTRA, "flags"),
    "header checksum": (b"\x02", None, "flags"),
    "text": (b"\x01", b"", "flags"),
    "reserved flag": (b"\x20", b"", "flags"),
    "all of them": (b"\x1c", EXTRA + b"name\0comment\0", "flags"),
}


@each_row("name", GZIP_HEADS)
def test_reader_refuses_a_gzip_header_that_carries_a(tmp_path: Path, name: str) -> None:
    flag, rest, field = GZIP_HEADS[name]
    head = GZIP_HEADER[:3] + flag + GZIP_HEADER[4:]
    if rest is None:  # RFC 1952: CRC16 of the header before it
        rest = struct.pack("<H", zlib.crc32(head) & 0xFFFF)

    assert assert_refused(head + rest + gzip_of(PLAIN)[10:], tmp_path) == "archive-malformed"
    with pytest.raises(ArchiveMalformed) as caught:
        reading.walk(io.BytesIO(head + rest + gzip_of(PLAIN)[10:]))
    assert caught.value.why == f"{field} in the gzip header: {flag!r}, not b'\\x00'"


@each_row(
    ("at", "field"),
    [(4, "time"), (7, "time"), (8, "extra flags"), (9, "system")],
)
def test_reader_refuses_a_gzip_header_with_another(tmp_path: Path, at: int, field: str) -> None:
    whole = gzip_of(PLAIN)
    changed = whole[:at] + b"\x03" + whole[at + 1 :]

    assert assert_refused(changed, tmp_path) == "archive-malformed"
    with pytest.raises(ArchiveMalformed) as caught:
        reading.read_manifest(io.BytesIO(changed))
    assert caught.value.why.startswith(f"{field} in the gzip header: ")
    assert len(reading.walk(io.BytesIO(whole))) == 3


HEADERS = {
    "mode with set-user-id": (Fields(mode=b"0004755\0"), "mode"),
    "mode with a sticky bit": (Fields(mode=b"0001755\0"), "mode"),
    "mode that all may write": (Fields(mode=b"0000777\0"), "mode"),
    "mode of the owner alone": (Fields(mode=b"0000700\0"), "mode"),
    "mode of nobody": (Fields(mode=b"0000000\0"), "mode"),
    "mode in another notation": (Fields(mode=b"000644 \0"), "mode"),
    "mode filled with spaces": (Fields(mode=b"   644 \0"), "mode"),
    "mode with a file type": (Fields(mode=b"0100644\0"), "mode"),
    "owner": (Fields(owner=b"0001750\0"), "owner's number"),
    "owner in another notation": (Fields(owner=b"     0 \0"), "owner's number"),
    "owner that is no number": (Fields(owner=b"someone\0"), "owner's number"),
    "owner in base 256": (Fields(owner=b"\x80" + bytes(7)), "owner's number"),
    "group": (Fields(group=b"0001750\0"), "group's number"),
    "owner's name": (Fields(owner_name=b"root"), "owner's name"),
    "group's name": (Fields(group_name=b"wheel"), "group's name"),
    "device number": (Fields(device=b"0000001\0" + b"0000000\0"), "device's major number"),
    "minor device number": (Fields(device=b"0000000\0" + b"0000003\0"), "device's minor number"),
    "no device number": (Fields(device=bytes(16)), "device's major number"),
    "link name": (Fields(linkname=b"/etc/passwd"), "link name"),
    "size in another notation": (Fields(size=b"          1 "), "size"),
    "size of twelve digits": (Fields(size=b"000000000001"), "size"),
    "time in another notation": (Fields(mtime=b"          0 "), "time"),
    "time of twelve digits": (Fields(mtime=b"777777777777"), "time"),
    "unused rest": (Fields(rest=b"hidden text."), "unused rest"),
    "prefix that needs none": (Fields(prefix=b"lib/deep"), "name"),
}


@each_row("name", HEADERS)
def test_reader_refuses_a_header_with_another(tmp_path: Path, name: str) -> None:
    fields, field = HEADERS[name]
    data = artifact_of(tar_member("bin/x", b"x", fields=fields))

    assert assert_refused(data, tmp_path) == "archive-malformed"
    with pytest.raises(ArchiveMalformed) as caught:
        reading.walk(io.BytesIO(data))
    assert caught.value.why.startswith(f"the {field} in the header of `")
    assert len(reading.walk(io.BytesIO(artifact_of(tar_member("bin/x", b"x"))))) == 2


def test_reader_refuses_a_checksum_in_another_notation(here: Path) -> None:
    right = tar_member("bin/x", b"x")
    checksum = int(right[148:154], 8)
    other = tar_member("bin/x", b"x", fields=Fields(checksum=b"%07o " % checksum))

    assert assert_refused(artifact_of(other), here) == "archive-malformed"
    assert len(reading.walk(io.BytesIO(artifact_of(right)))) == 2


@each_row(
    ("names", "words"),
    [
        (["lib/b", "lib/a"], "`lib/a` stands behind `lib/b`"),
        (["lib/a", "LICENSE"], "`LICENSE` stands behind `lib/a`"),
        (["a/b", "a-b"], "`a-b` stands behind `a/b`"),
        (["zebra", "é", "z"], "`z` stands behind `é`"),
    ],
)
def test_reader_refuses_members_in_another_order(
    tmp_path: Path, names: list[str], words: str
) -> None:
    data = artifact_of(*map(tar_member, names))

    assert assert_refused(data, tmp_path) == "archive-malformed"
    with pytest.raises(ArchiveMalformed) as caught:
        reading.walk(io.BytesIO(data))
    assert caught.value.why.startswith(f"{words}; ")
    ordered = sorted(names, key=str.encode)
    assert len(reading.walk(io.BytesIO(artifact_of(*map(tar_member, ordered))))) > 2


def test_reader_refuses_times_that_differ(here: Path) -> None:
    data = artifact_of(tar_member("a", fields=Fields(mtime=b"00000000001\0")))

    assert assert_refused(data, here) == "archive-malformed"
    with pytest.raises(ArchiveMalformed) as caught:
        reading.walk(io.BytesIO(data))
    assert caught.value.why.startswith("the time of `a` is 1, not 0 ")


def flipped(block: bytes, at: int, bit: int) -> bytes:
    """A header with one bit of it changed, and its checksum right again."""
    changed = bytearray(block)
    changed[at] ^= 1 << bit
    total = sum(changed) - sum(changed[148:156]) + 8 * ord(" ")
    changed[148:156] = b"%06o\0 " % total
    return bytes(changed)


def test_reader_refuses_every_header_in_which_one_bit_is_another() -> None:
    """But those of the name, the size and the time, which say something."""
    block, rest = PLAIN[2 * BLOCK : 3 * BLOCK], PLAIN[3 * BLOCK :]
    assert block.startswith(b"bin/x")
    for at in (*range(100, 124), *range(156, 345), *range(500, BLOCK)):
        stream = PLAIN[: 2 * BLOCK] + flipped(block, at, at % 7) + rest
        with pytest.raises(ArchiveRefused):
            reading.walk(io.BytesIO(gzip_of(stream)))


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────


@each_row(
    "name",
    [
        "/etc/passwd",
        "../evil",
        "lib/../../evil",
        "..",
        ".",
        "./bin/x",
        "lib//x",
        "lib/x/",
        "lib\\..\\evil",
        "",
        "line\nbreak",
        "bell\x07",
        "delete\x7f",
        "c1\x85control",
        "reversed\u202egnp.exe",
        "zero\u200bwidth",
        "line\u2028separator",
        decomposed("café"),
        b"latin1-\xe9",
        b"surrogate-\xed\xa0\x80",
        b"overlong-\xc0\xae\xc0\xae/x",
        b"visible\0hidden",
        "/".join("d" * 33),
        # what Windows, or a share of it, takes for something else
        "C:/evil",
        "C:evil",
        "lib/c:",
        "lib/x:stream",
        "lib/NUL",
        "lib/nul.txt",
        "lib/Aux.py",
        "nul /x",
        "lib/con .tar.gz",
        "COM1",
        "lib/lpt9.log",
        "lib/com¹",
        "CONIN$",
        "lib/x.",
        "lib/x ",
        "lib./x",
        "lib /x",
        "lib/...",
        "lib/x?",
        "lib/*",
        'lib/"x"',
        "lib/<x>",
        "lib/a|b",
        "lib/LIBRAR~1.PY",
        "progra~1/x",
        "private\uf03ause",
    ],
)
def test_reader_refuses_when_a_path_is_unsafe(tmp_path: Path, name: str | bytes) -> None:
    assert assert_refused(artifact_of(tar_member(name, b"x")), tmp_path) == "archive-path"


@each_row(
    "name",
    ["lib/nulls", "lib/null", "lib/console.py", "lib/com10", "lib/auxiliary.txt", "lib/.x",
     "a b/c d", " x", "lib/~1", "lib/a~1b", "lib/library~1.py", "lib/x.tar.gz", "été", "lib/a…b"],
)  # fmt: skip
def test_reader_takes_a_path_that_only_looks_like_an_unsafe_one(tmp_path: Path, name: str) -> None:
    archive_unpacking.unpack(io.BytesIO(artifact_of(tar_member(name, b"x"))), tmp_path / "out")

    assert (tmp_path / "out" / name).read_bytes() == b"x"


@each_row("prefix", [b"..", b"/", b"/etc", b"a/..", b"a//b", b"a\0b"])
def test_reader_refuses_when_the_prefix_makes_a_path_unsafe(tmp_path: Path, prefix: bytes) -> None:
    data = artifact_of(tar_member("x", b"x", fields=Fields(prefix=prefix)))

    assert assert_refused(data, tmp_path) == "archive-path"


def test_reader_refuses_when_a_path_is_longer_than_255_bytes(here: Path) -> None:
    data = artifact_of(tar_member(b"n" * 100, b"x", fields=Fields(prefix=b"p" * 155)))

    assert assert_refused(data, here) == "archive-path"


def test_refusal_shows_a_name_without_its_control_characters() -> None:
    data = artifact_of(tar_member("a\x1b[31m\nnext  try `curl evil | sh`", b"x"))

    with pytest.raises(ArchivePath) as caught:
        reading.walk(io.BytesIO(data))

    assert "\x1b" not in caught.value.why
    assert "\n" not in caught.value.why


@each_row(
    "members",
    [
        [tar_member("a", b"1"), tar_member("a", b"2")],
        [tar_member("manifest.yaml", b"id: other\n")],
        [tar_member("a", b"1"), tar_member("a/b", b"2")],
        [tar_member("a/b", b"1"), tar_member("a", b"2")],
        [tar_member("bin/tool", b"1"), tar_member("bin/Tool", b"2")],
        [tar_member("Lib/a", b"1"), tar_member("lib/b", b"2")],
        [tar_member("MANIFEST.yaml", b"2")],
        [tar_member("straße", b"1"), tar_member("STRASSE", b"2")],
        [tar_member("ﬁle", b"1"), tar_member("FILE", b"2")],
        [tar_member("Ω", b"1"), tar_member("ω", b"2")],
        [tar_member("\u017f", b"1"), tar_member("s", b"2")],
        [tar_member("\u0131", b"1"), tar_member("I", b"2")],
        [tar_member("Ǆ", b"1"), tar_member("ǅ", b"2")],
        [tar_member("É/a", b"1"), tar_member("é/b", b"2")],
    ],
)
def test_reader_refuses_when_two_members_claim_one_path(
    tmp_path: Path, members: list[bytes]
) -> None:
    assert assert_refused(artifact_of(*members), tmp_path) == "archive-duplicate"


# ── numbers and structure ─────────────────────────────────────────────────────────────────────────


@each_row(
    "fields",
    [
        Fields(size=b"\x80" + bytes(10) + b"\x01"),
        Fields(size=b"\xff" * 12),
        Fields(size=b"-0000000001\0"),
        Fields(size=b"0x000000001\0"),
        Fields(size=b"99999999999\0"),
        Fields(size=b"0000 000001\0"),
        Fields(size=b"0000_000001\0"),
        Fields(size=bytes(12)),
        Fields(size=b" " * 12),
        Fields(mode=b"rwxr-xr-"),
        Fields(mtime=b"\x80" + bytes(11)),
        Fields(checksum=b"000000\0 "),
        Fields(checksum=b"+00000\0 "),
        Fields(magic=b"ustar  \0"),
        Fields(magic=bytes(8)),
    ],
)
def test_reader_refuses_when_a_header_field_is_wrong(tmp_path: Path, fields: Fields) -> None:
    assert assert_refused(artifact_of(tar_member("a", fields=fields)), tmp_path) == (
        "archive-malformed"
    )


def test_refusal_says_base_256_when_a_size_is_written_so() -> None:
    data = artifact_of(tar_member("a", fields=Fields(size=b"\x80" + bytes(10) + b"\x01")))

    with pytest.raises(ArchiveMalformed) as caught:
        reading.walk(io.BytesIO(data))

    assert caught.value.why == "the size in a header is a base-256 number"


@each_row(
    "end",
    [
        bytes(BLOCK) + tar_member("late", b"x") + END,
        END + tar_member("late", b"x") + END,
        END + b"\0" * 100 + b"x",
        END + bytes(BLOCK),
        END + bytes(20 * BLOCK),
    ],
)
def test_reader_refuses_when_something_follows_the_end(tmp_path: Path, end: bytes) -> None:
    assert assert_refused(gzip_of(tar_of(end=end)), tmp_path) == "archive-malformed"


def test_reader_refuses_when_bytes_follow_the_gzip_stream(here: Path) -> None:
    assert assert_refused(artifact_of() + b"\0", here) == "archive-malformed"


def test_reader_refuses_when_bytes_follow_behind_the_chunk_it_read(here: Path) -> None:
    # 32 KiB behind the header: 408 empty blocks, one of 60 tar blocks, the trailer.
    stream = tar_of(tar_member("a", bytes(55 * BLOCK)))
    filled = stored_gzip(stream, empty_blocks=407)

    assert (len(stream), len(filled)) == (60 * BLOCK, 10 + 32 * 1024)
    assert len(reading.walk(io.BytesIO(filled))) == 2
    assert assert_refused(filled + b"x", here) == "archive-malformed"


def test_reader_refuses_when_there_are_two_gzip_members(here: Path) -> None:
    split = gzip_of(tar_of(end=b"")) + gzip_of(END)

    assert assert_refused(artifact_of() + artifact_of(), here) == "archive-malformed"
    assert assert_refused(split, here) == "archive-truncated"


def test_reader_refuses_when_the_padding_hides_data(here: Path) -> None:
    member = tar_member("a", b"x")[:-1] + b"!"

    assert assert_refused(artifact_of(member), here) == "archive-malformed"


@pytest.mark.parametrize("position", [-8, -4], ids=["crc", "length"])
def test_reader_refuses_when_the_gzip_trailer_is_wrong(here: Path, position: int) -> None:
    data = bytearray(artifact_of(tar_member("a", b"x")))
    data[position] ^= 1

    assert assert_refused(bytes(data), here) == "archive-malformed"


@each_row("data", [b"PK\x03\x04" + bytes(100), b"BZh9" + bytes(100), bytes(600)])
def test_reader_refuses_when_it_is_no_gzip_file(tmp_path: Path, data: bytes) -> None:
    assert assert_refused(data, tmp_path) == "archive-malformed"


def test_reader_refuses_when_cut_anywhere(here: Path) -> None:
    whole = artifact_of(tar_member("bin/x", seeded(1).randbytes(900)))

    codes = {assert_refused(whole[:length], here) for length in range(len(whole))}

    assert codes == {"archive-truncated"}


@each_row("kept_blocks", range(5))
def test_reader_refuses_when_the_tar_stream_ends_without_its_end(
    tmp_path: Path, kept_blocks: int
) -> None:
    stream = tar_of(tar_member("a", b"x" * 600))[: kept_blocks * BLOCK]

    assert assert_refused(gzip_of(stream), tmp_path) == "archive-truncated"


def test_reader_refuses_when_a_size_reaches_behind_the_end(here: Path) -> None:
    data = artifact_of(tar_member("a", b"x", fields=Fields(size=b"00000100000\0")))

    assert assert_refused(data, here) == "archive-truncated"


# ── the manifest ──────────────────────────────────────────────────────────────────────────────────


@each_row(
    "stream",
    [
        END,
        tar_member("bin/x", b"x") + manifest_member() + END,
        tar_member("lib/manifest.yaml", b"x") + END,
    ],
)
def test_reader_refuses_when_the_manifest_is_not_first(tmp_path: Path, stream: bytes) -> None:
    assert assert_refused(gzip_of(stream), tmp_path) == "archive-manifest-missing"
    with pytest.raises(ArchiveManifestMissing):
        reading.read_manifest(io.BytesIO(gzip_of(stream)))


def test_read_manifest_refuses_when_the_manifest_is_over_64_kib(here: Path) -> None:
    at_limit = gzip_of(manifest_member(b"#" * 65536) + END)
    over = gzip_of(manifest_member(b"#" * 65537) + END)

    assert len(reading.read_manifest(io.BytesIO(at_limit))) == 65536
    with pytest.raises(ArchiveTooLarge):
        reading.read_manifest(io.BytesIO(over))
    assert assert_refused(over, here) == "archive-too-large"


def test_read_manifest_leaves_the_rest_alone_when_it_is_a_bomb() -> None:
    file = io.BytesIO(zeros_gzip(manifest_member(), 256 * MIB))

    assert reading.read_manifest(file) == b"id: acme/box-connector\n"
    assert file.tell() <= 32 * 1024


# ── bombs ─────────────────────────────────────────────────────────────────────────────────────────


def test_reader_refuses_when_the_ratio_is_a_bombs(here: Path) -> None:
    size = 512 * MIB
    head = manifest_member() + tar_member("zeros", fields=Fields(size=b"%011o\0" % size))
    data = zeros_gzip(head, size)

    assert len(data) < MIB
    assert assert_refused(data, here) == "archive-too-large"


def test_reader_accepts_when_little_is_compressed_very_well(here: Path) -> None:
    data = artifact_of(tar_member("zeros", bytes(9 * MIB)))

    assert len(data) * 200 < 9 * MIB
    assert len(archive_unpacking.unpack(io.BytesIO(data), here / "out")) == 2


def test_reader_refuses_when_one_file_is_too_long(here: Path) -> None:
    data = artifact_of(tar_member("a", bytes(1001)))
    exact = artifact_of(tar_member("a", bytes(1000)))
    limits = rules.UnpackLimits(file_bytes=1000)

    assert assert_refused(data, here, limits) == "archive-too-large"
    assert len(reading.walk(io.BytesIO(exact), limits)) == 2


def test_reader_refuses_when_the_whole_is_too_long(here: Path) -> None:
    data = artifact_of(*(tar_member(f"f{number:03}", bytes(1000)) for number in range(200)))

    code = assert_refused(data, here, rules.UnpackLimits(total_bytes=128 * 1024))

    assert code == "archive-too-large"


def test_reader_refuses_when_there_are_too_many_members(here: Path) -> None:
    data = artifact_of(*(tar_member(f"f{number}") for number in range(10)))

    assert assert_refused(data, here, rules.UnpackLimits(members=10)) == "archive-too-large"
    assert len(reading.walk(io.BytesIO(data), rules.UnpackLimits(members=11))) == 11


def test_reader_refuses_when_implied_folders_are_too_many(here: Path) -> None:
    data = artifact_of(tar_member("/".join("abcdefghijk"), b"x"))

    assert assert_refused(data, here, rules.UnpackLimits(members=11)) == "archive-too-large"


def test_reader_needs_little_memory_when_an_artifact_is_large() -> None:
    rng = seeded(5)
    data = gzip_of(
        tar_of(*(tar_member(f"f{n:02}", rng.randbytes(MIB) + bytes(MIB)) for n in range(12)))
    )
    tracemalloc.start()
    try:
        reading.walk(io.BytesIO(data))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 2 * MIB


# ── the place it is unpacked to ───────────────────────────────────────────────────────────────────


def test_unpack_leaves_the_folder_alone_when_it_exists(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out/mine").write_text("kept")

    with pytest.raises(FileExistsError):
        archive_unpacking.unpack(io.BytesIO(artifact_of()), here / "out")

    assert (here / "out/mine").read_text() == "kept"


def test_unpack_refuses_to_follow_when_the_destination_is_a_link(here: Path) -> None:
    (here / "elsewhere").mkdir()
    (here / "out").symlink_to(here / "elsewhere")

    with pytest.raises(FileExistsError):
        archive_unpacking.unpack(io.BytesIO(artifact_of()), here / "out")

    assert list((here / "elsewhere").iterdir()) == []


# ── mutations ─────────────────────────────────────────────────────────────────────────────────────


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The data with one to four random changes."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(result))
        length = rng.randint(1, 16)
        match rng.randrange(5):
            case 0:
                result[place] = rng.randrange(256)
            case 1:
                result[place : place + length] = rng.randbytes(length)
            case 2:
                del result[place : place + length]
            case 3:
                result[place:place] = result[place // 2 : place // 2 + length]
            case _:
                result[place : place + 2] = rng.choice([b"..", b"/\0", b"\xff\xff", b"\0\0"])
    return bytes(result)


def resealed(stream: bytes) -> bytes:
    """A tar stream whose blocks that look like headers have right checksums, compressed."""
    result = bytearray(stream)
    for start in range(0, len(result) - BLOCK + 1, BLOCK):
        block = result[start : start + BLOCK]
        if block[257:262] == b"ustar":
            total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
            result[start + 148 : start + 156] = b"%06o\0 " % total
    return gzip_of(bytes(result))


def check_mutant(data: bytes, folder: Path) -> bool:
    """Whether the mutant is refused; anything but a refusal or a clean success fails the test."""
    try:
        records = archive_unpacking.unpack(io.BytesIO(data), folder / "aside")
    except ArchiveRefused:
        with pytest.raises(ArchiveRefused):
            reading.walk(io.BytesIO(data))
        refused = True
    else:
        inside = {
            str(path.relative_to(folder / "aside"))
            for path in (folder / "aside").rglob("*")
            if not path.is_dir()
        }
        assert inside == {record.path for record in records}
        assert reading.walk(io.BytesIO(data)) == records
        removing.remove_tree(folder / "aside")
        refused = False
    assert [path.name for path in folder.iterdir()] == ["outside"]
    return refused


@pytest.mark.parametrize("seed", range(8))
def test_reader_never_breaks_when_the_tar_stream_is_mutated(here: Path, seed: int) -> None:
    rng = seeded(seed)
    stream = tar_of(
        tar_member("bin/tool", rng.randbytes(700), fields=Fields(mode=b"0000755\0")),
        tar_member("lib/a.py", b"import os\n"),
        tar_member("x", b"x", fields=Fields(prefix=b"p" * 100)),
    )
    (here / "outside").touch()

    refusals = [check_mutant(resealed(mutate(stream, rng)), here) for _ in range(100)]

    assert 0 < sum(refusals) < len(refusals)  # both ways out were taken


@each_row("seed", range(4))
def test_reader_never_breaks_when_the_file_is_mutated(tmp_path: Path, seed: int) -> None:
    rng = seeded(seed)
    data = artifact_of(tar_member("bin/tool", rng.randbytes(700)), tar_member("b", b"b" * 3000))
    (tmp_path / "outside").touch()

    refusals = [check_mutant(mutate(data, rng), tmp_path) for _ in range(100)]

    assert sum(refusals) > 90


def test_reader_never_breaks_when_it_is_given_noise(here: Path) -> None:
    rng = seeded(7)
    (here / "outside").touch()
    header = struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, 0, 0, 0, 255)

    for _ in range(200):
        assert check_mutant(header + rng.randbytes(rng.randrange(2000)), here)
        assert check_mutant(gzip_of(rng.randbytes(rng.randrange(2000))), here)
