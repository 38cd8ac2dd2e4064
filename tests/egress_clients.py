"""Asks for an address with every client that plugins use, and prints what came of it.

    python tests/egress_clients.py FOLDER CLIENT...

The clients are told nothing but what stands in the environment. FOLDER has `ca.pem`. Each prints
one line: its name, and what it read or the kind of its error with its text.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS: Final = "https://api.box.com/a"
TIMEOUT_S: Final = 20
CA: Final = Path(sys.argv[1]) / "ca.pem"


def with_urllib(address: str) -> str:
    context = ssl.create_default_context(cafile=CA)
    with urllib.request.urlopen(address, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310
        return str(answer.read().decode())


def with_httpx(address: str) -> str:
    import httpx

    context = ssl.create_default_context(cafile=CA)
    return httpx.get(address, verify=context, timeout=TIMEOUT_S).raise_for_status().text


def with_requests(address: str) -> str:
    import requests

    answer = requests.get(address, verify=str(CA), timeout=TIMEOUT_S)
    answer.raise_for_status()
    return answer.text


def with_aiohttp(address: str) -> str:
    import aiohttp

    async def read() -> str:
        context = ssl.create_default_context(cafile=CA)
        limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
        # It asks the environment only when it is told to; by the door it needs no proxy.
        async with (
            aiohttp.ClientSession(timeout=limit, trust_env=True, raise_for_status=True) as session,
            session.get(address, ssl=context) as answer,
        ):
            return await answer.text()

    return asyncio.run(read())


def with_grpc(address: str) -> str:
    import grpc

    credentials = grpc.ssl_channel_credentials(CA.read_bytes())
    host = address.split("/")[2]
    with grpc.secure_channel(f"{host}:443", credentials) as channel:
        echo: Callable[..., bytes] = channel.unary_unary("/test.Echo/Say")
        return echo(b"/a", timeout=TIMEOUT_S).decode()


def with_curl(address: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--cacert", str(CA), "--max-time", str(TIMEOUT_S), address],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S + 5,
    )
    if done.returncode:
        raise OSError(done.stderr.strip())
    return done.stdout


CLIENTS: Final[dict[str, Callable[[str], str]]] = {
    "urllib": with_urllib,
    "httpx": with_httpx,
    "requests": with_requests,
    "aiohttp": with_aiohttp,
    "grpc": with_grpc,
    "curl": with_curl,
}


def main() -> None:
    for name in sys.argv[2:]:
        client, _, host = name.partition("@")
        address = f"https://{host}/a" if host else ADDRESS
        try:
            said = CLIENTS[client](address)
        except Exception as error:  # noqa: BLE001 - its words are what is looked for
            said = f"{type(error).__name__}: {error}"
        print(name, " ".join(said.split()))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
