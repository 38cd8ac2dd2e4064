"""A body as it arrives: within its limit, digested on the way, and gone on with after a cut."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from aperio_cli.errors.files import ResponseTooLarge
from aperio_cli.models.address import shown
from aperio_cli.models.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aperio_cli.net.model import FetchRequest

MAX_TAG_CHARACTERS: Final = 256
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


class OtherRange(Exception):
    """A server sent another part of the body than was asked for."""


class Incomplete(Exception):
    """A server ended the rest of a body before the length that it states of the whole."""


@dataclass(frozen=True, slots=True)
class Marks:
    """By what a server tells one body from another (RFC 9110, section 8.8).

    Attributes:
        etag: its entity tag; None without a usable one.
        last_modified: when it was last changed, as the server says it; None likewise.
    """

    etag: str | None
    last_modified: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Marks:
        """Return what an answer is marked with, as far as it can be sent back."""
        return cls(_usable(headers.get("etag", "")), _usable(headers.get("last-modified", "")))

    @property
    def validator(self) -> str:
        """What `If-Range` may be sent with; empty for nothing.

        A weak tag says no more than that two bodies mean the same.
        """
        if self.etag:
            return "" if self.etag.startswith("W/") else self.etag
        return self.last_modified or ""


class Arrival:
    """What has arrived of one body, over all tries.

    Args:
        request: what is fetched.
        sink: where it goes, from its beginning.
    """

    def __init__(self, request: FetchRequest, sink: BinaryIO) -> None:
        self._request = request
        self._sink = sink
        self._hash = hashlib.sha256()
        self._validator = ""
        self.size_bytes = 0
        self.is_resumed = False
        """Whether some of it is of an earlier answer."""

    @property
    def digest(self) -> Digest:
        """Digest of what has arrived."""
        return Digest(self._hash.hexdigest())

    @property
    def is_whole(self) -> bool:
        """Whether it is known to be all there."""
        return bool(self.size_bytes) and self._request.goal == self.digest

    def recover(self) -> None:
        """Take over what an earlier process has received of it."""
        part = self._request.part
        if part is None:
            return
        self._empty()
        for chunk in part.contents():
            if self.size_bytes + len(chunk) > self._request.limit_bytes:
                self.drop()
                return
            self._take(chunk)
        self.is_resumed = self.size_bytes > 0

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest of it; none where it has to begin anew.

        Without the server's own tag the rest is asked for only if the digest of the whole says in
        the end whether it fits: two bodies may be of one second.
        """
        is_tagged = self._validator.startswith('"')
        if not self.size_bytes or not (is_tagged or self._request.goal):
            return {}
        asked = {"Range": f"bytes={self.size_bytes}-"}
        return asked | ({"If-Range": self._validator} if self._validator else {})

    def receive(self, marks: Marks, announced: str, chunks: Iterator[bytes]) -> None:
        """Take a whole body, in place of all that has arrived.

        Args:
            marks: what the answer is marked with.
            announced: the length that the server states; empty for none.
            chunks: the body.

        Raises:
            ResponseTooLarge: it is longer than the limit.
        """
        is_number = announced.isascii() and announced.isdecimal()
        total = int(announced[:20]) if is_number else None
        if total is not None and total > self._request.limit_bytes:
            raise self._too_large(f"the server announced {total}")
        self._empty()
        self._validator = marks.validator
        if part := self._request.part:
            part.drop()
        self._copy(chunks, total)

    def go_on(self, marks: Marks, stated: str, chunks: Iterator[bytes]) -> None:
        """Take the rest of a body behind what has arrived.

        Args:
            marks: what the answer is marked with.
            stated: which part it is, as `Content-Range` says.
            chunks: the rest.

        Raises:
            OtherRange: it is another part, or a part of another body, or longer than the whole.
            Incomplete: it is not all of the rest; what came of it stays.
            ResponseTooLarge: the whole is longer than the limit.
        """
        found = _RANGE.fullmatch(stated)
        if found is None or int(found[1]) != self.size_bytes or not self._is_marked(marks):
            raise OtherRange
        total = None if found[3] == "*" else int(found[3])
        if total is not None and total > self._request.limit_bytes:
            raise self._too_large(f"the server announced {total}")
        self.is_resumed = True
        self._copy(chunks, total)
        if total is not None and self.size_bytes != total:
            raise Incomplete if self.size_bytes < total else OtherRange

    def drop(self) -> None:
        """Forget all that has arrived."""
        self._empty()
        if part := self._request.part:
            part.drop()

    def _is_marked(self, marks: Marks) -> bool:
        """Return whether marks are those of what has arrived, as far as they can be compared."""
        found = marks.etag if self._validator.startswith('"') else marks.last_modified
        return not (self._validator and found) or self._validator == found

    def _empty(self) -> None:
        self._sink.seek(0)
        self._sink.truncate()
        self._hash = hashlib.sha256()
        self._validator = ""
        self.size_bytes = 0
        self.is_resumed = False

    def _copy(self, chunks: Iterator[bytes], total: int | None) -> None:
        part, tell = self._request.part, self._request.on_arrival
        for chunk in chunks:
            if self.size_bytes + len(chunk) > self._request.limit_bytes:
                raise self._too_large("the body went on behind that")
            self._take(chunk)
            if part:
                part.append(chunk)
            if tell:
                tell(self.size_bytes, total)

    def _take(self, chunk: bytes) -> None:
        self._sink.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def _too_large(self, why: str) -> ResponseTooLarge:
        return too_large(self._request, why)


def too_large(request: FetchRequest, why: str) -> ResponseTooLarge:
    """Return the error of a body that is longer than its limit."""
    return ResponseTooLarge(
        f"`{shown(request.address)}` was thrown away: it is too long",
        why=f"expected at most {request.limit_bytes} bytes; {why}",
        next=["check that the address is right, then tell whoever runs the server"],
    )


def _usable(mark: str) -> str | None:
    is_usable = mark.isascii() and mark.isprintable() and 0 < len(mark) <= MAX_TAG_CHARACTERS
    return mark if is_usable else None
