"""A file that is appended to for ever: bounded, whole lines only, and hard to stop."""

from __future__ import annotations

import errno
import multiprocessing
import os
import stat
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import FileNotRegular, PathShared
from aperio_cli.files.rotating import RotatingFile, newest_lines, older
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path


def rotating(path: Path, most_bytes: int = 100, kept: int = 2) -> RotatingFile:
    return RotatingFile(path, most_bytes=most_bytes, kept=kept)


def lines(path: Path, kept: int = 2, most_bytes: int = 10_000) -> list[bytes]:
    return list(newest_lines(path, kept=kept, most_bytes=most_bytes))


def test_lines_stay_and_the_oldest_are_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    file = rotating(folder / "log")
    for number in range(100):
        file.append(b"line %04d" % number)
    file.close()

    names = sorted(path.name for path in folder.iterdir())
    assert names == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 100 for path in folder.iterdir())
    found = lines(folder / "log")
    assert found[0] == b"line 0099"
    assert found == sorted(found, reverse=True)
    assert len(found) == 30


def test_a_line_longer_than_a_file_stands_in_one_of_its_own(tmp_path: Path) -> None:
    file = rotating(tmp_path / "log")
    file.append(b"x" * 500)
    file.append(b"y")
    assert lines(tmp_path / "log") == [b"y", b"x" * 500]


def test_the_file_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        rotating(tmp_path / "new" / "log").append(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "log").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_folder_that_vanished_is_made_again(tmp_path: Path) -> None:
    file = rotating(tmp_path / "logs" / "log")
    file.append(b"before")
    (tmp_path / "logs" / "log").unlink()
    (tmp_path / "logs").rmdir()
    file.append(b"after")
    assert lines(tmp_path / "logs" / "log") == [b"after"]


def test_a_file_that_somebody_moved_away_is_begun_anew(tmp_path: Path) -> None:
    file = rotating(tmp_path / "log")
    file.append(b"before")
    (tmp_path / "log").rename(tmp_path / "elsewhere")
    file.append(b"after")
    assert lines(tmp_path / "log") == [b"after"]


def test_half_a_line_of_a_full_disk_spoils_none_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 4:
            return write(descriptor, data[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    file = rotating(tmp_path / "log")
    file.append(b"whole")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            file.append(b"lost")
    file.append(b"after")
    assert lines(tmp_path / "log") == [b"after", b"lost", b"whole"]


def test_half_a_line_of_a_writer_that_was_killed_spoils_none_after_it(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"half":')
    rotating(tmp_path / "log").append(b"{}")
    assert lines(tmp_path / "log") == [b"{}", b'{"half":']


@each_row("kind", ["link", "folder", "fifo"])
def test_what_only_looks_like_the_file_is_not_written(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "log"
    if kind == "link":
        (tmp_path / "elsewhere").touch()
        place.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)
    with pytest.raises((FileNotRegular, OSError)):
        rotating(place).append(b"x")
    assert not (tmp_path / "elsewhere").exists() or not (tmp_path / "elsewhere").read_bytes()


def test_a_folder_of_everybody_is_not_made_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "logs").symlink_to(tmp_path / "missing")
    with pytest.raises((PathShared, OSError)):
        rotating(tmp_path / "logs" / "log").append(b"x")


def test_nothing_is_read_where_nothing_is(tmp_path: Path) -> None:
    assert lines(tmp_path / "missing" / "log") == []


def test_of_a_long_file_only_the_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join(b"%05d\n" % n for n in range(1000)))
    assert lines(tmp_path / "log", most_bytes=14) == [b"00999", b"00998"]


def _write(path: Path, name: bytes, count: int) -> None:
    file = rotating(path, most_bytes=4000, kept=50)
    for number in range(count):
        file.append(name * 20 + b" %06d" % number)


def test_lines_of_several_processes_never_mix_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, name, 400)) for name in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0

    found = lines(path, kept=50, most_bytes=1_000_000)
    assert sorted(found) == [
        name * 20 + b" %06d" % number for name in (b"a", b"b") for number in range(400)
    ]
    assert older(path, 3).exists()
