"""Speaking to people and to scripts: stdout is for data, stderr for people.

The one place that formats errors and decides what is shown. Text from outside has already been
cleaned where it entered an error; reports clean what they show.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from aperio_cli.errors import DONE
from aperio_cli.errors.files import DiskFull
from aperio_cli.errors.usage import OutputUnwritten
from aperio_cli.files.writing import disk_full_guard
from aperio_cli.text import clean, escape_controls, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from rich.progress import Progress

    from aperio_cli.errors import AperioError

_UNWRITTEN = "the output was not written"
_LABEL_WIDTH = 6
_REMEMBERED_LINES = 100
# A command in backticks; `--help` of a group takes no options.
_COMMAND = re.compile(r"`(aperio (?:plugin|host|registry|trust|doctor)\b(?![^`]*--help)[^`]*)`")

# Those of maintainers name the folder that they work in.
_ASKING = re.compile(r"aperio (?!registry (?!mirror\b|verify\b))")


class ReaderGone(Exception):
    """Our stdout has no reader any more: nobody wants more, so the command is done."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a command has to say when it is done.

    Attributes:
        data: the `data` of the JSON envelope; its keys are a contract.
        text: the same for people, without a final newline; empty: nothing.
        notes: what people should know besides; stderr.
        exit_status: 0, or 1 when findings are the result (`list --check`, `registry` commands).
    """

    data: dict[str, Any]
    text: str = ""
    notes: tuple[str, ...] = ()
    exit_status: int = DONE


@dataclass(slots=True)
class Output:
    """Where a command's words go.

    Attributes:
        json_mode: one JSON document on stdout and nothing else there.
        quiet: no notes, only results and errors.
        verbose: details as well.
        options: what commands that people are told to type need besides, such as `--home DIR`:
            whoever pastes them means the same places as this call.
        registry: the same for commands that ask registries: `--registry PLACE`.
    """

    json_mode: bool = False
    quiet: bool = False
    verbose: bool = False
    options: str = ""
    registry: str = ""
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    _logged: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_LINES))
    _progress: Progress | None = None
    _is_lost: bool = False

    def show(self, command: Sequence[str], report: Report) -> None:
        """Show a finished command's report."""
        if self.json_mode:
            self._write_json(_envelope(command, report.exit_status, report.data, []))
        elif report.text:
            self.lines([report.text.encode("utf-8", "replace") + b"\n"])
        for note in report.notes:
            self.note(note)

    def fail(self, command: Sequence[str], error: AperioError) -> None:
        """Show an error: on stderr for people, or as the JSON document, where stdout takes one."""
        self._with_options(error)
        if self.json_mode and not self._is_lost:
            self._write_json(_envelope(command, error.exit_status, {}, [error.to_json()]))
        else:
            self._tell(format_error(error, frozenset(self._logged)))

    def format_finding(self, error: AperioError) -> str:
        """Return what is wrong for people, with its remedies, as a part of a report's text."""
        return "\n".join([error.what, *_details(self._with_options(error), error.code)])

    def note(self, text: str) -> None:
        """Tell people something that is not a result."""
        if not self.quiet:
            self.warn(self._completed(text))

    def warn(self, text: str) -> None:
        """Tell people something that they must not miss; shown even when quiet."""
        self._tell(clean(text, limit=4000) + "\n")

    def shows(self, level: str) -> bool:
        """Return whether people are shown what a plugin logs at a level."""
        is_wanted = self.verbose or (level == "info" and not self.quiet)
        return is_wanted or level in {"warn", "error"}

    def log(self, text: str, message: str) -> None:
        """Show a plugin's words; an error that quotes them for people need not do so again.

        Args:
            text: as they are shown.
            message: as the plugin wrote them.
        """
        self.warn(text)
        self._logged.extend(message.split("\n"))

    def detail(self, text: str) -> None:
        """Tell people something that they asked for with `--verbose`."""
        if self.verbose:
            self.note(text)

    def lines(self, lines: Sequence[bytes]) -> None:
        """Write ready lines of data, each ending in a newline, and flush them.

        Raises:
            ReaderGone: whoever read stdout has closed it.
            DiskFull: stdout is a file, and there is no space for it.
            OutputUnwritten: it is closed, or the system refuses.
        """
        try:
            self.stdout.flush()
            self.stdout.buffer.write(b"".join(lines))
            self.stdout.buffer.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error
        except OSError as error:
            to_nowhere(self.stdout)
            self._is_lost = True
            raise unwritten(error) from error

    @contextlib.contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show on a terminal what is being done while the block runs, and for how long.

        Nothing is asked of people inside, and nothing of it stays. It is on stderr, never with
        `--json` or `--quiet`, and without colour where NO_COLOR is set (no-color.org).

        Args:
            text: what is being done, such as "verifying `acme/box`".
        """
        progress = None if self.json_mode or self.quiet else _progress(self.stderr, text)
        if progress is None or self._progress is not None:
            yield
            return
        self._progress = progress
        try:
            with contextlib.suppress(OSError):
                progress.start()
            yield
        finally:
            self._progress = None
            with contextlib.suppress(OSError):
                progress.stop()

    def retell(self, text: str) -> None:
        """Say anew what is being done, from whatever thread, where `working` shows it."""
        if progress := self._progress:
            for task in progress.task_ids:
                progress.update(task, description=one_line(text, limit=120))

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Take what shows the progress away while something else is written."""
        progress = self._progress
        if progress is None:
            yield
            return
        with contextlib.suppress(OSError):
            progress.stop()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                progress.start()

    def _with_options(self, error: AperioError) -> AperioError:
        error.next = tuple(map(self._completed, error.next))
        return error

    def _completed(self, text: str) -> str:
        """Return the text, with the options behind each command in it that takes them."""

        def typed(found: re.Match[str]) -> str:
            registry = self.registry if _ASKING.match(found[1]) else ""
            return f"`{' '.join(filter(None, (found[1], self.options, registry)))}`"

        return _COMMAND.sub(typed, text)

    def _write_json(self, document: dict[str, Any]) -> None:
        text = escape_controls(json.dumps(document, ensure_ascii=False))
        self.lines([text.encode("utf-8", "replace") + b"\n"])

    def _tell(self, text: str) -> None:
        """Show words to people; that nobody reads them is no reason to stop."""
        try:
            with self._aside():
                self.stderr.write(text)
                self.stderr.flush()
        except OSError:
            to_nowhere(self.stderr)


def _progress(stream: TextIO, text: str) -> Progress | None:
    """Return what shows that something is being done; None unless the stream is a terminal."""
    try:
        is_terminal = stream.isatty()
    except ValueError:  # it is closed
        is_terminal = False
    if not is_terminal or os.environ.get("TERM", "") in {"", "dumb", "unknown"}:
        return None
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    is_unicode = (stream.encoding or "").lower().replace("-", "") == "utf8"
    progress = Progress(
        SpinnerColumn("dots" if is_unicode else "line"),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=Console(file=stream),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    progress.add_task(one_line(text, limit=120), total=None)
    return progress


def unwritten(error: OSError) -> AperioError:
    """Return what to tell people about a stdout that cannot be written."""
    try:
        with disk_full_guard(_UNWRITTEN):
            raise error
    except DiskFull as full:
        return full
    except OSError:
        return OutputUnwritten(
            _UNWRITTEN,
            why=error.strerror or str(error),
            next=["see where stdout leads, then run the same command again"],
        )


def to_nowhere(stream: TextIO) -> None:
    """Point a stream that takes no more at the null device.

    What is left in its buffer would otherwise make Python complain when it flushes at exit.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):  # not a stream of the system
        os.dup2(null, stream.fileno())
    os.close(null)


def _envelope(
    command: Sequence[str], exit_status: int, data: dict[str, Any], errors: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "schema": 1,
        "command": list(command),
        "status": "ok" if exit_status == DONE else "error",
        "exit_status": exit_status,
        "data": data,
        "errors": errors,
    }


def format_error(error: AperioError, logged: Collection[str] = ()) -> str:
    """Return an error for people: what, then why, next and code, aligned; ends in a newline.

    Args:
        error: the error.
        logged: lines that were shown already; of those that it quotes only the last is shown again.
    """
    code = f"{error.code} (exit {error.exit_status})"
    return "\n".join([f"error: {error.what}", *_details(error, code, logged)]) + "\n"


def _details(error: AperioError, code: str, logged: Collection[str] = ()) -> Iterator[str]:
    lines = error.why.splitlines()
    known = {line.strip() for line in logged}
    quoted = [number for number, line in enumerate(lines) if line.strip() in known]
    lines = [line for number, line in enumerate(lines) if number not in quoted[:-1]]
    for number, line in enumerate(lines):
        yield _labelled("why" if number == 0 else "", line)
    for number, step in enumerate(error.next):
        for part, line in enumerate(step.splitlines()):
            label = ("next" if number == 0 else "or") if part == 0 else ""
            yield _labelled(label, line)
    yield _labelled("code", code)


def _labelled(label: str, line: str) -> str:
    return f"  {label:<{_LABEL_WIDTH}}{line}".rstrip()


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return cells in aligned columns, headings first, without a final newline."""
    lines = [list(headings), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def pairs(items: Sequence[tuple[str, object]]) -> str:
    """Return names and values, one pair a line, aligned, without a final newline."""
    width = max((len(name) for name, _ in items), default=0)
    return "\n".join(
        f"{one_line(name):<{width}}  {one_line(value, limit=1000)}" for name, value in items
    )
