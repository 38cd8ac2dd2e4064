import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Envelope(_message.Message):
    __slots__ = ("id", "schema_version", "source", "producer", "organization_id", "integration_id", "provider", "kind", "event_type", "actor", "occurred_at", "source_event_id", "record", "destination_id", "origin", "native_event_type")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NATIVE_EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    id: str
    schema_version: str
    source: str
    producer: str
    organization_id: str
    integration_id: str
    provider: str
    kind: str
    event_type: str
    actor: EnvelopeActor
    occurred_at: _timestamp_pb2.Timestamp
    source_event_id: str
    record: bytes
    destination_id: str
    origin: str
    native_event_type: str
    def __init__(self, id: _Optional[str] = ..., schema_version: _Optional[str] = ..., source: _Optional[str] = ..., producer: _Optional[str] = ..., organization_id: _Optional[str] = ..., integration_id: _Optional[str] = ..., provider: _Optional[str] = ..., kind: _Optional[str] = ..., event_type: _Optional[str] = ..., actor: _Optional[_Union[EnvelopeActor, _Mapping]] = ..., occurred_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source_event_id: _Optional[str] = ..., record: _Optional[bytes] = ..., destination_id: _Optional[str] = ..., origin: _Optional[str] = ..., native_event_type: _Optional[str] = ...) -> None: ...

class EnvelopeActor(_message.Message):
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

class Finding(_message.Message):
    __slots__ = ("schema_version", "finding_id", "dedupe_key", "source_event_id", "status", "rule_id", "title", "description", "severity", "risk_score", "remediation_steps", "tags", "target", "provider", "integration_id", "source", "event_type", "actor", "dedupe_target", "evidence")
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
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    FINDING_ID_FIELD_NUMBER: _ClassVar[int]
    DEDUPE_KEY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    RISK_SCORE_FIELD_NUMBER: _ClassVar[int]
    REMEDIATION_STEPS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    DEDUPE_TARGET_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    schema_version: str
    finding_id: str
    dedupe_key: str
    source_event_id: str
    status: Finding.Status
    rule_id: str
    title: str
    description: str
    severity: Finding.Severity
    risk_score: int
    remediation_steps: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    target: str
    provider: str
    integration_id: str
    source: str
    event_type: str
    actor: str
    dedupe_target: str
    evidence: bytes
    def __init__(self, schema_version: _Optional[str] = ..., finding_id: _Optional[str] = ..., dedupe_key: _Optional[str] = ..., source_event_id: _Optional[str] = ..., status: _Optional[_Union[Finding.Status, str]] = ..., rule_id: _Optional[str] = ..., title: _Optional[str] = ..., description: _Optional[str] = ..., severity: _Optional[_Union[Finding.Severity, str]] = ..., risk_score: _Optional[int] = ..., remediation_steps: _Optional[_Iterable[str]] = ..., tags: _Optional[_Iterable[str]] = ..., target: _Optional[str] = ..., provider: _Optional[str] = ..., integration_id: _Optional[str] = ..., source: _Optional[str] = ..., event_type: _Optional[str] = ..., actor: _Optional[str] = ..., dedupe_target: _Optional[str] = ..., evidence: _Optional[bytes] = ...) -> None: ...
