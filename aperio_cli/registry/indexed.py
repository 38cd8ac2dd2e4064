"""A registry that has no root: `plugins.json` says everything, and nobody has signed it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aperio_cli.models.address import shown
from aperio_cli.models.artifact import MAX_ATTESTATIONS_BYTES, MAX_BUNDLE_BYTES
from aperio_cli.models.offer import Offer
from aperio_cli.models.origin import REGISTRY, Build, Origin
from aperio_cli.models.plugin_id import is_prerelease
from aperio_cli.models.registry.catalogue import CatalogueRow
from aperio_cli.models.registry.edition import Edition
from aperio_cli.models.registry_index import FILE_NAME, MAX_BYTES, RegistryIndex, parse_detail
from aperio_cli.registry.listing import Listing
from aperio_cli.registry.reader import read_beside, read_index_file, unreadable

if TYPE_CHECKING:
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.registry.advisories import Advisory
    from aperio_cli.models.registry.publishers import RegistryPublisher
    from aperio_cli.models.registry_index import Download, IndexEntry
    from aperio_cli.registry.earlier import Older
    from aperio_cli.registry.reader import Documents

MAX_DETAIL_BYTES: Final = 4 * 1024 * 1024


@dataclass(slots=True)
class IndexedRegistry:
    """A registry that is read from `plugins.json` alone.

    Attributes:
        documents: where it is.
    """

    documents: Documents
    _index: RegistryIndex | None = field(default=None, init=False)

    @property
    def place(self) -> str:
        """The folder or the address (`RegistryReader.place`)."""
        return self.documents.place

    @property
    def name(self) -> str:
        """What people are shown; says that nobody signed for the index."""
        return Edition(self.documents.place).name

    def edition(self) -> Edition:
        """Return which edition it is in (`RegistryReader.edition`)."""
        return Edition(self.documents.place, None, self._read().serial)

    def states(self, namespace: str) -> bool:  # noqa: ARG002 - as every registry is asked
        """Return False: such an index states nobody's namespaces."""
        return False

    def find(self, plugin: PluginId) -> Listing | None:
        """Return what it has of a plugin (`RegistryReader.find`)."""
        entry = self._read().entry(plugin)
        return Listing.of_entry(self._whole(entry), self.edition()) if entry else None

    def offer(self, listing: Listing, version: str, platform: Platform) -> Offer:
        """Return an offer (`RegistryReader.offer`)."""
        assert listing.entry  # noqa: S101 - `find` gives no others
        stated = next(each for each in listing.entry.versions if each.version == version)
        download = next(each for each in stated.downloads if each.platform == platform)
        location = self.documents.locate(download.url)
        return Offer(
            id=listing.id,
            version=version,
            kind=listing.kind,
            platform=platform,
            location=location,
            digest=download.digest,
            size_bytes=download.size_bytes,
            bundle=self._bundle(download),
            attestations=self._attestations(download),
            source=self.name,
            index_serial=listing.edition.serial,
            below="" if "://" in location else self.documents.below,
            edition=listing.edition,
            origin=Origin(REGISTRY, listing.edition.registry),
            builds=tuple(Build(d.platform, d.digest, d.size_bytes) for d in stated.downloads),
        )

    def names(self) -> tuple[str, ...]:
        """Return the ids that it has."""
        return tuple(str(entry.id) for entry in self._read().entries)

    def rows(self) -> tuple[CatalogueRow, ...]:
        """Return one row for each plugin that it has (`RegistryReader.rows`)."""
        return tuple(_row(entry) for entry in self._read().entries)

    def advisories(self, *, older: bool = False) -> tuple[Advisory, ...]:  # noqa: ARG002 - as every registry is asked
        """Return nothing: such an index has none."""
        return ()

    def publishers(self) -> tuple[RegistryPublisher, ...]:
        """Return nobody: such an index knows none."""
        return ()

    def older(self) -> tuple[Older, ...]:
        """Return nothing: such an index is one document."""
        return ()

    def _read(self) -> RegistryIndex:
        if self._index is None:
            with self.documents.keeping_late():  # one that cannot be read leaves the last one be
                data = read_index_file(self.documents, FILE_NAME, MAX_BYTES)
                self._index = RegistryIndex.parse(data, where=self.documents.locate(FILE_NAME))
        return self._index

    def _whole(self, entry: IndexEntry) -> IndexEntry:
        """Return the entry with all its versions, from its detail file when it has one."""
        if entry.detail is None:
            return entry
        where = self.documents.locate(entry.detail.url)
        with self.documents.keeping_late():
            data = read_index_file(
                self.documents, entry.detail.url, MAX_DETAIL_BYTES, entry.detail.digest
            )
            whole = parse_detail(data, where=shown(where))
            if (whole.id, whole.kind) != (entry.id, entry.kind):
                raise unreadable(where, f"it speaks for `{whole.id}`, not for `{entry.id}`")
        return whole

    def _bundle(self, download: Download) -> bytes | None:
        if not download.bundle:
            return None
        if download.bundle.lstrip().startswith("{"):
            return download.bundle.encode("utf-8", "replace")
        where = self.documents.locate(download.bundle)
        return read_beside(self.documents, where, MAX_BUNDLE_BYTES)

    def _attestations(self, download: Download) -> bytes | None:
        if not download.attestations:
            return None
        where = self.documents.locate(download.attestations)
        return read_beside(self.documents, where, MAX_ATTESTATIONS_BYTES)


def _row(entry: IndexEntry) -> CatalogueRow:
    stable = [each for each in entry.versions if not is_prerelease(each.version)]
    newest = (stable or entry.versions or (None,))[0]
    return CatalogueRow(
        id=entry.id,
        kind=entry.kind,
        description=entry.description,
        license="",
        latest=stable[0].version if stable else "",
        platforms=tuple(str(each.platform) for each in newest.downloads) if newest else (),
        publisher=newest.publisher if newest else "",
        is_verified=False,
        published_at="",
        status="active",
    )
