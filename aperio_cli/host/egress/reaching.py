"""The way out of this machine: resolve once, check every address, dial one that was checked.

The name is not resolved a second time, so that its owner cannot answer with another address then.
Where this machine itself reaches others through a proxy, that one resolves and dials: it is told
the name, and what it may lead to is for whoever runs it to say. A name that this machine can
resolve, to an address that is not public, is refused before that.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import re
import socket
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from aperio_cli.host.egress.decisions import Denied, Reason
from aperio_cli.host.egress.requests import END_OF_HEAD, LONGEST_HEAD_BYTES
from aperio_cli.host.egress.rules import check_addresses
from aperio_cli.host.egress.sides import Side
from aperio_cli.net.diagnosis import Proxy, find_proxy
from aperio_cli.net.request import off_loop

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from aperio_cli.host.egress.addresses import Address
    from aperio_cli.host.egress.rules import Rule
    from aperio_cli.host.egress.targets import Target

RESOLVE_S: Final = 10.0
MOST_RESOLVING: Final = 16
"""Names at once: each takes a thread, for as long as a name server takes to answer."""
DIAL_S: Final = 15.0
_ONE_ADDRESS_S: Final = 5.0
_BEHIND_PROXY_S: Final = 2.0  # a machine that needs a proxy may have no resolver that answers
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r)")
_PROXY_PORTS: Final = {"http": 80, "https": 443}


class Outside(Protocol):
    """What is beyond this machine."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """Return every address of a name.

        Raises:
            OSError: it has none, or nobody could say.
        """

    async def dial(self, address: Address, port: int) -> socket.socket:
        """Return a connected socket.

        Raises:
            OSError: there is no connection.
        """

    def is_own(self, address: Address) -> bool:
        """Return whether an address is one of this machine's."""

    def proxy_for(self, url: str) -> Proxy | None:
        """Return the proxy by which this machine reaches an address."""


class Network:
    """The real `Outside` of one plugin."""

    def __init__(self) -> None:
        self._resolving = asyncio.Semaphore(MOST_RESOLVING)

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """Return every address of a name, as this machine's resolver says."""
        async with self._resolving:
            found = await off_loop(
                functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            )
        return list(dict.fromkeys(ipaddress.ip_address(each[4][0]) for each in found))

    async def dial(self, address: Address, port: int) -> socket.socket:
        """Return a connected socket."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 - IP's
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.settimeout(0)
            await asyncio.get_running_loop().sock_connect(made, (str(address), port))
        except BaseException:
            made.close()
            raise
        return made

    def is_own(self, address: Address) -> bool:
        """Return whether this machine has an address: then, and only then, it can be bound to."""
        is_v4 = address.version == 4  # noqa: PLR2004 - IP's
        with socket.socket(
            socket.AF_INET if is_v4 else socket.AF_INET6, socket.SOCK_DGRAM
        ) as probe:
            try:
                probe.bind((str(address), 0))
            except OSError:
                return False
        return not _binds_to_any(4 if is_v4 else 6)

    def proxy_for(self, url: str) -> Proxy | None:
        """Return the proxy that the environment states."""
        return find_proxy(url)


def _binds_to_any(version: int) -> bool:
    """Return whether this machine is set up to let programs bind to others' addresses (ip(7))."""
    setting = Path(f"/proc/sys/net/ipv{version}/ip_nonlocal_bind")
    try:
        return setting.read_text(encoding="ascii").strip() != "0"
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Way:
    """A connection to a target, or to the proxy that leads there.

    Attributes:
        side: its end.
        address: to which it was made; empty when a proxy makes it.
        via: the proxy, safe to show; else empty.
        is_asked: whether plain HTTP is asked of that proxy, instead of the target.
        credential: header lines for it.
    """

    side: Side
    address: str = ""
    via: str = ""
    is_asked: bool = False
    credential: bytes = b""


async def reach(outside: Outside, target: Target, rule: Rule | None, *, asks_http: bool) -> Way:
    """Return a connection to a target.

    Args:
        outside: what is beyond this machine.
        target: where to.
        rule: that covers it; None: none does, and it has to be public.
        asks_http: whether one plain HTTP request is made, which a proxy takes as it is.

    Raises:
        Denied: an address is not one that it may be connected to, or no connection could be made.
    """
    proxy = outside.proxy_for(f"{'http' if asks_http else 'https'}://{target}")
    if proxy is None:
        return await _directly(outside, target, rule)
    await _check_behind_proxy(outside, target, rule)
    side, credential = await _to_proxy(proxy)
    try:
        if not asks_http:
            async with asyncio.timeout(DIAL_S):
                await _tunnel(side, target, credential)
    except BaseException as error:
        side.transport.abort()
        if isinstance(error, TimeoutError | OSError):
            raise Denied(Reason.UPSTREAM_REFUSED, f"{proxy.shown}: no answer") from None
        raise
    return Way(side, via=proxy.shown, is_asked=asks_http, credential=credential)


async def _directly(outside: Outside, target: Target, rule: Rule | None) -> Way:
    addresses = await _resolved(outside, target, RESOLVE_S)
    check_addresses(addresses, rule, outside.is_own)
    made, address = await _dialled(outside, addresses, target.port)
    try:
        _, side = await asyncio.get_running_loop().create_connection(Side, sock=made)
    except BaseException:
        made.close()
        raise
    return Way(side, address=str(address))


async def _resolved(outside: Outside, target: Target, patience_s: float) -> Sequence[Address]:
    if target.is_address:
        return [ipaddress.ip_address(target.host)]
    try:
        async with asyncio.timeout(patience_s):
            return await outside.resolve(target.host, target.port)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise Denied(Reason.UNRESOLVED, _words(error)) from None


async def _check_behind_proxy(outside: Outside, target: Target, rule: Rule | None) -> None:
    try:
        addresses = await _resolved(outside, target, _BEHIND_PROXY_S)
    except Denied:
        return
    check_addresses(addresses, rule, outside.is_own)


async def _dialled(
    outside: Outside, addresses: Sequence[Address], port: int
) -> tuple[socket.socket, Address]:
    """Return a socket to the first address that answers, and which that is."""
    loop = asyncio.get_running_loop()
    ends_s, failure = loop.time() + DIAL_S, "no answer"
    for address in addresses:
        try:
            async with asyncio.timeout_at(min(ends_s, loop.time() + _ONE_ADDRESS_S)):
                return await outside.dial(address, port), address
        except OSError as error:
            failure = f"{address}: {_words(error)}"
    raise Denied(Reason.UNREACHABLE, failure)


def _words(error: Exception) -> str:
    return (error.strerror or "no answer") if isinstance(error, OSError) else "no usable answer"


# ── this machine's own proxy ──────────────────────────────────────────────────────────────────────


async def _to_proxy(proxy: Proxy) -> tuple[Side, bytes]:
    """Return a connection to a proxy, and the header lines by which it knows this machine."""
    parts = urlsplit(proxy.url)
    try:
        host, port = parts.hostname, parts.port or _PROXY_PORTS[parts.scheme]
    except (ValueError, KeyError):
        host, port = None, 0
    if host is None or parts.scheme not in _PROXY_PORTS:
        raise Denied(Reason.UPSTREAM_REFUSED, f"{proxy.variable} names no http or https proxy")
    try:
        async with asyncio.timeout(DIAL_S):
            _, side = await asyncio.get_running_loop().create_connection(
                Side, host, port, ssl=_tls() if parts.scheme == "https" else None
            )
    except OSError as error:
        raise Denied(Reason.UPSTREAM_REFUSED, f"{proxy.shown}: {_words(error)}") from None
    if not parts.username:
        return side, b""
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return side, b"Proxy-Authorization: Basic %s\r\n" % b64encode(user)


def _tls() -> ssl.SSLContext:
    from aperio_cli.net.certificates import system_context

    return system_context()


async def _tunnel(side: Side, target: Target, credential: bytes) -> None:
    """Have a proxy connect to a target (RFC 9110, section 9.3.6)."""
    place = str(target).encode("ascii")
    side.write(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (place, place, credential))
    answer = b""
    while END_OF_HEAD not in answer:
        came = await side.more()
        answer += came
        if not came or len(answer) > LONGEST_HEAD_BYTES:
            raise Denied(Reason.UPSTREAM_REFUSED, "an answer that cannot be read")
    head, _, rest = answer.partition(END_OF_HEAD)
    status = _STATUS.match(head + b"\r\n")
    if not status or not status[1].startswith(b"2"):
        said = f"it answered {status[1].decode()}" if status else "an answer that cannot be read"
        raise Denied(Reason.UPSTREAM_REFUSED, said)
    side.put_back(rest)
