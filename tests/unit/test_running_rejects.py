"""The file of rejects: whole lines, for this user alone, and never a wait."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import DiskFull
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.host.calls.envelopes import Outbound
from aperio_cli.host.calls.lines import BadLine, read_line
from aperio_cli.running.rejects import Rejects, envelope_line, line_line
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path

ENVELOPE = Outbound(
    "a",
    "event",
    b'{"id": "a", "organization_id": "o", "kind": "event", "record": {"n": 1e400, "s": "\\ud83d"}}',
    "o",
    1,
)


def test_it_is_made_with_its_first_line_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "rejects" / "file"
    for number in range(2):
        with Rejects(path) as rejects:
            rejects.add([])
            assert path.exists() == bool(number)
            rejects.add([b"%d\n" % number, b"x\n"])
            assert rejects.file == str(path)
    assert path.read_bytes() == b"0\nx\n1\nx\n"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_line_that_was_torn_is_ended_and_short_writes_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"whole\ntorn")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    with Rejects(path) as rejects:
        rejects.add([b"longer than three\n"])
    assert path.read_bytes() == b"whole\ntorn\nlonger than three\n"


@each_row("place", ["folder", "pipe", "socket/missing", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "socket").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to(os.devnull)

    with Rejects(tmp_path / place) as rejects, pytest.raises(PlaceUnusable) as caught:
        rejects.open()

    assert (caught.value.code, caught.value.exit_status) == ("place-unusable", 1)
    assert rejects.file is None


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with Rejects(tmp_path / "file") as rejects, pytest.raises(DiskFull, match="to its end"):
        rejects.add([b"x\n"])


def test_the_line_of_an_envelope_is_read_again_with_the_envelope_as_it_was() -> None:
    line = envelope_line(ENVELOPE, {"by": "acme/x@1", "reason": "\N{EM DASH}\n"})

    assert read_line(line, number=1) == ENVELOPE
    assert line.count(b"\n") == 1
    assert json.loads(line)["rejected"]["reason"] == "\N{EM DASH}\n"


@pytest.mark.parametrize(("data", "key"), [(b"caf\xc3\xa9", "text"), (b"caf\xe9", "base64")])
def test_the_line_of_a_line_is_passed_over_when_it_is_read(data: bytes, key: str) -> None:
    line = line_line(BadLine(3, "no", data))

    assert read_line(line, number=1) is None
    assert json.loads(line)["rejected"]["line"] == 3
    assert key in json.loads(line)
