"""Try a plugin in process: no host, no subprocess, one line per scenario.

    harness = Harness(ExampleConnector(), config={"region": "eu"}, token="made-up")
    assert harness.test_connection().ok
    assert [event.event_type for event in harness.sync().events] == ["example.login"]
    harness.resume_from_every_checkpoint()

Calls go through the code that serves a real host: the same checks, batches and errors.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aperio_plugin import _fitting as fitting
from aperio_plugin import connector, destination, errors, records, remediation
from aperio_plugin._connecting import ConnectorService
from aperio_plugin._convert import answering, declaring, keeping, objects
from aperio_plugin._delivering import DestinationService
from aperio_plugin._event_rules import NUL_DOUBT, EventRules, Flaw, has_nul
from aperio_plugin._finding_rules import AuditLogRules, FindingRules
from aperio_plugin._generated.aperio.plugin.v1 import (
    common_pb2,
    connector_pb2,
    destination_pb2,
    remediation_pb2,
)
from aperio_plugin._remediating import RemediationService
from aperio_plugin._services import Call, context_of, failure
from aperio_plugin.context import Mode, State, StoredValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2
    from aperio_plugin.context import Context

__all__ = [
    "Harness",
    "MemoryState",
    "SyncResult",
    "SyncedCheckpoint",
    "SyncedDeadLetter",
    "SyncedEvent",
]

_Result = TypeVar("_Result")
_LOCAL: Final = "local"
"""Organization, integration and destination of every call."""
_SOURCE: Final = destination.SyncSource("example/connector")


@dataclass(frozen=True, slots=True)
class SyncedEvent:
    """An event as the host receives it: the record parsed, the time in UTC.

    Attributes are those of `connector.Event`, and:

    Attributes:
        record_json: the record's bytes.
    """

    source_event_id: str
    event_type: str
    occurred_at: datetime
    record: dict[str, Any]
    actor: connector.Actor | None
    origin: str
    record_json: bytes = b""
    native_event_type: str = ""


@dataclass(frozen=True, slots=True)
class SyncedCheckpoint:
    """A checkpoint as the host receives it.

    Attributes:
        cursor: what a later sync gets.
        events_before: how many events of this sync it covers.
        stream: the declared stream that has come on; empty: all of them.
        covers_until: the time up to which it was read, in UTC; None: not known.
        findings_before: how many findings.
        audit_log_before: how many audit log entries.
    """

    cursor: bytes
    events_before: int
    stream: str = ""
    covers_until: datetime | None = None
    findings_before: int = 0
    audit_log_before: int = 0


@dataclass(frozen=True, slots=True)
class SyncedDeadLetter:
    """A dead letter as the host receives it: cut to its limits.

    Attributes are those of `connector.DeadLetter`, but for the record.

    Attributes:
        excerpt: the beginning of the record.
        record_bytes: the length of the whole.
    """

    reason: str
    code: str
    source_event_id: str
    position: str
    event_type: str
    origin: str
    excerpt: str
    record_bytes: int


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What one sync gave.

    Attributes:
        events: in order.
        checkpoints: in order.
        progress: in order.
        error: what the host is told; None: it caught up, or was broken off as asked. An unforeseen
            one has what the plugin raised as its `__cause__`.
        messages: how many messages went to the host; a batch of events is one.
        dead_letters: what was skipped, in order.
        doubts: of events that pass, what somebody may not be able to store, in order.
        findings: in order, as the host receives them: the time as a datetime in UTC, evidence
            parsed.
        audit_log: entries in order, received in the same way, their records parsed.
    """

    events: tuple[SyncedEvent, ...]
    checkpoints: tuple[SyncedCheckpoint, ...]
    progress: tuple[connector.Progress, ...]
    error: errors.PluginError | None
    messages: int
    dead_letters: tuple[SyncedDeadLetter, ...] = ()
    doubts: tuple[str, ...] = ()
    findings: tuple[connector.Finding, ...] = ()
    audit_log: tuple[connector.AuditLogEntry, ...] = ()


class MemoryState(State):
    """A key-value store that forgets at the end; `Harness.state` is one."""

    def __init__(self) -> None:
        self._values: dict[str, StoredValue] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> StoredValue | None:
        """Give the value of a key, or None."""
        return self._values.get(key)

    def put(self, key: str, value: bytes, *, if_revision: int | None = None) -> int:
        """Store a value and give its revision."""
        with self._lock:
            found = self._values.get(key)
            revision = found.revision if found else 0
            if if_revision is not None and if_revision != revision:
                raise errors.StateConflict(f"{key} does not have revision {if_revision}")
            self._values[key] = StoredValue(bytes(value), revision + 1)
            return revision + 1

    def delete(self, key: str) -> None:
        """Remove a key."""
        self._values.pop(key, None)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Give the keys that begin with a prefix, in bytewise order."""
        return iter(sorted((key for key in self._values if key.startswith(prefix)), key=str.encode))


class Harness:
    """One plugin with one configuration.

    Args:
        plugin: a connector, remediation or destination.
        config: the operator's settings, checked and converted as the host does it: defaults of
            declared fields are filled in, and fields that only the host may use are left out.
            None: none yet, which is enough to ask what the plugin declares.
        token: the access token, if the plugin's auth is OAuth 2.0.
        timeout_s: the deadline of each call.
        mode: what the operator allows on the integration.
        granted_scopes: None: those that the actions of a remediation need.

    Attributes:
        state: the key-value store that the plugin sees.

    Raises:
        ValueError: the configuration lacks a key that the plugin needs, has one that it does not
            declare, or a value that its field does not take; or what the plugin declares makes no
            sense. Without a configuration it is raised by the first call that needs one.
    """

    def __init__(
        self,
        plugin: connector.Connector | remediation.Remediation | destination.Destination,
        *,
        config: Mapping[str, Any] | None = None,
        token: str | None = None,
        timeout_s: float = 30.0,
        mode: Mode = Mode.REMEDIATION,
        granted_scopes: Sequence[str] | None = None,
    ) -> None:
        self.state = MemoryState()
        self._service = _service(plugin)
        self._timeout_s = timeout_s
        self._token = token
        self._mode = mode
        self._granted_scopes = granted_scopes
        self._message = None if config is None else self._invocation(config)

    def schema(self) -> connector.Schema:
        """Give the connector's schema, checked."""
        schema = self._as(ConnectorService).schema()
        declaring.schema_message(schema)
        return schema

    def capabilities(self) -> remediation.Capabilities | destination.Capabilities:
        """Give what the remediation or destination declares, checked."""
        if isinstance(self._service, ConnectorService):
            raise TypeError("a connector has a schema, no capabilities")
        capabilities = self._service.capabilities()
        _declared(self._service)
        return capabilities

    def test_connection(self) -> connector.TestResult:
        """Give what the connector says about the configuration.

        Raises:
            errors.PluginError: what the host is told when the plugin fails.
        """
        service = self._as(ConnectorService)
        result = self._told(lambda: service.test_connection(self._context()))
        answering.test_message(result)
        return result

    def oauth_callback(self, parameters: Mapping[str, str]) -> Mapping[str, str]:
        """Give the account facts of an OAuth callback.

        Raises:
            errors.PluginError: what the host is told.
        """
        service = self._as(ConnectorService)
        return self._told(lambda: service.oauth_callback(self._context(), parameters))

    def sync(
        self,
        cursor: bytes | None = None,
        *,
        stop_after_events: int | None = None,
        request: connector.SyncRequest | None = None,
    ) -> SyncResult:
        """Run a sync to its end; what it fails with is in the result.

        Args:
            cursor: of a checkpoint; None: from the beginning.
            stop_after_events: cancel it, as a host may at any time, after so many events.
            request: what is asked for beside the cursor; None: everything.

        Raises:
            errors.PluginError: the connector does not declare what is asked for.
        """
        cancelled = threading.Event()
        service = self._as(ConnectorService)
        stream = service.sync(self._context(cancelled), cursor, request)
        overdue = threading.Event()
        timer = threading.Timer(self._timeout_s, _each(overdue.set, cancelled.set, stream.stop))
        timer.start()
        collected = _Collected(_Rules(declaring.schema_message(self.schema())), stop_after_events)
        error: errors.PluginError | None = None
        try:
            collected.take(iter(stream))
        except Exception as raised:  # noqa: BLE001 - it is in the result, as the host is told it
            error = _told_as(raised)
        finally:
            timer.cancel()
            cancelled.set()
            stream.stop()
        if overdue.is_set():
            error = errors.Cancelled(f"the deadline of {self._timeout_s} s passed")
        return collected.result(error)

    def resume_from_every_checkpoint(self) -> SyncResult:
        """Prove that nothing is lost, whichever checkpoint a sync goes on from.

        Returns:
            The sync from the beginning.

        Raises:
            AssertionError: a sync failed, or one that went on from a checkpoint lacks events,
                findings or audit log entries; their ids are named.
        """
        full = self.sync()
        if full.error is not None:
            raise AssertionError(f"the sync from the beginning failed: {full.error}")
        for number, checkpoint in enumerate(full.checkpoints, start=1):
            resumed = self.sync(checkpoint.cursor)
            name = f"the sync from checkpoint {number} ({checkpoint.cursor!r})"
            if resumed.error is not None:
                raise AssertionError(f"{name} failed: {resumed.error}")
            given = set(_names(resumed))
            lost = [each for each in _names(full, after=checkpoint) if each not in given]
            if lost:
                raise AssertionError(f"{name} lost {len(lost)} events: {', '.join(lost[:10])}")
        return full

    def execute(self, request: remediation.ExecuteRequest) -> remediation.ExecuteResult:
        """Execute an action of a remediation, with an approval of it unless the request has one.

        Raises:
            errors.PluginError: what the host is told when it was not done.
        """
        service = self._as(RemediationService)
        message = self._execute_message(request)
        result = self._told(lambda: service.execute(message, self._call()))
        answering.execute_message(result)
        return result

    def deliver(
        self, envelopes: Sequence[Mapping[str, Any] | bytes]
    ) -> list[destination.DeliveryResult]:
        """Deliver envelopes, each under its delivery key as from a host; one result for each.

        Args:
            envelopes: as JSON, which arrives byte for byte, or as the objects that they are. Each
                has a `kind` and a `record`; the product's have no `id`.

        Raises:
            errors.PluginError: what the host is told when none was delivered.
            ValueError: one is no envelope.
        """
        service = self._as(DestinationService)
        received = [answering.envelope_from(_outbound(envelope)) for envelope in envelopes]
        results = self._told(lambda: service.deliver(self._context(), received))
        for result in results:
            answering.delivery_message(result)
        return results

    def position(self, source: destination.SyncSource = _SOURCE) -> destination.Position | None:
        """Give where a destination that keeps checkpoints is in a sync; None: it keeps none.

        Args:
            source: which sync; the same one as for `deliver_and_store` where it is not said.

        Raises:
            errors.PluginError: what the host is told when it could not be found out.
        """
        service = self._as(DestinationService)
        found = self._told(lambda: service.position(self._context(), source))
        keeping.position_message(found)
        return found

    def deliver_and_store(
        self,
        envelopes: Sequence[Mapping[str, Any] | bytes],
        checkpoint: destination.SyncCheckpoint,
        *,
        replaces: bytes | None = None,
        source: destination.SyncSource = _SOURCE,
    ) -> destination.Delivered:
        """Deliver envelopes with a checkpoint after them, and hold what is stored against that.

        Args:
            envelopes: as for `deliver`; may be none.
            checkpoint: what is to be stored.
            replaces: the cursor that the host takes for stored; None: the one that is.
            source: which sync it is of.

        Raises:
            AssertionError: the checkpoint is stored although an envelope was not accepted, or
                another one than `replaces` was; or what is stored is not what the answer says.
            errors.PluginError: what the host is told when none was delivered.
            ValueError: one is no envelope.
        """
        service, before = self._as(DestinationService), _cursor(self.position(source))
        request = destination.StoreCheckpoint(
            source, checkpoint, before if replaces is None else replaces
        )
        keeping.store_message(request)
        received = [answering.envelope_from(_outbound(envelope)) for envelope in envelopes]
        delivered = self._told(
            lambda: service.deliver_and_store(self._context(), received, request)
        )
        for result in delivered.results:
            answering.delivery_message(result)
        _hold_stored(delivered, request, before, _cursor(self.position(source)))
        return delivered

    # ── inside ────────────────────────────────────────────────────────────────────────────────────

    def _invocation(self, config: Mapping[str, Any]) -> common_pb2.InvocationContext:
        message = common_pb2.InvocationContext(
            organization_id=_LOCAL,
            integration_id=_LOCAL,
            invocation_id="test",
            config_json=json.dumps(self._effective(config)).encode(),
            mode=f"MODE_{self._mode.name}",
            granted_scopes=self._scopes(),
        )
        if self._token is not None:
            message.token.value = self._token
        return message

    def _scopes(self) -> Sequence[str]:
        if self._granted_scopes is None and isinstance(self._service, RemediationService):
            actions = self._service.capabilities().actions
            return sorted({scope for action in actions for scope in action.scopes})
        return self._granted_scopes or ()

    def _execute_message(
        self, request: remediation.ExecuteRequest
    ) -> remediation_pb2.ExecuteRequest:
        self._context()  # which makes the invocation's message
        parameters = objects.encode_object(request.parameters)
        message = remediation_pb2.ExecuteRequest(
            context=self._message,
            action=request.action,
            target=request.target,
            parameters_json=parameters,
            idempotency_key=request.idempotency_key,
            dry_run=request.dry_run,
            target_type=request.target_type,
            context_json=objects.encode_object(request.context),
            after_unknown=request.is_after_unknown,
        )
        approval = request.approval
        if approval is None and not request.dry_run:
            bound = remediation.approval_sha256(request.action, request.target, parameters)
            approval = remediation.Approval(reference="test", sha256=bound)
        if approval is not None:
            message.approval.reference = approval.reference
            message.approval.sha256 = approval.sha256
        return message

    def _effective(self, config: Mapping[str, Any]) -> dict[str, Any]:
        declared = _declared(self._service).fields
        checked = fitting.check(declared, config)
        problems = [f"{key}: {text}" for key, text in checked.problems.items()]
        problems += [f"the plugin declares no field {key}" for key in checked.unknown]
        if problems:
            raise ValueError("the configuration does not fit the plugin: " + "; ".join(problems))
        hidden = {field.key for field in declared if field.host_only}
        return {key: value for key, value in checked.values.items() if key not in hidden}

    def _call(self, cancelled: threading.Event | None = None) -> Call:
        deadline = time.monotonic() + self._timeout_s
        return Call(cancelled or threading.Event(), deadline, self.state)

    def _context(self, cancelled: threading.Event | None = None) -> Context:
        if self._message is None:
            self._message = self._invocation({})
        return context_of(self._message, self._call(cancelled))

    def _as(self, kind: type[_Result]) -> _Result:
        if not isinstance(self._service, kind):
            raise TypeError(f"a {type(self._service).__name__} does not do this")
        return self._service

    def _told(self, call: Callable[[], _Result]) -> _Result:
        try:
            return call()
        except Exception as raised:
            raise _told_as(raised) from raised


class _Collected:
    """Takes the messages of one sync apart."""

    def __init__(self, rules: _Rules, most_events: int | None) -> None:
        self._rules = rules
        self._most_events = most_events
        self._events: list[SyncedEvent] = []
        self._checkpoints: list[SyncedCheckpoint] = []
        self._progress: list[connector.Progress] = []
        self._dead_letters: list[SyncedDeadLetter] = []
        self._doubts: list[str] = []
        self._findings: list[connector.Finding] = []
        self._entries: list[connector.AuditLogEntry] = []
        self._messages = 0

    def take(self, messages: Iterator[connector_pb2.SyncEvent]) -> None:
        for message in messages:
            self._messages += 1
            self._take(message)
            if self._most_events is not None and len(self._events) >= self._most_events:
                return

    def result(self, error: errors.PluginError | None) -> SyncResult:
        return SyncResult(
            tuple(self._events[: self._most_events]),
            tuple(self._checkpoints),
            tuple(self._progress),
            error,
            self._messages,
            tuple(self._dead_letters),
            tuple(self._doubts),
            tuple(self._findings),
            tuple(self._entries),
        )

    def _take(self, message: connector_pb2.SyncEvent) -> None:
        if message.HasField("checkpoint"):
            self._take_checkpoint(message.checkpoint)
        elif message.HasField("progress"):
            told = message.progress
            self._progress.append(
                connector.Progress(done=told.done, total=told.total, message=told.message)
            )
        elif message.HasField("dead_letter"):
            self._dead_letters.append(_letter(message.dead_letter))
        else:
            self._take_batch(message)

    def _take_checkpoint(self, message: connector_pb2.Checkpoint) -> None:
        if message.stream and message.stream not in self._rules.streams:
            said = f"checkpoint: stream {message.stream}: the schema does not declare it"
            raise errors.InvalidRecord(said)
        until = None
        if message.HasField("covers_until"):
            until = message.covers_until.ToDatetime(tzinfo=UTC)
        self._checkpoints.append(
            SyncedCheckpoint(
                message.cursor,
                len(self._events),
                message.stream,
                until,
                findings_before=len(self._findings),
                audit_log_before=len(self._entries),
            )
        )

    def _take_batch(self, message: connector_pb2.SyncEvent) -> None:
        """Take events, findings or entries.

        Raises:
            errors.InvalidRecord: one is not what the connector promises.
        """
        rules = self._rules
        for event in message.batch.events:
            flaws = rules.events.flaws(event.source_event_id, event.event_type)
            self._hold(f"event {event.source_event_id!r}", flaws, event.record_json)
            self._events.append(_synced(event))
        for finding in message.findings.findings:
            flaws = rules.findings.flaws(finding)
            self._hold(f"finding {finding.source_event_id!r}", flaws, finding.evidence_json)
            self._findings.append(_finding(finding))
        for entry in message.audit_log.entries:
            flaws = rules.audit_log.flaws(entry)
            self._hold(f"entry {entry.source_event_id!r}", flaws, entry.record_json)
            self._entries.append(_entry(entry))

    def _hold(self, subject: str, flaws: Iterable[Flaw], record: bytes) -> None:
        """Hold something against what the connector promises, and what others can store.

        Raises:
            errors.InvalidRecord: it is not as promised.
        """
        for flaw in flaws:
            raise errors.InvalidRecord(f"{subject}: {flaw.text}")
        if has_nul(record):
            self._doubts.append(f"{subject}: {NUL_DOUBT}")


def _names(result: SyncResult, after: SyncedCheckpoint | None = None) -> list[str]:
    """Return what tells apart all that a sync gave, or gave after a checkpoint."""
    events, findings, entries = (
        (after.events_before, after.findings_before, after.audit_log_before) if after else (0, 0, 0)
    )
    return [
        *(event.source_event_id for event in result.events[events:]),
        *(
            f"finding {f.rule_id} of {f.dedupe_target or f.target} ({f.status.name},"
            f" {f.source_event_id})"
            for f in result.findings[findings:]
        ),
        *(f"audit log entry {entry.source_event_id}" for entry in result.audit_log[entries:]),
    ]


def _actor(message: Any) -> connector.Actor | None:
    """Return the actor of an event, a finding or an entry."""
    if not message.HasField("actor"):
        return None
    return connector.Actor(
        **{field.name: getattr(message.actor, field.name) for field in fields(connector.Actor)}
    )


def _finding(message: connector_pb2.Finding) -> connector.Finding:
    names = connector_pb2.Finding
    return connector.Finding(
        rule_id=message.rule_id,
        title=message.title,
        target=message.target,
        severity=connector.FindingSeverity[
            names.Severity.Name(message.severity).removeprefix("SEVERITY_")
        ],
        risk_score=message.risk_score,
        occurred_at=message.occurred_at.ToDatetime(tzinfo=UTC),
        source_event_id=message.source_event_id,
        status=connector.FindingStatus[names.Status.Name(message.status).removeprefix("STATUS_")],
        description=message.description,
        remediation_steps=tuple(message.remediation_steps),
        dedupe_target=message.dedupe_target,
        event_type=message.event_type,
        actor=_actor(message),
        origin=message.origin,
        tags=tuple(message.tags),
        evidence=records.read_object(message.evidence_json) if message.evidence_json else None,
    )


def _entry(message: connector_pb2.AuditLogEntry) -> connector.AuditLogEntry:
    return connector.AuditLogEntry(
        source_event_id=message.source_event_id,
        action=message.action,
        occurred_at=message.occurred_at.ToDatetime(tzinfo=UTC),
        record=records.read_object(message.record_json),
        actor=_actor(message),
        origin=message.origin,
    )


def _outbound(envelope: Mapping[str, Any] | bytes) -> destination_pb2.OutboundEnvelope:
    data = envelope if isinstance(envelope, bytes) else objects.encode_object(envelope)
    key = destination.delivery_key(data, organization_id=_LOCAL, destination_id=_LOCAL)
    kind = json.loads(data)["kind"]
    return destination_pb2.OutboundEnvelope(id=key, kind=kind, envelope_json=data)


def _cursor(position: destination.Position | None) -> bytes:
    """Return the cursor that is stored; empty: none is."""
    return position.checkpoint.cursor if position and position.checkpoint else b""


def _hold_stored(
    delivered: destination.Delivered,
    request: destination.StoreCheckpoint,
    before: bytes,
    after: bytes,
) -> None:
    """Hold what is stored against what a destination says of it.

    Raises:
        AssertionError: it is something else, or must not be stored.
    """
    outcomes, cursor = destination.CheckpointOutcome, request.checkpoint.cursor
    if delivered.outcome is not outcomes.STORED:
        if after != before:
            raise AssertionError(f"{delivered.outcome.value}, but the stored cursor is {after!r}")
        return
    refused = [r.id for r in delivered.results if r.status is not destination.Status.ACCEPTED]
    if refused:
        raise AssertionError(f"stored, but {len(refused)} envelopes before it were not accepted")
    if not request.may_replace(before):
        raise AssertionError(f"stored over {before!r} in the place of {request.replaces!r}")
    if after != cursor:
        raise AssertionError(f"stored, but the stored cursor is {after!r}")


def _synced(message: connector_pb2.Event) -> SyncedEvent:
    return SyncedEvent(
        source_event_id=message.source_event_id,
        event_type=message.event_type,
        occurred_at=message.occurred_at.ToDatetime(tzinfo=UTC),
        record=records.read_object(message.record_json),
        actor=_actor(message),
        origin=message.origin,
        record_json=message.record_json,
        native_event_type=message.native_event_type,
    )


def _letter(message: connector_pb2.DeadLetter) -> SyncedDeadLetter:
    return SyncedDeadLetter(
        **{field.name: getattr(message, field.name) for field in fields(SyncedDeadLetter)}
    )


def _declared(
    service: ConnectorService | RemediationService | DestinationService,
) -> connector_pb2.SchemaResponse | capabilities_pb2.CapabilitiesResponse:
    """Return what a plugin declares, as the host receives it."""
    if isinstance(service, ConnectorService):
        return declaring.schema_message(service.schema())
    features = service.features if isinstance(service, DestinationService) else ()
    return declaring.capabilities_message(service.capabilities(), *features)


class _Rules:
    """What the schema promises of a sync.

    Args:
        schema: the message.
    """

    def __init__(self, schema: connector_pb2.SchemaResponse) -> None:
        features = schema.interface.features
        checks = [check.key for check in schema.checks]
        self.streams = {stream.name for stream in schema.streams}
        self.events = EventRules(schema.provider, schema.event_types)
        self.findings = FindingRules(schema.provider, checks, features)
        self.audit_log = AuditLogRules(features)


def _service(
    plugin: connector.Connector | remediation.Remediation | destination.Destination,
) -> ConnectorService | RemediationService | DestinationService:
    if isinstance(plugin, connector.Connector):
        return ConnectorService(plugin)
    if isinstance(plugin, remediation.Remediation):
        return RemediationService(plugin)
    return DestinationService(plugin)


def _told_as(raised: Exception) -> errors.PluginError:
    error = failure(raised)
    if error is not raised:
        error.__cause__ = raised
    return error


def _each(*actions: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        for action in actions:
            action()

    return run
