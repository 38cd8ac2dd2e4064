"""Serves a built registry on 127.0.0.1: for trying it out, and for tests. Not for the world.

GET and HEAD of regular files below one folder, with strong ETags (RFC 9110, section 8.8.3), whole
or from a byte on. No folder is listed, no hidden file is given out, and no link is followed, so
nothing outside is read. `faults` are what a server can be asked to do wrong.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import shutil
import signal
import stat
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote

from aperio_cli.errors.files import FileNotRegular
from aperio_cli.errors.registries import PortInUse, RegistrySourceInvalid
from aperio_cli.errors.usage import UsageError
from aperio_cli.files import reading
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.registry_index import FILE_NAME
from aperio_cli.publishing.faults import OF_EDITIONS, Fault, Faults
from aperio_cli.publishing.source import is_source, typed
from aperio_cli.registry import BUILT_FOLDER, find_built

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOST = "127.0.0.1"
CONNECTION_TIMEOUT_S = 30.0
_POLL_S = 0.1
_PIECE_BYTES = 4096
_REST = re.compile(r"bytes=([0-9]{1,18})-", re.ASCII)


def serve(
    directory: Path,
    port: int,
    *,
    announce: Callable[[str], None],
    stdin: int | None = None,
    faults: Faults | None = None,
) -> None:
    """Serve until it is interrupted, or until a pipe on standard input is closed.

    Args:
        directory: a built registry, or a source whose `public` folder is one.
        port: TCP port; 0 takes a free one.
        announce: called with the address once it answers.
        stdin: descriptor to watch; only a pipe or a socket counts, so that a program which
            started this one ends it by going away.
        faults: what goes wrong, on purpose; None for nothing.

    Raises:
        RegistrySourceInvalid: there is no built registry in the folder.
        PortInUse: another program listens on the port.
        KeyboardInterrupt: as it came; the port is closed.
    """
    within = built_folder(directory, "was not served")
    with (
        serving(directory, port, within=within, faults=faults) as url,
        _awakened_by_signals() as signalled,
    ):
        announce(url)
        _wait(signalled, stdin if stdin is not None and _is_pipe(stdin) else None)


def built_folder(directory: Path, outcome: str) -> tuple[str, ...]:
    """Return the way from a folder to the built registry in it.

    Args:
        directory: a built registry, or a source whose `public` folder is one.
        outcome: what a refusal comes to, for messages: `was not served`.

    Raises:
        RegistrySourceInvalid: there is none.
        FileNotRegular: a link stands in its place.
    """
    way = find_built(directory)
    if way is not None:
        return way
    # What is no source cannot be built: that would be refused in its turn.
    steps = [typed("build", directory)] if is_source(directory) else []
    raise RegistrySourceInvalid(
        f"`{directory}` {outcome}: there is no built registry in it",
        why=f"expected {FILE_NAME}, there or in {BUILT_FOLDER}",
        next=[*steps, "check the path for a typing error"],
    )


def faults_of(text: str, other: Path | None) -> Faults:
    """Return the faults that a registry is to be served with; none for an empty text.

    Args:
        text: `NAME` or `NAME:PATTERN`.
        other: another built registry, for faults that mix two.

    Raises:
        UsageError: there is no such fault, or it needs another registry, or needs none.
        RegistrySourceInvalid: there is no built registry in the other folder.
    """
    fault = Fault.parse(text) if text else None
    if (fault is not None and fault.name in OF_EDITIONS) != (other is not None):
        raise UsageError(
            f"the registry was not served: {', '.join(OF_EDITIONS)} mix it with another one",
            why="such a fault needs `--other DIR`"
            if fault
            else "`--other DIR` is for such a fault",
            next=["keep a copy of an earlier build, and name that with `--other`"],
        )
    return Faults(fault, (other, built_folder(other, "was not served")) if other else None)


@contextlib.contextmanager
def serving(
    folder: Path, port: int = 0, *, within: tuple[str, ...] = (), faults: Faults | None = None
) -> Iterator[str]:
    """Serve a folder in the background while the block runs; gives the address, ending in `/`.

    Args:
        folder: the folder that the operator named, below which no link is followed.
        port: TCP port; 0 takes a free one.
        within: the way from there to the folder that is served. It is walked anew for each
            request, because `registry build` replaces it.
        faults: what goes wrong, on purpose; None for nothing.

    Raises:
        PortInUse: another program listens on the port.
    """
    try:
        server = _Server(folder, within, port, faults or Faults())
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
        server.stopping.set()
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

    def __init__(self, folder: Path, within: tuple[str, ...], port: int, faults: Faults) -> None:
        self.place = folder, within
        self.faults = faults
        self.stopping = threading.Event()
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away in the middle, and all of a fault of ours."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

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
        faults = self.server.faults
        place = (faults.is_other(self.path) and faults.other) or self.server.place
        file = _open_below(*place, self.path)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file, contextlib.suppress(OSError):  # the client went away
            if send := faults.sending(self.path):
                self.close_connection = True
                send(self, file, self.server.stopping)
            else:
                self._send(file, with_body=with_body)

    def _send(self, file: BinaryIO, *, with_body: bool) -> None:
        """Send a file as it is, or the rest of it that is asked for (RFC 9110, section 14.2)."""
        etag, size = f'"{reading.hash_file(file).hex}"', os.fstat(file.fileno()).st_size
        is_known = etag in self.headers.get("If-None-Match", "")
        start = 0 if is_known else self._start(etag, size)
        self.send_response(
            HTTPStatus.NOT_MODIFIED
            if is_known
            else HTTPStatus.PARTIAL_CONTENT
            if start
            else HTTPStatus.OK
        )
        self.send_header("ETag", etag)
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Accept-Ranges", "bytes")
        if not is_known:
            self.send_header("Content-Type", _content_type(self.path))
            self.send_header("Content-Length", str(size - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if with_body and not is_known:
            file.seek(start)
            shutil.copyfileobj(file, self.wfile)

    def _start(self, etag: str, size: int) -> int:
        """Return where the rest that is asked for begins; 0 when all of it is to be sent."""
        asked = _REST.fullmatch(self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range", etag) == etag
        start = int(asked[1]) if asked and is_same else 0
        return start if start < size else 0


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
