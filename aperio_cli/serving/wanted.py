"""Which plugins a host keeps up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.host.calls.invocation import DEFAULT_INTEGRATION, DEFAULT_ORGANIZATION
from aperio_cli.host.supervising import InstanceKey, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.running import Collaborators


def all_installed(collaborators: Collaborators) -> Iterator[Wanted]:
    """Give every plugin that has a current version, as `plugin run` runs it without options."""
    for plugin in dict.fromkeys(plugin for plugin, _ in collaborators.store.installed()):
        yield Wanted(InstanceKey(plugin, DEFAULT_ORGANIZATION, DEFAULT_INTEGRATION))
