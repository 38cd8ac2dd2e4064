"""A small web server for stand-ins: a function answers, in a thread, while a block runs."""

from __future__ import annotations

import contextlib
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

HANG_S = 30.0
"""How long a stand-in that hangs does so, unless its block ends before."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say to it."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = HANG_S

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, parts.path, query, headers, body)
        self.server.asked.append(asked)
        answer = self.server.answer(asked)
        with contextlib.suppress(OSError):  # whoever asked may have given up
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Stay silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[Asked], Answer], port: int) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)


@dataclass(frozen=True, slots=True)
class Site:
    """A server that runs: where it is, and what it was asked."""

    url: str
    asked: list[Asked]


@contextlib.contextmanager
def serving(
    answer: Callable[[Asked], Answer], *, port: int = 0, certificate: Path | None = None
) -> Iterator[Site]:
    """Answer requests to 127.0.0.1 while the block runs.

    Args:
        answer: what to say to each.
        port: the port; 0 for any free one.
        certificate: file with key and certificate, to answer over TLS.
    """
    with _Server(answer, port) as server:
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Site(f"http://127.0.0.1:{server.server_port}", server.asked)
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


def redirecting(asked: Asked) -> Answer:
    """Send whoever asks to the same place again, for ever."""
    return Answer(302, headers={"Location": asked.path})


def hanging(_: Asked) -> Answer:
    """Say nothing for longer than anybody waits."""
    threading.Event().wait(HANG_S)
    return Answer()
