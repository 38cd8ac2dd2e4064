from aperio_plugin._generated.aperio.plugin.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CapabilitiesRequest(_message.Message):
    __slots__ = ("context",)
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    context: _common_pb2.InvocationContext
    def __init__(self, context: _Optional[_Union[_common_pb2.InvocationContext, _Mapping]] = ...) -> None: ...

class CapabilitiesResponse(_message.Message):
    __slots__ = ("interface", "provider", "name", "description", "docs_url", "fields", "auth", "remediation", "destination")
    INTERFACE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DOCS_URL_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    AUTH_FIELD_NUMBER: _ClassVar[int]
    REMEDIATION_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    interface: _common_pb2.Interface
    provider: str
    name: str
    description: str
    docs_url: str
    fields: _containers.RepeatedCompositeFieldContainer[_common_pb2.ConfigField]
    auth: _common_pb2.Auth
    remediation: RemediationCapabilities
    destination: DestinationCapabilities
    def __init__(self, interface: _Optional[_Union[_common_pb2.Interface, _Mapping]] = ..., provider: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., docs_url: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[_common_pb2.ConfigField, _Mapping]]] = ..., auth: _Optional[_Union[_common_pb2.Auth, _Mapping]] = ..., remediation: _Optional[_Union[RemediationCapabilities, _Mapping]] = ..., destination: _Optional[_Union[DestinationCapabilities, _Mapping]] = ...) -> None: ...

class RemediationCapabilities(_message.Message):
    __slots__ = ("actions",)
    class ResponseKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RESPONSE_KIND_UNSPECIFIED: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_REVOKE_OAUTH_GRANT: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_SUSPEND_USER: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_RESET_MFA: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_REVOKE_SESSION: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_REMOVE_EXTERNAL_SHARE: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_DISABLE_FORWARDING: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_REMOVE_ADMIN_ROLE: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_QUARANTINE_APP: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_OPEN_TICKET: _ClassVar[RemediationCapabilities.ResponseKind]
        RESPONSE_KIND_NOTIFY_SECOPS: _ClassVar[RemediationCapabilities.ResponseKind]
    RESPONSE_KIND_UNSPECIFIED: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_REVOKE_OAUTH_GRANT: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_SUSPEND_USER: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_RESET_MFA: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_REVOKE_SESSION: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_REMOVE_EXTERNAL_SHARE: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_DISABLE_FORWARDING: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_REMOVE_ADMIN_ROLE: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_QUARANTINE_APP: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_OPEN_TICKET: RemediationCapabilities.ResponseKind
    RESPONSE_KIND_NOTIFY_SECOPS: RemediationCapabilities.ResponseKind
    class Action(_message.Message):
        __slots__ = ("key", "label", "description", "severity_hint", "parameters", "target_types", "reversible", "supports_dry_run", "scopes", "response_kind", "required_context", "reverse_action", "rollback", "approval_optional")
        KEY_FIELD_NUMBER: _ClassVar[int]
        LABEL_FIELD_NUMBER: _ClassVar[int]
        DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
        SEVERITY_HINT_FIELD_NUMBER: _ClassVar[int]
        PARAMETERS_FIELD_NUMBER: _ClassVar[int]
        TARGET_TYPES_FIELD_NUMBER: _ClassVar[int]
        REVERSIBLE_FIELD_NUMBER: _ClassVar[int]
        SUPPORTS_DRY_RUN_FIELD_NUMBER: _ClassVar[int]
        SCOPES_FIELD_NUMBER: _ClassVar[int]
        RESPONSE_KIND_FIELD_NUMBER: _ClassVar[int]
        REQUIRED_CONTEXT_FIELD_NUMBER: _ClassVar[int]
        REVERSE_ACTION_FIELD_NUMBER: _ClassVar[int]
        ROLLBACK_FIELD_NUMBER: _ClassVar[int]
        APPROVAL_OPTIONAL_FIELD_NUMBER: _ClassVar[int]
        key: str
        label: str
        description: str
        severity_hint: _common_pb2.SeverityHint
        parameters: _containers.RepeatedCompositeFieldContainer[_common_pb2.ConfigField]
        target_types: _containers.RepeatedScalarFieldContainer[str]
        reversible: bool
        supports_dry_run: bool
        scopes: _containers.RepeatedScalarFieldContainer[str]
        response_kind: RemediationCapabilities.ResponseKind
        required_context: _containers.RepeatedScalarFieldContainer[str]
        reverse_action: str
        rollback: str
        approval_optional: bool
        def __init__(self, key: _Optional[str] = ..., label: _Optional[str] = ..., description: _Optional[str] = ..., severity_hint: _Optional[_Union[_common_pb2.SeverityHint, str]] = ..., parameters: _Optional[_Iterable[_Union[_common_pb2.ConfigField, _Mapping]]] = ..., target_types: _Optional[_Iterable[str]] = ..., reversible: _Optional[bool] = ..., supports_dry_run: _Optional[bool] = ..., scopes: _Optional[_Iterable[str]] = ..., response_kind: _Optional[_Union[RemediationCapabilities.ResponseKind, str]] = ..., required_context: _Optional[_Iterable[str]] = ..., reverse_action: _Optional[str] = ..., rollback: _Optional[str] = ..., approval_optional: _Optional[bool] = ...) -> None: ...
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedCompositeFieldContainer[RemediationCapabilities.Action]
    def __init__(self, actions: _Optional[_Iterable[_Union[RemediationCapabilities.Action, _Mapping]]] = ...) -> None: ...

class DestinationCapabilities(_message.Message):
    __slots__ = ("vendor", "category", "streams", "max_batch_envelopes")
    class Stream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STREAM_UNSPECIFIED: _ClassVar[DestinationCapabilities.Stream]
        STREAM_FINDING: _ClassVar[DestinationCapabilities.Stream]
        STREAM_EVENT: _ClassVar[DestinationCapabilities.Stream]
        STREAM_AUDIT_LOG: _ClassVar[DestinationCapabilities.Stream]
    STREAM_UNSPECIFIED: DestinationCapabilities.Stream
    STREAM_FINDING: DestinationCapabilities.Stream
    STREAM_EVENT: DestinationCapabilities.Stream
    STREAM_AUDIT_LOG: DestinationCapabilities.Stream
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    vendor: str
    category: str
    streams: _containers.RepeatedScalarFieldContainer[DestinationCapabilities.Stream]
    max_batch_envelopes: int
    def __init__(self, vendor: _Optional[str] = ..., category: _Optional[str] = ..., streams: _Optional[_Iterable[_Union[DestinationCapabilities.Stream, str]]] = ..., max_batch_envelopes: _Optional[int] = ...) -> None: ...
