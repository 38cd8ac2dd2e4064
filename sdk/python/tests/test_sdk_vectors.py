"""The scenarios of sdk/testdata, which every SDK answers alike; see the README there."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin import (
    _event_rules,
    _services,
    connector,
    declarations,
    destination,
    errors,
    remediation,
    rest,
)
from aperio_plugin._connecting import ConnectorService
from aperio_plugin._convert import calls
from aperio_plugin._delivering import DestinationService
from aperio_plugin._event_rules import EventRules
from aperio_plugin._finding_rules import FindingRules
from aperio_plugin._generated.aperio.plugin.v1 import (
    capabilities_pb2,
    common_pb2,
    connector_pb2,
    destination_pb2,
    remediation_pb2,
)
from aperio_plugin._remediating import RemediationService
from aperio_plugin._services import Call
from aperio_plugin.testing import Harness
from google.protobuf import json_format

from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aperio_plugin._services import Service
    from google.protobuf.message import Message

TESTDATA = Path(__file__).resolve().parents[2] / "testdata"
TIMEOUT_S = 15.0
BUG_TEXT = "s3cret text of a bug"
KINDS: tuple[type[errors.PluginError], ...] = (
    errors.PluginError,
    *errors.PluginError.__subclasses__(),
    errors.ResultUnknown,
)
CAUSES = {kind.code: kind for kind in KINDS}


# ── reading the files ─────────────────────────────────────────────────────────────────────────────


def expanded(value: Any) -> Any:
    """A value of a file with its repeats written out."""
    if isinstance(value, dict):
        if value.keys() == {"repeat"}:
            text, times = value["repeat"]
            return text * times
        if value.keys() == {"joined"}:
            return "".join(expanded(part) for part in value["joined"])
        return {key: expanded(item) for key, item in value.items()}
    return [expanded(item) for item in value] if isinstance(value, list) else value


def cases(name: str) -> list[Any]:
    """The cases of a file, each with its name."""
    document = expanded(json.loads((TESTDATA / name).read_text(encoding="utf-8")))
    assert document.keys() - {"fields"} == {"about", "cases"}
    return list(document["cases"])


def message(kind: type[Message], value: dict[str, Any]) -> Message:
    """An expected message."""
    return json_format.ParseDict(value, kind())


def error_of(value: Any) -> Exception:
    """An error as a plugin makes it."""
    if value == "bug":
        return ValueError(BUG_TEXT)
    kind = CAUSES[value["code"]]
    attribute = tuple(value.get("attribute", ()))
    place: dict[str, Any] = {"field" if kind is errors.InvalidConfig else "attribute": attribute}
    error = kind(value["summary"], detail=value.get("detail", ""), **place)
    error.retry_after_s = value.get("retry_after_s")
    return error


def diagnostic_of(value: Mapping[str, Any]) -> errors.Diagnostic:
    """A diagnostic as a plugin makes it."""
    return errors.Diagnostic(
        value["summary"],
        value.get("detail", ""),
        value.get("code", ""),
        tuple(value.get("attribute", ())),
        errors.Severity(value.get("severity", "error")),
    )


# ── calling a service as the server does ──────────────────────────────────────────────────────────


class Told:
    """The error that the host is told."""

    def __init__(self, raised: BaseException) -> None:
        error = _services.failure(raised)
        self.status = error.status
        self.text = calls.status_text(error)
        self.diagnostics = calls.diagnostics_of(error)

    def assert_is(self, wanted: Mapping[str, Any]) -> None:
        (item,) = self.diagnostics.items
        assert (self.status, item.code) == (wanted["status"], wanted["code"])
        for text in wanted["mentions"]:
            assert text in self.text


def call(service: Service, method: str, request: Any) -> Any:
    """A unary answer, or what the host is told."""
    try:
        return service.methods()[method].answer(request, Call())
    except Exception as raised:  # noqa: BLE001 - the server catches everything, too
        return Told(raised)


def context(config: bytes = b"", **values: str) -> common_pb2.InvocationContext:
    return common_pb2.InvocationContext(
        organization_id=values.get("organization_id", "o"),
        integration_id=values.get("integration_id", "i"),
        invocation_id="v",
        config_json=config,
    )


class Scripted(connector.Connector):
    """A connector whose methods are given."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self._methods = methods

    def schema(self) -> connector.Schema:
        # The value comes from an untyped callable; its type is stated by the signature.
        return self._methods["schema"]()  # type: ignore[no-any-return]  # a vector says what

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        # The value comes from an untyped callable; its type is stated by the signature.
        return self._methods["test_connection"](context)  # type: ignore[no-any-return]  # a vector says what

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        del context, cursor
        # The value comes from an untyped callable; its type is stated by the signature.
        return self._methods["sync"]()  # type: ignore[no-any-return]  # a vector says what

    def oauth_callback(
        self, context: connector.Context, parameters: Mapping[str, str]
    ) -> Mapping[str, str]:
        # The value comes from an untyped callable; its type is stated by the signature.
        return self._methods["oauth_callback"](context, parameters)  # type: ignore[no-any-return]  # a vector says what


def synced(
    items: Callable[[], Iterator[connector.Item]],
    seen: Callable[[connector_pb2.SyncEvent], None] = lambda _message: None,
) -> tuple[list[connector_pb2.SyncEvent], Told | None]:
    """The messages of a sync, and how it fails."""
    service = ConnectorService(Scripted(sync=items))
    request = connector_pb2.SyncRequest(context=context())
    came: list[connector_pb2.SyncEvent] = []
    try:
        for item in service.methods()["Sync"].answer(request, Call()):
            came.append(item)
            seen(item)
    except Exception as raised:  # noqa: BLE001 - the server catches everything, too
        return came, Told(raised)
    return came, None


def assert_letter(
    letter: connector_pb2.DeadLetter, wanted: Mapping[str, str], identifier: str
) -> None:
    """The dead letter of an event says which one it is, and what is wrong."""
    assert letter.code == "record-invalid"
    assert identifier.startswith(letter.source_event_id)
    assert (letter.source_event_id == "") == (identifier == "")
    assert wanted["reason"] in letter.reason


# ── events ────────────────────────────────────────────────────────────────────────────────────────


@each_row("case", cases("events.json"))
def test_an_event_is_passed_on_or_becomes_a_dead_letter(case: dict[str, Any]) -> None:
    values = dict(case["event"])
    raw = values.pop("record_raw", None)
    if raw is not None:
        values["record"] = raw.encode()
    if "record_hex" in values:
        values["record"] = bytes.fromhex(values.pop("record_hex"))
    if "actor" in values:
        values["actor"] = connector.Actor(**values["actor"])

    came, told = synced(lambda: iter([connector.Event(**values)]))

    assert told is None
    if "dead_letter" in case:
        (item,) = came
        assert_letter(item.dead_letter, case["dead_letter"], values["source_event_id"])
        return
    (event,) = came[0].batch.events
    if "record_raw" in case:
        assert event.record_json == case["record_raw"].encode()
    else:
        assert json.loads(event.record_json) == case["record"]
    event.record_json = b""
    assert event == message(connector_pb2.Event, case["expect"])


@each_row("case", cases("times.json"))
def test_a_time_has_one_meaning(case: dict[str, Any]) -> None:
    event = connector.Event(
        source_event_id="e1", event_type="x.y", occurred_at=case["text"], record=b"{}"
    )
    ((item,), told) = synced(lambda: iter([event]))
    assert told is None
    if "error" in case:
        assert_letter(item.dead_letter, {"reason": case["error"]}, "e1")
        return
    (came,) = item.batch.events
    assert (came.occurred_at.seconds, came.occurred_at.nanos) == (case["seconds"], case["nanos"])


@each_row("case", cases("retry_after.json"))
def test_a_retry_after_has_one_meaning(case: dict[str, Any]) -> None:
    assert rest.retry_after_s(case["value"], 1_445_412_470) == case["seconds"]


def simple_event(**parts: Any) -> connector.Event:
    return connector.Event(
        **{"source_event_id": "e1", "event_type": "x.y", "occurred_at": 0, "record": b"{}"} | parts
    )


@each_row("case", cases("checkpoints.json"))
def test_a_checkpoint_says_what_it_covers(case: dict[str, Any]) -> None:
    parts = {**case["checkpoint"], "cursor": case["checkpoint"]["cursor"].encode()}
    came, told = synced(lambda: iter([simple_event(), connector.Checkpoint(**parts)]))
    assert len(came[0].batch.events) == 1
    if "error" in case:
        assert told is not None
        told.assert_is(case["error"])
        return
    assert told is None
    assert came[1].checkpoint == message(connector_pb2.Checkpoint, case["expect"])


class Asked(Scripted):
    """A connector that keeps what it is asked for."""

    def __init__(self, schema: connector.Schema) -> None:
        super().__init__(schema=lambda: schema)
        self.seen: list[dict[str, Any]] = []

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        asked = context.request
        since = asked.from_time.isoformat() if asked.from_time else ""
        self.seen.append(
            {
                "cursor": (cursor or b"").decode(),
                "from": since.replace("00000+00:00", "Z"),
                "streams": list(asked.streams),
                "event_types": list(asked.event_types),
            }
        )
        return iter(())


def sync_request_of(wanted: Mapping[str, Any]) -> connector_pb2.SyncRequest:
    request = connector_pb2.SyncRequest(
        context=context(),
        cursor=wanted.get("cursor", "").encode(),
        streams=wanted.get("streams", ()),
        event_types=wanted.get("event_types", ()),
    )
    since = getattr(request, "from")
    if "from" in wanted:
        since.FromJsonString(wanted["from"])
    if "from_seconds" in wanted:
        since.seconds = wanted["from_seconds"]
    return request


@each_row("case", cases("sync_requests.json"))
def test_a_request_for_a_sync_is_seen_or_refused(case: dict[str, Any]) -> None:
    streams = [{"name": name} for name in case["schema"].get("streams", ())]
    asked = Asked(schema_of({"provider": "X", "name": "X", **case["schema"], "streams": streams}))

    answer = call(ConnectorService(asked), "Sync", sync_request_of(case["request"]))

    if "error" in case:
        answer.assert_is(case["error"])
        assert asked.seen == []
    else:
        assert list(answer) == []
        assert asked.seen == [case["expect"]]


@each_row("case", cases("actors.json"))
def test_a_text_of_an_actor_is_cut_visibly(case: dict[str, Any]) -> None:
    made = simple_event(actor=connector.Actor(id="u1", display_name=case["text"]))
    ((item,), told) = synced(lambda: iter([made]))
    assert told is None
    (came,) = item.batch.events
    assert (came.actor.id, came.actor.display_name) == ("u1", case["expect"])


@each_row("case", cases("nul.json"))
def test_a_record_with_nul_passes_and_is_told(case: dict[str, Any]) -> None:
    made = simple_event(record=case["record"].encode())
    plugin = Scripted(
        schema=lambda: connector.Schema(provider="X", name="X"), sync=lambda *_: iter([made])
    )
    result = Harness(plugin).sync()
    assert [event.record_json for event in result.events] == [made.record]
    assert bool(result.doubts) is case["has_nul"]


@each_row("case", cases("limits.json"))
def test_an_event_passes_up_to_its_limits(case: dict[str, Any]) -> None:
    values = dict(case["event"])
    values["record"] = values["record"].encode()
    values["occurred_at"] = values.pop("seconds")
    if "actor" in values:
        values["actor"] = connector.Actor(**values["actor"])
    ((item,), told) = synced(lambda: iter([connector.Event(**values)]))
    assert told is None
    assert item.HasField("batch" if case["passes"] else "dead_letter")


# ── findings and audit log entries ────────────────────────────────────────────────────────────────


def severity_of(value: Any) -> Any:
    """A member, or whatever a careless author puts in its place."""
    return connector.FindingSeverity.__members__.get(value, value)


def authored(values: dict[str, Any], record: str) -> dict[str, Any]:
    """What an author gives: the record as bytes where it is encoded already, and an actor."""
    made = dict(values)
    if f"{record}_raw" in made:
        made[record] = made.pop(f"{record}_raw").encode()
    if "actor" in made:
        made["actor"] = connector.Actor(**made["actor"])
    return made


def assert_object(data: bytes, case: dict[str, Any], name: str) -> None:
    """The bytes of a JSON object are those of the case, or mean what it says."""
    if f"{name}_raw" in case:
        assert data == case[f"{name}_raw"].encode()
    else:
        assert (json.loads(data) if data else None) == case.get(name)


@each_row("case", cases("findings.json"))
def test_a_finding_is_passed_on_or_becomes_a_dead_letter(case: dict[str, Any]) -> None:
    values = authored(case["finding"], "evidence")
    values["severity"] = severity_of(values["severity"])
    if "status" in values:
        statuses = connector.FindingStatus.__members__
        values["status"] = statuses.get(values["status"], values["status"])

    ((item,), told) = synced(lambda: iter([connector.Finding(**values)]))

    assert told is None
    if "dead_letter" in case:
        assert_letter(item.dead_letter, case["dead_letter"], values["source_event_id"])
        assert item.dead_letter.reason.startswith("finding ")
        return
    (finding,) = item.findings.findings
    assert_object(finding.evidence_json, case, "evidence")
    finding.evidence_json = b""
    assert finding == message(connector_pb2.Finding, case["expect"])


@each_row("case", cases("audit_log.json"))
def test_an_audit_log_entry_is_passed_on_or_becomes_a_dead_letter(case: dict[str, Any]) -> None:
    values = authored(case["entry"], "record")

    ((item,), told) = synced(lambda: iter([connector.AuditLogEntry(**values)]))

    assert told is None
    if "dead_letter" in case:
        assert_letter(item.dead_letter, case["dead_letter"], values["source_event_id"])
        assert item.dead_letter.reason.startswith("audit log entry ")
        return
    (entry,) = item.audit_log.entries
    assert_object(entry.record_json, case, "record")
    entry.record_json = b""
    assert entry == message(connector_pb2.AuditLogEntry, case["expect"])


# ── batches ───────────────────────────────────────────────────────────────────────────────────────


class Received:
    """How many events the host has."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events = 0

    def add(self, message: connector_pb2.SyncEvent) -> None:
        with self._changed:
            self._events += len(message.batch.events)
            self._changed.notify_all()

    def wait(self, events: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._events >= events, TIMEOUT_S)


def a_finding(identifier: str, evidence_bytes: int) -> connector.Finding:
    return connector.Finding(
        source_event_id=identifier,
        rule_id="x.r",
        title="T",
        target="t",
        severity=connector.FindingSeverity.LOW,
        risk_score=20,
        occurred_at=0,
        evidence=b'{"x":"' + b"y" * (evidence_bytes - 8) + b'"}',
    )


def produced(items: Sequence[dict[str, Any]], received: Received) -> Iterator[connector.Item]:
    number = 0
    for item in items:
        (kind,) = item.keys() - {"record_bytes"}
        value = item[kind]
        if kind == "events":
            record = b'{"x":"' + b"y" * (item.get("record_bytes", 8) - 8) + b'"}'
            for _ in range(value):
                number += 1
                yield connector.Event(
                    source_event_id=f"e{number}", event_type="x.y", occurred_at=0, record=record
                )
        elif kind == "findings":
            yield from (a_finding(f"f{n}", item.get("record_bytes", 8)) for n in range(value))
        elif kind == "entries":
            yield from (
                connector.AuditLogEntry(
                    source_event_id=f"a{n}", action="y", occurred_at=0, record=b"{}"
                )
                for n in range(value)
            )
        elif kind == "checkpoint":
            yield connector.Checkpoint(value.encode())
        elif kind == "progress":
            yield connector.Progress(**value)
        elif kind == "dead_letter":
            yield connector.DeadLetter(**value)
        elif kind == "received":
            received.wait(value)
        else:
            assert kind == "error"
            raise error_of(value)


def described(message: connector_pb2.SyncEvent) -> str:
    if message.HasField("checkpoint"):
        return f"checkpoint {message.checkpoint.cursor.decode()}"
    if message.HasField("progress"):
        told = message.progress
        return f"progress {told.done}/{told.total} {told.message}"
    if message.HasField("dead_letter"):
        return f"dead letter {message.dead_letter.reason}"
    if message.HasField("findings"):
        return f"findings {len(message.findings.findings)}"
    if message.HasField("audit_log"):
        return f"entries {len(message.audit_log.entries)}"
    return str(len(message.batch.events))


def wanted_description(value: Any) -> str:
    if isinstance(value, str):
        return value
    if "checkpoint" in value:
        return f"checkpoint {value['checkpoint']}"
    told = value["progress"]
    return f"progress {told.get('done', 0)}/{told.get('total', 0)} {told['message']}"


@each_row("case", cases("batches.json"))
def test_a_sync_becomes_messages(case: dict[str, Any]) -> None:
    received = Received()
    came, told = synced(lambda: produced(case["items"], received), received.add)
    assert [described(item) for item in came] == list(map(wanted_description, case["expect"]))
    assert (told is not None) == ("error" in case)
    if told:
        told.assert_is(case["error"])


# ── dead letters ──────────────────────────────────────────────────────────────────────────────────


@each_row("case", cases("dead_letters.json"))
def test_a_dead_letter_always_passes(case: dict[str, Any]) -> None:
    values = dict(case["letter"])
    if "record_hex" in values:
        values["record"] = bytes.fromhex(values.pop("record_hex"))
    came, told = synced(lambda: iter([connector.DeadLetter(**values)]))
    assert told is None
    (item,) = came
    assert item.dead_letter == message(connector_pb2.DeadLetter, case["expect"])


# ── errors and diagnostics ────────────────────────────────────────────────────────────────────────


@each_row("case", cases("errors.json"))
def test_an_error_becomes_a_status_with_diagnostics(case: dict[str, Any]) -> None:
    def fail(*_arguments: object) -> None:
        raise error_of(case["error"])

    service = ConnectorService(Scripted(oauth_callback=fail))
    request = connector_pb2.OAuthCallbackRequest(context=context())

    told = call(service, "OAuthCallback", request)

    wanted = case["expect"]
    assert told.status == wanted["status"]
    if case["error"] == "bug":
        assert told.diagnostics.items[0].code == wanted["code"]
        assert BUG_TEXT not in f"{told.text} {told.diagnostics}"
        return
    assert told.text == wanted["message"]
    assert told.diagnostics == message(common_pb2.Diagnostics, wanted["diagnostics"])


def test_every_error_of_the_sdk_is_in_the_scenarios() -> None:
    document = json.loads((TESTDATA / "errors.json").read_text(encoding="utf-8"))
    told = [case["error"]["code"] for case in document["cases"] if case["error"] != "bug"]
    assert set(told) == set(CAUSES)


@each_row("case", cases("diagnostics.json"))
def test_a_diagnostic_is_passed_on(case: dict[str, Any]) -> None:
    result = connector.TestResult(ok=True, diagnostics=(diagnostic_of(case["diagnostic"]),))
    service = ConnectorService(Scripted(test_connection=lambda _context: result))
    answer = call(service, "TestConnection", connector_pb2.TestRequest(context=context()))
    assert list(answer.diagnostics) == [message(common_pb2.Diagnostic, case["expect"])]


# ── declarations ──────────────────────────────────────────────────────────────────────────────────


def field_of(value: Mapping[str, Any]) -> declarations.Field:
    kind = declarations.FieldType(value.get("type", "text"))
    return declarations.Field(**{**value, "type": kind})


def auth_of(value: Mapping[str, Any]) -> declarations.Auth:
    ((method, parts),) = value.items()
    if method == "api_key":
        return declarations.ApiKey(**parts)
    grants = [declarations.Grant(grant) for grant in parts["grants"]]
    return declarations.OAuth2(**{**parts, "grants": grants})


def hinted(kind: Any, value: Mapping[str, Any]) -> Any:
    parts = dict(value)
    if "severity_hint" in parts:
        parts["severity_hint"] = declarations.SeverityHint(parts["severity_hint"])
    if "response_kind" in parts:
        parts["response_kind"] = remediation.ResponseKind(parts["response_kind"])
    if "parameters" in parts:
        parts["parameters"] = list(map(field_of, parts["parameters"]))
    return kind(**parts)


def common_of(value: Mapping[str, Any]) -> dict[str, Any]:
    parts = {**value, "fields": list(map(field_of, value.get("fields", ())))}
    if "auth" in parts:
        parts["auth"] = auth_of(parts["auth"])
    return parts


def schema_of(value: Mapping[str, Any]) -> connector.Schema:
    parts = common_of(value)
    parts["checks"] = [hinted(connector.Check, check) for check in value.get("checks", ())]
    parts["actions"] = [hinted(connector.Action, action) for action in value.get("actions", ())]
    parts["features"] = list(map(connector.Feature, value.get("features", ())))
    parts["streams"] = [connector.Stream(**stream) for stream in value.get("streams", ())]
    mappings = value.get("event_mappings", ())
    parts["event_mappings"] = [connector.EventMapping(**mapping) for mapping in mappings]
    if "availability" in parts:
        parts["availability"] = connector.Availability(parts["availability"])
    return connector.Schema(**parts)


def remediation_of(value: Mapping[str, Any]) -> remediation.Capabilities:
    actions = [hinted(remediation.Action, action) for action in value["actions"]]
    return remediation.Capabilities(**{**common_of(value), "actions": actions})


def destination_of(value: Mapping[str, Any]) -> destination.Capabilities:
    streams = [destination.Stream(stream) for stream in value["streams"]]
    return destination.Capabilities(**{**common_of(value), "streams": streams})


def declared(case: Mapping[str, Any]) -> Any:
    if "schema" in case:
        service = ConnectorService(Scripted(schema=lambda: schema_of(case["schema"])))
        return call(service, "Schema", connector_pb2.SchemaRequest())
    request = capabilities_pb2.CapabilitiesRequest()
    if "remediation" in case:
        acting = Acting(remediation_of(case["remediation"]))
        return call(RemediationService(acting), "Capabilities", request)
    delivering = Delivering([], None, destination_of(case["destination"]))
    return call(DestinationService(delivering), "Capabilities", request)


@each_row("case", cases("declarations.json"))
def test_a_declaration_becomes_a_message(
    case: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    answer = declared(case)
    if "invalid" not in case:
        assert answer == message(type(answer), case["expect"])
        return
    assert answer.status == "INTERNAL"
    assert caplog.records[0].exc_info
    for text in case["invalid"]:
        assert text in str(caplog.records[0].exc_info[1])


# ── idempotency ───────────────────────────────────────────────────────────────────────────────────


class Acting(remediation.Remediation):
    """A remediation that answers what it is told to."""

    def __init__(self, capabilities: remediation.Capabilities) -> None:
        self._capabilities = capabilities
        self.step: dict[str, Any] = {}
        self.asked = False

    def capabilities(self) -> remediation.Capabilities:
        return self._capabilities

    def execute(
        self, context: remediation.Context, request: remediation.ExecuteRequest
    ) -> remediation.ExecuteResult:
        del context
        self.asked = True
        assert request.is_after_unknown is self.step.get("after_unknown", request.is_after_unknown)
        if "raises" in self.step:
            raise error_of(self.step["raises"])
        answer = self.step["answer"]
        changes = [
            remediation.Change(tuple(change["attribute"]), change["before"], change["after"])
            for change in answer.get("changes", ())
        ]
        return remediation.ExecuteResult(
            outcome=remediation.Outcome(answer["outcome"]),
            changes=changes,
            diagnostics=list(map(diagnostic_of, answer.get("diagnostics", ()))),
            provider_request_id=answer.get("provider_request_id", ""),
        )


ACTIONS = remediation.Capabilities(
    provider="X",
    name="X",
    actions=[
        remediation.Action(
            key="x.act", label="A", target_types=["t"], supports_dry_run=True,
            scopes=["users.write"],
        ),
        remediation.Action(
            key="x.blunt", label="B", target_types=["user", "group"],
            required_context=["session_id"],
        ),
        remediation.Action(key="x.free", label="C", target_types=["t"], approval_optional=True),
    ],
)  # fmt: skip


def execute_request(values: Mapping[str, Any]) -> remediation_pb2.ExecuteRequest:
    parameters = values.get("parameters_raw", json.dumps(values.get("parameters", {}))).encode()
    bound = remediation.approval_sha256(values["action"], values["target"], parameters)
    given = {"reference": values.get("reference", "r"), "sha256": bound}
    invocation = context(
        **{name: text for name, text in values.items() if name.endswith("ation_id")}
    )
    invocation.mode = invocation.Mode.Value(values.get("mode", "MODE_REMEDIATION"))
    invocation.granted_scopes.extend(values.get("granted_scopes", ["users.write"]))
    return remediation_pb2.ExecuteRequest(
        context=invocation,
        action=values["action"],
        target=values["target"],
        idempotency_key=values["idempotency_key"],
        parameters_json=parameters,
        dry_run=values.get("dry_run", False),
        target_type=values.get("target_type", ""),
        context_json=json.dumps(values.get("context", {})).encode(),
        approval=values.get("approval", given),
        after_unknown=values.get("after_unknown", False),
    )


@each_row("case", cases("idempotency.json"))
def test_an_action_is_executed_once(case: dict[str, Any]) -> None:
    acting = Acting(ACTIONS)
    service = RemediationService(acting)
    for step in case["steps"]:
        acting.step, acting.asked = step, False
        answer = call(service, "Execute", execute_request(step["request"]))
        if "error" in step:
            answer.assert_is(step["error"])
        else:
            assert answer == message(remediation_pb2.ExecuteResponse, step["expect"])
        assert acting.asked == step["asked"]


# ── deliveries ────────────────────────────────────────────────────────────────────────────────────


class Delivering(destination.Destination):
    """A destination that gives these answers, and fails perhaps."""

    def __init__(
        self,
        answers: Sequence[Mapping[str, Any]],
        raises: Any,
        capabilities: destination.Capabilities,
    ) -> None:
        self._answers = answers
        self._raises = raises
        self._capabilities = capabilities

    def capabilities(self) -> destination.Capabilities:
        return self._capabilities

    def deliver(
        self, context: destination.Context, envelopes: Sequence[destination.Envelope]
    ) -> Iterator[destination.DeliveryResult]:
        del context, envelopes
        for answer in self._answers:
            yield destination.DeliveryResult(
                answer["id"],
                destination.Status(answer["status"]),
                diagnostic_of(answer) if "summary" in answer else None,
                answer.get("retry_after_s"),
            )
        if self._raises is not None:
            raise error_of(self._raises)


@each_row("case", cases("deliveries.json"))
def test_every_envelope_has_a_result(case: dict[str, Any]) -> None:
    capabilities = destination.Capabilities(provider="X", name="X", streams=())
    service = DestinationService(Delivering(case["answers"], case.get("raises"), capabilities))
    envelopes = [
        destination_pb2.OutboundEnvelope(envelope_json=b"{}", **envelope)
        for envelope in case["envelopes"]
    ]
    request = destination_pb2.DeliverRequest(context=context(), envelopes=envelopes)

    answer = call(service, "Deliver", request)

    if "error" in case:
        answer.assert_is(case["error"])
    else:
        assert answer == message(destination_pb2.DeliverResponse, case["expect"])


class Keeping(Delivering, destination.CheckpointKeeper):
    """One that keeps checkpoints, and remembers what it was asked."""

    def __init__(self, case: Mapping[str, Any]) -> None:
        capabilities = destination.Capabilities(provider="X", name="X", streams=())
        super().__init__(case.get("answers", ()), case.get("raises"), capabilities)
        self._case = case
        self.seen: list[Any] = []

    def position(
        self, context: destination.Context, source: destination.SyncSource
    ) -> destination.Position | None:
        del context
        self.seen.append({"connector": source.connector, "choice": source.choice})
        found = self._case["position"]
        if self._raises is not None:
            raise error_of(self._raises)
        if not found:
            return None if found is None else destination.Position()
        made = destination.SyncCheckpoint(
            found["cursor"].encode(),
            found.get("covered", {}),
            found.get("connector_version", ""),
        )
        return destination.Position(made, found.get("stored_at"))

    def deliver_and_store(
        self,
        context: destination.Context,
        envelopes: Sequence[destination.Envelope],
        request: destination.StoreCheckpoint,
    ) -> destination.Delivered:
        source, checkpoint = request.source, request.checkpoint
        self.seen.append({
            "connector": source.connector,
            "choice": source.choice,
            "cursor": checkpoint.cursor.decode(),
            "covered": checkpoint.covered,
            "connector_version": checkpoint.connector_version,
            "replaces": request.replaces.decode(),
        })  # fmt: skip
        results = list(self.deliver(context, envelopes))
        return destination.Delivered(results, destination.CheckpointOutcome(self._case["outcome"]))


def keeping_service(case: Mapping[str, Any]) -> tuple[Keeping, DestinationService]:
    """A destination of a case, and the service around it, or around one without the feature."""
    plugin = Keeping(case)
    plain = Delivering((), None, plugin.capabilities())
    return plugin, DestinationService(plugin if case.get("keeps", True) else plain)


@each_row("case", cases("positions.json"))
def test_a_destination_says_where_it_is_in_a_sync(case: dict[str, Any]) -> None:
    plugin, service = keeping_service(case)
    source = destination_pb2.SyncSource(**case["source"])
    request = destination_pb2.PositionRequest(context=context(), source=source)

    answer = call(service, "Position", request)

    if "error" in case:
        answer.assert_is(case["error"])
    else:
        assert answer == message(destination_pb2.PositionResponse, case["expect"])
        assert plugin.seen == [case["source"]]


@each_row("case", cases("stored_checkpoints.json"))
def test_a_checkpoint_goes_with_its_envelopes(case: dict[str, Any]) -> None:
    plugin, service = keeping_service(case)
    envelopes = [
        destination_pb2.OutboundEnvelope(envelope_json=b"{}", **envelope)
        for envelope in case["envelopes"]
    ]
    request = destination_pb2.DeliverRequest(context=context(), envelopes=envelopes)
    request.checkpoint.CopyFrom(message(destination_pb2.StoreCheckpoint, case["asked"]))

    answer = call(service, "Deliver", request)

    if "error" in case:
        answer.assert_is(case["error"])
    else:
        assert answer == message(destination_pb2.DeliverResponse, case["expect"])
    if sees := case.get("sees"):
        times = {name: datetime.fromisoformat(text) for name, text in sees["covered"].items()}
        assert plugin.seen == [sees | {"covered": times}]


# ── settings ──────────────────────────────────────────────────────────────────────────────────────


@each_row("case", cases("settings.json"))
def test_a_setting_is_read_or_refused(case: dict[str, Any]) -> None:
    got: list[Any] = []

    def read(context: connector.Context, _parameters: object) -> dict[str, str]:
        method = getattr(context.config, case["read"])
        default = {"default": case["default"]} if "default" in case else {}
        got.append(method(case["key"], **default))
        return {}

    config = bytes.fromhex(case["config_hex"]) if "config_hex" in case else case["config"].encode()
    service = ConnectorService(Scripted(oauth_callback=read))
    request = connector_pb2.OAuthCallbackRequest(context=context(config))

    answer = call(service, "OAuthCallback", request)

    if "refused" in case:
        answer.assert_is(case["refused"])
    elif "error" in case:
        (item,) = answer.diagnostics.items
        wanted = {key: value for key, value in case["error"].items() if key != "code"}
        made = errors.InvalidConfig(wanted["summary"], field=tuple(wanted["attribute"]))
        assert item == calls.diagnostic_message(made.diagnostic)
    else:
        assert got == [case["value"]]
        assert type(got[0]) is type(case["value"])


# ── deliveries ────────────────────────────────────────────────────────────────────────────────────


@each_row("case", cases("delivery_keys.json"))
def test_an_envelope_has_one_delivery_key(case: dict[str, Any]) -> None:
    call = {key: case[key] for key in ("organization_id", "destination_id")}
    if "error" in case:
        with pytest.raises(ValueError, match=r"expected|JSON|property|Extra data"):
            destination.delivery_key(case["envelope"].encode(), **call)
    else:
        assert destination.delivery_key(case["envelope"].encode(), **call) == case["key"]


def test_an_envelope_as_an_object_has_the_key_of_its_json() -> None:
    call = {"organization_id": "org_1", "destination_id": "siem_1"}
    envelope = {"kind": "event", "record": {"id": 1234567, "text": "<\ud83d"}}
    text = json.dumps(envelope).encode()
    assert destination.delivery_key(envelope, **call) == destination.delivery_key(text, **call)


@pytest.mark.parametrize("data", [b'{"kind":"event","record":{"id":"\xff"}}', b"[" * 100_000])
def test_what_cannot_be_read_has_no_delivery_key(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"utf-8|nested|Expecting"):
        destination.delivery_key(data, organization_id="o", destination_id="d")


ENVELOPE = destination.Envelope("e1", destination.Stream.EVENT, b"{}")


@each_row("case", cases("request_failures.json"))
def test_a_request_that_failed_has_a_meaning_for_its_envelope(case: dict[str, Any]) -> None:
    error = error_of(case["error"])
    assert isinstance(error, errors.PluginError)
    error.http_status = case["error"]["http_status"] or None
    if case["expect"] == "raised":
        with pytest.raises(type(error)) as caught:
            destination.result_of(ENVELOPE, error)
        assert caught.value is error
        return
    result = destination.result_of(ENVELOPE, error)
    wait_s = case["error"].get("retry_after_s") if case["expect"] == "retry" else None
    assert (result.id, result.status.value, result.retry_after_s) == ("e1", case["expect"], wait_s)
    code = "argument-invalid" if case["expect"] == "rejected" else case["error"]["code"]
    assert result.diagnostic == errors.Diagnostic("said", code=code)


@each_row("case", cases("signatures.json"))
def test_a_body_has_one_signature(case: dict[str, Any]) -> None:
    assert destination.sign_hmac(case["body"].encode(), case["secret"]) == case["signature"]


@each_row("case", cases("public_addresses.json"))
def test_an_address_is_of_a_public_host_or_refused(case: dict[str, Any]) -> None:
    if case["is_public"]:
        rest.require_public(case["address"])
        return
    with pytest.raises(errors.InvalidConfig, match=r"^intake_url ") as caught:
        rest.require_public(case["address"], field="intake_url")
    assert caught.value.attribute == ("intake_url",)


# ── what settings and events have to be ───────────────────────────────────────────────────────────


class Configured(Scripted):
    """A connector with the fields of fitting.json, which tells its settings."""

    def schema(self) -> connector.Schema:
        document = json.loads((TESTDATA / "fitting.json").read_text(encoding="utf-8"))
        return connector.Schema(
            provider="X", name="X", fields=list(map(field_of, document["fields"]))
        )

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        return connector.TestResult(ok=True, account={"seen": json.dumps(dict(context.config))})


@each_row("case", cases("fitting.json"))
def test_settings_fit_or_are_refused(case: dict[str, Any]) -> None:
    if "error" not in case:
        harness = Harness(Configured(), config=case["config"])
        seen = json.loads(harness.test_connection().account["seen"])
        assert seen == case["expect"]
        return
    with pytest.raises(ValueError, match="the configuration does not fit") as caught:
        Harness(Configured(), config=case["config"])
    for text in case["error"]:
        assert text in str(caught.value)


@each_row("case", cases("event_rules.json"))
def test_events_keep_what_is_declared(case: dict[str, Any]) -> None:
    rules = EventRules("BOX", case["event_types"])
    for identity, kind, wanted in case["events"]:
        found = [
            ("breach" if f.is_breach else "doubt", f.text) for f in rules.flaws(identity, kind)
        ]
        assert [grave for grave, _ in found] == ([wanted[0]] if wanted else [])
        assert not wanted or wanted[1] in found[0][1]


@each_row("case", cases("finding_rules.json"))
def test_findings_keep_what_is_declared(case: dict[str, Any]) -> None:
    rules = FindingRules("BOX", case["checks"], case["features"])
    for rule, target, status, identity, kind, wanted in case["findings"]:
        finding = connector_pb2.Finding(
            rule_id=rule,
            target="shown" if target == "u" else target,
            dedupe_target="u" if target == "u" else "",
            status=f"STATUS_{status}",
            source_event_id=identity,
            event_type=kind,
        )
        found = [("breach" if f.is_breach else "doubt", f.text) for f in rules.flaws(finding)]
        assert [grave for grave, _ in found] == ([wanted[0]] if wanted else [])
        assert not wanted or wanted[1] in found[0][1]


def test_a_sync_remembers_findings_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_event_rules, "REMEMBERED_IDS", 2)
    seen = _event_rules.Remembered()

    new = [seen.add(number) for number in (1, 2, 2, 3, 1, 4, 5, 1)]

    assert new == [True, True, False, True, False, True, True, True]


def test_an_error_of_a_connection_test_keeps_its_wait() -> None:
    def fail(_context: object) -> None:
        raise errors.RateLimited("too many calls", retry_after_s=120)

    service = ConnectorService(Scripted(test_connection=fail))
    answer = call(service, "TestConnection", connector_pb2.TestRequest(context=context()))

    assert (answer.ok, answer.retry_after.seconds) == (False, 120)
    assert [item.code for item in answer.diagnostics] == ["rate-limited"]
