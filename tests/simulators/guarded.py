"""A web server of a folder for whoever has a password and a token."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Guarded:
    """Serves the files of a folder to `user:hunter2` with the token; notes what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.paths: list[str] = []
        guarded = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                guarded.paths.append(self.path)
                is_known = self.headers["Authorization"] == "Basic dXNlcjpodW50ZXIy"
                file = folder / path.lstrip("/")
                has_file = is_known and query == "token=hunter2" and file.is_file()
                self.send_response(200 if has_file else 404 if is_known else 401)
                self.end_headers()
                self.wfile.write(file.read_bytes() if has_file else b"")

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def url(self, name: str, host: str = "user:hunter2@127.0.0.1") -> str:
        """The address of a file, with all that must not be shown."""
        return f"http://{host}:{self.http.server_port}/{name}?token=hunter2#hunter2"

    def shown(self, name: str) -> str:
        """The address of a file, as people are shown it."""
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Guarded]:
        """Serve while the block runs."""
        with self.http:
            thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield self
            finally:
                self.http.shutdown()
                thread.join()
