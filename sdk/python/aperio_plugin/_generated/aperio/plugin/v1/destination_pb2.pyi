import datetime

from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2 as _capabilities_pb2
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2 as _common_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeliverRequest(_message.Message):
    __slots__ = ("context", "envelopes")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.InvocationContext
    envelopes: _containers.RepeatedCompositeFieldContainer[OutboundEnvelope]
    def __init__(self, context: _Optional[_Union[_common_pb2.InvocationContext, _Mapping]] = ..., envelopes: _Optional[_Iterable[_Union[OutboundEnvelope, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EnvelopeResult]
    def __init__(self, results: _Optional[_Iterable[_Union[EnvelopeResult, _Mapping]]] = ...) -> None: ...

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
