"""Stored state: what is committed stays, slices do not mix, limits hold."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.data import state as state_module
from aperio_cli.data.state import (
    MAX_SLICE_BYTES,
    MAX_VALUE_BYTES,
    Item,
    Slice,
    StateDatabase,
    open_kept,
)
from aperio_cli.errors.files import RecordNewer
from aperio_cli.errors.running import StateConflict, StateLimit, StateUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

MINE = Slice("acme/box", "acme-corp", "main")
OTHERS = (
    Slice("acme/box", "acme-corp", "second"),
    Slice("acme/box", "other-corp", "main"),
    Slice("acme/slack", "acme-corp", "main"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def state(path: Path) -> Iterator[StateDatabase]:
    with StateDatabase(path) as opened:
        yield opened


def test_every_file_of_the_database_is_this_users_alone(path: Path) -> None:
    mask = os.umask(0)
    try:
        with StateDatabase(path) as state:
            state.put(MINE, "key", b"value")
            modes = {
                file.name: stat.S_IMODE(file.stat().st_mode)
                for file in path.parent.iterdir()
                if file.name.startswith("state.db")
            }
    finally:
        os.umask(mask)

    assert len(modes) > 1
    assert set(modes.values()) == {0o600}


def test_what_was_asked_for_under_a_key_is_known_after_opening_again(path: Path) -> None:
    with StateDatabase(path) as state:
        assert note(state, "k" * 300, "one") is None

    with StateDatabase(path) as state:
        assert note(state, "k" * 300, "two") == note(state, "k" * 300, "two") == "one"
        assert [note(state, "k" * 300, "one", other) for other in OTHERS] == [None, None, None]
        assert note(state, "k", "one") is None
        state.drop_execution(MINE, "k" * 300)
        assert note(state, "k" * 300, "two") is None
        assert note(state, "k" * 300, "two", OTHERS[0]) == "one"


def note(state: StateDatabase, key: str, intent: str, slice_: Slice = MINE) -> str | None:
    return state.note_execution(slice_, key, intent, version="1.0.0")


def test_the_latest_executions_are_kept_and_no_checkpoint_makes_room(
    state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "MAX_EXECUTIONS", 2)
    times = iter(f"2026-01-01T00:00:0{number}Z" for number in range(9))
    monkeypatch.setattr(clock, "timestamp", lambda: next(times))
    state.store_checkpoint(MINE, b"cursor", version="1.0.0", choice="stream")
    for key in ("a", "b", "c"):
        note(state, key, "one")

    assert [note(state, key, "one") for key in ("c", "b")] == ["one", "one"]
    assert note(state, "a", "one") is None
    kept = state.checkpoint(MINE, "stream")
    assert kept is not None
    assert kept.cursor == b"cursor"


def test_a_checkpoint_is_there_after_opening_again(path: Path) -> None:
    with StateDatabase(path) as state:
        state.store_checkpoint(MINE, b"one", version="1.0.0")
        state.store_checkpoint(MINE, b"\x00two", version="1.1.0")

    with StateDatabase(path) as state:
        found = state.checkpoint(MINE)
        assert found is not None
        assert (found.cursor, found.version) == (b"\x00two", "1.1.0")
        assert [state.checkpoint(other) for other in OTHERS] == [None, None, None]


def test_a_checkpoint_of_chosen_streams_is_its_own_and_says_what_it_covers(
    state: StateDatabase,
) -> None:
    covered = {"admin_logs": "2026-01-05T09:00:00Z", "": "0001-01-01T00:00:00Z"}
    state.store_checkpoint(MINE, b"all", version="1.0.0", covered=covered)
    state.store_checkpoint(MINE, b"some", version="1.0.0", choice="admin_logs")
    state.store_checkpoint(MINE, b"more", version="1.0.0", choice="admin_logs")

    every, some = state.checkpoint(MINE), state.checkpoint(MINE, "admin_logs")

    assert every is not None
    assert some is not None
    assert (every.cursor, every.covered) == (b"all", covered)
    assert (some.cursor, some.covered) == (b"more", {})
    assert state.checkpoint(MINE, "other") is None


VERSION_1 = """
CREATE TABLE checkpoints (
    plugin TEXT, organization TEXT, integration TEXT,
    cursor BLOB NOT NULL, version TEXT NOT NULL, stored_at TEXT NOT NULL,
    PRIMARY KEY (plugin, organization, integration)
) WITHOUT ROWID;
CREATE TABLE items (
    plugin TEXT, organization TEXT, integration TEXT, key BLOB,
    value BLOB NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (plugin, organization, integration, key)
);
INSERT INTO checkpoints VALUES ('acme/box', 'acme-corp', 'main', x'0031', '0.9.0', '2026-01-01');
INSERT INTO items VALUES ('acme/box', 'acme-corp', 'main', x'6b', x'76', 7);
PRAGMA user_version = 1;
"""


def of_version_1(path: Path) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1)


def test_a_database_of_before_keeps_what_it_has(path: Path) -> None:
    of_version_1(path)

    for _ in range(2):
        with StateDatabase(path) as state:
            found = state.checkpoint(MINE)
            assert found is not None
            assert (found.cursor, found.version, found.covered) == (b"\x001", "0.9.0", {})
            assert (found.stored_at, state.get(MINE, "k")) == ("2026-01-01", Item(b"v", 7))
    assert path.read_bytes()[60:64] == bytes([0, 0, 0, 2])


def test_a_database_of_before_is_left_as_it_is_when_it_cannot_be_brought_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each statement of the change fails in turn; the next opening does all of it."""
    of_version_1(path)
    steps = state_module._MIGRATIONS
    for number in range(len(steps[1])):
        broken = (*steps[1][:number], "INSERT INTO nowhere VALUES (1)", *steps[1][number + 1 :])
        monkeypatch.setattr("aperio_cli.data.state._MIGRATIONS", (steps[0], broken))
        with pytest.raises(StateUnreadable):
            StateDatabase(path)
        with closing(sqlite3.connect(path)) as old:
            names = {row[0] for row in old.execute("SELECT name FROM sqlite_master")}
            assert names == {"checkpoints", "items", "sqlite_autoindex_items_1"}
            assert old.execute("PRAGMA user_version").fetchone() == (1,)
    monkeypatch.undo()
    with StateDatabase(path) as state:
        assert state.checkpoint(MINE) is not None


def test_two_processes_bring_a_database_on_together(path: Path) -> None:
    of_version_1(path)
    root = str(Path(__file__).resolve().parents[2])
    code = (
        f"import sys; sys.path.insert(0, {root!r})\nfrom pathlib import Path\n"
        "from aperio_cli.data.state import StateDatabase\nsys.stdin.read(1)\n"
        f"StateDatabase(Path({str(path)!r})).close()\n"
    )
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    for process in both:
        process.communicate(b"x", timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    with StateDatabase(path) as state:
        assert state.get(MINE, "k") == Item(b"v", 7)


def test_a_cursor_over_the_limit_is_refused_and_the_old_one_stays(state: StateDatabase) -> None:
    state.store_checkpoint(MINE, b"x" * 65536, version="1.0.0")

    with pytest.raises(StateLimit):
        state.store_checkpoint(MINE, b"y" * 65537, version="1.0.0")

    found = state.checkpoint(MINE)
    assert found is not None
    assert found.cursor == b"x" * 65536


def test_a_value_is_stored_with_a_growing_revision(state: StateDatabase) -> None:
    assert state.put(MINE, "key", b"a") == 1
    assert state.put(MINE, "key", b"") == 2
    assert state.get(MINE, "key") == Item(b"", 2)


def test_slices_do_not_see_each_other(state: StateDatabase) -> None:
    state.put(MINE, "key", b"mine")
    for other in OTHERS:
        assert state.get(other, "key") is None
        assert state.list_keys(other) == ([], False)
        state.delete(other, "key")

    assert state.get(MINE, "key") == Item(b"mine", 1)


def test_a_conditional_put_stores_only_over_the_revision_it_names(state: StateDatabase) -> None:
    assert state.put(MINE, "key", b"a", if_revision=0) == 1
    with pytest.raises(StateConflict, match="changed meanwhile"):
        state.put(MINE, "key", b"b", if_revision=0)
    assert state.put(MINE, "key", b"c", if_revision=1) == 2
    with pytest.raises(StateConflict):
        state.put(MINE, "absent", b"d", if_revision=1)

    assert state.get(MINE, "key") == Item(b"c", 2)
    assert state.get(MINE, "absent") is None


def test_a_deleted_key_is_gone_and_deleting_again_is_harmless(state: StateDatabase) -> None:
    state.put(MINE, "key", b"a")
    state.delete(MINE, "key")
    state.delete(MINE, "key")

    assert state.get(MINE, "key") is None
    assert state.put(MINE, "key", b"b", if_revision=0) == 1


@pytest.mark.parametrize("key", ["", "x" * 513, "é" * 257])
def test_a_key_outside_its_limits_is_refused(state: StateDatabase, key: str) -> None:
    for operation in (state.get, state.delete):
        with pytest.raises(StateLimit):
            operation(MINE, key)
    with pytest.raises(StateLimit):
        state.put(MINE, key, b"")


def test_a_value_over_the_limit_is_refused(state: StateDatabase) -> None:
    state.put(MINE, "key", b"x" * MAX_VALUE_BYTES)
    with pytest.raises(StateLimit):
        state.put(MINE, "key", b"x" * (MAX_VALUE_BYTES + 1))

    assert state.get(MINE, "key") == Item(b"x" * MAX_VALUE_BYTES, 1)


def test_a_slice_has_room_for_16_mib_and_not_a_byte_more(state: StateDatabase) -> None:
    value = b"x" * (MAX_VALUE_BYTES - 2)
    for number in range(16):
        state.put(MINE, f"{number:02}", value)
    assert 16 * (len(value) + 2) == MAX_SLICE_BYTES

    with pytest.raises(StateLimit):
        state.put(MINE, "k", b"")
    state.put(MINE, "00", value)  # what is replaced makes room
    state.put(OTHERS[0], "k", b"")  # and another slice has its own

    assert state.get(MINE, "k") is None


def test_keys_come_in_the_order_of_their_bytes_and_in_pages(state: StateDatabase) -> None:
    keys = ["a", "a/1", "a/10", "a/2", "b", "Z", "é", "\U0010ffff"]
    for key in keys:
        state.put(MINE, key, b"")

    assert state.list_keys(MINE) == (sorted(keys, key=str.encode), False)
    assert state.list_keys(MINE, prefix="a/") == (["a/1", "a/10", "a/2"], False)
    assert state.list_keys(MINE, prefix="a", limit=2) == (["a", "a/1"], True)
    assert state.list_keys(MINE, prefix="a", after="a/1", limit=2) == (["a/10", "a/2"], False)
    assert state.list_keys(MINE, prefix="\U0010ffff") == (["\U0010ffff"], False)
    assert state.list_keys(MINE, prefix="%") == ([], False)


def test_forgetting_a_plugin_drops_all_of_its_slices_and_no_other(state: StateDatabase) -> None:
    for slice_ in (MINE, *OTHERS):
        state.put(slice_, "key", b"")
        state.store_checkpoint(slice_, b"c", version="1.0.0")

    assert state.forget("acme/box") == 6

    assert state.checkpoint(MINE) is None
    assert state.get(OTHERS[2], "key") == Item(b"", 1)


def test_forgetting_a_plugin_drops_it_whoever_stood_behind_it(state: StateDatabase) -> None:
    mine = ("acme/box", "acme/box (development)", 'acme/box ["signed", "%", "alice"]')
    others = ("acme/box-2", 'acme/box-2 ["signed"]', "acme/bo", "acme/boxes x")
    for owner in (*mine, *others):
        state.put(Slice(owner, "local", "local"), "key", b"")
    assert state.forget("acme/box") == 3
    assert {each for owner in others for each in state.owners(owner.split()[0])} == set(others)


def test_owners_are_given_the_latest_first(state: StateDatabase) -> None:
    for owner, moment in (("acme/box b", "2026-01-02"), ("acme/box", "2026-01-03"),
                          ("acme/box a", "2026-01-01")):  # fmt: skip
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("aperio_cli.clock.timestamp", lambda moment=moment: moment)
            state.store_checkpoint(Slice(owner, "local", "local"), b"1", version="1.0.0")
    for owner in ("acme/box y", "acme/box x", "acme/box-2"):
        state.put(Slice(owner, "local", "local"), "key", b"")
    assert state.owners("acme/box") == ["acme/box", "acme/box b", "acme/box a", "acme/box x",
                                        "acme/box y"]  # fmt: skip


def test_handing_on_moves_everything_and_leaves_nothing_of_the_heir(state: StateDatabase) -> None:
    old, new = Slice("acme/box", "o", "i"), Slice("acme/box new", "o", "i")
    state.store_checkpoint(old, b"old", version="1.0.0")
    state.put(old, "key", b"old")
    state.put(new, "key", b"new")
    state.put(new, "other", b"new")
    state.put(MINE, "key", b"of another tenant")
    state.hand_on(old.owner, new.owner)
    assert (state.checkpoint(old), state.get(old, "key")) == (None, None)
    assert state.checkpoint(new) is not None
    assert (state.get(new, "key"), state.get(new, "other")) == (Item(b"old", 1), None)
    assert state.get(replace(MINE, owner=new.owner), "key") == Item(b"of another tenant", 1)


@pytest.mark.parametrize("owner", ["acme/box gone", "acme/box new"])
def test_handing_on_nothing_leaves_the_heir_what_it_has(state: StateDatabase, owner: str) -> None:
    new = Slice("acme/box new", "o", "i")
    state.put(new, "key", b"new")
    state.hand_on(owner, new.owner)
    assert state.get(new, "key") == Item(b"new", 1)


def test_a_database_is_not_made_by_looking_for_one(path: Path) -> None:
    assert open_kept(path, deed="nothing was done") is None
    assert not path.exists()
    StateDatabase(path).close()
    opened = open_kept(path, deed="nothing was done")
    assert opened is not None
    opened.close()


def test_a_damaged_file_names_the_deed_that_was_asked_for(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(StateUnreadable, match=r"^`acme/box` was not removed: `/"):
        open_kept(path, deed="`acme/box` was not removed")


def test_a_damaged_file_is_named_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be read as one" * 100)
    before = path.read_bytes()

    with pytest.raises(StateUnreadable) as caught:
        StateDatabase(path)

    assert str(path) in caught.value.what
    assert path.read_bytes() == before


def test_a_database_that_is_in_use_says_so_and_nothing_of_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aperio_cli.data.state._BUSY_TIMEOUT_S", 0.01)
    with StateDatabase(path) as state, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnreadable, match="is in use by another process") as caught:
            state.put(MINE, "key", b"value")
        assert caught.value.next == ("run the same command again",)
        other.execute("ROLLBACK")
        assert state.put(MINE, "key", b"value") == 1


def test_a_database_of_a_newer_aperio_is_not_touched(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 3")
    database.close()
    before = path.read_bytes()

    path.chmod(0o640)

    with pytest.raises(RecordNewer, match="a newer aperio made it"):
        StateDatabase(path)

    assert path.read_bytes() == before
    assert list(path.parent.glob("state.db*")) == [path]
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_database_that_a_newer_aperio_is_just_changing_is_refused(path: Path) -> None:
    with StateDatabase(path) as state:
        state.put(MINE, "key", b"value")
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA wal_autocheckpoint = 0")
        newer.execute("PRAGMA user_version = 3")  # in the log only, as long as this is open
        assert path.read_bytes()[60:64] == bytes([0, 0, 0, 2])
        with pytest.raises(RecordNewer, match="`acme/box` was not removed: "):
            open_kept(path, deed="`acme/box` was not removed")


def test_a_link_in_the_files_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StateUnreadable):
        StateDatabase(path)

    assert not (tmp_path / "elsewhere").exists()


_WRITER = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
from aperio_cli.data.state import Slice, StateDatabase, open_kept
state = StateDatabase(Path({path!r}))
for number in range(1, 10**9):
    state.store_checkpoint(Slice("acme/box", "acme-corp", "main"), b"%d" % number, version="1")
    print(number, flush=True)
"""


def test_what_was_committed_survives_a_killed_process(path: Path) -> None:
    root = str(Path(__file__).resolve().parents[2])
    code = _WRITER.format(root=root, path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        reported = [int(writer.stdout.readline()) for _ in range(200)][-1]
        writer.kill()

    with StateDatabase(path) as state:
        found = state.checkpoint(MINE)
        assert found is not None
        assert int(found.cursor) >= reported


def test_two_processes_count_together_without_losing_a_step(path: Path) -> None:
    with StateDatabase(path) as first, StateDatabase(path) as second:
        for opened in (first, second, first, second):
            opened.put(MINE, "count", b"")

        assert first.get(MINE, "count") == Item(b"", 4)


# ── several threads ───────────────────────────────────────────────────────────────────────────────


def test_what_another_thread_stores_is_not_undone_with_a_transaction(
    state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store() -> None:
        state.store_checkpoint(MINE, b"page 2", version="1.0.0")

    other = threading.Thread(target=store)

    def refuse(_slice: Slice) -> int:
        other.start()
        other.join(0.1)  # it would be done, within this transaction, if it did not wait for it
        return MAX_SLICE_BYTES

    monkeypatch.setattr(state, "_size", refuse)
    with pytest.raises(StateLimit):
        state.put(MINE, "a", b"value")
    other.join(10)
    kept = state.checkpoint(MINE)
    assert kept
    assert kept.cursor == b"page 2"


def test_what_its_thread_was_given_is_done_in_order_and_ends_with_the_database(path: Path) -> None:
    may_go_on = threading.Event()
    with StateDatabase(path) as state:
        first = state.submit(lambda: may_go_on.wait(10) and state.put(MINE, "a", b"1"))
        second = state.submit(lambda: state.put(MINE, "a", b"2"))
        may_go_on.set()
        assert (first.result(10), second.result(10)) == (1, 2)
    with pytest.raises(RuntimeError):
        state.submit(lambda: None)
