"""Bytes from a folder, a file:// URL, this machine's http or anybody's https, within limits.

Everything a server says is taken as hostile: lengths, redirects, waiting times, endless bodies and
headers that trickle in. What arrives is digested on the way and takes its name only when complete.
"""

from __future__ import annotations

import hashlib
import io
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from aperio_cli import clock
from aperio_cli.errors.files import (
    DigestMismatch,
    InsecureUrl,
    NetworkUnavailable,
    Offline,
    ResponseNotFound,
    ResponseTooLarge,
)
from aperio_cli.files.beneath import Beneath
from aperio_cli.files.reading import open_regular
from aperio_cli.files.writing import AsideFile
from aperio_cli.models.address import Place, place_of, shown
from aperio_cli.models.digest import Digest
from aperio_cli.net.request import Request, Unanswered, answered
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from aperio_cli.errors import AperioError
    from aperio_cli.net.diagnosis import Cause

MAX_REDIRECTS = 5
MAX_TRIES = 3
MAX_RETRY_AFTER_S = 10.0

_CHUNK_BYTES = 64 * 1024
_FIRST_BACKOFF_S = 0.25
_MAX_ETAG_CHARACTERS = 256
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({404, 410})
_TOO_MANY_REQUESTS = 429
_NOT_MODIFIED = 304
_OK = 200
_SERVER_ERROR = 500


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
        below: a folder, empty for none, that a path has to be in and that somebody else has
            written: no link is followed below it.
    """

    address: str
    limit_bytes: int
    expected_digest: Digest | None = None
    offline: bool = False
    timeout_s: float = 60.0
    etag: str | None = None
    below: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back.

    Attributes:
        digest: of the body; of nothing when it was not modified.
        size_bytes: length of the body.
        etag: what the server marked it with, for the next request; None without one.
        is_modified: False when the server said that the earlier answer still holds; then there
            is no body, and a file in the destination was left as it is.
    """

    digest: Digest
    size_bytes: int
    etag: str | None
    is_modified: bool


def fetch_file(
    request: FetchRequest, destination: Path, *, sleep: Callable[[float], None] = time.sleep
) -> Fetched:
    """Fetch into a file, which appears or is replaced only when all of it is right.

    Args:
        request: what to fetch.
        destination: the file; its folder must exist.
        sleep: waits between tries, in seconds.

    Raises:
        DigestMismatch: the body is not the expected one.
        InsecureUrl: plain http to another machine, another scheme, or a redirect to one.
        Offline: `offline` was asked for and the address is not a file.
        ResponseTooLarge: the body is longer than the limit.
        ResponseNotFound: the address does not have it.
        NetworkUnavailable: no usable answer within the tries and the time, or an unreadable file.
        FileNotRegular: the address is a link, a folder or a device.
        DiskFull: there is no space.
    """
    with AsideFile(destination) as aside:
        fetched = _fetch(request, aside.file, sleep)
        if fetched.is_modified:
            aside.commit()
    return fetched


def fetch_into(
    request: FetchRequest, sink: BinaryIO, *, sleep: Callable[[float], None] = time.sleep
) -> Fetched:
    """Fetch into an open file, from its beginning; after a failure it may hold a part.

    Args:
        request: what to fetch.
        sink: a file that can be written, sought and truncated.
        sleep: waits between tries, in seconds.

    Raises:
        AperioError: as `fetch_file`, except for DiskFull.
        OSError: the file cannot be written.
    """
    return _fetch(request, sink, sleep)


def fetch_bytes(
    request: FetchRequest, *, sleep: Callable[[float], None] = time.sleep
) -> tuple[bytes, Fetched]:
    """Fetch into memory: the body, empty when it was not modified, and what is known of it.

    Args:
        request: what to fetch.
        sleep: waits between tries, in seconds.

    Raises:
        AperioError: as `fetch_file`, except for DiskFull.
    """
    body = io.BytesIO()
    fetched = _fetch(request, body, sleep)
    return body.getvalue(), fetched


def place_of_url(url: str) -> Place:
    """Return where an http or https address leads; any other is unclear.

    Raises:
        InsecureUrl: it cannot be read.
    """
    parsed = _parse_url(url)
    return place_of(parsed.host) if parsed.scheme in {"http", "https"} else Place.UNCLEAR


def _fetch(request: FetchRequest, sink: BinaryIO, sleep: Callable[[float], None]) -> Fetched:
    if not _is_url(request.address):
        fetched = _read_file(request, _local_path(request.address), sink)
    elif request.offline:
        raise Offline(
            f"{_shown(request.address)} was not fetched: aperio is offline",
            why="`--offline` allows no network at all",
            next=["run the same command without `--offline`"],
        )
    else:
        fetched = _Download(request, sink, sleep).run()
    expected = request.expected_digest
    if fetched.is_modified and expected and fetched.digest != expected:
        raise DigestMismatch(
            f"{_shown(request.address)} was thrown away: it is not the file that was promised",
            why=f"expected {expected}\nreceived {fetched.digest}",
            next=[
                "try again, in case the download was changed on the way",
                "if it repeats, tell the publisher and do not use this file",
            ],
        )
    return fetched


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def _is_url(address: str) -> bool:
    return "://" in address and not address.lower().startswith("file://")


def _local_path(address: str) -> Path:
    if not address.lower().startswith("file://"):
        return Path(address)
    parts = urlsplit(address)
    if parts.netloc not in {"", "localhost"}:
        raise InsecureUrl(
            f"{_shown(address)} was not fetched: a file URL names no other machine",
            why=f"expected file:///PATH, found the machine {clean(parts.netloc)}",
            next=["give the path itself"],
        )
    return Path(unquote(parts.path))


def _read_file(request: FetchRequest, path: Path, sink: BinaryIO) -> Fetched:
    try:
        file = _open_below(path, request.below) if request.below else open_regular(path)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ResponseNotFound(
            f"`{path}` is not there", why=str(error), next=["check the path for a typing error"]
        ) from error
    except OSError as error:
        raise NetworkUnavailable(
            f"`{path}` cannot be read",
            why=str(error),
            next=["ask whoever owns it for the right to read it"],
        ) from error
    with file:
        size_bytes, digest = _copy(request, iter(lambda: file.read(_CHUNK_BYTES), b""), sink)
    return Fetched(digest, size_bytes, None, is_modified=True)


def _open_below(path: Path, folder: str) -> BinaryIO:
    """Open a file that is in a folder; ValueError when the path is not."""
    with Beneath(Path(folder)) as root:
        return root.open_file(*path.relative_to(folder).parts)


def _copy(request: FetchRequest, chunks: Iterator[bytes], sink: BinaryIO) -> tuple[int, Digest]:
    """Copy a body into the sink from its beginning, up to the limit."""
    sink.seek(0)
    sink.truncate()
    size_bytes = 0
    digest = hashlib.sha256()
    for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > request.limit_bytes:
            raise _too_large(request, "the body went on behind that")
        digest.update(chunk)
        sink.write(chunk)
    return size_bytes, Digest(digest.hexdigest())


def _too_large(request: FetchRequest, why: str) -> ResponseTooLarge:
    return ResponseTooLarge(
        f"{_shown(request.address)} was thrown away: it is too long",
        why=f"expected at most {request.limit_bytes} bytes; {why}",
        next=["check that the address is right, then tell whoever runs the server"],
    )


# ── the network ───────────────────────────────────────────────────────────────────────────────────


def _parse_url(address: str) -> httpx.URL:
    """Return the URL, parsed by what connects later, so that both read the same host in it."""
    import httpx

    try:
        return httpx.URL(address)
    except (httpx.InvalidURL, ValueError) as error:
        raise InsecureUrl(
            f"{_shown(address)} is not an address that can be fetched",
            # The parser quotes what it could not read, which may be a part of a password.
            why="" if "@" in address else clean(error),
            next=["check the address for a typing error"],
        ) from error


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


def _shown(address: str) -> str:
    return f"`{shown(address)}`"


class _TryAgain(Exception):
    """A try failed in a way that the next one may not; never leaves this module."""

    def __init__(self, why: str, *, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.why = why
        self.wait_s = wait_s


class _Download:
    """One request over the network: its tries, their redirects, and the time left for them."""

    def __init__(
        self, request: FetchRequest, sink: BinaryIO, sleep: Callable[[float], None]
    ) -> None:
        self._request = request
        self._sink = sink
        self._sleep = sleep
        self._deadline_s = clock.monotonic_s() + request.timeout_s

    def run(self) -> Fetched:
        """Try until there is an answer, the tries are used up, or the time is."""
        failures = []
        for attempt in range(MAX_TRIES):
            try:
                return self._try()
            except _TryAgain as failure:
                failures.append(failure.why)
                # Jitter: clients that failed together must not come back together.
                backoff_s = _FIRST_BACKOFF_S * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
                wait_s = max(failure.wait_s, backoff_s)
            if attempt + 1 < MAX_TRIES:
                if wait_s >= self._left_s():
                    break
                self._sleep(wait_s)
        raise self._unavailable(f"tried {len(failures)} times; the last time: {failures[-1]}")

    def _try(self) -> Fetched:
        url = _parse_url(self._request.address)
        _require_secure(url, self._request.address)
        try:
            return self._follow(url)
        except Unanswered as failure:
            if failure.cause:
                raise self._lasting(failure.cause) from failure
            if failure.is_late:
                raise self._out_of_time() from failure
            raise _TryAgain(clean(failure)) from failure

    def _follow(self, url: httpx.URL) -> Fetched:
        place = place_of(url.host)
        headers = {"If-None-Match": self._request.etag} if self._request.etag else {}
        for _ in range(MAX_REDIRECTS + 1):
            with answered(
                Request(str(url), self._deadline_s, headers, is_local=place is Place.HERE)
            ) as answer:
                if answer.status_code not in _REDIRECTS:
                    return self._answer(answer)
                target = self._redirect_target(answer, url)
            if place_of(target.host) is not place:
                raise self._redirect_refused(target)
            _require_secure(target, self._request.address)
            url = target
        raise self._unavailable(f"more than {MAX_REDIRECTS} redirects, one after the other")

    def _redirect_target(self, response: httpx.Response, url: httpx.URL) -> httpx.URL:
        import httpx

        try:
            return url.join(response.headers["location"])
        except (KeyError, ValueError, httpx.InvalidURL) as error:
            raise self._unavailable("it redirected to an address that cannot be read") from error

    def _answer(self, response: httpx.Response) -> Fetched:
        status = response.status_code
        if status == _OK:
            return self._receive(response)
        if status == _NOT_MODIFIED and self._request.etag:
            return Fetched(Digest.of(b""), 0, self._request.etag, is_modified=False)
        why = f"the server answered {status} {clean(response.reason_phrase)}".rstrip()
        if status in _GONE:
            raise ResponseNotFound(
                f"{_shown(self._request.address)} is not there",
                why=why,
                next=["check the name and the version for a typing error"],
            )
        if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
            raise _TryAgain(why, wait_s=_retry_after_s(response.headers.get("retry-after", "")))
        error = self._unavailable(why)
        error.status = status
        raise error

    def _receive(self, response: httpx.Response) -> Fetched:
        stated = response.headers.get("content-length", "")
        if stated.isdecimal() and int(stated[:20]) > self._request.limit_bytes:
            raise _too_large(self._request, f"the server announced {clean(stated, limit=20)}")
        size_bytes, digest = _copy(self._request, response.iter_raw(), self._sink)
        etag = response.headers.get("etag", "")
        is_kept = etag.isprintable() and 0 < len(etag) <= _MAX_ETAG_CHARACTERS
        return Fetched(digest, size_bytes, etag if is_kept else None, is_modified=True)

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

    def _redirect_refused(self, target: httpx.URL) -> AperioError:
        return InsecureUrl(
            f"{_shown(self._request.address)} was not fetched: it redirects somewhere unsafe",
            why=f"a redirect must not lead onto this machine or off it\n"
            f"found    {_shown(str(target))}",
            next=["tell whoever runs the server"],
        )


def _retry_after_s(header: str) -> float:
    """Return how long a server asks to wait, RFC 9110 section 10.2.3, capped.

    0 for a date or nonsense.
    """
    is_number = header.isascii() and header.isdecimal()
    return min(float(header[:9]), MAX_RETRY_AFTER_S) if is_number else 0.0
