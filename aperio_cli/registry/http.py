"""A registry behind an http address, and the downloads that every registry may need."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

from aperio_cli.errors import AperioError
from aperio_cli.errors.files import NetworkUnavailable
from aperio_cli.models.address import Place, shown
from aperio_cli.models.digest import Digest
from aperio_cli.net.cache import AnswerCache, KeptAnswer
from aperio_cli.net.fetch import Fetched, FetchRequest, fetch_bytes, place_of_url
from aperio_cli.registry.reader import check_address, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class HttpReader:
    """The documents behind an address.

    Attributes:
        place: the address, which ends in `/`; without user, query and fragment.
        downloads: fetches them.
    """

    place: str
    downloads: Downloads

    @property
    def below(self) -> str:
        """Empty: there is no folder."""
        return ""

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

    def read(
        self,
        where: str,
        limit_bytes: int,
        expected: Digest | None = None,
        *,
        is_fresh: bool = False,
    ) -> bytes:
        """Return a document (`Documents.read`)."""
        return self.downloads.read(
            where, limit_bytes, expected, is_fresh=is_fresh, named_by=self.place
        )

    def keeping_late(self) -> contextlib.AbstractContextManager[None]:
        """Keep what is read in the block at its end (`Documents.keeping_late`)."""
        return self.downloads.keeping_late()

    def keeping_nothing(self) -> contextlib.AbstractContextManager[None]:
        """Keep nothing of what is read in the block (`Documents.keeping_nothing`)."""
        return self.downloads.keeping_nothing()

    def kept(self, where: str, limit_bytes: int, expected: Digest | None = None) -> bytes | None:
        """Return what the cache has of a place (`Documents.kept`)."""
        found = AnswerCache(self.downloads.cache).find(where, limit_bytes)
        is_it = found is not None and expected in {None, Digest.of(found.body)}
        return found.body if found and is_it else None

    def keep(self, where: str, data: bytes) -> None:
        """Put something of our own into the cache (`Documents.keep`)."""
        ours = Fetched(Digest.of(data), len(data), None, is_modified=True)
        self.downloads.keep(where, data, ours)


@dataclass(slots=True)
class Downloads:
    """Fetches documents over http and keeps them with the marks that they can be asked about by.

    What cannot be kept is asked for again the next time: nothing is refused for that.

    Attributes:
        cache: the folder to keep them in; made when missing.
        offline: whether only what is kept may be read.
        unavailable: addresses that were asked in vain: one that does not answer is not waited for
            again by the same command, as for each of a hundred plugins.
    """

    cache: Path
    offline: bool
    unavailable: dict[str, NetworkUnavailable] = field(default_factory=dict, compare=False)
    _late: dict[str, tuple[bytes, Fetched]] | None = field(default=None, init=False, compare=False)

    @contextlib.contextmanager
    def keeping_late(self) -> Iterator[None]:
        """Keep what is read in the block at its end (`Documents.keeping_late`)."""
        outer, self._late = self._late, {}
        try:
            yield
            for url, (body, fetched) in self._late.items():
                self.keep(url, body, fetched)
        finally:
            self._late = outer

    @contextlib.contextmanager
    def keeping_nothing(self) -> Iterator[None]:
        """Keep nothing of what is read in the block (`Documents.keeping_nothing`)."""
        outer, self._late = self._late, {}
        try:
            yield
        finally:
            self._late = outer

    def read(
        self,
        url: str,
        limit_bytes: int,
        expected: Digest | None = None,
        *,
        is_fresh: bool = False,
        named_by: str = "",
    ) -> bytes:
        """Return the document at an address (`Documents.read`), which a registry there names."""
        kept = self._known(url, limit_bytes)
        is_wanted = kept is not None and expected is not None and Digest.of(kept.body) == expected
        if kept and (is_wanted or (self.offline and expected is None)):
            return kept.body
        request = FetchRequest(
            address=url,
            limit_bytes=limit_bytes,
            expected_digest=expected,
            offline=self.offline,
            timeout_s=TIMEOUT_S,
            is_fresh=is_fresh,
            named_by=named_by,
        )
        if kept and expected is None and not is_fresh:
            # Bytes that are not those expected must not be confirmed by their marks.
            request = replace(request, etag=kept.etag, last_modified=kept.last_modified)
        body, fetched = self._fetch(request)
        if kept and not fetched.is_modified:
            return kept.body
        if self._late is not None:
            self._late[url] = body, fetched
        else:
            self.keep(url, body, fetched)
        return body

    def _known(self, url: str, limit_bytes: int) -> KeptAnswer | None:
        """Return what was read before: in this block, or else by whom kept it."""
        late = self._late.get(url) if self._late else None
        if late and len(late[0]) <= limit_bytes:
            return KeptAnswer(late[0], late[1].etag, late[1].last_modified)
        return AnswerCache(self.cache).find(url, limit_bytes)

    def keep(self, url: str, body: bytes, fetched: Fetched) -> None:
        """Keep an answer, where the cache can be written."""
        with contextlib.suppress(AperioError, OSError):  # a home for reading only, a full disk
            AnswerCache(self.cache).keep(url, body, fetched)

    def _fetch(self, request: FetchRequest) -> tuple[bytes, Fetched]:
        before = self.unavailable.get(request.address)
        if before is not None:
            raise type(before)(before.what, why=before.why, next=before.next)
        try:
            return fetch_bytes(request)
        except NetworkUnavailable as error:
            self.unavailable[request.address] = error
            raise
