"""Logs: what plugins under the host have to say, in a bounded file of JSON lines for each.

What the host decides about a plugin's connections stands in a file of its own, which no other line
pushes out; whoever reads the log is given both in order.

A plugin's log never stops the host: on a full disk, or where the folder cannot be made, lines are
lost and counted, and the count is written as soon as there is space. Secrets were masked and text
was cleaned before it comes here (`host.process.logs`).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import secrets
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.files.rotating import RotatingFile, newest_lines
from aperio_cli.host.control.controlled import LogEntry
from aperio_cli.host.egress.decisions import LINE_BEGINS
from aperio_cli.host.process.logs import LEVELS, LogRecord
from aperio_cli.host.supervising.instances import InstanceKey
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.reading import Bounds, Table, Unreadable, read_json
from aperio_cli.text import counted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
    from pathlib import Path

SCHEMA: Final = "aperio.plugin-log/v1"
MOST_BYTES: Final = 1024 * 1024
"""Of one file."""
KEPT: Final = 4
"""Older files of a plugin, so that its log has at most 5 MiB, and its decisions as much."""
_DECISIONS: Final = ".egress"  # no plugin's name has a dot
_LONGEST_LINE: Final = 64 * 1024
_MOST_WAITING: Final = 1000
"""Records that wait for a slow reader; older ones are left out."""


@dataclass(slots=True)
class _Lost:
    """How many lines of a file were lost in a row, and whose the first was."""

    key: InstanceKey
    count: int = 1


class _Reader:
    """One who follows: what it has not read yet, bounded."""

    def __init__(self, plugin: PluginId | None) -> None:
        self.plugin = plugin
        self.waiting: deque[LogEntry] = deque()
        self.left_out = 0
        self.has_news = asyncio.Event()

    def give(self, entry: LogEntry) -> None:
        if self.plugin in {None, entry.key.plugin}:
            if len(self.waiting) == _MOST_WAITING:
                self.waiting.popleft()
                self.left_out += 1
            self.waiting.append(entry)
            self.has_news.set()

    async def news(self) -> AsyncIterator[LogEntry | int]:
        while True:
            await self.has_news.wait()
            self.has_news.clear()
            while self.waiting:
                if self.left_out:
                    left_out, self.left_out = self.left_out, 0
                    yield left_out
                yield self.waiting.popleft()


class PluginLogs:
    """The logs of a host's plugins; written and followed on the host's loop.

    Args:
        folder: where they are; made when there is something to keep.
        say: is told once when lines begin to be lost, and once when none are any more.
    """

    def __init__(self, folder: Path, say: Callable[[str, str], object]) -> None:
        self._folder = folder
        self._say = say
        self._files: dict[Path, RotatingFile] = {}
        self._lost: dict[Path, _Lost] = {}
        self._readers: set[_Reader] = set()
        self._writer = secrets.token_hex(4)
        self._number = 0
        self._reading = asyncio.Semaphore(1)

    def take(self, key: InstanceKey, record: LogRecord) -> None:
        """Keep a record, and pass it on to whoever follows; never fails."""
        entry = LogEntry(key, clock.now(), record)
        for reader in self._readers:
            reader.give(entry)
        self._number += 1
        path = self._file(key.plugin, is_decision=_is_decision(record))
        if not self._tell_lost(path):
            self._lost[path].count += 1
        elif not self._write(path, entry):
            self._lost[path] = _Lost(key)
        else:
            for other in tuple(self._lost):  # whose plugins may have nothing to say for long
                if not self._tell_lost(other):
                    break

    def _tell_lost(self, path: Path) -> bool:
        """Write down how many lines are missing; return whether none waits to be told of."""
        lost = self._lost.get(path)
        if lost is None:
            return True
        words = f"{counted(lost.count, 'line')} before this one could not be written"
        if not self._write(path, LogEntry(lost.key, clock.now(), LogRecord("warn", words, "host"))):
            return False
        del self._lost[path]
        if not self._lost:
            self._say("info", "logs of plugins are written again")
        return True

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()

    def newest(self, plugin: PluginId | None, last: int) -> list[LogEntry]:
        """Return the last records of a plugin, or of all, the oldest first. Blocks.

        Raises:
            AperioError, OSError: they cannot be read at all.
        """
        return self._newest(plugin, last, self._number)

    def decisions(self, plugin: PluginId, last: int) -> list[LogEntry]:
        """Return the last decisions about a plugin's connections, the oldest first. Blocks.

        Raises:
            AperioError, OSError: they cannot be read at all.
        """
        written = self._written(plugin, self._number, is_decision=True)
        return [entry for entry, _ in itertools.islice(written, last)][::-1]

    async def read(
        self, plugin: PluginId | None, last: int, *, follow: bool
    ) -> AsyncGenerator[LogEntry | int, None]:
        """Give log records, the oldest first.

        Where a reader was too slow, the number of those that were left out stands in their place.

        Args:
            plugin: whose; None: of all.
            last: at most so many of those that were written before.
            follow: go on with what is written from then on.

        Raises:
            AperioError, OSError: as `newest`.
        """
        reader, number = _Reader(plugin), self._number
        if follow:
            self._readers.add(reader)
        try:
            async with self._reading:  # of the loop's threads not more than one
                written = await asyncio.to_thread(self._newest, plugin, last, number)
            for entry in written:
                yield entry
            if follow:
                async for news in reader.news():
                    yield news
        finally:
            self._readers.discard(reader)

    def _write(self, path: Path, entry: LogEntry) -> bool:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = RotatingFile(path, most_bytes=MOST_BYTES, kept=KEPT)
        try:
            file.append(_line(entry, [self._writer, self._number]))
        except (AperioError, OSError) as error:
            if not self._lost:
                self._say("warn", f"logs of plugins are being lost: {error}")
            return False
        return True

    def _newest(self, plugin: PluginId | None, last: int, number: int) -> list[LogEntry]:
        """Return the last records that were written before one of this host's."""
        each = [self._of(one, number) for one in ([plugin] if plugin else self._plugins())]
        merged = heapq.merge(*each, key=lambda entry: entry.at, reverse=True)
        return list(itertools.islice(merged, last))[::-1]

    def _of(self, plugin: PluginId, number: int) -> Iterator[LogEntry]:
        """Yield those of a plugin as they are read, the newest first."""
        both = (self._written(plugin, number, is_decision=each) for each in (False, True))
        # Of one moment the later one is the one with the higher number.
        merged = heapq.merge(*both, key=lambda each: (each[0].at, each[1]), reverse=True)
        return (entry for entry, _ in merged)

    def _written(
        self, plugin: PluginId, number: int, *, is_decision: bool
    ) -> Iterator[tuple[LogEntry, int]]:
        """Yield those of one file, the newest first, each with its number."""
        path = self._file(plugin, is_decision=is_decision)
        lines = newest_lines(path, kept=KEPT, most_bytes=MOST_BYTES + _LONGEST_LINE)
        for entry, written in _entries(lines, plugin):
            is_later = written[0] == self._writer and written[1] > number
            if not is_later:  # that one comes by following
                yield entry, written[1]

    def _plugins(self) -> list[PluginId]:
        found = set()
        for path in self._folder.glob("*/*.jsonl"):
            name = path.stem.removesuffix(_DECISIONS)
            try:
                found.add(PluginId.parse(f"{path.parent.name}/{name}"))
            except AperioError:  # nothing of ours
                continue
        return sorted(found)

    def _file(self, plugin: PluginId, *, is_decision: bool) -> Path:
        own = _DECISIONS if is_decision else ""
        return self._folder / plugin.namespace / f"{plugin.name}{own}.jsonl"


def _is_decision(record: LogRecord) -> bool:
    """Return whether it is what the host decided about a connection."""
    return record.stream == "host" and record.message.startswith(LINE_BEGINS)


def entry_json(entry: LogEntry) -> dict[str, Any]:
    """Return a record as a line of the log, or of a stream, carries it."""
    record = entry.record
    return {
        "at": f"{entry.at:%Y-%m-%dT%H:%M:%S.%f}Z",
        "plugin": str(entry.key.plugin),
        "organization": entry.key.organization,
        "integration": entry.key.integration,
        "level": record.level,
        "stream": record.stream,
        "message": record.message,
        "module": record.module or None,
        "said_at": record.timestamp or None,
        "fields": dict(record.fields),
    }


def _line(entry: LogEntry, written: list[object]) -> bytes:
    """Return a line of a file, shortened where it has very many fields."""
    document = {"schema": SCHEMA, **entry_json(entry), "written": written}
    data = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    if len(data) < _LONGEST_LINE:
        return data
    return json.dumps(document | {"fields": {}}, ensure_ascii=False).encode("utf-8", "replace")


def _entries(
    lines: Iterator[bytes], plugin: PluginId
) -> Iterator[tuple[LogEntry, tuple[str, int]]]:
    """Yield what stands in the lines of a file; what is no record of ours is passed over."""
    for line in lines:
        try:
            document = read_json(line, Bounds(_LONGEST_LINE))
            table = Table({"of": document}, _unreadable, is_record=True).table("of")
            yield _entry(table, plugin), _written(table)
        except (Unreadable, ValueError):
            continue


def _entry(table: Table, plugin: PluginId) -> LogEntry:
    if table.recorded("schema") != SCHEMA:
        table.fail("schema", f"expected {SCHEMA}")
    key = InstanceKey(plugin, table.recorded("organization"), table.recorded("integration"))
    fields = table.inner("fields").values
    record = LogRecord(
        level=table.choice("level", LEVELS),
        message=table.recorded("message"),
        stream=table.recorded("stream"),
        fields=tuple((str(name), str(value)) for name, value in fields.items()),
        module=(table.values.get("module") and table.recorded("module")) or "",
        timestamp=(table.values.get("said_at") and table.recorded("said_at")) or "",
    )
    return LogEntry(key, datetime.fromisoformat(table.recorded("at")).astimezone(UTC), record)


def _written(table: Table) -> tuple[str, int]:
    """Return by which host a record was written, and as which of its records."""
    match table.values.get("written"):
        case [str(writer), int(number)]:
            return writer, number
        case _:
            return "", 0


def _unreadable(key: str, why: str) -> NoReturn:
    raise Unreadable(f"{key}: {why}")
