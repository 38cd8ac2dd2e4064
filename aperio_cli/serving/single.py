"""One host on a home: who it is, and where it listens.

`host/host.lock` is held as long as a host runs; `host/host.json` says what a second one, and who
wants to speak to the first, has to know. A host that was killed leaves the file, and not the lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import aperio_cli
from aperio_cli.errors import AperioError
from aperio_cli.errors.controlling import HostNotRunning, HostRunning
from aperio_cli.errors.files import LockHeld
from aperio_cli.files import reading, writing
from aperio_cli.files.locking import FileLock
from aperio_cli.host.control.gate import LONGEST_PATH_BYTES
from aperio_cli.machine.processes import find_start
from aperio_cli.models.reading import Bounds, Table, Unreadable, read_json
from aperio_cli.paths import runtime_base

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aperio_cli.paths import Paths

SCHEMA: Final = "aperio.host/v1"
_MOST_BYTES: Final = 64 * 1024
_LOCK: Final = "host.lock"
_RECORD: Final = "host.json"
_SOCKET: Final = "control.sock"


@dataclass(frozen=True, slots=True)
class RunningHost:
    """A host, as it has written down of itself.

    Attributes:
        pid: its process.
        socket: where it listens.
        version: of aperio.
        started_at: RFC 3339, UTC.
    """

    pid: int
    socket: Path
    version: str
    started_at: str

    def to_json(self) -> dict[str, Any]:
        """Return it as the file has it."""
        return {
            "schema": SCHEMA,
            "pid": self.pid,
            "socket": str(self.socket),
            "version": self.version,
            "started_at": self.started_at,
        }


def find_host(paths: Paths) -> RunningHost | None:
    """Return what the last host of a home has written down; None: there was none.

    It may have ended without taking that back: whoever connects finds out.
    """
    try:
        data = reading.read_capped(paths.host / _RECORD, _MOST_BYTES)
        table = Table({"of": read_json(data, Bounds(_MOST_BYTES))}, _unreadable, is_record=True)
        found = table.table("of")
        if found.recorded("schema") != SCHEMA:
            return None
        return RunningHost(
            found.integer("pid", least=1),
            Path(found.recorded("socket")),
            found.recorded("version"),
            found.recorded("started_at"),
        )
    except (AperioError, OSError, Unreadable):
        return None


def get_host(paths: Paths, steps: Sequence[str] = ()) -> RunningHost:
    """Return the host of a home.

    Args:
        paths: of the home.
        steps: what can be done without a host.

    Raises:
        HostNotRunning: there is none.
    """
    found = find_host(paths)
    if found and found.socket.exists():
        return found
    raise not_running(paths, found, steps=steps)


def not_running(
    paths: Paths, found: RunningHost | None = None, said: str = "", steps: Sequence[str] = ()
) -> HostNotRunning:
    """Return the error for a home without a host, and how to start one; or of one that is silent.

    Args:
        paths: of the home.
        found: what the last host has written down; None: there was none.
        said: what came of dialling it.
        steps: what can be done without one.
    """
    if found and said and find_start(found.pid) is not None:
        return HostNotRunning(
            f"the host of `{paths.home}` does not answer",
            why=f"process {found.pid}, which runs since {found.started_at}, is there\n{said}",
            next=[
                "again in a moment: it serves so many callers at once, and no more",
                f"if it stays so: end it by `kill {found.pid}`, and start it again",
            ],
        )
    why = f"{paths.host / _RECORD} is not there"
    if found:
        why = f"process {found.pid}, which ran since {found.started_at}, has ended"
    return HostNotRunning(
        f"no host runs on `{paths.home}`",
        why=why,
        next=[
            "`aperio host run`",
            "as a service of this machine: `aperio host unit` prints one",
            *steps,
        ],
    )


@contextlib.contextmanager
def single(paths: Paths, environment: Mapping[str, str], started_at: str) -> Iterator[RunningHost]:
    """Be the one host of a home for the length of a `with` block.

    Args:
        paths: of the home.
        environment: to find the runtime folder, where the home's path is too long for a socket.
        started_at: since when, RFC 3339.

    Raises:
        HostRunning: there is one; names it.
        FolderNotPrivate, PlaceUnusable, DiskFull, OSError: the folder cannot be made or written.
    """
    writing.ensure_own(paths.host)
    with contextlib.ExitStack() as held:
        try:
            lock = FileLock(paths.host / _LOCK, what="no host was started", timeout_s=0)
            held.enter_context(lock)
        except LockHeld as error:
            raise _running(paths, error) from error
        socket = held.enter_context(_socket(paths, environment))
        me = RunningHost(os.getpid(), socket, aperio_cli.__version__, started_at)
        data = json.dumps(me.to_json(), indent=2).encode() + b"\n"
        writing.write_atomic(paths.host / _RECORD, data, mode=0o600)
        try:
            yield me
        finally:
            with contextlib.suppress(OSError):
                (paths.host / _RECORD).unlink()


def _running(paths: Paths, held: LockHeld) -> HostRunning:
    found = find_host(paths)
    who = f"process {found.pid}, since {found.started_at}" if found else held.what
    return HostRunning(
        f"no host was started: one runs on `{paths.home}` already",
        why=f"{who}\nof two, each would start every plugin",
        next=["`aperio host status`", "to read its configuration anew: `kill -HUP` that process"],
    )


@contextlib.contextmanager
def _socket(paths: Paths, environment: Mapping[str, str]) -> Iterator[Path]:
    """Give the path of the socket: in the home, or where its path is too long, elsewhere."""
    own = paths.host / _SOCKET
    if len(os.fsencode(own)) <= LONGEST_PATH_BYTES:
        yield own
        return
    base = runtime_base(environment)
    with tempfile.TemporaryDirectory(prefix="aperio-host-", dir=base) as folder:
        yield Path(folder, _SOCKET)


def _unreadable(key: str, why: str) -> NoReturn:
    raise Unreadable(f"{key}: {why}")
