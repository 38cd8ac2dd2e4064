"""Revert: the version of a plugin that was used before is used again, at once and offline.

Nothing is moved and nothing that runs is touched: a rename says which version is used from now on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.files import LockHeld
from aperio_cli.errors.installing import NoPreviousVersion, NotInstalled, ReceiptInvalid
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.plugin_id import PluginRef

if TYPE_CHECKING:
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.store.installed import Store


@dataclass(frozen=True, slots=True)
class Return:
    """A way back.

    Attributes:
        leaving: the version that is used.
        to: the one to go back to, which is installed.
    """

    leaving: Receipt
    to: Receipt


def find_return(store: Store, ref: PluginRef) -> Return:
    """Return the way back from the version of a plugin that is used.

    Args:
        store: where it is installed.
        ref: the plugin; with a version, which one to go back to.

    Raises:
        NotInstalled: nothing of it is used, or that version is not installed.
        NoPreviousVersion: no installed version was used before.
        ReceiptInvalid, ReceiptNewer: a record cannot be read.
        UsageError: a folder's lock file says what is used.
    """
    if not store.lock_file.is_home:
        raise UsageError(
            f"`{ref.id}` was not rolled back: the lock file here says which version is used",
            why=f"{store.lock_file.path} names {store.used_version(ref.id) or 'none of it'}",
            next=[
                "bring back the lock file of before, then `aperio plugin install`",
                "stand in another folder, to roll back what is used elsewhere",
            ],
        )
    current = store.current_version(ref.id)
    if current is None:
        raise store.not_installed(PluginRef(ref.id))
    leaving = store.get(PluginRef(ref.id, current))
    version = ref.version or store.previous_version(ref.id)
    if version is None or version == current:
        raise _no_previous(store, ref, current)
    return Return(leaving, store.get(PluginRef(ref.id, version)))


def revert(store: Store, back: Return) -> bool:
    """Go back, and return whether something was changed: another process may have been faster.

    Raises:
        NotInstalled, ReceiptInvalid: the version has gone meanwhile.
        LockHeld: a third version is used meanwhile, or the store is locked.
        RecordNewer, LockFileInvalid, DiskFull, OSError: as `Store.go_back`.
    """
    plugin, wanted = back.to.id, back.to.version
    what = f"`{plugin}` was not rolled back to {wanted}"
    with store.lock(what):
        current = store.current_version(plugin)
        if current == wanted:
            return False
        if current != back.leaving.version:
            raise LockHeld(
                f"{what}: another version of it was taken into use at this moment",
                why=f"expected {back.leaving.version}\nfound    {current or 'none'}",
                next=["run the same command again"],
            )
        store.get(PluginRef(plugin, wanted))
        store.go_back(plugin, wanted)
    return True


def fall_back(store: Store, plugin: PluginId, failed: str, healthy: str = "") -> Receipt | None:
    """Leave a version that does not start for the one before it; return that one's record.

    For whoever supervises plugins. It asks nobody and judges nothing: whether that one may be
    started is judged at its start.

    Args:
        store: where it is installed.
        plugin: the plugin.
        failed: the version to leave; when it is not the one that is used, nothing is changed.
        healthy: the version that last ran; empty: whichever was used before.

    Returns:
        None when there is nothing to go back to, or another version is used by now.

    Raises:
        LockHeld, RecordNewer, LockFileInvalid, DiskFull, OSError: as `revert`.
    """
    if store.current_version(plugin) != failed or not store.lock_file.is_home:
        return None
    try:
        back = find_return(store, PluginRef(plugin, healthy or None))
        revert(store, back)
    except (NoPreviousVersion, NotInstalled, ReceiptInvalid):
        return None
    return back.to


def _no_previous(store: Store, ref: PluginRef, current: str) -> NoPreviousVersion:
    others = [version for version in store.versions(ref.id) if version != current]
    there = f"installed besides: {', '.join(others)}" if others else "nothing else is installed"
    step = f"to use one of those: `aperio plugin rollback {ref.id}@{(others or ['VERSION'])[-1]}`"
    return NoPreviousVersion(
        f"`{ref.id}` was not rolled back: no version was used before {current}",
        why=there,
        next=[
            *([step] if others else []),
            f"`aperio plugin install {ref.id}@VERSION`, of a registry",
        ],
    )
