"""What a registry is to those who ask it, and how its documents become an index and offers.

`RegistryReader` is the one face of every registry. Those whose index is one document among others,
in a folder or behind http, read it and make offers by the functions here: `Documents` is what they
differ in. A registry of another build answers the protocol in its own way.

An index is the word of strangers. So where it may point depends on where it was read: to this
machine only when it came from there over http; a folder may be filled by anybody, and an index from
elsewhere must not have this machine ask itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aperio_cli.errors.files import InsecureUrl, ResponseNotFound, ResponseTooLarge
from aperio_cli.errors.registries import IndexTooLarge, IndexUnreadable
from aperio_cli.models.address import Place, has_user, shown
from aperio_cli.models.artifact import MAX_ATTESTATIONS_BYTES, MAX_BUNDLE_BYTES
from aperio_cli.models.offer import Offer
from aperio_cli.models.registry_index import FILE_NAME, MAX_BYTES, RegistryIndex, parse_detail
from aperio_cli.net.fetch import place_of_url
from aperio_cli.registry.choosing import choose_download, choose_version

if TYPE_CHECKING:
    from collections.abc import Collection

    from aperio_cli.models.digest import Digest
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.models.registry_index import Download, IndexEntry

MAX_DETAIL_BYTES = 4 * 1024 * 1024


class RegistryReader(Protocol):
    """One registry, from which offers are read."""

    @property
    def name(self) -> str:
        """What people are shown: where it is, and whether somebody signed for its index."""

    def index(self) -> RegistryIndex:
        """Return the registry's index.

        Raises:
            IndexTooLarge, IndexUnreadable, IndexVersionUnknown: it cannot be used.
            AperioError: it could not be fetched (`fetch_bytes` and its errors).
        """

    def offer(self, entry: IndexEntry, ref: PluginRef, platform: Platform) -> Offer:
        """Return the offer that an entry of the index makes for a platform.

        Raises:
            AperioError: as `Registry.resolve`.
        """


class Documents(RegistryReader, Protocol):
    """A registry whose index is one of its documents."""

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

    def read(self, where: str, limit_bytes: int, expected: Digest | None = None) -> bytes:
        """Return the document at a place that `locate` gave.

        Args:
            where: the place.
            limit_bytes: the longest to read.
            expected: what it has to be; None when that is not known.

        Raises:
            AperioError: it could not be fetched (`fetch_bytes` and its errors).
        """


def read_index(documents: Documents) -> RegistryIndex:
    """Return the index of a registry.

    Raises:
        AperioError: as `RegistryReader.index`.
    """
    where = documents.locate(FILE_NAME)
    return RegistryIndex.parse(_read_index_file(documents, where, MAX_BYTES), where=where)


def make_offer(
    documents: Documents, entry: IndexEntry, ref: PluginRef, platform: Platform
) -> Offer:
    """Return the offer that an entry of the index makes for a platform.

    Raises:
        AperioError: as `Registry.resolve`.
    """
    entry = _whole(documents, entry)
    version = choose_version(entry, ref)
    download = choose_download(entry, version, platform)
    location = documents.locate(download.url)
    return Offer(
        id=entry.id,
        version=version.version,
        kind=entry.kind,
        platform=download.platform,
        location=location,
        digest=download.digest,
        size_bytes=download.size_bytes,
        bundle=_bundle(documents, download),
        attestations=_attestations(documents, download),
        source=documents.name,
        below="" if "://" in location else documents.below,
    )


def check_address(address: str, *, allowed: Collection[Place], index: str) -> str:
    """Return an address that an index names, once it is known that the index may point there.

    Args:
        address: where the index points; absolute.
        allowed: where it may lead.
        index: what to call the index in messages.

    Raises:
        IndexUnreadable: it cannot be read, leads somewhere else, or states a user or a password.
    """
    try:
        place = place_of_url(address)
    except InsecureUrl as error:
        raise unreadable(index, f"`{shown(address)}` is not an address\n{error.why}") from error
    if has_user(address):
        why = "has a user or a password in it"
    elif place in allowed:
        return address
    elif place is Place.HERE:
        why = "leads to this machine, where only an index read from it over http may point"
    else:
        why = "is not http or https, or does not say plainly to which machine it leads"
    raise unreadable(index, f"`{shown(address)}` {why}")


def unreadable(where: str, why: str, step: str = "") -> IndexUnreadable:
    """Return the error of an index that cannot be used, and what to do about it."""
    return IndexUnreadable(
        f"the index `{shown(where)}` was not read",
        why=why,
        next=[step or "tell whoever maintains the registry"],
    )


# ── documents ─────────────────────────────────────────────────────────────────────────────────────


def _whole(documents: Documents, entry: IndexEntry) -> IndexEntry:
    """Return the entry with all its versions, from its detail file when it has one."""
    if entry.detail is None:
        return entry
    where = documents.locate(entry.detail.url)
    data = _read_index_file(documents, where, MAX_DETAIL_BYTES, entry.detail.digest)
    whole = parse_detail(data, where=shown(where))
    if (whole.id, whole.kind) != (entry.id, entry.kind):
        raise unreadable(where, f"it speaks for `{whole.id}`, not for `{entry.id}`")
    return whole


def _bundle(documents: Documents, download: Download) -> bytes | None:
    if not download.bundle:
        return None
    if download.bundle.lstrip().startswith("{"):
        return download.bundle.encode("utf-8", "replace")
    return _read(documents, documents.locate(download.bundle), MAX_BUNDLE_BYTES)


def _attestations(documents: Documents, download: Download) -> bytes | None:
    if not download.attestations:
        return None
    return _read(documents, documents.locate(download.attestations), MAX_ATTESTATIONS_BYTES)


def _read_index_file(
    documents: Documents, where: str, limit_bytes: int, expected: Digest | None = None
) -> bytes:
    try:
        return _read(documents, where, limit_bytes, expected)
    except ResponseTooLarge as error:
        raise IndexTooLarge(
            f"the index `{shown(where)}` was not read: it is too large",
            why=error.why,
            next=["tell whoever maintains the registry"],
        ) from error


def _read(
    documents: Documents, where: str, limit_bytes: int, expected: Digest | None = None
) -> bytes:
    try:
        return documents.read(where, limit_bytes, expected)
    except ResponseNotFound as error:
        step = f"check that {documents.place} is a registry that `aperio registry build` wrote"
        raise unreadable(where, error.why, step) from error
