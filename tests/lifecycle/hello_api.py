"""The API that a scaffolded connector is written for, on a free port of 127.0.0.1.

Its two endpoints are those that the template's connector.py describes in its first lines.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

KEY = "stub-key-of-hello"


class HelloApi(ThreadingHTTPServer):
    """Serves `count` events while the block runs; the position is the number of those read."""

    daemon_threads = True

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HelloApi

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._answer(401, {})
        elif parts.path == "/v1/account":
            self._answer(200, {"id": "a1", "name": "Acme"})
        else:
            query = parse_qs(parts.query)
            first = int(query.get("after", ["0"])[0] or "0")
            last = min(first + int(query["limit"][0]), self.server.count)
            events = [_event(number) for number in range(first, last)]
            more = last < self.server.count
            self._answer(200, {"events": events, "next": str(last), "more": more})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _event(number: int) -> dict[str, object]:
    return {
        "id": f"e{number}",
        "type": "login",
        "time": "2026-03-02T17:30:00Z",
        "actor": {"id": "u1", "email": "ann@example.com", "ip": "203.0.113.7"},
    }
