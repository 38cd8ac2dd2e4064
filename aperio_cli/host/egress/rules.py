"""Which rule covers where a plugin asks to be connected to, if any. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.host.egress.addresses import Address, Reach, reach_of
from aperio_cli.host.egress.decisions import Denied, Reason
from aperio_cli.host.egress.targets import Target, parse_authority
from aperio_cli.models.egress import covers, split_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aperio_cli.models.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Rule:
    """One host and port that a plugin may be connected to.

    Attributes:
        host: a name, `*.` and a name, or, by the operator only, an IPv4 address.
        port: TCP port.
        stated_by: who says so, for the record: `manifest`, a setting, the operator.
        may_be_private: whether it may lead into a network of the operator's, or to this machine.
        is_any_protocol: whether something else than TLS or HTTP for that host may be spoken.
    """

    host: str
    port: int
    stated_by: str
    may_be_private: bool = False
    is_any_protocol: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Whether it covers names that it does not state."""
        return self.host.startswith("*.")

    @property
    def target(self) -> Target | None:
        """The one place that it covers; None when there are more.

        Raises:
            Denied: it names no host.
        """
        return None if self.is_wildcard else parse_authority(str(self))

    def covers(self, target: Target) -> bool:
        """Return whether it is about this place."""
        if target.is_address and not self.may_be_private:
            return False
        return self.port == target.port and covers(str(self), target.host)


def rules_of(manifest: Manifest, settings: Mapping[str, object]) -> tuple[Rule, ...]:
    """Return what a manifest asks for, with the hosts that the operator's settings name.

    A setting that is missing, or names no host below the suffix, gives no rule.

    Args:
        manifest: of the plugin.
        settings: values by key.
    """
    stated = [Rule(*split_rule(each), "manifest") for each in manifest.egress]
    for each in manifest.egress_from_config:
        value = str(settings.get(each.field) or "").lower()
        try:
            target = parse_authority(value, each.port)
        except Denied:
            continue
        if target.host == value and value.endswith(each.suffix) and not target.is_address:
            stated.append(Rule(value, each.port, f"setting {each.field}"))
    return tuple(stated)


@dataclass(frozen=True, slots=True)
class Policy:
    """What one plugin may be connected to.

    Attributes:
        rules: in the order in which they are asked; the operator's own come first.
        is_learning: whether what no rule covers is let through, and recorded.
    """

    rules: tuple[Rule, ...] = ()
    is_learning: bool = False

    def rule_for(self, target: Target) -> Rule:
        """Return the rule that covers a place.

        Raises:
            Denied: there is none.
        """
        for rule in self.rules:
            if rule.covers(target):
                return rule
        raise Denied(Reason.ADDRESS_AS_HOST if target.is_address else Reason.NOT_GRANTED)


def check_addresses(
    addresses: Sequence[Address], rule: Rule | None, is_own: Callable[[Address], bool]
) -> None:
    """Refuse the addresses of a name, all of them, when one is not what its rule may lead to.

    The owner of a name could otherwise put one of this machine's among those of its own.

    Args:
        addresses: all that the name has.
        rule: that covers the name; None: none does.
        is_own: whether an address is one of this machine's.

    Raises:
        Denied: one is not public, and the rule is not about a private one.
    """
    if not addresses:
        raise Denied(Reason.UNRESOLVED)
    for address in addresses:
        reach = reach_of(address)
        if reach is Reach.PUBLIC and is_own(address):
            reach = Reach.PRIVATE
        if reach is Reach.PUBLIC or (reach is Reach.PRIVATE and rule and rule.may_be_private):
            continue
        raise Denied(Reason.ADDRESS_NOT_PUBLIC, address)
