"""What the source of a plugin states by itself, as far as it can be read without running it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HOST = re.compile(r"https?://(?:[^\s/?#@]*@)?([A-Za-z0-9.-]+)")


@dataclass(frozen=True, slots=True)
class Stated:
    """Something that a source file states.

    Attributes:
        value: such as `BOX`.
        where: file and line, such as `connector.py:12`.
    """

    value: str
    where: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What all source files of a plugin state together.

    A plugin that makes these values while it runs states nothing here.

    Attributes:
        kinds: connector, remediation or destination: what is served.
        providers: what is declared to be read or written.
        versions: of the plugin itself.
        hosts: of the web addresses in texts, in lower case.
    """

    kinds: tuple[Stated, ...] = ()
    providers: tuple[Stated, ...] = ()
    versions: tuple[Stated, ...] = ()
    hosts: frozenset[str] = frozenset()


def hosts_in(text: str) -> frozenset[str]:
    """Return the hosts of the web addresses in a text."""
    return frozenset(host.lower() for host in _HOST.findall(text))
