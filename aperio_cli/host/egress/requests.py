"""One plain HTTP/1.1 request, read strictly and sent on for one host (RFC 9110, RFC 9112).

A request that two readers could understand in two ways is refused: that is how a second one, for
another host, is hidden in a first. One connection carries one request, and the server is told so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aperio_cli.host.egress.decisions import Denied, Reason

LONGEST_HEAD_BYTES: Final = 16 * 1024
END_OF_HEAD: Final = b"\r\n\r\n"
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rb"(%s) ([\x21-\x7e]+) HTTP/(1\.[01])" % _TOKEN)
_HEADER: Final = re.compile(rb"(%s):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)" % _TOKEN)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_LONGEST_METHOD: Final = 32
_LONGEST_CHUNK_LINE: Final = 4096
# Of one connection only (RFC 9110, 7.6.1), or meant for the door itself.
_DROPPED: Final = frozenset(
    {
        b"host",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"upgrade",
        b"http2-settings",
    }
)
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Request:
    """The head of one request.

    Attributes:
        method: as it was sent.
        target: likewise: `host:port` of CONNECT, an address, or a path.
        version: `1.0` or `1.1`.
        headers: names and values, as they were sent.
    """

    method: str
    target: str
    version: str
    headers: tuple[tuple[bytes, bytes], ...]

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header, by its name in lower case."""
        return [value for each, value in self.headers if each.lower() == name]

    def head_for(self, path: str, authority: str, extra: bytes = b"") -> bytes:
        """Return the head for the next server: its Host, and one request for the connection.

        Args:
            path: what it is asked for.
            authority: the host that it is asked as.
            extra: further header lines, each with its end.
        """
        listed = b",".join(self.values(b"connection")).lower().split(b",")
        dropped = _DROPPED | ({name.strip() for name in listed} - _FRAMING)
        lines = [b"%s: %s\r\n" % each for each in self.headers if each[0].lower() not in dropped]
        first = f"{self.method} {path} HTTP/{self.version}\r\nHost: {authority}\r\n"
        own = (first.encode("ascii"), b"Connection: close\r\n", extra)
        return b"".join((*own, *lines, b"\r\n"))

    def body(self) -> Body:
        """Return what tells where its body ends (RFC 9112, section 6.3).

        Raises:
            Denied: it is said in two ways, or in one that is not known.
        """
        lengths, codings = self.values(b"content-length"), self.values(b"transfer-encoding")
        if codings:
            if lengths or [value.lower() for value in codings] != [b"chunked"]:
                raise Denied(Reason.MALFORMED, "a body whose end is not said in one way")
            return Body(is_chunked=True)
        if len(lengths) > 1 or any(not _LENGTH.fullmatch(value) for value in lengths):
            raise Denied(Reason.MALFORMED, "a body whose length is not said in one way")
        return Body(int(lengths[0]) if lengths else 0)


def parse_request(head: bytes) -> Request:
    """Return the request in these bytes, which end before the empty line.

    Raises:
        Denied: it cannot be read, or in two ways.
    """
    first, *rest = head.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if not line:
        raise Denied(Reason.MALFORMED, "no request of HTTP/1.1")
    headers = []
    for text in rest:
        found = _HEADER.fullmatch(text)
        if not found:
            raise Denied(Reason.MALFORMED, "a header that cannot be read")
        headers.append((found[1], found[2].rstrip(b" \t")))
    method, target, version = (part.decode("ascii") for part in line.groups())
    return Request(method, target, version, tuple(headers))


def begins_like_http(data: bytes) -> bool:
    """Return whether these may be the first bytes of a request: a method, then a space."""
    method, space, _ = data.partition(b" ")
    is_one = len(method) <= _LONGEST_METHOD and re.fullmatch(_TOKEN, method) is not None
    return is_one and (bool(space) or len(method) == len(data))


class Body:
    """Passes on one body, and nothing behind its end.

    Args:
        length_bytes: how long it is, unless it says so chunk by chunk.
        is_chunked: whether it does (RFC 9112, section 7.1).
    """

    def __init__(self, length_bytes: int = 0, *, is_chunked: bool = False) -> None:
        self._left = length_bytes
        self._is_chunked = is_chunked
        self._line = b""
        self._is_trailer = False
        self._trailer_bytes = 0
        self._awaits_line_end = False
        self.is_done = not is_chunked and length_bytes == 0

    def feed(self, data: bytes) -> bytes:
        """Take what the client sent; return what of it belongs to the body.

        Raises:
            Denied: a chunk cannot be read.
        """
        data, self._line = self._line + data, b""
        at = 0
        while at < len(data) and not self.is_done:
            if self._left:
                end = min(at + self._left, len(data))
                self._left -= end - at
                self.is_done = not self._left and not self._is_chunked
            elif not (end := self._after_line(data, at)):
                self._line = data[at:]
                break
            at = end
        return data[:at]

    def _after_line(self, data: bytes, begin: int) -> int:
        """Read the line that begins there; return where what comes after it begins, 0: not whole.

        Nothing is copied but the line: of a body of very short chunks there are many in `data`.
        """
        end = data.find(b"\n", begin) + 1
        if (end or len(data)) - begin > _LONGEST_CHUNK_LINE:
            raise Denied(Reason.TOO_LONG, "a line of a chunked body")
        if end:
            text = data[begin : end - 1]
            if not text.endswith(b"\r"):
                raise Denied(Reason.MALFORMED, "a chunk that cannot be read")
            self._read_line(text[:-1])
        return end

    def _read_line(self, text: bytes) -> None:
        if self._is_trailer:
            self._trailer_bytes += len(text)
            if text and (not _HEADER.fullmatch(text) or self._trailer_bytes > LONGEST_HEAD_BYTES):
                raise Denied(Reason.MALFORMED, "a trailer that cannot be read")
            self.is_done = not text
        elif self._awaits_line_end:
            if text:
                raise Denied(Reason.MALFORMED, "a chunk longer than it says")
            self._awaits_line_end = False
        else:
            found = _CHUNK.fullmatch(text)
            if not found:
                raise Denied(Reason.MALFORMED, "a chunk that cannot be read")
            self._left = int(found[1], 16)
            self._awaits_line_end = self._left > 0
            self._is_trailer = not self._left
