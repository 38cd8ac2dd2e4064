from __future__ import annotations

import errno
import json
import multiprocessing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.errors.files import FilesChanged, FolderNotPrivate, LockHeld
from aperio_cli.errors.installing import NotInstalled, PluginInUse, ReceiptInvalid
from aperio_cli.files import reading, removing
from aperio_cli.files.writing import ASIDE_PREFIX
from aperio_cli.models.evidence import ExceptionGranted
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.receipt import Receipt
from aperio_cli.store import listing
from aperio_cli.store.installed import Standing, Store
from tests.builders import Machine, go_members, nest, write_artifact
from tests.trust import new_domain

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

BOX = PluginId("acme", "box-connector")
DEEP = b"[" * 100_000
GRANTED = ExceptionGranted("unsigned", "2099-01-01", "test")


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def machine(tmp_path: Path, domain: LocalDomain) -> Machine:
    return Machine(tmp_path, domain)


def put(machine: Machine, version: str = "1.2.3", plugin: str = "acme/box-connector") -> Receipt:
    path = write_artifact(machine.root / "dist", go_members(version=version, id=plugin))
    return machine.install(path, exception=GRANTED).receipt


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def test_store_of_a_missing_home_holds_nothing(machine: Machine) -> None:
    inventory = machine.store.inventory()
    assert (inventory.receipts, inventory.problems) == ((), ())
    assert machine.store.find(PluginRef(BOX)) is None
    assert not machine.paths.home.exists()


def test_inventory_is_sorted_by_id_and_version(machine: Machine) -> None:
    for version in ("1.10.0", "1.9.0", "1.10.0-rc.1"):
        put(machine, version)
    put(machine, "1.0.0", "acme/a-plugin")
    found = [(str(r.id), r.version) for r in machine.store.receipts()]
    assert found == [
        ("acme/a-plugin", "1.0.0"),
        ("acme/box-connector", "1.9.0"),
        ("acme/box-connector", "1.10.0-rc.1"),
        ("acme/box-connector", "1.10.0"),
    ]


def test_get_gives_the_current_version_and_the_one_named(machine: Machine) -> None:
    first, second = put(machine, "1.0.0"), put(machine, "2.0.0")
    assert machine.store.get(PluginRef(BOX)) == second
    assert machine.store.get(PluginRef(BOX, "1.0.0")) == first


def test_get_names_plugins_that_come_close(machine: Machine) -> None:
    put(machine)
    with pytest.raises(NotInstalled) as caught:
        machine.store.get(PluginRef(PluginId("acme", "box-conector")))
    assert "acme/box-connector" in caught.value.why
    assert caught.value.exit_status == 1


def test_get_names_the_versions_there_are(machine: Machine) -> None:
    put(machine)
    with pytest.raises(NotInstalled, match=r"9\.9\.9") as caught:
        machine.store.get(PluginRef(BOX, "9.9.9"))
    assert "1.2.3" in caught.value.why


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"{}",
        b"[1]",
        b"not json",
        b"\xff",
        b'{"version": 7}',
        b'{"version": "../../etc"}',
        b'{"version": "' + b"1" * 5000 + b'"}',
    ],
)
def test_damaged_current_file_makes_no_version_current(machine: Machine, contents: bytes) -> None:
    receipt = put(machine)
    (receipt.folder.parent / "current.json").write_bytes(contents)
    assert machine.store.current_version(BOX) is None
    with pytest.raises(NotInstalled, match="is not installed") as caught:
        machine.store.get(PluginRef(BOX))
    assert "none of them is the current one" in caught.value.why
    assert caught.value.next == ("`aperio plugin install acme/box-connector@1.2.3`",)


@pytest.mark.parametrize("contents", [b"", b"{", b"[]", b'{"schema": "x"}', b"9" * 300_000])
def test_damaged_receipt_is_a_problem_and_hides_nothing_else(
    machine: Machine, contents: bytes
) -> None:
    put(machine, "1.0.0")
    damaged = put(machine, "2.0.0")
    (damaged.folder / "receipt.json").write_bytes(contents)
    inventory = machine.store.inventory()
    assert [r.version for r in inventory.receipts] == ["1.0.0"]
    assert [problem.code for problem in inventory.problems] == ["receipt-invalid"]
    with pytest.raises(ReceiptInvalid) as caught:
        machine.store.get(PluginRef(BOX))
    assert caught.value.exit_status == 3


def test_receipt_that_speaks_for_another_version_is_refused(machine: Machine) -> None:
    put(machine, "1.0.0")
    receipt = put(machine, "2.0.0")
    text = (receipt.folder / "receipt.json").read_text().replace("2.0.0", "1.0.0")
    (receipt.folder / "receipt.json").write_text(text)
    with pytest.raises(ReceiptInvalid, match="damaged") as caught:
        machine.store.get(PluginRef(BOX, "2.0.0"))
    assert "speaks for" in caught.value.why


# ── what a version is held against ────────────────────────────────────────────────────────────────


def test_standing_of_a_missing_home_is_empty(machine: Machine) -> None:
    found = machine.store.standing(BOX, "1.2.3")
    assert found == Standing(machine.store.folder(BOX, "1.2.3"), None, None, None, None)


def test_standing_holds_the_version_and_the_current_one(machine: Machine) -> None:
    older, newer = put(machine, "1.0.0"), put(machine, "2.0.0")
    found = machine.store.standing(BOX, "1.0.0")
    assert (found.current, found.receipt, found.same) == ("2.0.0", older, older.precedent)
    assert found.predecessor == newer.precedent
    assert found.damaged() == replace(found, receipt=None)


def test_standing_counts_the_highest_version_when_none_is_current(machine: Machine) -> None:
    put(machine, "1.9.0")
    highest = put(machine, "1.10.0")
    put(machine, "1.2.0")
    (machine.paths.plugin(BOX) / "current.json").unlink()
    found = machine.store.standing(BOX, "2.0.0")
    assert (found.current, found.same, found.predecessor) == (None, None, highest.precedent)


def test_standing_reads_of_a_damaged_record_who_may_follow(machine: Machine) -> None:
    receipt = put(machine)
    record = receipt.folder / "receipt.json"
    record.write_text(json.dumps(json.loads(record.read_bytes()) | {"manifest": {}}))
    found = machine.store.standing(BOX, "1.2.3")
    assert (found.receipt, found.same, found.predecessor) == (None, receipt.precedent, found.same)


@pytest.mark.parametrize("damaged", ["1.2.3", "2.0.0"])
def test_standing_refuses_when_not_even_that_can_be_read(machine: Machine, damaged: str) -> None:
    put(machine)
    put(machine, "2.0.0")
    (machine.store.folder(BOX, damaged) / "receipt.json").write_bytes(b"{")
    with pytest.raises(ReceiptInvalid, match="damaged"):
        machine.store.standing(BOX, "1.2.3")


def test_standing_reads_each_record_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    put(machine)
    read: list[str] = []
    read_capped = reading.read_capped

    def counted(path: Path, limit_bytes: int) -> bytes:
        read.append(path.name)
        return read_capped(path, limit_bytes)

    monkeypatch.setattr(reading, "read_capped", counted)
    machine.store.standing(BOX, "1.2.3")
    assert sorted(read) == ["current.json", "receipt.json"]


def test_folder_without_a_receipt_is_not_installed(machine: Machine) -> None:
    receipt = put(machine)
    (receipt.folder / "receipt.json").unlink()
    assert machine.store.inventory().receipts == ()
    assert machine.store.inventory().problems == ()
    assert machine.store.versions(BOX) == []
    assert machine.store.folders(BOX) == ["1.2.3"]


def test_names_that_install_cannot_have_made_are_left_out(machine: Machine) -> None:
    receipt = put(machine)
    for name in (".hidden", "not-a-version", "1.2"):
        (receipt.folder.parent / name).mkdir()
    (machine.paths.plugins / "UPPER" / "x").mkdir(parents=True)
    (machine.paths.plugins / "linked").symlink_to(receipt.folder.parent.parent)
    assert [r.version for r in machine.store.receipts()] == ["1.2.3"]


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def test_check_passes_what_was_installed(machine: Machine) -> None:
    machine.store.check(put(machine))


def test_check_names_a_file_that_changed(machine: Machine) -> None:
    receipt = put(machine)
    (receipt.files / "bin" / "box-connector").write_bytes(b"evil")
    with pytest.raises(FilesChanged) as caught:
        machine.store.check(receipt)
    assert "bin/box-connector" in caught.value.why
    assert caught.value.exit_status == 3


def test_check_refuses_a_list_that_was_changed_along(machine: Machine) -> None:
    receipt = put(machine)
    (receipt.files / "extra").write_bytes(b"")
    tree = receipt.folder / "files.sha256"
    tree.write_bytes(tree.read_bytes() + b"0" * 64 + b"  0644  extra\n")
    with pytest.raises(ReceiptInvalid, match=r"files\.sha256"):
        machine.store.check(receipt)


def test_check_refuses_a_list_that_is_gone(machine: Machine) -> None:
    receipt = put(machine)
    (receipt.folder / "files.sha256").unlink()
    with pytest.raises(ReceiptInvalid):
        machine.store.check(receipt)


# ── holding ───────────────────────────────────────────────────────────────────────────────────────


def test_a_check_is_noted_once_a_second_and_at_once_when_it_came_out_otherwise(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = put(machine)
    noted = machine.paths.checks(receipt.id)
    moment = clock.now()
    monkeypatch.setattr(clock, "now", lambda: moment)
    machine.store.checks.note(receipt, passed=True)
    first = noted.stat().st_ino
    machine.store.checks.note(receipt, passed=True)
    assert noted.stat().st_ino == first
    machine.store.checks.note(receipt, passed=False)
    found = machine.store.checks.last(receipt)
    assert found
    assert not found.ok
    monkeypatch.setattr(clock, "now", lambda: moment + timedelta(seconds=1))
    second = noted.stat().st_ino
    machine.store.checks.note(receipt, passed=False)
    assert noted.stat().st_ino != second


def test_hold_is_shared_and_is_seen(machine: Machine) -> None:
    receipt = put(machine)
    store = machine.store
    assert not store.in_use(BOX, "1.2.3")
    with store.hold(receipt), machine.store.hold(receipt):
        assert store.in_use(BOX, "1.2.3")
    assert not store.in_use(BOX, "1.2.3")


def test_exclusively_refuses_what_is_held(machine: Machine) -> None:
    receipt = put(machine)
    with machine.store.hold(receipt), pytest.raises(PluginInUse) as caught:
        machine.store.exclusively(BOX, "1.2.3").__enter__()
    assert (caught.value.code, caught.value.exit_status) == ("plugin-in-use", 1)


def test_hold_refuses_what_is_being_removed(machine: Machine) -> None:
    receipt = put(machine)
    with (
        machine.store.exclusively(BOX, "1.2.3"),
        pytest.raises(PluginInUse),
        machine.store.hold(receipt),
    ):
        pass


def test_hold_refuses_what_was_removed(machine: Machine) -> None:
    receipt = put(machine)
    (receipt.folder / "receipt.json").unlink()
    with pytest.raises(NotInstalled), machine.store.hold(receipt):
        pass


def _hold_until_told(home: Path, connection: Connection) -> None:
    from aperio_cli.paths import Paths

    store = Store(Paths(home, home / "config.toml", home / "cache"))
    with store.hold(store.get(PluginRef(BOX))):
        connection.send("held")
        connection.recv()


def test_hold_ends_with_a_process_that_is_killed(machine: Machine) -> None:
    put(machine)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold_until_told, args=(machine.paths.home, theirs))
    process.start()
    try:
        assert ours.poll(30)
        assert machine.store.in_use(BOX, "1.2.3")
    finally:
        process.kill()
        process.join(30)
        ours.close()
        theirs.close()
    assert not machine.store.in_use(BOX, "1.2.3")


# ── changing ──────────────────────────────────────────────────────────────────────────────────────


def test_aside_is_private_and_gone_afterwards(machine: Machine) -> None:
    with machine.store.aside("x") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent == machine.paths.plugins
        (folder / "half-written").write_bytes(b"x")
    assert list(machine.paths.plugins.iterdir()) == []


def test_lock_removes_what_a_crash_left(machine: Machine) -> None:
    dead = machine.paths.plugins / f"{ASIDE_PREFIX}dead"
    dead.mkdir(parents=True)
    with machine.store.lock("x"):
        assert not dead.exists()


def test_aside_removes_what_a_crash_left_and_keeps_what_is_worked_on(machine: Machine) -> None:
    machine.paths.plugins.mkdir(parents=True)
    dead = machine.paths.plugins / f"{ASIDE_PREFIX}dead"
    dead.mkdir()
    with machine.store.aside("x") as first, machine.store.aside("x") as second:
        assert not dead.exists()
        assert first.exists()
        assert second.exists()


def test_aside_is_swept_by_the_next_when_its_owner_was_killed(machine: Machine) -> None:
    put(machine)
    left_over = machine.paths.plugins / f"{ASIDE_PREFIX}left-over"
    (left_over / "version").mkdir(parents=True)
    put(machine, "1.2.4")
    assert not left_over.exists()


def test_lock_refuses_a_home_that_is_a_link(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    machine.paths.home.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderNotPrivate):
        machine.store.lock("x").__enter__()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_lock_names_what_cannot_happen_meanwhile(machine: Machine) -> None:
    second = machine.store.lock("`acme/box` was not installed", timeout_s=0)
    with (
        machine.store.lock("first"),
        pytest.raises(LockHeld, match="`acme/box` was not installed"),
        second,
    ):
        pass


def test_current_file_is_what_the_design_says(machine: Machine) -> None:
    receipt = put(machine)
    document = json.loads((receipt.folder.parent / "current.json").read_bytes())
    assert document == {"schema": 1, "version": "1.2.3", "before": []}


def test_receipt_that_is_nested_too_deeply_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(ReceiptInvalid):
        Receipt.parse(DEEP, tmp_path)


def test_receipt_that_is_nested_too_deeply_hides_no_other_plugin(aperio_home: Path) -> None:
    for name, contents in (("box", b'{"id": "acme/box"}'), ("deep", DEEP)):
        folder = aperio_home / "plugins/acme" / name / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "receipt.json").write_bytes(contents)

    rows = listing.rows(str(aperio_home))

    assert [(row["id"], row["problem"]) for row in rows] == [
        ("acme/box", None),
        ("acme/deep", "receipt-invalid"),
    ]
    assert json.loads(listing.envelope(rows))["status"] == "ok"


# ── what a plugin leaves ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("levels", [1100, 2100])
def test_folders_that_a_plugin_nested_keep_nothing_from_being_installed_or_removed(
    machine: Machine, levels: int
) -> None:
    receipt = put(machine)
    nest(receipt.files, levels)

    with pytest.raises(FilesChanged):
        machine.store.check(receipt)
    again = put(machine)
    machine.store.check(again)
    nest(again.files, levels)
    with machine.store.lock("x"), machine.store.exclusively(BOX, "1.2.3"):
        machine.store.drop_version(BOX, "1.2.3")

    assert machine.store.versions(BOX) == []
    assert [path.name for path in machine.paths.plugins.iterdir()] == ["acme"]


def test_sweep_that_fails_is_said_and_the_work_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(machine)
    left = machine.paths.plugins / f"{ASIDE_PREFIX}left"
    left.mkdir()
    said: list[str] = []
    remove_tree = removing.remove_tree

    def fail(path: Path) -> None:
        if path == left:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(left / "file"))
        remove_tree(path)

    monkeypatch.setattr(removing, "remove_tree", fail)
    with Store(machine.paths, said.append).lock("x"):
        pass

    assert said == [f"`{left}` was not removed whole: {left}/file: Operation not permitted"]
    put(machine, "1.2.4")
    assert machine.store.current_version(BOX) == "1.2.4"
    monkeypatch.undo()
    with machine.store.lock("x"):
        assert not left.exists()
