"""Findings and audit log entries on their way to the wire, and dead letters of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from aperio_plugin import errors
from aperio_plugin._convert.events import actor_fields
from aperio_plugin._convert.letters import plain, readable
from aperio_plugin._convert.objects import encode_object
from aperio_plugin._convert.records import Json, checked, require_size
from aperio_plugin._convert.times import time_fields
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2
from aperio_plugin.connector import Actor, DeadLetter, FindingSeverity, FindingStatus
from aperio_plugin.limits import (
    MAX_CHECK_BYTES,
    MAX_DESCRIPTION_BYTES,
    MAX_ID_BYTES,
    MAX_NAME_BYTES,
    MAX_RISK_SCORE,
    MAX_STEP_BYTES,
    MAX_STEPS,
    MAX_TAG_BYTES,
    MAX_TAGS,
    MAX_TARGET_CHARACTERS,
    MAX_TITLE_CHARACTERS,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_plugin.connector import AuditLogEntry, Finding

_MOST_BESIDE_TEXTS: Final = 256  # tags, lengths, numbers and the time
_LONGEST_NAMED = 100


def finding_fields(finding: Finding) -> tuple[dict[str, Any], int]:
    """Return a finding as the arguments of its message, and an upper bound of its size in bytes.

    Raises:
        errors.InvalidRecord: a part of it is malformed or too long; the error names the part.
    """
    return _told(lambda: _finding_fields(finding))


def entry_fields(entry: AuditLogEntry) -> tuple[dict[str, Any], int]:
    """Return an audit log entry in the same way.

    Raises:
        errors.InvalidRecord: as for a finding.
    """
    return _told(lambda: _entry_fields(entry))


def _told(make: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], int]:
    try:
        fields = make()
    except Exception as error:  # whatever an odd mapping or text raises
        raise errors.InvalidRecord(str(error) or type(error).__name__) from error
    return fields, _MOST_BESIDE_TEXTS + _size(fields)


def _size(value: Any) -> int:
    """Return the bytes that a field takes; those of a text or of a list take a few more."""
    if isinstance(value, str):
        return len(str.encode(value)) + 4
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 0


def _finding_fields(finding: Finding) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "rule_id": _text("rule_id", finding.rule_id, MAX_CHECK_BYTES, least=1),
        "title": _words("title", _one_line(finding.title), MAX_TITLE_CHARACTERS, least=1),
        "description": _text("description", finding.description, MAX_DESCRIPTION_BYTES),
        "severity": _member("severity", finding.severity, FindingSeverity),
        "risk_score": _score(finding.risk_score),
        "remediation_steps": _bounded(
            "remediation_steps", finding.remediation_steps, MAX_STEPS, MAX_STEP_BYTES
        ),
        "target": _words("target", finding.target, MAX_TARGET_CHARACTERS, least=1),
        "dedupe_target": _words("dedupe_target", finding.dedupe_target, MAX_TARGET_CHARACTERS),
        "status": _member("status", finding.status, FindingStatus),
        "event_type": _text("event_type", finding.event_type, MAX_NAME_BYTES),
        "tags": _bounded("tags", finding.tags, MAX_TAGS, MAX_TAG_BYTES),
    } | _shared(finding)
    if finding.evidence is not None:
        fields["evidence_json"] = _object("evidence", finding.evidence)
    return fields


def _entry_fields(entry: AuditLogEntry) -> dict[str, Any]:
    return {
        "action": _text("action", entry.action, MAX_NAME_BYTES, least=1),
        "record_json": _object("record", entry.record),
    } | _shared(entry)


def _shared(item: Finding | AuditLogEntry) -> dict[str, Any]:
    """Return what findings and entries have as events have it."""
    fields: dict[str, Any] = {
        "source_event_id": _text("source_event_id", item.source_event_id, MAX_ID_BYTES, least=1),
        "occurred_at": time_fields(item.occurred_at),
        "origin": _text("origin", item.origin, MAX_NAME_BYTES),
    }
    actor: object = item.actor  # whatever stands there
    if isinstance(actor, Actor):
        fields["actor"], _ = actor_fields(actor)
    elif actor is not None:
        raise ValueError(f"actor: expected an Actor, received {type(actor).__name__}")
    return fields


def _text(name: str, text: object, most: int, *, least: int = 0, unit: str = "bytes") -> str:
    """Return a text that may pass.

    Args:
        name: of the field.
        text: whatever stands there.
        most: how long it may be.
        least: 1: it must not be empty.
        unit: bytes of UTF-8, or characters.

    Raises:
        ValueError: it may not.
    """
    if not isinstance(text, str):
        raise ValueError(f"{name}: expected text, received {type(text).__name__}")  # noqa: TRY004 - a wrong value
    try:
        data = str.encode(text)  # whatever a class of its own makes of it
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} has half of a surrogate pair, which UTF-8 does not have"
        ) from error
    length = len(data) if unit == "bytes" else str.__len__(text)
    if length < least:
        raise ValueError(f"{name} is empty")
    if length > most:
        raise ValueError(f"{name} has {length} {unit}, {most} are the most")
    return text


def _words(name: str, text: object, most: int, *, least: int = 0) -> str:
    return _text(name, text, most, least=least, unit="characters")


def _one_line(text: object) -> object:
    return " ".join(text.split()) if isinstance(text, str) else text


def _member(name: str, value: object, kind: type[FindingSeverity | FindingStatus]) -> str:
    if not isinstance(value, kind):
        known = ", ".join(kind.__members__)
        raise ValueError(f"{name}: expected {known}, received {value!r:.100}")  # noqa: TRY004 - a wrong value
    return f"{name.upper()}_{value.name}"


def _score(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_RISK_SCORE:
        raise ValueError(f"risk_score: expected 0 to {MAX_RISK_SCORE}, received {value!r:.100}")
    return value


def _bounded(name: str, texts: object, most: int, most_bytes: int) -> list[str]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ValueError(f"{name}: expected a list of texts, received {type(texts).__name__}")  # noqa: TRY004 - a wrong value
    if len(texts) > most:
        raise ValueError(f"{name} has {len(texts)} texts, {most} are the most")
    return [_text(f"{name}[{number}]", text, most_bytes) for number, text in enumerate(texts)]


def _object(name: str, value: object) -> bytes:
    try:
        if isinstance(value, bytes):
            return value if type(value) is Json else checked(value)
        if not isinstance(value, Mapping):
            raise ValueError(f"record: expected an object, received {type(value).__name__}")  # noqa: TRY004, TRY301 - a wrong value
        data = encode_object(value)
        require_size(data)
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deeply: {error}") from error
    except Exception as error:  # whatever an odd mapping raises
        said = str(error)
        part = said.removeprefix("record")
        raise ValueError(f"{name}{part}" if part != said else f"{name}: {said}") from error
    return data


def finding_batch(findings: list[dict[str, Any]]) -> connector_pb2.SyncEvent:
    """Return the stream's message of the findings that `finding_fields` gave."""
    return connector_pb2.SyncEvent(findings={"findings": findings})


def entry_batch(entries: list[dict[str, Any]]) -> connector_pb2.SyncEvent:
    """Return the stream's message of the entries that `entry_fields` gave."""
    return connector_pb2.SyncEvent(audit_log={"entries": entries})


def letter_of_finding(finding: Finding, reason: str) -> DeadLetter:
    """Return the dead letter of a finding that cannot be passed on; its record is the evidence."""
    evidence = finding.evidence
    return DeadLetter(
        reason=f"finding {_named(finding.rule_id)} of {_named(finding.target)}: {reason}",
        source_event_id=plain(finding.source_event_id),
        event_type=plain(finding.event_type),
        origin=plain(finding.origin),
        record=b"" if evidence is None else readable(evidence),
    )


def letter_of_entry(entry: AuditLogEntry, reason: str) -> DeadLetter:
    """Return the dead letter of an audit log entry that cannot be passed on."""
    return DeadLetter(
        reason=f"audit log entry {_named(entry.action)}: {reason}",
        source_event_id=plain(entry.source_event_id),
        origin=plain(entry.origin),
        record=readable(entry.record),
    )


def _named(value: object) -> str:
    return repr(value[:_LONGEST_NAMED]) if isinstance(value, str) else "without a name"
