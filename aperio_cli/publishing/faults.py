"""Answers as a broken or hostile server gives them, to see what a client makes of them.

A fault is written `NAME` or `NAME:PATTERN`, where the pattern, as of a shell, says which files it
befalls: `tamper:plugins/*`. Those of `OF_EDITIONS` mix what is served with another built registry,
such as an earlier edition of the same one; the others change answers.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final

from aperio_cli.errors.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from http.server import BaseHTTPRequestHandler
    from io import BufferedIOBase
    from pathlib import Path

    Send = Callable[[BaseHTTPRequestHandler, BinaryIO, threading.Event], None]

ROOT_FILES: Final = "registry.json*"
OF_EDITIONS: Final = ("stale", "mixed", "fork")
_EVERY: Final = "*"
_PIECE: Final = bytes(64 * 1024)
_DRIP_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and what it befalls.

    Attributes:
        name: one of `NAMES`.
        pattern: of paths below the registry's folder.
    """

    name: str
    pattern: str = _EVERY

    def befalls(self, path: str) -> bool:
        """Return whether a request for this path meets it."""
        return fnmatch.fnmatchcase(path.lstrip("/"), self.pattern)

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Return the fault that is written so.

        Raises:
            UsageError: there is no such fault.
        """
        name, separator, pattern = text.partition(":")
        if name not in NAMES or (separator and not pattern):
            raise UsageError(
                f"`{text}` is no fault that a registry can be served with",
                why=f"expected one of {', '.join(NAMES)}, and a pattern of paths behind a colon",
                next=["`--fault tamper`, or only some files: `--fault 'tamper:plugins/*'`"],
            )
        return cls(name, pattern or _EVERY)


@dataclass(slots=True)
class Faults:
    """What goes wrong with the answers of one server.

    Attributes:
        fault: the fault; None for none.
        other: the folder of the other registry, for those of `OF_EDITIONS`, as the operator named
            it, and the way from there to what is built.
    """

    fault: Fault | None = None
    other: tuple[Path, tuple[str, ...]] | None = None
    _roots: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def is_other(self, path: str) -> bool:
        """Return whether the other registry answers a request for this path.

        `stale`: always. `mixed`: for everything but the root. `fork`: after the root was asked for
        twice, so that who comes back sees another registry.
        """
        if self.fault is None or self.other is None:
            return False
        name, path = self.fault.name, path.partition("?")[0].lstrip("/")
        if name == "fork":
            with self._lock:
                self._roots += path == ROOT_FILES.rstrip("*")
                return self._roots > 1
        if name == "mixed" and fnmatch.fnmatchcase(path, ROOT_FILES):
            return False
        return self.fault.befalls(path)

    def sending(self, path: str) -> Send | None:
        """Return how a file is sent that meets a fault; None for one that does not."""
        is_met = self.fault is not None and self.fault.befalls(path.partition("?")[0])
        return SENDING.get(self.fault.name) if self.fault and is_met else None


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


def _slow(handler: BaseHTTPRequestHandler, file: BinaryIO, stopping: threading.Event) -> None:
    """Send a byte now and then."""
    _head(handler, HTTPStatus.OK, _size(file))
    while (byte := file.read(1)) and not stopping.wait(_DRIP_S):
        handler.wfile.write(byte)
        handler.wfile.flush()


def _tamper(handler: BaseHTTPRequestHandler, file: BinaryIO, _: threading.Event) -> None:
    """Change one bit in the middle."""
    size = _size(file)
    _head(handler, HTTPStatus.OK, size)
    _copy(file, handler.wfile, size // 2)
    handler.wfile.write(bytes(byte ^ 1 for byte in file.read(1)))
    shutil.copyfileobj(file, handler.wfile)


def _truncate(handler: BaseHTTPRequestHandler, file: BinaryIO, _: threading.Event) -> None:
    """Send the first half as if it were all."""
    half = _size(file) // 2
    _head(handler, HTTPStatus.OK, half)
    _copy(file, handler.wfile, half)


def _cut(handler: BaseHTTPRequestHandler, file: BinaryIO, _: threading.Event) -> None:
    """Announce all of it, and go away after the first half."""
    _head(handler, HTTPStatus.OK, _size(file))
    _copy(file, handler.wfile, _size(file) // 2)


def _endless(handler: BaseHTTPRequestHandler, file: BinaryIO, stopping: threading.Event) -> None:
    """Never end, and announce no length."""
    _head(handler, HTTPStatus.OK, None)
    shutil.copyfileobj(file, handler.wfile)
    while not stopping.is_set():
        handler.wfile.write(_PIECE)


def _missing(handler: BaseHTTPRequestHandler, _file: BinaryIO, _: threading.Event) -> None:
    """Say that there is no such file."""
    handler.send_error(HTTPStatus.NOT_FOUND)


def _broken(handler: BaseHTTPRequestHandler, _file: BinaryIO, _: threading.Event) -> None:
    """Say that something went wrong."""
    handler.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)


def _unmodified(handler: BaseHTTPRequestHandler, file: BinaryIO, _: threading.Event) -> None:
    """Say that nothing has changed, whoever asks, and send other bytes with it."""
    body = bytes(byte ^ 1 for byte in file.read(len(_PIECE)))
    _head(handler, HTTPStatus.NOT_MODIFIED, len(body))
    handler.wfile.write(body)


SENDING: Final[Mapping[str, Send]] = MappingProxyType(
    {
        "slow": _slow,
        "tamper": _tamper,
        "truncate": _truncate,
        "cut": _cut,
        "endless": _endless,
        "404": _missing,
        "500": _broken,
        "304": _unmodified,
    }
)
NAMES: Final = (*SENDING, *OF_EDITIONS)


def _head(handler: BaseHTTPRequestHandler, status: HTTPStatus, length: int | None) -> None:
    handler.send_response(status)
    handler.send_header("Cache-Control", "no-cache")
    handler.send_header("Content-Type", "application/octet-stream")
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _copy(file: BinaryIO, out: BufferedIOBase, count: int) -> None:
    while count and (piece := file.read(min(count, len(_PIECE)))):
        out.write(piece)
        count -= len(piece)
