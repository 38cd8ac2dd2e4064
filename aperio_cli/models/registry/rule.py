"""`[[registries]]` of a configuration: where plugins are looked up, and who signs the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.models.publisher_table import parse_signer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.models.reading import Table

_KEYS: Final = ("url", "name")
_NAME_CHARACTERS: Final = 120


@dataclass(frozen=True, slots=True)
class RegistryRule:
    """One registry that the operator states.

    Attributes:
        url: a folder or an address.
        signer: who has to have signed its root; None when nobody is stated.
        name: which of the signer's registries it has to be; empty: the only one.
    """

    url: str
    signer: PublisherRule | None = None
    name: str = ""


def parse_registry(table: Table, *, domains: Sequence[str] | None, stated_in: str) -> RegistryRule:
    """Return the rule that one `[[registries]]` table states; whoever calls checks its `url`.

    Args:
        table: its keys: `url`, `name`, and those that say who signs, as in `[[publishers]]`.
        domains: names of the known trust domains; None when they are not to be checked.
        stated_in: the file, for messages.
    """
    url = table.text("url")
    if set(table.values) == {"url"}:
        return RegistryRule(url)
    signer = parse_signer(table, _KEYS, domains=domains, stated_in=stated_in)
    name = table.text("name", limit=_NAME_CHARACTERS) if "name" in table else ""
    return RegistryRule(url, signer, name)
