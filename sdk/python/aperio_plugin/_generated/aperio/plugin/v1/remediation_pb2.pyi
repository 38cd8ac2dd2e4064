from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2 as _capabilities_pb2
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecuteRequest(_message.Message):
    __slots__ = ("context", "action", "target", "parameters_json", "idempotency_key", "dry_run", "target_type", "context_json", "approval", "after_unknown")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_JSON_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    TARGET_TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_JSON_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    AFTER_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.InvocationContext
    action: str
    target: str
    parameters_json: bytes
    idempotency_key: str
    dry_run: bool
    target_type: str
    context_json: bytes
    approval: Approval
    after_unknown: bool
    def __init__(self, context: _Optional[_Union[_common_pb2.InvocationContext, _Mapping]] = ..., action: _Optional[str] = ..., target: _Optional[str] = ..., parameters_json: _Optional[bytes] = ..., idempotency_key: _Optional[str] = ..., dry_run: _Optional[bool] = ..., target_type: _Optional[str] = ..., context_json: _Optional[bytes] = ..., approval: _Optional[_Union[Approval, _Mapping]] = ..., after_unknown: _Optional[bool] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("reference", "sha256")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    reference: str
    sha256: str
    def __init__(self, reference: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("outcome", "changes", "diagnostics", "provider_request_id")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[ExecuteResponse.Outcome]
        OUTCOME_CHANGED: _ClassVar[ExecuteResponse.Outcome]
        OUTCOME_UNCHANGED: _ClassVar[ExecuteResponse.Outcome]
        OUTCOME_WOULD_CHANGE: _ClassVar[ExecuteResponse.Outcome]
        OUTCOME_FAILED: _ClassVar[ExecuteResponse.Outcome]
        OUTCOME_UNKNOWN: _ClassVar[ExecuteResponse.Outcome]
    OUTCOME_UNSPECIFIED: ExecuteResponse.Outcome
    OUTCOME_CHANGED: ExecuteResponse.Outcome
    OUTCOME_UNCHANGED: ExecuteResponse.Outcome
    OUTCOME_WOULD_CHANGE: ExecuteResponse.Outcome
    OUTCOME_FAILED: ExecuteResponse.Outcome
    OUTCOME_UNKNOWN: ExecuteResponse.Outcome
    class Change(_message.Message):
        __slots__ = ("attribute", "before_json", "after_json")
        ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
        BEFORE_JSON_FIELD_NUMBER: _ClassVar[int]
        AFTER_JSON_FIELD_NUMBER: _ClassVar[int]
        attribute: _common_pb2.AttributePath
        before_json: bytes
        after_json: bytes
        def __init__(self, attribute: _Optional[_Union[_common_pb2.AttributePath, _Mapping]] = ..., before_json: _Optional[bytes] = ..., after_json: _Optional[bytes] = ...) -> None: ...
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTICS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    outcome: ExecuteResponse.Outcome
    changes: _containers.RepeatedCompositeFieldContainer[ExecuteResponse.Change]
    diagnostics: _containers.RepeatedCompositeFieldContainer[_common_pb2.Diagnostic]
    provider_request_id: str
    def __init__(self, outcome: _Optional[_Union[ExecuteResponse.Outcome, str]] = ..., changes: _Optional[_Iterable[_Union[ExecuteResponse.Change, _Mapping]]] = ..., diagnostics: _Optional[_Iterable[_Union[_common_pb2.Diagnostic, _Mapping]]] = ..., provider_request_id: _Optional[str] = ...) -> None: ...
