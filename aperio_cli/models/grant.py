"""What the operator has granted to an installed plugin, of what its manifest asks for.

A manifest asks; nothing of that holds by itself. The receipt has what is granted: at most
what the manifest asks for, with limits as the operator set them, and beside it hosts that the
operator's own rules open, which no manifest can ask for: of its own network, for example.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

from aperio_cli.models.egress import HOST, PORT, RULE, covers, split_rule
from aperio_cli.models.limits import Limits
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.reading import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.models.manifest import EgressFromConfig

MOST_OWN_RULES: Final = 64
_OF_MANIFEST: Final = ("permissions", "scopes", "limits", "state")
_HOST: Final = re.compile(rf"(?:\*\.)?{HOST}", re.ASCII)
_PORT: Final = re.compile(PORT, re.ASCII)
# What some readers take for an address, too (URL Standard, "ends in a number").
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
OWN_WORDS: Final = (
    "host:port, exact or with one leading `*.`, or an IPv4 address and a port, such as"
    " siem.corp.example:8088"
)


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A host and port that the operator opens to one plugin, on its network, too.

    Attributes:
        rule: `host:port`, exact or with one leading `*.`, or an IPv4 address and a port.
        is_any_protocol: whether something else than TLS and HTTP for that host may be spoken.
    """

    rule: str
    is_any_protocol: bool = False

    @classmethod
    def parse(cls, text: str, *, is_any_protocol: bool = False) -> OwnRule:
        """Return the rule in a text.

        Raises:
            ValueError: it is none.
        """
        rule = text.lower()
        host, _, port = rule.rpartition(":")
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            is_host = host == str(ipaddress.IPv4Address(host))
        else:
            is_host = _HOST.fullmatch(host) is not None
        if not is_host or not _PORT.fullmatch(port):
            message = f"expected {OWN_WORDS}"
            raise ValueError(message)
        return cls(rule, is_any_protocol)

    def __str__(self) -> str:
        return f"{self.rule}, any protocol" if self.is_any_protocol else self.rule

    def to_json(self) -> dict[str, object]:
        """Return the rule as a receipt carries it."""
        return {"rule": self.rule, "any_protocol": self.is_any_protocol}


@dataclass(frozen=True, slots=True)
class Grant:
    """What one installed version may do.

    Attributes:
        granted: the manifest, with what is granted of it, in place of what it asks for.
        own: what the operator opens beyond that.
    """

    granted: Manifest
    own: tuple[OwnRule, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the grant as receipts and reports carry it."""
        stated = self.granted.to_json()
        of_manifest = {key: stated[key] for key in _OF_MANIFEST}
        return of_manifest | {"own": [rule.to_json() for rule in self.own]}

    @classmethod
    def from_record(cls, table: Table | None, manifest: Manifest) -> Grant:
        """Return the grant in a record; everything that is asked for, of one without a grant.

        Args:
            table: of the grant; what is wrong in it is raised by `table.fail`.
            manifest: what is asked for.
        """
        if table is None:
            return cls(manifest)
        granted = {key: table.value(key) for key in _OF_MANIFEST}
        merged = {"manifest": manifest.to_json() | granted}
        own = tuple(_own(each) for each in table.tables("own", most=MOST_OWN_RULES))
        return cls(Manifest.from_record(Table(merged, table.fail, is_record=True)), own)


def _own(table: Table) -> OwnRule:
    parse = functools.partial(OwnRule.parse, is_any_protocol=table.flag("any_protocol"))
    return table.converted("rule", parse)


def covers_rule(asked: str, narrower: str) -> bool:
    """Return whether everything that a rule opens is opened by another one."""
    host, port = split_rule(narrower)
    wide, its_port = split_rule(asked)
    is_below = covers(asked, host.removeprefix("*.")) and (wide[:1] == "*" or host[:1] != "*")
    return asked == narrower or (its_port == port and is_below)


def is_asked(manifest: Manifest, rule: str) -> bool:
    """Return whether a manifest asks for what a rule opens, by its settings included."""
    if not RULE.fullmatch(rule):
        return False
    host, port = split_rule(rule)
    return any(covers_rule(each, rule) for each in manifest.egress) or any(
        each.port == port and host.endswith(each.suffix) and host[:1] != "*"
        for each in manifest.egress_from_config
    )


def additions(before: Grant | None, after: Manifest) -> list[str]:
    """Return what a manifest asks for beyond what is granted, each in words; in the order shown.

    Args:
        before: what is granted; None: nothing is.
        after: the manifest.
    """
    return list(_additions(before.granted if before else None, after))


def _additions(before: Manifest | None, after: Manifest) -> Iterator[str]:
    granted = before.egress if before else ()
    for rule in after.egress:
        if not any(covers_rule(each, rule) for each in granted):
            yield f"egress  {rule}"
    known = before.egress_from_config if before else ()
    for stated in after.egress_from_config:
        if stated not in known:
            yield f"egress  {_words(stated)}"
    for key in after.folders_from_config:
        if not before or key not in before.folders_from_config:
            yield f"folder  the one that `{key}` names, to write to"
    for scope in after.scopes:
        if not before or scope not in before.scopes:
            yield f"scope   {scope}"
    if after.state and not (before and before.state):
        yield "state   keeps values from one run to the next"
    yield from _more(before.limits if before else Limits(), after.limits)


def _words(stated: EgressFromConfig) -> str:
    return f"*{stated.suffix}:{stated.port}, as the setting `{stated.field}` says"


def _more(before: Limits, after: Limits) -> Iterator[str]:
    was, now = before.to_json(), after.to_json()
    for field_, name in zip(fields(Limits), now, strict=True):
        if getattr(after, field_.name) > getattr(before, field_.name):
            yield f"limit   {name} {now[name]}, up from {was[name]}"


def successor(before: Grant | None, asked_before: Manifest | None, after: Manifest) -> Grant:
    """Return what a new version is granted, once the operator agreed to what it asks beyond.

    Whatever the operator took from the version before stays taken; limits of his own stay, too.

    Args:
        before: what the version before is granted; None: there was none.
        asked_before: what that asked for.
        after: what the new version asks for.
    """
    if before is None or asked_before is None:
        return Grant(after)
    taken = [r for r in asked_before.egress if not _is_granted(before.granted.egress, r)]
    narrowed = [r for r in before.granted.egress if r not in asked_before.egress]
    kept = [r for r in after.egress if r not in taken]
    kept += [r for r in narrowed if r not in kept and is_asked(after, r)]
    gone = {
        c for c in asked_before.egress_from_config if c not in before.granted.egress_from_config
    }
    return Grant(
        replace(
            after,
            egress=tuple(kept),
            egress_from_config=tuple(c for c in after.egress_from_config if c not in gone),
            limits=_limits(before.granted.limits, asked_before.limits, after.limits),
        ),
        before.own,
    )


def _is_granted(granted: Sequence[str], rule: str) -> bool:
    return any(covers_rule(each, rule) for each in granted)


def _limits(granted: Limits, asked_before: Limits, asked: Limits) -> Limits:
    """Return the limits of a new version: the operator's where he set them, else as it asks."""
    own = {
        each.name: getattr(granted, each.name)
        for each in fields(Limits)
        if getattr(granted, each.name) != getattr(asked_before, each.name)
    }
    return replace(asked, **own)
