from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import LockHeld
from aperio_cli.errors.installing import NoPreviousVersion, NotInstalled
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.removing import remove
from aperio_cli.reverting import fall_back, find_return, revert
from aperio_cli.store.current import Current
from aperio_cli.store.installed import Store
from aperio_cli.store.lock_place import LockPlace
from tests.builders import Machine, new_machine, unchanged

if TYPE_CHECKING:
    from pathlib import Path

BOX = PluginId("acme", "box-connector")
REF = PluginRef(BOX)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return new_machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture
def machine(shared: Machine, tmp_path: Path) -> Machine:
    """Three versions are installed, one after the other."""
    made = shared.but(root=tmp_path)
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        made.install(made.signed(version=version))
    return made


def back(machine: Machine, ref: PluginRef = REF) -> str:
    assert revert(machine.store, find_return(machine.store, ref))
    found = machine.store.current_version(BOX)
    locked = machine.store.locked(BOX)
    assert found
    assert locked
    assert locked.version == found
    return found


def test_revert_goes_back_step_by_step_and_says_when_there_is_no_more(machine: Machine) -> None:
    assert back(machine) == "1.1.0"
    assert back(machine) == "1.0.0"
    with unchanged(machine.paths.home), pytest.raises(NoPreviousVersion) as caught:
        find_return(machine.store, REF)
    assert caught.value.exit_status == 1
    assert "1.1.0, 2.0.0" in caught.value.why
    assert "rollback acme/box-connector@2.0.0" in caught.value.next[0]
    assert machine.store.versions(BOX) == ["1.0.0", "1.1.0", "2.0.0"]


def test_revert_goes_to_the_version_that_is_named(machine: Machine) -> None:
    assert back(machine, PluginRef(BOX, "1.0.0")) == "1.0.0"
    assert back(machine, PluginRef(BOX, "2.0.0")) == "2.0.0"
    with pytest.raises(NoPreviousVersion):
        find_return(machine.store, PluginRef(BOX, "2.0.0"))
    with pytest.raises(NotInstalled):
        find_return(machine.store, PluginRef(BOX, "9.0.0"))
    with pytest.raises(NotInstalled):
        find_return(machine.store, PluginRef(PluginId("acme", "other")))


def test_revert_passes_over_what_was_removed(machine: Machine) -> None:
    remove(machine.store, PluginRef(BOX, "1.1.0"))
    assert back(machine) == "1.0.0"


def test_revert_after_an_older_version_was_installed_again_goes_to_the_newer(
    machine: Machine,
) -> None:
    machine.install(machine.signed(version="1.0.0"))
    assert back(machine) == "2.0.0"


def test_revert_in_a_store_of_before_goes_to_the_version_below(machine: Machine) -> None:
    current = machine.paths.plugin(BOX) / "current.json"
    current.write_text(json.dumps({"schema": 1, "version": "1.1.0"}))
    assert back(machine) == "1.0.0"


def test_revert_succeeds_for_whoever_comes_second(machine: Machine) -> None:
    way = find_return(machine.store, REF)
    with ThreadPoolExecutor(20) as threads:
        changed = list(threads.map(lambda _: revert(machine.store, way), range(20), timeout=60))
    assert sum(changed) == 1
    assert machine.store.current_version(BOX) == "1.1.0"


def test_revert_leaves_what_somebody_else_took_into_use(machine: Machine) -> None:
    way = find_return(machine.store, REF)
    machine.install(machine.signed(version="3.0.0"))
    with pytest.raises(LockHeld):
        revert(machine.store, way)
    assert machine.store.current_version(BOX) == "3.0.0"


def test_revert_lets_a_version_run_on_that_runs(machine: Machine) -> None:
    running = machine.store.get(REF)
    with machine.store.hold(running):
        assert back(machine) == "1.1.0"
        machine.store.check(running)
        assert machine.store.in_use(BOX, "2.0.0")


def test_revert_says_that_a_folder_s_lock_file_decides(machine: Machine, tmp_path: Path) -> None:
    place = LockPlace(tmp_path / "aperio.lock", is_home=False)
    with pytest.raises(UsageError) as caught:
        find_return(Store(machine.paths, lock_file=place), REF)
    assert str(place.path) in caught.value.why


def test_fall_back_leaves_a_version_that_failed_and_no_other(machine: Machine) -> None:
    receipt = fall_back(machine.store, BOX, "2.0.0")
    assert receipt
    assert (receipt.version, machine.store.current_version(BOX)) == ("1.1.0", "1.1.0")
    with unchanged(machine.paths.home):
        assert fall_back(machine.store, BOX, "2.0.0") is None  # another host was faster
    receipt = fall_back(machine.store, BOX, "1.1.0", healthy="1.0.0")
    assert receipt
    assert receipt.version == "1.0.0"
    with unchanged(machine.paths.home):
        assert fall_back(machine.store, BOX, "1.0.0") is None


def test_current_remembers_each_version_once_and_not_for_ever() -> None:
    current = Current("1.0.0")
    for number in range(40):
        current = current.followed_by(f"{number}.0.0").followed_by("1.0.0")
    assert current.before is not None
    assert len(current.before) == 16
    assert len(set(current.before)) == 16
    assert current.before[-1] == "39.0.0"
    assert current.gone_back_to("38.0.0").before == current.before[:-2]
