"""The store: installed versions and their receipts.

    plugins/<namespace>/<name>/current.json            {"schema": 1, "version": "1.2.0"}
    plugins/<namespace>/<name>/<version>/receipt.json
                                         artifact.sigstore.json, files.sha256, files/

A version folder appears complete, by one rename; renaming current.json into place makes it the
version that is used. Whoever changes the store holds its lock for that moment only. Whoever runs a
version holds a shared flock on its receipt, so nothing about it is written for that.
"""

from __future__ import annotations

import contextlib
import difflib
import enum
import functools
import json
import os
import secrets
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import aperio_cli
from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import RecordNewer
from aperio_cli.errors.installing import NotInstalled, PluginInUse, ReceiptInvalid
from aperio_cli.files import locking, owning, reading, removing, tree, writing
from aperio_cli.files.naming import step_for_path
from aperio_cli.models.newer import refuse_newer
from aperio_cli.models.plugin_id import PluginId, PluginRef, check_version, version_key
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.models.receipt import (
    FILE_NAME,
    MAX_BYTES,
    TREE_FILE_NAME,
    Precedent,
    Receipt,
    damaged,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from aperio_cli.paths import Paths

with contextlib.suppress(ImportError):  # Windows lacks it: there plugins are looked at only
    import fcntl

CURRENT_FILE_NAME = "current.json"
CHECKS_SCHEMA = 1
MAX_TREE_BYTES = 16 * 1024 * 1024
_CURRENT_BOUNDS = Bounds(4096)
_CHECKS_BOUNDS = Bounds(256 * 1024)
_SCHEMA = 1
_Record = TypeVar("_Record", Precedent, Receipt)
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Inventory:
    """The contents of the store.

    Attributes:
        receipts: of every version that can be read, by id, then by version, lowest first.
        problems: one for each version whose receipt cannot be read.
    """

    receipts: tuple[Receipt, ...]
    problems: tuple[AperioError, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """The part of the store that a version of a plugin meets when it comes.

    Attributes:
        place: where that version stands, or is going to.
        current: the version that is used when none is named; None when there is no such.
        same: what that version's record holds later ones to; None when it is not installed.
        receipt: its whole record; None when it is damaged, or not there.
        is_left_over: whether its folder is there without a record, as a removal leaves it that was
            interrupted: that is not installed.
        predecessor: what the record holds later ones to of the installed version that counts: the
            current one, else the highest; None when there is none.
    """

    place: Path
    current: str | None
    same: Precedent | None
    receipt: Receipt | None
    predecessor: Precedent | None
    is_left_over: bool = False

    def damaged(self) -> Standing:
        """Return the same, with the version known to be damaged on disk."""
        return replace(self, receipt=None)


class Store:
    """The installed versions below one home; a home that does not exist holds none.

    Args:
        paths: gives the home.
        warn: is told what could not be removed; nothing depends on it, and the next change of the
            store tries again.

    Raises:
        PathShared: somebody else may change what is in it. What reads a record raises it, too.
    """

    def __init__(self, paths: Paths, warn: Callable[[str], object] = str) -> None:
        owning.require_own(paths.plugins)
        self._paths = paths
        self._warn = warn

    # ── what is there ─────────────────────────────────────────────────────────────────────────────

    def inventory(self) -> Inventory:
        """Return every version in the store; damaged ones are told apart, they stop nothing.

        Raises:
            OSError: a folder of the store may not be read.
        """
        receipts = []
        problems: list[AperioError] = []
        for plugin, version in self.installed():
            try:
                if receipt := self.find(PluginRef(plugin, version)):  # else it has just gone
                    receipts.append(receipt)
            except AperioError as problem:
                problems.append(problem)
        return Inventory(tuple(receipts), tuple(problems))

    def installed(self) -> Iterator[tuple[PluginId, str]]:
        """Give every version in the store, by id, lowest first; its record may be damaged.

        Then those of the system's store that are not in this one.
        """
        for plugin in self._plugins():
            for version in self.versions(plugin):
                yield plugin, version
        for plugin, version in self._system.installed() if self._system else ():
            if not self._is_recorded(plugin, version):
                yield plugin, version

    def has(self, plugin: PluginId) -> bool:
        """Return whether there is anything of a plugin, here or in the system's store."""
        return bool(self.folders(plugin) or (self._system and self._system.has(plugin)))

    @functools.cached_property
    def _system(self) -> Store | None:
        """The store that root keeps for all users: what is not here is run from there."""
        paths = self._paths.system
        return Store(paths, self._warn) if paths else None

    def receipts(self) -> tuple[Receipt, ...]:
        """Return the receipts of the inventory."""
        return self.inventory().receipts

    def versions(self, plugin: PluginId) -> list[str]:
        """Return the installed versions of a plugin, lowest first; receipts may be damaged."""
        folder = self._paths.plugin(plugin)
        return [v for v in self.folders(plugin) if os.path.lexists(folder / v / FILE_NAME)]

    def folders(self, plugin: PluginId) -> list[str]:
        """Return `versions`, and those whose removal was interrupted: they have no receipt."""
        return sorted(filter(_is_version, _folders(self._paths.plugin(plugin))), key=version_key)

    def folder(self, plugin: PluginId, version: str) -> Path:
        """Return the place of a version, whether it is there or not."""
        return self._paths.plugin(plugin) / check_version(version)

    def current_version(self, plugin: PluginId) -> str | None:
        """Return the version that is used when none is named; None when there is no such.

        A file that cannot be read counts as none: what to use is then not known.

        Raises:
            RecordNewer: a newer aperio made it.
        """
        owning.require_own(self._current_file(plugin))
        try:
            data = reading.read_capped(self._current_file(plugin), _CURRENT_BOUNDS.size_bytes)
            document = read_json(data, _CURRENT_BOUNDS)
        except (OSError, AperioError, Unreadable):
            return None
        if not isinstance(document, dict):
            return None
        refuse_newer(self._current_file(plugin), document.get("schema"), _SCHEMA)
        version = document.get("version")
        return version if isinstance(version, str) and _is_version(version) else None

    def find(self, ref: PluginRef) -> Receipt | None:
        """Return the receipt of the version named, or of the current one; None when there is none.

        What is not here may be in the system's store.

        Raises:
            ReceiptInvalid: it is there and cannot be read.
            ReceiptNewer: a newer aperio made it.
        """
        version = ref.version or self.current_version(ref.id)
        if version is None or not self._is_recorded(ref.id, version):
            return self._system.find(ref) if self._system else None
        return self._read(ref.id, version)

    def standing(self, plugin: PluginId, version: str) -> Standing:
        """Return what is there of a plugin before a version of it comes, each record read once.

        Of a damaged record it asks for no more than what later ones are held to.

        Raises:
            ReceiptInvalid: not even that can be read, of this version or of the one that counts.
            ReceiptNewer: a newer aperio made one of them.
        """
        same, receipt = self._recorded(plugin, version)
        current = self.current_version(plugin)
        counting = current or next(reversed(self.versions(plugin)), None)
        predecessor = same
        if counting != version:
            predecessor = self._precedent(plugin, counting) if counting else None
        place = self.folder(plugin, version)
        is_left_over = same is None and os.path.lexists(place)
        return Standing(place, current, same, receipt, predecessor, is_left_over)

    def find_precedent(self, plugin: PluginId) -> Precedent | None:
        """Return what the record says of the version that counts; None when none can be read.

        Raises:
            RecordNewer: a newer aperio made it, or says which one it is.
        """
        version = self.current_version(plugin) or next(reversed(self.versions(plugin)), None)
        return self.find_recorded(plugin, version) if version else None

    def find_recorded(self, plugin: PluginId, version: str) -> Precedent | None:
        """Return what the record of a version says; None when there is none, or it is damaged.

        Raises:
            ReceiptNewer: a newer aperio made it.
        """
        try:
            return self._precedent(plugin, version)
        except ReceiptInvalid:
            return None

    def get(self, ref: PluginRef) -> Receipt:
        """Return the receipt of the version named, or of the current one.

        Raises:
            NotInstalled: it is not in the store.
            ReceiptInvalid: it is there and cannot be read.
            ReceiptNewer: a newer aperio made it.
        """
        receipt = self.find(ref)
        if receipt is None:
            raise self.not_installed(ref)
        return receipt

    def not_installed(self, ref: PluginRef) -> NotInstalled:
        """Return the error for a version that is not in the store; it names what comes close."""
        versions = self.versions(ref.id)
        steps = [f"`aperio plugin install {ref}`"]
        if not versions and self._system and self._system.has(ref.id):
            return NotInstalled(
                f"`{ref}` is not installed in your own store",
                why=f"the system's has: {', '.join(self._system.versions(ref.id))}",
                next=[
                    "name one of these versions, to run it",
                    f"root changes that store: `aperio --home {aperio_cli.SYSTEM_HOME} plugin …`",
                ],
            )
        why = f"installed versions of it: {', '.join(versions)}" if versions else ""
        if ref.version in self.folders(ref.id) or (self.folders(ref.id) and not versions):
            left = ref.version or ", ".join(self.folders(ref.id))
            why = f"what is left of {left} has no record, so nothing of it is run"
        elif versions and ref.version is None:
            why += "; none of them is the current one"
            steps = [f"`aperio plugin install {ref.id}@{versions[-1]}`"]
        elif not versions:
            known = [str(plugin) for plugin in self._plugins() if self.versions(plugin)]
            close = difflib.get_close_matches(str(ref.id), known, n=3)
            why = f"installed: {', '.join(close)}" if close else ""
            steps = [
                *(f"did you mean `{name}`?" for name in close[:1]),
                *steps,
                *step_for_path(ref),
            ]
        return NotInstalled(f"`{ref}` is not installed", why=why, next=steps)

    def tree_list(self, receipt: Receipt) -> bytes:
        """Return the contents of a version's files.sha256, checked against the receipt.

        Raises:
            ReceiptInvalid: it is missing, or its digest is not the receipt's.
        """
        path = receipt.folder / TREE_FILE_NAME
        try:
            text = reading.read_capped(path, MAX_TREE_BYTES)
        except (OSError, AperioError) as error:
            raise damaged(path, str(error)) from error
        if (found := tree.tree_digest(text)) != receipt.tree_digest:
            raise damaged(path, f"expected {receipt.tree_digest}\nfound    {found}")
        return text

    def check(self, receipt: Receipt, digests: Mapping[str, str] | None = None) -> None:
        """Check that the files of an installed version are those of its installation.

        Args:
            receipt: which version.
            digests: of files that the caller has just read, as `files.compare_tree` takes them.

        Raises:
            FilesChanged: names the files that differ.
            ReceiptInvalid: the list of files is damaged.
            OSError: a file may not be read.
        """
        subject = f"`{receipt.id}` {receipt.version}"
        tree.compare_tree(receipt.files, self.tree_list(receipt), subject=subject, digests=digests)

    def record_check(self, receipt: Receipt, *, passed: bool) -> None:
        """Note the outcome of the check before a launch, for `plugin list`; decide nothing.

        A home that cannot be written loses the note, not the launch; so do notes of a newer aperio.
        """
        known = self._checks(receipt.id)
        if known is not None:
            known[receipt.version] = LaunchCheck(clock.timestamp(), ok=passed)
            self._note_checks(receipt.id, known)

    def last_check(self, receipt: Receipt) -> LaunchCheck | None:
        """Return the outcome of the check before the last launch of a version; None for none."""
        return (self._checks(receipt.id) or {}).get(receipt.version)

    def _checks(self, plugin: PluginId) -> dict[str, LaunchCheck] | None:
        """Return the noted checks of a plugin; None, and say so, when a newer aperio noted them."""
        try:
            return read_checks(self._paths.checks(plugin))
        except RecordNewer as newer:
            self._warn(newer.what)
            return None

    def _note_checks(self, plugin: PluginId, known: Mapping[str, LaunchCheck]) -> None:
        path = self._paths.checks(plugin)
        checks = {version: check.to_json() for version, check in known.items()}
        document = {"schema": CHECKS_SCHEMA, "checks": checks}
        with contextlib.suppress(OSError, AperioError):
            path.parent.mkdir(parents=True, exist_ok=True)
            writing.write_atomic(path, json.dumps(document, sort_keys=True).encode() + b"\n")

    # ── who is using it ───────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def hold(self, receipt: Receipt) -> Iterator[None]:
        """Keep a version from being removed while the block runs; many may hold it at once.

        The kernel lets go when the process ends, however it ends.

        Raises:
            NotInstalled: it was removed meanwhile.
            PluginInUse: it is just being removed.
        """
        with _receipt_locked(receipt.folder, fcntl.LOCK_SH) as state:
            if state is _Hold.MISSING:
                raise self.not_installed(PluginRef(receipt.id, receipt.version))
            if state is _Hold.BUSY:
                raise PluginInUse(
                    f"`{receipt.id}` {receipt.version} was not started: it is being removed"
                )
            yield

    def in_use(self, plugin: PluginId, version: str) -> bool:
        """Return whether somebody holds the version at this moment."""
        with _receipt_locked(self.folder(plugin, version), fcntl.LOCK_EX) as state:
            return state is _Hold.BUSY

    @contextlib.contextmanager
    def exclusively(self, plugin: PluginId, version: str) -> Iterator[None]:
        """Keep a version from being held while the block runs; call it under the lock.

        A version without a receipt cannot be run, so there is nothing to keep off.

        Raises:
            PluginInUse: somebody holds it.
        """
        with _receipt_locked(self.folder(plugin, version), fcntl.LOCK_EX) as state:
            if state is _Hold.BUSY:
                raise PluginInUse(
                    f"`{plugin}` {version} is running, and was left as it is",
                    next=["stop it, then run the same command again"],
                )
            yield

    # ── changing it ───────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def lock(self, what: str, *, timeout_s: float = 10.0) -> Iterator[None]:
        """Keep others from changing the store; make the home and the store when missing.

        What processes that died left behind half-written is removed first.

        Args:
            what: what cannot happen meanwhile: "`acme/box` was not installed".
            timeout_s: how long to wait for another process.

        Raises:
            LockHeld: another process keeps the store locked.
            FolderNotPrivate: the home is a link or somebody else's.
            DiskFull: there is no space.
        """
        writing.ensure_own(self._paths.home)
        writing.ensure_own(self._paths.plugins, mode=self._folder_mode())
        with locking.FileLock(self._paths.store_lock, what=what, timeout_s=timeout_s):
            self._sweep()
            yield

    @contextlib.contextmanager
    def aside(self, what: str) -> Iterator[Path]:
        """Give a new folder in the store's file system for one version; gone after the block.

        The folder is flocked while it is worked on, so that the next process can tell it from
        one that a crash left.

        Args:
            what: as for `lock`.

        Raises:
            LockHeld: another process keeps the store locked.
            FolderNotPrivate: the home is a link or somebody else's.
            DiskFull: there is no space.
        """
        with contextlib.ExitStack() as cleanup:
            with self.lock(what):
                folder = self._paths.plugins / f"{writing.ASIDE_PREFIX}{secrets.token_hex(8)}"
                try:
                    folder.mkdir(mode=0o700)
                    descriptor = os.open(folder, _FOLDER_FLAGS)
                    cleanup.callback(os.close, descriptor)
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    # Called first: while the flock is held, nobody else sweeps this folder away.
                    cleanup.callback(self._discard, folder)
                except BaseException:  # interrupted, say
                    self._discard(folder)
                    raise
            yield folder

    def commit(self, prepared: Path, plugin: PluginId, version: str) -> None:
        """Give a prepared version its place and make it current; call it under the lock.

        A version folder that is there already is put aside, beside the prepared one. Whatever
        fails, the store is as it was before, or as it should be afterwards.

        Args:
            prepared: a complete version folder inside of what `aside` gave.
            plugin: the plugin.
            version: the version.

        Raises:
            PluginInUse: somebody runs the version that is there.
            DiskFull: there is no space.
            OSError: the store cannot be written.
        """
        place = self.folder(plugin, version)
        discarded = prepared.with_name("discarded")
        with self.exclusively(plugin, version):
            try:
                for parent in (place.parent.parent, place.parent):
                    writing.ensure_own(parent, mode=self._folder_mode())
                prepared.chmod(self._folder_mode())
                if os.path.lexists(place):
                    place.rename(discarded)
                prepared.rename(place)
                self.make_current(plugin, version)
            except BaseException:
                self._take_back(prepared, place)
                raise
            self._forget_check(plugin, version)

    def make_current(self, plugin: PluginId, version: str) -> None:
        """Make an installed version the one that is used; call it under the lock.

        Raises:
            DiskFull: there is no space; what was current stays so.
            OSError: the store cannot be written.
        """
        if self.current_version(plugin) != version:
            self._set_current(plugin, version)

    def _take_back(self, prepared: Path, place: Path) -> None:
        """Undo as much of a commit as was done, unless all of it was."""
        plugin = PluginId(place.parent.parent.name, place.parent.name)
        if not os.path.lexists(prepared) and os.path.lexists(place):
            if self.current_version(plugin) == place.name:
                return
            place.rename(prepared)
        discarded = prepared.with_name("discarded")
        if os.path.lexists(discarded):
            discarded.rename(place)
        self.drop_empty(plugin)

    def _set_current(self, plugin: PluginId, version: str) -> None:
        document = {"schema": _SCHEMA, "version": version}
        data = json.dumps(document, sort_keys=True).encode() + b"\n"
        # The rename in here is the moment from which the version counts as installed; the
        # version's own rename reaches the disk with it, being in the same folder.
        writing.write_atomic(self._current_file(plugin), data)

    def rewrite(self, receipt: Receipt) -> None:
        """Put another record in the place of a version's; call it under the lock and `exclusively`.

        Raises:
            DiskFull: there is no space; the record is as it was.
            OSError: the store cannot be written.
        """
        writing.write_atomic(receipt.folder / FILE_NAME, receipt.to_bytes())

    def drop_version(self, plugin: PluginId, version: str) -> None:
        """Remove a version, its receipt first; call it under the lock and `exclusively`.

        What of it cannot be removed stays aside: without its receipt it is not installed.

        Raises:
            OSError: the store cannot be written.
        """
        folder = self.folder(plugin, version)
        (folder / FILE_NAME).unlink(missing_ok=True)
        # The name goes at once; a crash while the files go leaves an aside folder to sweep.
        discarded = self._paths.plugins / f"{writing.ASIDE_PREFIX}{secrets.token_hex(8)}"
        folder.rename(discarded)
        self._discard(discarded)
        self._forget_check(plugin, version)

    def _forget_check(self, plugin: PluginId, version: str) -> None:
        """Drop the note of a check of files that are not there any more; decide nothing."""
        known = self._checks(plugin)
        if known and version in known:
            del known[version]
            self._note_checks(plugin, known)

    def drop_current(self, plugin: PluginId) -> None:
        """Make no version of the plugin current; call it under the lock."""
        self._current_file(plugin).unlink(missing_ok=True)

    def drop_empty(self, plugin: PluginId) -> None:
        """Remove the folders of a plugin without versions; call it under the lock."""
        if not self.folders(plugin) and self._checks(plugin) is not None:
            self._paths.checks(plugin).unlink(missing_ok=True)
        folder = self._paths.plugin(plugin)
        for empty in (folder, folder.parent):
            with contextlib.suppress(OSError):  # it is not empty, or not there
                empty.rmdir()

    def _folder_mode(self) -> int:
        """Return the mode of new folders: who may look into the home may run what is in it."""
        return 0o700 | stat.S_IMODE(self._paths.home.stat().st_mode) & 0o755

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _current_file(self, plugin: PluginId) -> Path:
        return self._paths.plugin(plugin) / CURRENT_FILE_NAME

    def _plugins(self) -> Iterator[PluginId]:
        for namespace in _folders(self._paths.plugins):
            for name in _folders(self._paths.plugins / namespace):
                with contextlib.suppress(AperioError):  # not a name that install can have made
                    yield PluginId.parse(f"{namespace}/{name}")

    def _read(self, plugin: PluginId, version: str) -> Receipt:
        receipt = Receipt.parse(self._record(plugin, version), self.folder(plugin, version))
        return self._own(receipt, plugin, version)

    def _recorded(self, plugin: PluginId, version: str) -> tuple[Precedent | None, Receipt | None]:
        """Return what the record of a version says, and the whole of it unless it is damaged."""
        if not self._is_recorded(plugin, version):
            return None, None
        data, folder = self._record(plugin, version), self.folder(plugin, version)
        try:
            receipt = self._own(Receipt.parse(data, folder), plugin, version)
        except ReceiptInvalid:
            return self._own(Precedent.parse(data, folder), plugin, version), None
        return receipt.precedent, receipt

    def _precedent(self, plugin: PluginId, version: str) -> Precedent | None:
        if not self._is_recorded(plugin, version):
            return None
        found = Precedent.parse(self._record(plugin, version), self.folder(plugin, version))
        return self._own(found, plugin, version)

    def _is_recorded(self, plugin: PluginId, version: str) -> bool:
        return os.path.lexists(self.folder(plugin, version) / FILE_NAME)

    def _record(self, plugin: PluginId, version: str) -> bytes:
        path = self.folder(plugin, version) / FILE_NAME
        owning.require_own(path)
        try:
            return reading.read_capped(path, MAX_BYTES)
        except (OSError, AperioError) as error:
            raise damaged(path, str(error)) from error

    def _own(self, record: _Record, plugin: PluginId, version: str) -> _Record:
        """Return a record that speaks for the version in whose folder it stands.

        Raises:
            ReceiptInvalid: it speaks for another one.
        """
        if (record.id, record.version) != (plugin, version):
            path = self.folder(plugin, version) / FILE_NAME
            raise damaged(path, f"it speaks for `{record.id}` {record.version}")
        return record

    def _sweep(self) -> None:
        """Remove aside folders whose owners are gone; call it under the lock."""
        for path in sorted(self._paths.plugins.iterdir()):
            if path.name.startswith(writing.ASIDE_PREFIX) and not _is_owned(path):
                self._discard(path)

    def _discard(self, folder: Path) -> None:
        """Remove what nobody uses; a file that cannot be removed keeps nobody from his work."""
        try:
            removing.remove_tree(folder)
        except OSError as error:
            why = error.strerror or str(error)
            self._warn(f"`{folder}` was not removed whole: {error.filename}: {why}")


@dataclass(frozen=True, slots=True)
class LaunchCheck:
    """The outcome of the check before the last launch of a version.

    Attributes:
        at: when that was, RFC 3339 in UTC.
        ok: whether it was passed.
    """

    at: str
    ok: bool

    def to_json(self) -> dict[str, object]:
        """Return the check as its file and reports carry it."""
        return {"at": self.at, "ok": self.ok}


def read_checks(path: Path) -> dict[str, LaunchCheck]:
    """Return the noted checks of a plugin by version, without those that cannot be read.

    Raises:
        RecordNewer: a newer aperio noted them.
    """
    try:
        document = read_json(reading.read_capped(path, _CHECKS_BOUNDS.size_bytes), _CHECKS_BOUNDS)
    except (OSError, AperioError, Unreadable):
        return {}
    noted = document if isinstance(document, dict) else {}
    refuse_newer(path, noted.get("schema"), CHECKS_SCHEMA)
    # 0.1.0 noted the checks themselves, by version.
    found = noted.get("checks") if "schema" in noted else noted
    return {
        version: LaunchCheck(check["at"], check["ok"])
        for version, check in (found.items() if isinstance(found, dict) else ())
        if isinstance(check, dict)
        and isinstance(check.get("at"), str)
        and isinstance(check.get("ok"), bool)
    }


def _is_version(text: str) -> bool:
    try:
        check_version(text)
    except AperioError:
        return False
    return True


def _is_owned(folder: Path) -> bool:
    """Return whether a living process holds its flock on an aside folder."""
    try:
        descriptor = os.open(folder, _FOLDER_FLAGS)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones and links."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


class _Hold(enum.Enum):
    """The outcome of an attempt to lock a receipt."""

    HELD = enum.auto()
    BUSY = enum.auto()
    MISSING = enum.auto()


@contextlib.contextmanager
def _receipt_locked(folder: Path, operation: int) -> Iterator[_Hold]:
    """Lock the receipt of a version folder for the block, without waiting."""
    try:
        file = reading.open_regular(folder / FILE_NAME)
    except (OSError, AperioError):
        yield _Hold.MISSING
        return
    with file:
        try:
            fcntl.flock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _Hold.BUSY
            return
        yield _Hold.HELD if _is_still(folder / FILE_NAME, file.fileno()) else _Hold.MISSING


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether the path still names the open file: it may have been removed meanwhile."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
