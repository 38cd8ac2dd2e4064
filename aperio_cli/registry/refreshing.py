"""Ask registries anew about plugins, so that what they say against versions is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.errors.registries import NamespaceOwned
from aperio_cli.models.plugin_id import PluginRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.registry.advisories import Advisory
    from aperio_cli.registry import Registry
    from aperio_cli.registry.listing import Listing


@dataclass(frozen=True, slots=True)
class Finding:
    """A known fault of a version.

    Attributes:
        id: the plugin.
        version: of it.
        registry: whose word it is.
        advisory: what is known.
    """

    id: PluginId
    version: str
    registry: str
    advisory: Advisory

    def to_json(self) -> dict[str, Any]:
        """Return it as `--json` has it."""
        advisory = self.advisory
        return {
            "id": str(self.id),
            "version": self.version,
            "advisory": advisory.id,
            "summary": advisory.summary,
            "severity": dict(advisory.severity),
            "aliases": list(advisory.aliases),
            "references": list(advisory.references),
            "fixed_in": list(advisory.fixed_in(self.id)),
            "modified": advisory.modified,
            "registry": self.registry,
        }


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
    with registry.hearing_together():
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


def find_faults(registry: Registry, versions: Iterable[tuple[PluginId, str]]) -> list[Finding]:
    """Return what the registries' advisories know against versions.

    Args:
        registry: the registries.
        versions: such as of all that is installed.

    Raises:
        AperioError: a registry cannot be read.
    """
    advisories: dict[PluginId, list[tuple[str, Advisory]]] = {}
    for ruled in registry.ruled:
        for advisory in ruled.reader.advisories():
            for plugin in {each.plugin for each in advisory.affected}:
                advisories.setdefault(plugin, []).append((ruled.reader.name, advisory))
    return [
        Finding(plugin, version, name, advisory)
        for plugin, version in versions
        for name, advisory in advisories.get(plugin, ())
        if advisory.affects(plugin, version)
    ]
