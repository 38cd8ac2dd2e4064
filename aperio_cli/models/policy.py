"""What the operator allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from aperio_cli.models.known import KnownVersions
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.publisher import ANY_NAMESPACE, TIERS, PublisherRule

if TYPE_CHECKING:
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.reading import Table

REQUIREMENTS: Final = ("signed", "verified")
"""What can be required of a plugin, the least first; `signed` is the default."""
UNSIGNED: Final = "unsigned"
UNVERIFIED: Final = "unverified"
REVOKED_RULE: Final = "revoked"
"""A version that its registry has revoked may still be installed and started."""
LONGEST_EXCEPTION: Final = timedelta(days=366)
MAX_REASON_CHARACTERS: Final = 500
LIMIT_PREFIX: Final = "limit:"
"""Before the name of a limit: a plugin may start where that limit cannot be enforced."""


@dataclass(frozen=True, slots=True)
class PolicyException:
    """One `[[exceptions]]` entry: a rule that is not asked of one plugin, for a time.

    Attributes:
        plugin: the plugin.
        version: the only version that it is about; empty for every version.
        rule: `unsigned`, `unverified`, `revoked` or `limit:NAME`.
        until: the last day on which it holds, `YYYY-MM-DD`.
        reason: in the operator's words.
        stated_in: file that states it, for messages; empty for one that a record kept.
    """

    plugin: PluginId
    version: str
    rule: str
    until: str
    reason: str
    stated_in: str = ""

    def covers(self, plugin: PluginId, version: str, rule: str, today: str) -> bool:
        """Return whether it lifts this rule from this version today (`YYYY-MM-DD`)."""
        is_about = self.plugin == plugin and self.version in {"", version}
        # Dates written in one way only: text order is time order.
        return is_about and self.rule == rule and today <= self.until

    @property
    def key(self) -> tuple[PluginId, str, str]:
        """What it is about; of two with one key, one renews the other."""
        return (self.plugin, self.version, self.rule)

    @property
    def name(self) -> str:
        """The plugin, with the version if it is about one."""
        return f"{self.plugin}@{self.version}" if self.version else str(self.plugin)

    def to_json(self) -> dict[str, str]:
        """Return the exception as reports carry it; keys as in config.toml."""
        return {"plugin": self.name, "rule": self.rule, "until": self.until, "reason": self.reason}

    @classmethod
    def from_json(cls, table: Table) -> PolicyException:
        """Return an exception that a record kept; it lifts nothing, the configuration's do."""
        ref = table.converted("plugin", PluginRef.parse)
        return cls(
            plugin=ref.id,
            version=ref.version or "",
            rule=table.recorded("rule"),
            until=table.recorded("until"),
            reason=table.recorded("reason"),
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's rules, those of the site worked in: only what is in force.

    Attributes:
        publishers: who may sign, in the order of the configuration files.
        closed: namespaces for which nobody may, whatever the rules for `*` say.
        require: one of `REQUIREMENTS`, for every plugin on this machine.
        organizations: what is required for single organizations: (id, one of `REQUIREMENTS`).
        require_provenance: whether every plugin needs provenance.
        exceptions: those that count.
        allow_unsigned: whether `install --allow-unsigned` may grant an exception: not where the
            site requires signatures.
        limits: names of limits without which nothing is started.
        cool_down_days: how old a version has to be before it is chosen by itself.
        known: what registries were last heard to say against versions.
    """

    publishers: tuple[PublisherRule, ...] = ()
    closed: frozenset[str] = frozenset()
    require: str = REQUIREMENTS[0]
    organizations: tuple[tuple[str, str], ...] = ()
    require_provenance: bool = False
    exceptions: tuple[PolicyException, ...] = ()
    allow_unsigned: bool = True
    limits: tuple[str, ...] = ()
    cool_down_days: int = 0
    known: KnownVersions = field(default_factory=KnownVersions)

    def rules_for(self, plugin: PluginId) -> tuple[PublisherRule, ...]:
        """Return the rules that speak about a plugin: its namespace's own, else those for `*`.

        A namespace with rules of its own is not opened further by `*`, even when none of them
        is about this plugin.
        """
        if plugin.namespace in self.closed:
            return ()
        own = [rule for rule in self.publishers if rule.namespace == plugin.namespace]
        stated = own or [rule for rule in self.publishers if rule.namespace == ANY_NAMESPACE]
        return tuple(rule for rule in stated if rule.covers(plugin))

    def admitting(self, plugin: PluginId, signer: Signer, version: str) -> PublisherRule | None:
        """Return the rule that says a signer may sign this version; None when none does.

        Of several it is the one of the highest tier, and of equals the first that is configured.
        """
        named = (rule for rule in self.rules_for(plugin) if rule.admits(signer, version))
        return max(named, key=lambda rule: TIERS.index(rule.tier), default=None)

    def required(self, organization: str = "") -> str:
        """Return what is required of a plugin, for an organization when one is named."""
        own = dict(self.organizations).get(organization, REQUIREMENTS[0])
        return max(self.require, own, key=REQUIREMENTS.index)

    def exception(
        self, plugin: PluginId, version: str, rule: str, *, today: str
    ) -> PolicyException | None:
        """Return the exception that lifts a rule from a version today (`YYYY-MM-DD`), if any."""
        for exception in self.exceptions:
            if exception.covers(plugin, version, rule, today):
                return exception
        return None
