"""What a registry is to those who ask it, and what of its documents is read how.

`RegistryReader` is the one face of every registry. `Documents` is what those in a folder and those
behind an address differ in.

A registry is the word of strangers. So where it may point depends on where it was read: to this
machine only when it came from there over http, into a network of one's own only when it came from
one; a folder may be filled by anybody, and an index from elsewhere must not have this machine ask
itself.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from aperio_cli.errors.files import InsecureUrl, ResponseNotFound, ResponseTooLarge
from aperio_cli.errors.registries import IndexTooLarge, IndexUnreadable
from aperio_cli.models.address import Place, has_user, is_public, shown
from aperio_cli.net.fetch import place_of_url

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from contextlib import AbstractContextManager

    from aperio_cli.models.digest import Digest
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.registry.advisories import Advisory
    from aperio_cli.models.registry.catalogue import CatalogueRow
    from aperio_cli.models.registry.edition import Edition
    from aperio_cli.models.registry.publishers import RegistryPublisher
    from aperio_cli.registry.earlier import Older
    from aperio_cli.registry.listing import Listing


class RegistryReader(Protocol):
    """One registry, in which plugins are looked up."""

    @property
    def place(self) -> str:
        """The folder or the address, without anything that is secret."""

    @property
    def name(self) -> str:
        """What people are shown: where it is, and whether somebody signed for its index."""

    def edition(self) -> Edition:
        """Return which edition it is in.

        Raises:
            AperioError: as `find`.
        """

    def states(self, namespace: str) -> bool:
        """Return whether it says that a namespace is its own.

        Raises:
            AperioError: as `find`.
        """

    def find(self, plugin: PluginId) -> Listing | None:
        """Return what it has of a plugin; None when it does not have it.

        Raises:
            Refusal: it is not signed by whom the configuration names, has ended, or was taken
                back; a document is not the one that is stated.
            IndexTooLarge, IndexUnreadable, IndexVersionUnknown: it cannot be used.
            AperioError: it could not be fetched (`fetch_bytes` and its errors).
        """

    def offer(self, listing: Listing, version: str, platform: Platform) -> Offer:
        """Return the offer of a version for a platform, both of which the listing has.

        Raises:
            AperioError: as `find`.
        """

    def names(self) -> tuple[str, ...]:
        """Return the ids that it has, as far as that costs little; for suggestions."""

    def rows(self) -> tuple[CatalogueRow, ...]:
        """Return one row for each plugin that it has.

        Raises:
            AperioError: as `find`.
        """

    def advisories(self, *, older: bool = False) -> tuple[Advisory, ...]:
        """Return what it says of known faults; nothing where it has no root.

        Args:
            older: whether those of an older edition will do, where only they can be read.

        Raises:
            AperioError: as `find`.
        """

    def publishers(self) -> tuple[RegistryPublisher, ...]:
        """Return whom it knows as publishers; nobody where it has no root.

        Raises:
            AperioError: as `find`.
        """

    def older(self) -> tuple[Older, ...]:
        """Return what was given of an older edition by now: offline, where no newer was read."""


class Documents(Protocol):
    """Where the documents of a registry are."""

    @property
    def place(self) -> str:
        """The folder or the address, without anything that is secret."""

    @property
    def below(self) -> str:
        """The folder below which no link is followed; empty for an address."""

    def locate(self, url: str) -> str:
        """Return a location in the index as a path in the registry's folder, or as an address.

        Raises:
            IndexUnreadable: it is neither, or the index may not point there.
        """

    def read(
        self,
        where: str,
        limit_bytes: int,
        expected: Digest | None = None,
        *,
        is_fresh: bool = False,
    ) -> bytes:
        """Return the document at a place that `locate` gave.

        Args:
            where: the place.
            limit_bytes: the longest to read.
            expected: what it has to be; None when that is not known.
            is_fresh: whether it must come from the server itself, past every cache.

        Raises:
            AperioError: it could not be fetched (`fetch_bytes` and its errors).
        """

    def keeping_late(self) -> AbstractContextManager[None]:
        """Put what is read in the block into the cache at its end, and nothing when it fails.

        A document is believed only once it was read, and one whose digest nobody knows once others
        were: until then it must not take the place of one that was believed before.
        """

    def keeping_nothing(self) -> AbstractContextManager[None]:
        """Put nothing of what is read in the block into the cache."""

    def kept(self, where: str, limit_bytes: int, expected: Digest | None = None) -> bytes | None:
        """Return what the cache has of a place; None for nothing, for more, or for another."""

    def keep(self, where: str, data: bytes) -> None:
        """Put something of our own into the cache, where that can be written."""


def check_address(address: str, *, allowed: Collection[Place], index: str) -> str:
    """Return an address that an index names, once it is known that the index may point there.

    Args:
        address: where the index points; absolute.
        allowed: where it may lead.
        index: where the index is, and what to call it in messages.

    Raises:
        IndexUnreadable: it cannot be read, leads somewhere else, or states a user or a password.
    """
    try:
        place = place_of_url(address)
    except InsecureUrl as error:
        raise unreadable(index, f"`{shown(address)}` is not an address\n{error.why}") from error
    if has_user(address):
        why = "has a user or a password in it"
    elif place in allowed and not _leads_inwards(index, address):
        return address
    elif place in allowed:
        why = "leads into a private network, and the registry is a public one"
    elif place is Place.HERE:
        why = "leads to this machine, where only an index read from it over http may point"
    else:
        why = "is not http or https, or does not say plainly to which machine it leads"
    raise unreadable(index, f"`{shown(address)}` {why}")


def _leads_inwards(index: str, address: str) -> bool:
    """Return whether an index that everybody can read points to what not everybody can reach."""
    return is_public(urlsplit(index).hostname or "") and not is_public(
        urlsplit(address).hostname or ""
    )


def unreadable(where: str, why: str, step: str = "") -> IndexUnreadable:
    """Return the error of an index that cannot be used, and what to do about it."""
    return IndexUnreadable(
        f"the index `{shown(where)}` was not read",
        why=why,
        next=[step or "tell whoever maintains the registry"],
    )


def read_index_file(
    documents: Documents,
    url: str,
    limit_bytes: int,
    expected: Digest | None = None,
    *,
    is_fresh: bool = False,
) -> bytes:
    """Return a document that the registry itself has to have.

    Raises:
        IndexTooLarge: it is longer than it may be.
        IndexUnreadable: it is not there.
        AperioError: as `Documents.read`.
    """
    where = documents.locate(url)
    try:
        with _missing_refused(documents, where):
            return documents.read(where, limit_bytes, expected, is_fresh=is_fresh)
    except ResponseTooLarge as error:
        raise IndexTooLarge(
            f"the index `{shown(where)}` was not read: it is too large",
            why=error.why,
            next=["tell whoever maintains the registry"],
        ) from error


def read_beside(
    documents: Documents, where: str, limit_bytes: int, expected: Digest | None = None
) -> bytes:
    """Return a document that an entry points to.

    One whose digest nobody knows always comes from the server, whole: what was kept of it may have
    been refused since, and must not be confirmed by marks that came with it.

    Raises:
        IndexUnreadable: it is not there.
        AperioError: as `Documents.read`.
    """
    with _missing_refused(documents, where):
        return documents.read(where, limit_bytes, expected, is_fresh=expected is None)


@contextlib.contextmanager
def _missing_refused(documents: Documents, where: str) -> Iterator[None]:
    try:
        yield
    except ResponseNotFound as error:
        step = f"check that {documents.place} is a registry that `aperio registry build` wrote"
        raise unreadable(where, error.why, step) from error
