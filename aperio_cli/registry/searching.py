"""The rows of all catalogues of a call, each plugin once: as it would be found when installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperio_cli.models.registry.catalogue import CatalogueRow
    from aperio_cli.models.registry.edition import Edition
    from aperio_cli.registry import Registry, Ruled


@dataclass(frozen=True, slots=True)
class Found:
    """One plugin.

    Attributes:
        row: as its registry shows it.
        edition: the registry.
    """

    row: CatalogueRow
    edition: Edition


def catalogue(registry: Registry) -> list[Found]:
    """Return every plugin of the registries, sorted by id.

    Raises:
        AperioError: a registry cannot be read (`RegistryReader.find`).
    """
    taken: dict[str, Found] = {}
    seen: set[str] = set()
    for number, ruled in enumerate(registry.ruled):
        before, edition = registry.ruled[:number], ruled.reader.edition()
        foreign: dict[str, bool] = {}
        rows = ruled.reader.rows()
        for row in rows:
            namespace = row.id.namespace
            if namespace not in foreign:
                foreign[namespace] = _is_foreign(registry, ruled, before, namespace, seen)
            if not foreign[namespace]:
                taken.setdefault(str(row.id), Found(row, edition))
        seen |= {row.id.namespace for row in rows}
    return [taken[plugin] for plugin in sorted(taken)]


def _is_foreign(
    registry: Registry, ruled: Ruled, before: tuple[Ruled, ...], namespace: str, seen: set[str]
) -> bool:
    """Return whether a namespace belongs to another registry than this one."""
    owner = next((each for each in registry.ruled if each.owns(namespace)), None)
    if owner:
        return owner is not ruled
    # Only who has plugins of it is asked: a registry may state more than it has.
    return namespace in seen and any(each.reader.states(namespace) for each in before)
