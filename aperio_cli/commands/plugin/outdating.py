"""Which of the installed versions are outdated, as their registries say now."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.models.plugin_id import PluginRef, version_key
from aperio_cli.registry.choosing import choose
from aperio_cli.registry.refreshing import refresh

if TYPE_CHECKING:
    from aperio_cli.context import Context
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.registry.listing import Listing
    from aperio_cli.store.installed import Store


def newer_versions(context: Context) -> dict[tuple[str, str], str]:
    """Return the version that would be installed in place of each that is used, by id and version.

    Only where it is newer, or the one that is used was yanked or revoked.

    Raises:
        AperioError: a registry cannot be read.
    """
    store = context.store
    plugins = dict.fromkeys(receipt.id for receipt in store.receipts())
    found_here = (_used(store, plugin) for plugin in plugins)
    used = {receipt.id: receipt.version for receipt in found_here if receipt}
    asked = refresh(context.registry, used)
    found = {}
    for plugin, version in used.items():
        listing = asked.listings.get(plugin)
        newest = _newest(context, listing) if listing else ""
        if newest and listing and _is_outdated(listing, version, newest):
            found[str(plugin), version] = newest
    return found


def _used(store: Store, plugin: PluginId) -> Receipt | None:
    """Return the record of the version that is used; None where `list` says what is wrong."""
    with contextlib.suppress(AperioError):
        return store.find(PluginRef(plugin))
    return None


def _newest(context: Context, listing: Listing) -> str:
    try:
        return choose(listing.candidates, PluginRef(listing.id), context.situation).version
    except AperioError:  # none would do
        return ""


def _is_outdated(listing: Listing, version: str, newest: str) -> bool:
    if version_key(newest) > version_key(version):
        return True
    status = next((each.status for each in listing.candidates if each.version == version), None)
    return version != newest and status is not None and status.is_withdrawn
