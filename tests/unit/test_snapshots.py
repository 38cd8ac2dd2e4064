"""What tests compare folders by reads little twice, and misses nothing."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests import builders
from tests.builders import Known, snapshot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that has been there for a while, as the system's clock tells it."""
    made = tmp_path / "file"
    made.write_bytes(b"one")
    while time.time_ns() - made.stat().st_ctime_ns <= 2 * builders._TICK_NS:
        time.sleep(0.005)
    return made


def test_second_look_reads_nothing_that_did_not_change(file: Path) -> None:
    known: Known = {}
    before = snapshot(file.parent, known=known)
    assert [*known.values()] == [b"one"]
    known.update(dict.fromkeys(known, b"read before"))
    assert snapshot(file.parent, known=known) == before | {
        str(file): (before[str(file)][0], b"read before")
    }


def test_second_look_sees_other_contents_of_the_same_length_and_time(file: Path) -> None:
    known: Known = {}
    before, status = snapshot(file.parent, known=known), file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = snapshot(file.parent, known=known)
    assert after[str(file)][1] == b"two"
    assert after != before


def test_what_was_just_written_is_read_again(file: Path) -> None:
    known: Known = {}
    file.write_bytes(b"two")
    snapshot(file.parent, known=known)
    assert known == {}
