"""What configuration files say together.

The user's two, config.toml and what commands state beside it: lists are joined, config.toml first;
of a requirement the stricter counts; which interpreters to use, and what the host keeps running,
only config.toml says.

The site's configuration is a floor for both: a user's may tighten it, never loosen it.

Publishers: once the site states any, itself or in files, a user's rule counts only as far as the
site admits the same signer for that namespace, by rules for it or else by those for `*`: the
stricter validity, plugin and demands of both, the site's tier. A namespace of which the user says
nothing has the site's rules; one for which the user names only others is closed.

Requirements: the stricter of both. An exception of the user does not count where the site states
the requirement that it would lift. The site's own exceptions count.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aperio_cli.config.model import REFRESH_HOURS, REQUIRABLE, SANDBOX_MODES, Config, ConfigFile
from aperio_cli.models.policy import (
    LIMIT_PREFIX,
    REQUIREMENTS,
    REVOKED_RULE,
    UNSIGNED,
    UNVERIFIED,
    Policy,
)
from aperio_cli.models.publisher import ANY_NAMESPACE, Demands, PublisherRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aperio_cli.config.model import Places, PublisherFile

    RulesOfFiles = Mapping[PublisherFile, tuple[PublisherRule, ...]]


def join(stated: ConfigFile, managed: ConfigFile) -> ConfigFile:
    """Return what the user's two files state together.

    Args:
        stated: what config.toml states.
        managed: what the file of the commands states.
    """
    required = {*stated.sandbox_require, *managed.sandbox_require}
    return ConfigFile(
        publishers=(*stated.publishers, *managed.publishers),
        publisher_files=(*stated.publisher_files, *managed.publisher_files),
        domains=(*stated.domains, *managed.domains),
        require=max(stated.require, managed.require, key=_rank),
        organizations=tuple(_organizations(stated, managed)),
        require_provenance=stated.require_provenance or managed.require_provenance,
        cool_down_days=max(stated.cool_down_days, managed.cool_down_days),
        exceptions=(*stated.exceptions, *managed.exceptions),
        registries=tuple(dict.fromkeys((*stated.registries, *managed.registries))),
        python_interpreters=stated.python_interpreters,
        sandbox_require=tuple(name for name in REQUIRABLE if name in required),
        sandbox_mode=_stricter_mode(stated.sandbox_mode, managed.sandbox_mode),
        plugin_uid=stated.plugin_uid or managed.plugin_uid,
        reported=tuple(dict.fromkeys((*stated.reported, *managed.reported))),
        mtls=stated.mtls or managed.mtls,
        handshake_timeout_s=stated.handshake_timeout_s or managed.handshake_timeout_s,
        runs=stated.runs,
        metrics=stated.metrics or managed.metrics,
        traces=stated.traces or managed.traces,
        refresh_hours=managed.refresh_hours
        if stated.refresh_hours is None
        else stated.refresh_hours,
    )


def merge(stated: ConfigFile, managed: ConfigFile, site: ConfigFile, places: Places) -> Config:
    """Return what the user's configuration and the site's say together.

    Args:
        stated: what the user's config.toml states.
        managed: what the file of the commands beside it states.
        site: what the site's states.
        places: the files, for messages.
    """
    user = join(stated, managed)
    registries = (r for r in user.registries if r not in site.registries)
    own_files = () if _states_publishers(site) else user.publisher_files
    names = {domain.name for domain in site.domains}
    kept = {run.key for run in site.runs}
    return Config(
        policy=policy_in_force(user, site, None),
        registries=(*site.registries, *registries),
        python_interpreters=user.python_interpreters or site.python_interpreters,
        sandbox_mode=site.sandbox_mode
        if site.sandbox_mode == SANDBOX_MODES[0]
        else user.sandbox_mode or site.sandbox_mode,
        plugin_uid=site.plugin_uid or user.plugin_uid,
        reported=tuple(dict.fromkeys((*site.reported, *user.reported))),
        mtls=user.mtls or site.mtls,
        handshake_timeout_s=user.handshake_timeout_s or site.handshake_timeout_s,
        runs=(*site.runs, *(run for run in user.runs if run.key not in kept)),
        metrics=user.metrics or site.metrics,
        traces=user.traces or site.traces,
        refresh_hours=_refresh_hours(user.refresh_hours, site.refresh_hours),
        file=places.file,
        managed_file=places.managed_file,
        publisher_files=(*site.publisher_files, *own_files),
        domains=(*site.domains, *(d for d in user.domains if d.name not in names)),
        user=user,
        stated=stated,
        managed=managed,
        site=site,
        site_file=places.site_file,
    )


def policy_in_force(
    user: ConfigFile, site: ConfigFile, rules_of_files: RulesOfFiles | None
) -> Policy:
    """Return what the operator allows.

    Args:
        user: what the user's files state.
        site: what the site's states.
        rules_of_files: what each publisher file states, once it was verified; None before, when
            nothing counts that such a file might narrow.
    """
    floor = _stated(site, rules_of_files)
    wanted = _stated(user, rules_of_files)
    is_floor = _states_publishers(site)
    publishers, closed = _held(wanted, floor) if is_floor else (wanted, frozenset[str]())
    limits = {*user.sandbox_require, *site.sandbox_require}
    return Policy(
        publishers=publishers,
        closed=closed,
        require=_stricter(user.require, site.require),
        organizations=tuple(_organizations(site, user)),
        require_provenance=user.require_provenance or site.require_provenance,
        cool_down_days=max(user.cool_down_days, site.cool_down_days),
        exceptions=(
            *site.exceptions,
            *(e for e in user.exceptions if not forbidden_by_site(e.rule, site)),
        ),
        allow_unsigned=not forbidden_by_site(UNSIGNED, site),
        limits=tuple(name for name in REQUIRABLE if name in limits),
    )


def forbidden_by_site(rule: str, site: ConfigFile) -> str:
    """Return what the site states that an exception of the user from this rule would lift.

    Else empty.

    Args:
        rule: `unsigned`, `unverified`, `revoked` or `limit:NAME`.
        site: what the site's file states.
    """
    if rule.startswith(LIMIT_PREFIX):
        name = rule.removeprefix(LIMIT_PREFIX)
        return f'[sandbox] require "{name}"' if name in site.sandbox_require else ""
    stated = {f'[policy] require = "{site.require}"': bool(site.require)}
    for name, level in site.organizations:
        stated[f'[policy.organizations] {name} = "{level}"'] = True
    if rule == UNSIGNED:
        stated["[policy] require_provenance = true"] = site.require_provenance
    # Whoever requires anything of every plugin has not allowed one that was revoked.
    is_known = rule in {UNSIGNED, UNVERIFIED, REVOKED_RULE}
    return next((text for text, is_stated in stated.items() if is_stated and is_known), "")


def _stricter_mode(one: str, other: str) -> str:
    """Return the mode that confines more, of those that are stated."""
    stated = [mode for mode in (one, other) if mode]
    return min(stated, key=SANDBOX_MODES.index, default="")


def _states_publishers(stated_file: ConfigFile) -> bool:
    return bool(stated_file.publishers or stated_file.publisher_files)


def _stated(
    stated_file: ConfigFile, rules_of_files: RulesOfFiles | None
) -> tuple[PublisherRule, ...]:
    """Return a configuration's own rules and its files', which speak only where nothing else has.

    What is stated for a namespace first rules it, so that no file can add signers to a namespace
    that the configuration, or a file before it, has spoken about.
    """
    stated = stated_file.publishers
    if not stated_file.publisher_files:
        return stated
    if rules_of_files is None:
        return tuple(rule for rule in stated if rule.namespace != ANY_NAMESPACE)
    for file in stated_file.publisher_files:
        taken = {rule.namespace for rule in stated}
        rules = rules_of_files.get(file, ())
        stated += tuple(rule for rule in rules if rule.namespace not in taken)
    return stated


def _held(
    user: tuple[PublisherRule, ...], site: tuple[PublisherRule, ...]
) -> tuple[tuple[PublisherRule, ...], frozenset[str]]:
    """Return the rules that count, and the namespaces that nothing opens."""
    kept: list[PublisherRule] = []
    closed = set()
    for namespace in dict.fromkeys(rule.namespace for rule in (*site, *user)):
        floor = _of(site, namespace) or _of(site, ANY_NAMESPACE)
        wanted = _of(user, namespace)
        narrowed = list(dict.fromkeys(_common(wanted, floor))) if wanted else list(floor)
        kept += narrowed
        if not narrowed:
            closed.add(namespace)
    return tuple(kept), frozenset(closed)


def _of(rules: tuple[PublisherRule, ...], namespace: str) -> tuple[PublisherRule, ...]:
    return tuple(rule for rule in rules if rule.namespace == namespace)


def _common(
    wanted: Iterable[PublisherRule], floor: tuple[PublisherRule, ...]
) -> Iterator[PublisherRule]:
    for rule in wanted:
        for limit in floor:
            if narrowed := _narrowed(rule, limit):
                yield narrowed


def _narrowed(rule: PublisherRule, limit: PublisherRule) -> PublisherRule | None:
    """Return what both admit, under the user's namespace and the site's tier.

    None when nothing is.
    """
    if _who(rule) != _who(limit) or _differ(rule.plugin, limit.plugin):
        return None
    demands = _both(rule.demands, limit.demands)
    if demands is None:
        return None
    ends = [until for until in (rule.valid_until, limit.valid_until) if until]
    return replace(
        rule,
        plugin=rule.plugin or limit.plugin,
        tier=limit.tier,
        valid_from=max(rule.valid_from, limit.valid_from),
        valid_until=min(ends, default=""),
        demands=demands,
    )


def _who(rule: PublisherRule) -> tuple[object, ...]:
    return rule.domain, rule.identity, rule.issuer, rule.ci


def _both(first: Demands, second: Demands) -> Demands | None:
    if _differ(first.builder, second.builder):
        return None
    if _differ(first.source_repository, second.source_repository):
        return None
    return Demands(
        provenance=first.provenance or second.provenance,
        builder=first.builder or second.builder,
        source_repository=first.source_repository or second.source_repository,
    )


def _differ(first: str, second: str) -> bool:
    """Return whether two conditions, each of which may be empty, cannot hold together."""
    return bool(first and second) and first != second


def _stricter(first: str, second: str) -> str:
    return max(first, second, key=_rank) or REQUIREMENTS[0]


def _rank(level: str) -> int:
    """Return how strict a requirement is; the least is none at all."""
    return REQUIREMENTS.index(level) if level else -1


def _organizations(first: ConfigFile, second: ConfigFile) -> Iterator[tuple[str, str]]:
    ones, others = dict(first.organizations), dict(second.organizations)
    for name in dict.fromkeys((*ones, *others)):
        yield name, _stricter(ones.get(name, ""), others.get(name, ""))


def _refresh_hours(user: int | None, site: int | None) -> int:
    """Return how often registries are asked: at least as often as the site states."""
    if site and user:
        return min(site, user)
    found = site or (site if user is None else user)
    return REFRESH_HOURS if found is None else found
