"""Which addresses a plugin may be connected to: public ones, unless the operator says otherwise.

The list is IANA's special-purpose registries for IPv4 and IPv6, and what providers of machines put
at addresses that look public. `ipaddress.is_global` is asked beside it, not instead: its meaning
has changed between releases of Python.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(enum.Enum):
    """Whose an address is.

    Attributes:
        PUBLIC: it means the same everywhere.
        PRIVATE: this machine or a network of the operator's; only a rule of the operator's leads
            there.
        NEVER: nobody's service, or a machine's own credentials; no rule leads there.
    """

    PUBLIC = "public"
    PRIVATE = "private"
    NEVER = "never"


_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network; many systems connect to themselves
        "100.100.100.200/32",  # Alibaba Cloud's metadata
        "168.63.129.16/32",  # Azure's wire server, inside of public space
        "169.254.0.0/16",  # link-local: metadata of most providers
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "::/128",
        "2001::/23",  # protocol assignments; Teredo, which holds an IPv4 address
        "2001:db8::/32",
        "2002::/16",  # 6to4, which holds an IPv4 address
        "3fff::/20",
        "fd00:ec2::/32",  # Amazon's metadata and its other services of one machine
        "fe80::/10",
        "ff00::/8",
    )
)
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks; local resolvers that invent addresses
        "::1/128",
        "fc00::/7",
    )
)
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, section 2.1
_LAST_32_BITS: Final = 0xFFFFFFFF


def reach_of(address: Address) -> Reach:
    """Return whose an address is."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return Reach.NEVER
        if address in _NAT64:  # a network without IPv4 reaches it by this
            inner = reach_of(ipaddress.IPv4Address(int(address) & _LAST_32_BITS))
            return inner if inner is Reach.PUBLIC else Reach.NEVER
    if any(address in network for network in _NEVER if network.version == address.version):
        return Reach.NEVER
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return Reach.PRIVATE
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return Reach.NEVER
    return Reach.PUBLIC if address.is_global else Reach.NEVER
