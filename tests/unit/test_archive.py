from __future__ import annotations

import contextlib
import errno
import importlib.util
import io
import os
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.archive import reading, rules, unpacking, writing
from aperio_cli.archive.writing import Member
from aperio_cli.errors import NOT_DONE
from aperio_cli.errors.files import (
    ArchiveMalformed,
    ArchiveRefused,
    DiskFull,
    FileNotRegular,
    MemberUnfit,
)
from aperio_cli.files import tree
from aperio_cli.models.digest import Digest
from tests.archives import decomposed, sealed_gzip, seeded, zeros_gzip
from tests.descriptors import open_descriptors
from tests.rows import each_row

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

MANIFEST = Member("manifest.yaml", b"id: acme/box-connector\n")
MTIME = 1_700_000_000


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder: nothing but what the test puts there."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def _compressing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compress what is written, which other tests do not (tests/conftest.py)."""
    monkeypatch.setattr(writing, "GZIP_LEVEL", 1)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask000", "umask022", "umask077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def write_bytes(folder: Path, *members: Member, mtime: int = MTIME) -> bytes:
    """The bytes of an artifact with these members after the manifest."""
    path = folder / "artifact.tar.gz"
    digest, size = writing.write(path, [*members, MANIFEST], mtime=mtime)
    data = path.read_bytes()
    assert (digest, size) == (Digest.of(data), len(data))
    return data


# ── what is written ───────────────────────────────────────────────────────────────────────────────


def test_write_gives_exactly_these_bytes(here: Path) -> None:
    stream = io.BytesIO(write_bytes(here, Member("bin/x", b"#!/bin/sh\n", executable=True)))

    assert stream.read(10) == bytes.fromhex("1f8b08000000000000ff")
    stream.seek(0)
    with tarfile.open(fileobj=stream, format=tarfile.USTAR_FORMAT) as tar:
        found = [(m.name, m.mode, m.type, m.mtime, m.uid, m.uname, m.gname) for m in tar]
    assert found == [
        ("manifest.yaml", 0o644, b"0", MTIME, 0, "", ""),
        ("bin/x", 0o755, b"0", MTIME, 0, "", ""),
    ]


def test_write_fills_every_header_field_as_ustar_says(here: Path) -> None:
    header = zlib.decompress(write_bytes(here, mtime=8), 31)[:512]

    expected = bytearray(512)
    for offset, field in (
        (0, b"manifest.yaml"),
        (100, b"0000644"),  # mode
        (108, b"0000000"),  # owner
        (116, b"0000000"),  # group
        (124, b"00000000027"),  # 23 bytes
        (136, b"00000000010"),  # time
        (156, b"0"),  # a regular file
        (257, b"ustar"),
        (263, b"00"),
        (329, b"0000000"),  # device
        (337, b"0000000"),
    ):
        expected[offset : offset + len(field)] = field
    expected[148:156] = b"%06o\0 " % (sum(expected) + 8 * 32)
    assert header == bytes(expected)


def test_write_puts_the_manifest_first_and_sorts_the_others_by_bytes(here: Path) -> None:
    names = ["é", "z", "a/b", "a-b", "B", "lib.py", "lib/x"]

    data = write_bytes(here, *(Member(name, b"") for name in names))

    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == [
            "manifest.yaml", "B", "a-b", "a/b", "lib.py", "lib/x", "z", "é",
        ]  # fmt: skip


def make_project(folder: Path, mode: int) -> list[Member]:
    """The same two files in another folder, with other times and permissions."""
    folder.mkdir(parents=True)
    members = []
    for name, data in (("README.md", b"read me\n"), ("lib/big", seeded(3).randbytes(300_000))):
        path = folder / Path(name).name
        path.write_bytes(data)
        path.chmod(mode)
        os.utime(path, (mode, mode))
        members.append(Member(name, path))
    return members


def test_write_compresses_as_the_reference_says(here: Path) -> None:
    spec = importlib.util.spec_from_file_location("writing_itself", writing.__file__)
    assert spec
    assert spec.loader
    itself = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, itself)  # its dataclass looks there
        spec.loader.exec_module(itself)
    lines = "".join(f"{seeded(number).random()} is {number}\n" for number in range(5000)).encode()
    itself.write(here / "x", [Member("manifest.yaml", b"x"), Member("lines", lines)], mtime=0)

    written = (here / "x").read_bytes()

    data = zlib.decompress(written, 31)
    deflate = {level: zlib.compressobj(level, zlib.DEFLATED, -15, 8) for level in (5, 6, 7)}
    packed = {level: each.compress(data) + each.flush() for level, each in deflate.items()}
    assert written == sealed_gzip(packed[6], data)
    assert len(set(packed.values())) == 3


@pytest.mark.usefixtures("umask")
def test_write_gives_the_same_bytes_from_another_folder_and_umask(here: Path) -> None:
    first = write_bytes(here, *make_project(here / "a", 0o600))
    second = write_bytes(here, *reversed(make_project(here / "b/c", 0o777)))

    assert first == second
    # Pinned without the compression, which is zlib's and may differ between its implementations.
    assert Digest.of(zlib.decompress(first, 31)).hex[:16] == "f9912e8947b6a7ad"


def test_write_gives_the_same_bytes_in_another_locale_and_time_zone(here: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from aperio_cli.archive import writing\n"
        "m = [writing.Member(n, n.encode()) for n in ('manifest.yaml', 'caf\\xe9', 'I', 'z')]\n"
        "print(writing.write(Path(sys.argv[1]), m, mtime=1)[0])"
    )
    printed = set()
    for locale, zone in (("C", "UTC"), ("C.UTF-8", "Asia/Tokyo"), ("tr_TR.UTF-8", "US/Pacific")):
        result = subprocess.run(
            [sys.executable, "-c", script, here / "artifact.tar.gz"],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "LC_ALL": locale, "TZ": zone},
            check=True,
            capture_output=True,
            timeout=60,
        )
        printed.add(result.stdout)

    assert len(printed) == 1


def test_write_gives_other_bytes_when_the_time_differs(here: Path) -> None:
    assert write_bytes(here, mtime=1) != write_bytes(here, mtime=2)


# ── what is refused ───────────────────────────────────────────────────────────────────────────────


@each_row(
    "name",
    [
        "/abs",
        "../up",
        "a//b",
        "./a",
        "a\\b",
        "a\nb",
        "",
        decomposed("é"),
        "\udcff",
        "MANIFEST.yaml",
        "lib/NUL",
        "C:/x",
        "lib/x.",
        "lib/x ",
        "lib/a?b",
    ],
)
def test_write_refuses_when_the_reader_would_not_take_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(MemberUnfit, match="cannot be packed") as caught:
        writing.write(tmp_path / "a", [MANIFEST, Member(name, b"")], mtime=0)

    assert caught.value.exit_status == NOT_DONE
    assert list(tmp_path.iterdir()) == []


@each_row(
    ("path", "fits"),
    [
        ("n" * 100, True),
        ("n" * 101, False),
        ("p" * 155 + "/" + "n" * 99, True),
        ("p" * 154 + "/" + "n" * 100, True),
        ("p" * 156 + "/" + "n" * 90, False),
        ("p" * 20 + "/" + "q" * 120 + "/" + "n" * 99, True),
        ("p" * 90 + "/" + "q" * 101, False),
        ("é" * 50, True),
        ("é" * 51, False),
    ],
)
def test_write_splits_a_long_path_or_names_it(tmp_path: Path, path: str, *, fits: bool) -> None:
    members = [MANIFEST, Member(path, b"x")]
    if not fits:
        with pytest.raises(MemberUnfit, match=path):
            writing.write(tmp_path / "a", members, mtime=0)
        assert list(tmp_path.iterdir()) == []
        return

    writing.write(tmp_path / "a", members, mtime=0)

    with tarfile.open(tmp_path / "a") as tar, (tmp_path / "a").open("rb") as file:
        assert tar.getnames()[1] == path
        assert reading.walk(file)[-1].path == max(path, "manifest.yaml")


def test_write_refuses_when_there_is_no_manifest(here: Path) -> None:
    with pytest.raises(MemberUnfit, match="a project without"):
        writing.write(here / "a", [Member("bin/x", b"")], mtime=0)


def test_write_refuses_when_the_manifest_is_over_64_kib(here: Path) -> None:
    with pytest.raises(MemberUnfit, match="cannot be packed") as caught:
        writing.write(here / "a", [Member("manifest.yaml", b"#" * 65537)], mtime=0)

    assert caught.value.what.startswith("`manifest.yaml`")
    assert "at most 65536" in caught.value.why


def test_write_refuses_when_a_member_is_there_twice(here: Path) -> None:
    with pytest.raises(MemberUnfit, match="`a`"):
        writing.write(here / "a", [MANIFEST, Member("a", b"1"), Member("a", b"2")], mtime=0)


@pytest.mark.parametrize("mtime", [-1, 8**11])
def test_write_refuses_when_the_time_does_not_fit(here: Path, mtime: int) -> None:
    with pytest.raises(MemberUnfit, match="the time"):
        writing.write(here / "a", [MANIFEST], mtime=mtime)


def test_write_refuses_when_our_reader_would_take_it_for_a_bomb(here: Path) -> None:
    (here / "zeros").touch()
    os.truncate(here / "zeros", 64 * 1024 * 1024)

    with pytest.raises(MemberUnfit, match="the project"):
        writing.write(here / "a", [MANIFEST, Member("z", here / "zeros")], mtime=0)

    assert [path.name for path in here.iterdir()] == ["zeros"]


def test_write_refuses_when_a_source_is_a_link(here: Path) -> None:
    (here / "link").symlink_to("/etc/hostname")

    with pytest.raises(FileNotRegular, match="link"):
        writing.write(here / "a", [MANIFEST, Member("a", here / "link")], mtime=0)

    assert [path.name for path in here.iterdir()] == ["link"]


@pytest.mark.parametrize("stated", [10, 1000])
def test_write_refuses_when_a_source_changes_its_length(
    here: Path, monkeypatch: pytest.MonkeyPatch, stated: int
) -> None:
    (here / "source").write_bytes(b"x" * 500)
    real_fstat = os.fstat

    def other_length(descriptor: int) -> os.stat_result:
        values = list(real_fstat(descriptor))
        values[6] = stated
        return os.stat_result(values)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", other_length)
        with pytest.raises(MemberUnfit, match="`a`") as caught:
            writing.write(here / "out", [MANIFEST, Member("a", here / "source")], mtime=0)

    assert "length changed" in caught.value.why
    assert [path.name for path in here.iterdir()] == ["source"]


def test_write_keeps_the_old_artifact_when_the_new_one_fails(here: Path) -> None:
    before = write_bytes(here)

    with pytest.raises(FileNotFoundError):
        write_bytes(here, Member("a", here / "missing"))

    assert (here / "artifact.tar.gz").read_bytes() == before
    assert len(list(here.iterdir())) == 1


# ── there and back ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("umask")
def test_unpack_gives_back_what_was_written(here: Path) -> None:
    members = [
        Member("bin/tool", b"#!/bin/sh\n", executable=True),
        Member("lib/cp311/pkg/a.py", b"a = 1\n"),
        Member("lib/cp311/b.py", b""),
        Member("lib/été", seeded(1).randbytes(200_001)),
    ]
    data = write_bytes(here, *members)

    records = unpacking.unpack(io.BytesIO(data), here / "out")

    for member in [*members, MANIFEST]:
        path = here / "out" / member.path
        assert path.read_bytes() == member.source
        assert path.stat().st_mode & 0o7777 == (0o755 if member.executable else 0o644)
    folders = [path for path in (here / "out").rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o7777 for path in [here / "out", *folders]} == {0o755}
    assert records == tree.list_tree(here / "out") == reading.walk(io.BytesIO(data))


def test_list_members_names_in_its_order_what_unpack_would_write(here: Path) -> None:
    data = write_bytes(here, Member("b", b"b", executable=True), Member("a/c", b"c"))
    listed = reading.list_members(io.BytesIO(data))
    assert [(entry.path, entry.mode) for entry in listed] == [
        ("manifest.yaml", 0o644),
        ("a/c", 0o644),
        ("b", 0o755),
    ]


def test_list_members_reads_to_the_end(here: Path) -> None:
    data = write_bytes(here, Member("b", seeded(1).randbytes(200_001)))
    for damaged in (data[:-1], data[:-200], data + b"x", data[:-6] + b"\0" + data[-5:]):
        with pytest.raises(ArchiveRefused):
            reading.list_members(io.BytesIO(damaged))


class Unread(io.BytesIO):
    """A file that nobody may read any more."""

    def read(self, *_: object) -> bytes:
        pytest.fail("it was inflated once more")


@pytest.fixture
def inflated(here: Path) -> Iterator[reading.Inflated]:
    kept = reading.Inflated((here / "inflated").open("w+b"))
    yield kept
    kept.close()


def test_what_a_walk_has_inflated_is_unpacked_from_there(
    here: Path, inflated: reading.Inflated
) -> None:
    data = write_bytes(here, Member("bin/a", seeded(1).randbytes(200_001), executable=True))
    listed = reading.list_members(io.BytesIO(data), inflated=inflated)
    assert inflated.is_whole
    records = unpacking.unpack(Unread(), here / "out", inflated=inflated)
    assert records == reading.walk(io.BytesIO(data)) == tree.list_tree(here / "out")
    assert [entry.path for entry in listed] == [record.path for record in records][::-1]


def test_what_was_inflated_of_a_damaged_artifact_is_used_by_nobody(
    here: Path, inflated: reading.Inflated
) -> None:
    data = write_bytes(here, Member("a", seeded(1).randbytes(200_001)))
    for damaged in (data[:-1], data + b"x"):
        with pytest.raises(ArchiveRefused):
            reading.list_members(io.BytesIO(damaged), inflated=inflated)
        assert not inflated.is_whole


def test_what_was_inflated_is_checked_once_more(here: Path, inflated: reading.Inflated) -> None:
    reading.list_members(io.BytesIO(write_bytes(here, Member("a", b"a"))), inflated=inflated)
    with (here / "inflated").open("r+b") as file:
        file.seek(1024)
        file.write(b"../../b")
    with pytest.raises(ArchiveMalformed) as caught:
        unpacking.unpack(Unread(), here / "out", inflated=inflated)
    assert "the checksum of a header is wrong" in caught.value.why
    assert not (here / "out").exists()


@pytest.mark.parametrize("problem", ["limit", "full"])
def test_what_cannot_be_kept_is_inflated_once_more(
    here: Path, inflated: reading.Inflated, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    data = write_bytes(here, Member("a", seeded(1).randbytes(200_001)))
    if problem == "limit":
        monkeypatch.setattr(reading, "MOST_INFLATED_BYTES", 100_000)
    else:
        inflated.file.close()
        inflated = reading.Inflated(Path("/dev/full").open("w+b", buffering=0))  # noqa: SIM115 - it closes it
    assert len(reading.list_members(io.BytesIO(data), inflated=inflated)) == 2
    assert not inflated.is_whole
    assert inflated.file.closed
    records = unpacking.unpack(io.BytesIO(data), here / "out", inflated=inflated)
    assert records == reading.walk(io.BytesIO(data))


def random_members(rng: random.Random) -> dict[str, tuple[bytes, bool]]:
    """Contents and whether they are executable, by path; some paths need the prefix."""
    return {
        "/".join(rng.choice("abcdéß-.") * rng.randint(1, 30) for _ in range(rng.randint(1, 6)))
        + "_": (rng.randbytes(rng.choice([0, 1, 511, 512, 513, 65535, 65537])), rng.random() < 0.5)
        for _ in range(40)
    }


@pytest.mark.parametrize("seed", range(5))
def test_what_the_writer_writes_the_reader_takes_and_gives_back(here: Path, seed: int) -> None:
    rng = seeded(seed)
    members: list[Member] = []
    taken = {}
    for path, (body, executable) in random_members(rng).items():
        member = Member(path, body, executable)
        with contextlib.suppress(MemberUnfit):  # such as `.../_`, which writer and reader refuse
            write_bytes(here, member)
            members.append(member)
            taken[path] = (Digest.of(body).hex, 0o755 if executable else 0o644)
    assert len(taken) > 10

    data = write_bytes(here, *members, mtime=rng.choice([0, 1, 8**11 - 1]))
    records = unpacking.unpack(io.BytesIO(data), here / "out")

    found = {r.path: (r.sha256, r.mode) for r in records if r.path != "manifest.yaml"}
    assert found == taken
    assert records == reading.walk(io.BytesIO(data)) == tree.list_tree(here / "out")


def test_read_manifest_gives_its_bytes_when_the_file_is_not_at_its_beginning(
    here: Path,
) -> None:
    file = io.BytesIO(write_bytes(here))
    file.seek(0, os.SEEK_END)

    assert reading.read_manifest(file) == MANIFEST.source


def test_reader_refuses_what_tar_packed(here: Path) -> None:
    (here / "manifest.yaml").write_bytes(b"id: x\n")
    with tarfile.open(here / "a", "w:gz", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(here / "manifest.yaml", "manifest.yaml")

    with (here / "a").open("rb") as file, pytest.raises(ArchiveMalformed) as caught:
        reading.walk(file)
    assert "in the gzip header" in caught.value.why


def test_reader_skips_a_body_that_was_not_asked_for(here: Path) -> None:
    data = write_bytes(here, Member("a", b"x" * 100_000), Member("b", b"y"))

    reader = reading.Reader(io.BytesIO(data), rules.DEFAULT_LIMITS, subject="it")

    assert [(entry.path, entry.size_bytes) for entry in reader] == [
        ("manifest.yaml", 23), ("a", 100_000), ("b", 1),
    ]  # fmt: skip


def test_refusal_names_the_subject_first() -> None:
    with pytest.raises(ArchiveMalformed) as caught:
        reading.walk(io.BytesIO(b"not gzip"), subject="`box.tar.gz`")

    assert caught.value.what.startswith("`box.tar.gz` was refused: ")


def test_unpack_leaves_nothing_when_the_disk_is_full(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_bytes(here, Member("lib/a", seeded(1).randbytes(300_000)))
    real_write = os.write
    written = []

    def full_after_three(descriptor: int, chunk: bytes) -> int:
        written.append(descriptor)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(descriptor, chunk)

    monkeypatch.setattr(os, "write", full_after_three)
    with pytest.raises(DiskFull, match="was not unpacked"):
        unpacking.unpack(io.BytesIO(data), here / "out")

    assert [path.name for path in here.iterdir()] == ["artifact.tar.gz"]


def test_unpack_completes_when_writes_are_short(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = seeded(1).randbytes(5000)
    data = write_bytes(here, Member("a", body))
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, chunk: real_write(fd, chunk[:777]))

    unpacking.unpack(io.BytesIO(data), here / "out")

    assert (here / "out/a").read_bytes() == body


def test_unpack_leaves_nothing_when_interrupted(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_bytes(here, Member("a", b"x"))

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unpacking.unpack(io.BytesIO(data), here / "out")

    assert not (here / "out").exists()


def test_unpack_leaves_no_descriptor_open_when_it_refuses(here: Path) -> None:
    before = open_descriptors()

    with pytest.raises(ArchiveRefused):
        unpacking.unpack(io.BytesIO(zeros_gzip(b"", 1024 * 1024)), here / "out")

    assert not open_descriptors() - before
