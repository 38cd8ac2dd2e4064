"""Where a plugin asks to be connected to: one host name and a port, in one notation.

A name has one form here, and everything else is refused: what two readers could take for two
hosts, and an address in whatever notation. Only four plain decimals are read as an address,
because an operator's own rule may name one.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from aperio_cli.host.egress.decisions import Denied, Reason
from aperio_cli.models.egress import HOST, PORT

HTTP_PORT: Final = 80
_MOST_NAME_CHARACTERS: Final = 253  # RFC 1035, section 2.3.4
_NAME: Final = re.compile(HOST, re.ASCII)
_PORT: Final = re.compile(PORT, re.ASCII)
# What inet_aton and the URL Standard ("ends in a number") read as an address.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_SCHEME: Final = "http://"


@dataclass(frozen=True, slots=True)
class Target:
    """One host and port.

    Attributes:
        host: in lower case, without a final dot; or an IPv4 address, in four decimals.
        port: TCP port.
        is_address: whether the host is an address.
    """

    host: str
    port: int
    is_address: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """What a Host header says of it on plain HTTP (RFC 9110, section 7.2)."""
        return self.host if self.port == HTTP_PORT else str(self)


def parse_authority(text: str, default_port: int = 0) -> Target:
    """Return the target in `host:port`, as CONNECT and the Host header have it.

    Args:
        text: what the plugin sent.
        default_port: of a text without a port; 0: it needs one.

    Raises:
        Denied: it is no host name and port in the one notation that is read.
    """
    host, colon, port = text.partition(":")
    if not colon and default_port:
        port = str(default_port)
    if not _PORT.fullmatch(port):
        raise Denied(Reason.NOT_A_HOST, text)
    name = host.lower().removesuffix(".")
    if not name.isascii() or len(name) > _MOST_NAME_CHARACTERS:
        raise Denied(Reason.NOT_A_HOST, text)
    if name == "localhost":  # RFC 6761, section 6.3
        return Target("127.0.0.1", int(port), is_address=True)
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return Target(_decimal_address(name, text), int(port), is_address=True)
    if not _NAME.fullmatch(name):
        raise Denied(Reason.NOT_A_HOST, text)
    return Target(name, int(port))


def parse_url(text: str) -> tuple[Target, str]:
    """Return the target of an http address, and path and query as a server is asked for them.

    Raises:
        Denied: it is no address in the form that clients send to a proxy (RFC 9112, 3.2.2).
    """
    if text[: len(_SCHEME)].lower() != _SCHEME:
        raise Denied(Reason.MALFORMED, "expected an address that begins with http://")
    found = re.match(r"[^/?#]*", rest := text[len(_SCHEME) :])
    authority = found[0] if found else ""
    path = rest[len(authority) :]
    if "#" in path:
        raise Denied(Reason.MALFORMED, "a fragment is not sent to a server")
    return parse_authority(authority, HTTP_PORT), path if path.startswith("/") else f"/{path}"


def _decimal_address(name: str, text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(name))  # leading zeros and short forms are refused
    except ValueError:
        raise Denied(Reason.NOT_A_HOST, text) from None
