"""Which version of each plugin is used.

    plugins/<namespace>/<name>/current.json            {"schema": 1, "version": "1.2.0"}
    aperio.lock                                        the same of all plugins, and more

Renaming current.json into place makes a version the one that is used. The lock file's next contents
are written aside first; once current.json has its name they get theirs, by the next change of the
store at the latest. Where a folder has a lock file of its own, its rename is what counts, and no
current.json is written.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.errors.files import DiskFull
from aperio_cli.files import writing
from aperio_cli.models.lock_file import Locked, LockFile
from aperio_cli.models.plugin_id import version_key
from aperio_cli.store.current import FILE_NAME, Current, read_current
from aperio_cli.store.lock_place import LockPlace
from aperio_cli.store.records import Records

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.paths import Paths


class UsedVersions(Records):
    """The records of one home, and which of its versions are used.

    Args:
        paths: gives the home.
        lock_file: the one in force; None for the home's own. Another one says which versions are
            used, and `current.json` does not count.
        is_frozen: whether the lock file has to stay as it is; whoever installs asks.

    Raises:
        PathShared: somebody else may change what is in the home.
    """

    def __init__(
        self, paths: Paths, lock_file: LockPlace | None = None, *, is_frozen: bool = False
    ) -> None:
        super().__init__(paths)
        self._own_lock_file = LockPlace(paths.lock_file, is_home=True)
        self._pins = lock_file if lock_file and not lock_file.is_home else None
        self.is_frozen = is_frozen

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

    # ── changing it ───────────────────────────────────────────────────────────────────────────────

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

    def drop_current(self, plugin: PluginId) -> None:
        """Make no version of the plugin current; call it under the lock."""
        self._switch(plugin, None)

    def relock(self, plugin: PluginId) -> None:
        """Have the home's lock file say what is current of a plugin; call it under the lock.

        It does so already, unless the disk was full when the current version was dropped.
        """
        with contextlib.suppress(DiskFull):  # what was removed is gone all the same
            self._switch(plugin, read_current(self._current_file(plugin)))

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

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

    def _current_file(self, plugin: PluginId) -> Path:
        return self._paths.plugin(plugin) / FILE_NAME
