"""What is used, and what the lock file says of it, whenever a change is killed: both or neither.

At every line of what changes it, and at every system call that writes; and twenty at once.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli import removing, reverting
from aperio_cli.files import writing
from aperio_cli.installing import InstallRequest, install
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.removing import remove
from aperio_cli.reverting import find_return, revert
from aperio_cli.store.current import Current
from aperio_cli.store.installed import Store
from aperio_cli.store.lock_place import LockPlace
from tests.builders import Machine, new_machine, snapshot
from tests.killing import die, files_of, left_at_each_line, stopped_at

if TYPE_CHECKING:
    from collections.abc import Callable

BOX = PluginId("acme", "box-connector")
OLD, NEW = "1.0.0", "2.0.0"
ROOT = Path(__file__).resolve().parents[2]
STRACE = shutil.which("strace")
WRITES = "rename,renameat,renameat2,unlink,unlinkat,mkdir,rmdir,fsync,write,pwrite64,chmod"
PROGRAM = """
import os, sys
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.paths import find_paths
from aperio_cli.removing import remove
from aperio_cli.reverting import find_return, revert
from aperio_cli.store.installed import Store

store, ref = Store(find_paths({}, home=sys.argv[2])), PluginRef.parse("acme/box-connector")
os.mkdir(sys.argv[3])  # what follows counts
revert(store, find_return(store, ref)) if sys.argv[1] == "revert" else remove(store, ref)
"""
ENVIRONMENT = {
    "PYTHONPATH": f"{ROOT}:{ROOT}/sdk/python",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Two versions are installed; copied by each test."""
    machine = new_machine(tmp_path_factory.mktemp("made"))
    for version in (OLD, NEW):
        machine.install(machine.signed(version=version))
    return machine


@pytest.fixture
def machine(made: Machine, tmp_path: Path) -> Machine:
    shutil.copytree(made.paths.home, tmp_path / "home")
    return made.but(root=tmp_path)


def restore(machine: Machine, made: Machine) -> None:
    shutil.rmtree(machine.paths.home)
    shutil.copytree(made.paths.home, machine.paths.home)


def locked(store: Store) -> str | None:
    entry = store.locked(BOX)
    return entry.version if entry else None


def assert_true(store: Store) -> str | None:
    """After the next change of the store, whichever it is, the lock file says what is current."""
    assert store.inventory().problems == ()
    for receipt in store.receipts():
        store.check(receipt)
    with store.lock("x"):
        pass
    current = store.current_version(BOX)
    assert locked(store) == current
    assert not [path for path in snapshot(store.lock_file.path.parent) if "lock-next" in path]
    return current


def back(machine: Machine) -> object:
    return revert(machine.store, find_return(machine.store, PluginRef(BOX)))


def away(machine: Machine) -> object:
    return remove(machine.store, PluginRef(BOX))


ACTIONS: dict[str, tuple[Callable[[Machine], object], object, set[str | None]]] = {
    "revert": (back, reverting, {OLD, NEW}),
    "remove": (away, removing, {None, NEW}),
}


def of_note(home: Path) -> frozenset[tuple[str, tuple[int, bytes]]]:
    """What stands in a home, but for the lock of the store, which is there or not."""
    return frozenset(each for each in snapshot(home).items() if not each[0].endswith("store.lock"))


@pytest.mark.parametrize("name", ACTIONS)
def test_what_is_used_and_what_is_locked_agree_at_every_line(machine: Machine, name: str) -> None:
    action, module, ends = ACTIONS[name]
    files = files_of(module, Store, LockPlace, Current)
    lines = left_at_each_line(machine.paths.home, lambda: action(machine), files, of_note)
    found = [(number, assert_true(machine.store)) for number in lines]
    assert found[-1][0] > 100, "it has more lines than this"
    assert {version for _, version in found} == ends


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("name", ACTIONS)
def test_what_is_used_and_what_is_locked_agree_after_a_death_at_every_line(
    machine: Machine, made: Machine, name: str, first: int
) -> None:
    action, module, ends = ACTIONS[name]
    files = files_of(module, Store, LockPlace, Current)
    before, number, found = of_note(machine.paths.home), first, set()
    while stopped_at(number, die, lambda: action(machine), files):
        if of_note(machine.paths.home) != before:
            found.add(assert_true(machine.store))
            restore(machine, made)
        number += 2
    assert number > 100, "it has more lines than this"
    assert found == ends
    assert assert_true(machine.store) in ends


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder that is to have a lock file of its own."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def test_a_folder_s_lock_file_is_whole_at_every_line(machine: Machine, project: Path) -> None:
    store = Store(machine.paths, lock_file=LockPlace(project / "aperio.lock", is_home=False))
    before = of_note(machine.paths.home)
    files = files_of(Store, LockPlace, writing)
    lines = left_at_each_line(project, lambda: use(store, OLD), files, of_note)
    found = [(number, locked(store)) for number in lines]
    assert found[-1][0] > 30, "it has more lines than this"
    assert {version for _, version in found} == {None, OLD}
    assert locked(store) == OLD
    assert of_note(machine.paths.home) == before
    use(store, NEW)
    assert locked(store) == NEW


def use(store: Store, version: str) -> None:
    with store.lock("x"):
        store.use(BOX, version)


@pytest.mark.slow
@pytest.mark.parametrize("step", range(3))
def test_a_folder_s_lock_file_is_whole_after_a_death_at_every_line(
    machine: Machine, project: Path, step: int
) -> None:
    place = LockPlace(project / "aperio.lock", is_home=False)
    store = Store(machine.paths, lock_file=place)
    before = machine.store.current_version(BOX)
    number = step + 1
    while stopped_at(number, die, lambda: use(store, OLD), files_of(Store, LockPlace)):
        assert locked(store) in {None, OLD}
        assert machine.store.current_version(BOX) == before
        place.path.unlink(missing_ok=True)
        number += 3
    assert number > 30
    assert locked(store) == OLD
    use(store, NEW)
    assert locked(store) == NEW


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize("name", ACTIONS)
def test_what_is_used_and_what_is_locked_agree_at_every_system_call(
    machine: Machine, made: Machine, tmp_path: Path, name: str
) -> None:
    begun, program, found = tmp_path / "begun", tmp_path / "program.py", set()
    program.write_text(PROGRAM)
    words = [sys.executable, str(program), name, str(machine.paths.home), str(begun)]
    trace = tmp_path / "trace"
    listed = [str(STRACE), "-f", "-qq", "-o", str(trace), "-e", f"trace={WRITES}"]
    subprocess.run([*listed, *words], check=True, timeout=60, env=ENVIRONMENT)
    calls = re.findall(r"^\d+ +(\w+)\((.*)", trace.read_text(), re.MULTILINE)
    first = next(n for n, (_, rest) in enumerate(calls) if str(begun) in rest)
    counts: dict[str, int] = {}
    for number, (call, _) in enumerate(calls):
        counts[call] = counts.get(call, 0) + 1
        if number <= first:
            continue
        restore(machine, made)
        begun.rmdir()
        inject = [f"inject={call}:signal=SIGKILL:when={counts[call]}"]
        killer = [str(STRACE), "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", *inject]
        ended = subprocess.run([*killer, *words], check=False, timeout=60, env=ENVIRONMENT)
        assert ended.returncode != 0
        found.add(assert_true(machine.store))
    assert found == ACTIONS[name][2]


def test_twenty_who_install_and_update_at_once_all_succeed(machine: Machine) -> None:
    paths = [machine.signed(version=f"3.0.{number}") for number in range(4)]
    others = [machine.signed(id=f"acme/other-{number}") for number in range(4)]
    with ThreadPoolExecutor(20) as threads:
        reports = list(threads.map(machine.install, [*paths, *others, *paths[:2]] * 2, timeout=100))
    assert len(reports) == 20
    lock = machine.store.lock_file.read()
    assert lock
    used = {entry.id: entry.version for entry in lock.entries}
    assert used == {plugin: machine.store.current_version(plugin) for plugin in used}
    assert len(used) == 5
    for receipt in machine.store.receipts():
        machine.store.check(receipt)


def test_twenty_in_a_folder_with_a_lock_file_of_its_own_all_succeed(
    machine: Machine, tmp_path: Path
) -> None:
    place = LockPlace(tmp_path / "aperio.lock", is_home=False)
    paths = [machine.signed(id=f"acme/other-{number}") for number in range(10)]

    def put(path: Path) -> str:
        with machine.verify(path) as admitted:
            store = Store(machine.paths, lock_file=place)
            return install(admitted, store, InstallRequest()).receipt.version

    with ThreadPoolExecutor(20) as threads:
        assert len(list(threads.map(put, paths * 2, timeout=100))) == 20
    lock = place.read()
    assert lock
    assert [entry.id.name for entry in lock.entries] == [f"other-{n}" for n in range(10)]
    assert machine.store.current_version(BOX) == NEW
