"""Stamping findings and audit log entries, as `envelopes` does events.

Format: aperio.plugin.contracts.v1.Envelope and Finding in their JSON form
(proto/aperio/plugin/contracts/v1/envelope.proto). The keys of a finding's record, and what its
dedupe key is made of, are the product's.
"""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aperio_plugin.wire import event_rules, finding_rules, limits

from aperio_cli.host.calls.envelopes import (
    MAX_ENVELOPE_BYTES,
    Outbound,
    actor_json,
    constant,
    netstrings,
    occurred_at_json,
)
from aperio_cli.host.calls.json_text import one_line_object
from aperio_cli.host.calls.letters import DeadLetter, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aperio_plugin.wire import connector_pb2

    from aperio_cli.host.calls.envelopes import Origin, Promises

FINDING_SCHEMA: Final = "aperio.finding.v1"
AUDIT_LOG_SCHEMA: Final = "aperio.audit_log.v1"
SEVERITIES: Final = ("", "INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL")
STATUSES: Final = ("", "OPEN", "RESOLVED", "MUTED")
"""By their numbers in connector.proto."""

_DIGITS_OF_ID: Final = 24
_LONGEST_NAMED: Final = 100


class Bound(NamedTuple):
    """How long a text may be.

    Attributes:
        name: of its field.
        least: 0: it may be empty.
        most: in the unit.
        unit: bytes of UTF-8, or characters.
    """

    name: str
    least: int
    most: int
    unit: str = "bytes"

    def require(self, text: str) -> None:
        """Refuse a text that is longer or shorter.

        Raises:
            ValueError: it is.
        """
        length = len(text) if self.unit == "characters" else len(text.encode())
        if not self.least <= length <= self.most:
            raise ValueError(f"expected {self.name}: {self.least} to {self.most} {self.unit}")


_FINDING: Final = (
    Bound("rule_id", 1, limits.MAX_CHECK_BYTES),
    Bound("title", 1, limits.MAX_TITLE_CHARACTERS, "characters"),
    Bound("description", 0, limits.MAX_DESCRIPTION_BYTES),
    Bound("target", 1, limits.MAX_TARGET_CHARACTERS, "characters"),
    Bound("dedupe_target", 0, limits.MAX_TARGET_CHARACTERS, "characters"),
    Bound("source_event_id", 1, limits.MAX_ID_BYTES),
    Bound("event_type", 0, limits.MAX_NAME_BYTES),
    Bound("origin", 0, limits.MAX_NAME_BYTES),
)
_ENTRY: Final = (
    Bound("source_event_id", 1, limits.MAX_ID_BYTES),
    Bound("action", 1, limits.MAX_NAME_BYTES),
    Bound("origin", 0, limits.MAX_NAME_BYTES),
)


def dedupe_key(origin: Origin, rule_id: str, target: str) -> str:
    """Return what tells findings apart, as the product makes it.

    Args:
        origin: of the finding.
        rule_id: its rule.
        target: its dedupe target, or its target where it has none.
    """
    joined = f"{origin.organization_id}:{origin.integration_id}:{rule_id}:{target}"
    return hashlib.sha256(joined.encode()).hexdigest()


class _Stamper:
    """What the stampers of both kinds do alike."""

    def __init__(self, origin: Origin, mask: Callable[[str], str], promises: Promises) -> None:
        self._origin = origin
        self._mask = mask
        self._doubt = promises.doubt
        self._has_nul = False

    def _stamp(
        self,
        items: Iterable[Any],
        envelope: Callable[[Any], Outbound],
        flaws: Callable[[Any], Iterable[event_rules.Flaw]],
        named: Callable[[Any], tuple[str, bytes]],
    ) -> tuple[list[Outbound], list[DeadLetter]]:
        made: list[Outbound] = []
        dead: list[DeadLetter] = []
        for item in items:
            try:
                stamped = envelope(item)
                self._examine(item, flaws(item))
                self._examine_nul(item, stamped.json)
                made.append(stamped)
            except ValueError as error:
                name, record = named(item)
                dead.append(_dead(item, f"{name}: {error}", record, self._mask))
        return made, dead

    def _examine(self, item: Any, flaws: Iterable[event_rules.Flaw]) -> None:
        """Hold something against what the connector promises.

        Raises:
            ValueError: it must not be passed on.
        """
        for flaw in flaws:
            if flaw.is_breach:
                raise ValueError(flaw.text)
            self._doubt(item.source_event_id, flaw.text)

    def _examine_nul(self, item: Any, envelope: bytes) -> None:
        """Tell the first one of a sync that the product cannot store."""
        if not self._has_nul and event_rules.has_nul(envelope):
            self._has_nul = True
            self._doubt(item.source_event_id, event_rules.NUL_DOUBT)

    def _identity(self, *parts: str) -> str:
        """Return the id of an envelope: over whom it is for, and the parts."""
        origin = self._origin
        whose = (origin.organization_id, origin.integration_id, origin.provider)
        return hashlib.sha256(netstrings(*whose, *parts)).hexdigest()

    def _outbound(self, identity: str, kind: str, text: str) -> Outbound:
        data = text.encode()
        if len(data) > MAX_ENVELOPE_BYTES:
            raise ValueError(f"expected an envelope of at most {MAX_ENVELOPE_BYTES} bytes")
        return Outbound(identity, kind, data, self._origin.organization_id)


class FindingStamper(_Stamper):
    """Makes envelopes of one invocation's findings.

    Args:
        origin: of all findings.
        mask: returns a text without secrets; for dead letters only.
        promises: of the connector.
    """

    def __init__(self, origin: Origin, mask: Callable[[str], str], promises: Promises) -> None:
        super().__init__(origin, mask, promises)
        self._head = constant(origin, FINDING_SCHEMA, "finding")
        self._rules = finding_rules.FindingRules(
            origin.provider, promises.checks, promises.features
        )

    def stamp(self, batch: connector_pb2.FindingBatch) -> tuple[list[Outbound], list[DeadLetter]]:
        """Return the envelopes of a batch in order, and the findings that cannot be passed on."""
        return self._stamp(batch.findings, self.envelope, self._rules.flaws, _finding_named)

    def restart(self) -> None:
        """Take note that the sync goes on from its last checkpoint, and repeats what came after."""
        self._rules.restart()

    def envelope(self, finding: connector_pb2.Finding) -> Outbound:
        """Return the envelope of one finding.

        Raises:
            ValueError: the finding is not as connector.proto says.
        """
        _require(finding, _FINDING)
        status = _named("status", STATUSES, finding.status)
        target = finding.dedupe_target or finding.target
        key = dedupe_key(self._origin, finding.rule_id, target)
        identity = self._identity(finding.source_event_id, "finding", key, status)
        record = _finding_record(self._origin, finding, key, status)
        return self._outbound(identity, "finding", _json(identity, self._head, finding, record))


class AuditLogStamper(_Stamper):
    """Makes envelopes of one invocation's audit log entries.

    Args:
        origin: of all entries.
        mask: returns a text without secrets; for dead letters only.
        promises: of the connector.
    """

    def __init__(self, origin: Origin, mask: Callable[[str], str], promises: Promises) -> None:
        super().__init__(origin, mask, promises)
        self._head = constant(origin, AUDIT_LOG_SCHEMA, "audit_log")
        self._rules = finding_rules.AuditLogRules(promises.features)

    def stamp(self, batch: connector_pb2.AuditLogBatch) -> tuple[list[Outbound], list[DeadLetter]]:
        """Return the envelopes of a batch in order, and the entries that cannot be passed on."""
        return self._stamp(batch.entries, self.envelope, self._rules.flaws, _entry_named)

    def restart(self) -> None:
        """Take note that the sync goes on from its last checkpoint, and repeats what came after."""
        self._rules.restart()

    def envelope(self, entry: connector_pb2.AuditLogEntry) -> Outbound:
        """Return the envelope of one entry.

        Raises:
            ValueError: the entry is not as connector.proto says.
        """
        _require(entry, _ENTRY)
        identity = self._identity(entry.source_event_id, "audit_log")
        record = _object("record_json", entry.record_json)
        return self._outbound(identity, "audit_log", _json(identity, self._head, entry, record))


def _finding_named(finding: connector_pb2.Finding) -> tuple[str, bytes]:
    """Return what a dead letter calls a finding, and its evidence."""
    name = f"finding {_short(finding.rule_id)} of {_short(finding.target)}"
    return name, finding.evidence_json


def _entry_named(entry: connector_pb2.AuditLogEntry) -> tuple[str, bytes]:
    """Return what a dead letter calls an entry, and its record."""
    return f"audit log entry {_short(entry.action)}", entry.record_json


def _require(item: Any, bounds: Iterable[Bound]) -> None:
    for bound in bounds:
        bound.require(getattr(item, bound.name))


def _named(field: str, names: tuple[str, ...], number: int) -> str:
    """Return the name of a value of an enum.

    Raises:
        ValueError: it is none that this host knows.
    """
    if not 0 < number < len(names):
        raise ValueError(f"expected {field}: one of {', '.join(names[1:])}; received {number}")
    return names[number]


def _finding_record(origin: Origin, finding: connector_pb2.Finding, key: str, status: str) -> str:
    """Return the record of a finding; its keys are the product's, in the product's order.

    Raises:
        ValueError: a part of it is not as connector.proto says.
    """
    if finding.risk_score > limits.MAX_RISK_SCORE:
        raise ValueError(
            f"expected risk_score: 0 to {limits.MAX_RISK_SCORE}; received {finding.risk_score}"
        )
    title = " ".join(finding.title.split())
    if not title:
        raise ValueError("expected title: more than blanks")
    severity = _named("severity", SEVERITIES, finding.severity)
    steps = _texts(
        "remediation_steps", finding.remediation_steps, limits.MAX_STEPS, limits.MAX_STEP_BYTES
    )
    tags = _texts("tags", finding.tags, limits.MAX_TAGS, limits.MAX_TAG_BYTES)
    source = origin.provider.lower() + (f".{finding.origin}" if finding.origin else "")
    actor = finding.actor
    who = event_rules.actor_text(actor.email or actor.id or actor.display_name)
    parts = [
        f'"schemaVersion":"{FINDING_SCHEMA}","findingId":"fnd_{key[:_DIGITS_OF_ID]}"',
        f'"dedupeKey":"{key}","sourceEventId":{quote(finding.source_event_id)}',
        f'"status":"{status}","ruleId":{quote(finding.rule_id)}',
        f'"title":{quote(title)},"description":{quote(finding.description)}',
        f'"severity":"{severity}","riskScore":{finding.risk_score}',
        f'"remediationSteps":{steps},"tags":{tags},"target":{quote(finding.target)}',
        f'"provider":{quote(origin.provider)},"integrationId":{quote(origin.integration_id)}',
        f'"source":{quote(source)},"eventType":{quote(finding.event_type)}',
        f'"actor":{quote(who) if who else "null"}',
    ]
    if finding.dedupe_target:
        parts.append(f'"dedupeTarget":{quote(finding.dedupe_target)}')
    if finding.evidence_json:
        parts.append(f'"evidence":{_object("evidence_json", finding.evidence_json)}')
    return "{" + ",".join(parts) + "}"


def _texts(name: str, texts: Any, most: int, most_bytes: int) -> str:
    """Return a list of texts as JSON.

    Raises:
        ValueError: there are too many, or one is too long.
    """
    if len(texts) > most:
        raise ValueError(f"expected {name}: at most {most}; received {len(texts)}")
    bound = Bound(f"each of {name}", 0, most_bytes)
    for text in texts:
        bound.require(text)
    return "[" + ",".join(map(quote, texts)) + "]"


def _object(name: str, data: bytes) -> str:
    """Return a JSON object on one line.

    Args:
        name: of its field.
        data: the object.

    Raises:
        ValueError: it is too large, or none.
    """
    if len(data) > limits.MAX_RECORD_BYTES:
        raise ValueError(f"expected {name}: at most {limits.MAX_RECORD_BYTES} bytes")
    try:
        return one_line_object(data).decode()
    except ValueError as error:
        raise ValueError(f"expected {name}: one JSON object; received {error}") from error


def _json(identity: str, head: str, item: Any, record: str) -> str:
    """Return an envelope.

    Args:
        identity: its id.
        head: `constant` of its kind.
        item: the finding or the entry.
        record: JSON.
    """
    kind = item.action if hasattr(item, "action") else item.event_type
    origin = f',"origin":{quote(item.origin)}' if item.origin else ""
    return (
        f'{{"id":"{identity}{head}{quote(kind)}'
        f',"actor":{actor_json(item.actor) if item.HasField("actor") else "null"}'
        f',"occurred_at":{occurred_at_json(item)}'
        f',"source_event_id":{quote(item.source_event_id)},"record":{record}{origin}}}'
    )


def _dead(item: Any, reason: str, record: bytes, mask: Callable[[str], str]) -> DeadLetter:
    return DeadLetter(
        reason=shown(reason, mask),
        source_event_id=shown(item.source_event_id, mask),
        event_type=shown(getattr(item, "event_type", ""), mask),
        origin=shown(item.origin, mask),
        excerpt=shown(record.decode(errors="replace"), mask),
        record_bytes=len(record),
    )


def _short(text: str) -> str:
    return repr(text[:_LONGEST_NAMED])
