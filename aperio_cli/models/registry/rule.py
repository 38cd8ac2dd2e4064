"""`[[registries]]` of a configuration: where plugins are looked up, and who signs the registry."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from aperio_cli.models.plugin_id import is_namespace
from aperio_cli.models.publisher_table import parse_signer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.models.reading import Table

KNOWN: Final[Mapping[str, str]] = MappingProxyType(
    {"aperio": "https://registry.aperio.io/plugins.json"}
)
"""Registries that may be called by a name. Nobody is stated to sign for them: who names one says
whom to believe."""
_KEYS: Final = ("url", "name", "namespaces")
_NAME_CHARACTERS: Final = 120
_MAX_NAMESPACES: Final = 1000


@dataclass(frozen=True, slots=True)
class RegistryRule:
    """One registry that the operator states.

    Attributes:
        url: a folder or an address.
        signer: who has to have signed its root; None when nobody is stated.
        name: which of the signer's registries it has to be; empty: the only one.
        namespaces: those that belong to it, whatever other registries say; empty: none is stated.
    """

    url: str
    signer: PublisherRule | None = None
    name: str = ""
    namespaces: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """The folder or the address that is meant."""
        return KNOWN.get(self.url, self.url)

    def to_json(self) -> dict[str, object]:
        """Return the rule with the keys of config.toml, only those that are stated."""
        signer = self.signer.to_json() if self.signer else {}
        stated: dict[str, object] = {"url": self.url}
        stated |= {"name": self.name} if self.name else {}
        stated |= {"namespaces": list(self.namespaces)} if self.namespaces else {}
        return stated | {key: value for key, value in signer.items() if key != "namespace"}


def parse_registry(table: Table, *, domains: Sequence[str] | None, stated_in: str) -> RegistryRule:
    """Return the rule that one `[[registries]]` table states; whoever calls checks its `url`.

    Args:
        table: its keys: `url`, `name`, `namespaces`, and those that say who signs, as in
            `[[publishers]]`.
        domains: names of the known trust domains; None when they are not to be checked.
        stated_in: the file, for messages.
    """
    url, namespaces = table.text("url"), _namespaces(table)
    if not set(table.values) - {"url", "namespaces"}:
        return RegistryRule(url, namespaces=namespaces)
    signer = parse_signer(table, _KEYS, domains=domains, stated_in=stated_in)
    name = table.text("name", limit=_NAME_CHARACTERS) if "name" in table else ""
    return RegistryRule(url, signer, name, namespaces)


def _namespaces(table: Table) -> tuple[str, ...]:
    stated = table.texts("namespaces")
    if len(stated) > _MAX_NAMESPACES:
        table.fail("namespaces", f"expected at most {_MAX_NAMESPACES}")
    for namespace in stated:
        if not is_namespace(namespace):
            table.fail("namespaces", "expected namespaces, the first parts of plugin ids")
    return tuple(dict.fromkeys(stated))
