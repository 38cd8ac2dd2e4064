"""Egress: where a manifest says that its plugin may connect, and whether an address is among it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aperio_cli.models.address import OF_THIS_MACHINE, OWN_DOMAINS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.manifest import Manifest

PORTS: Final = {"https": 443, "http": 80}
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST: Final = rf"{_LABEL}(?:\.{_LABEL})+"
"""Pattern of a host's name, with at least one dot."""
PORT: Final = r"(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
"""Pattern of a TCP port."""
RULE: Final = re.compile(rf"(?:\*\.)?{HOST}:{PORT}", re.ASCII)
"""A host, exact or with one leading `*.`, and a port."""
_OWN: Final = "|".join(map(re.escape, (*OWN_DOMAINS, *OF_THIS_MACHINE)))
_OPERATORS: Final = re.compile(
    # In brackets or with a colon: IPv6. A number at the end: IPv4 to some readers (URL Standard,
    # "ends in a number"). A label alone: a name of whichever network it is asked in.
    rf"(?:\[.*\]|[0-9a-f:.]*:[0-9a-f:.]*|(?:\*\.)?(?:{_LABEL}\.)*(?:[0-9]+|0x[0-9a-f]*|{_OWN})\.?"
    rf"|{_LABEL}\.?):{PORT}",
    re.ASCII,
)
# RFC 2606 and RFC 6761: names that nobody has. Templates and pages use them, services do not.
_RESERVED_DOMAINS: Final = ("example.com", "example.net", "example.org")
_RESERVED_ENDS: Final = frozenset({"example", "invalid", "localhost", "test"})


def split_rule(rule: str) -> tuple[str, int]:
    """Return host and port of a rule such as `*.box.com:443`."""
    host, _, port = rule.rpartition(":")
    return host, int(port)


def covers(rule: str, host: str) -> bool:
    """Return whether a rule's host, exact or with one leading `*.`, covers a host."""
    name, _ = split_rule(rule)
    return host == name or (name.startswith("*.") and host.endswith(name[1:]))


def is_for_operators(rule: str) -> bool:
    """Return whether a text is host and port of a place that no manifest may ask for.

    An address in whatever notation, public ones too; a name of the machine itself, or of networks
    of one's own. Whoever runs the plugin knows what is there, and opens it with a rule of his own.
    """
    return _OPERATORS.fullmatch(rule.lower()) is not None


def permits(manifest: Manifest, host: str, port: int, settings: Mapping[str, object]) -> bool:
    """Return whether a manifest says that its plugin connects there.

    What only operators may open counts as not said, also in a record of before that was refused.

    Args:
        manifest: of the plugin.
        host: in lower case.
        port: TCP port.
        settings: values by key; `egress_from_config` is about some of them.
    """
    if is_for_operators(f"{host}:{port}"):
        return False
    if any(split_rule(rule)[1] == port and covers(rule, host) for rule in manifest.egress):
        return True
    return any(
        port == rule.port
        and host.endswith(rule.suffix)
        and host == str(settings.get(rule.field, "")).lower()
        for rule in manifest.egress_from_config
    )


def target_of(url: str) -> tuple[str, int] | None:
    """Return host, in lower case, and port of an http or https address; None for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname.lower(), port) if port and parts.hostname else None


def is_reserved(host: str) -> bool:
    """Return whether a host, or the domain of a rule, is one that stands for another in examples.

    Args:
        host: in lower case; it may begin with `*.` or a dot.
    """
    name = host.removeprefix("*").strip(".")
    return name.rpartition(".")[2] in _RESERVED_ENDS or any(
        name == domain or name.endswith(f".{domain}") for domain in _RESERVED_DOMAINS
    )
