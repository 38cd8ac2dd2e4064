"""Egress: the one door by which a plugin's network namespace leads out.

    plan = plan_door(rules)                  # pure: what has to be there before the plugin starts
    door = Door(plugin_id, organization, Terms(Policy(rules)), record)
    door.open(zip(plan.listeners, sockets))  # sockets that listen inside of the namespace
    ...
    await door.close()

The parts: `targets` reads where a plugin wants to, `rules` says whether it may, `addresses`
what its name may resolve to, `opening` holds what is said first to that host; these, `hello`,
`requests`, `decisions` and `plan` are pure. `reaching` is the way out of this machine, `sides` what
passes between two ends, `connection` one connection, `door` all of them.
"""

from aperio_cli.host.egress.decisions import Decision, Reason, Verdict
from aperio_cli.host.egress.door import Door, Terms
from aperio_cli.host.egress.plan import Listener, Plan, plan_door
from aperio_cli.host.egress.rules import Policy, Rule, rules_of

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
