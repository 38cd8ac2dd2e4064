"""Long work says on a terminal what it does, and nowhere else."""

from __future__ import annotations

import io
import os
import re
import threading
from typing import TYPE_CHECKING, Any, TextIO

import pytest

from aperio_cli.output import Output
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator

COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-7]|38;[\d;]+|9[0-7])m")
HIDES_CURSOR, SHOWS_CURSOR = b"\x1b[?25l", b"\x1b[?25h"


class Terminal:
    """A pseudoterminal: what is written to `stream`, read all the time."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other side is closed
                return
            self._seen += data

    def close(self) -> bytes:
        """Close it; return all that was written."""
        if not self.stream.closed:
            self.stream.close()
        self._reader.join(10)
        assert not self._reader.is_alive()
        return bytes(self._seen)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    made = Terminal()
    yield made
    made.close()


def test_a_terminal_is_told_what_is_done_and_nothing_of_it_stays(terminal: Terminal) -> None:
    output = Output(stderr=terminal.stream)
    with output.working("verifying `acme/box`"):
        output.warn("said meanwhile")
    output.warn("said after")
    seen = terminal.close()

    assert seen.count(b"verifying `acme/box`") >= 2  # again, after what was said meanwhile
    assert COLOUR.search(seen)
    assert seen.count(HIDES_CURSOR) == seen.count(SHOWS_CURSOR) >= 1
    shown = seen.rpartition(SHOWS_CURSOR)[2]
    assert shown.startswith(b"\r\x1b[1A\x1b[2K") or b"\x1b[2K" in shown
    assert b"verifying" not in shown
    assert b"said meanwhile\r\n" in seen
    assert shown.endswith(b"said after\r\n")


def test_what_is_done_is_told_anew_where_it_is_shown(terminal: Terminal) -> None:
    output = Output(stderr=terminal.stream)
    output.retell("before anything is done")
    with output.working("verifying"):
        output.retell("downloading: 1.5 MB of 3.0 MB")
    seen = terminal.close()
    assert b"downloading: 1.5 MB of 3.0 MB" in seen
    assert b"before" not in seen


def test_no_color_is_kept(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with Output(stderr=terminal.stream).working("building"):
        pass
    seen = terminal.close()

    assert b"building" in seen
    assert not COLOUR.search(seen)


@pytest.mark.parametrize(
    ("settings", "term"),
    [
        ({"json_mode": True}, "xterm"),
        ({"quiet": True}, "xterm"),
        ({}, "dumb"),
        ({}, ""),
    ],
)
def test_nothing_is_shown_where_it_is_not_wanted(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    with Output(stderr=terminal.stream, **settings).working("building"):
        pass
    assert terminal.close() == b""


@each_row("forced", ["FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_nothing_is_shown_to_a_pipe_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, forced: str
) -> None:
    monkeypatch.setenv(forced, "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    output = Output(stderr=stream)
    with output.working("building"):
        output.warn("said meanwhile")
    assert stream.getvalue() == "said meanwhile\n"


def test_what_fails_meanwhile_passes_and_leaves_a_clean_line(terminal: Terminal) -> None:
    output = Output(stderr=terminal.stream)
    with pytest.raises(LookupError), output.working("building"), output.working("inside"):
        raise LookupError
    output.warn("error: it failed")
    seen = terminal.close()

    assert b"inside" not in seen  # one thing at a time
    assert b"building" not in seen.rpartition(SHOWS_CURSOR)[2]
    assert seen.endswith(b"error: it failed\r\n")


def test_a_terminal_that_goes_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    master, slave = os.openpty()
    done = []
    with os.fdopen(slave, "w") as stream:
        output = Output(stderr=stream)
        os.close(master)
        with output.working("building"):
            output.warn("nobody reads this")
            done.append(1)
    assert done == [1]


def test_text_from_outside_is_one_plain_line(terminal: Terminal) -> None:
    with Output(stderr=terminal.stream).working("verifying [red]`x`\x1b]0;title\x07\nnext"):
        pass
    seen = terminal.close()
    assert b"[red]`x`" in seen
    assert b"\x1b]0" not in seen
