from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.installing import NotInstalled, PluginInUse
from aperio_cli.files import removing
from aperio_cli.files.writing import ASIDE_PREFIX
from aperio_cli.models.evidence import ExceptionGranted
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.receipt import FILE_NAME
from aperio_cli.removing import StoredState, remove
from tests.builders import Machine, go_members, unchanged, write_artifact
from tests.trust import new_domain

if TYPE_CHECKING:
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.signing.local import LocalDomain

BOX = PluginId("acme", "box-connector")
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


class Stored:
    """The stored state of every plugin: what is done with it."""

    def __init__(self, *, stored: int = 2) -> None:
        self.purged: list[PluginId] = []
        self.handed: list[tuple[str, str]] = []
        self._stored = stored

    @property
    def purging(self) -> StoredState:
        return StoredState(self._purge, self._hand_on)

    @property
    def keeping(self) -> StoredState:
        return StoredState(None, self._hand_on)

    def _purge(self, plugin: PluginId) -> int:
        self.purged.append(plugin)
        return self._stored

    def _hand_on(self, owner: str, heir: str) -> None:
        self.handed.append((owner, heir))


def test_remove_leaves_nothing_of_a_plugin(machine: Machine) -> None:
    put(machine, "1.0.0")
    put(machine, "2.0.0")
    report = remove(machine.store, PluginRef(BOX))
    assert (report.versions, report.current) == (("1.0.0", "2.0.0"), None)
    assert list(machine.paths.plugins.iterdir()) == []


def test_remove_leaves_other_plugins_alone(machine: Machine) -> None:
    other = put(machine, plugin="acme/other")
    put(machine)
    with unchanged(other.folder):
        remove(machine.store, PluginRef(BOX))
    assert machine.store.receipts() == (other,)


def test_remove_of_the_current_version_makes_the_highest_left_current(machine: Machine) -> None:
    for version in ("1.9.0", "1.10.0", "2.0.0"):
        put(machine, version)
    report = remove(machine.store, PluginRef(BOX, "2.0.0"))
    assert (report.versions, report.current) == (("2.0.0",), "1.10.0")
    assert machine.store.get(PluginRef(BOX)).version == "1.10.0"


def test_remove_of_another_version_leaves_the_current_one(machine: Machine) -> None:
    put(machine, "1.0.0")
    put(machine, "2.0.0")
    assert remove(machine.store, PluginRef(BOX, "1.0.0")).current == "2.0.0"
    assert machine.store.folders(BOX) == ["2.0.0"]


def test_remove_takes_what_is_damaged(machine: Machine) -> None:
    receipt = put(machine)
    (receipt.folder / "receipt.json").write_bytes(b"{")
    shutil.rmtree(receipt.files)
    remove(machine.store, PluginRef(BOX))
    assert machine.store.inventory().problems == ()


@pytest.mark.parametrize("ref", ["acme/other", "acme/box-connector@9.9.9", "other/box-connector"])
def test_remove_refuses_what_is_not_installed(machine: Machine, ref: str) -> None:
    put(machine)
    with unchanged(machine.paths.home), pytest.raises(NotInstalled) as caught:
        remove(machine.store, PluginRef.parse(ref))
    assert (caught.value.code, caught.value.exit_status) == ("not-installed", 1)
    assert caught.value.what == f"`{ref}` is not installed"


def test_remove_makes_no_home(machine: Machine) -> None:
    with pytest.raises(NotInstalled):
        remove(machine.store, PluginRef(BOX))
    assert not machine.paths.home.exists()


def test_remove_refuses_while_it_runs(machine: Machine) -> None:
    put(machine, "1.0.0")
    receipt = put(machine, "2.0.0")
    with (
        machine.store.hold(receipt),
        unchanged(machine.paths.home),
        pytest.raises(PluginInUse) as caught,
    ):
        remove(machine.store, PluginRef(BOX))
    assert (caught.value.code, caught.value.exit_status) == ("plugin-in-use", 1)
    assert "2.0.0 is running" in caught.value.what


def test_remove_takes_a_version_while_another_runs(machine: Machine) -> None:
    put(machine, "1.0.0")
    receipt = put(machine, "2.0.0")
    with machine.store.hold(receipt):
        remove(machine.store, PluginRef(BOX, "1.0.0"))
    assert machine.store.receipts() == (receipt,)


# ── stored state ──────────────────────────────────────────────────────────────────────────────────


def test_purge_is_called_when_no_version_is_left(machine: Machine) -> None:
    put(machine)
    stored = Stored()
    assert remove(machine.store, PluginRef(BOX), stored.purging).was_purged
    assert (stored.purged, stored.handed) == ([BOX], [])


def test_purge_is_not_called_while_a_version_is_left(machine: Machine) -> None:
    put(machine, "1.0.0")
    put(machine, "2.0.0")
    stored = Stored()
    report = remove(machine.store, PluginRef(BOX, "1.0.0"), stored.purging)
    assert (report.was_purged, stored.purged) == (False, [])


def test_purge_is_not_called_when_removing_was_refused(machine: Machine) -> None:
    receipt = put(machine)
    stored = Stored()
    with machine.store.hold(receipt), pytest.raises(PluginInUse):
        remove(machine.store, PluginRef(BOX), stored.purging)
    assert stored.purged == []


def test_purge_drops_what_was_left_of_a_plugin_that_is_not_installed(machine: Machine) -> None:
    stored = Stored()
    report = remove(machine.store, PluginRef(BOX), stored.purging)
    assert (report.versions, report.was_purged, stored.purged) == ((), True, [BOX])
    with pytest.raises(NotInstalled):
        remove(machine.store, PluginRef(BOX), Stored(stored=0).purging)


def test_kept_state_is_handed_on_to_whoever_signed_and_to_nobody_else(machine: Machine) -> None:
    receipt = put(machine)
    own = receipt.state_owner
    stored = Stored()
    remove(machine.store, PluginRef(BOX), stored.keeping)
    assert stored.handed == []  # it has that name already
    receipt = put(machine)
    recorded = replace(receipt, state_owner=str(BOX))  # as one of 0.1.0 is read
    (receipt.folder / FILE_NAME).write_bytes(recorded.to_bytes())
    remove(machine.store, PluginRef(BOX), stored.keeping)
    assert stored.handed == [(str(BOX), own)]


def test_kept_state_of_a_damaged_record_stays_where_it_is(machine: Machine) -> None:
    receipt = put(machine)
    (receipt.folder / FILE_NAME).write_bytes(b"{")
    stored = Stored()
    assert not remove(machine.store, PluginRef(BOX), stored.keeping).was_purged
    assert stored.handed == []


# ── interrupted ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "step", [(Path, "rename"), (removing, "remove_tree")], ids=["rename", "tree"]
)
def test_remove_that_is_interrupted_leaves_no_version_that_could_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: tuple[object, str]
) -> None:
    put(machine)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            remove(machine.store, PluginRef(BOX))
    assert machine.store.inventory().receipts == ()
    assert machine.store.inventory().problems == ()
    put(machine)
    assert machine.store.get(PluginRef(BOX)).version == "1.2.3"
    assert not list(machine.paths.plugins.glob(f"{ASIDE_PREFIX}*"))
