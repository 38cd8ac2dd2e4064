"""Ask registries anew about plugins, so that what they say against versions is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.registries import NamespaceOwned
from aperio_cli.models.plugin_id import PluginRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.registry import Registry
    from aperio_cli.registry.listing import Listing


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What was heard.

    Attributes:
        listings: what registries have of each plugin that they have.
        unknown: those that none has.
    """

    listings: Mapping[PluginId, Listing]
    unknown: tuple[PluginId, ...]


def refresh(registry: Registry, plugins: Iterable[PluginId]) -> Refreshed:
    """Ask about plugins; what is said against their versions is remembered (`Registry.find`).

    Args:
        registry: the registries.
        plugins: ids, such as of all that is installed.

    Raises:
        AperioError: a registry cannot be read: what it has revoked since would pass.
    """
    listings: dict[PluginId, Listing] = {}
    unknown = []
    for plugin in plugins:
        try:
            found = registry.look_up(PluginRef(plugin))
        except NamespaceOwned:  # what is installed is not of the registry that may speak of it
            found = None
        if found:
            listings[plugin] = found[1]
        else:
            unknown.append(plugin)
    return Refreshed(listings, tuple(unknown))
