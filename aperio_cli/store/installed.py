"""The store: installed versions and their receipts.

    aperio.lock                                        which version of each plugin is used
    plugins/<namespace>/<name>/current.json            {"schema": 1, "version": "1.2.0"}
    plugins/<namespace>/<name>/<version>/receipt.json
                                         artifact.sigstore.json, files.sha256, files/

A version folder appears complete, by one rename; renaming current.json into place makes it the
version that is used. Whoever changes the store holds its lock for that moment only. Whoever runs a
version holds a shared flock on its receipt, so nothing about it is written for that.

The lock file says the same as all current.json together, and more. Its next contents are written
aside first; once current.json has its name they get theirs, by the next change of the store at the
latest. Where a folder has a lock file of its own, its rename is what counts, and no current.json is
written.
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
from aperio_cli.errors.files import DiskFull, RecordNewer
from aperio_cli.errors.installing import NotInstalled, PluginInUse, ReceiptInvalid
from aperio_cli.files import locking, owning, reading, removing, tree, writing
from aperio_cli.files.naming import step_for_path
from aperio_cli.models.lock_file import Locked, LockFile
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
from aperio_cli.store.current import FILE_NAME as CURRENT_FILE_NAME
from aperio_cli.store.current import Current, is_version, read_current
from aperio_cli.store.lock_place import LockPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from aperio_cli.paths import Paths

with contextlib.suppress(ImportError):  # Windows lacks it: there plugins are looked at only
    import fcntl

CHECKS_SCHEMA = 1
MAX_TREE_BYTES = 16 * 1024 * 1024
_CHECKS_BOUNDS = Bounds(256 * 1024)
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
        lock_file: the one in force; None for the home's own. Another one says which versions are
            used, and `current.json` does not count.
        is_frozen: whether the lock file has to stay as it is; whoever installs asks.

    Raises:
        PathShared: somebody else may change what is in it. What reads a record raises it, too.
    """

    def __init__(
        self,
        paths: Paths,
        warn: Callable[[str], object] = str,
        lock_file: LockPlace | None = None,
        *,
        is_frozen: bool = False,
    ) -> None:
        owning.require_own(paths.plugins)
        self._paths = paths
        self._warn = warn
        self._own_lock_file = LockPlace(paths.lock_file, is_home=True)
        self._pins = lock_file if lock_file and not lock_file.is_home else None
        self.is_frozen = is_frozen

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
        return sorted(filter(is_version, _folders(self._paths.plugin(plugin))), key=version_key)

    def folder(self, plugin: PluginId, version: str) -> Path:
        """Return the place of a version, whether it is there or not."""
        return self._paths.plugin(plugin) / check_version(version)

    def current_version(self, plugin: PluginId) -> str | None:
        """Return the version that is used in this home when none is named; None for no such.

        A file that cannot be read counts as none: what to use is then not known.

        Raises:
            RecordNewer: a newer aperio made it.
        """
        current = read_current(self._current_file(plugin))
        return current.version if current else None

    def used_version(self, plugin: PluginId) -> str | None:
        """Return the version that is used here: the current one, or what a folder's lock file says.

        Raises:
            RecordNewer: a newer aperio made the file that says it.
            LockFileInvalid, FileNotRegular, PathShared: the lock file cannot be read, or not count.
        """
        if self._pins is None:
            return self.current_version(plugin)
        pinned = self.locked(plugin)
        return pinned.version if pinned else None

    def previous_version(self, plugin: PluginId) -> str | None:
        """Return the installed version that was used before the current one; None for no such."""
        current = read_current(self._current_file(plugin))
        if current is None:
            return None
        versions = self.versions(plugin)
        if current.before is None:  # it was not noted then; the one below is the likeliest
            key = version_key(current.version)
            return next((v for v in reversed(versions) if version_key(v) < key), None)
        return next((v for v in reversed(current.before) if v in versions), None)

    @property
    def lock_file(self) -> LockPlace:
        """The lock file in force."""
        return self._pins or self._own_lock_file

    def locked(self, plugin: PluginId) -> Locked | None:
        """Return what the lock file in force says of a plugin; None when that is nothing.

        Raises:
            RecordNewer, LockFileInvalid, FileNotRegular, PathShared: as `LockPlace.read`.
        """
        found = self.lock_file.read()
        return found.find(plugin) if found else None

    def find(self, ref: PluginRef) -> Receipt | None:
        """Return the receipt of the version named, or of the one used; None when there is none.

        What is not here may be in the system's store.

        Raises:
            ReceiptInvalid: it is there and cannot be read.
            ReceiptNewer: a newer aperio made it.
        """
        version = ref.version or self.used_version(ref.id)
        if version and self._is_recorded(ref.id, version):
            return self._read(ref.id, version)
        if self._system is None or (self._pins and version is None):
            return None
        return self._system.find(PluginRef(ref.id, version) if self._pins else ref)

    def standing(self, plugin: PluginId, version: str) -> Standing:
        """Return what is there of a plugin before a version of it comes, each record read once.

        Of a damaged record it asks for no more than what later ones are held to.

        Raises:
            ReceiptInvalid: not even that can be read, of this version or of the one that counts.
            ReceiptNewer: a newer aperio made one of them.
        """
        same, receipt = self._recorded(plugin, version)
        current = self.used_version(plugin)
        counting = self._counting(plugin, current)
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
        version = self._counting(plugin, self.used_version(plugin))
        return self.find_recorded(plugin, version) if version else None

    def _counting(self, plugin: PluginId, used: str | None) -> str | None:
        """Return the installed version that later ones are held to; None when there is none."""
        stated = [used, self.current_version(plugin) if self._pins else None]
        highest = next(reversed(self.versions(plugin)), None)
        return next((v for v in stated if v and self._is_recorded(plugin, v)), highest)

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
        if self._pins and not ref.version and (self.has(ref.id) or self.locked(ref.id)):
            return self._not_pinned(ref.id, self._pins.path)
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

    def _not_pinned(self, plugin: PluginId, path: Path) -> NotInstalled:
        """Return the error for a plugin of which a folder's lock file wants another version."""
        wanted = self.used_version(plugin)
        there = ", ".join(self.folders(plugin)) or ("the system's" if self.has(plugin) else "none")
        return NotInstalled(
            f"`{plugin}` is not installed as the lock file here says",
            why=f"{path} names {wanted or 'no version of it'}\ninstalled: {there}",
            next=[
                "`aperio plugin install`" if wanted else f"`aperio plugin install {plugin}`",
                f"name a version that is installed, as in `{plugin}@VERSION`",
            ],
        )

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
        known, check = self._checks(receipt.id), LaunchCheck(clock.timestamp(), ok=passed)
        if known is not None and known.get(receipt.version) != check:  # of several in one second
            known[receipt.version] = check
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
            self._settle()
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
        """Give a prepared version its place and use it; call it under the lock.

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
                self.use(plugin, version)
            except BaseException:
                self._take_back(prepared, place)
                raise
            self._forget_check(plugin, version)

    def use(self, plugin: PluginId, version: str) -> None:
        """Make an installed version the one that is used here; call it under the lock.

        A folder's lock file says so where there is one; else it becomes the current one.

        Raises:
            RecordNewer, LockFileInvalid: the lock file cannot be read; nothing was changed.
            DiskFull: there is no space; what was used stays so.
            OSError: the store cannot be written.
        """
        if self._pins is None:
            self.make_current(plugin, version)
            return
        with self._pins.changing(plugin):
            known = self._pins.read()
            lock = known or LockFile()
            changed = lock.but(plugin, self._locked(plugin, version, lock))
            if changed != known:
                self._pins.write(changed)

    def unpin(self, plugin: PluginId, versions: Collection[str]) -> None:
        """Have a folder's lock file name none of these versions any more; call it under the lock.

        Raises:
            RecordNewer, LockFileInvalid: the lock file cannot be read; nothing was changed.
            OSError: it cannot be written.
        """
        if self._pins is None or self.used_version(plugin) not in versions:
            return
        with self._pins.changing(plugin):
            if known := self._pins.read():
                self._pins.write(known.but(plugin, None))

    def make_current(self, plugin: PluginId, version: str) -> None:
        """Make an installed version the current one of this home; call it under the lock.

        Raises:
            RecordNewer, LockFileInvalid: the lock file cannot be read; nothing was changed.
            DiskFull: there is no space; what was current stays so.
            OSError: the store cannot be written.
        """
        current = read_current(self._current_file(plugin))
        if current is None:
            current = Current(version)
        elif current.version != version:
            current = current.followed_by(version)
        self._switch(plugin, current)

    def go_back(self, plugin: PluginId, version: str) -> None:
        """Make a version current that was so before, and forget what came after it.

        Call it under the lock.

        Raises:
            RecordNewer, LockFileInvalid, DiskFull, OSError: as `make_current`.
        """
        current = read_current(self._current_file(plugin))
        self._switch(plugin, current.gone_back_to(version) if current else Current(version))

    def _take_back(self, prepared: Path, place: Path) -> None:
        """Undo as much of a commit as was done, unless all of it was."""
        plugin = PluginId(place.parent.parent.name, place.parent.name)
        if not os.path.lexists(prepared) and os.path.lexists(place):
            if self._is_used(plugin, place.name):
                return
            place.rename(prepared)
        discarded = prepared.with_name("discarded")
        if os.path.lexists(discarded):
            discarded.rename(place)
        self.drop_empty(plugin)

    def _is_used(self, plugin: PluginId, version: str) -> bool:
        try:
            return self.used_version(plugin) == version
        except AperioError:  # what cannot be read says nothing
            return False

    def _switch(self, plugin: PluginId, wanted: Current | None) -> None:
        """Have current.json and the home's lock file say which version is used, both or neither."""
        lock = self._lock_after(plugin, wanted.version if wanted else None)
        file = self._current_file(plugin)
        try:
            if lock is not None:
                self._write_next(lock, may_fail=wanted is None)
            if wanted is None:
                file.unlink(missing_ok=True)
            elif wanted != read_current(file):
                # The rename in here is the moment from which the version counts as installed; the
                # version's own rename reaches the disk with it, being in the same folder.
                writing.write_atomic(file, wanted.to_bytes())
        finally:
            self._settle()

    def _write_next(self, lock: LockFile, *, may_fail: bool) -> None:
        """Write what the lock file is to say; `relock` comes later where that takes a full disk."""
        try:
            data = self._own_lock_file.encode(lock)
            writing.write_atomic(self._next_lock_file.path, data)
        except DiskFull:
            if not may_fail:
                raise

    def relock(self, plugin: PluginId) -> None:
        """Have the home's lock file say what is current of a plugin; call it under the lock.

        It does so already, unless the disk was full when the current version was dropped.
        """
        with contextlib.suppress(DiskFull):  # what was removed is gone all the same
            self._switch(plugin, read_current(self._current_file(plugin)))

    @property
    def _next_lock_file(self) -> LockPlace:
        return LockPlace(self._paths.lock_file.with_suffix(".lock-next"), is_home=True)

    def _settle(self) -> None:
        """Finish a change of the home's lock file, or undo it, by what is current.

        Call it under the lock.
        """
        after, path = self._next_lock_file, self._paths.lock_file
        if not after.exists():
            return
        intended, known = after.read() or LockFile(), self._own_lock_file.read() or LockFile()
        plugins = {entry.id for entry in (*intended.entries, *known.entries)}
        changed = [p for p in plugins if intended.find(p) != known.find(p)]
        wanted = {p: entry.version if (entry := intended.find(p)) else None for p in changed}
        if all(self.current_version(p) == version for p, version in wanted.items()):
            after.path.replace(path)
            writing.sync_folder(path.parent)
        else:
            after.path.unlink()

    def _lock_after(self, plugin: PluginId, version: str | None) -> LockFile | None:
        """Return what the home's lock file is to say once a version is current; None for no change.

        Where there is none yet, it says what is current of every plugin.
        """
        known = self._own_lock_file.read()
        lock = self._lock_of_all() if known is None else known
        changed = lock.but(plugin, self._locked(plugin, version, lock) if version else None)
        return None if changed == (known or LockFile()) else changed

    def _lock_of_all(self) -> LockFile:
        lock = LockFile()
        for plugin in self._plugins():
            if version := self.current_version(plugin):
                lock = lock.but(plugin, self._locked(plugin, version, lock))
        return lock

    def _locked(self, plugin: PluginId, version: str, lock: LockFile) -> Locked | None:
        """Return what a lock file is to say of an installed version; None when nobody knows."""
        before = lock.find(plugin)
        if self.is_frozen and before and before.version == version:
            return before
        try:
            receipt = self._read(plugin, version) if self._is_recorded(plugin, version) else None
            locked = Locked.of(receipt) if receipt else None
        except (AperioError, ValueError):  # it is damaged
            locked = None
        if locked is None:
            return before if before and before.version == version else None
        return locked.after(before)

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
        self._switch(plugin, None)

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
        receipt = _parsed(self._record(plugin, version), self.folder(plugin, version))
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


@functools.lru_cache(maxsize=128)
def _parsed(data: bytes, folder: Path) -> Receipt:
    """Return the receipt; a host asks for the same one at each start.

    Raises:
        ReceiptInvalid, ReceiptNewer: as `Receipt.parse`.
    """
    return Receipt.parse(data, folder)


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
