"""Reads registries: a plugin's id becomes an offer.

A registry is a folder or an http address with `plugins.json` in it (`models.registry_index`). Its
word is not believed: it says where an artifact is and what its digest should be, and `verifying`
decides. Here only what could mislead that step is refused: an index that is too large or breaks a
rule, a location outside of the registry's folder, a registry elsewhere that nobody signed.

Registries are asked in order, and the first that has an id decides about it. One that cannot be
read stops the search: going on would let the next one take the id over.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from aperio_cli.errors import AperioError
from aperio_cli.errors.files import ResponseNotFound, ResponseTooLarge
from aperio_cli.errors.registries import (
    IndexTooLarge,
    IndexUnreadable,
    PluginNotFound,
    RegistryUnconfigured,
    RegistryUnsigned,
)
from aperio_cli.files import reading, writing
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.address import Place
from aperio_cli.models.artifact import MAX_ATTESTATIONS_BYTES, MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.offer import Offer
from aperio_cli.models.registry_index import (
    FILE_NAME,
    MAX_BYTES,
    IndexEntry,
    RegistryIndex,
    parse_detail,
)
from aperio_cli.net.fetch import FetchRequest, fetch_bytes, place_of_url
from aperio_cli.registry.choosing import choose_download, choose_version
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.config import Config
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId, PluginRef
    from aperio_cli.models.registry_index import Download
    from aperio_cli.paths import Paths


MAX_DETAIL_BYTES = 4 * 1024 * 1024
BUILT_FOLDER = "public"
"""Where `aperio registry build` writes, below a registry's source."""

_INDEX_TIMEOUT_S = 30.0
_MAX_ETAG_BYTES = 1024
_CLOSE_NAMES = 3


class Registry:
    """The registries of one call, in the order in which they are asked."""

    def __init__(self, sources: Sequence[RegistrySource]) -> None:
        self._sources = tuple(sources)

    def resolve(self, ref: PluginRef, platform: Platform) -> Offer:
        """The offer of the version named, or of the highest that is stable and runs here.

        Raises:
            PluginNotFound: no registry has the id, or its registry not that version.
            ProtocolIncompatible: it speaks other major versions of the interface only.
            PlatformIncompatible: it is there for other platforms only; names them.
            IndexTooLarge, IndexUnreadable, IndexVersionUnknown: an index cannot be used.
            AperioError: something could not be fetched (`fetch_bytes` and its errors).
        """
        known: list[PluginId] = []
        for source in self._sources:
            index = source.index()
            entry = index.entry(ref.id)
            if entry:
                offer = source.offer(entry, ref, platform)
                return replace(offer, index_serial=index.serial)
            known += [each.id for each in index.entries]
        close = difflib.get_close_matches(str(ref.id), map(str, known), n=_CLOSE_NAMES)
        places = ", ".join(source.name for source in self._sources)
        raise PluginNotFound(
            f"`{ref}` was not found",
            why=f"looked in {places}" + (f"\nthere is {', '.join(close)}" if close else ""),
            next=[f"did you mean `{close[0]}`?"] if close else ["check the id for a typing error"],
        )


def open_registry(stated: str, config: Config, paths: Paths, *, offline: bool) -> Registry:
    """The registry that the call states, or else those of the configuration.

    Args:
        stated: `--registry` or APERIO_REGISTRY: a folder or an address; empty for neither.
        config: gives the configured registries.
        paths: gives the cache.
        offline: read folders and what is cached, nothing else.

    Raises:
        RegistryUnconfigured: none is stated.
        RegistryUnsigned: one is neither a folder nor on this machine, or has to be signed.
        InsecureUrl: an address cannot be read.
    """
    named = [(stated, "")] if stated else [(rule.url, rule.identity) for rule in config.registries]
    if not named:
        raise RegistryUnconfigured(
            "no registry is configured, so no plugin can be looked up by its id",
            why=f"found neither `--registry`, nor APERIO_REGISTRY, nor a rule in {config.file}",
            next=[
                "name one with `--registry FOLDER`",
                f'add `[[registries]]` with `url = "..."` to {config.file}',
                "name an artifact file instead of an id",
            ],
        )
    cache = paths.cache / "registries"
    return Registry([_source(text, identity, cache, offline=offline) for text, identity in named])


def _source(text: str, identity: str, cache: Path, *, offline: bool) -> RegistrySource:
    """The registry at an absolute folder, or at an address that ends in `/`."""
    text = text.removesuffix(FILE_NAME)
    is_address = "://" in text and not text.lower().startswith("file://")
    if identity:
        raise RegistryUnsigned(
            f"the registry `{clean(text)}` was not read: its signature cannot be checked",
            why=f"it has to be signed by {clean(identity)}, and this version of aperio reads"
            " unsigned registries only: folders, and http on this machine",
            next=["use a newer aperio", "copy the registry into a folder and name that"],
        )
    if not is_address:
        path = unquote(urlsplit(text).path) if "://" in text else text
        folder = Path(path).expanduser().absolute()
        base = folder.joinpath(*(find_built(folder) or ()))
        return RegistrySource(str(base), cache, offline=offline, root=str(folder))
    if place_of_url(text) is not Place.HERE:
        raise RegistryUnsigned(
            f"the registry `{clean(text.rpartition('@')[2])}` was not read: it is not signed",
            why="expected a folder, or http on this machine; a registry elsewhere has to be signed",
            next=["copy the registry into a folder and name that"],
        )
    address = text.split("?")[0].split("#")[0].rstrip("/") + "/"
    return RegistrySource(address, cache, offline=offline)


def find_built(folder: Path) -> tuple[str, ...] | None:
    """Return the way from a folder to the built registry in it: none, or its source's `public`.

    Raises:
        FileNotRegular: a link stands in its place.
    """
    try:
        with Beneath(folder) as root:
            if root.has_file(FILE_NAME):
                return ()
            return (BUILT_FOLDER,) if root.has_file(BUILT_FOLDER, FILE_NAME) else None
    except (OSError, ValueError):  # there is no such folder, or it is not ours to read
        return None


@dataclass(frozen=True, slots=True)
class RegistrySource:
    """One registry.

    Attributes:
        base: an absolute folder, or an address that ends in `/`.
        cache: folder in which answers are kept with their ETag; made when missing.
        offline: whether only the folder, or only the cache, may be read.
        root: the folder that the operator named, below which no link is followed; the base or
            the folder above it. Empty for an address.
    """

    base: str
    cache: Path
    offline: bool
    root: str = ""

    @property
    def name(self) -> str:
        """What people are shown; says that nobody signed for the index."""
        return f"{self.base} (unsigned index)"

    @property
    def _is_folder(self) -> bool:
        return self.base.startswith("/")

    def index(self) -> RegistryIndex:
        """The registry's index.

        Raises:
            IndexTooLarge, IndexUnreadable, IndexVersionUnknown: it cannot be used.
            AperioError: it could not be fetched (`fetch_bytes` and its errors).
        """
        where = self._locate(FILE_NAME)
        return RegistryIndex.parse(self._read(where, MAX_BYTES), where=where)

    def offer(self, entry: IndexEntry, ref: PluginRef, platform: Platform) -> Offer:
        """The offer that an entry makes for a platform.

        Raises:
            AperioError: as `Registry.resolve`.
        """
        entry = self._whole(entry)
        version = choose_version(entry, ref)
        download = choose_download(entry, version, platform)
        location = self._locate(download.url)
        return Offer(
            id=entry.id,
            version=version.version,
            kind=entry.kind,
            platform=download.platform,
            location=location,
            digest=download.digest,
            size_bytes=download.size_bytes,
            bundle=self._bundle(download),
            attestations=self._attestations(download),
            source=self.name,
            below="" if "://" in location else self.root,
        )

    def _whole(self, entry: IndexEntry) -> IndexEntry:
        """The entry with all its versions, from its detail file when it has one."""
        if entry.detail is None:
            return entry
        where = self._locate(entry.detail.url)
        data = self._read(where, MAX_DETAIL_BYTES, entry.detail.digest)
        whole = parse_detail(data, where=where)
        if (whole.id, whole.kind) != (entry.id, entry.kind):
            raise _unreadable(where, f"it speaks for `{whole.id}`, not for `{entry.id}`")
        return whole

    def _bundle(self, download: Download) -> bytes | None:
        if not download.bundle:
            return None
        if download.bundle.lstrip().startswith("{"):
            return download.bundle.encode("utf-8", "replace")
        return self._read(self._locate(download.bundle), MAX_BUNDLE_BYTES)

    def _attestations(self, download: Download) -> bytes | None:
        if not download.attestations:
            return None
        return self._read(self._locate(download.attestations), MAX_ATTESTATIONS_BYTES)

    # ── locations ─────────────────────────────────────────────────────────────────────────────────

    def _locate(self, url: str) -> str:
        """A location in the index as a path in the registry's folder, or as an address."""
        try:
            scheme = urlsplit(url).scheme.lower()
        except ValueError as error:
            why = f"`{clean(url, limit=120)}` is not an address: {error}"
            raise _unreadable(self.base, why) from error
        if scheme in {"http", "https"}:
            return url
        if scheme:
            raise _unreadable(self.base, f"`{clean(url, limit=120)}` is not http or https")
        if not self._is_folder:
            return urljoin(self.base, url)
        parts = unquote(url).split("/")
        if {"", ".", ".."} & set(parts) or any(c in part for part in parts for c in "\\\0"):
            raise _unreadable(self.base, f"`{clean(url, limit=120)}` leads out of the registry")
        return str(Path(self.base, *parts))

    # ── bytes ─────────────────────────────────────────────────────────────────────────────────────

    def _read(self, where: str, limit_bytes: int, expected: Digest | None = None) -> bytes:
        is_index = limit_bytes in {MAX_BYTES, MAX_DETAIL_BYTES}
        try:
            if "://" not in where:
                request = FetchRequest(where, limit_bytes, expected, below=self.root)
                return fetch_bytes(request)[0]
            return self._read_cached(where, limit_bytes, expected)
        except ResponseTooLarge as error:
            if not is_index:
                raise
            raise IndexTooLarge(
                f"the index `{clean(where)}` was not read: it is too large",
                why=error.why,
                next=["tell whoever maintains the registry"],
            ) from error
        except ResponseNotFound as error:
            raise _unreadable(where, error.why, self._hint()) from error

    def _hint(self) -> str:
        """What to do when a file of the registry is missing."""
        return f"check that {self.base} is a registry that `aperio registry build` wrote"

    def _read_cached(self, url: str, limit_bytes: int, expected: Digest | None) -> bytes:
        etag, body = self._from_cache(url, limit_bytes)
        is_wanted = expected is not None and Digest.of(body) == expected
        if body and (is_wanted or (self.offline and expected is None)):
            return body
        request = FetchRequest(
            source=url,
            limit_bytes=limit_bytes,
            expected_digest=expected,
            offline=self.offline,
            timeout_s=_INDEX_TIMEOUT_S,
            # Bytes that are not those expected must not be confirmed by their ETag.
            etag=etag if expected is None else None,
        )
        fetched_body, fetched = fetch_bytes(request)
        if not fetched.is_modified:
            return body
        self._to_cache(url, fetched.etag or "", fetched_body)
        return fetched_body

    def _cache_file(self, url: str) -> Path:
        return self.cache / hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()

    def _from_cache(self, url: str, limit_bytes: int) -> tuple[str | None, bytes]:
        """The ETag and the body of an earlier answer; the first line of the file is the ETag."""
        try:
            data = reading.read_capped(self._cache_file(url), limit_bytes + _MAX_ETAG_BYTES)
        except (OSError, AperioError):
            return None, b""
        etag, _, body = data.partition(b"\n")
        return etag.decode("utf-8", "replace") or None, body

    def _to_cache(self, url: str, etag: str, body: bytes) -> None:
        writing.make_private(self.cache)
        line = etag.encode("utf-8", "replace")
        writing.write_atomic(self._cache_file(url), line + b"\n" + body, mode=0o600)


def _unreadable(where: str, why: str, step: str = "") -> IndexUnreadable:
    return IndexUnreadable(
        f"the index `{clean(where)}` was not read",
        why=why,
        next=[step or "tell whoever maintains the registry"],
    )
