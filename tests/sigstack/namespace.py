"""The first process of an instance: raises its loopback, serves its issuers, keeps its services.

    unshare --user --map-root-user --net --pid --fork --kill-child python namespace.py FOLDER

`FOLDER/plan.json` says what to run (`layout.py` writes it). This prints `ready` once every service
answers, and runs until its standard input ends, which is when whoever started it stops, or dies.
It is process 1 of a process namespace, so nothing outlives it. Standard library only, so that it
starts at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 8.0
_ASK_TIMEOUT_S = 5.0
_POLL_S = 0.05

# Numbers of the ioctl calls and of the flag, from netdevice(7) and linux/if.h.
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1


class NotReady(Exception):
    """A service ended, or did not answer in time."""


def raise_loopback() -> None:
    """Bring up `lo`, the only interface of a new network namespace.

    Raises:
        OSError: this is not the namespace's administrator.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh", b"lo", 0)
        _, flags = struct.unpack("16sh", fcntl.ioctl(control, _GET_FLAGS, request))
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP))


@contextlib.contextmanager
def issuers(port: int, documents: dict[str, Any]) -> Iterator[None]:
    """Serve JSON documents by path while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path in documents
            body = json.dumps(documents.get(self.path, {})).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((LOOPBACK, port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


@contextlib.contextmanager
def services(folder: Path, plan: list[dict[str, Any]]) -> Iterator[None]:
    """Run services while the block runs, one after the other, each once the one before answers.

    Raises:
        NotReady: one of them ended or did not answer; the others are stopped again.
    """
    running: list[subprocess.Popen[bytes]] = []
    try:
        for service in plan:
            running.append(_start(folder, service))
            _await_answer(running[-1], service)
        yield
    finally:
        _stop(running)


def _start(folder: Path, service: dict[str, Any]) -> subprocess.Popen[bytes]:
    with (folder / f"{service['name']}.log").open("ab") as log:
        return subprocess.Popen(
            service["argv"],
            cwd=folder,
            env={"HOME": str(folder), "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _await_answer(process: subprocess.Popen[bytes], service: dict[str, Any]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _answers(service["port"], service["health"]):
        if process.poll() is not None:
            raise NotReady(f"{service['name']} ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise NotReady(f"{service['name']} did not answer within {READY_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ASK_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    """Ask all at once, then end who has not gone in time."""
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process in reversed(running):
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> int:
    """The command; see the module."""
    folder = Path(sys.argv[1])
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    raise_loopback()
    try:
        with issuers(plan["issuer_port"], plan["documents"]), services(folder, plan["services"]):
            print("ready", flush=True)  # noqa: T201 - whoever started this waits for the line
            sys.stdin.buffer.read()
    except NotReady as error:
        print(error, flush=True)  # noqa: T201 - the parent reads it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
