"""A JSON API over HTTPS, asked with care: one line for each request in a plugin.

    service = rest.Service(
        context,
        context.config.text("base_url"),
        headers={"Authorization": f"Bearer {context.config.text('api_key')}"},
    )
    account = service.get("/v1/account").object()
    page = service.get("/v1/events", {"after": position}).page("events")

It follows no redirect, so that the key goes nowhere else; reads no more than it was told; waits
when the service asks for it; and says in the terms of `aperio_plugin.errors` what went wrong.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from aperio_plugin import errors, records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message
    from urllib.request import OpenerDirector

    from aperio_plugin.context import Context

__all__ = ["Reply", "Service", "require_public", "retry_after_s"]

MAX_RETRY_AFTER_S: Final = 30 * 86_400.0
"""A month: what a service asks for beyond it is taken for it."""

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_SECONDS: Final = re.compile(r"\d+(?:\.\d*)?", re.ASCII)
_PUBLIC: Final = re.compile(
    r"https://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?#][!-\[\]-~]*)?",  # printable, no backslash
    re.ASCII | re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")  # what some readers take for an address
_PRIVATE_NAMES: Final = (".internal", ".local", ".localhost", ".localdomain", ".home.arpa")
_NOT_PUBLIC_IPV4: Final = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/3",
)  # fmt: skip
_NOT_PUBLIC_IPV6: Final = ("2001::/32", "2001:db8::/32", "2002::/16")  # Teredo, examples, 6to4
_MAX_PORT: Final = 65_535
_UNFIT: Final = re.compile(r"[^\t\x20-\x7e\xa0-\xff]")
_NOT_FOUND, _UNAUTHORIZED, _FORBIDDEN, _BUSY, _OVERLOADED = 404, 401, 403, 429, 503
_FAILING: Final = 500
_READING: Final = ("GET", "HEAD")
# What the host answers, as a proxy, to a connection that it does not make.
_BY_HOST: Final = re.compile(r"Refused by aperio: ([a-z][a-z-]{0,38}[a-z])")
_NOT_MADE: Final = ("unresolved", "unreachable", "upstream-refused")
_MAYBE_MADE: Final = "broken"  # the host's own failure, at any moment
_UPWARDS: Final = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
_DEFAULT_WAIT_S = 1.0
_REACHED: Final = "was_reached"


def retry_after_s(value: object, now_s: float | None = None) -> float | None:
    """Give how many seconds a Retry-After asks to wait (RFC 9110, section 10.2.3).

    Args:
        value: the header's text: seconds, also with a fraction, or a date; of a list the longest
            counts. Or a number of seconds.
        now_s: the time to count a date from, in seconds since 1970; None: the clock's.

    Returns:
        From 0 to 30 days; None: it says nothing that makes sense.
    """
    if isinstance(value, str):
        found = [_asked_s(part, now_s) for part in (value, *value.split(","))]
        asked = [seconds for seconds in found if seconds is not None]
        return max(asked) if asked else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    is_wait = 0 <= value < float("inf")  # and no NaN
    return float(min(value, MAX_RETRY_AFTER_S)) if is_wait else None


def _asked_s(text: str, now_s: float | None) -> float | None:
    from email.utils import parsedate_tz

    text = text.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        parts = parsedate_tz(text)
        if parts is None:
            return None
        until_s = _utc_s(parts)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return min(max(0.0, until_s - (time.time() if now_s is None else now_s)), MAX_RETRY_AFTER_S)


def _utc_s(parts: tuple[Any, ...]) -> float:
    from calendar import timegm
    from datetime import UTC, datetime

    year, month, day, hour, minute, second = parts[:6]
    moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    return timegm(moment.timetuple()) - (parts[9] or 0)


def host_refusal(said: object) -> errors.PluginError | None:
    """Give the error of a connection that the host did not make: nothing reached a service.

    Args:
        said: what a client says of the failure: an exception, or the first line of an answer.

    Returns:
        `errors.PermissionDenied`, when the plugin may not connect there; `errors.Unavailable`, when
        it may and nobody answers there; None: the host has said nothing.
    """
    found = _BY_HOST.search(str(said))
    if not found or found[1] == _MAYBE_MADE:
        return None
    code = found[1]
    if code in _NOT_MADE:
        return errors.Unavailable("no connection to the service could be made", detail=code)
    return errors.PermissionDenied("the host does not let this plugin connect there", detail=code)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the service answered.

    Attributes:
        body: the bytes.
        broken: what it raises when it cannot be read: of an answer to a change, that it is open
            what came of it.
    """

    body: bytes
    broken: type[errors.Unavailable] = errors.Unavailable

    def object(self) -> dict[str, Any]:
        """Give the JSON object that the reply is.

        Raises:
            errors.Unavailable: it is none; an `errors.ResultUnknown` where the request changed
                something.
        """
        try:
            return records.read_object(self.body)
        except errors.Unavailable as error:
            raise self.broken(error.summary, detail=error.detail) from error

    def page(self, key: str) -> records.Page:
        """Cut the list under a key into records, each as it was written.

        Raises:
            errors.Unavailable: there is no such list.
        """
        return records.split(self.body, key)


class Service:
    """A JSON API with one key.

    Args:
        context: of the call.
        base_url: where the API is: https, or http to this machine for a stub.
        headers: of every request; the key is in one of them.
        refusals: what a status means, in a sentence for the operator, such as 403.
        waits: how often to wait when the service is busy, before the host is told.
        longest_wait_s: a longer wait is the host's to keep.
        max_reply_bytes: a longer reply is refused.
        timeout_s: how long a silent connection is waited for.

    Raises:
        errors.InvalidConfig: the address may not be asked, or a header cannot carry its value.
    """

    def __init__(  # noqa: PLR0913 - each has a default that is right for most
        self,
        context: Context,
        base_url: str,
        *,
        headers: Mapping[str, str],
        refusals: Mapping[int, str] | None = None,
        waits: int = 3,
        longest_wait_s: float = 30.0,
        max_reply_bytes: int = 16 * 1024 * 1024,
        timeout_s: float = 30.0,
    ) -> None:
        self._context = context
        self._base_url = _checked(base_url)
        self._headers = {name: _fit(name, value) for name, value in headers.items()}
        self._refusals = refusals or {}
        self._waits = waits
        self._longest_wait_s = longest_wait_s
        self._max_reply_bytes = max_reply_bytes
        self._timeout_s = timeout_s
        self._opener = _opener()

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Reply:
        """Ask for what is at a path below the address.

        Raises:
            errors.PluginError: one that says why there is no answer.
        """
        return self.ask("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(
        self, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a body to a path below the address; make sure that a repeat is harmless.

        Raises:
            errors.ResultUnknown: it was sent, and there is no answer that says what came of it.
            errors.PluginError: one that says why there is no answer.
        """
        return self.ask("POST", path, body, headers=headers)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request, and wait and repeat it while the service is busy.

        Raises:
            errors.InvalidArgument: a part of the path is `.` or `..`, which leads elsewhere.
            errors.PluginError: one that says why there is no answer.
        """
        _require_below(path)
        for left in range(self._waits, -1, -1):
            answer = self._once(method, path, body, headers or {})
            if isinstance(answer, Reply):
                return answer
            if left == 0 or answer > self._longest_wait_s:
                # The host comes back at that time.
                raise errors.RateLimited("the service asks to wait", retry_after_s=answer)
            self._context.sleep(answer)
        raise AssertionError  # the last turn returns or raises

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply | float:
        """Give the answer, or how many seconds the service asks to wait."""
        from http.client import HTTPException
        from urllib.error import HTTPError
        from urllib.request import Request

        request: Request | None = None
        try:
            request = Request(  # noqa: S310 - the scheme was checked
                self._base_url + path, body, {**self._headers, **headers}, method=method
            )
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                broken = errors.Unavailable if method in _READING else errors.ResultUnknown
                return Reply(self._read(answer, broken), broken)
        except HTTPError as error:
            with error:
                if told := host_refusal(error.reason):
                    raise told from error
                return self._answered(error.code, error.headers, changes=method not in _READING)
        except (OSError, HTTPException, ValueError) as error:
            if told := host_refusal(error):
                raise told from error
            # A broken connection, a reply that is cut or not HTTP, an address that is none.
            detail = f"{type(error).__name__}: {error}"
            # Before there was a connection, nothing can have been sent.
            if method in _READING or not getattr(request, _REACHED, False):
                summary = "the service cannot be reached, or broke off"
                raise errors.Unavailable(summary, detail=detail) from error
            summary = "the request was sent, and the service broke off"
            raise errors.ResultUnknown(summary, detail=detail) from error

    def _read(self, answer: Any, broken: type[errors.Unavailable]) -> bytes:
        body: bytes = answer.read(self._max_reply_bytes + 1)
        if len(body) > self._max_reply_bytes:
            raise broken(f"a reply is longer than {self._max_reply_bytes} bytes")
        if answer.length:  # so many bytes were promised, and did not come
            raise broken("the service broke off in the middle of a reply")
        return body

    def _answered(self, status: int, headers: Message, *, changes: bool) -> float:
        """Give how long to wait, or raise what a status means, with the status."""
        try:
            return self._meaning(status, headers, changes=changes)
        except errors.PluginError as told:
            told.http_status = status
            raise

    def _meaning(self, status: int, headers: Message, *, changes: bool) -> float:
        """Give how long to wait, or raise what a status means."""
        asked = retry_after_s(", ".join(headers.get_all("Retry-After", ())))
        if status == _BUSY or (status == _OVERLOADED and asked is not None):
            return _DEFAULT_WAIT_S if asked is None else asked
        said = self._refusals.get(status)
        if status == _UNAUTHORIZED:
            raise errors.Unauthenticated(said or "the service does not accept the key")
        if status == _FORBIDDEN:
            raise errors.PermissionDenied(said or "the service does not let the key do this")
        if said:
            raise errors.InvalidArgument(said)
        # An error of the service itself may come after it has done what it was asked for.
        kind = errors.ResultUnknown if changes and status >= _FAILING else errors.Unavailable
        raise kind(f"the service answered {status}", retry_after_s=asked)


def _require_below(path: str) -> None:
    """Refuse a path that servers read as one further up, whatever name was put into it."""
    if any(map(_UPWARDS.fullmatch, path.partition("?")[0].split("/"))):
        raise errors.InvalidArgument("a part of the request's path is `.` or `..`")


def _checked(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        has_port = parts.port != 0  # raises for one that is none
    except ValueError as error:
        raise errors.InvalidConfig(f"base_url is no address: {error}", field="base_url") from error
    is_local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not (parts.scheme == "https" or is_local):
        raise errors.InvalidConfig(
            "base_url must begin with https://; with http:// it may lead to this machine only",
            field="base_url",
        )
    if not has_port or not parts.hostname:
        raise errors.InvalidConfig("base_url names no host that can be asked", field="base_url")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise errors.InvalidConfig("base_url must have no user, `?` or `#`", field="base_url")
    return base_url.rstrip("/")


def require_public(address: str, *, field: str = "base_url") -> None:
    """Refuse an address that is not of a public host over https, by Aperio's rule for addresses.

    No resolver is asked: what a public name resolves to is the host's to look at, which leads
    connections out. Refused are names without a dot and names of private networks (`.internal`,
    `.local`, `.localhost`, `.localdomain`, `.home.arpa`), addresses that are private, reserved, for
    examples or this machine's, IPv4 inside of IPv6, and whatever readers do not read alike.

    Args:
        address: as an operator gave it.
        field: the key of its setting.

    Raises:
        errors.InvalidConfig: it is none.
    """
    why = _why_not_public(address)
    if why:
        raise errors.InvalidConfig(f"{field} {why}", field=field)


def _why_not_public(address: str) -> str:
    found = _PUBLIC.fullmatch(address)
    if not found:
        return "must begin with https:// and name a host in plain letters, without a user"
    name, port = found["host"].lower(), found["port"]
    if port and not 0 < int(port) <= _MAX_PORT:
        return "has a port that is none"
    if name.startswith("["):
        return "" if _is_public_ipv6(name[1:-1]) else "leads to an address that is not public"
    name = name.removesuffix(".")
    last = name.rpartition(".")[2]
    if _NUMBER.fullmatch(last):
        return "" if _is_public_ipv4(name) else "leads to an address that is not public"
    if last == name or name.endswith(_PRIVATE_NAMES) or not all(name.split(".")):
        return "names a host of a private network"
    return ""


def _is_public_ipv4(text: str) -> bool:
    import ipaddress

    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not any(address in ipaddress.IPv4Network(block) for block in _NOT_PUBLIC_IPV4)


def _is_public_ipv6(text: str) -> bool:
    import ipaddress

    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    is_unicast = address in ipaddress.IPv6Network("2000::/3")
    return is_unicast and not any(
        address in ipaddress.IPv6Network(block) for block in _NOT_PUBLIC_IPV6
    )


def _fit(name: str, value: str) -> str:
    """Return a header's value if a request can carry it; never says what it is."""
    if _UNFIT.search(value):
        raise errors.InvalidConfig(
            f"the header {name} cannot carry its value",
            detail="A setting in it has a line end, another control character, or one outside of"
            " Latin-1. Look for one that was copied along with it.",
        )
    return value


def _opener() -> OpenerDirector:
    from urllib.request import (
        AbstractHTTPHandler,
        HTTPHandler,
        HTTPRedirectHandler,
        HTTPSHandler,
        build_opener,
    )

    class Noticing(AbstractHTTPHandler):
        """Takes note, in the request, of a connection that was made, TLS and tunnel included."""

        def do_open(self, http_class: Any, req: Any, **arguments: Any) -> Any:
            """Ask as ever."""

            def connection(*given: Any, **more: Any) -> Any:
                made = http_class(*given, **more)
                connect = made.connect

                def noticed() -> None:
                    connect()
                    setattr(req, _REACHED, True)

                made.connect = noticed
                return made

            return super().do_open(connection, req, **arguments)

    class Plain(Noticing, HTTPHandler):
        """http."""

    class Secure(Noticing, HTTPSHandler):
        """https."""

    class NoRedirects(HTTPRedirectHandler):
        """Keeps what a request carries from following a redirect to another host."""

        def redirect_request(self, *_: Any) -> None:
            """Give no new request, so that the redirect is an error."""

    return build_opener(NoRedirects, Plain, Secure)
