"""Serves a built registry on 127.0.0.1: for trying it out, and for tests. Not for the world.

GET and HEAD of regular files below one folder, with strong ETags (RFC 9110, section 8.8.3). No
folder is listed, no hidden file is given out, and no link is followed, so nothing outside is read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import stat
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote

from aperio_cli.errors.files import FileNotRegular
from aperio_cli.errors.registries import PortInUse, RegistrySourceInvalid
from aperio_cli.files import reading
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.registry_index import FILE_NAME
from aperio_cli.registry import BUILT_FOLDER, find_built

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOST = "127.0.0.1"
CONNECTION_TIMEOUT_S = 30.0
_POLL_S = 0.1
_PIECE_BYTES = 4096


def serve(
    directory: Path, port: int, *, announce: Callable[[str], None], stdin: int | None = None
) -> None:
    """Serve until it is interrupted, or until a pipe on standard input is closed.

    Args:
        directory: a built registry, or a source whose `public` folder is one.
        port: TCP port; 0 takes a free one.
        announce: called with the address once it answers.
        stdin: descriptor to watch; only a pipe or a socket counts, so that a program which
            started this one ends it by going away.

    Raises:
        RegistrySourceInvalid: there is no built registry in the folder.
        PortInUse: another program listens on the port.
        KeyboardInterrupt: as it came; the port is closed.
    """
    within = built_folder(directory)
    with serving(directory, port, within=within) as url, _awakened_by_signals() as signalled:
        announce(url)
        _wait(signalled, stdin if stdin is not None and _is_pipe(stdin) else None)


def built_folder(directory: Path) -> tuple[str, ...]:
    """Return the way from a folder to the built registry in it.

    Raises:
        RegistrySourceInvalid: there is none.
        FileNotRegular: a link stands in its place.
    """
    way = find_built(directory)
    if way is not None:
        return way
    raise RegistrySourceInvalid(
        f"`{directory}` was not served: there is no built registry in it",
        why=f"expected {FILE_NAME}, there or in {BUILT_FOLDER}",
        next=[f"`aperio registry build --dir {directory}`"],
    )


@contextlib.contextmanager
def serving(folder: Path, port: int = 0, *, within: tuple[str, ...] = ()) -> Iterator[str]:
    """Serve a folder in the background while the block runs; gives the address, ending in `/`.

    Args:
        folder: the folder that the operator named, below which no link is followed.
        port: TCP port; 0 takes a free one.
        within: the way from there to the folder that is served. It is walked anew for each
            request, because `registry build` replaces it.

    Raises:
        PortInUse: another program listens on the port.
    """
    try:
        server = _Server(folder, within, port)
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        raise PortInUse(
            f"port {port} was not opened, so nothing is served",
            why=os.strerror(error.errno),
            next=["leave `--port` out to take a free one"],
        ) from error
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": _POLL_S}, daemon=True
    )
    try:
        thread.start()  # in the block: SIGTERM may come before it returns
        yield f"http://{HOST}:{server.server_port}/"
    finally:
        if thread.is_alive():
            server.shutdown()
            thread.join()
        server.server_close()


@contextlib.contextmanager
def _awakened_by_signals() -> Iterator[int]:
    """Give a descriptor that can be read as soon as a signal came, at whatever moment.

    One that comes just before a lock is waited for, or a read, does not interrupt it: its Python
    handler would run when the wait is over, which is never.
    """
    signalled, writer = os.pipe()
    try:
        os.set_blocking(signalled, False)
        os.set_blocking(writer, False)
        if threading.current_thread() is not threading.main_thread():  # handlers run there only
            yield signalled
            return
        before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield signalled
        finally:
            signal.set_wakeup_fd(before)
    finally:
        os.close(signalled)
        os.close(writer)


def _wait(signalled: int, pipe: int | None) -> None:
    """Return when the pipe is closed; without one only a handler of a signal ends it."""
    watched = [signalled] if pipe is None else [signalled, pipe]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if signalled in ready:
            os.read(signalled, _PIECE_BYTES)
        if pipe is not None and pipe in ready and not os.read(pipe, _PIECE_BYTES):
            return


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an idle client must not keep us from stopping

    def __init__(self, folder: Path, within: tuple[str, ...], port: int) -> None:
        self.folder = folder
        self.within = within
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own also asks the name service who we are, which may take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "aperio"
    sys_version = ""
    timeout = CONNECTION_TIMEOUT_S

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        """Print nothing: requests are not interesting, and their text is not ours to print."""

    def _answer(self, *, with_body: bool) -> None:
        file = _open_below(self.server.folder, self.server.within, self.path)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            etag = f'"{reading.hash_file(file).hex}"'
            is_known = etag in self.headers.get("If-None-Match", "")
            self.send_response(HTTPStatus.NOT_MODIFIED if is_known else HTTPStatus.OK)
            self.send_header("ETag", etag)
            self.send_header("Cache-Control", "no-cache")
            if not is_known:
                self.send_header("Content-Type", _content_type(self.path))
                self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.end_headers()
            if with_body and not is_known:
                file.seek(0)
                with contextlib.suppress(OSError):  # the client went away
                    shutil.copyfileobj(file, self.wfile)


def _content_type(path: str) -> str:
    return "application/json" if path.endswith(".json") else "application/octet-stream"


def _open_below(folder: Path, within: tuple[str, ...], target: str) -> BinaryIO | None:
    """Return the regular file that a request names, or None for whatever is not given out."""
    first, *parts = unquote(target.partition("?")[0], errors="replace").split("/")
    if first or any(part.startswith(".") for part in parts):
        return None
    try:
        with Beneath(folder) as root:
            return root.open_file(*within, *parts)
    except (OSError, FileNotRegular):
        return None
