"""The store: installed versions, how one comes and goes, and who uses it meanwhile.

A version folder appears complete, by one rename; renaming current.json into place makes it the
version that is used (`used`). Whoever changes the store holds its lock for that moment only.
Whoever runs a version holds its receipt (`holding`), so nothing about it is written for that. What
the records say is read in `records`.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import secrets
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import aperio_cli
from aperio_cli.errors import AperioError
from aperio_cli.errors.installing import NotInstalled, PluginInUse, ReceiptInvalid
from aperio_cli.files import locking, removing, writing
from aperio_cli.files.naming import step_for_path
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.receipt import FILE_NAME, Precedent, Receipt
from aperio_cli.store.checks import LaunchChecks
from aperio_cli.store.holding import FOLDER_FLAGS, Hold, is_owned, receipt_locked
from aperio_cli.store.used import UsedVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aperio_cli.paths import Paths
    from aperio_cli.store.lock_place import LockPlace

with contextlib.suppress(ImportError):  # Windows lacks it: there plugins are looked at only
    import fcntl


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


class Store(UsedVersions):
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

    Attributes:
        checks: the noted outcomes of checks before launches.
    """

    def __init__(
        self,
        paths: Paths,
        warn: Callable[[str], object] = str,
        lock_file: LockPlace | None = None,
        *,
        is_frozen: bool = False,
    ) -> None:
        super().__init__(paths, lock_file, is_frozen=is_frozen)
        self._warn = warn
        self.checks = LaunchChecks(paths, warn)

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

    # ── who is using it ───────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def hold(self, receipt: Receipt) -> Iterator[None]:
        """Keep a version from being removed while the block runs; many may hold it at once.

        The kernel lets go when the process ends, however it ends.

        Raises:
            NotInstalled: it was removed meanwhile.
            PluginInUse: it is just being removed.
        """
        with receipt_locked(receipt.folder, fcntl.LOCK_SH) as state:
            if state is Hold.MISSING:
                raise self.not_installed(PluginRef(receipt.id, receipt.version))
            if state is Hold.BUSY:
                raise PluginInUse(
                    f"`{receipt.id}` {receipt.version} was not started: it is being removed"
                )
            yield

    def in_use(self, plugin: PluginId, version: str) -> bool:
        """Return whether somebody holds the version at this moment."""
        with receipt_locked(self.folder(plugin, version), fcntl.LOCK_EX) as state:
            return state is Hold.BUSY

    def holders(self, plugin: PluginId, version: str) -> frozenset[int]:
        """Return which processes hold a version, as far as the kernel tells (proc_locks(5)).

        It does not of processes that this one cannot see, nor by the numbers of every file system.
        """
        try:
            status = (self.folder(plugin, version) / FILE_NAME).lstat()
            with open("/proc/locks", encoding="ascii", errors="replace") as file:  # noqa: PTH123
                lines = file.readlines()
        except OSError:
            return frozenset()
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        held = (line.split() for line in lines)
        return frozenset(
            int(words[4])
            for words in held
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == device and words[4].isdigit()  # noqa: PLR2004 - the fields
        )

    @contextlib.contextmanager
    def exclusively(self, plugin: PluginId, version: str) -> Iterator[None]:
        """Keep a version from being held while the block runs; call it under the lock.

        A version without a receipt cannot be run, so there is nothing to keep off.

        Raises:
            PluginInUse: somebody holds it.
        """
        with receipt_locked(self.folder(plugin, version), fcntl.LOCK_EX) as state:
            if state is Hold.BUSY:
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
                    descriptor = os.open(folder, FOLDER_FLAGS)
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
            self.checks.forget(plugin, version)

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
        self.checks.forget(plugin, version)

    def drop_empty(self, plugin: PluginId) -> None:
        """Remove the folders of a plugin without versions; call it under the lock."""
        if not self.folders(plugin):
            self.checks.drop(plugin)
        folder = self._paths.plugin(plugin)
        for empty in (folder, folder.parent):
            with contextlib.suppress(OSError):  # it is not empty, or not there
                empty.rmdir()

    def _folder_mode(self) -> int:
        """Return the mode of new folders: who may look into the home may run what is in it."""
        return 0o700 | stat.S_IMODE(self._paths.home.stat().st_mode) & 0o755

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _sweep(self) -> None:
        """Remove aside folders whose owners are gone; call it under the lock."""
        for path in sorted(self._paths.plugins.iterdir()):
            if path.name.startswith(writing.ASIDE_PREFIX) and not is_owned(path):
                self._discard(path)

    def _discard(self, folder: Path) -> None:
        """Remove what nobody uses; a file that cannot be removed keeps nobody from his work."""
        try:
            removing.remove_tree(folder)
        except OSError as error:
            why = error.strerror or str(error)
            self._warn(f"`{folder}` was not removed whole: {error.filename}: {why}")
