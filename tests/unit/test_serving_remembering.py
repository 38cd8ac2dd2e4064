"""What a host remembers from one start to the next, and what it says when it cannot."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.supervising.instances import InstanceKey, Pause
from aperio_cli.host.supervising.life import Reason
from aperio_cli.host.supervising.supervisor import MOST_PAUSED
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.serving.falling_back import Versions
from aperio_cli.serving.pausing import Pauses

if TYPE_CHECKING:
    from pathlib import Path

BOX = PluginId("acme", "box")
DIED = Reason("plugin-exited-early", "it ended\nexit status 3")


class Told:
    """What was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, level: str, words: str) -> None:
        self.lines.append(f"{level}: {words}")


@pytest.fixture
def told() -> Told:
    return Told()


def test_what_was_left_is_remembered_by_the_next_host_until_another_version_is_used(
    tmp_path: Path, told: Told
) -> None:
    path = tmp_path / "host" / "versions.json"
    first = Versions(path, told)
    first.settle(BOX, "1.0.0")
    first.leave(BOX, "1.1.0", DIED)
    assert path.stat().st_mode & 0o777 == 0o600

    second = Versions(path, told)
    held = second.find(BOX, "1.1.0")
    assert held
    assert held.fallback
    assert (held.healthy, held.fallback.reason) == ("1.0.0", "it ended exit status 3")
    assert second.find(BOX, "1.0.0"), "the store was changed"
    assert second.find(BOX, "1.1.0") is None, "so somebody has taken it into use again"
    assert second.left(BOX) == ""
    assert Versions(path, told).healthy(BOX) == "1.0.0"
    assert told.lines == []


def test_as_many_pauses_as_may_be_with_the_longest_of_everything_are_read_again(
    tmp_path: Path, told: Told
) -> None:
    pauses = Pauses(tmp_path / "pauses.json", told)
    long = "\U0001f512" * 500
    made = {
        InstanceKey(BOX, f"{number:04}" + "\U0001f512" * 196, "\U0001f512" * 200): Pause(
            long, "2026-11-29T20:00:00Z", long
        )
        for number in range(MOST_PAUSED)
    }
    pauses.write(made)
    assert Pauses(tmp_path / "pauses.json", told).read() == made
    assert told.lines == []


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"schema": 2}', b'{"schema": 1, "records": [{"plugin": "no id"}]}']
)
def test_a_file_that_cannot_be_read_is_said_and_counts_as_none(
    tmp_path: Path, told: Told, data: bytes
) -> None:
    path = tmp_path / "versions.json"
    path.write_bytes(data)
    versions = Versions(path, told)
    assert versions.healthy(BOX) == ""
    (line,) = told.lines
    assert line.startswith("error: which version of each plugin ran well last is not known: ")
    versions.settle(BOX, "1.0.0")
    assert Versions(path, told).healthy(BOX) == "1.0.0"
    assert len(told.lines) == 1


@pytest.mark.skipif(os.name != "posix", reason="a folder in the way of a folder")
def test_what_cannot_be_written_down_is_said_once_and_known_meanwhile(
    tmp_path: Path, told: Told
) -> None:
    (tmp_path / "host").write_text("in the way")
    versions = Versions(tmp_path / "host" / "versions.json", told)
    told.lines.clear()
    for version in ("1.0.0", "1.1.0"):
        versions.settle(BOX, version)
    assert versions.healthy(BOX) == "1.1.0"
    (line,) = told.lines
    assert line.startswith("warn: which version of each plugin ran well last is not written down")
    (tmp_path / "host").unlink()
    versions.settle(BOX, "1.2.0")
    assert Versions(tmp_path / "host" / "versions.json", told).healthy(BOX) == "1.2.0"


def test_what_could_not_be_written_down_is_written_as_it_is_once_that_can_be_done(
    tmp_path: Path, told: Told
) -> None:
    (tmp_path / "host").write_text("in the way")
    path = tmp_path / "host" / "versions.json"
    versions = Versions(path, told)
    told.lines.clear()
    versions.settle(BOX, "1.0.0")
    versions.settle(BOX, "1.1.0")
    versions.retry()
    assert len(told.lines) == 1

    (tmp_path / "host").unlink()
    versions.retry()
    assert Versions(path, told).healthy(BOX) == "1.1.0"
    assert told.lines[1:] == [
        "info: which version of each plugin ran well last is written down again"
    ]
    path.unlink()
    versions.retry()
    assert not path.exists(), "nothing is left to be written"
