"""A registry that nobody has to have signed: by its root where it has one, else by its index."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.files import Offline
from aperio_cli.errors.registries import IndexUnreadable
from aperio_cli.models.registry.documents import ROOT_BOUNDS, ROOT_FILE
from aperio_cli.models.registry.edition import Edition
from aperio_cli.models.registry.root import parse_root
from aperio_cli.registry.indexed import IndexedRegistry
from aperio_cli.registry.reader import read_index_file
from aperio_cli.registry.rooted import RootedRegistry

if TYPE_CHECKING:
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.registry.advisories import Advisory
    from aperio_cli.models.registry.catalogue import CatalogueRow
    from aperio_cli.models.registry.publishers import RegistryPublisher
    from aperio_cli.registry.earlier import Older
    from aperio_cli.registry.listing import Listing
    from aperio_cli.registry.reader import Documents


_SHARDS: Final = b'"shards"'


@dataclass(slots=True)
class UnsignedRegistry:
    """A folder, or http on this machine; how it is read is found out when it is first asked.

    Attributes:
        documents: where it is.
    """

    documents: Documents
    _chosen: RootedRegistry | IndexedRegistry | None = field(default=None, init=False)

    @property
    def place(self) -> str:
        """The folder or the address (`RegistryReader.place`)."""
        return self.documents.place

    @property
    def name(self) -> str:
        """What people are shown; says that nobody signed for the index."""
        return Edition(self.documents.place).name

    def chosen(self) -> RootedRegistry | IndexedRegistry:
        """Return the registry as it is read.

        Raises:
            AperioError: as `RegistryReader.find`.
        """
        if self._chosen is None:
            has_root = self._has_root()
            found = RootedRegistry(self.documents, None) if has_root else None
            self._chosen = found or IndexedRegistry(self.documents)
        return self._chosen

    def edition(self) -> Edition:
        """Return which edition it is in (`RegistryReader.edition`)."""
        return self.chosen().edition()

    def states(self, namespace: str) -> bool:
        """Return whether it says that a namespace is its own (`RegistryReader.states`)."""
        return self.chosen().states(namespace)

    def find(self, plugin: PluginId) -> Listing | None:
        """Return what it has of a plugin (`RegistryReader.find`)."""
        return self.chosen().find(plugin)

    def offer(self, listing: Listing, version: str, platform: Platform) -> Offer:
        """Return an offer (`RegistryReader.offer`)."""
        return self.chosen().offer(listing, version, platform)

    def names(self) -> tuple[str, ...]:
        """Return the ids that it has (`RegistryReader.names`)."""
        return self.chosen().names()

    def rows(self) -> tuple[CatalogueRow, ...]:
        """Return one row for each plugin that it has (`RegistryReader.rows`)."""
        return self.chosen().rows()

    def advisories(self, *, older: bool = False) -> tuple[Advisory, ...]:
        """Return what it says of known faults (`RegistryReader.advisories`)."""
        return self.chosen().advisories(older=older)

    def publishers(self) -> tuple[RegistryPublisher, ...]:
        """Return whom it knows as publishers (`RegistryReader.publishers`)."""
        return self.chosen().publishers()

    def older(self) -> tuple[Older, ...]:
        """Return what was given of an older edition (`RegistryReader.older`)."""
        return self.chosen().older()

    def _has_root(self) -> bool:
        """Return whether there is a root; older builds wrote another file of that name."""
        try:
            with self.documents.keeping_late():
                data = read_index_file(self.documents, ROOT_FILE, ROOT_BOUNDS.size_bytes)
                if _SHARDS not in data:
                    return False
                parse_root(data, where=ROOT_FILE)
        except (IndexUnreadable, Offline):  # offline, the index may be kept all the same
            return False
        return True
