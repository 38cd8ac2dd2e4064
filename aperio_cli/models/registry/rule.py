"""`[[registries]]` of a configuration: where plugins are looked up, and who signs the registry."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from aperio_cli.models.plugin_id import is_namespace
from aperio_cli.models.publisher_table import parse_signer
from aperio_cli.models.tlog.note import COSIGNATURE, NoteInvalid, NoteKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.models.reading import Table

KNOWN: Final[Mapping[str, str]] = MappingProxyType(
    {"aperio": "https://registry.aperio.io/plugins.json"}
)
"""Registries that may be called by a name. Nobody is stated to sign for them: who names one says
whom to believe."""
_KEYS: Final = ("url", "name", "namespaces", "witnesses", "witnesses_needed")
_NAME_CHARACTERS: Final = 120
_MAX_NAMESPACES: Final = 1000
_MAX_WITNESSES: Final = 16


@dataclass(frozen=True, slots=True)
class WitnessRule:
    """How many of which witnesses have to have signed the checkpoint of a registry's log.

    Attributes:
        witnesses: their keys; without any, no signature is asked for.
        least: how many of them.
    """

    witnesses: tuple[NoteKey, ...] = ()
    least: int = 0


@dataclass(frozen=True, slots=True)
class RegistryRule:
    """One registry that the operator states.

    Attributes:
        url: a folder or an address.
        signer: who has to have signed its root; None when nobody is stated.
        name: which of the signer's registries it has to be; empty: the only one.
        namespaces: those that belong to it, whatever other registries say; empty: none is stated.
        witnesses: who has to have seen its log.
    """

    url: str
    signer: PublisherRule | None = None
    name: str = ""
    namespaces: tuple[str, ...] = ()
    witnesses: WitnessRule = WitnessRule()

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
        if self.witnesses.witnesses:
            stated |= {
                "witnesses": list(map(str, self.witnesses.witnesses)),
                "witnesses_needed": self.witnesses.least,
            }
        return stated | {key: value for key, value in signer.items() if key != "namespace"}


def parse_registry(table: Table, *, domains: Sequence[str] | None, stated_in: str) -> RegistryRule:
    """Return the rule that one `[[registries]]` table states; whoever calls checks its `url`.

    Args:
        table: its keys: `url`, `name`, `namespaces`, `witnesses`, `witnesses_needed`, and those
            that say who signs, as in `[[publishers]]`.
        domains: names of the known trust domains; None when they are not to be checked.
        stated_in: the file, for messages.
    """
    url, namespaces = table.text("url"), _namespaces(table)
    if not set(table.values) - {"url", "namespaces"}:
        return RegistryRule(url, namespaces=namespaces)
    signer = parse_signer(table, _KEYS, domains=domains, stated_in=stated_in)
    name = table.text("name", limit=_NAME_CHARACTERS) if "name" in table else ""
    return RegistryRule(url, signer, name, namespaces, _witnesses(table))


def _witnesses(table: Table) -> WitnessRule:
    """Return whose signatures are asked for; of all who are named, unless fewer are enough."""
    stated = table.texts("witnesses")
    if len(stated) > _MAX_WITNESSES:
        table.fail("witnesses", f"expected at most {_MAX_WITNESSES}")
    keys = []
    for text in stated:
        try:
            keys.append(NoteKey.parse(text))
        except NoteInvalid as error:
            table.fail("witnesses", str(error))
        if keys[-1].kind != COSIGNATURE:
            table.fail("witnesses", "expected a key for cosignatures, as a witness states it")
    if len({key.name for key in keys}) != len(keys) or len({key.key for key in keys}) != len(keys):
        table.fail("witnesses", "a name or a key is there twice")
    if "witnesses_needed" not in table:
        return WitnessRule(tuple(keys), len(keys))
    if not keys:
        table.fail("witnesses_needed", "no `witnesses` are stated")
    least = table.integer("witnesses_needed", least=1, most=len(keys))
    return WitnessRule(tuple(keys), least)


def _namespaces(table: Table) -> tuple[str, ...]:
    stated = table.texts("namespaces")
    if len(stated) > _MAX_NAMESPACES:
        table.fail("namespaces", f"expected at most {_MAX_NAMESPACES}")
    for namespace in stated:
        if not is_namespace(namespace):
            table.fail("namespaces", "expected namespaces, the first parts of plugin ids")
    return tuple(dict.fromkeys(stated))
