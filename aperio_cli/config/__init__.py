"""What the operator states beforehand about publishers, registries and this machine.

config.toml is written by hand, managed.toml beside it by commands; both have the same tables:

    [[publishers]]             who may sign for a namespace: an identity, or a CI build
    [[publisher_files]]        files that state more of them, and who has to have signed these
    [[domains]]                trust domains besides public, staging and local
    [policy]                   what is required of every plugin, or for single organizations
    [[exceptions]]             rules that one plugin need not keep, for a time and a reason
    [[registries]]             where plugins are looked up, and who signs there
    [python]
    interpreters = ["/usr/bin/python3.11"]
    [sandbox]
    require = ["memory"]       limits without which nothing is started
    mode = "none"              plugins are not confined
    plugin_uid = 61001         whose id plugins of root have
    [host]
    mtls = true                plugins must speak mutual TLS (go-plugin's AutoMTLS)
    handshake_timeout_s = 60   how long one may take to start
    metrics = "127.0.0.1:9464" where Prometheus finds the metrics of `aperio host run`
    traces = "http://127.0.0.1:4318/v1/traces"  where it sends spans
    refresh_hours = 6          how often it asks registries what they say against versions
    [[run]]                    plugins that `aperio host run` keeps running

The two count together, and a site configuration, in platformdirs' site folder, is a floor for
both: `merging` says what that means.
docs/reference/configuration.md describes every key.
"""

from __future__ import annotations

from aperio_cli.config.merging import forbidden_by_site, join, policy_in_force
from aperio_cli.config.model import (
    REQUIRABLE,
    SANDBOX_MODES,
    Config,
    ConfigFile,
    DomainRule,
    PublisherFile,
    RunRule,
)
from aperio_cli.config.places import load_config, load_readable, site_config_file
from aperio_cli.config.reading import parse_domain_rule, parse_exception
from aperio_cli.models.registry.rule import RegistryRule

__all__ = [
    "REQUIRABLE",
    "SANDBOX_MODES",
    "Config",
    "ConfigFile",
    "DomainRule",
    "PublisherFile",
    "RegistryRule",
    "RunRule",
    "forbidden_by_site",
    "join",
    "load_config",
    "load_readable",
    "parse_domain_rule",
    "parse_exception",
    "policy_in_force",
    "site_config_file",
]
