"""Egress: the one door by which a plugin's network namespace leads out.

    plan = plan_door(rules)                  # pure: what has to be there before the plugin starts
    door = Door(plugin_id, organization, Terms(Policy(rules)), record)
    door.open(zip(plan.listeners, sockets))  # sockets that listen inside of the namespace
    ...
    await door.close()

The parts: `targets` reads where a plugin wants to, `rules` says whether it may, `addresses`
what its name may resolve to, `opening` holds what is said first to that host; these, `hello`,
`requests`, `decisions` and `plan` are pure. `reaching` is the way out of this machine, `sides` what
passes between two ends, `connection` one connection, `door` all of them. The door is imported when
it is first asked for: it connects, and most commands only read what may be connected to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aperio_cli.host.egress.decisions import Decision, Reason, Verdict
from aperio_cli.host.egress.plan import Listener, Plan, plan_door
from aperio_cli.host.egress.rules import Policy, Rule, rules_of

if TYPE_CHECKING:
    from aperio_cli.host.egress.door import Door, Terms

__all__ = [
    "Decision",
    "Door",
    "Listener",
    "Plan",
    "Policy",
    "Reason",
    "Rule",
    "Terms",
    "Verdict",
    "plan_door",
    "rules_of",
]

_OF_THE_DOOR = ("Door", "Terms")


def __getattr__(name: str) -> Any:
    """Return what `door` has.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _OF_THE_DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from aperio_cli.host.egress import door

    return getattr(door, name)
