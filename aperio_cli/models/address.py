"""Where the host of an address leads: to this machine, elsewhere, or nobody can say.

Some things are allowed on this machine only (plain http), others elsewhere only (what strangers
name). A host that some readers take for this machine and others do not must count as neither.
"""

from __future__ import annotations

import enum
import functools
import re
import unicodedata
from typing import TYPE_CHECKING, Final

from aperio_cli.text import clean

if TYPE_CHECKING:
    import ipaddress

# Besides `localhost`: names that systems' hosts files commonly give this machine.
_ALIASES: Final = frozenset({"localhost4", "localhost6", "ip6-localhost", "ip6-loopback"})
OF_THIS_MACHINE: Final = ("localhost", "localdomain")
"""Domains whose names lead to the machine that asks (RFC 6761, section 6.3)."""
OWN_DOMAINS: Final = ("local", "internal", "home.arpa", "lan", "alt", "onion")
"""Domains of networks of one's own (RFC 6762, RFC 8375, RFC 9476 and ICANN's `internal`)."""
_OWN_NETWORKS: Final = (*(f".{domain}" for domain in OWN_DOMAINS), ".invalid")
# What inet_aton reads as an address, too (URL Standard, "ends in a number").
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_NAME: Final = re.compile(r"[\w.-]+")
_HOST: Final = re.compile(r"(?:[^:]*|\[.*)(?::[0-9]*)?", re.ASCII)  # and its port
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII | re.IGNORECASE)  # RFC 3986, section 3.1
_BEHIND_HOST: Final = re.compile("[/?#]")
_BEHIND_PATH: Final = re.compile("[?#]")
_IPV4_BITS: Final = 32
_MAPPED: Final = 0xFFFF  # ::ffff:0:0/96; RFC 4291, section 2.5.5.2
_NAT64: Final = 0x64FF9B << 64  # 64:ff9b::/96; RFC 6052, section 2.1
_NAT64_OWN: Final = 0x64FF9B0001  # 64:ff9b:1::/48; RFC 8215
_NAT64_OWN_BITS: Final = 80
_MAX_PART: Final = 63
_MAX_NAME: Final = 253


class Place(enum.Enum):
    """Where a host is.

    Attributes:
        HERE: this machine, in a notation that all read alike: `localhost`, 127.0.0.0/8, ::1.
        ELSEWHERE: another machine, as far as the host says; what it resolves to is not asked.
        UNCLEAR: none, or one that may be this machine in another notation: other numbers than
            four decimals, IPv4 inside of IPv6, an unspecified address, a scope, a dot behind
            `localhost`, a name below it, escapes. Nothing is ever asked there.
    """

    HERE = "here"
    ELSEWHERE = "elsewhere"
    UNCLEAR = "unclear"


def place_of(host: str) -> Place:
    """Return where the host of an address leads; no resolver is asked.

    Args:
        host: as a parser of addresses gives it, an IPv6 address without its brackets.
    """
    import ipaddress  # most commands ask nothing

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _place_of_name(host)
    if isinstance(address, ipaddress.IPv6Address):
        return _place_of_ipv6(address)
    if address.is_loopback:
        return Place.HERE
    return Place.UNCLEAR if address in ipaddress.ip_network("0.0.0.0/8") else Place.ELSEWHERE


def is_possible(host: str) -> bool:
    """Return whether a host can be one at all, so that it is worth asking for.

    A name has parts of 1 to 63 characters, and 253 in all (RFC 1035, section 2.3.4), as it is asked
    for; the empty one behind a last dot is the root.

    Args:
        host: as a parser of addresses gives it, an IPv6 address without its brackets.
    """
    if ":" in host:
        return True  # a parser of addresses has looked at it
    parts = [
        part if part.isascii() else f"xn--{part.encode('punycode').decode()}"
        for part in host.replace("\u3002", ".").removesuffix(".").split(".")
    ]
    return all(1 <= len(part) <= _MAX_PART for part in parts) and len(".".join(parts)) <= _MAX_NAME


def is_private(host: str) -> bool:
    """Return whether a host is plainly of a private network: not of the internet (RFC 6890).

    No resolver is asked: of a name nobody can say it. This machine is none.

    Args:
        host: as for `place_of`.
    """
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not address.is_loopback and not is_everybodys(host)


def is_loopback(host: str) -> bool:
    """Return whether a host is plainly this machine."""
    return place_of(host) is Place.HERE


@functools.lru_cache(maxsize=256)  # the artifacts of a registry are on few hosts
def is_public(host: str) -> bool:
    """Return whether a host can be reached by everybody, as far as the host says.

    Not: this machine, private and other reserved addresses (RFC 6890), names without a dot, and
    names of networks of one's own (RFC 6762, RFC 8375, RFC 9476 and ICANN's `internal`).

    Args:
        host: as a parser of addresses gives it, an IPv6 address without its brackets.
    """
    import ipaddress

    if place_of(host) is not Place.ELSEWHERE:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        name = unicodedata.normalize("NFKC", host).casefold().replace("\u3002", ".").rstrip(".")
        return "." in name and not f".{name}".endswith(_OWN_NETWORKS)
    return is_everybodys(host)


def is_everybodys(text: str) -> bool:
    """Return whether an address of a host is one of the internet, which everybody reaches.

    Not: this machine's, private and other reserved ones (RFC 6890), those of groups; nor those of
    IPv6 that a translator, or the system itself, takes to such a one of IPv4.

    Args:
        text: as a resolver gives it.

    Raises:
        ValueError: it is no address.
    """
    import ipaddress

    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    number = int(address)
    if number >> _IPV4_BITS in {0, _MAPPED, _NAT64}:
        inner = ipaddress.IPv4Address(number & 0xFFFFFFFF)
        return number >> _IPV4_BITS != 0 and is_everybodys(str(inner))
    if address.sixtofour is not None:
        return is_everybodys(str(address.sixtofour))
    is_own = address.is_site_local or number >> _NAT64_OWN_BITS == _NAT64_OWN
    return address.is_global and not address.is_multicast and not is_own


def has_user(address: str) -> bool:
    """Return whether an address states a user or a password (RFC 3986, section 3.2.1)."""
    return "@" in _BEHIND_HOST.split(address.partition("://")[2], maxsplit=1)[0]


def is_address(text: str) -> bool:
    """Return whether a text is an address to be fetched, of whatever scheme; `file:` is none."""
    scheme, mark, _ = text.partition("://")
    return bool(mark and _SCHEME.fullmatch(scheme)) and scheme.lower() != "file"


def file_name(address: str) -> str:
    """Return the last part of an address's path, escaped as it stands; empty without one."""
    rest = _BEHIND_PATH.split(address.partition("://")[2], maxsplit=1)[0]
    return rest.partition("/")[2].rpartition("/")[2]


def beside_file(address: str, suffix: str) -> str:
    """Return the address of the file whose name has a suffix more; it is asked the same query."""
    path = _BEHIND_PATH.split(address, maxsplit=1)[0]
    return path + suffix + address[len(path) :]


def shown(address: str) -> str:
    """Return an address, safe to show, without what may be secret: user, query and fragment."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return clean(address)
    authority, slash, path = _BEHIND_PATH.split(rest, maxsplit=1)[0].partition("/")
    host = authority.rpartition("@")[2]
    if not _HOST.fullmatch(host):  # the first part of a password with a slash in it, perhaps
        return f"{clean(scheme)}://…"
    return f"{clean(scheme)}://{clean(host)}{slash}{clean(path)}"


def _place_of_ipv6(address: ipaddress.IPv6Address) -> Place:
    if address.scope_id is not None:
        return Place.UNCLEAR
    if int(address) == 1:
        return Place.HERE
    has_ipv4 = int(address) >> _IPV4_BITS in {0, _MAPPED}
    return Place.UNCLEAR if has_ipv4 else Place.ELSEWHERE


def _place_of_name(host: str) -> Place:
    if host.isascii() and host.lower() == "localhost":
        return Place.HERE
    # As resolvers may fold it: full-width letters, the ideographic full stop.
    name = unicodedata.normalize("NFKC", host).casefold().replace("\u3002", ".").rstrip(".")
    last = name.rpartition(".")[2]
    if not _NAME.fullmatch(name) or name in _ALIASES or last in OF_THIS_MACHINE:
        return Place.UNCLEAR
    return Place.UNCLEAR if _NUMBER.fullmatch(last) else Place.ELSEWHERE
