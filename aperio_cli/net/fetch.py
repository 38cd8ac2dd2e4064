"""Bytes from a folder, a file:// URL, this machine's http or anybody's https, within limits.

Everything a server says is taken as hostile: lengths, redirects, waiting times, endless bodies and
headers that trickle in. What arrives is digested on the way and takes its name only when complete.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from aperio_cli.errors.files import (
    DigestMismatch,
    InsecureUrl,
    NetworkUnavailable,
    Offline,
    ResponseNotFound,
)
from aperio_cli.files.beneath import Beneath
from aperio_cli.files.reading import open_regular
from aperio_cli.files.writing import AsideFile
from aperio_cli.models.address import Place, place_of, shown
from aperio_cli.net.arriving import Arrival, Marks
from aperio_cli.net.downloading import Download, parse_url
from aperio_cli.net.model import Fetched, FetchRequest
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FetchRequest",
    "Fetched",
    "fetch_bytes",
    "fetch_file",
    "fetch_into",
    "local_path",
    "place_of_url",
]

_CHUNK_BYTES = 64 * 1024
_UNMARKED = Marks(None, None)


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
    parsed = parse_url(url)
    return place_of(parsed.host) if parsed.scheme in {"http", "https"} else Place.UNCLEAR


def _fetch(request: FetchRequest, sink: BinaryIO, sleep: Callable[[float], None]) -> Fetched:
    if not _is_url(request.address):
        fetched = _read_file(request, local_path(request.address), sink)
    elif request.offline:
        raise Offline(
            f"{_shown(request.address)} was not fetched: aperio is offline",
            why="`--offline` allows no network at all",
            next=["run the same command without `--offline`"],
        )
    else:
        fetched = Download(request, sink, sleep).run()
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


def local_path(address: str) -> Path:
    """Return the path that an address of a file is, or that stands in the place of one.

    Raises:
        InsecureUrl: it names another machine.
    """
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
        arrival = Arrival(request, sink)
        arrival.receive(_UNMARKED, "", iter(lambda: file.read(_CHUNK_BYTES), b""))
    return Fetched(arrival.digest, arrival.size_bytes, None, is_modified=True)


def _open_below(path: Path, folder: str) -> BinaryIO:
    """Open a file that is in a folder; ValueError when the path is not."""
    with Beneath(Path(folder)) as root:
        return root.open_file(*path.relative_to(folder).parts)


def _shown(address: str) -> str:
    return f"`{shown(address)}`"
