"""Deliveries: lines of an input, batches, and what is counted of them."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest
from google.protobuf.duration_pb2 import Duration

from aperio_cli.commands.plugin import delivering
from aperio_cli.host.calls.envelopes import Outbound
from aperio_cli.host.calls.lines import BadLine
from aperio_cli.running.delivering import _wait_s
from tests.rows import each_row


def read_all(data: bytes, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is found on stdin, which gives so many bytes at once."""
    reader, writer = os.pipe()
    monkeypatch.setattr(delivering, "_CHUNK_BYTES", chunk_bytes)

    def write() -> None:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)

    async def read() -> list[object]:
        return [found async for found in delivering.stdin_envelopes()]

    with os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        threading.Thread(target=write, daemon=True).start()
        return asyncio.run(asyncio.wait_for(read(), timeout=30))


def line(name: str) -> bytes:
    return b'{"id":"%b","organization_id":"o","kind":"event","record":{}}' % name.encode()


def outbound(name: str, number: int = 1) -> Outbound:
    return Outbound(name, "event", line(name), "o", number)


@each_row("chunk_bytes", [1, 2, 3, 7, 64, 65_536])
def test_lines_are_found_wherever_the_input_is_cut(
    chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "_LONGEST_LINE_BYTES", 70)
    monkeypatch.setattr(delivering, "_KEPT_BYTES", 5)
    parts = [b"\xef\xbb\xbf" + line("a"), b"x" * 71, line("b") + b"\r", b"", b"y" * 400, line("c")]

    found = read_all(b"\n".join(parts), chunk_bytes, monkeypatch)

    why = "expected a line of at most 70 bytes"
    bad = [BadLine(2, why, b"xxxxx"), BadLine(5, why, b"yyyyy")]
    assert found == [outbound("a"), bad[0], outbound("b", 3), bad[1], outbound("c", 6)]


def test_a_line_of_the_longest_length_is_read_and_its_end_may_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivering, "_LONGEST_LINE_BYTES", len(line("a")))

    assert read_all(line("a"), 64, monkeypatch) == [outbound("a")]


def test_an_input_that_ends_inside_of_a_line_that_is_too_long_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivering, "_LONGEST_LINE_BYTES", 10)

    (found,) = read_all(b"z" * 100, 16, monkeypatch)

    assert isinstance(found, BadLine)


@each_row(
    ("asked_s", "wait_s"),
    [
        (0, 0), (-5, 0), (0.0001, 0.1), (0.1, 0.1), (2.5, 2.5), (366 * 86_400, 366 * 86_400),
        (367 * 86_400, 0), (10**11, 0),
    ],
)  # fmt: skip
def test_a_wait_is_as_asked_but_never_so_short_or_long_that_it_makes_no_sense(
    asked_s: float, wait_s: float
) -> None:
    """A destination that asks for a tenth of a millisecond is not called ten thousand times."""
    asked = Duration(seconds=int(asked_s), nanos=round((asked_s - int(asked_s)) * 1e9))
    assert _wait_s(asked) == pytest.approx(wait_s)
