import datetime

from aperio_plugin._generated.aperio.plugin.v1 import common_pb2 as _common_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SchemaRequest(_message.Message):
    __slots__ = ("context",)
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.InvocationContext
    def __init__(self, context: _Optional[_Union[_common_pb2.InvocationContext, _Mapping]] = ...) -> None: ...

class SchemaResponse(_message.Message):
    __slots__ = ("interface", "provider", "name", "category", "availability", "description", "docs_url", "read_scopes", "remediation_scopes", "fields", "auth", "checks", "remediation_actions", "event_types", "readiness_note", "account_id_field", "streams", "event_mappings")
    class Availability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        AVAILABILITY_UNSPECIFIED: _ClassVar[SchemaResponse.Availability]
        AVAILABILITY_PRODUCTION_READY: _ClassVar[SchemaResponse.Availability]
        AVAILABILITY_PREVIEW: _ClassVar[SchemaResponse.Availability]
    AVAILABILITY_UNSPECIFIED: SchemaResponse.Availability
    AVAILABILITY_PRODUCTION_READY: SchemaResponse.Availability
    AVAILABILITY_PREVIEW: SchemaResponse.Availability
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    AVAILABILITY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DOCS_URL_FIELD_NUMBER: _ClassVar[int]
    READ_SCOPES_FIELD_NUMBER: _ClassVar[int]
    REMEDIATION_SCOPES_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    AUTH_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    REMEDIATION_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    READINESS_NOTE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    EVENT_MAPPINGS_FIELD_NUMBER: _ClassVar[int]
    interface: _common_pb2.Interface
    provider: str
    name: str
    category: str
    availability: SchemaResponse.Availability
    description: str
    docs_url: str
    read_scopes: _containers.RepeatedScalarFieldContainer[str]
    remediation_scopes: _containers.RepeatedScalarFieldContainer[str]
    fields: _containers.RepeatedCompositeFieldContainer[_common_pb2.ConfigField]
    auth: _common_pb2.Auth
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    remediation_actions: _containers.RepeatedCompositeFieldContainer[RemediationAction]
    event_types: _containers.RepeatedScalarFieldContainer[str]
    readiness_note: str
    account_id_field: str
    streams: _containers.RepeatedCompositeFieldContainer[Stream]
    event_mappings: _containers.RepeatedCompositeFieldContainer[EventMapping]
    def __init__(self, interface: _Optional[_Union[_common_pb2.Interface, _Mapping]] = ..., provider: _Optional[str] = ..., name: _Optional[str] = ..., category: _Optional[str] = ..., availability: _Optional[_Union[SchemaResponse.Availability, str]] = ..., description: _Optional[str] = ..., docs_url: _Optional[str] = ..., read_scopes: _Optional[_Iterable[str]] = ..., remediation_scopes: _Optional[_Iterable[str]] = ..., fields: _Optional[_Iterable[_Union[_common_pb2.ConfigField, _Mapping]]] = ..., auth: _Optional[_Union[_common_pb2.Auth, _Mapping]] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ..., remediation_actions: _Optional[_Iterable[_Union[RemediationAction, _Mapping]]] = ..., event_types: _Optional[_Iterable[str]] = ..., readiness_note: _Optional[str] = ..., account_id_field: _Optional[str] = ..., streams: _Optional[_Iterable[_Union[Stream, _Mapping]]] = ..., event_mappings: _Optional[_Iterable[_Union[EventMapping, _Mapping]]] = ...) -> None: ...

class Stream(_message.Message):
    __slots__ = ("name", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class EventMapping(_message.Message):
    __slots__ = ("event_type", "product_event_type")
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    event_type: str
    product_event_type: str
    def __init__(self, event_type: _Optional[str] = ..., product_event_type: _Optional[str] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("key", "title", "description", "severity_hint", "enabled_by_default")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_HINT_FIELD_NUMBER: _ClassVar[int]
    ENABLED_BY_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    key: str
    title: str
    description: str
    severity_hint: _common_pb2.SeverityHint
    enabled_by_default: bool
    def __init__(self, key: _Optional[str] = ..., title: _Optional[str] = ..., description: _Optional[str] = ..., severity_hint: _Optional[_Union[_common_pb2.SeverityHint, str]] = ..., enabled_by_default: _Optional[bool] = ...) -> None: ...

class RemediationAction(_message.Message):
    __slots__ = ("key", "label", "description", "severity_hint")
    KEY_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_HINT_FIELD_NUMBER: _ClassVar[int]
    key: str
    label: str
    description: str
    severity_hint: _common_pb2.SeverityHint
    def __init__(self, key: _Optional[str] = ..., label: _Optional[str] = ..., description: _Optional[str] = ..., severity_hint: _Optional[_Union[_common_pb2.SeverityHint, str]] = ...) -> None: ...

class TestRequest(_message.Message):
    __slots__ = ("context",)
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.InvocationContext
    def __init__(self, context: _Optional[_Union[_common_pb2.InvocationContext, _Mapping]] = ...) -> None: ...

class TestResponse(_message.Message):
    __slots__ = ("ok", "diagnostics", "account", "retry_after")
    class AccountEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    OK_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTICS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    diagnostics: _containers.RepeatedCompositeFieldContainer[_common_pb2.Diagnostic]
    account: _containers.ScalarMap[str, str]
    retry_after: _duration_pb2.Duration
    def __init__(self, ok: _Optional[bool] = ..., diagnostics: _Optional[_Iterable[_Union[_common_pb2.Diagnostic, _Mapping]]] = ..., account: _Optional[_Mapping[str, str]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("context", "cursor", "streams", "event_types")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.InvocationContext
    cursor: bytes
    streams: _containers.RepeatedScalarFieldContainer[str]
    event_types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, context: _Optional[_Union[_common_pb2.InvocationContext, _Mapping]] = ..., cursor: _Optional[bytes] = ..., streams: _Optional[_Iterable[str]] = ..., event_types: _Optional[_Iterable[str]] = ..., **kwargs) -> None: ...

class SyncEvent(_message.Message):
    __slots__ = ("batch", "checkpoint", "progress", "dead_letter", "findings", "audit_log")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_LOG_FIELD_NUMBER: _ClassVar[int]
    batch: EventBatch
    checkpoint: Checkpoint
    progress: Progress
    dead_letter: DeadLetter
    findings: FindingBatch
    audit_log: AuditLogBatch
    def __init__(self, batch: _Optional[_Union[EventBatch, _Mapping]] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., dead_letter: _Optional[_Union[DeadLetter, _Mapping]] = ..., findings: _Optional[_Union[FindingBatch, _Mapping]] = ..., audit_log: _Optional[_Union[AuditLogBatch, _Mapping]] = ...) -> None: ...

class EventBatch(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("source_event_id", "event_type", "occurred_at", "actor", "origin", "record_json", "native_event_type")
    SOURCE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RECORD_JSON_FIELD_NUMBER: _ClassVar[int]
    NATIVE_EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    source_event_id: str
    event_type: str
    occurred_at: _timestamp_pb2.Timestamp
    actor: Actor
    origin: str
    record_json: bytes
    native_event_type: str
    def __init__(self, source_event_id: _Optional[str] = ..., event_type: _Optional[str] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[_Union[Actor, _Mapping]] = ..., origin: _Optional[str] = ..., record_json: _Optional[bytes] = ..., native_event_type: _Optional[str] = ...) -> None: ...

class Actor(_message.Message):
    __slots__ = ("id", "email", "display_name", "type", "ip_address")
    ID_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    IP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    id: str
    email: str
    display_name: str
    type: str
    ip_address: str
    def __init__(self, id: _Optional[str] = ..., email: _Optional[str] = ..., display_name: _Optional[str] = ..., type: _Optional[str] = ..., ip_address: _Optional[str] = ...) -> None: ...

class FindingBatch(_message.Message):
    __slots__ = ("findings",)
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("rule_id", "title", "description", "severity", "risk_score", "remediation_steps", "target", "dedupe_target", "status", "occurred_at", "source_event_id", "event_type", "actor", "origin", "tags", "evidence_json")
    class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SEVERITY_UNSPECIFIED: _ClassVar[Finding.Severity]
        SEVERITY_INFO: _ClassVar[Finding.Severity]
        SEVERITY_LOW: _ClassVar[Finding.Severity]
        SEVERITY_MEDIUM: _ClassVar[Finding.Severity]
        SEVERITY_HIGH: _ClassVar[Finding.Severity]
        SEVERITY_CRITICAL: _ClassVar[Finding.Severity]
    SEVERITY_UNSPECIFIED: Finding.Severity
    SEVERITY_INFO: Finding.Severity
    SEVERITY_LOW: Finding.Severity
    SEVERITY_MEDIUM: Finding.Severity
    SEVERITY_HIGH: Finding.Severity
    SEVERITY_CRITICAL: Finding.Severity
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Finding.Status]
        STATUS_OPEN: _ClassVar[Finding.Status]
        STATUS_RESOLVED: _ClassVar[Finding.Status]
        STATUS_MUTED: _ClassVar[Finding.Status]
    STATUS_UNSPECIFIED: Finding.Status
    STATUS_OPEN: Finding.Status
    STATUS_RESOLVED: Finding.Status
    STATUS_MUTED: Finding.Status
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    RISK_SCORE_FIELD_NUMBER: _ClassVar[int]
    REMEDIATION_STEPS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DEDUPE_TARGET_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_JSON_FIELD_NUMBER: _ClassVar[int]
    rule_id: str
    title: str
    description: str
    severity: Finding.Severity
    risk_score: int
    remediation_steps: _containers.RepeatedScalarFieldContainer[str]
    target: str
    dedupe_target: str
    status: Finding.Status
    occurred_at: _timestamp_pb2.Timestamp
    source_event_id: str
    event_type: str
    actor: Actor
    origin: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    evidence_json: bytes
    def __init__(self, rule_id: _Optional[str] = ..., title: _Optional[str] = ..., description: _Optional[str] = ..., severity: _Optional[_Union[Finding.Severity, str]] = ..., risk_score: _Optional[int] = ..., remediation_steps: _Optional[_Iterable[str]] = ..., target: _Optional[str] = ..., dedupe_target: _Optional[str] = ..., status: _Optional[_Union[Finding.Status, str]] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source_event_id: _Optional[str] = ..., event_type: _Optional[str] = ..., actor: _Optional[_Union[Actor, _Mapping]] = ..., origin: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., evidence_json: _Optional[bytes] = ...) -> None: ...

class AuditLogBatch(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[AuditLogEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[AuditLogEntry, _Mapping]]] = ...) -> None: ...

class AuditLogEntry(_message.Message):
    __slots__ = ("source_event_id", "action", "occurred_at", "actor", "origin", "record_json")
    SOURCE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RECORD_JSON_FIELD_NUMBER: _ClassVar[int]
    source_event_id: str
    action: str
    occurred_at: _timestamp_pb2.Timestamp
    actor: Actor
    origin: str
    record_json: bytes
    def __init__(self, source_event_id: _Optional[str] = ..., action: _Optional[str] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[_Union[Actor, _Mapping]] = ..., origin: _Optional[str] = ..., record_json: _Optional[bytes] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("cursor", "stream", "covers_until")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    COVERS_UNTIL_FIELD_NUMBER: _ClassVar[int]
    cursor: bytes
    stream: str
    covers_until: _timestamp_pb2.Timestamp
    def __init__(self, cursor: _Optional[bytes] = ..., stream: _Optional[str] = ..., covers_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("reason", "code", "source_event_id", "position", "event_type", "origin", "excerpt", "record_bytes")
    REASON_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    EXCERPT_FIELD_NUMBER: _ClassVar[int]
    RECORD_BYTES_FIELD_NUMBER: _ClassVar[int]
    reason: str
    code: str
    source_event_id: str
    position: str
    event_type: str
    origin: str
    excerpt: str
    record_bytes: int
    def __init__(self, reason: _Optional[str] = ..., code: _Optional[str] = ..., source_event_id: _Optional[str] = ..., position: _Optional[str] = ..., event_type: _Optional[str] = ..., origin: _Optional[str] = ..., excerpt: _Optional[str] = ..., record_bytes: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("done", "total", "message")
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    done: int
    total: int
    message: str
    def __init__(self, done: _Optional[int] = ..., total: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class OAuthCallbackRequest(_message.Message):
    __slots__ = ("context", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.InvocationContext
    parameters: _containers.ScalarMap[str, str]
    def __init__(self, context: _Optional[_Union[_common_pb2.InvocationContext, _Mapping]] = ..., parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...

class OAuthCallbackResponse(_message.Message):
    __slots__ = ("account", "diagnostics")
    class AccountEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTICS_FIELD_NUMBER: _ClassVar[int]
    account: _containers.ScalarMap[str, str]
    diagnostics: _containers.RepeatedCompositeFieldContainer[_common_pb2.Diagnostic]
    def __init__(self, account: _Optional[_Mapping[str, str]] = ..., diagnostics: _Optional[_Iterable[_Union[_common_pb2.Diagnostic, _Mapping]]] = ...) -> None: ...
