"""Logs of plugins under the host: on disk, bounded, followed, and never a reason to stop."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.control.controlled import LogEntry
from aperio_cli.host.process.logs import LogRecord
from aperio_cli.host.supervising.instances import InstanceKey
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.serving import logs as module
from aperio_cli.serving.logs import PluginLogs

if TYPE_CHECKING:
    from pathlib import Path

BOX = PluginId("acme", "box")
KEY = InstanceKey(BOX, "org_1", "int_1")
OTHER = InstanceKey(PluginId("acme", "hello"), "local", "local")


class Readers(set[module._Reader]):
    """Who follows, and a way to wait for the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self.has_one = asyncio.Event()

    def add(self, reader: module._Reader) -> None:
        super().add(reader)
        self.has_one.set()


class Told(list[tuple[str, str]]):
    def __call__(self, level: str, words: str) -> None:
        self.append((level, words))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def logs(tmp_path: Path, told: Told) -> PluginLogs:
    return PluginLogs(tmp_path / "logs", told)


def said(message: str, **fields: str) -> LogRecord:
    return LogRecord("info", message, "stderr", tuple(fields.items()), "box", "2026-01-01T00:00Z")


def messages(entries: list[LogEntry]) -> list[str]:
    return [entry.record.message for entry in entries]


def test_a_record_is_read_back_as_it_was_said(logs: PluginLogs, tmp_path: Path) -> None:
    record = said("hello \N{SNOWMAN}", key="value")
    logs.take(KEY, record)
    logs.take(KEY, LogRecord("warn", "plain", "host"))

    first, second = logs.newest(BOX, 10)

    assert (first.key, first.record) == (KEY, record)
    assert (second.record, second.at >= first.at) == (LogRecord("warn", "plain", "host"), True)
    file = tmp_path / "logs" / "acme" / "box.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    line = json.loads(file.read_text().splitlines()[0])
    assert line["schema"] == "aperio.plugin-log/v1"
    assert (line["plugin"], line["organization"], line["level"]) == ("acme/box", "org_1", "info")


def test_the_newest_of_one_or_of_all_are_given_the_oldest_first(logs: PluginLogs) -> None:
    for number in range(5):
        logs.take(KEY, said(f"box {number}"))
        logs.take(OTHER, said(f"hello {number}"))
    assert messages(logs.newest(BOX, 2)) == ["box 3", "box 4"]
    assert messages(logs.newest(None, 3)) == ["hello 3", "box 4", "hello 4"]
    assert logs.newest(BOX, 0) == []
    assert logs.newest(PluginId("acme", "other"), 5) == []


def test_a_log_is_bounded(
    logs: PluginLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    for number in range(500):
        logs.take(KEY, said(f"{number}" * 20))
    files = sorted(path.name for path in (tmp_path / "logs" / "acme").iterdir())
    assert files == ["box.jsonl", *(f"box.jsonl.{n}" for n in range(1, 5))]
    assert all(path.stat().st_size <= 5000 for path in (tmp_path / "logs" / "acme").iterdir())
    assert messages(logs.newest(BOX, 1)) == ["499" * 20]


DECIDED = LogRecord("debug", 'egress {"host": "evil.example"}', "host")


def test_decisions_stand_in_a_file_of_their_own_and_are_read_in_order(
    logs: PluginLogs, tmp_path: Path
) -> None:
    logs.take(KEY, said("before"))
    logs.take(KEY, DECIDED)
    logs.take(KEY, said("after"))

    assert messages(logs.newest(BOX, 9)) == ["before", DECIDED.message, "after"]
    assert messages(logs.newest(None, 2)) == [DECIDED.message, "after"]
    assert messages(logs.decisions(BOX, 9)) == [DECIDED.message]
    kept = tmp_path / "logs" / "acme" / "box.egress.jsonl"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert DECIDED.message not in (tmp_path / "logs" / "acme" / "box.jsonl").read_text()


def test_nothing_else_that_is_logged_pushes_decisions_out(
    logs: PluginLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    logs.take(KEY, DECIDED)
    for number in range(200):
        logs.take(KEY, said(f"{number}" * 20))
        logs.take(KEY, LogRecord("debug", DECIDED.message, "stderr"))  # it is not the host's
        logs.take(KEY, LogRecord("warn", "egress refused: evil.example:443", "host"))

    assert messages(logs.newest(BOX, 500))[0] == DECIDED.message
    assert [entry.record for entry in logs.decisions(BOX, 500)] == [DECIDED]


def test_the_log_of_a_plugin_of_which_only_connections_are_known_is_among_all(
    logs: PluginLogs,
) -> None:
    logs.take(KEY, DECIDED)
    assert messages(logs.newest(None, 9)) == [DECIDED.message]


def test_a_record_of_very_many_fields_is_kept_without_them(logs: PluginLogs) -> None:
    many = LogRecord("info", "m", "stderr", tuple((f"k{n}", "v" * 4000) for n in range(64)))
    logs.take(KEY, many)
    (entry,) = logs.newest(BOX, 5)
    assert (entry.record.message, entry.record.fields) == ("m", ())


def test_a_log_folder_that_vanished_is_made_again(
    logs: PluginLogs, tmp_path: Path, told: Told
) -> None:
    logs.take(KEY, said("before"))
    shutil.rmtree(tmp_path / "logs")
    logs.take(KEY, said("after"))
    assert messages(logs.newest(BOX, 5)) == ["after"]
    assert told == []


def test_lines_that_a_full_disk_lost_are_counted_and_told_once(
    logs: PluginLogs, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    logs.take(KEY, said("before"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for number in range(7):
            logs.take(KEY, said(f"lost {number}"))
    logs.take(KEY, said("after"))

    assert messages(logs.newest(BOX, 9)) == [
        "before",
        "7 lines before this one could not be written",
        "after",
    ]
    assert [level for level, _ in told] == ["warn", "info"]
    assert "No space left" in told[0][1]


def test_what_a_plugin_lost_that_is_silent_now_is_told_once_another_is_written(
    logs: PluginLogs, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    other = InstanceKey(PluginId("acme", "other"), "local", "local")
    for key in (KEY, other):
        logs.take(key, said("before"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing)
        for key in (KEY, other, KEY):
            logs.take(key, said("lost"))
    logs.take(other, said("after"))

    missing = "before this one could not be written"
    assert messages(logs.newest(BOX, 9)) == ["before", f"2 lines {missing}"]
    assert messages(logs.newest(other.plugin, 9)) == ["before", f"1 line {missing}", "after"]
    assert [level for level, _ in told] == ["warn", "info"]


def test_a_place_where_no_log_can_be_stops_nobody(tmp_path: Path, told: Told) -> None:
    (tmp_path / "logs").write_text("a file")
    logs = PluginLogs(tmp_path / "logs", told)
    for number in range(3):
        logs.take(KEY, said(f"{number}"))
    assert len(told) == 1
    (tmp_path / "logs").unlink()
    logs.take(KEY, said("after"))
    assert messages(logs.newest(BOX, 9))[-1] == "after"


@pytest.mark.parametrize(
    "line", [b"", b"{", b"null", b"[]", b'{"schema": "aperio.plugin-log/v2"}', b"\xff", b"[" * 900]
)
def test_a_line_that_is_no_record_is_passed_over(
    logs: PluginLogs, tmp_path: Path, line: bytes
) -> None:
    logs.take(KEY, said("one"))
    with (tmp_path / "logs" / "acme" / "box.jsonl").open("ab") as file:
        file.write(line + b"\n")
    logs.take(KEY, said("two"))
    assert messages(logs.newest(BOX, 9)) == ["one", "two"]


# ── followed ──────────────────────────────────────────────────────────────────────────────────────


async def next_of(entries: object) -> LogEntry | int:
    return await asyncio.wait_for(anext(entries), 5)  # type: ignore[call-overload] # an async generator


def test_who_follows_gets_what_was_there_and_then_each_record_once(logs: PluginLogs) -> None:
    async def follow() -> list[str]:
        logs.take(KEY, said("before"))
        logs.take(OTHER, said("another plugin"))
        entries = logs.read(BOX, 5, follow=True)
        found = [await next_of(entries)]
        for number in range(3):
            logs.take(KEY, said(f"after {number}"))
            logs.take(OTHER, said("another plugin"))
        found += [await next_of(entries) for _ in range(3)]
        await entries.aclose()
        return messages([each for each in found if isinstance(each, LogEntry)])

    assert asyncio.run(follow()) == ["before", "after 0", "after 1", "after 2"]
    assert not logs._readers


def test_what_is_written_while_the_past_is_read_comes_once(
    logs: PluginLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = logs._newest

    def late(plugin: PluginId | None, last: int, number: int) -> list[LogEntry]:
        logs.take(KEY, said("meanwhile"))
        return newest(plugin, last, number)

    async def follow() -> list[str]:
        logs.take(KEY, said("before"))
        monkeypatch.setattr(logs, "_newest", late)
        entries = logs.read(BOX, 5, follow=True)
        found = [await next_of(entries) for _ in range(2)]
        logs.take(KEY, said("after"))
        found.append(await next_of(entries))
        await entries.aclose()
        return messages([each for each in found if isinstance(each, LogEntry)])

    assert asyncio.run(follow()) == ["before", "meanwhile", "after"]


def test_a_reader_that_is_too_slow_is_told_how_much_was_left_out(
    logs: PluginLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 3)

    async def follow() -> list[object]:
        entries = logs.read(None, 0, follow=True)
        logs.take(KEY, said("unseen"))
        first = asyncio.ensure_future(next_of(entries))
        logs._readers = Readers()
        await asyncio.wait_for(logs._readers.has_one.wait(), 5)
        for number in range(10):
            logs.take(KEY, said(f"{number}"))
        found = [await first, *[await next_of(entries) for _ in range(3)]]
        await entries.aclose()
        return [each if isinstance(each, int) else each.record.message for each in found]

    assert asyncio.run(follow()) == [7, "7", "8", "9"]


def test_who_does_not_follow_gets_an_end(logs: PluginLogs) -> None:
    async def read() -> list[LogEntry | int]:
        return [entry async for entry in logs.read(BOX, 5, follow=False)]

    logs.take(KEY, said("one"))
    assert len(asyncio.run(read())) == 1
