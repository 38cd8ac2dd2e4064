"""Stage 8, remove: an installed version, or all of a plugin's, leave the store."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.installing import NotInstalled
from aperio_cli.models.ownership import owner_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.models.plugin_id import PluginId, PluginRef
    from aperio_cli.store.installed import Store


@dataclass(frozen=True, slots=True)
class RemoveReport:
    """What removing did.

    Attributes:
        id: the plugin.
        versions: what was removed, lowest first.
        current: the version that is current now; None when none is.
        was_purged: whether the plugin's stored state was dropped.
    """

    id: PluginId
    versions: tuple[str, ...]
    current: str | None
    was_purged: bool

    def to_json(self) -> dict[str, object]:
        """Return the report as the `data` of the JSON envelope."""
        return {
            "id": str(self.id),
            "versions": list(self.versions),
            "current": self.current,
            "was_purged": self.was_purged,
        }


@dataclass(frozen=True, slots=True)
class StoredState:
    """What becomes of a plugin's stored state when no version of it is left.

    Attributes:
        purge: drops it, and returns how much there was; None when it is kept.
        hand_on: makes what one owner stored another's; called when it is kept.
    """

    purge: Callable[[PluginId], int] | None = None
    hand_on: Callable[[str, str], object] = lambda _owner, _heir: None


def remove(
    store: Store,
    ref: PluginRef,
    state: StoredState = StoredState(),
) -> RemoveReport:
    """Remove one version when the reference names it, else every version of the plugin.

    A version stops being installed with its receipt, before any other file goes. When the current
    version goes and others stay, the highest of them becomes current. Stored state that is kept
    stays with whoever signed the version that was used, and with nobody else of the same id.

    Args:
        store: where it is installed.
        ref: what to remove.
        state: what becomes of the stored state. To purge it, nothing need be installed any more.

    Raises:
        NotInstalled: it is not there.
        PluginInUse: a version that would go is running; nothing was removed.
        RecordNewer: a newer aperio installed it; nothing was removed.
        LockHeld: another process keeps the store locked.
        OSError: a file cannot be removed; what has no receipt any more is not installed.
    """
    if state.purge and not store.folders(ref.id) and state.purge(ref.id):
        return RemoveReport(ref.id, (), None, was_purged=True)
    require_installed(store, ref)
    with store.lock(f"`{ref}` was not removed"), contextlib.ExitStack() as held:
        require_installed(store, ref)
        going = [ref.version] if ref.version else store.folders(ref.id)
        for version in going:
            held.enter_context(store.exclusively(ref.id, version))
        staying = [version for version in store.versions(ref.id) if version not in going]
        used = store.find_precedent(ref.id)
        for version in going:
            store.find_recorded(ref.id, version)  # damaged or not, as long as it is ours
        store.unpin(ref.id, going)
        _hand_over(store, ref.id, staying)
        for version in going:
            store.drop_version(ref.id, version)
        store.relock(ref.id)
        store.drop_empty(ref.id)
        current = store.current_version(ref.id)
    if staying:
        return RemoveReport(ref.id, tuple(going), current, was_purged=False)
    if state.purge:
        state.purge(ref.id)
    elif used:
        # Whatever it was handed, or 0.1.0 kept by id alone: who comes again has to find it.
        own = owner_by(used.id, used.evidence, used.artifact_digest)
        if own != used.state_owner:
            state.hand_on(used.state_owner, own)
    return RemoveReport(ref.id, tuple(going), current, was_purged=state.purge is not None)


def require_installed(store: Store, ref: PluginRef) -> None:
    """Require that there is something to remove.

    Raises:
        NotInstalled: there is not.
    """
    # By folder, not by receipt: what is damaged can be removed, too.
    versions = store.folders(ref.id)
    if not versions or (ref.version and ref.version not in versions):
        told = store.not_installed(ref)
        steps = [step for step in told.next if "`aperio plugin install " not in step]
        raise NotInstalled(told.what, why=told.why, next=[*steps, "`aperio plugin list`"])


def _hand_over(store: Store, plugin: PluginId, staying: list[str]) -> None:
    """Make sure that current.json names no version that goes."""
    if not staying:
        store.drop_current(plugin)
    elif store.current_version(plugin) not in staying:
        store.make_current(plugin, staying[-1])
