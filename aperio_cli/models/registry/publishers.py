"""`publishers.json`: whom a registry knows as publishers, and by which signatures. Never a policy.

    {"version": 1, ..., "publishers": [{"namespace": "acme", "display_name": "Acme Inc.",
     "tier": "verified", "status": "active", "contact": "security@acme.example", "homepage": "...",
     "signers": [{"ci": "github", "repository": "...", ...}]}]}

A record of the source, `publishers/<namespace>.json`, is one entry of it. The keys of a signer are
those of `[[publishers]]` in config.toml, without `namespace` and `tier`, which the entry states for
all of them, so that a rule can be proposed from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aperio_cli.models.plugin_id import is_namespace
from aperio_cli.models.publisher import LOCAL_DOMAIN, TIERS
from aperio_cli.models.publisher_table import PUBLISHER_KEYS, parse_publisher
from aperio_cli.models.registry.documents import (
    MAX_TEXT_CHARACTERS,
    PUBLISHERS_BOUNDS,
    read_document,
)

if TYPE_CHECKING:
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.publisher import PublisherRule, Signer
    from aperio_cli.models.reading import Table

ACTIVE: Final = "active"
STATUSES: Final = (ACTIVE, "lapsed", "revoked")
_TEXTS: Final = ("display_name", "contact", "security_policy", "homepage")
_SIGNERS: Final = 256


@dataclass(frozen=True, slots=True)
class RegistryPublisher:
    """A publisher as a registry knows it.

    Attributes:
        namespace: whose plugins are meant.
        tier: community, verified or official.
        status: `active`, or why it is none of the known ones any more.
        rules: who signs for it, as rules that could be proposed; they carry the tier of the entry,
            but for the local trust domain, which verifies nobody.
        texts: name and ways to reach it, by key; only those that are stated.
    """

    namespace: str
    tier: str
    status: str
    rules: tuple[PublisherRule, ...]
    texts: tuple[tuple[str, str], ...] = ()

    def verifies(self, plugin: PluginId, version: str, signer: Signer) -> bool:
        """Return whether the registry stands for who signed this version."""
        return (
            self.status == ACTIVE
            and TIERS.index(self.tier) >= TIERS.index("verified")
            and any(rule.covers(plugin) and rule.admits(signer, version) for rule in self.rules)
        )

    def to_json(self) -> dict[str, object]:
        """Return the entry as publishers.json states it."""
        return {
            "namespace": self.namespace,
            **dict(self.texts),
            "tier": self.tier,
            "status": self.status,
            "signers": [
                {k: v for k, v in rule.to_json().items() if k not in {"namespace", "tier"}}
                for rule in self.rules
            ],
        }


def parse_publishers(data: bytes, *, where: str) -> tuple[RegistryPublisher, ...]:
    """Return the publishers that a registry states, sorted by namespace.

    Args:
        data: contents of `publishers.json`.
        where: what to call it in messages.

    Raises:
        IndexUnreadable: it is no such file, or has a namespace twice.
        IndexVersionUnknown: it is written in another version of the format.
    """
    table = read_document(data, PUBLISHERS_BOUNDS, where)
    found: dict[str, RegistryPublisher] = {}
    for each in table.tables("publishers"):
        publisher = parse_entry(each, stated_in=where)
        if found.setdefault(publisher.namespace, publisher) is not publisher:
            each.fail("namespace", f"`{publisher.namespace}` is there twice")
    return tuple(found[namespace] for namespace in sorted(found))


def parse_entry(table: Table, *, stated_in: str, is_source: bool = False) -> RegistryPublisher:
    """Return one publisher; unknown keys are ignored.

    Args:
        table: the entry; what is wrong with a key is raised by `table.fail`.
        stated_in: the file, for messages.
        is_source: whether a signer with an unknown key fails, too. A reader leaves it out: what it
            does not know may say that it is to be narrower.
    """
    namespace = table.text("namespace")
    if not is_namespace(namespace):
        table.fail("namespace", "expected a namespace")
    tier = table.choice("tier", TIERS)
    known = [
        each
        for each in table.tables("signers", most=_SIGNERS)
        if is_source or set(each.values) <= set(PUBLISHER_KEYS)
    ]
    return RegistryPublisher(
        namespace=namespace,
        tier=tier,
        status=table.choice("status", STATUSES) if "status" in table else ACTIVE,
        rules=tuple(_rule(each, namespace, tier, stated_in) for each in known),
        texts=tuple((k, table.text(k, limit=MAX_TEXT_CHARACTERS)) for k in _TEXTS if k in table),
    )


def _rule(table: Table, namespace: str, tier: str, stated_in: str) -> PublisherRule:
    for key in ("namespace", "tier"):
        if key in table:
            table.fail(key, "the publisher states it for all of its signers")
    whole = table.with_values({**table.values, "namespace": namespace})
    rule = parse_publisher(whole, domains=None, stated_in=stated_in)
    return rule if rule.domain == LOCAL_DOMAIN else replace(rule, tier=tier)
