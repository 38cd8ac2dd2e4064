"""What a plugin finds in its network namespace: where the door listens, under which names. Pure.

The proxy is for clients that read the usual variables. For those that do not, each name that a rule
states has an address of its own in 127.10.0.0/16, and the door listens there at the rule's ports:
whoever looks the name up connects to the door without knowing it. Names that a wildcard covers
cannot be listed; they are reached by the proxy.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.host.egress.decisions import Denied

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aperio_cli.host.egress.rules import Rule
    from aperio_cli.host.egress.targets import Target

PROXY_ADDRESS: Final = "127.0.0.1"
PROXY_PORT: Final = 3128
_FIRST: Final = ipaddress.IPv4Address("127.10.0.1")
MOST_NAMES: Final = 250
MOST_LISTENERS: Final = 250  # as many descriptors as one message can carry (SCM_MAX_FD in unix(7))


@dataclass(frozen=True, slots=True)
class Listener:
    """Where the door listens inside of the namespace.

    Attributes:
        address: IPv4 address to bind to.
        port: TCP port.
        target: where whoever connects there wants to; None: it is the proxy, which is told.
    """

    address: str
    port: int
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be there before the plugin starts.

    Attributes:
        listeners: the proxy's first.
        addresses: of the names that rules state, by name.
    """

    listeners: tuple[Listener, ...]
    addresses: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the plugin is given, so that its clients find the proxy."""
        proxy = f"http://{PROXY_ADDRESS}:{PROXY_PORT}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        # Node reads them when it is told to; an empty NO_PROXY keeps defaults of clients away.
        others = {"NODE_USE_ENV_PROXY": "1", "no_proxy": "", "NO_PROXY": ""}
        return dict.fromkeys(names, proxy) | others


def plan_door(rules: Iterable[Rule]) -> Plan:
    """Return where the door of a plugin with these rules listens.

    Args:
        rules: what it may be connected to. To what is beyond `MOST_NAMES` and `MOST_LISTENERS` only
            the proxy leads.
    """
    places: dict[Target, None] = {}
    for rule in rules:
        try:
            target = rule.target
        except Denied:  # a manifest's rule that names an address, in a notation that does not count
            continue
        if target and (not target.is_address or _is_here(target)):
            places[target] = None
    named = (target.host for target in places if not target.is_address)
    names = list(dict.fromkeys(named))[:MOST_NAMES]
    addresses = {name: str(_FIRST + number) for number, name in enumerate(names)}
    door = [
        Listener(addresses.get(target.host, target.host), target.port, target)
        for target in places
        if target.host in addresses or target.is_address
    ]
    door = [each for each in door if (each.address, each.port) != (PROXY_ADDRESS, PROXY_PORT)]
    return Plan((Listener(PROXY_ADDRESS, PROXY_PORT), *door)[:MOST_LISTENERS], addresses)


def _is_here(target: Target) -> bool:
    """Return whether clients connect to an address without a proxy, as it is a machine's own."""
    return target.is_address and ipaddress.IPv4Address(target.host).is_loopback
