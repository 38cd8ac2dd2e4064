"""What a plugin writes, turned into records: nothing in it can hurt."""

from __future__ import annotations

import json
import os

import pytest

from aperio_cli.host.process import floods
from aperio_cli.host.process.floods import Allowance, Chatter
from aperio_cli.host.process.logs import (
    LONGEST_LINE_BYTES,
    LineSplitter,
    LogRecord,
    StderrReader,
    Tail,
    TextReader,
    parse_line,
)
from aperio_cli.host.process.masking import Masks
from tests.rows import each_row, for_rows


def test_an_hclog_line_becomes_a_record_with_its_fields_in_order() -> None:
    line = {
        "@level": "warn",
        "@message": "slow",
        "@module": "box",
        "@timestamp": "2026-01-02T03:04:05.000006Z",
        "page": 7,
        "url": "https://x",
    }

    assert parse_line(json.dumps(line).encode()) == LogRecord(
        "warn",
        "slow",
        "stderr",
        (("page", "7"), ("url", "https://x")),
        "box",
        "2026-01-02T03:04:05.000006Z",
    )


@for_rows(
    [
        (b'{"@message": 5}', "debug", "5"),
        (b'{"@message": "m", "@level": 5}', "debug", "m"),
        (b'{"@message": "m", "@level": "WARNING"}', "warn", "m"),
        (b'{"@message": "m", "@level": "Critical"}', "error", "m"),
        (b'{"@message": null}', "debug", "null"),
        (b'{"@message": "a\\u0000\\u001b[2Jb"}', "debug", "a\ufffd\ufffd[2Jb"),
        (b'{"message": "no hclog"}', "debug", '{"message": "no hclog"}'),
        (b'["HELLO"]', "debug", '["HELLO"]'),
        (b"12345", "debug", "12345"),
        (b'{"@message": ', "debug", '{"@message": '),
        (b"[ERROR] it broke", "error", "it broke"),
        (b"[error] not a prefix", "debug", "[error] not a prefix"),
        (b"\xff\xfe", "debug", "\ufffd\ufffd"),
        (b'{"@message": ' + b"[" * 60_000, "debug", None),
        (b'{"@message": ' + b"9" * 60_000 + b"}", "debug", None),
    ]
)
def test_any_line_becomes_a_record(line: bytes, level: str, message: str | None) -> None:
    record = parse_line(line)

    assert record.level == level
    assert message is None or record.message == message
    assert len(record.message) <= 8192


def test_arbitrary_bytes_never_raise() -> None:
    for _ in range(200):
        parse_line(os.urandom(200))
        parse_line(b'{"@message":' + os.urandom(50) + b"}")


def test_too_many_fields_are_cut_off() -> None:
    line = {"@message": "m"} | {f"k{number}": number for number in range(1000)}

    assert len(parse_line(json.dumps(line).encode()).fields) == 64


def test_a_line_in_pieces_comes_out_whole() -> None:
    lines = LineSplitter()

    assert list(lines.feed(b"one\r\ntw")) == [b"one"]
    assert list(lines.feed(b"o")) == []
    assert list(lines.feed(b"\n\nthree")) == [b"two", b""]
    assert list(lines.end()) == [b"three"]
    assert list(lines.end()) == []


@each_row("step", [1000, 65_536, 1_000_000])
def test_an_over_long_line_comes_out_in_pieces_and_nothing_is_lost(step: int) -> None:
    data = bytes(range(97, 123)) * 10_000
    lines = LineSplitter()

    out = [piece for at in range(0, len(data), step) for piece in lines.feed(data[at : at + step])]
    out += [*lines.feed(b"\n"), *lines.end()]

    assert b"".join(out) == data
    assert max(map(len, out)) <= LONGEST_LINE_BYTES


def test_a_crash_makes_the_lines_after_it_errors_until_a_structured_one() -> None:
    records: list[LogRecord] = []
    reader = StderrReader(records.append)

    reader.feed(b"before\npanic: it broke\n\ngoroutine 1\n")
    reader.feed(b'{"@message": "after", "@level": "info", "n": 1}\nplain\n')
    reader.end()

    assert [(record.level, record.message) for record in records] == [
        ("debug", "before"),
        ("error", "panic: it broke"),
        ("error", "goroutine 1"),
        ("info", "after"),
        ("debug", "plain"),
    ]


def test_a_python_traceback_is_an_error() -> None:
    records: list[LogRecord] = []
    reader = StderrReader(records.append)

    reader.feed(b"Traceback (most recent call last):\n  File\nValueError: no")
    reader.end()

    assert {record.level for record in records} == {"error"}
    assert len(records) == 3


def test_the_tail_keeps_the_newest_bytes_in_constant_memory() -> None:
    tail = Tail(10)

    for piece in (b"a" * 100, b"12", b"345", b"6789", b"X"):
        tail.feed(piece)

    assert tail.bytes() == b"123456789X"
    assert len(tail._pieces) <= 5


def test_the_last_lines_are_safe_to_print() -> None:
    tail = Tail()
    tail.feed(b"one\n\n\x1b[31mtwo\nthree\xff\n")

    assert tail.last_lines(2) == ["\ufffd[31mtwo", "three\ufffd"]


def test_printed_text_is_logged_line_by_line() -> None:
    records: list[LogRecord] = []
    reader = TextReader(records.append, "stdio", "info")

    reader.feed(b"one\ntwo \xf0\x9f")
    reader.feed(b"\x8d\x95\nrest")
    reader.end()

    assert [record.message for record in records] == ["one", "two \N{SLICE OF PIZZA}", "rest"]
    assert {(record.stream, record.level) for record in records} == {("stdio", "info")}


# ── floods ────────────────────────────────────────────────────────────────────────────────────────


class _Clock:
    """A monotonic clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(floods, "clock", made)
    return made


FEW = Chatter(at_once=5000, a_second=500)
LINE = b"0123456789\n"


def test_what_a_plugin_logs_at_once_arrives_whole(stopped: _Clock) -> None:
    del stopped
    records: list[LogRecord] = []
    reader = StderrReader(records.append, None, Allowance(FEW))
    for _ in range(4):
        reader.feed(LINE * 1000)
    reader.end()
    assert len(records) == 4000
    assert {record.message for record in records} == {"0123456789"}


def test_a_flood_is_left_out_counted_and_told(stopped: _Clock) -> None:
    records: list[LogRecord] = []
    reader = TextReader(records.append, "stdout", "info", None, Allowance(FEW))
    for _ in range(20):
        reader.feed(LINE * 1000)
    kept = len(records)
    assert FEW.at_once - 1000 < kept <= FEW.at_once
    assert {record.message for record in records} == {"0123456789"}
    stopped.now_s += 1.0
    reader.feed(b"6789\nthe last line\n")  # the rest of a line that was left out
    size = f"{(len(LINE) * (20_000 - kept) + 5) / 1024**2:.1f} MiB"
    assert records[kept].message == (
        f"too much was printed: {20_001 - kept} lines ({size}) left out of the log;"
        " 500 lines a second pass, of 1024 bytes"
    )
    assert [record.message for record in records[kept + 1 :]] == ["the last line"]
    assert (records[kept].level, records[kept].stream) == ("warn", "host")


def test_what_a_plugin_prints_to_all_of_its_streams_counts_together(stopped: _Clock) -> None:
    """Else it had as much more as it has streams to print to."""
    records: list[LogRecord] = []
    allowance = Allowance(FEW)
    readers = [
        StderrReader(records.append, None, allowance),
        *(
            TextReader(records.append, name, "info", None, allowance)
            for name in ("stdout", "stdio")
        ),
    ]
    for _ in range(10):
        for reader in readers:
            reader.feed(LINE * 1000)
    assert FEW.at_once - 1000 < len(records) <= FEW.at_once
    stopped.now_s += 1.5
    for reader in readers:
        reader.feed(b"\nand again\n")
    again = [record.stream for record in records if record.message == "and again"]
    assert again == ["stderr", "stdout", "stdio"]


def test_a_flood_that_goes_on_to_the_end_is_told_there(stopped: _Clock) -> None:
    del stopped
    records: list[LogRecord] = []
    reader = StderrReader(records.append, None, Allowance(FEW))
    reader.feed(b"a line that is never done")
    for _ in range(128):
        reader.feed(b"x" * 65536)
    reader.end()
    assert sum(len(record.message) for record in records) < 8 * 1024**2
    assert records[-1].message.startswith("too much was printed: 0 lines (")
    assert reader.tail.last_lines(1)[0].startswith("xxx")


def test_a_secret_in_a_line_that_is_cut_off_by_a_flood_is_not_shown(stopped: _Clock) -> None:
    del stopped
    masks = Masks()
    masks.learn({"token": "hunter2hunter2"})
    records: list[LogRecord] = []
    reader = TextReader(records.append, "stdout", "info", masks, Allowance(FEW))
    reader.feed(b"token hunter2hu")
    reader.feed(b"x" * (6 * 1024**2))
    reader.end()
    assert not [record for record in records if "hunter" in record.message]
