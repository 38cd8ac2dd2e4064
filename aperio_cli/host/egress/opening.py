"""What a plugin says first on a connection, held to the host that the connection is for.

TLS has to ask for that host, plain HTTP has to be for it, and anything else is refused, because
nobody could tell which host it is meant for. Pure: bytes in, the bytes that may be passed on out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aperio_cli.host.egress.decisions import Denied, Reason
from aperio_cli.host.egress.hello import Hellos, begins_like_tls
from aperio_cli.host.egress.requests import (
    END_OF_HEAD,
    LONGEST_HEAD_BYTES,
    begins_like_http,
    parse_request,
)
from aperio_cli.host.egress.targets import Target, parse_authority

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.host.egress.requests import Request


class Screen(Protocol):
    """Passes on what a client sends.

    Attributes:
        is_done: whether it has nothing more to look at.
    """

    is_done: bool

    def feed(self, data: bytes) -> bytes:
        """Take what the client sent; return what may be passed on now.

        Raises:
            Denied: nothing more may.
        """


class Opening:
    """The screen of a connection of which nothing is known but where it leads.

    Args:
        target: where it leads.
        judge: takes why something may not be passed on; what it raises ends the connection. When
            it raises nothing, everything is passed on.

    Attributes:
        is_settled: whether it was seen what is spoken, and that it is for that host.
        has_begun: whether the client said anything.
        is_tls: whether it is TLS, once that was seen.
        is_http: whether it is plain HTTP, likewise.
        is_done: as for every screen.
    """

    def __init__(self, target: Target, judge: Callable[[Denied], None]) -> None:
        self._target = target
        self._judge = judge
        self._held = b""
        self._hellos: Hellos | None = None
        self._one_request: OneRequest | None = None
        self.has_begun = False
        self.is_tls = False
        self.is_http = False
        self.is_settled = False
        self.is_done = False

    def feed(self, data: bytes) -> bytes:
        """Take what the client sent; return what may be passed on now.

        Raises:
            Denied: as `judge`; or it cannot be read.
        """
        self.has_begun = self.has_begun or bool(data)
        if self.is_done or not data:
            return data
        if self._one_request:
            return self._one_request.feed(data)
        if self._hellos:
            return self._through_hellos(data)
        self._held += data
        if begins_like_tls(self._held):
            self.is_tls = True
            self._hellos = Hellos(self._target, self._judge)
            return self._through_hellos(self._take_held())
        if begins_like_http(self._held):
            self.is_http = True
            return self._read_head()
        return self._anything()

    def let_pass(self) -> None:
        """Look at nothing any more."""
        self.is_settled = self.is_done = True

    def _through_hellos(self, data: bytes) -> bytes:
        assert self._hellos  # noqa: S101 - made before
        passed = self._hellos.feed(data)
        self.is_settled = self._hellos.has_hello
        self.is_done = self._hellos.is_done
        return passed

    def _read_head(self) -> bytes:
        head, end, rest = self._held.partition(END_OF_HEAD)
        if len(head) > LONGEST_HEAD_BYTES:
            raise Denied(Reason.TOO_LONG, "the head of a request")
        if not end:
            return b""
        if head.startswith(b"PRI "):  # HTTP/2 without TLS (RFC 9113, 3.4) names hosts further on
            return self._anything()
        request = parse_request(head)
        authority = self._target.authority
        try:
            require_host(request, self._target)
        except Denied as denied:
            if denied.reason is not Reason.HOST_DIFFERS:
                raise
            self._judge(denied)
            authority = request.values(b"host")[0].decode("ascii")
        self._held = b""
        self._one_request = OneRequest(request, request.target, authority)
        self.is_settled = True
        return self._one_request.head + self._one_request.feed(rest)

    def _anything(self) -> bytes:
        self._judge(Denied(Reason.UNKNOWN_PROTOCOL))
        self.is_settled = self.is_done = True
        return self._take_held()

    def _take_held(self) -> bytes:
        held, self._held = self._held, b""
        return held


class Anything:
    """The screen of a connection on which anything may be said."""

    is_done = True

    def feed(self, data: bytes) -> bytes:
        """Return what the client sent."""
        return data


class OneRequest:
    """The screen of a plain HTTP request: what comes behind it is dropped.

    Args:
        request: its head; somebody has looked for which host it is.
        path: what the next server is asked for.
        authority: the host that it is asked as.
        extra: further header lines, each with its end.

    Attributes:
        head: what is sent on instead of the head that came.

    Raises:
        Denied: where its body ends is not said in one way.
    """

    is_done = False

    def __init__(self, request: Request, path: str, authority: str, extra: bytes = b"") -> None:
        self.head = request.head_for(path, authority, extra)
        self._body = request.body()

    def feed(self, data: bytes) -> bytes:
        """Take what the client sent; return what of it belongs to the request."""
        return self._body.feed(data)


def require_host(request: Request, target: Target) -> None:
    """Require that a request, in the form in which servers are asked, is for a host.

    Raises:
        Denied: it is not, or says so in two ways.
    """
    if request.method == "CONNECT" or not (request.target[:1] == "/" or request.target == "*"):
        raise Denied(Reason.MALFORMED, "expected a request for a path")
    hosts = request.values(b"host")
    if len(hosts) != 1:
        raise Denied(Reason.MALFORMED, "expected one Host header")
    text = hosts[0].decode("ascii", "replace")
    try:
        is_same = parse_authority(text, target.port) == target
    except Denied:
        is_same = False
    if not is_same:
        raise Denied(Reason.HOST_DIFFERS, text)
