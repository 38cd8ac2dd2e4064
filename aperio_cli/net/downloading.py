"""One body over the network: its tries, their redirects, and the time left for them.

A try that breaks off is gone on with where it ended, as RFC 9110 section 14 lets a client do; how
far is trusted to what the server says and, where it is known, to the digest of the whole.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, BinaryIO, Final

from aperio_cli import clock
from aperio_cli.errors.files import InsecureUrl, NetworkUnavailable, ResponseNotFound
from aperio_cli.models.address import (
    Place,
    is_everybodys,
    is_possible,
    is_private,
    is_public,
    place_of,
    shown,
)
from aperio_cli.models.digest import Digest
from aperio_cli.net.arriving import Arrival, Incomplete, Marks, OtherRange
from aperio_cli.net.model import Fetched, Inward
from aperio_cli.net.request import Request, Unanswered, answered
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from aperio_cli.errors import AperioError
    from aperio_cli.net.diagnosis import Cause
    from aperio_cli.net.model import FetchRequest

MAX_REDIRECTS: Final = 5
MAX_TRIES: Final = 3
"""Tries one after the other that bring nothing."""
MAX_RESUMED: Final = 200
"""Tries altogether, however much each of them brings."""
MAX_RETRY_AFTER_S: Final = 10.0

_FIRST_BACKOFF_S: Final = 0.25
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({404, 410})
_TOO_MANY_REQUESTS: Final = 429
_MAX_PORT: Final = 65535
_NOT_MODIFIED: Final = 304
_OK: Final = 200
_PARTIAL: Final = 206
_NO_SUCH_RANGE: Final = 416
_SERVER_ERROR: Final = 500


class _TryAgain(Exception):
    """A try failed in a way that the next one may not; never leaves this module."""

    def __init__(self, why: str, *, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.why = why
        self.wait_s = wait_s


class Download:
    """One request over the network.

    Args:
        request: what to fetch.
        sink: where to; a file that can be written, sought and truncated.
        sleep: waits between tries, in seconds.
    """

    def __init__(
        self, request: FetchRequest, sink: BinaryIO, sleep: Callable[[float], None]
    ) -> None:
        self._request = request
        self._arrival = Arrival(request, sink)
        self._sleep = sleep
        self._is_conditional = request.is_conditional
        self._deadline_s = clock.monotonic_s() + request.timeout_s

    def run(self) -> Fetched:
        """Try until there is an answer, the tries are used up, or the time is.

        Raises:
            AperioError: as `fetch.fetch_file`.
        """
        self._arrival.recover()
        if self._arrival.is_whole:
            return self._fetched(Marks(None, None))
        fetched = self._run_tries()
        if self._arrival.is_resumed and self._request.goal not in {None, fetched.digest}:
            # What was there before was no beginning of this body.
            self._arrival.drop()
            fetched = self._run_tries()
        return fetched

    def _run_tries(self) -> Fetched:
        count, vain, failure = 0, 0, _TryAgain("")
        while vain < MAX_TRIES and count < MAX_RESUMED:
            before_bytes = self._arrival.size_bytes
            count += 1
            try:
                return self._try()
            except _TryAgain as caught:
                failure = caught
            vain = 1 if self._has_grown(before_bytes) else vain + 1
            # Jitter: clients that failed together must not come back together.
            backoff_s = _FIRST_BACKOFF_S * 2 ** (vain - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
            wait_s = max(failure.wait_s, backoff_s)
            if vain < MAX_TRIES:
                if wait_s >= self._left_s():
                    break
                self._sleep(wait_s)
        raise self._unavailable(f"tried {count} times; the last time: {failure.why}")

    def _has_grown(self, before_bytes: int) -> bool:
        """Return whether a try brought something that the next one goes on from."""
        return bool(self._arrival.headers()) and self._arrival.size_bytes > before_bytes

    def _try(self) -> Fetched:
        url = parse_url(self._request.address)
        _require_secure(url, self._request.address)
        try:
            return self._follow(url)
        except Unanswered as failure:
            if failure.cause:
                raise self._lasting(failure.cause) from failure
            if failure.is_late:
                raise self._out_of_time() from failure
            raise _TryAgain(clean(failure)) from failure

    # ── redirects ─────────────────────────────────────────────────────────────────────────────────

    def _follow(self, url: httpx.URL) -> Fetched:
        headers = self._headers()
        is_local, is_outward = place_of(url.host) is Place.HERE, self._is_outward(url)
        for _ in range(MAX_REDIRECTS + 1):
            request = Request(
                str(url), self._deadline_s, headers, is_local=is_local, is_outward=is_outward
            )
            with self._outward(), answered(request) as answer:
                if answer.status_code not in _REDIRECTS:
                    return self._answer(answer, "Range" in headers)
                target = self._redirect_target(answer, url)
                is_outward |= _came_from_outside(answer)
            self._check_redirect(url, target)
            _require_secure(target, self._request.address)
            url = target
        raise self._unavailable(f"more than {MAX_REDIRECTS} redirects, one after the other")

    def _is_outward(self, url: httpx.URL) -> bool:
        """Return whether only what everybody reaches may be asked: a public registry names it.

        One that has a public name, and an address of one network only, is no public one.
        """
        index = parse_url(self._request.named_by) if self._request.named_by else None
        if index is None or _origin(index) == _origin(url) or not is_public(index.host):
            return False
        from aperio_cli.net import transport

        try:
            return bool(transport.outward_addresses(index.host, index.port or 0))
        except Inward:
            return False
        except transport.FAILURES:  # it was read from a cache, or by way of a proxy
            return True

    @contextlib.contextmanager
    def _outward(self) -> Iterator[None]:
        """Tell that a name leads where it must not.

        Raises:
            InsecureUrl: it does.
        """
        try:
            yield
        except Inward as inward:
            raise InsecureUrl(
                f"{_shown(self._request.address)} was not fetched: it leads into a private network,"
                " or to this machine",
                why=f"{clean(inward.host)} is {', '.join(inward.addresses)}",
                next=["tell whoever maintains the registry, or runs the server that redirects"],
            ) from inward

    def _headers(self) -> dict[str, str]:
        if headers := self._arrival.headers():
            return headers
        headers = {"Cache-Control": "no-cache"} if self._request.is_fresh else {}
        if self._is_conditional:
            stated = {
                "If-None-Match": self._request.etag,
                "If-Modified-Since": self._request.last_modified,
            }
            headers |= {name: value for name, value in stated.items() if value}
        return headers

    def _redirect_target(self, response: httpx.Response, url: httpx.URL) -> httpx.URL:
        from aperio_cli.net.lean import httpx

        try:
            return _readable(url.join(response.headers["location"]))
        except (KeyError, ValueError, httpx.InvalidURL) as error:
            raise self._unavailable("it redirected to an address that cannot be read") from error

    def _check_redirect(self, url: httpx.URL, target: httpx.URL) -> None:
        """Refuse a redirect onto this machine or off it, off https, inwards, or with a password.

        Raises:
            InsecureUrl: it is one of these.
        """
        why = ""
        if place_of(target.host) is not place_of(url.host):
            why = "a redirect must not lead onto this machine or off it"
        elif url.scheme == "https" != target.scheme:
            why = "a redirect must not leave https"
        elif is_private(target.host) and not is_private(url.host):
            why = "a redirect must not lead into a private network"
        elif target.userinfo and (target.userinfo, _origin(target)) != (url.userinfo, _origin(url)):
            why = "a redirect must not carry a user or a password"
        if why:
            raise InsecureUrl(
                f"{_shown(self._request.address)} was not fetched: it redirects somewhere unsafe",
                why=f"{why}\nfound    {_shown(str(target))}",
                next=["tell whoever runs the server"],
            )

    # ── answers ───────────────────────────────────────────────────────────────────────────────────

    def _answer(self, response: httpx.Response, asked_for_rest: bool) -> Fetched:  # noqa: FBT001 - of one caller
        status, marks = response.status_code, Marks.of(response.headers)
        if status == _OK:
            announced = response.headers.get("content-length", "")
            self._arrival.receive(marks, announced, response.iter_raw())
            return self._fetched(marks)
        if status == _PARTIAL and asked_for_rest:
            return self._go_on(response, marks)
        if status == _NO_SUCH_RANGE and asked_for_rest:
            self._arrival.drop()
            raise _TryAgain("the server has no more of it than there was")
        if status == _NOT_MODIFIED and self._is_conditional and not asked_for_rest:
            return self._confirmed(marks)
        raise self._failure(response)

    def _go_on(self, response: httpx.Response, marks: Marks) -> Fetched:
        try:
            self._arrival.go_on(
                marks, response.headers.get("content-range", ""), response.iter_raw()
            )
        except OtherRange:
            self._arrival.drop()
            raise _TryAgain("the server sent another part than was asked for") from None
        except Incomplete:
            raise _TryAgain("the server ended before the length that it states") from None
        return self._fetched(marks)

    def _confirmed(self, marks: Marks) -> Fetched:
        """Return that the earlier answer still holds, unless another one was confirmed."""
        asked = self._request.etag, self._request.last_modified
        found = marks.etag, marks.last_modified
        if any(a and f and _opaque(a) != _opaque(f) for a, f in zip(asked, found, strict=True)):
            self._is_conditional = False
            raise _TryAgain("the server confirmed another answer than the one that was asked about")
        return Fetched(Digest.of(b""), 0, *asked[:1], is_modified=False, last_modified=asked[1])

    def _fetched(self, marks: Marks) -> Fetched:
        arrival = self._arrival
        return Fetched(
            arrival.digest,
            arrival.size_bytes,
            marks.etag,
            is_modified=True,
            last_modified=marks.last_modified,
        )

    def _failure(self, response: httpx.Response) -> Exception:
        status = response.status_code
        why = f"the server answered {status} {clean(response.reason_phrase)}".rstrip()
        if status in _GONE:
            return ResponseNotFound(
                f"{_shown(self._request.address)} is not there",
                why=why,
                next=["check the name and the version for a typing error"],
            )
        if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
            return _TryAgain(why, wait_s=_retry_after_s(response.headers.get("retry-after", "")))
        error = self._unavailable(why)
        error.status = status
        return error

    # ── what goes wrong ───────────────────────────────────────────────────────────────────────────

    def _left_s(self) -> float:
        return self._deadline_s - clock.monotonic_s()

    def _out_of_time(self) -> AperioError:
        return self._unavailable(f"it was not complete after {self._request.timeout_s:g} s")

    def _unavailable(self, why: str) -> NetworkUnavailable:
        return NetworkUnavailable(
            f"{_shown(self._request.address)} was not fetched",
            why=why,
            next=["check the connection, then try again"],
        )

    def _lasting(self, cause: Cause) -> NetworkUnavailable:
        return cause.error(
            f"{_shown(self._request.address)} was not fetched: {cause.what}",
            why=cause.why,
            next=cause.next,
        )


def parse_url(address: str) -> httpx.URL:
    """Return the URL, parsed by what connects later, so that both read the same host in it.

    Raises:
        InsecureUrl: it cannot be read.
    """
    from aperio_cli.net.lean import httpx

    try:
        return _readable(httpx.URL(address))
    except (httpx.InvalidURL, ValueError) as error:
        raise InsecureUrl(
            f"{_shown(address)} is not an address that can be fetched",
            # The parser quotes what it could not read, which may be a part of a password.
            why="" if "@" in address else clean(error),
            next=["check the address for a typing error"],
        ) from error


def _readable(url: httpx.URL) -> httpx.URL:
    """Return a URL whose host can be read, and can be one; else ValueError.

    Raises:
        ValueError: its host has an escape that stands for none, a part that is empty or too long
            for any name, or its port is none.
    """
    host = url.host
    if url.scheme in {"http", "https"} and host and not is_possible(host):
        message = "a part of its host's name is empty or too long"
        raise ValueError(message)
    if url.port is not None and not 1 <= url.port <= _MAX_PORT:
        message = f"its port is none: expected 1 to {_MAX_PORT}"
        raise ValueError(message)
    return url


def _require_secure(url: httpx.URL, address: str) -> None:
    place = place_of(url.host)
    if place is not Place.UNCLEAR and (
        url.scheme == "https" or (url.scheme == "http" and place is Place.HERE)
    ):
        return
    raise InsecureUrl(
        f"{_shown(address)} was not fetched: the address is not secure",
        why=f"expected https, or http on this machine\nfound    {_shown(str(url))}",
        next=["use the https address of the same server"],
    )


def _came_from_outside(answer: httpx.Response) -> bool:
    """Return whether whoever answered has an address that everybody reaches; a proxy perhaps."""
    stream = answer.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream else None
    return peer is not None and is_everybodys(str(peer[0]))


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return what a password is given to (RFC 6454); httpx leaves a scheme's own port out."""
    return url.scheme, url.host, url.port


def _opaque(mark: str) -> str:
    """Return a mark without its weakness: a 304 is compared weakly (RFC 9110, section 13.1.2)."""
    return mark.removeprefix("W/")


def _shown(address: str) -> str:
    return f"`{shown(address)}`"


def _retry_after_s(header: str) -> float:
    """Return how long a server asks to wait, RFC 9110 section 10.2.3, capped.

    0 for a date or nonsense.
    """
    is_number = header.isascii() and header.isdecimal()
    return min(float(header[:9]), MAX_RETRY_AFTER_S) if is_number else 0.0
