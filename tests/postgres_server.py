"""A real PostgreSQL on a free port of this machine, with the tables of Aperio's server in it.

PostgreSQL refuses to run as root; there it runs as the user that Debian's package makes.
"""

from __future__ import annotations

import functools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.projects import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLE = "aperio"
PASSWORD = "right-word"
TABLES = ROOT / "plugins" / "aperio-postgres" / "testdata" / "server.sql"
_PATIENCE_S = 60.0
_PAUSE_S = 0.01


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs, where it is installed."""
    if found := sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return found[-1].parent
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None


def require_postgres() -> Path:
    """Gives the folder of PostgreSQL's programs; skips the test where it is missing."""
    return find_postgres() or pytest.skip(
        "PostgreSQL is not installed; `apt-get install postgresql` does it"
    )


class PostgresServer:
    """A server on 127.0.0.1; what it stores outlives its process, and its port stays.

    Args:
        programs: the folder of PostgreSQL's.
        folder: an empty one that others may enter, for its files.
        is_durable: a commit waits for the disk, as it does where it matters.
    """

    def __init__(self, programs: Path, folder: Path, *, is_durable: bool = False) -> None:
        self.port = 0
        self._is_durable = is_durable
        self._programs = programs
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def __enter__(self) -> Self:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        words = ["-D", str(self._data), "-U", ROLE, "--pwfile", str(secret), "--no-sync"]
        words += ["--auth-host=scram-sha-256", "--auth-local=trust", "-E", "UTF8"]
        words += ["--locale=C.UTF-8"]
        self._run("initdb", *words)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the port that it had before; it ends with the thread that starts it."""
        self.port = self.port or _free_port()
        words = ["-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port)]
        words += ["-k", str(self._folder), "-c", f"fsync={'on' if self._is_durable else 'off'}"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_somebody("--pdeathsig", "QUIT"), str(self._programs / "postgres"), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        until = time.monotonic() + _PATIENCE_S
        asked = ("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
        while not self._listens() or self._run(*asked, status=None):
            if time.monotonic() > until or self._process.poll() is not None:
                self.kill()
                pytest.fail((self._folder / "log").read_text())
            time.sleep(_PAUSE_S)

    def _listens(self) -> bool:
        """Whether there is somebody to ask, which takes a process."""
        try:
            socket.create_connection(("127.0.0.1", self.port), _PATIENCE_S).close()
        except ConnectionRefusedError:
            return False
        return True

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_PATIENCE_S)
            self._process = None

    def new_database(self) -> Database:
        """A database with the server's tables in it."""
        return self._new(self._furnished.name)

    def new_empty_database(self) -> Database:
        """A database with nothing in it."""
        return self._new("template1")

    @functools.cached_property
    def _furnished(self) -> Database:
        """The one that those with tables are copied from."""
        made = self.new_empty_database()
        made.run(TABLES.read_text())
        return made

    def _new(self, template: str) -> Database:
        self._databases += 1
        made = Database(self, f"test_{self._databases}")
        Database(self, "postgres").run(f"CREATE DATABASE {made.name} TEMPLATE {template}")
        return made

    def dump(self, database: Database) -> str:
        """What brings a database back, in statements."""
        printed: str = self._run("pg_dump", *self._reached(database.name))
        return printed

    def _reached(self, database: str) -> list[str]:
        """How its own programs reach it: where it asks for no password, which takes a while."""
        return ["-h", str(self._folder), "-p", str(self.port), "-U", ROLE, "-d", database]

    @contextmanager
    def held(self, database: Database, lock: str) -> Iterator[None]:
        """Have a session hold something while the block runs."""
        words = [*_as_somebody(), str(self._programs / "psql"), "-X", "-q", "-At"]
        known = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LANG": "C.UTF-8"}
        with subprocess.Popen(
            [*words, *self._reached(database.name)], env=known, cwd="/", text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as session:  # fmt: skip
            assert session.stdin
            assert session.stdout
            session.stdin.write(f"{lock};\n\\echo held\n")
            session.stdin.flush()
            while "held" not in (line := session.stdout.readline()):
                assert line, "psql has ended"
            yield
            session.stdin.close()

    def ask(self, database: str, statements: str) -> str:
        """What psql prints."""
        printed: str = self._run(
            "psql",
            "-X",
            "-q",
            "-At",
            "-v",
            "ON_ERROR_STOP=1",
            *self._reached(database),
            given=statements,
        )
        return printed

    def _run(self, name: str, *words: str, given: str = "", status: int | None = 0) -> Any:
        """One of its programs: what it prints; with a status of None, its status."""
        known = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LANG": "C.UTF-8"}
        ran = subprocess.run(
            [*_as_somebody(), str(self._programs / name), *words], input=given, env=known, cwd="/",
            capture_output=True, text=True, timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
        if status is None:
            return ran.returncode
        assert ran.returncode == status, ran.stdout + ran.stderr
        return ran.stdout


class Database:
    """A database of a server."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name

    @property
    def settings(self) -> list[str]:
        """How the plugin finds it."""
        return [
            "host=127.0.0.1", f"port={self.server.port}", f"user={ROLE}", f"password={PASSWORD}",
            f"database={self.name}",
        ]  # fmt: skip

    def run(self, statements: str) -> None:
        """Run statements."""
        self.server.ask(self.name, statements)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query finds."""
        whole = f"SELECT coalesce(json_agg(q), '[]') FROM ({query}) AS q"  # noqa: S608 - a test's
        text = self.server.ask(self.name, whole)
        found: list[dict[str, Any]] = json.loads(text)
        return found

    def count(self) -> int:
        """How many jobs there are."""
        return int(self.server.ask(self.name, "SELECT count(*) FROM ingestion_jobs"))


@contextmanager
def postgres(programs: Path, *, is_durable: bool = False) -> Iterator[PostgresServer]:
    """A server in a folder of its own, which is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="aperio-postgres-"))
    if somebody := _somebody():
        os.chown(folder, somebody.pw_uid, somebody.pw_gid)
    try:
        with PostgresServer(programs, folder, is_durable=is_durable) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@functools.cache
def _somebody() -> pwd.struct_passwd | None:
    """Whom to run it as; None: as whoever runs this."""
    if os.geteuid():
        return None
    known = {each.pw_name: each for each in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _as_somebody(*more: str) -> list[str]:
    words = [*more]
    if somebody := _somebody():
        words += [f"--reuid={somebody.pw_uid}", f"--regid={somebody.pw_gid}", "--clear-groups"]
    return ["setpriv", *words] if words else []


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port
