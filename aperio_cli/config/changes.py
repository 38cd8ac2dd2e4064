"""What managed.toml is to state after a command: decided over the configuration, writing nothing.

Each function gives the new statements of managed.toml; they are the old ones when there is nothing
to do. What a person states in config.toml is neither changed nor outvoted: it is refused, with the
line to change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aperio_cli.config.lines import line_of
from aperio_cli.config.reading import MAX_BYTES
from aperio_cli.errors import AperioError
from aperio_cli.errors.trust import TrustDomainInUse
from aperio_cli.errors.usage import StatedByHand
from aperio_cli.files import reading
from aperio_cli.models.policy import REQUIREMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.config.model import Config, ConfigFile, DomainRule
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.models.policy import PolicyException
    from aperio_cli.models.publisher import PublisherRule


@dataclass(frozen=True, slots=True)
class _Place:
    """A key of config.toml: its table, which of that name, and the key."""

    section: str
    number: int
    key: str


def with_publisher(config: Config, rule: PublisherRule) -> ConfigFile:
    """Add a rule, unless either file states it."""
    if any(known.to_json() == rule.to_json() for known in config.user.publishers):
        return config.managed
    added = replace(rule, stated_in=str(config.managed_file))
    return replace(config.managed, publishers=(*config.managed.publishers, added))


def without_publishers(config: Config, rules: Sequence[PublisherRule]) -> ConfigFile:
    """Take rules out.

    Raises:
        StatedByHand: config.toml states one of them, which would stay.
    """
    gone = [rule.to_json() for rule in rules]
    for number, known in enumerate(config.stated.publishers):
        if known.to_json() in gone:
            what = f"the rule for `{known.namespace}` was not removed"
            raise _by_hand(config, what, _Place("publishers", number, "namespace"))
    left = tuple(known for known in config.managed.publishers if known.to_json() not in gone)
    return replace(config.managed, publishers=left)


def with_exception(config: Config, exception: PolicyException) -> ConfigFile:
    """Add an exception, or give the one that is there its date and reason.

    Raises:
        StatedByHand: config.toml states it with another date or reason.
    """
    if any(known.to_json() == exception.to_json() for known in config.user.exceptions):
        return config.managed
    for number, known in enumerate(config.stated.exceptions):
        if known.key == exception.key:
            raise _by_hand(
                config,
                f"the exception for `{exception.name}` was not renewed",
                _Place("exceptions", number, "until"),
                step=f"until = {exception.until}",
            )
    kept = config.managed.exceptions
    added = replace(exception, stated_in=str(config.managed_file))
    if any(known.key == added.key for known in kept):
        renewed = tuple(added if known.key == added.key else known for known in kept)
        return replace(config.managed, exceptions=renewed)
    return replace(config.managed, exceptions=(*kept, added))


def without_exceptions(config: Config, plugin: PluginRef, rule: str) -> ConfigFile:
    """Take the exceptions of a plugin from a rule out.

    Args:
        config: the configuration as it is.
        plugin: the plugin; with a version only the exception for that one, without only those for
            every version.
        rule: the rule that they lift.

    Raises:
        StatedByHand: config.toml states one, which would stay.
    """
    key = (plugin.id, plugin.version or "", rule)
    for number, known in enumerate(config.stated.exceptions):
        if known.key == key:
            raise _by_hand(
                config,
                f"the exception for `{plugin}` was not taken back",
                _Place("exceptions", number, "plugin"),
            )
    left = tuple(known for known in config.managed.exceptions if known.key != key)
    return replace(config.managed, exceptions=left)


def with_level(config: Config, level: str, organization: str = "") -> ConfigFile:
    """Set what is required of plugins, for an organization when one is named.

    Args:
        config: the configuration as it is.
        level: one of `REQUIREMENTS`.
        organization: its id, or empty for the whole machine.

    Raises:
        StatedByHand: config.toml requires more.
    """
    stated = config.stated.level(organization)
    if stated and REQUIREMENTS.index(stated) > REQUIREMENTS.index(level):
        raise _requires_more(config, stated, level, organization)
    if config.user.level(organization) == level:
        return config.managed
    if not organization:
        return replace(config.managed, require=level)
    levels = dict(config.managed.organizations) | {organization: level}
    return replace(config.managed, organizations=tuple(levels.items()))


def with_domain(config: Config, domain: DomainRule) -> ConfigFile:
    """Add a trust domain, unless either file states it."""
    if any(known.to_json() == domain.to_json() for known in config.user.domains):
        return config.managed
    added = replace(domain, stated_in=str(config.managed_file))
    return replace(config.managed, domains=(*config.managed.domains, added))


def without_domain(config: Config, name: str) -> ConfigFile:
    """Take a trust domain out.

    Raises:
        StatedByHand: config.toml states it.
        TrustDomainInUse: rules name it, and could not be read without it.
    """
    for number, known in enumerate(config.stated.domains):
        if known.name == name:
            what = f"the trust domain `{name}` was not removed"
            raise _by_hand(config, what, _Place("domains", number, "name"))
    named = [rule for rule in config.user.publishers if rule.domain == name]
    files = [file for file in config.user.publisher_files if file.rule.domain == name]
    if named or files:
        lines = [f"the rule for {rule.namespace} in {rule.stated_in}" for rule in named]
        lines += [f"the entry for {file.path} in {file.rule.stated_in}" for file in files]
        raise TrustDomainInUse(
            f"the trust domain `{name}` was not removed: rules name it",
            why="\n".join(lines),
            next=["remove these first: `aperio trust publisher remove NS`, or by hand"],
        )
    left = tuple(known for known in config.managed.domains if known.name != name)
    return replace(config.managed, domains=left)


def _requires_more(config: Config, stated: str, level: str, organization: str) -> StatedByHand:
    whom = f"for `{organization}`" if organization else "on this machine"
    place, key = _Place("policy", 0, "require"), "require"
    if organization:
        place = _Place("policy.organizations", 0, organization)
        key = json.dumps(organization, ensure_ascii=False)
    what = f"`{stated}` is required {whom} as before"
    return _by_hand(config, what, place, f'{key} = "{level}"')


def _by_hand(config: Config, what: str, place: _Place, step: str = "") -> StatedByHand:
    """Return the refusal to change an entry of config.toml: where it stands and what to do there.

    Args:
        config: names the file.
        what: what was left as it is.
        place: the key that matters.
        step: what its line would have to say; empty when the entry would have to go.
    """
    try:
        lines = reading.read_capped(config.file, MAX_BYTES).decode().split("\n")
    except (OSError, ValueError, AperioError):  # it was there a moment ago
        lines = []
    line = line_of(lines, place.section, place.number, place.key)
    shown = f"{config.file}:{line}" if line else str(config.file)
    text = f": {lines[line - 1].strip()}" if line else ""
    done = f"change that line by hand: `{step}`" if step else "take that entry out by hand"
    return StatedByHand(
        f"{what}: config.toml states it, which commands do not change",
        why=f"{shown}{text}",
        next=[done],
    )
