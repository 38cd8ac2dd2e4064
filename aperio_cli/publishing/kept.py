"""What the last build of a source made of each record, so that the next one need not make it again.

A database in this user's cache, never in the source, which others wrote. It is an optimisation and
nothing else: without it, when anything about it is odd, or when somebody else may write to it,
everything is made anew, and the bytes are the same. A record is taken to be unchanged when size,
times and inode are those of before, as git does it; one that was changed within the last moment
before it was read is read again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from aperio_cli.errors import AperioError
from aperio_cli.errors.files import PathShared
from aperio_cli.files import owning, writing
from aperio_cli.files.trimming import note_use
from aperio_cli.models.digest import Digest
from aperio_cli.models.registry.documents import FileRef
from aperio_cli.publishing.rendering import REVISION, Copied, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from aperio_cli.publishing.source import SourceFile

_SCHEMA: Final = 1
_RECENT_NS: Final = 1_000_000_000
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
  path TEXT PRIMARY KEY, key TEXT NOT NULL, file TEXT NOT NULL, id TEXT NOT NULL,
  sha256 TEXT NOT NULL, size INTEGER NOT NULL, whole BLOB NOT NULL, newest BLOB NOT NULL,
  catalogue BLOB NOT NULL, rest TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class KeptRow:
    """One plugin as the last build made it.

    Attributes:
        row: what the documents say of it.
        file: signature of its file in what was built: inode, size, time.
    """

    row: Row
    file: tuple[int, int, int]


def key_of(file: SourceFile, context: str) -> str:
    """Return what has to be the same for a record to become the same bytes.

    Args:
        file: the record.
        context: everything else that its bytes depend on.
    """
    return json.dumps([REVISION, context, *file.signature])


class Kept:
    """What was kept of the last build; a context manager closes it.

    Args:
        path: the database; made when something is to be kept.
        out: where is built, absolute: what was built elsewhere says nothing about files there.
    """

    def __init__(self, path: Path, out: Path) -> None:
        self._path = path
        self._out = str(out)
        self._began_ns = time.time_ns()
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        with contextlib.suppress(sqlite3.Error, OSError, PathShared):
            owning.require_own(self._path)  # what stands in it is built, and signed
            if self._path.is_file():
                note_use(self._path)
                self._database = self._opened()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._database:
            self._database.close()

    def is_of(self, built: int) -> bool:
        """Return whether the last build made the folder of this inode."""
        try:
            return bool(self._database) and self._about().get("built") == str(built)
        except sqlite3.Error:
            return False

    def rows(self) -> dict[str, tuple[str, KeptRow]]:
        """Return what is kept of each record, with its key, by the record's path."""
        if self._database is None:
            return {}
        try:
            return dict(self._rows(self._database))
        except (sqlite3.Error, ValueError, TypeError, KeyError):
            return {}

    def replace(
        self,
        made: Sequence[tuple[SourceFile, str, KeptRow]],
        gone: Iterable[str],
        built: int,
    ) -> None:
        """Keep what was made anew, and forget what is gone.

        Args:
            made: records, what their bytes depend on, and what became of them.
            gone: paths of records that are not there any more.
            built: inode of the folder that was built.
        """
        values = [
            (file.path, key, *_values(kept))
            for file, key, kept in made
            if max(file.signature[1:3]) < self._began_ns - _RECENT_NS
        ]
        fresh = [(file.path,) for file, _, _ in made]
        dropped = [*((path,) for path in gone), *fresh]
        with contextlib.suppress(sqlite3.Error, AperioError, OSError):
            self._write(dropped, values, built)

    def _write(
        self, dropped: list[tuple[str]], values: list[tuple[object, ...]], built: int
    ) -> None:
        if self._database is None:
            writing.ensure_own(self._path.parent)
            self._database = self._opened()
        with self._database as database:
            database.executemany("DELETE FROM rows WHERE path = ?", dropped)
            database.execute("INSERT OR REPLACE INTO about VALUES ('built', ?)", (str(built),))
            database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=1)
        try:
            database.executescript(_TABLES)
            wanted = {"schema": str(_SCHEMA), "out": self._out}
            found = dict(database.execute("SELECT key, value FROM about"))
            if {key: found.get(key) for key in wanted} != wanted:
                with database:
                    database.execute("DELETE FROM rows")
                    database.execute("DELETE FROM about")
                    database.executemany("INSERT INTO about VALUES (?, ?)", wanted.items())
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _about(self) -> dict[str, str]:
        database = self._database
        return dict(database.execute("SELECT key, value FROM about")) if database else {}

    def _rows(self, database: sqlite3.Connection) -> Iterator[tuple[str, tuple[str, KeptRow]]]:
        for path, key, file, name, sha256, size, whole, newest, catalogue, rest in database.execute(
            "SELECT * FROM rows"
        ):
            ref = FileRef(Digest(sha256), size)
            events, left_out, versions, copied = json.loads(rest)
            row = Row(
                name,
                ref,
                whole,
                newest,
                catalogue,
                tuple((at, version, state, text) for at, version, state, text in events),
                tuple(left_out),
                versions,
                tuple(Copied(*each) for each in copied),
            )
            inode, length, changed = json.loads(file)
            yield path, (key, KeptRow(row, (inode, length, changed)))


def _values(kept: KeptRow) -> tuple[object, ...]:
    row = kept.row
    copied = [
        (each.path, each.source, each.sha256, each.size_bytes, each.is_exact) for each in row.copied
    ]
    rest = json.dumps([row.events, row.left_out, row.versions, copied])
    ref = (row.ref.digest.hex, row.ref.size_bytes)
    return json.dumps(kept.file), row.id, *ref, row.whole, row.newest, row.catalogue, rest
