"""What one registry has of one plugin, whichever of its documents says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.registry.choosing import Candidate

if TYPE_CHECKING:
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.registry.edition import Edition
    from aperio_cli.models.registry.plugin_file import PluginFile
    from aperio_cli.models.registry_index import IndexEntry


@dataclass(frozen=True, slots=True)
class Listing:
    """One plugin of one registry.

    Attributes:
        id: the plugin.
        kind: connector, remediation or destination.
        description: one line, for display.
        edition: the registry that says so.
        candidates: its versions, the highest first.
        file: its file; None where there is only an entry of the index.
        entry: its entry in plugins.json; None where there is a file.
    """

    id: PluginId
    kind: str
    description: str
    edition: Edition
    candidates: tuple[Candidate, ...]
    file: PluginFile | None = None
    entry: IndexEntry | None = None

    @classmethod
    def of_file(cls, file: PluginFile, edition: Edition) -> Listing:
        """Return what a plugin's file says."""
        candidates = tuple(
            Candidate(
                version=each.version,
                platforms=tuple(artifact.platform for artifact in each.artifacts),
                attested=tuple(a.platform for a in each.artifacts if a.attestations),
                protocols=each.protocols,
                requires_host=each.requires_host,
                published_at=each.published_at,
                status=each.status,
            )
            for each in file.versions
        )
        return cls(file.id, file.kind, file.description, edition, candidates, file=file)

    @classmethod
    def of_entry(cls, entry: IndexEntry, edition: Edition) -> Listing:
        """Return what an entry of plugins.json says."""
        candidates = tuple(
            Candidate(
                version=each.version,
                platforms=tuple(download.platform for download in each.downloads),
                attested=tuple(d.platform for d in each.downloads if d.attestations),
                protocols=each.protocols,
            )
            for each in entry.versions
        )
        return cls(entry.id, entry.kind, entry.description, edition, candidates, entry=entry)
