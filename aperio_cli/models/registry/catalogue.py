"""`catalogue.json`: one row for each plugin, for search and lists; a view, of which nothing hangs.

{"version": 1, "plugins": [{"id", "kind", "description", "license", "latest", "platforms",
 "publisher": {"name", "verified", "tier"}, "published_at", "status",
 "detail": {"url", "sha256", "size"}}]}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.models.manifest import KINDS
from aperio_cli.models.plugin_id import PluginId, check_version
from aperio_cli.models.registry.documents import CATALOGUE_BOUNDS, display, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.reading import Table


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One plugin, as lists show it.

    Attributes:
        id: its id.
        kind: connector, remediation or destination.
        description: one line; so are the texts that follow, for display only.
        license: an SPDX expression.
        latest: the version that is installed when none is named; empty when there is none.
        platforms: those that `latest` is there for.
        publisher: the namespace's name.
        is_verified: whether the registry says that it knows the publisher.
        published_at: when `latest` was added.
        status: `active`; else what all versions are: deprecated, yanked or revoked.
    """

    id: PluginId
    kind: str
    description: str
    license: str
    latest: str
    platforms: tuple[str, ...]
    publisher: str
    is_verified: bool
    published_at: str
    status: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The rows of a registry, sorted by id.

    Attributes:
        rows: one for each plugin of a known kind.
    """

    rows: tuple[CatalogueRow, ...]


def parse_catalogue(data: bytes, *, where: str) -> Catalogue:
    """Return the catalogue in these bytes.

    Args:
        data: contents of `catalogue.json`.
        where: what to call it in messages.

    Raises:
        IndexUnreadable: it is no catalogue, or has a plugin twice.
        IndexVersionUnknown: it is written in another version of the format.
    """
    table = read_document(data, CATALOGUE_BOUNDS, where)
    rows: dict[PluginId, CatalogueRow] = {}
    for each in _known(table):
        row = _row(each)
        if rows.setdefault(row.id, row) is not row:
            each.fail("id", f"`{row.id}` is there twice")
    return Catalogue(tuple(rows[plugin] for plugin in sorted(rows)))


def _known(table: Table) -> Iterator[Table]:
    """Return the rows of a known kind; one of a later version is none of ours."""
    return (each for each in table.tables("plugins") if each.recorded("kind") in KINDS)


def _row(table: Table) -> CatalogueRow:
    publisher = table.inner("publisher")
    return CatalogueRow(
        id=table.converted("id", PluginId.parse),
        kind=table.values["kind"],
        description=display(table, "description"),
        license=display(table, "license"),
        latest=table.converted("latest", check_version) if table.values.get("latest") else "",
        platforms=table.texts("platforms"),
        publisher=display(publisher, "name"),
        is_verified=publisher.flag("verified"),
        published_at=display(table, "published_at"),
        status=display(table, "status"),
    )
