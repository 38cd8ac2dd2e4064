"""The bytes of an offer: those that are kept, else from where it says, else from a mirror.

A mirror is a place and no more: what comes from it is held against the same digest and length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from aperio_cli.errors.files import (
    InsecureUrl,
    NetworkUnavailable,
    ResponseNotFound,
    ResponseTooLarge,
)
from aperio_cli.models.address import is_address
from aperio_cli.net.fetch import fetch_into
from aperio_cli.net.model import FetchRequest
from aperio_cli.verifying.remote import DOWNLOAD_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.errors import AperioError
    from aperio_cli.models.digest import Digest
    from aperio_cli.models.offer import Offer
    from aperio_cli.net.part import Part
    from aperio_cli.verifying.kept import KeptArtifacts

MAX_ARTIFACT_BYTES: Final = 1024**3
_OF_A_PLACE: Final = (InsecureUrl, NetworkUnavailable, ResponseNotFound, ResponseTooLarge)
"""What one place may end in, and another need not."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of an offer may come from.

    Attributes:
        offer: the offer.
        kept: artifacts that were downloaded before; None when none are kept.
        offline: whether nothing may be downloaded.
        on_arrival: told how many bytes have arrived of how many, None when nobody said.
    """

    offer: Offer
    kept: KeptArtifacts | None = None
    offline: bool = False
    on_arrival: Callable[[int, int | None], None] | None = None

    @property
    def limit_bytes(self) -> int:
        """The longest artifact that it can be."""
        stated = self.offer.size_bytes
        return MAX_ARTIFACT_BYTES if stated is None else min(stated, MAX_ARTIFACT_BYTES)

    @property
    def locations(self) -> tuple[str, ...]:
        """Where it is, in the order in which they are asked."""
        return (self.offer.location, *self.offer.mirrors)


def download(source: Source, sink: BinaryIO) -> Digest:
    """Write the bytes of an offer into an open file, and return their digest.

    What arrives from elsewhere is kept as it arrives, so that a download that was cut is gone on
    with, by this process or another; once it is whole it is kept under its digest.

    Args:
        source: where they may come from.
        sink: a file at its beginning that can be written, sought and truncated.

    Raises:
        AperioError: no place gives anything (`fetch_into` and its errors, of the first place).
        OSError: the file cannot be written.
    """
    digest, kept = source.offer.digest, source.kept
    is_remote = is_address(source.offer.location)
    if kept is None or digest is None or not is_remote:
        return _fetch(source, sink, None)
    if kept.copy_into(digest, sink, source.limit_bytes):
        return digest
    if source.offline:
        return _fetch(source, sink, None)
    with kept.part(digest) as part:
        # Another process may just have finished it.
        if part is None and kept.copy_into(digest, sink, source.limit_bytes):
            return digest
        found = _fetch(source, sink, part)
        if part:
            kept.finish(part, found)
        return found


def _fetch(source: Source, sink: BinaryIO, part: Part | None) -> Digest:
    """Return the digest of what came; of other bytes only where no place has those promised."""
    problems: list[AperioError] = []
    other = None
    for location in source.locations:
        try:
            found = fetch_into(_request(source, location, part), sink).digest
        except _OF_A_PLACE as problem:
            problems.append(problem)
            continue
        if source.offer.digest in {None, found}:
            return found
        other = other or found
        if part:
            part.drop()
    if other:
        return other
    for later in problems[1:]:
        problems[0].add_evidence(f"{later.what}: {later.why}")
    raise problems[0]


def _registry_of(offer: Offer) -> str:
    """Return the address of the registry that makes an offer; empty for a folder, or none."""
    place = offer.edition.registry if offer.edition else ""
    return place if is_address(place) else ""


def _request(source: Source, location: str, part: Part | None) -> FetchRequest:
    return FetchRequest(
        address=location,
        limit_bytes=source.limit_bytes,
        offline=source.offline,
        timeout_s=DOWNLOAD_TIMEOUT_S,
        named_by=_registry_of(source.offer),
        below=source.offer.below if location == source.offer.location else "",
        part=part,
        on_arrival=source.on_arrival,
    )
