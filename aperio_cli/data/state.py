"""Stored state: checkpoints of syncs, and the key-value store that plugins may use.

One SQLite file, `$APERIO_HOME/state.db`, mode 0600, in WAL mode. Every change is one transaction,
so a process killed at any point leaves either the old or the new state. `synchronous=NORMAL`: a
power failure may take back the newest checkpoints, which a sync that is at least once repairs by
giving the same events again; it never damages the file (sqlite.org/wal.html).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TypeVar

from aperio_cli import clock
from aperio_cli.errors.files import FileNotRegular
from aperio_cli.errors.running import StateConflict, StateLimit, StateUnreadable
from aperio_cli.files import owning, reading, writing
from aperio_cli.files.writing import disk_full_guard
from aperio_cli.models.newer import refuse_newer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future, ThreadPoolExecutor
    from pathlib import Path
    from types import TracebackType

_Result = TypeVar("_Result")

MAX_KEY_BYTES: Final = 512
MAX_VALUE_BYTES: Final = 1024 * 1024
MAX_SLICE_BYTES: Final = 16 * 1024 * 1024
MAX_CURSOR_BYTES: Final = 64 * 1024
MAX_LISTED: Final = 1000
MAX_EXECUTIONS: Final = 10_000

_BUSY_TIMEOUT_S: Final = 5.0
# The second: the shared memory beside a database in WAL mode is a file of 32 KiB.
_FULL: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
_NO_DATABASE: Final = "file is not a database"  # as SQLite says it
_BRING_BACK: Final = "bring it back from a copy, or move it away: syncs then begin anew"
_UNWRITTEN: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_SHARED_MEMORY_BYTES: Final = 32 * 1024
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PRIMARY: Final = 0xFF  # of an extended code: sqlite.org/rescode.html
_SCHEMA_VERSION: Final = 2
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_MIGRATIONS: Final = (
    (
        """CREATE TABLE checkpoints (
            plugin TEXT, organization TEXT, integration TEXT,
            cursor BLOB NOT NULL, version TEXT NOT NULL, stored_at TEXT NOT NULL,
            PRIMARY KEY (plugin, organization, integration)
        ) WITHOUT ROWID""",
        """CREATE TABLE items (
            plugin TEXT, organization TEXT, integration TEXT, key BLOB,
            value BLOB NOT NULL, revision INTEGER NOT NULL,
            PRIMARY KEY (plugin, organization, integration, key)
        )""",
    ),
    (  # a checkpoint for each choice of events, with what it covers: a JSON object, time by stream
        "ALTER TABLE checkpoints RENAME TO checkpoints_1",
        """CREATE TABLE checkpoints (
            plugin TEXT, organization TEXT, integration TEXT, choice TEXT,
            cursor BLOB NOT NULL, version TEXT NOT NULL, stored_at TEXT NOT NULL,
            covered TEXT NOT NULL,
            PRIMARY KEY (plugin, organization, integration, choice)
        ) WITHOUT ROWID""",
        """INSERT INTO checkpoints
            SELECT plugin, organization, integration, '', cursor, version, stored_at, '{}'
            FROM checkpoints_1""",
        "DROP TABLE checkpoints_1",
    ),
)
"""What makes each version of the schema out of the one before it."""
_TABLES: Final = ("checkpoints", "items")
_EXECUTION: Final = "execution "
_SLICE: Final = "plugin = ? AND organization = ? AND integration = ?"
_COLUMNS: Final = "cursor, version, stored_at, covered"
_ANY_OWNER: Final = "(plugin = ? OR SUBSTR(plugin, 1, ?) = ?)"
"""Of the column `plugin`, where owners stand: `models.ownership` begins each with the id."""
_OWNERS: Final = f"""
SELECT plugin FROM (
    SELECT plugin, MAX(stored_at) AS at, 0 AS row FROM checkpoints
    WHERE {_ANY_OWNER} GROUP BY plugin
    UNION ALL
    SELECT plugin, '', MAX(rowid) FROM items WHERE {_ANY_OWNER} GROUP BY plugin
) GROUP BY plugin ORDER BY MAX(at) DESC, MAX(row) DESC, plugin
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Slice:
    """Whose state it is: one plugin's, for one organization and one of its integrations.

    Attributes:
        owner: who stands behind the plugin, as `models.ownership` names owners; all versions that
            one publisher signed share the slice.
        organization: the tenant.
        integration: the connected account.
    """

    owner: str
    organization: str
    integration: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The three parts, in the order of the tables' primary keys."""
        return (self.owner, self.organization, self.integration)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stored cursor.

    Attributes:
        cursor: opaque bytes of the plugin, at most 64 KiB.
        version: the version of the plugin that gave it.
        stored_at: RFC 3339, UTC.
        covered: the time until which a stream was read, RFC 3339 in UTC, by the stream's name.
    """

    cursor: bytes
    version: str
    stored_at: str
    covered: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """A stored value and its revision, which grows with each change of the key, from 1."""

    value: bytes
    revision: int


def open_kept(path: Path, *, deed: str) -> StateDatabase | None:
    """Return the database when there is one; None, and none is made, when nothing was ever stored.

    Args:
        path: where it would be.
        deed: as for `StateDatabase`.

    Raises:
        StateUnreadable, PathShared: as `StateDatabase`.
    """
    return StateDatabase(path, deed=deed) if os.path.lexists(path) else None


def check_state(path: Path) -> None:
    """Check that a database can be used, by its first bytes: opening it would write beside it.

    Args:
        path: the file; one that is not there is no fault.

    Raises:
        StateUnreadable: it cannot be read, or is none.
        RecordNewer: a newer aperio made it.
        PathShared: somebody else may change it.
    """
    owning.require_own(path)
    try:
        with reading.open_regular(path) as file:
            begins = file.read(len(_MAGIC))
    except FileNotFoundError:
        return
    except (FileNotRegular, OSError) as error:
        raise StateUnreadable(
            f"`{path}` could not be opened", why=str(error), next=["check its folder"]
        ) from error
    if begins and begins != _MAGIC:
        raise StateUnreadable(
            f"`{path}` is damaged; it was left as it is", why=_NO_DATABASE, next=[_BRING_BACK]
        )
    refuse_newer(path, _user_version(path), _SCHEMA_VERSION)


class StateDatabase:
    """The open database; a context manager that closes it.

    Several threads may use it: one waits until the statements, or the transaction, of another have
    ended. What must not wait for other processes, a loop say, has its thread do it (`submit`).

    Args:
        path: the file; made when it is not there.
        deed: what cannot be done without it, for messages: "`acme/box` was not removed"; empty
            when whoever asks says so.

    Raises:
        StateUnreadable: damaged, or busy for 5 seconds.
        RecordNewer: a newer aperio made it; it was not touched.
        DiskFull: no space to create it. Every method may raise it, and the first.
        PathShared: somebody else may change it.
    """

    def __init__(self, path: Path, *, deed: str = "") -> None:
        owning.require_own(path)
        self._path = path
        self._deed = f"{deed}: " if deed else ""
        self._lock = threading.RLock()  # of the connection, whose transaction is everybody's
        self._thread: ThreadPoolExecutor | None = None
        with self._guard():
            # A newer one is not even opened: SQLite makes files beside it, and may tidy it.
            refuse_newer(path, _user_version(path), _SCHEMA_VERSION, deed=deed)
            self._database = _connect(path)
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; closing twice is harmless.

        What `submit` was given and has not begun is cancelled; what has begun is waited for.
        """
        if self._thread:
            self._thread.shutdown(cancel_futures=True)
        with self._lock:
            self._database.close()

    def submit(self, work: Callable[[], _Result]) -> Future[_Result]:
        """Have the one thread of this database do some work, in the order in which it is given.

        Another process that holds the write lock lets a statement wait for 5 seconds.

        Args:
            work: uses the database; its outcome, and its errors, are those of the future.

        Raises:
            RuntimeError: the database was closed.
        """
        if self._thread is None:
            from concurrent.futures import ThreadPoolExecutor

            self._thread = ThreadPoolExecutor(1, "aperio-state")
        return self._thread.submit(work)

    # ── checkpoints ───────────────────────────────────────────────────────────────────────────────

    def checkpoint(self, slice_: Slice, choice: str = "") -> Checkpoint | None:
        """Return the last stored checkpoint, or None.

        Args:
            slice_: whose.
            choice: of which streams and event types; empty: of a sync of all.
        """
        with self._guard():
            row = self._database.execute(
                f"SELECT {_COLUMNS} FROM checkpoints WHERE {_SLICE} AND choice = ?",  # noqa: S608 - constants of this module
                (*slice_.key, choice),
            ).fetchone()
        if row is None:
            return None
        cursor, version, stored_at, covered = row
        return Checkpoint(cursor, version, stored_at, json.loads(covered))

    def store_checkpoint(
        self,
        slice_: Slice,
        cursor: bytes,
        *,
        version: str,
        choice: str = "",
        covered: Mapping[str, str] | None = None,
    ) -> None:
        """Replace the checkpoint; committed when this returns.

        Args:
            slice_: whose.
            cursor: at most 64 KiB.
            version: of the plugin.
            choice: of what, as for `checkpoint`.
            covered: the time until which a stream was read, by its name.

        Raises:
            StateLimit: the cursor is longer than 64 KiB.
        """
        if len(cursor) > MAX_CURSOR_BYTES:
            raise StateLimit(f"the checkpoint was not stored: over {MAX_CURSOR_BYTES} bytes")
        with self._guard():
            self._database.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(*slice_.key, choice),
                    *(cursor, version, clock.timestamp(), json.dumps(dict(covered or {}))),
                ),
            )

    def forget(self, plugin: str) -> int:
        """Drop every checkpoint and value of a plugin, for all organizations; how many there were.

        Args:
            plugin: the plugin's id, such as `acme/box`; whoever stood behind it.
        """
        with self._transaction():
            return sum(
                self._database.execute(
                    f"DELETE FROM {table} WHERE {_ANY_OWNER}",  # noqa: S608 - constants
                    _any_owner(plugin),
                ).rowcount
                for table in _TABLES
            )

    # ── executions: checkpoints of remediations, which have no others ─────────────────────────────

    def note_execution(
        self, slice_: Slice, idempotency_key: str, intent: str, *, version: str
    ) -> str | None:
        """Keep what is asked for under a key, unless something was; return that, or None.

        Committed when this returns.

        Args:
            slice_: whose; the latest 10,000 of it are kept at least.
            idempotency_key: of the action, of any length.
            intent: what is asked for, in a digest.
            version: of the plugin.
        """
        choice = _execution(idempotency_key)
        with self._transaction():
            if asked := self.checkpoint(slice_, choice):
                return asked.cursor.decode()
            self.store_checkpoint(slice_, intent.encode(), version=version, choice=choice)
            self._prune_executions(slice_)
        return None

    def _prune_executions(self, slice_: Slice) -> None:
        """Drop the oldest, a tenth at a time: to find them takes as long for one."""
        of = (*slice_.key, f"{_EXECUTION}%")
        (count,) = self._database.execute(
            f"SELECT COUNT(*) FROM checkpoints WHERE {_SLICE} AND choice LIKE ?",  # noqa: S608 - constants
            of,
        ).fetchone()
        if count > MAX_EXECUTIONS + MAX_EXECUTIONS // 10:
            self._database.execute(
                f"DELETE FROM checkpoints WHERE {_SLICE} AND choice IN ("  # noqa: S608 - constants
                f"SELECT choice FROM checkpoints WHERE {_SLICE} AND choice LIKE ?"
                " ORDER BY stored_at DESC LIMIT -1 OFFSET ?)",
                (*slice_.key, *of, MAX_EXECUTIONS),
            )

    def drop_execution(self, slice_: Slice, idempotency_key: str) -> None:
        """Forget that an action was asked for: nothing was done."""
        with self._guard():
            self._database.execute(
                f"DELETE FROM checkpoints WHERE {_SLICE} AND choice = ?",  # noqa: S608 - constants
                (*slice_.key, _execution(idempotency_key)),
            )

    # ── whose it is ───────────────────────────────────────────────────────────────────────────────

    def owners(self, plugin: str) -> list[str]:
        """Return everybody of whom something is stored under a plugin's id, the latest first.

        Args:
            plugin: the plugin's id, such as `acme/box`.
        """
        with self._guard():
            rows = self._database.execute(_OWNERS, _any_owner(plugin) * 2).fetchall()
        return [row[0] for row in rows]

    def hand_on(self, owner: str, heir: str) -> None:
        """Make what one owner stored another's; what that one had stored before is dropped.

        Args:
            owner: whose it is.
            heir: whose it becomes. Nothing changes when the owner has nothing.
        """
        with self._transaction():
            if owner == heir or not self._has_stored(owner):
                return
            for table in _TABLES:
                self._database.execute(f"DELETE FROM {table} WHERE plugin = ?", (heir,))  # noqa: S608 - constants
                self._database.execute(
                    f"UPDATE {table} SET plugin = ? WHERE plugin = ?",  # noqa: S608 - constants
                    (heir, owner),
                )

    def _has_stored(self, owner: str) -> bool:
        return any(
            self._database.execute(
                f"SELECT 1 FROM {table} WHERE plugin = ? LIMIT 1",  # noqa: S608 - constants
                (owner,),
            ).fetchone()
            for table in _TABLES
        )

    # ── the key-value store (proto/aperio/plugin/v1/host.proto) ───────────────────────────────────

    def get(self, slice_: Slice, key: str) -> Item | None:
        """Return the value of a key, or None.

        Raises:
            StateLimit: the key is empty or longer than 512 bytes.
        """
        with self._guard():
            row = self._database.execute(
                f"SELECT value, revision FROM items WHERE {_SLICE} AND key = ?",  # noqa: S608 - a constant of this module
                (*slice_.key, _key_bytes(key)),
            ).fetchone()
        return Item(*row) if row else None

    def put(self, slice_: Slice, key: str, value: bytes, *, if_revision: int | None = None) -> int:
        """Store a value; its new revision. Committed when this returns.

        Args:
            slice_: whose.
            key: 1 to 512 bytes of UTF-8.
            value: at most 1 MiB.
            if_revision: store only if the key has this revision; 0: only if it is absent.

        Raises:
            StateLimit: key or value too long, or the slice would exceed 16 MiB.
            StateConflict: the key has another revision.
        """
        if len(value) > MAX_VALUE_BYTES:
            raise StateLimit(f"the value was not stored: over {MAX_VALUE_BYTES} bytes")
        with self._transaction():
            held = self.get(slice_, key)
            revision = held.revision if held else 0
            if if_revision is not None and if_revision != revision:
                raise StateConflict(
                    "the value was not stored: the key has been changed meanwhile",
                    why=f"expected revision {if_revision}\nfound    revision {revision}",
                )
            freed = len(held.value) + len(key.encode()) if held else 0
            if self._size(slice_) - freed + len(value) + len(key.encode()) > MAX_SLICE_BYTES:
                raise StateLimit(f"the value was not stored: over {MAX_SLICE_BYTES} bytes in all")
            self._database.execute(
                "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?)",
                (*slice_.key, _key_bytes(key), value, revision + 1),
            )
            return revision + 1

    def delete(self, slice_: Slice, key: str) -> None:
        """Remove a key; done as well when there is none. A later `put` begins at revision 1.

        Raises:
            StateLimit: the key is empty or longer than 512 bytes.
        """
        with self._guard():
            self._database.execute(
                f"DELETE FROM items WHERE {_SLICE} AND key = ?",  # noqa: S608 - a constant of this module
                (*slice_.key, _key_bytes(key)),
            )

    def list_keys(
        self, slice_: Slice, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[list[str], bool]:
        """Return keys in the order of their bytes, and whether there are more.

        Args:
            slice_: whose.
            prefix: only keys that begin so.
            after: only keys after this one; empty: from the first.
            limit: at most so many, at most 1000.
        """
        count = min(limit, MAX_LISTED)
        first = prefix.encode()
        with self._guard():
            rows = self._database.execute(
                f"SELECT key FROM items WHERE {_SLICE} AND key > ? AND key >= ? AND key < ?"  # noqa: S608 - a constant of this module
                " ORDER BY key LIMIT ?",
                # No UTF-8 has the byte 0xFF, so this bound is above every key with the prefix.
                (*slice_.key, after.encode(), first, first + b"\xff", count + 1),
            ).fetchall()
        return [row[0].decode() for row in rows[:count]], len(rows) > count

    def _size(self, slice_: Slice) -> int:
        """Return bytes of all keys and values; SQLite knows lengths without reading the values."""
        row = self._database.execute(
            f"SELECT COALESCE(SUM(LENGTH(key) + LENGTH(value)), 0) FROM items WHERE {_SLICE}",  # noqa: S608 - a constant of this module
            slice_.key,
        ).fetchone()
        return int(row[0])

    # ── the file ──────────────────────────────────────────────────────────────────────────────────

    def _prepare(self) -> None:
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        refuse_newer(self._path, version, _SCHEMA_VERSION, deed=self._deed.removesuffix(": "))
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        if version < _SCHEMA_VERSION:
            self._migrate()

    def _migrate(self) -> None:
        """Bring the tables to this version: all of it or nothing, by one process alone."""
        with self._transaction():
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            for statement in (each for step in _MIGRATIONS[version:] for each in step):
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {max(version, _SCHEMA_VERSION)}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Give all or nothing, and alone: the write lock is taken before anything is read."""
        with self._guard():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _unusable(self, error: sqlite3.Error) -> StateUnreadable:
        """Return the error for whatever SQLite says, with the one thing to do about it."""
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        state, step = "could not be used", "see that this user may read and write it"
        if code in _BUSY:
            state, step = "is in use by another process", "run the same command again"
        elif code in _DAMAGED:
            state = "is damaged"
            step = _BRING_BACK
        return StateUnreadable(
            f"{self._deed}`{self._path}` {state}; it was left as it is",
            why=str(error),
            next=[step],
        )

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Keep other threads out, and turn what SQLite says into errors for people."""
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            code, left = getattr(error, "sqlite_errorcode", 0), f"{self._deed}`{self._path}`"
            if code & _PRIMARY in _UNWRITTEN and self._is_at_limit():
                raise writing.size_limited(f"{left} was left as it was", str(error)) from error
            if code in _FULL:
                raise writing.disk_full(f"{left} was left as it was", str(error)) from error
            raise self._unusable(error) from error
        except OSError as error:
            raise StateUnreadable(
                f"{self._deed}`{self._path}` could not be opened",
                why=str(error),
                next=["check its folder"],
            ) from error

    def _is_at_limit(self) -> bool:
        """Return whether a file of the database is about as long as a file of ours may be."""
        limit = writing.size_limit()
        if limit is None:
            return False
        files = [self._path.with_name(self._path.name + end) for end in ("", "-wal", "-shm")]
        sizes = [file.stat().st_size for file in files if file.exists()]
        return limit <= max(sizes, default=0) + _SHARED_MEMORY_BYTES


def _user_version(path: Path) -> int:
    """Return the number that stands in a database file, which one in a log beside it may outdo.

    It is a big-endian integer at offset 60 (sqlite.org/fileformat.html, "The Database Header").
    """
    try:
        with reading.open_regular(path) as file:
            head = file.read(_HEADER_BYTES)
    except (FileNotFoundError, FileNotRegular):
        return 0
    return int.from_bytes(head[60:64]) if head.startswith(_MAGIC) else 0


def _connect(path: Path) -> sqlite3.Connection:
    """Return the database, created for this user alone.

    SQLite gives its side files the same mode.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with disk_full_guard(f"`{path}` was not made"):
        descriptor = os.open(path, flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # one that was there may have been opened up
    finally:
        os.close(descriptor)
    return sqlite3.connect(
        path,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,  # every statement commits unless a transaction was begun
        check_same_thread=False,  # one at a time, but not always the one that opened it
    )


def _any_owner(plugin: str) -> tuple[str, int, str]:
    """Return what `_ANY_OWNER` is asked with."""
    return (plugin, len(plugin) + 1, f"{plugin} ")


def _execution(idempotency_key: str) -> str:
    """Return the choice under which an execution has its checkpoint."""
    return f"{_EXECUTION}{hashlib.sha256(idempotency_key.encode()).hexdigest()}"


def _key_bytes(key: str) -> bytes:
    data = key.encode()
    if not 0 < len(data) <= MAX_KEY_BYTES:
        raise StateLimit(f"a key of the store has 1 to {MAX_KEY_BYTES} bytes, not {len(data)}")
    return data
