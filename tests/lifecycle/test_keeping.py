"""A sync into a destination that keeps its cursor beside what it writes: both, or neither."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.__main__ import main
from aperio_cli.data.run_receipts import RunReceipts
from aperio_cli.data.state import Slice, StateDatabase
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.running import delivering
from tests.lifecycle.cli import Aperio, Done, processes_of, wait_until
from tests.lifecycle.plugins import artifact_of, simulating
from tests.trust import IDENTITY

if TYPE_CHECKING:
    from tests.lifecycle.conftest import Workshop

LEDGER = "acme/ledger"
KILLED = """
import os, signal, sys
from aperio_cli.__main__ import main
from aperio_cli.data.state import StateDatabase

def kill(*_arguments, **_named):
    os.kill(os.getpid(), signal.SIGKILL)

StateDatabase.store_checkpoint = kill
main(sys.argv[1:])
"""
"""aperio, killed where it would store its own cursor after the destination's."""


@dataclass
class Pair:
    """A connector, and a destination that obeys a plan and keeps the cursor."""

    aperio: Aperio
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """What the destination has."""
        return self.aperio.folder / "kept.db"

    def words(self, source: str, *more: str) -> list[str]:
        """The command."""
        plan = json.dumps({"out": str(self.out)} | self.plan)
        return [
            "plugin",
            "run",
            f"acme/{source}",
            "--to",
            LEDGER,
            "--to-set",
            f"plan={plan}",
            *more,
        ]

    def sync(self, source: str, *more: str, status: int = 0, **plan: Any) -> Done:
        """Sync into the destination by a plan, in lines of JSON."""
        self.plan = plan
        return self.aperio(*self.words(source, *more), "--json", status=status)

    def ask(self, query: str) -> list[Any]:
        """Rows of the destination's; of one column its values."""
        database = sqlite3.connect(self.out)
        found = database.execute(query).fetchall()
        database.close()
        return [row[0] if len(row) == 1 else row for row in found]

    @property
    def has(self) -> tuple[int, list[bytes]]:
        """How many events the destination has, and its cursors."""
        cursors = self.ask("SELECT cursor FROM cursors ORDER BY source")
        return self.ask("SELECT count(*) FROM taken")[0], cursors

    def own(self, source: str) -> bytes:
        """The host's own cursor; empty: none."""
        with StateDatabase(self.aperio.home / "state.db") as state:
            owners = state.owners(f"acme/{source}")
            found = state.checkpoint(Slice(owners[0], "local", "local")) if owners else None
        return found.cursor if found else b""


@pytest.fixture(scope="module")
def stocked(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which simulators are installed; `ledger` is the destination."""
    root = tmp_path_factory.mktemp("stocked")
    home = Path(shutil.copytree(workshop.home, root / "home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGNAME", IDENTITY.removesuffix("@local"))
        for name in ("bare", "choosy", "fails-late", "paged", "ledger"):
            stated = {"kind": "destination", "provider": "LEDGER"} if name == "ledger" else {}
            code = simulating(name.replace("-", "_"))
            artifact = artifact_of(root / name, code, id=f"acme/{name}", **stated)
            for words in (["sign", artifact, "--trust", "local"], ["install", artifact, "--yes"]):
                assert main(["plugin", *map(str, words), "--home", str(home)]) == 0
    return home / "plugins"


@pytest.fixture
def pair(aperio: Aperio, stocked: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    shutil.copytree(stocked, aperio.home / "plugins")
    monkeypatch.setattr(delivering, "_FIRST_WAIT_S", 0.01)
    return Pair(aperio)


def kept(done: Done) -> dict[str, Any]:
    """What was told of the cursor, first of all."""
    told = done.lines[0]
    assert told["type"] == "cursor_kept"
    return dict(told)


def test_the_last_call_of_a_page_has_the_cursor_and_the_next_sync_goes_on_from_it(
    pair: Pair,
) -> None:
    done = pair.sync("paged")
    assert kept(done) == {
        "type": "cursor_kept", "by": "acme/ledger@1.2.3", "goes_on": False,
        "stored_at": None, "own_stored_at": None,
    }  # fmt: skip
    page = [(2, None), (2, None)]
    rest = [(2, None)]  # without a checkpoint
    assert pair.ask("SELECT envelopes, cursor FROM calls") == [
        *page, (1, b"5"), *page, (1, b"10"), *rest,
    ]  # fmt: skip
    assert (pair.has, pair.own("paged")) == ((12, [b"10"]), b"10")
    summary = done.lines[-1]
    assert (summary["events"], summary["checkpoints"]) == (12, 2)
    assert summary["deliveries"]["accepted"] == 12
    (pair.aperio.home / "state.db").unlink()  # the destination's is enough
    done = pair.sync("paged")
    assert (kept(done)["goes_on"], kept(done)["stored_at"]) == (True, "2023-11-14T22:13:20Z")
    summary = done.lines[-1]
    assert (summary["events"], summary["checkpoints"]) == (2, 0)
    assert summary["coverage"] == [{"stream": "", "covers_until": "2023-11-14T22:13:25Z"}]
    assert pair.has == (12, [b"10"])


def test_what_is_brought_back_from_a_backup_goes_on_from_its_own_cursor(pair: Pair) -> None:
    backup = pair.aperio.folder / "backup.db"
    pair.sync("bare")
    shutil.copy(pair.out, backup)
    pair.sync("bare")
    assert (pair.has, pair.own("bare")) == ((4, [b"4"]), b"4")
    shutil.copy(backup, pair.out)
    assert pair.has == (2, [b"2"])
    done = pair.aperio(*pair.words("bare"))
    assert "acme/ledger@1.2.3 keeps the cursor: the sync goes on from it, as it was" in done.err
    assert "; the host's own, stored at " in done.err
    assert (pair.has, pair.own("bare")) == ((4, [b"4"]), b"4")


def test_one_that_has_no_cursor_yet_begins_anew_and_one_that_keeps_none_is_as_before(
    pair: Pair,
) -> None:
    for _ in range(2):
        done = pair.sync("bare", keep=False)
        assert done.lines[0]["type"] == "checkpoint"
    assert (pair.has, pair.own("bare")) == ((4, []), b"4")
    assert pair.ask("SELECT DISTINCT cursor FROM calls") == [None]
    told = kept(pair.sync("bare"))
    assert (told["stored_at"], told["own_stored_at"] is None) == (None, False)
    assert pair.has == (4, [b"2"])
    pair.sync("bare")
    pair.sync("bare", keep=False)  # which goes on from the host's own
    assert pair.ask("SELECT event FROM taken") == ["e0", "e1", "e2", "e3", "e4", "e5"]


def test_a_full_sync_begins_anew_and_replaces_the_cursor(pair: Pair) -> None:
    pair.sync("bare")
    pair.sync("bare")
    told = kept(pair.sync("bare", "--full"))
    assert (told["stored_at"], told["own_stored_at"]) == (None, None)
    assert pair.has == (4, [b"2"])


def test_a_beginning_counts_where_the_destination_has_no_cursor_and_each_choice_has_its_own(
    pair: Pair,
) -> None:
    since = ["--from", "2026-01-01"]
    pair.sync("choosy", keep=False)
    told = kept(pair.sync("choosy", *since))  # whatever the host's own is
    assert (told["goes_on"], told["own_stored_at"] is None) == (False, False)
    refused = pair.sync("choosy", *since, status=2).lines[-1]
    assert "a checkpoint was stored at 2023-11-14T22:13:20Z" in refused["why"]
    part = ["--stream", "admin_logs"]
    assert not kept(pair.sync("choosy", *part))["goes_on"]
    assert kept(pair.sync("choosy", *part))["goes_on"]
    assert pair.has[1] == [b"2", b"4"]
    (pair.aperio.home / "state.db").unlink()
    coverage = pair.sync("choosy").lines[-1]["coverage"]
    assert [each["stream"] for each in coverage] == ["admin_logs", "sign_ins"]
    sources = [json.loads(each)[3] for each in pair.ask("SELECT source FROM cursors")]
    assert sorted(sources) == ["", "admin_logs"]


def test_each_organization_and_integration_has_a_cursor_of_its_own(pair: Pair) -> None:
    for more in ([], ["--integration", "b"], ["--org", "o"]):
        assert kept(pair.sync("bare", *more))["stored_at"] is None
    pair.sync("bare", "--org", "o")
    sources = [json.loads(each) for each in pair.ask("SELECT source FROM cursors ORDER BY source")]
    assert [each[:2] for each in sources] == [["local", "b"], ["local", "local"], ["o", "local"]]
    assert pair.has[1] == [b"2", b"2", b"4"]
    assert {each[2].partition(" ")[0] for each in sources} == {"acme/bare"}
    assert all(str(pair.aperio.folder) not in each[2] for each in sources)
    assert kept(pair.sync("paged"))["stored_at"] is None  # another connector


def test_what_is_rejected_is_kept_before_the_cursor_is_stored(pair: Pair) -> None:
    summary = pair.sync("bare", status=1, rejects=["e1"]).lines[-1]
    assert (summary["deliveries"]["rejected"], summary["checkpoints"]) == (1, 1)
    assert pair.ask("SELECT envelopes, cursor FROM calls") == [(2, b"2"), (0, b"2")]
    [line] = map(json.loads, Path(summary["rejects_file"]).read_text().splitlines())
    assert line["envelope"]["source_event_id"] == "e1"
    assert pair.has == (1, [b"2"])


def test_what_is_down_for_a_while_is_asked_and_handed_it_again(pair: Pair) -> None:
    planned: dict[str, Any] = {"positions": ["UNAVAILABLE"], "calls": ["UNAVAILABLE"] * 2}
    lines = pair.sync("bare", **planned).lines
    assert [line["type"] for line in lines] == [
        "cursor_kept", "retry", "retry", "checkpoint", "summary",
    ]  # fmt: skip
    assert pair.has == (2, [b"2"])
    error = pair.sync("bare", "--retry-for", "0", status=4, positions=["UNAVAILABLE"]).lines[-1]
    assert error["code"] == "destination-unavailable"
    assert "did not say in time where the sync is" in error["what"]
    rejecting = {"rejects": ["e2", "e3"], "calls": ["ok", "UNAVAILABLE", "UNAVAILABLE"]}
    error = pair.sync("bare", "--retry-for", "0", status=4, **rejecting).lines[-1]
    assert "did not store the checkpoint in time" in error["what"]
    assert pair.has == (2, [b"2"])
    pair.sync("bare")
    assert pair.has == (4, [b"4"])


@pytest.mark.parametrize(
    ("word", "has"), [("before", (0, [])), ("after", (2, [b"2"]))], ids=["before", "after"]
)
def test_a_crash_leaves_rows_and_cursor_together(
    pair: Pair, word: str, has: tuple[int, list[bytes]]
) -> None:
    error = pair.sync("bare", status=5, calls=[word]).lines[-1]
    assert error["code"] == "plugin-crashed"
    assert (pair.has, pair.own("bare")) == (has, b"")
    pair.sync("bare")
    assert pair.has == (has[0] + 2, [b"%d" % (has[0] + 2)])  # nothing is read again


def test_a_host_that_is_killed_before_it_stores_its_own_goes_on_from_the_destinations(
    pair: Pair,
) -> None:
    command = [sys.executable, "-c", KILLED, *pair.words("bare"), "--home", str(pair.aperio.home)]
    run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert run.wait(timeout=60) == -signal.SIGKILL
    assert run.stderr
    run.stderr.close()
    assert wait_until(lambda: not processes_of(pair.aperio.runtime), within_s=30)
    for folder in pair.aperio.runtime.iterdir():
        shutil.rmtree(folder)
    assert (pair.has, pair.own("bare")) == ((2, [b"2"]), b"")
    pair.sync("bare")
    assert (pair.has, pair.own("bare")) == ((4, [b"4"]), b"4")


def test_a_cursor_that_has_moved_meanwhile_is_not_replaced(pair: Pair) -> None:
    done = pair.sync("paged", status=4, calls=["ok", "moves"])
    error = done.lines[-1]
    assert (error["code"], error["exit_status"]) == ("checkpoint-moved", 4)
    assert (pair.has[1], pair.own("paged")) == ([b"0"], b"5")
    database = sqlite3.connect(pair.out)
    with database:
        database.execute("DELETE FROM cursors")
        database.execute("DELETE FROM taken")
    database.close()
    pair.sync("paged")
    assert pair.has == (12, [b"10"])


@pytest.mark.parametrize(
    ("planned", "why"),
    [
        ({"calls": ["early"], "rejects": ["e1"]}, "an envelope before it was not accepted"),
        ({"calls": ["never", "never"]}, "a checkpoint was not stored, with nothing before it"),
        ({"positions": ["long"]}, "a cursor of at most 65536 bytes"),
    ],
    ids=["early", "never", "long"],
)
def test_a_destination_that_errs_about_the_cursor_is_told_and_loses_nothing(
    pair: Pair, planned: dict[str, Any], why: str
) -> None:
    done = pair.sync("bare", status=5, **planned)
    assert done.lines[-1]["code"] == "plugin-contract-broken"
    assert why in done.lines[-1]["why"]
    assert pair.own("bare") == b""
    if "rejects" in planned:
        [file] = (pair.aperio.home / "rejects").iterdir()
        [line] = map(json.loads, file.read_text().splitlines())
        assert line["envelope"]["source_event_id"] == "e1"


def test_what_a_connector_gave_before_it_failed_is_delivered(pair: Pair) -> None:
    lines = pair.sync("fails-late", status=5).lines
    assert lines[-1]["code"] == "plugin-reported-error"
    assert pair.ask("SELECT event FROM taken") == ["e0", "e1", "e2"]
    assert (pair.has[1], pair.own("fails-late")) == ([b"2"], b"2")
    place = pair.aperio.home / "host" / "receipts"
    [sync] = RunReceipts(place).newest(PluginId("acme", "fails-late"))
    assert sync.sent == 3


def test_what_was_held_back_when_it_broke_off_does_not_count_as_sent(pair: Pair) -> None:
    pair.sync("paged", "--retry-for", "0", status=4, calls=["ok", "UNAVAILABLE"])
    [sync] = RunReceipts(pair.aperio.home / "host" / "receipts").newest(PluginId("acme", "paged"))
    assert (sync.status, sync.sent) == ("FAILED", 5)
