"""What is asked of the network, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.models.digest import Digest
    from aperio_cli.net.part import Part


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What to fetch, and how much of everything may be spent on it.

    Attributes:
        address: a path, or a file://, http:// or https:// URL.
        limit_bytes: the longest body; one byte more is an error.
        expected_digest: what the body has to be; None when it is not known yet.
        offline: refuse whatever is not a file, http on this machine included.
        timeout_s: for all tries, redirects and waits together.
        etag: what an earlier answer was marked with; the server may then say "not modified".
        last_modified: when the server last changed an earlier answer, likewise.
        is_fresh: whether no cache on the way may answer from what it has.
        named_by: the address of the registry that names it; empty for none. What everybody can
            read must not have this machine ask what only some networks reach.
        below: a folder, empty for none, that a path has to be in and that somebody else has
            written: no link is followed below it.
        part: what an earlier process has received of it, to go on from; None for none.
        on_arrival: told how many bytes have arrived of how many, which is None when nobody said.
    """

    address: str
    limit_bytes: int
    expected_digest: Digest | None = None
    offline: bool = False
    timeout_s: float = 60.0
    etag: str | None = None
    last_modified: str | None = None
    is_fresh: bool = False
    named_by: str = ""
    below: str = ""
    part: Part | None = field(default=None, repr=False)
    on_arrival: Callable[[int, int | None], None] | None = field(default=None, repr=False)

    @property
    def goal(self) -> Digest | None:
        """What the body has to be in the end, whoever checks it; None when nobody knows."""
        return self.expected_digest or (self.part.digest if self.part else None)

    @property
    def is_conditional(self) -> bool:
        """Whether an earlier answer may be confirmed."""
        return bool(self.etag or self.last_modified)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back.

    Attributes:
        digest: of the body; of nothing when it was not modified.
        size_bytes: length of the body.
        etag: what the server marked it with, for the next request; None without one.
        is_modified: False when the server said that the earlier answer still holds; then there
            is no body, and a file in the destination was left as it is.
        last_modified: when the server last changed it, for the next request; None when it did
            not say.
    """

    digest: Digest
    size_bytes: int
    etag: str | None
    is_modified: bool
    last_modified: str | None = None


class Inward(Exception):
    """A name leads into a private network, or to this machine, and must not.

    Attributes:
        host: the name.
        addresses: what it resolves to.
    """

    def __init__(self, host: str, addresses: tuple[str, ...]) -> None:
        super().__init__(f"{host} is {', '.join(addresses)}")
        self.host = host
        self.addresses = addresses
