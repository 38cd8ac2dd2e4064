from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import FileNotRegular, LockHeld, PathShared, RecordNewer
from aperio_cli.errors.installing import LockFileInvalid, NotInstalled
from aperio_cli.errors.usage import NotFound
from aperio_cli.installing import InstallRequest, install
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import ExceptionGranted, Verified
from aperio_cli.models.lock_file import MAX_BYTES, Locked, LockFile
from aperio_cli.models.origin import Build, Origin
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.removing import remove
from aperio_cli.store import lock_place
from aperio_cli.store.current import Current
from aperio_cli.store.installed import Store
from aperio_cli.store.lock_place import LockPlace, find_place
from tests.builders import (
    ARM,
    LINUX,
    Machine,
    build_rule,
    build_signer,
    new_machine,
    proof,
    receipt,
    signer,
    write_artifact,
)
from tests.rows import each_row, for_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.models.receipt import Receipt

BOX = PluginId("acme", "box-connector")
FOLDER = Path("/srv/project")
PATH = FOLDER / "aperio.lock"
UNSIGNED = ExceptionGranted("unsigned", "2099-01-01", "trying it out")
GOOD = f"""schema = 1

[[plugins]]
id = "acme/box-connector"
version = "1.2.3"
kind = "connector"
registry = "https://registry.example/"
signer = {{domain = "local", identity = "alice@local", issuer = "https://x"}}
artifacts = [
    {{platform = "linux/amd64", sha256 = "{"a" * 64}", size = 3}},
]
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return new_machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture
def machine(shared: Machine, tmp_path: Path) -> Machine:
    """A machine whose trust domain others share; its home is its own."""
    return shared.but(root=tmp_path)


def parse(text: str, path: Path = PATH) -> LockFile:
    return LockFile.parse(text.encode(), path)


def locked(**changes: object) -> Locked:
    builds = (Build(LINUX, Digest.of(b"artifact"), 8), Build(ARM, Digest.of(b"other")))
    origin = Origin("registry", "https://registry.example/")
    return replace(Locked.of(receipt(origin=origin, builds=builds, index_serial=7)), **changes)  # type: ignore[arg-type] # whatever a test wants


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


def test_lock_file_reads_back_as_it_was_written() -> None:
    other = Origin("file", "/elsewhere/other.tar.gz")
    entries = (
        locked(),
        locked(id=PluginId("acme", "other"), origin=other, signer=None, index_serial=None),
    )
    made = LockFile(entries)
    assert LockFile.parse(made.to_bytes(FOLDER), PATH) == made
    assert LockFile.parse(LockFile().to_bytes(FOLDER), PATH) == LockFile()


def test_lock_file_names_every_platform_and_nothing_of_this_machine() -> None:
    text = LockFile((locked(),)).to_bytes(FOLDER).decode()
    assert 'platform = "linux/amd64"' in text
    assert 'platform = "linux/arm64"' in text
    recorded = receipt()
    assert isinstance(recorded.evidence, Verified)
    for own in (recorded.evidence.signer.signed_at, recorded.installed_at, str(recorded.folder)):
        assert own not in text


def test_lock_file_is_the_same_whatever_platform_it_was_written_on() -> None:
    builds = (Build(LINUX, Digest.of(b"one"), 3), Build(ARM, Digest.of(b"two"), 3))
    here = receipt(builds=builds, artifact_digest=Digest.of(b"one"))
    there = receipt(
        builds=builds,
        artifact_digest=Digest.of(b"two"),
        platform=str(ARM),
        evidence=Verified(proof(signer=signer(signed_at="2026-05-05T00:00:00Z")), build_rule()),
    )
    assert Locked.of(here) == Locked.of(there)


def test_lock_file_names_a_file_relative_to_itself_where_it_is_below(tmp_path: Path) -> None:
    below = locked(origin=Origin("file", str(tmp_path / "dist" / "box.tar.gz")))
    text = LockFile((below,)).to_bytes(tmp_path).decode()
    assert 'file = "dist/box.tar.gz"' in text
    assert LockFile.parse(text.encode(), tmp_path / "x.lock").entries == (below,)
    moved = LockFile.parse(text.encode(), tmp_path / "moved" / "x.lock")
    assert moved.entries[0].origin.place == str(tmp_path / "moved" / "dist" / "box.tar.gz")


def test_lock_file_of_a_record_of_before_says_what_that_knew() -> None:
    found = Locked.of(receipt(source="https://x.example/box.tar.gz"))
    assert found.origin == Origin("url", "https://x.example/box.tar.gz")
    assert found.builds == (Build(LINUX, Digest.of(b"artifact")),)
    assert Locked.of(receipt()).origin == Origin("file", "/registry/box.tar.gz")


def test_signer_of_a_lock_file_is_the_publisher_and_not_the_certificate() -> None:
    entry = locked()
    assert entry.is_signed_by(signer(signed_at="2026-05-05T00:00:00Z"))
    assert not entry.is_signed_by(signer(identity="mallory@local"))
    assert not entry.is_signed_by(None)
    assert locked(signer=None).is_signed_by(None)
    built = Locked.of(receipt(evidence=Verified(proof(signer=build_signer()), build_rule())))
    again = LockFile.parse(LockFile((built,)).to_bytes(FOLDER), PATH).entries[0]
    assert again.is_signed_by(build_signer())


def test_signer_of_a_lock_file_is_known_by_any_root_that_proves_him() -> None:
    by_another_name = signer(domain="corporate", further_domains=("local",))
    assert locked().is_signed_by(by_another_name)


def test_what_is_locked_of_a_version_stays_and_platforms_may_come() -> None:
    before = locked(builds=(Build(LINUX, Digest.of(b"artifact"), 8),), index_serial=3)
    after = locked(origin=Origin("registry", "https://mirror.example/")).after(before)
    assert (after.index_serial, after.origin) == (3, before.origin)
    assert [build.platform for build in after.builds] == [LINUX, ARM]
    other = locked(version="2.0.0")
    assert other.after(before) == other
    resigned = locked(signer=signer(identity="bob@local"))
    assert resigned.after(before) == resigned


# ── what cannot be read ───────────────────────────────────────────────────────────────────────────

BAD: dict[str, tuple[Callable[[str], str], int, str]] = {
    "no TOML": (lambda text: text.replace("kind =", "kind"), 6, "not TOML"),
    "a key twice": (lambda text: text.replace("kind =", 'id = "x/yy"\nkind ='), 0, "not TOML"),
    "an entry twice": (lambda text: text + GOOD.partition("\n\n")[2], 13, "is there twice"),
    "another case": (lambda text: text.replace("acme/", "Acme/"), 4, "not a plugin id"),
    "no version": (lambda text: text.replace('"1.2.3"', '"1.2"'), 5, "not a version"),
    "a number": (lambda text: text.replace('"1.2.3"', "1.2"), 5, "expected text"),
    "a key lacking": (lambda text: text.replace("version", "versoin"), 3, "`version` is missing"),
    "a kind": (lambda text: text.replace('"connector"', '"other"'), 6, "unknown: other"),
    "two origins": (lambda text: text.replace("kind =", 'file = "x"\nkind ='), 6, "exactly one"),
    "no origin": (lambda text: text.replace("registry =", "origin ="), 3, "exactly one"),
    "no signer": (lambda text: text.replace("signer =", "singer ="), 3, "not both"),
    "unsigned too": (lambda text: text + "unsigned = true\n", 8, "not both"),
    "no identity": (lambda text: text.replace("identity =", "identy ="), 8, "is missing"),
    "a digest": (lambda text: text.replace("aaa", "AAA", 1), 9, "64 lower-case"),
    "a size": (lambda text: text.replace("size = 3", "size = -3"), 9, "whole number"),
    "a platform": (lambda text: text.replace("linux/amd64", "linux"), 9, "expected a platform"),
    "no artifacts": (lambda text: re.sub(r"\[\n.*\n\]", "[]", text), 9, "at least one"),
    "a platform twice": (
        lambda text: re.sub(r"(    \{.*\},\n)", r"\1\1", text), 9, "linux/amd64 is there twice",
    ),
    "schema": (lambda text: text.replace("schema = 1", "schema = 0"), 1, "expected 1"),
    "no schema": (lambda text: text.replace("schema = 1", ""), 0, "`schema` is missing"),
    "an older merge": (lambda text: text.replace("[[plugins]]", "=======", 1), 3, "line 3"),
    "a conflict": (
        lambda text: text.replace("kind =", '<<<<<<< HEAD\nkind = "x"\nkind ='), 6, "line 6",
    ),
    "too long": (lambda text: text + "#" * MAX_BYTES, 0, "too large"),
}  # fmt: skip


@for_each(BAD)
def test_lock_file_that_was_changed_is_refused_by_line_and_with_a_way_out(name: str) -> None:
    change, line, why = BAD[name]
    with pytest.raises(LockFileInvalid) as caught:
        parse(change(GOOD))
    assert caught.value.exit_status == 1
    assert str(PATH) in caught.value.what
    assert why in caught.value.why
    said = f"{caught.value.what}\n{caught.value.why}"
    assert not line or re.search(rf"\bline {line}\b", said), said
    assert caught.value.next


@each_row(
    "benign",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: f"\ufeff{text}",
        lambda text: text.replace("kind =", "# by hand: why this one\nof_later = {x = 1}\nkind ="),
        lambda text: text.replace("linux/amd64", "plan9/amd64"),
    ],
    ids=["line ends of Windows", "byte order mark", "a later key", "a later platform"],
)
def test_lock_file_that_says_it_otherwise_is_read(benign: Callable[[str], str]) -> None:
    assert [entry.version for entry in parse(benign(GOOD)).entries] == ["1.2.3"]


def test_lock_file_of_a_newer_aperio_is_left_as_it_is() -> None:
    with pytest.raises(RecordNewer) as caught:
        parse(GOOD.replace("schema = 1", "schema = 2"))
    assert str(PATH) in caught.value.what


# ── which one is in force ─────────────────────────────────────────────────────────────────────────


def test_lock_file_in_force_is_the_stated_the_folder_s_or_the_home_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, folder = tmp_path / "home", tmp_path / "project"
    folder.mkdir()
    home.mkdir()
    own = LockPlace(home / "aperio.lock", is_home=True)
    monkeypatch.chdir(folder)
    assert find_place(home) == own
    (folder / "aperio.lock").write_text(GOOD)
    assert find_place(home) == LockPlace(folder / "aperio.lock", is_home=False, is_found=True)
    assert find_place(home, "x.lock") == LockPlace(folder / "x.lock", is_home=False)
    monkeypatch.chdir(home)
    (home / "aperio.lock").write_text(GOOD)
    assert find_place(home) == own
    assert find_place(home, str(home / "aperio.lock")) == own


def test_lock_file_in_force_is_the_home_s_where_the_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert find_place(tmp_path).is_home


def test_lock_file_that_others_may_change_does_not_count_unless_it_is_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "aperio.lock"
    path.write_text(GOOD)
    path.chmod(0o666)
    with pytest.raises(PathShared):
        LockPlace(path, is_home=False, is_found=True).read()
    assert LockPlace(path, is_home=False).read() is not None


def test_lock_file_behind_a_link_counts_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(GOOD)
    link = tmp_path / "aperio.lock"
    link.symlink_to("real")
    with pytest.raises(FileNotRegular):
        LockPlace(link, is_home=False, is_found=True).read()
    place = LockPlace(link, is_home=False)
    assert place.read() == parse(GOOD)
    place.write(LockFile())
    assert link.is_symlink()
    assert place.read() == LockFile()


def test_lock_file_is_not_written_where_it_could_not_be_read(tmp_path: Path) -> None:
    place = LockPlace(tmp_path / "aperio.lock", is_home=False)
    for odd in ("/a\nb.tar.gz", "/a\udcff.tar.gz"):
        with pytest.raises(LockFileInvalid):
            place.write(LockFile((locked(origin=Origin("file", odd)),)))
    assert not place.exists()
    with pytest.raises(NotFound), replace(place, path=tmp_path / "no" / "x").changing(BOX):
        pass


def test_lock_file_is_changed_by_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_place, "_TIMEOUT_S", 0.0)
    place = LockPlace(tmp_path / "aperio.lock", is_home=False)
    with place.changing(BOX), pytest.raises(LockHeld), place.changing(BOX):
        pass
    with place.changing(BOX):
        assert not list(tmp_path.glob("*lock*"))


# ── the store keeps it ────────────────────────────────────────────────────────────────────────────


def versions(store: Store) -> dict[str, str]:
    lock = store.lock_file.read()
    return {str(entry.id): entry.version for entry in lock.entries} if lock else {}


def test_store_keeps_the_lock_file_of_its_home_at_what_is_used(machine: Machine) -> None:
    machine.install(machine.signed())
    assert versions(machine.store) == {str(BOX): "1.2.3"}
    machine.install(machine.signed(version="1.3.0"))
    machine.install(machine.signed(id="acme/other"))
    assert versions(machine.store) == {str(BOX): "1.3.0", "acme/other": "1.2.3"}
    remove(machine.store, PluginRef(BOX, "1.3.0"))
    assert versions(machine.store) == {str(BOX): "1.2.3", "acme/other": "1.2.3"}
    remove(machine.store, PluginRef(BOX))
    assert versions(machine.store) == {"acme/other": "1.2.3"}


def test_store_without_a_lock_file_gets_one_of_all_that_is_used(machine: Machine) -> None:
    machine.install(machine.signed())
    machine.paths.lock_file.unlink()
    machine.install(machine.signed(id="acme/other"))
    assert versions(machine.store) == {str(BOX): "1.2.3", "acme/other": "1.2.3"}


def test_store_records_that_nobody_signed(machine: Machine) -> None:
    machine.install(write_artifact(machine.root / "dist"), exception=UNSIGNED)
    assert "unsigned = true" in machine.paths.lock_file.read_text()
    assert machine.store.locked(BOX) == Locked.of(machine.store.get(PluginRef(BOX)))


def test_store_with_a_lock_file_that_cannot_be_read_is_left_as_it_is(machine: Machine) -> None:
    machine.install(machine.signed())
    machine.paths.lock_file.write_text("<<<<<<< ours\n")
    before = machine.store.get(PluginRef(BOX))
    with pytest.raises(LockFileInvalid):
        machine.install(machine.signed(version="1.3.0"))
    with pytest.raises(LockFileInvalid):
        remove(machine.store, PluginRef(BOX))
    assert machine.store.get(PluginRef(BOX)) == before
    assert machine.store.folders(BOX) == ["1.2.3"]


@pytest.mark.parametrize("is_done", [True, False], ids=["forward", "back"])
def test_store_finishes_or_undoes_a_change_that_was_broken_off(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, *, is_done: bool
) -> None:
    machine.install(machine.signed())
    path = machine.signed(version="1.3.0")
    settle = Store._settle

    def broken(store: Store) -> None:
        if os.path.lexists(machine.paths.home / "aperio.lock-next"):
            raise KeyboardInterrupt
        settle(store)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_settle", broken)
        if not is_done:
            patched.delattr(Current, "to_bytes")
        with pytest.raises(KeyboardInterrupt):
            machine.install(path)
    assert (machine.paths.home / "aperio.lock-next").exists()
    with machine.store.lock("x"):
        pass
    wanted = machine.store.current_version(BOX)
    assert wanted == ("1.3.0" if is_done else "1.2.3")
    assert versions(machine.store) == {str(BOX): wanted}
    assert not (machine.paths.home / "aperio.lock-next").exists()


# ── a folder with one of its own ──────────────────────────────────────────────────────────────────


def in_folder(machine: Machine, folder: Path) -> Store:
    folder.mkdir(exist_ok=True)
    return Store(machine.paths, lock_file=LockPlace(folder / "aperio.lock", is_home=False))


def put(machine: Machine, store: Store, path: Path) -> Receipt:
    with machine.verify(path) as admitted:
        return install(admitted, store, InstallRequest()).receipt


def test_folder_s_lock_file_says_what_is_used_there_and_nowhere_else(
    machine: Machine, tmp_path: Path
) -> None:
    machine.install(machine.signed())
    before = machine.paths.lock_file.read_bytes()
    store = in_folder(machine, tmp_path / "project")
    put(machine, store, machine.signed(version="1.3.0"))
    assert store.get(PluginRef(BOX)).version == "1.3.0"
    assert machine.store.get(PluginRef(BOX)).version == "1.2.3"
    assert machine.paths.lock_file.read_bytes() == before
    assert store.get(PluginRef(BOX, "1.2.3")).version == "1.2.3"  # a version that is named


def test_folder_s_lock_file_hides_what_it_does_not_name(machine: Machine, tmp_path: Path) -> None:
    machine.install(machine.signed())
    store = in_folder(machine, tmp_path / "project")
    with pytest.raises(NotInstalled) as caught:
        store.get(PluginRef(BOX))
    assert str(store.lock_file.path) in caught.value.why
    assert "installed: 1.2.3" in caught.value.why
    store.lock_file.write(LockFile((locked(version="9.9.9"),)))
    with pytest.raises(NotInstalled) as caught:
        store.get(PluginRef(BOX))
    assert "names 9.9.9" in caught.value.why
    assert caught.value.next[0] == "`aperio plugin install`"


def test_remove_takes_a_version_out_of_the_folder_s_lock_file(
    machine: Machine, tmp_path: Path
) -> None:
    store = in_folder(machine, tmp_path / "project")
    put(machine, store, machine.signed())
    put(machine, store, machine.signed(id="acme/other"))
    remove(store, PluginRef(BOX))
    assert versions(store) == {"acme/other": "1.2.3"}
    assert machine.store.folders(BOX) == []
