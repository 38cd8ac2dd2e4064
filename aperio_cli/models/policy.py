"""What the operator allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.models.publisher import ANY_NAMESPACE, PublisherRule

if TYPE_CHECKING:
    from aperio_cli.models.plugin_id import PluginId


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's rules about publishers, in the order of the configuration file.

    Attributes:
        publishers: who may sign.
        closed: namespaces for which nobody may, whatever the rules for `*` say.
    """

    publishers: tuple[PublisherRule, ...] = ()
    closed: frozenset[str] = frozenset()

    def rules_for(self, plugin: PluginId) -> tuple[PublisherRule, ...]:
        """The rules that speak about a plugin: its namespace's own, else those for `*`.

        A namespace with rules of its own is not opened further by `*`.
        """
        if plugin.namespace in self.closed:
            return ()
        covering = [rule for rule in self.publishers if rule.covers(plugin)]
        own = tuple(rule for rule in covering if rule.namespace != ANY_NAMESPACE)
        return own or tuple(covering)
