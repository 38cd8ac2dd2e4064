"""What configuration files state, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli.models.policy import Policy
from aperio_cli.models.publisher import RESERVED_DOMAINS
from aperio_cli.paths import MANAGED_FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.models.policy import PolicyException
    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.models.registry.rule import RegistryRule

REQUIRABLE: Final = ("memory", "cpu", "processes", "open_files", "tmp", "egress", "isolation")
"""Names of the limits that can be required."""
SANDBOX_MODES: Final = ("auto", "none")
EGRESS_MODES: Final = ("enforce", "report")
"""`auto` is the best that a machine offers."""


REFRESH_HOURS: Final = 6
"""After how many hours a host asks registries anew where nobody says."""


@dataclass(frozen=True, slots=True)
class PublisherFile:
    """One `[[publisher_files]]` entry: publishers stated in a signed file.

    Attributes:
        path: the file; its bundle stands beside it.
        rule: who has to have signed it; its namespace is `*` and its source this configuration.
        name: which of the signer's files it has to be; empty: one without a name.
    """

    path: Path
    rule: PublisherRule
    name: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the entry with the keys of config.toml."""
        named = {"name": self.name} if self.name else {}
        stated = {key: value for key, value in self.rule.to_json().items() if key != "namespace"}
        return {"file": str(self.path), **named, **stated}


@dataclass(frozen=True, slots=True)
class DomainRule:
    """One `[[domains]]` entry: a trust domain besides those that are known without it.

    Attributes:
        name: what rules call it.
        file: a Sigstore ClientTrustConfig or TrustedRoot as JSON; None when it comes over TUF.
        tuf: address of the TUF repository that has the trusted root; empty when a file does.
        tuf_root: that repository's first root; None when a file has the trusted root.
        stated_in: file that states the entry, for messages.
    """

    name: str
    file: Path | None
    tuf: str
    tuf_root: Path | None
    stated_in: str

    def to_json(self) -> dict[str, str]:
        """Return the entry as reports carry it.

        Keys as in config.toml, only those that are stated.
        """
        stated = {"file": self.file, "tuf": self.tuf, "tuf_root": self.tuf_root}
        return {"name": self.name} | {key: str(value) for key, value in stated.items() if value}


@dataclass(frozen=True, slots=True)
class RunRule:
    """One `[[run]]` entry: a plugin that the host keeps running, for one integration.

    Attributes:
        plugin: which one; without a version the current one.
        organization: the tenant.
        integration: the connected account.
        settings: values by key as they stand in the file: references are not resolved.
        stated_in: the file, and the line where that can be told; for messages.
    """

    plugin: PluginRef
    organization: str = "local"
    integration: str = "local"
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    stated_in: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What there is only one of: plugin, organization and integration."""
        return str(self.plugin.id), self.organization, self.integration


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What one configuration file states; an empty one states nothing.

    Attributes:
        publishers: its `[[publishers]]`, in its order.
        publisher_files: its `[[publisher_files]]`, in its order.
        domains: its `[[domains]]`.
        require: `[policy] require`; empty when it is not stated.
        organizations: `[policy.organizations]`: (id, one of `REQUIREMENTS`).
        require_provenance: `[policy] require_provenance`.
        cool_down_days: `[policy] cool_down_days`; 0 when it is not stated.
        exceptions: its `[[exceptions]]`.
        registries: its `[[registries]]`.
        python_interpreters: `[python] interpreters`.
        sandbox_require: `[sandbox] require`.
        sandbox_mode: `[sandbox] mode`, one of `SANDBOX_MODES`; empty when it is not stated.
        plugin_uid: `[sandbox] plugin_uid`; 0 when it is not stated.
        reported: ids of `[sandbox.plugins]` whose `egress` is `report`.
        mtls: `[host] mtls`.
        handshake_timeout_s: `[host] handshake_timeout_s`; 0 when it is not stated.
        runs: its `[[run]]`, in its order.
        metrics: `[host] metrics`; empty when it is not stated.
        traces: `[host] traces`; empty when it is not stated.
        refresh_hours: `[host] refresh_hours`; None when it is not stated.
    """

    publishers: tuple[PublisherRule, ...] = ()
    publisher_files: tuple[PublisherFile, ...] = ()
    domains: tuple[DomainRule, ...] = ()
    require: str = ""
    organizations: tuple[tuple[str, str], ...] = ()
    require_provenance: bool = False
    cool_down_days: int = 0
    exceptions: tuple[PolicyException, ...] = ()
    registries: tuple[RegistryRule, ...] = ()
    python_interpreters: tuple[str, ...] = ()
    sandbox_require: tuple[str, ...] = ()
    sandbox_mode: str = ""
    plugin_uid: int = 0
    reported: tuple[str, ...] = ()
    mtls: bool = False
    handshake_timeout_s: int = 0
    runs: tuple[RunRule, ...] = ()
    metrics: str = ""
    traces: str = ""
    refresh_hours: int | None = None

    def level(self, organization: str = "") -> str:
        """Return what is required, of an organization's plugins when one is named; else empty."""
        return dict(self.organizations).get(organization, "") if organization else self.require


@dataclass(frozen=True, slots=True)
class Places:
    """Where configuration files are, whether they exist or not.

    Attributes:
        file: the user's config.toml.
        managed_file: the file beside it that commands write.
        site_file: the site's config.toml.
    """

    file: Path
    managed_file: Path
    site_file: Path


@dataclass(frozen=True, slots=True)
class Config:
    """What the configuration files say together.

    Attributes:
        policy: what the operator allows, without what publisher files state: while there are any,
            `Context.policy` is the one to ask.
        registries: in the order in which they are asked.
        python_interpreters: what to choose from, in this order; empty means "find one".
        sandbox_mode: how plugins are confined: one of `SANDBOX_MODES`; empty: as usual.
        plugin_uid: whose id plugins have when the host is root; 0: as usual.
        reported: ids of plugins whose connections are recorded, and let through to public hosts.
        mtls: whether plugins must speak mutual TLS.
        handshake_timeout_s: how long a plugin may take to say how it is reached; 0: as usual.
        runs: what the host keeps running, the site's first; each instance once.
        metrics: the address at which the host shows Prometheus its metrics; empty: nowhere.
        traces: the address to which the host sends spans, OTLP over HTTP; empty: nowhere.
        refresh_hours: after how many hours the host asks registries anew; 0: not by itself.
        file: the user's config.toml, whether it exists or not; for messages.
        managed_file: the file beside it that commands write, likewise.
        publisher_files: those that count, the site's first.
        domains: the configured trust domains, each name once, the site's first.
        user: what the user's two files state together.
        stated: what config.toml states by itself.
        managed: what the file of the commands states by itself.
        site: what the site's file states by itself.
        site_file: the site's config.toml, whether it exists or not; for messages.
    """

    policy: Policy = field(default_factory=Policy)
    registries: tuple[RegistryRule, ...] = ()
    python_interpreters: tuple[str, ...] = ()
    sandbox_mode: str = ""
    plugin_uid: int = 0
    reported: tuple[str, ...] = ()
    mtls: bool = False
    handshake_timeout_s: int = 0
    runs: tuple[RunRule, ...] = ()
    metrics: str = ""
    traces: str = ""
    refresh_hours: int = REFRESH_HOURS
    file: Path = Path("config.toml")
    managed_file: Path = Path(MANAGED_FILE_NAME)
    publisher_files: tuple[PublisherFile, ...] = ()
    domains: tuple[DomainRule, ...] = ()
    user: ConfigFile = ConfigFile()
    stated: ConfigFile = ConfigFile()
    managed: ConfigFile = ConfigFile()
    site: ConfigFile = ConfigFile()
    site_file: Path = Path("config.toml")

    @property
    def domain_names(self) -> tuple[str, ...]:
        """Every name that a rule's `domain` may have."""
        return (*RESERVED_DOMAINS, *(domain.name for domain in self.domains))

    @property
    def sandbox_require(self) -> tuple[str, ...]:
        """Names of limits without which nothing is started."""
        return self.policy.limits
