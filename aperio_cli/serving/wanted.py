"""Which plugins a host keeps up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.host.calls.invocation import DEFAULT_INTEGRATION, DEFAULT_ORGANIZATION
from aperio_cli.host.supervising.instances import InstanceKey, Wanted
from aperio_cli.running.references import resolve_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.config.model import RunRule
    from aperio_cli.running import Collaborators


def stated(collaborators: Collaborators) -> Iterator[Wanted]:
    """Give what `[[run]]` tables state, their settings resolved as they are now.

    One whose secrets cannot be read is given with that problem: the others run.
    """
    yield from map(_stated, collaborators.config().runs)


def all_installed(collaborators: Collaborators) -> Iterator[Wanted]:
    """Give what tables state, and every other plugin that has a current version.

    Of those, it is what `plugin run` runs without options; calls bring their settings.
    """
    tables = tuple(stated(collaborators))
    yield from tables
    named = {wanted.key.plugin for wanted in tables}
    for plugin in dict.fromkeys(plugin for plugin, _ in collaborators.store.installed()):
        if plugin not in named and collaborators.store.current_version(plugin):
            key = InstanceKey(plugin, DEFAULT_ORGANIZATION, DEFAULT_INTEGRATION)
            yield Wanted(key, is_configured=False)


def _stated(rule: RunRule) -> Wanted:
    key = InstanceKey(rule.plugin.id, rule.organization, rule.integration)
    version = rule.plugin.version or ""
    try:
        return Wanted(key, version, resolve_run(rule))
    except AperioError as problem:
        return Wanted(key, version, rule.settings, problem=problem)
