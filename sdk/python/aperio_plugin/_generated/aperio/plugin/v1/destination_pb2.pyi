import datetime

from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2 as _capabilities_pb2
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

class DeliverRequest(_message.Message):
    __slots__ = ("context", "envelopes", "checkpoint")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.InvocationContext
    envelopes: _containers.RepeatedCompositeFieldContainer[OutboundEnvelope]
    checkpoint: StoreCheckpoint
    def __init__(self, context: _Optional[_Union[_common_pb2.InvocationContext, _Mapping]] = ..., envelopes: _Optional[_Iterable[_Union[OutboundEnvelope, _Mapping]]] = ..., checkpoint: _Optional[_Union[StoreCheckpoint, _Mapping]] = ...) -> None: ...

class StoreCheckpoint(_message.Message):
    __slots__ = ("source", "checkpoint", "replaces")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    source: SyncSource
    checkpoint: SyncCheckpoint
    replaces: bytes
    def __init__(self, source: _Optional[_Union[SyncSource, _Mapping]] = ..., checkpoint: _Optional[_Union[SyncCheckpoint, _Mapping]] = ..., replaces: _Optional[bytes] = ...) -> None: ...

class SyncSource(_message.Message):
    __slots__ = ("connector", "choice")
    CONNECTOR_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    connector: str
    choice: str
    def __init__(self, connector: _Optional[str] = ..., choice: _Optional[str] = ...) -> None: ...

class SyncCheckpoint(_message.Message):
    __slots__ = ("cursor", "covered", "connector_version")
    class CoveredEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _timestamp_pb2.Timestamp
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    COVERED_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    cursor: bytes
    covered: _containers.MessageMap[str, _timestamp_pb2.Timestamp]
    connector_version: str
    def __init__(self, cursor: _Optional[bytes] = ..., covered: _Optional[_Mapping[str, _timestamp_pb2.Timestamp]] = ..., connector_version: _Optional[str] = ...) -> None: ...

class PositionRequest(_message.Message):
    __slots__ = ("context", "source")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.InvocationContext
    source: SyncSource
    def __init__(self, context: _Optional[_Union[_common_pb2.InvocationContext, _Mapping]] = ..., source: _Optional[_Union[SyncSource, _Mapping]] = ...) -> None: ...

class PositionResponse(_message.Message):
    __slots__ = ("kept", "checkpoint", "stored_at")
    KEPT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    STORED_AT_FIELD_NUMBER: _ClassVar[int]
    kept: bool
    checkpoint: SyncCheckpoint
    stored_at: _timestamp_pb2.Timestamp
    def __init__(self, kept: _Optional[bool] = ..., checkpoint: _Optional[_Union[SyncCheckpoint, _Mapping]] = ..., stored_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OutboundEnvelope(_message.Message):
    __slots__ = ("id", "kind", "envelope_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    envelope_json: bytes
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., envelope_json: _Optional[bytes] = ...) -> None: ...

class DeliverResponse(_message.Message):
    __slots__ = ("results", "checkpoint_outcome")
    class CheckpointOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHECKPOINT_OUTCOME_UNSPECIFIED: _ClassVar[DeliverResponse.CheckpointOutcome]
        CHECKPOINT_OUTCOME_STORED: _ClassVar[DeliverResponse.CheckpointOutcome]
        CHECKPOINT_OUTCOME_MOVED: _ClassVar[DeliverResponse.CheckpointOutcome]
    CHECKPOINT_OUTCOME_UNSPECIFIED: DeliverResponse.CheckpointOutcome
    CHECKPOINT_OUTCOME_STORED: DeliverResponse.CheckpointOutcome
    CHECKPOINT_OUTCOME_MOVED: DeliverResponse.CheckpointOutcome
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EnvelopeResult]
    checkpoint_outcome: DeliverResponse.CheckpointOutcome
    def __init__(self, results: _Optional[_Iterable[_Union[EnvelopeResult, _Mapping]]] = ..., checkpoint_outcome: _Optional[_Union[DeliverResponse.CheckpointOutcome, str]] = ...) -> None: ...

class EnvelopeResult(_message.Message):
    __slots__ = ("id", "status", "diagnostic", "retry_after")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[EnvelopeResult.Status]
        STATUS_ACCEPTED: _ClassVar[EnvelopeResult.Status]
        STATUS_REJECTED: _ClassVar[EnvelopeResult.Status]
        STATUS_RETRY: _ClassVar[EnvelopeResult.Status]
    STATUS_UNSPECIFIED: EnvelopeResult.Status
    STATUS_ACCEPTED: EnvelopeResult.Status
    STATUS_REJECTED: EnvelopeResult.Status
    STATUS_RETRY: EnvelopeResult.Status
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTIC_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: EnvelopeResult.Status
    diagnostic: _common_pb2.Diagnostic
    retry_after: _duration_pb2.Duration
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[EnvelopeResult.Status, str]] = ..., diagnostic: _Optional[_Union[_common_pb2.Diagnostic, _Mapping]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
