"""The few calls to Box's API that the connector makes, with its rules for trying again.

Sources, below https://developer.box.com: "List user and enterprise events" (/reference/get-events),
"Get current user" (/reference/get-users-me), "Rate limits" and "Errors"
(/guides/api-calls/permissions-and-errors).
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import unquote, urlsplit

from aperio_plugin import errors, records
from aperio_plugin.rest import host_refusal, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from types import TracebackType

    from urllib3 import BaseHTTPResponse, PoolManager

PUBLIC_BASE_URL: Final = "https://api.box.com"
CHUNK_LIMIT: Final = 500  # Box's maximum

_ATTEMPTS: Final = 6  # Box asks clients to give up after five repeats
_MAX_BACKOFF_S: Final = 30.0
_MAX_RETRY_AFTER_S: Final = 300.0  # a longer pause is the host's to wait for, not the plugin's
_TIMEOUT_S: Final = 30.0
_PART_BYTES: Final = 256 * 1024
_MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_MAX_QUOTED: Final = 200
_T = TypeVar("_T")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Chunk:
    """One reply of the event stream.

    Attributes:
        entries: each as Box wrote it; one that cannot be passed on says why.
        next_position: where the next chunk begins; None when Box does not say.
    """

    entries: list[records.Record]
    next_position: str | None


@dataclass(frozen=True, slots=True)
class _TryAgain:
    """Why a request may be repeated, and how long Box asks to wait; None: it does not ask."""

    reason: str
    retry_after_s: float | None = None

    def given_up(self) -> errors.PluginError:
        """Give the error for when it is not repeated."""
        if self.retry_after_s is None:
            return errors.Unavailable("Box does not answer usefully", detail=self.reason)
        return errors.RateLimited(
            "Box asks to be called less often",
            detail=f"{self.reason}; Retry-After: {self.retry_after_s:.0f} s",
            retry_after_s=self.retry_after_s,
        )


class BoxClient:
    """Box's API with one access token; a context manager that closes its connections.

    Args:
        base_url: `https://…`, or `http://` on this machine's loopback (a stub).
        token: the access token; it stands in no message.
        wait: waits that many seconds, and raises when the call was cancelled meanwhile.
        backoff_s: the first pause after a failure; it doubles up to 30 seconds.

    Raises:
        errors.InvalidConfig: the base URL is not one of these.
    """

    def __init__(
        self, base_url: str, token: str, wait: Callable[[float], None], *, backoff_s: float = 1.0
    ) -> None:
        self._wait = wait
        self._backoff_s = backoff_s
        self._base_url = _checked(base_url)
        self._headers = {
            "Authorization": f"Bearer {_fit(token)}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        }
        self._http = _connections(self._base_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.clear()

    def events(self, stream: str, position: str, created_after: datetime | None = None) -> Chunk:
        """Give the chunk of a stream at a position.

        Args:
            stream: `admin_logs` or `admin_logs_streaming`.
            position: a `next_stream_position`, `0` for the oldest event or `now`.
            created_after: lower bound; only `admin_logs` honours one.

        Raises:
            errors.Unauthenticated: the token is not, or no longer, good.
            errors.PermissionDenied: the application may not read enterprise events.
            errors.InvalidArgument: Box refuses the request, such as an old position.
            errors.RateLimited: Box asks for a longer pause than is worth waiting for.
            errors.Unavailable: Box did not answer usefully, however often it was asked.
        """
        query = {"stream_type": stream, "stream_position": position, "limit": str(CHUNK_LIMIT)}
        if created_after is not None:
            query["created_after"] = created_after.isoformat(timespec="seconds")
        page = self._get("/2.0/events", query, lambda body: records.split(body, "entries"))
        return Chunk(page.records, _position(page.fields.get("next_stream_position")))

    def current_user(self) -> dict[str, Any]:
        """Give the account that the token speaks for: id, name, login, enterprise.

        Raises:
            Exception: as `events` does.
        """
        query = {"fields": "id,type,name,login,enterprise"}
        return self._get("/2.0/users/me", query, records.read_object)

    def _get(self, path: str, query: Mapping[str, str], read: Callable[[bytes], _T]) -> _T:
        """Give what is at a path, trying again as long as that may help.

        Args:
            path: below the base URL.
            query: of the request.
            read: reads a body, and raises `errors.Unavailable` for one that is not as expected.
        """
        for attempt in range(_ATTEMPTS - 1):
            outcome = self._attempt(path, query, read)
            if not isinstance(outcome, _TryAgain):
                return outcome
            asked_s = outcome.retry_after_s or 0.0
            if asked_s > _MAX_RETRY_AFTER_S:
                raise outcome.given_up()
            self._wait(max(asked_s, self._pause_s(attempt)))
        outcome = self._attempt(path, query, read)
        if isinstance(outcome, _TryAgain):
            raise outcome.given_up()
        return outcome

    def _pause_s(self, attempt: int) -> float:
        import random

        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients out, hides nothing
        return min(_MAX_BACKOFF_S, self._backoff_s * 2.0**attempt) * jitter

    def _attempt(
        self, path: str, query: Mapping[str, str], read: Callable[[bytes], _T]
    ) -> _T | _TryAgain:
        from urllib3.exceptions import DecodeError, HTTPError

        try:
            response = self._http.request(
                "GET",
                self._base_url + path,
                fields=query,
                headers=self._headers,
                timeout=_TIMEOUT_S,
                retries=False,  # they are made here, and can be cancelled
                redirect=False,  # the token must not follow one to another host
                preload_content=False,
            )
            body = _read_capped(response)
        except DecodeError:
            return _TryAgain("a reply whose compression is broken")
        except HTTPError as error:
            if told := host_refusal(error):
                raise told from error
            return _TryAgain(f"{type(error).__name__}: {_quoted(str(error))}")
        if response.status == HTTPStatus.OK:
            return _read(body, read)
        if told := host_refusal(response.reason):
            raise told
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            return _TryAgain("429, too many requests", _asked_s(response) or 0.0)
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _TryAgain(f"{response.status}, a failure on Box's side", _asked_s(response))
        raise _refusal(response.status, _error_object(body))


def _checked(base_url: str) -> str:
    """Give the base URL if a token may be sent there."""
    if not _is_safe(base_url):
        raise errors.InvalidConfig(
            "base_url must begin with https://, or with http:// and lead to this machine;"
            " it has a host, no user name and no query",
            field="base_url",
        )
    return base_url.rstrip("/")


def _is_safe(base_url: str) -> bool:
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # raises for one that is none
    except ValueError:
        return False
    encrypted = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    extras = "@" in parts.netloc or parts.query or parts.fragment
    return bool(encrypted and parts.hostname and not extras)


def _fit(token: str) -> str:
    """Give the token if a header can carry it; else http.client would quote it in its error."""
    if not (token.isascii() and token.isprintable()):
        raise errors.Unauthenticated("the access token has a character that no request can carry")
    return token


def _connections(base_url: str) -> PoolManager:
    """Give what keeps connections open, and makes them by the proxy that the host has set."""
    # Here and not above, as all that a launch does not need.
    from urllib.request import getproxies, proxy_bypass

    import urllib3

    parts = urlsplit(base_url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return urllib3.PoolManager()
    try:
        stated = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        login = f"{unquote(stated.username or '')}:{unquote(stated.password or '')}"
        return urllib3.ProxyManager(
            f"{stated.scheme}://{stated.netloc.rpartition('@')[2]}",
            proxy_headers=urllib3.make_headers(proxy_basic_auth=login) if login != ":" else None,
        )
    except ValueError:  # which may quote a password
        raise errors.Unavailable("the proxy that is set is none that can be used") from None


def _read_capped(response: BaseHTTPResponse) -> bytes:
    """Give the body, decompressed, and refuse one that is absurdly large."""
    body = bytearray()
    with response:  # closes the connection, unless the whole reply was read
        for part in response.stream(_PART_BYTES):
            body += part
            if len(body) > _MAX_BODY_BYTES:
                raise errors.Unavailable(f"Box's reply is larger than {_MAX_BODY_BYTES} bytes")
    return bytes(body)


def _read(body: bytes, read: Callable[[bytes], _T]) -> _T | _TryAgain:
    try:
        return read(body)
    except errors.Unavailable as error:
        return _TryAgain(f"{error.summary} {_quoted(error.detail)}".strip())


def _error_object(body: bytes) -> dict[str, Any]:
    """Give what Box says about a failure; nothing when it is not as Box documents it."""
    try:
        return records.read_object(body)
    except errors.Unavailable:
        return {}


def _position(value: Any) -> str | None:
    """Give a stream position as text: Box documents text and whole numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _asked_s(response: BaseHTTPResponse) -> float | None:
    return retry_after_s(response.headers.get("Retry-After", ""))


def _refusal(status: int, error: Mapping[str, Any]) -> errors.PluginError:
    """Give what a reply means that no repeat can mend."""
    code = _quoted(str(error.get("code") or error.get("error") or "no code"))
    evidence = f"Box answered {status} ({code}): {_quoted(str(error.get('message') or ''))}"
    if status == HTTPStatus.UNAUTHORIZED:
        return errors.Unauthenticated(
            "Box does not accept the access token",
            detail="It expired or was revoked. If a new one is refused too, check client_id,"
            " client_secret and enterprise_id, and that an admin authorized the application.",
        )
    if status == HTTPStatus.FORBIDDEN:
        return errors.PermissionDenied(
            "Box does not let this application read enterprise events",
            detail=f"{evidence}\nEnable the scope `Manage enterprise properties` in Box's developer"
            " console, then have an admin authorize the application again.",
        )
    return errors.InvalidArgument("Box refused the request", detail=evidence)


def _quoted(text: str) -> str:
    """Give foreign text that is fit for a message: short, printable, on one line."""
    return "".join(c if c.isprintable() else " " for c in text[:_MAX_QUOTED]).strip()
