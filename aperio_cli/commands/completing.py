"""The values that a shell offers on Tab, for options and arguments that have known ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer  # noqa: TC002 - Typer reads the hints of what it calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aperio_cli.config import Config
    from aperio_cli.paths import Paths

    Values = Callable[[typer.Context], Iterable[str]]


def complete(values: Values) -> Callable[[typer.Context, str], list[str]]:
    """Return what Typer calls on Tab: it offers those of the values that begin like the word."""

    def offered(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [value for value in values(ctx) if value.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - whoever presses Tab hears of it from the command itself
            return []

    return offered


def kinds(_: typer.Context) -> Iterable[str]:
    """Return the kinds of plugins."""
    from aperio_cli.models.manifest import KINDS

    return KINDS


def languages(_: typer.Context) -> Iterable[str]:
    """Return the languages that there are templates for."""
    from aperio_cli.scaffolding import LANGUAGES

    return LANGUAGES


def platforms(_: typer.Context) -> Iterable[str]:
    """Return the platforms that artifacts may be for."""
    from aperio_cli.models.platform import ARCHITECTURES, OPERATING_SYSTEMS

    return [f"{system}/{machine}" for system in OPERATING_SYSTEMS for machine in ARCHITECTURES]


def tiers(_: typer.Context) -> Iterable[str]:
    """Return how well a publisher may be known."""
    from aperio_cli.models.publisher import TIERS

    return TIERS


def services(_: typer.Context) -> Iterable[str]:
    """Return the CI services whose builds a rule may name."""
    from aperio_cli.models.publisher import CI_SERVICES

    return CI_SERVICES


def levels(_: typer.Context) -> Iterable[str]:
    """Return what may be required of plugins."""
    from aperio_cli.models.policy import REQUIREMENTS

    return REQUIREMENTS


def limits(_: typer.Context) -> Iterable[str]:
    """Return the limits that a host may enforce."""
    from aperio_cli.running.permitting import NAMES

    return NAMES


def rules(_: typer.Context) -> Iterable[str]:
    """Return the rules that an exception may lift."""
    from aperio_cli.config.reading import EXCEPTION_RULES

    return EXCEPTION_RULES


def faults(_: typer.Context) -> Iterable[str]:
    """Return the faults that a registry can be served with."""
    from aperio_cli.publishing.faults import NAMES

    return NAMES


def domains(ctx: typer.Context) -> Iterable[str]:
    """Return the trust domains of this machine."""
    return _config(ctx).domain_names


def stated_domains(ctx: typer.Context) -> Iterable[str]:
    """Return the trust domains that commands stated."""
    return [domain.name for domain in _config(ctx).managed.domains]


def namespaces(ctx: typer.Context) -> Iterable[str]:
    """Return the namespaces that rules of this user are about."""
    return sorted({rule.namespace for rule in _config(ctx).user.publishers})


def excepted(ctx: typer.Context) -> Iterable[str]:
    """Return the plugins that commands made exceptions for."""
    return sorted({stated.name for stated in _config(ctx).managed.exceptions})


def installed(ctx: typer.Context) -> Iterable[str]:
    """Return the ids of installed plugins."""
    from aperio_cli.store import listing

    return sorted({row["id"] for row in listing.rows(str(_paths(ctx).home))})


def operations(ctx: typer.Context) -> Iterable[str]:
    """Return what can be done with the plugin that is named; of an unknown one, all there is."""
    from aperio_cli.models.protocol import OPERATIONS

    kind = _kind(ctx, ctx.params.get("target") or "")
    every = [operation for known in OPERATIONS.values() for operation in known]
    return OPERATIONS[kind] if kind in OPERATIONS else dict.fromkeys(every)


def _kind(ctx: typer.Context, target: str) -> str:
    """Return the kind of an installed plugin, or of a project; empty when there is none."""
    from aperio_cli.building import load_project
    from aperio_cli.files.naming import as_path, is_path
    from aperio_cli.store import listing

    if is_path(target):
        return load_project(as_path(target)).manifest.kind
    plugin_id = target.partition("@")[0]
    rows = listing.rows(str(_paths(ctx).home))
    return next((str(row["kind"]) for row in rows if row["id"] == plugin_id), "")


def _paths(ctx: typer.Context) -> Paths:
    from aperio_cli.paths import find_paths

    stated = {name: ctx.params.get(name) or "" for name in ("home", "config")}
    return find_paths(os.environ, home=stated["home"], config_file=stated["config"])


def _config(ctx: typer.Context) -> Config:
    from aperio_cli.config import load_config

    return load_config(_paths(ctx))
