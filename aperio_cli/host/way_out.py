"""The way out of a plugin's network, for one run: its rules, its door, what is said about it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aperio_cli.host.egress import Door, Policy, Rule, Terms, Verdict, plan_door, rules_of
from aperio_cli.host.egress.decisions import Reason
from aperio_cli.host.egress.reaching import Network, Outside
from aperio_cli.host.sandbox.interface import Doorway
from aperio_cli.models.egress import is_for_operators, split_rule

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from aperio_cli.host.egress import Decision
    from aperio_cli.host.process.masking import Masks
    from aperio_cli.host.process.program import Program
    from aperio_cli.host.speech import Speech


def _ignore(_decision: Decision) -> None:
    """Do nothing with a decision."""


@dataclass(frozen=True, slots=True)
class Egress:
    """On what terms a plugin connects to others, beside what it is granted.

    Attributes:
        organization: for whom it works, for the record.
        settings: values by key; some may name hosts, held to suffixes of the manifest.
        opened: what else the operator opens for this run.
        is_learning: whether what no rule covers is let through, and recorded.
        record: takes every decision.
        outside: what is beyond this machine.
    """

    organization: str = ""
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    opened: tuple[Rule, ...] = ()
    is_learning: bool = False
    record: Callable[[Decision], None] = _ignore
    outside: Outside = field(default_factory=Network)


class WayOut:
    """One plugin's door, and who is told about it; made on the loop that serves it.

    Attributes:
        door: to be closed when the plugin has ended.
        refused: how many connections were refused.
    """

    def __init__(self, program: Program, egress: Egress, speech: Speech, masks: Masks) -> None:
        self.refused = 0
        self._program = program
        self._egress = egress
        self._speech = speech
        self._masks = masks
        self._loop = asyncio.get_running_loop()
        rules = rules_for(program, egress)
        self._plan = plan_door(rules)
        policy = Policy(rules, is_learning=egress.is_learning)
        terms = Terms(policy, egress.outside)
        self.door = Door(program.plugin_id, egress.organization, terms, self._record)

    def doorway(self) -> Doorway:
        """Return what a sandbox makes of it."""
        plan = self._plan
        return Doorway(
            environment=plan.environment,
            hosts=tuple((address, name) for name, address in plan.addresses.items()),
            addresses=tuple((each.address, each.port) for each in plan.listeners),
            serve=self._serve,
        )

    def _serve(self, sockets: Sequence[socket.socket]) -> None:
        """Serve them as soon as the loop, which waits for the start, goes on."""
        listening = list(zip(self._plan.listeners, sockets, strict=True))
        self._loop.call_soon_threadsafe(self.door.open, listening)

    def _record(self, decision: Decision, is_first: bool) -> None:  # noqa: FBT001 - as a door gives it
        self._egress.record(decision)
        self.refused += decision.verdict is Verdict.REFUSED
        text = self._masks.text
        if is_first:
            for line in told(decision, self._program):
                self._speech.say("warn", text(line))
        self._speech.say("debug", text(f"egress {json.dumps(decision.to_json())}"))


def rules_for(program: Program, egress: Egress) -> tuple[Rule, ...]:
    """Return the rules of a run: the operator's own first, as they open more."""
    own = (
        Rule(
            *split_rule(each.rule),
            "operator",
            may_be_private=True,
            is_any_protocol=each.is_any_protocol,
        )
        for each in program.own_rules
    )
    return (*own, *egress.opened, *rules_of(program.manifest, egress.settings))


def told(decision: Decision, program: Program) -> list[str]:
    """Return what people are told of a connection that was not simply let through, and what helps.

    Args:
        decision: about it.
        program: whose it was.
    """
    assert decision.reason  # noqa: S101 - it was not simply let through
    detail = f": {decision.detail}" if decision.detail else ""
    done = {
        Verdict.REFUSED: "refused",
        Verdict.REPORTED: "would be refused",
        Verdict.FAILED: "failed",
    }
    what = f"egress {done[decision.verdict]}: {decision.place}: {decision.reason.words}{detail}"
    return [what, *_remedies(decision, program)]


def _remedies(decision: Decision, program: Program) -> list[str]:
    asked = "its author adds it to `permissions.egress` of manifest.yaml"
    own = f"or you open it: `aperio plugin grant {program.plugin_id} --own {decision.place}`"
    if program.is_development:
        asked, own = f"add `{decision.place}` to `permissions.egress` of manifest.yaml", ""
    match decision.reason:
        case Reason.NOT_GRANTED if not is_for_operators(decision.place):
            return [f"  {asked}, {own}" if own else f"  {asked}"]
        case Reason.NOT_GRANTED | Reason.ADDRESS_AS_HOST | Reason.ADDRESS_NOT_PUBLIC if own:
            return [f"  {own.removeprefix('or ')}"]
        case Reason.UNKNOWN_PROTOCOL | Reason.SNI_MISSING | Reason.SNI_ENCRYPTED if own:
            return [f"  {own.removeprefix('or ').removesuffix('`')} --any-protocol`"]
        case Reason.LATE if own and decision.rule:  # NATS, SMTP
            speaks = "where the server speaks first, "
            return [f"  {speaks}{own.removeprefix('or ').removesuffix('`')} --any-protocol`"]
        case _:
            return []


def stubs_of(settings: Mapping[str, object]) -> tuple[Rule, ...]:
    """Return rules for what the operator's own settings name on this machine, by a port.

    A stub of a service, say, while a plugin is written. Only whoever types settings opens this
    machine with them: a plugin's defaults are not among them.

    Args:
        settings: as they were given, by key.
    """
    from urllib.parse import urlsplit

    from aperio_cli.models.address import is_loopback
    from aperio_cli.models.egress import PORTS

    found: list[Rule] = []
    for key, value in settings.items():
        for text in value.split(",") if isinstance(value, str) else ():
            try:
                parts = urlsplit(text.strip())
                port = parts.port or PORTS.get(parts.scheme)
            except ValueError:
                continue
            host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
            if port and is_loopback(host) and ":" not in host:
                stated = f"setting {key}"
                rule = Rule(host, port, stated, may_be_private=True, is_any_protocol=True)
                found.append(rule)
    return tuple(found)
