"""The bridge keeps a connector's cursor with its rows: killed anywhere, and brought back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from tests.go_operators import COMMAND, Operator, copy_plugin, install
from tests.lifecycle.cli import wait_until
from tests.lifecycle.test_keeping import KILLED
from tests.postgres_server import Database, PostgresServer, postgres, require_postgres
from tests.projects import write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Its acceptance, its own tests and tests/lifecycle/test_keeping.py are what is quick.
pytestmark = [pytest.mark.go, pytest.mark.slow, pytest.mark.timeout(400)]
PLUGIN = "aperio/aperio-postgres"
PATIENCE_S = 60.0
PAGES, PAGE = 6, 20
PAGER = f"""\
from collections.abc import Iterator

from aperio_plugin import connector


class SourceConnector(connector.Connector):
    def schema(self) -> connector.Schema:
        return connector.Schema(provider="SOURCE", name="Source")

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        return connector.TestResult(ok=True)

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        for page in range(int(cursor or b"0"), {PAGES}):
            for number in range({PAGE}):
                yield connector.Event(
                    source_event_id=f"e{{page}}-{{number}}", event_type="source.login",
                    occurred_at="2026-01-01T00:00:00Z", record={{"page": page}},
                )
            yield connector.Checkpoint(b"%d" % (page + 1))
"""
"""A connector whose cursor is the number of pages that were read."""


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    require_postgres()
    project = copy_plugin("aperio-postgres", tmp_path_factory.mktemp("project"))
    return install(project, tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "source"
    made = scaffold(ScaffoldRequest("github.com/acme/aperio-plugin-source", output=folder)).path
    write(made, "connector.py", PAGER)
    return Path(made)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres(require_postgres()) as server:
        yield server


class Kept:
    """A database that keeps cursors, and syncs into it."""

    def __init__(self, operator: Operator, source: Path, database: Database) -> None:
        self.operator = operator
        self.database = database
        self._source = source
        mapped = [{"event_type": "source.login", "product_event_type": "LOGIN"}]
        self._settings = (f"event_mappings={json.dumps(mapped)}", "keep_cursor=true")
        database.run("""ALTER TYPE "SaaSProvider" ADD VALUE 'SOURCE'""")
        database.run(self.statement)

    @property
    def words(self) -> list[str]:
        """The command."""
        given = [*self.database.settings, *self._settings]
        options = [word for each in given for word in ("--to-set", each)]
        of = ["--integration", "int_1", "--to", PLUGIN, "--retry-for", "30"]
        return ["plugin", "run", str(self._source), "sync", *of, *options]

    @property
    def statement(self) -> str:
        """What makes the table, as the bridge says it where there is none."""
        answer = self._run(status=5)[-1]
        [said] = [line for line in str(answer["next"]).split("run: ") if "CREATE TABLE" in line]
        return said.partition(";")[0]

    def sync(self) -> dict[str, Any]:
        """Sync to the end; the summary, and beside it what was told of the cursor."""
        told, *_, summary = self._run()
        assert told["type"] == "cursor_kept"
        return summary | {"told": told}

    def _run(self, status: int = 0) -> list[dict[str, Any]]:
        ran = subprocess.run(
            [*COMMAND, *self.words, "--json"], env=self.operator.environment, text=True,
            capture_output=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert ran.returncode == status, ran.stdout + ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    @property
    def pages(self) -> int:
        """How many pages the database has; its rows and its cursor have to say the same."""
        rows = self.database.count()
        cursors = self.database.rows(
            "SELECT encode(cursor, 'escape') AS at FROM aperio_sync_cursors"
        )
        assert rows == PAGE * (int(cursors[0]["at"]) if cursors else 0)
        return rows // PAGE


@pytest.fixture
def kept(operator: Operator, source: Path, server: PostgresServer) -> Kept:
    return Kept(operator, source, server.new_database())


def test_a_database_that_is_brought_back_goes_on_from_the_cursor_in_it(
    kept: Kept, server: PostgresServer
) -> None:
    first = kept.sync()
    assert (first["told"]["stored_at"], first["events"], kept.pages) == (None, PAGES * PAGE, PAGES)
    backup = server.dump(kept.database)
    kept.database.run("DELETE FROM aperio_sync_cursors; DELETE FROM ingestion_jobs")
    older = kept.sync()  # one that has none begins anew, whatever aperio has stored
    assert older["told"]["own_stored_at"]
    assert (older["events"], kept.pages) == (PAGES * PAGE, PAGES)
    restored = server.new_empty_database()
    restored.run(backup)
    # As of an earlier day.
    restored.run("""DELETE FROM ingestion_jobs WHERE (payload->>'page')::int >= 2;
        UPDATE aperio_sync_cursors SET cursor = '2'""")
    kept.database = restored
    assert kept.pages == 2
    again = kept.sync()
    assert again["told"]["stored_at"]
    assert again["told"]["own_stored_at"]
    assert (again["events"], kept.pages) == ((PAGES - 2) * PAGE, PAGES)
    assert kept.sync()["events"] == 0


def is_waiting(server: PostgresServer, kind: str) -> bool:
    """Whether the bridge waits for a lock, or for the answer to its commit."""
    query = f"""SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aperio-postgres'
        AND {kind}"""  # noqa: S608 - a test's
    return server.ask("postgres", query).strip() != "0"


def bridge_of(host: int) -> int:
    """The process of the bridge that a host runs, which is its only one that is not Python's."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == host and "python" not in (entry / "exe").readlink().name:
                return int(entry.name)
    pytest.fail("the bridge does not run")


@contextmanager
def held_at_third(database: Database) -> Iterator[None]:
    """Have the bridge wait where it writes the third cursor, the rows before it written."""
    database.run("""CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;
        CREATE TRIGGER held BEFORE INSERT OR UPDATE ON aperio_sync_cursors FOR EACH ROW
        WHEN (NEW.cursor = '3') EXECUTE FUNCTION held()""")
    with database.server.held(database, "SELECT pg_advisory_lock(7)"):
        yield


@contextmanager
def held_at_commit(database: Database) -> Iterator[None]:
    """Have the server wait for a standby, once a commit is on its disk, before it says so."""
    ask = database.server.ask
    ask("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    try:
        ask("postgres", "SELECT pg_reload_conf()")
        yield
    finally:
        ask("postgres", "ALTER SYSTEM RESET synchronous_standby_names")
        ask("postgres", "SELECT pg_reload_conf()")


def kill_at(kept: Kept, victim: str, is_there: Callable[[], bool]) -> None:
    """Sync until the bridge waits, and kill one of the two there."""
    with subprocess.Popen(
        [*COMMAND, *kept.words], env=kept.operator.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as run:  # fmt: skip
        assert wait_until(is_there, within_s=PATIENCE_S)
        bridge = bridge_of(run.pid)
        os.kill(run.pid if victim == "host" else bridge, signal.SIGKILL)
        assert run.wait(PATIENCE_S) == (-signal.SIGKILL if victim == "host" else 5)
        assert wait_until(lambda: is_gone(bridge), within_s=PATIENCE_S)


def is_gone(number: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


BEFORE = "wait_event_type = 'Lock'"
AFTER = "wait_event = 'SyncRep'"


@pytest.mark.parametrize("victim", ["bridge", "host"])
@pytest.mark.parametrize("point", ["before", "after"])
def test_rows_and_cursor_agree_wherever_one_of_the_two_is_killed(
    kept: Kept, server: PostgresServer, victim: str, point: str
) -> None:
    """Before its commit, and after it, before the answer: the server waits for a standby there."""
    expected = 2 if point == "before" else 1
    held = held_at_third if point == "before" else held_at_commit
    with held(kept.database):
        kill_at(kept, victim, lambda: is_waiting(server, BEFORE if point == "before" else AFTER))
    assert wait_until(lambda: not is_waiting(server, "true"), within_s=PATIENCE_S)
    assert kept.pages == expected
    summary = kept.sync()
    assert (summary["events"], kept.pages) == ((PAGES - expected) * PAGE, PAGES)


def test_a_host_that_is_killed_before_it_stores_its_own_misses_and_repeats_nothing(
    kept: Kept,
) -> None:
    command = [sys.executable, "-c", KILLED, *kept.words]
    ran = subprocess.run(
        command, env=kept.operator.environment, stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert ran.returncode == -signal.SIGKILL
    assert kept.pages == 1
    assert (kept.sync()["events"], kept.pages) == ((PAGES - 1) * PAGE, PAGES)
