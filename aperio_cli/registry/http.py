"""A registry behind an http address, and the downloads that every registry may need."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

from aperio_cli.errors import AperioError
from aperio_cli.files import reading, writing
from aperio_cli.models.address import Place, shown
from aperio_cli.models.digest import Digest
from aperio_cli.net.fetch import FetchRequest, fetch_bytes, place_of_url
from aperio_cli.registry.reader import check_address, make_offer, read_index, unreadable

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.offer import Offer
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.models.registry_index import IndexEntry, RegistryIndex

TIMEOUT_S: Final = 30.0
_MAX_ETAG_BYTES = 1024


@dataclass(frozen=True, slots=True)
class HttpReader:
    """A registry whose index is behind an address.

    Attributes:
        place: the address, which ends in `/`; without user, query and fragment.
        downloads: fetches its documents.
    """

    place: str
    downloads: Downloads

    @property
    def name(self) -> str:
        """What people are shown; says that nobody signed for the index."""
        return f"{self.place} (unsigned index)"

    @property
    def below(self) -> str:
        """Empty: there is no folder."""
        return ""

    def index(self) -> RegistryIndex:
        """Return the index (`RegistryReader.index`)."""
        return read_index(self)

    def offer(self, entry: IndexEntry, ref: PluginRef, platform: Platform) -> Offer:
        """Return an offer (`RegistryReader.offer`)."""
        return make_offer(self, entry, ref, platform)

    def locate(self, url: str) -> str:
        """Return a location in the index as an address: where the index is, or elsewhere.

        Raises:
            IndexUnreadable: it is no address, or the index may not point there.
        """
        try:
            address = urljoin(self.place, url)
        except ValueError as error:
            raise unreadable(self.place, f"`{shown(url)}` is not an address: {error}") from error
        allowed = {place_of_url(self.place), Place.ELSEWHERE}
        return check_address(address, allowed=allowed, index=self.place)

    def read(self, where: str, limit_bytes: int, expected: Digest | None = None) -> bytes:
        """Return a document (`Documents.read`)."""
        return self.downloads.read(where, limit_bytes, expected)


@dataclass(frozen=True, slots=True)
class Downloads:
    """Fetches documents over http and keeps them with their ETag.

    Attributes:
        cache: the folder to keep them in; made when missing.
        offline: whether only what is kept may be read.
    """

    cache: Path
    offline: bool

    def read(self, url: str, limit_bytes: int, expected: Digest | None = None) -> bytes:
        """Return the document at an address (`Documents.read`)."""
        etag, body = self._kept(url, limit_bytes)
        is_wanted = expected is not None and Digest.of(body) == expected
        if body and (is_wanted or (self.offline and expected is None)):
            return body
        request = FetchRequest(
            address=url,
            limit_bytes=limit_bytes,
            expected_digest=expected,
            offline=self.offline,
            timeout_s=TIMEOUT_S,
            # Bytes that are not those expected must not be confirmed by their ETag.
            etag=etag if expected is None else None,
        )
        fetched_body, fetched = fetch_bytes(request)
        if not fetched.is_modified:
            return body
        self._keep(url, fetched.etag or "", fetched_body)
        return fetched_body

    def _file(self, url: str) -> Path:
        return self.cache / hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()

    def _kept(self, url: str, limit_bytes: int) -> tuple[str | None, bytes]:
        """Return ETag and body of an earlier answer; the first line of the file is the ETag."""
        try:
            data = reading.read_capped(self._file(url), limit_bytes + _MAX_ETAG_BYTES)
        except (OSError, AperioError):
            return None, b""
        etag, _, body = data.partition(b"\n")
        return etag.decode("utf-8", "replace") or None, body

    def _keep(self, url: str, etag: str, body: bytes) -> None:
        writing.ensure_own(self.cache)
        line = etag.encode("utf-8", "replace")
        writing.write_atomic(self._file(url), line + b"\n" + body, mode=0o600)
