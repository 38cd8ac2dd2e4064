"""What a plugin's way out costs: a large transfer through the door, against the same without it.

Client, server and door are processes of their own; bytes are not encrypted, so that the door's
share is seen.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from figures import TIMEOUT_S, Figure, in_ms

from aperio_cli.host.egress import Door, Listener, Policy, Rule, Terms
from aperio_cli.host.egress.reaching import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.host.egress.addresses import Address

SCRIPT: Final = str(Path(__file__).resolve().parent / "transfer.py")
SIZE_BYTES: Final = 1024**3
TARGET: Final = "transfer.bench.invalid"


class _Here(Network):
    """Resolves every name to this machine."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """The loopback address, whatever the name."""
        del host, port
        return [ipaddress.ip_address("127.0.0.1")]


def measure(rounds: int) -> list[Figure]:
    """The figure of a transfer.

    Raises:
        RuntimeError: not everything arrived.
    """
    with subprocess.Popen(
        (sys.executable, SCRIPT, "serve", str(SIZE_BYTES)),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        port = int(server.stdout.readline()) if server.stdout else 0
        through, direct = asyncio.run(_transfers(port, rounds))
        server.communicate()
    return [
        Figure(
            name="1 GiB through CONNECT, to loopback without it",
            value=direct / through,
            at_least=0.35,
            detail=in_ms(through, direct),
        )
    ]


async def _transfers(port: int, rounds: int) -> tuple[float, float]:
    """Medians through the door and without it; the first round only warms up."""
    rule = Rule(TARGET, port, "operator", may_be_private=True, is_any_protocol=True)
    door = Door("bench/bench", "", Terms(Policy((rule,)), _Here()), lambda *_: None)
    listening = socket.create_server(("127.0.0.1", 0))
    proxy = str(listening.getsockname()[1])
    door.open([(Listener("127.0.0.1", 0), listening)])
    fetch = functools.partial(_fetch, port)
    pairs = []
    try:
        for _ in range(rounds + 1):
            through = await asyncio.to_thread(fetch, proxy, f"{TARGET}:{port}")
            pairs.append((through, await asyncio.to_thread(fetch)))
    finally:
        await door.close()
    return statistics.median(a for a, _ in pairs[1:]), statistics.median(b for _, b in pairs[1:])


def _fetch(port: int, *proxy: str) -> float:
    done = subprocess.run(
        (sys.executable, SCRIPT, "fetch", str(SIZE_BYTES), str(port), *proxy),
        check=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    return float(done.stdout)
