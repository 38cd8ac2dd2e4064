import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SeverityHint(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_HINT_UNSPECIFIED: _ClassVar[SeverityHint]
    SEVERITY_HINT_INFO: _ClassVar[SeverityHint]
    SEVERITY_HINT_LOW: _ClassVar[SeverityHint]
    SEVERITY_HINT_MEDIUM: _ClassVar[SeverityHint]
    SEVERITY_HINT_HIGH: _ClassVar[SeverityHint]
    SEVERITY_HINT_CRITICAL: _ClassVar[SeverityHint]
SEVERITY_HINT_UNSPECIFIED: SeverityHint
SEVERITY_HINT_INFO: SeverityHint
SEVERITY_HINT_LOW: SeverityHint
SEVERITY_HINT_MEDIUM: SeverityHint
SEVERITY_HINT_HIGH: SeverityHint
SEVERITY_HINT_CRITICAL: SeverityHint

class InvocationContext(_message.Message):
    __slots__ = ("organization_id", "integration_id", "invocation_id", "config_json", "token", "mode", "granted_scopes", "traceparent", "tracestate")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[InvocationContext.Mode]
        MODE_READ_ONLY: _ClassVar[InvocationContext.Mode]
        MODE_REMEDIATION: _ClassVar[InvocationContext.Mode]
    MODE_UNSPECIFIED: InvocationContext.Mode
    MODE_READ_ONLY: InvocationContext.Mode
    MODE_REMEDIATION: InvocationContext.Mode
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_ID_FIELD_NUMBER: _ClassVar[int]
    INVOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    GRANTED_SCOPES_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    organization_id: str
    integration_id: str
    invocation_id: str
    config_json: bytes
    token: Token
    mode: InvocationContext.Mode
    granted_scopes: _containers.RepeatedScalarFieldContainer[str]
    traceparent: str
    tracestate: str
    def __init__(self, organization_id: _Optional[str] = ..., integration_id: _Optional[str] = ..., invocation_id: _Optional[str] = ..., config_json: _Optional[bytes] = ..., token: _Optional[_Union[Token, _Mapping]] = ..., mode: _Optional[_Union[InvocationContext.Mode, str]] = ..., granted_scopes: _Optional[_Iterable[str]] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("value", "expires_at")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    value: str
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, value: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Interface(_message.Message):
    __slots__ = ("minor", "features")
    MINOR_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    minor: int
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, minor: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class Diagnostic(_message.Message):
    __slots__ = ("severity", "summary", "detail", "code", "attribute")
    class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SEVERITY_UNSPECIFIED: _ClassVar[Diagnostic.Severity]
        SEVERITY_ERROR: _ClassVar[Diagnostic.Severity]
        SEVERITY_WARNING: _ClassVar[Diagnostic.Severity]
    SEVERITY_UNSPECIFIED: Diagnostic.Severity
    SEVERITY_ERROR: Diagnostic.Severity
    SEVERITY_WARNING: Diagnostic.Severity
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    severity: Diagnostic.Severity
    summary: str
    detail: str
    code: str
    attribute: AttributePath
    def __init__(self, severity: _Optional[_Union[Diagnostic.Severity, str]] = ..., summary: _Optional[str] = ..., detail: _Optional[str] = ..., code: _Optional[str] = ..., attribute: _Optional[_Union[AttributePath, _Mapping]] = ...) -> None: ...

class Diagnostics(_message.Message):
    __slots__ = ("items", "retry_after")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Diagnostic]
    retry_after: _duration_pb2.Duration
    def __init__(self, items: _Optional[_Iterable[_Union[Diagnostic, _Mapping]]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AttributePath(_message.Message):
    __slots__ = ("steps",)
    class Step(_message.Message):
        __slots__ = ("key", "index")
        KEY_FIELD_NUMBER: _ClassVar[int]
        INDEX_FIELD_NUMBER: _ClassVar[int]
        key: str
        index: int
        def __init__(self, key: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...
    STEPS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[AttributePath.Step]
    def __init__(self, steps: _Optional[_Iterable[_Union[AttributePath.Step, _Mapping]]] = ...) -> None: ...

class ConfigField(_message.Message):
    __slots__ = ("key", "label", "placeholder", "helper", "type", "required", "secret", "options", "default_json", "host_only")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[ConfigField.Type]
        TYPE_TEXT: _ClassVar[ConfigField.Type]
        TYPE_PASSWORD: _ClassVar[ConfigField.Type]
        TYPE_URL: _ClassVar[ConfigField.Type]
        TYPE_SELECT: _ClassVar[ConfigField.Type]
        TYPE_BOOLEAN: _ClassVar[ConfigField.Type]
        TYPE_NUMBER: _ClassVar[ConfigField.Type]
    TYPE_UNSPECIFIED: ConfigField.Type
    TYPE_TEXT: ConfigField.Type
    TYPE_PASSWORD: ConfigField.Type
    TYPE_URL: ConfigField.Type
    TYPE_SELECT: ConfigField.Type
    TYPE_BOOLEAN: ConfigField.Type
    TYPE_NUMBER: ConfigField.Type
    KEY_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PLACEHOLDER_FIELD_NUMBER: _ClassVar[int]
    HELPER_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_JSON_FIELD_NUMBER: _ClassVar[int]
    HOST_ONLY_FIELD_NUMBER: _ClassVar[int]
    key: str
    label: str
    placeholder: str
    helper: str
    type: ConfigField.Type
    required: bool
    secret: bool
    options: _containers.RepeatedScalarFieldContainer[str]
    default_json: str
    host_only: bool
    def __init__(self, key: _Optional[str] = ..., label: _Optional[str] = ..., placeholder: _Optional[str] = ..., helper: _Optional[str] = ..., type: _Optional[_Union[ConfigField.Type, str]] = ..., required: _Optional[bool] = ..., secret: _Optional[bool] = ..., options: _Optional[_Iterable[str]] = ..., default_json: _Optional[str] = ..., host_only: _Optional[bool] = ...) -> None: ...

class Auth(_message.Message):
    __slots__ = ("none", "api_key", "oauth2")
    class NoAuth(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class ApiKey(_message.Message):
        __slots__ = ("field",)
        FIELD_FIELD_NUMBER: _ClassVar[int]
        field: str
        def __init__(self, field: _Optional[str] = ...) -> None: ...
    class OAuth2(_message.Message):
        __slots__ = ("authorize_url", "token_url", "grants", "scopes", "client_id_field", "client_secret_field", "token_parameters")
        class Grant(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            GRANT_UNSPECIFIED: _ClassVar[Auth.OAuth2.Grant]
            GRANT_AUTHORIZATION_CODE: _ClassVar[Auth.OAuth2.Grant]
            GRANT_CLIENT_CREDENTIALS: _ClassVar[Auth.OAuth2.Grant]
        GRANT_UNSPECIFIED: Auth.OAuth2.Grant
        GRANT_AUTHORIZATION_CODE: Auth.OAuth2.Grant
        GRANT_CLIENT_CREDENTIALS: Auth.OAuth2.Grant
        class TokenParametersEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: str
            def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
        AUTHORIZE_URL_FIELD_NUMBER: _ClassVar[int]
        TOKEN_URL_FIELD_NUMBER: _ClassVar[int]
        GRANTS_FIELD_NUMBER: _ClassVar[int]
        SCOPES_FIELD_NUMBER: _ClassVar[int]
        CLIENT_ID_FIELD_FIELD_NUMBER: _ClassVar[int]
        CLIENT_SECRET_FIELD_FIELD_NUMBER: _ClassVar[int]
        TOKEN_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
        authorize_url: str
        token_url: str
        grants: _containers.RepeatedScalarFieldContainer[Auth.OAuth2.Grant]
        scopes: _containers.RepeatedScalarFieldContainer[str]
        client_id_field: str
        client_secret_field: str
        token_parameters: _containers.ScalarMap[str, str]
        def __init__(self, authorize_url: _Optional[str] = ..., token_url: _Optional[str] = ..., grants: _Optional[_Iterable[_Union[Auth.OAuth2.Grant, str]]] = ..., scopes: _Optional[_Iterable[str]] = ..., client_id_field: _Optional[str] = ..., client_secret_field: _Optional[str] = ..., token_parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...
    NONE_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    OAUTH2_FIELD_NUMBER: _ClassVar[int]
    none: Auth.NoAuth
    api_key: Auth.ApiKey
    oauth2: Auth.OAuth2
    def __init__(self, none: _Optional[_Union[Auth.NoAuth, _Mapping]] = ..., api_key: _Optional[_Union[Auth.ApiKey, _Mapping]] = ..., oauth2: _Optional[_Union[Auth.OAuth2, _Mapping]] = ...) -> None: ...
