"""Connects to where it is told to, by every means that it has, and tells what came of it.

As `hostile.py`, which it is otherwise.
"""

from __future__ import annotations

import errno
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

import hostile

CA = pathlib.Path(__file__).with_name("ca.pem")
TIMEOUT_S = 20
_CURL = ("/usr/bin/curl", "-sS", "--fail")
_CODE = {
    "httpx": (
        "import httpx, ssl; context = ssl.create_default_context(cafile={1!r});"
        " print(httpx.get({0!r}, verify=context).raise_for_status().text)"
    ),
    "requests": (
        "import requests; answer = requests.get({0!r}, verify={1!r});"
        " answer.raise_for_status(); print(answer.text)"
    ),
    # Without a word about a proxy: the name leads to the door.
    "aiohttp": (
        "import aiohttp, asyncio, ssl\n"
        "async def main():\n"
        "    async with aiohttp.ClientSession(raise_for_status=True) as session:\n"
        "        context = ssl.create_default_context(cafile={1!r})\n"
        "        async with session.get({0!r}, ssl=context) as answer:\n"
        "            print(await answer.text())\n"
        "asyncio.run(main())"
    ),
    "grpc": (
        "import grpc; trust = grpc.ssl_channel_credentials(open({1!r}, 'rb').read());"
        " echo = grpc.secure_channel({0!r}, trust).unary_unary('/test.Echo/Say');"
        " print(echo(b'/a', timeout=20).decode())"
    ),
    "node": "fetch({0!r}).then(a => a.text()).then(console.log, e => console.log(e.cause))",
}


def get(address: str) -> str:
    """What urllib reads, redirects followed."""
    context = ssl.create_default_context(cafile=CA)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310
            return str(answer.read().decode())
    except (urllib.error.URLError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def client(name: str, address: str) -> str:
    """What another client reads, or the end of what it complains."""
    code = _CODE.get(name, "").format(address, str(CA))
    arguments = {
        "node": ["/usr/bin/node", "-e", code],
        "curl": [*_CURL, "--cacert", str(CA), address],
        "curl without a proxy": [*_CURL, "--noproxy", "*", "--cacert", str(CA), address],
        "go": [str(CA.with_name("fetch")), address],
    }.get(name, [sys.executable, "-c", code])
    environment = os.environ | {
        "NODE_EXTRA_CA_CERTS": str(CA),
        "SSL_CERT_FILE": str(CA),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "GRPC_VERBOSITY": "NONE",
    }
    done = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return (done.stdout + done.stderr).strip()[-2000:]


def tunnel(place: str, name: str | None = None, via: str = "") -> str:
    """What a proxy answers to CONNECT; and what comes of TLS for a name behind it."""
    host, _, port = (via or os.environ["HTTPS_PROXY"].removeprefix("http://")).partition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as made:
        made.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n") and (came := made.recv(1)):
            head += came
        line = head.decode().partition("\r\n")[0]
        return _secure(made, name) if name and " 200 " in line else line


def door(place: str, name: str) -> str:
    """What comes of TLS for a name at the address of another."""
    host, _, port = place.partition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as made:
        return _secure(made, name)


def _secure(made: socket.socket, name: str) -> str:
    context = ssl.create_default_context(cafile=CA)
    context.check_hostname = False
    try:
        with context.wrap_socket(made, server_hostname=name) as secure:
            secure.sendall(f"GET /a HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            return secure.recv(65536).decode()
    except ssl.SSLError as error:
        return str(error.reason)


def resolve(name: str) -> list[str]:
    try:
        return sorted({str(each[4][0]) for each in socket.getaddrinfo(name, 443)})
    except socket.gaierror as error:
        return [f"gaierror {error.errno}"]


def ask_name_server(address: str, name: str) -> str:
    """Put a question to a name server, with data in the name."""
    labels = b"".join(bytes((len(each),)) + each.encode() for each in name.split("."))
    question = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.settimeout(2)
        asked.sendto(question, (address, 53))
        return asked.recv(512).hex()


def relay(place: str) -> str:
    """Serve a proxy of its own, which leads on by the host's, and ask that for a place."""
    upstream = os.environ["HTTPS_PROXY"].removeprefix("http://").split(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        near, _ = listener.accept()
        far = socket.create_connection((upstream[0], int(upstream[1])), TIMEOUT_S)
        threading.Thread(target=_copy, args=(far, near), daemon=True).start()
        _copy(near, far)

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        return tunnel(place, via=f"127.0.0.1:{listener.getsockname()[1]}")


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while came := source.recv(65536):
            sink.sendall(came)
        sink.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno not in {errno.ENOTCONN, errno.EPIPE, errno.ECONNRESET}:
            raise


def variables(*names: str) -> list[Any]:
    return [os.environ.get(name) for name in names]


hostile.DEEDS.update(
    (function.__name__, function)
    for function in (get, client, tunnel, door, resolve, ask_name_server, relay, variables)
)

if __name__ == "__main__":
    hostile.serve()
