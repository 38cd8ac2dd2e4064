"""What a plugin writes: raw bytes from its pipes to log records, safe against anything in them.

fd 2 carries lines in the shape of hclog's JSON (hashicorp/go-hclog, `JSONFormat`): `@message`,
`@level`, `@timestamp`, `@module`, and every other key as a field. Whatever is not such an object is
a line of text; go-plugin's rules for text are in `client.go` (`logStderr`). All text is masked and
cleaned here, once and before it is shortened, so that a sink can print it.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.host.process.floods import Allowance, Flow
from aperio_cli.host.process.masking import Masks
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST_LINE_BYTES: Final = 64 * 1024
"""A longer line comes out in pieces, as from a Go host."""

TAIL_BYTES: Final = 64 * 1024
"""How much of the newest output is kept to explain a failure."""

LEVELS: Final = ("trace", "debug", "info", "warn", "error")
_OTHER_NAMES: Final = {"warning": "warn", "err": "error", "critical": "error", "fatal": "error"}
_LONGEST_TEXT: Final = 8192
_MOST_FIELDS: Final = 64
_PREFIX: Final = re.compile(r"\[(TRACE|DEBUG|INFO|WARN|ERROR)\]\s*", re.ASCII)
# go-plugin takes the first two; the third is how an uncaught Python exception begins.
_CRASHES: Final = ("panic: ", "fatal error: ", "Traceback (most recent call last)")


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One thing that a plugin, or the host about it, has to say. All text is safe to print.

    Attributes:
        level: trace, debug, info, warn or error.
        message: the text, without a line feed at its end.
        stream: where it came from: `host`, `stderr`, `stdout`, or `stdio` (go-plugin's stream).
        fields: further keys and values in their order.
        module: the logger's name, or empty.
        timestamp: as the plugin wrote it, or empty.
    """

    level: str
    message: str
    stream: str
    fields: tuple[tuple[str, str], ...] = ()
    module: str = ""
    timestamp: str = ""


class LineSplitter:
    """Cuts a stream of bytes into lines without their line feed; never holds more than one.

    Args:
        limit_bytes: of one piece; a longer line is masked before it is cut into pieces.
        masks: secrets that no two pieces may share.
    """

    def __init__(self, limit_bytes: int = LONGEST_LINE_BYTES, masks: Masks | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._masks = masks or Masks()
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every line that is complete now; over-long ones in pieces of the limit."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = b""
        for line in lines:
            yield from self._pieces(line.removesuffix(b"\r"))
        yield from self._begun(rest)

    def end(self) -> Iterator[bytes]:
        """Yield what came after the last line feed, if anything."""
        rest, self._rest = self._rest, b""
        if rest:  # of a process that ended in the middle of a line, and maybe of a secret
            yield from self._pieces(self._masks.raw(rest, is_unfinished=True))

    def _begun(self, rest: bytes) -> Iterator[bytes]:
        """Yield pieces of a line without end, but what a secret that is still coming may need."""
        most = self._limit_bytes + self._masks.longest
        if len(rest) > most:
            rest = self._masks.raw(rest)
        while len(rest) > most:
            yield rest[: self._limit_bytes]
            rest = rest[self._limit_bytes :]
        self._rest = rest

    def _pieces(self, line: bytes) -> Iterator[bytes]:
        if len(line) > self._limit_bytes:
            line = self._masks.raw(line)
        for start in range(0, max(len(line), 1), self._limit_bytes):
            yield line[start : start + self._limit_bytes]


class Tail:
    """The newest bytes of a stream, at most `TAIL_BYTES`, in constant memory."""

    def __init__(self, limit_bytes: int = TAIL_BYTES, masks: Masks | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._masks = masks or Masks()
        self._fed_bytes = 0
        self._pieces: deque[bytes] = deque()
        self._size_bytes = 0

    def feed(self, data: bytes) -> None:
        """Append bytes; the oldest fall off."""
        self._fed_bytes += len(data)
        self._pieces.append(data[-self._limit_bytes :])
        self._size_bytes += len(self._pieces[-1])
        while self._size_bytes - len(self._pieces[0]) >= self._limit_bytes:
            self._size_bytes -= len(self._pieces.popleft())

    def bytes(self) -> bytes:
        """Return what is kept, oldest first."""
        return b"".join(self._pieces)[-self._limit_bytes :]

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines that are not blank, as text that is safe to print."""
        text = self._masks.unfinished(self.bytes().decode("utf-8", "replace"))
        if self._fed_bytes > self._limit_bytes:  # it may begin with the end of a secret
            text = text[self._masks.longest :]
        lines = [line for line in text.split("\n") if line.strip()]
        return [_shown(line, 400) for line in lines[-count:]]


class _Reader:
    """Cuts what a plugin prints into lines; as many as pass become records."""

    def __init__(
        self,
        sink: Callable[[LogRecord], None],
        masks: Masks | None,
        allowance: Allowance | None,
    ) -> None:
        self._sink = sink
        self._masks = masks or Masks()
        self._lines = LineSplitter(masks=self._masks)
        self._flow = Flow(
            allowance or Allowance(), lambda words: sink(LogRecord("warn", words, "host"))
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        passed, is_cut = self._flow.admit(data)
        self._take(self._lines.feed(passed))
        if is_cut:  # a line that was begun goes no further
            self._take(self._lines.end())

    def end(self) -> None:
        """Take note that no more will come."""
        self._take(self._lines.end())
        self._flow.end()

    def _take(self, lines: Iterator[bytes]) -> None:
        raise NotImplementedError


class StderrReader(_Reader):
    """Turns what comes in on fd 2 into log records and keeps the tail of it."""

    def __init__(
        self,
        sink: Callable[[LogRecord], None],
        masks: Masks | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        super().__init__(sink, masks, allowance)
        self._crashing = False
        self.tail = Tail(masks=self._masks)

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.tail.feed(data)
        super().feed(data)

    def _take(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            if not line.strip():
                continue
            record = parse_line(line, self._masks)
            structured = bool(record.timestamp or record.fields or record.module)
            self._crashing = not structured and (
                self._crashing or record.message.startswith(_CRASHES)
            )
            if self._crashing:
                record = LogRecord("error", record.message, record.stream)
            self._sink(record)


class TextReader(_Reader):
    """Turns printed text (stdout after the handshake, go-plugin's stdio stream) into records."""

    def __init__(
        self,
        sink: Callable[[LogRecord], None],
        stream: str,
        level: str,
        masks: Masks | None = None,
        allowance: Allowance | None = None,
    ) -> None:
        super().__init__(sink, masks, allowance)
        self._stream = stream
        self._level = level

    def _take(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            text = _shown(self._masks.text(line.decode("utf-8", "replace")))
            self._sink(LogRecord(self._level, text, self._stream))


def parse_line(line: bytes, masks: Masks | None = None) -> LogRecord:
    """Return the record in one line of fd 2, whatever is in it; never raises."""
    mask = (masks or Masks()).text
    text = line.decode("utf-8", "replace")
    document = _json_object(text)
    if document is None:
        prefix = _PREFIX.match(text)
        level = prefix[1].lower() if prefix else "debug"
        return LogRecord(level, _shown(mask(text[prefix.end() :] if prefix else text)), "stderr")
    level = _text(document.pop("@level", "")).lower()
    return LogRecord(
        level=_OTHER_NAMES.get(level, level if level in LEVELS else "debug"),
        message=_shown(mask(_text(document.pop("@message", "")))),
        stream="stderr",
        module=_shown(mask(_text(document.pop("@module", ""))), 200),
        timestamp=_shown(mask(_text(document.pop("@timestamp", ""))), 40),
        fields=tuple(
            (_shown(mask(key), 200), _shown(mask(_text(value))))
            for key, value in list(document.items())[:_MOST_FIELDS]
        ),
    )


def _json_object(text: str) -> dict[str, Any] | None:
    """Return the object, when it is one in hclog's shape.

    A plugin may print any other JSON as text.
    """
    if not text.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and "@message" in document else None


def _text(value: object) -> str:
    """Return a JSON value as text; hclog says strings, a plugin may say anything."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(text: str, limit: int = _LONGEST_TEXT) -> str:
    if len(text) <= limit and text.isprintable():
        return text  # the usual case, without a loop over characters
    return clean(text, limit=limit).rstrip("\n")
