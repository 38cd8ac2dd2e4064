import datetime

from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2 as _capabilities_pb2
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2 as _common_pb2
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2 as _connector_pb2
from aperio_plugin._generated.aperio.plugin.v1 import destination_pb2 as _destination_pb2
from aperio_plugin._generated.aperio.plugin.v1 import remediation_pb2 as _remediation_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Call(_message.Message):
    __slots__ = ("plugin", "version", "organization_id", "integration_id", "config_json", "token", "traceparent", "tracestate")
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    plugin: str
    version: str
    organization_id: str
    integration_id: str
    config_json: bytes
    token: _common_pb2.Token
    traceparent: str
    tracestate: str
    def __init__(self, plugin: _Optional[str] = ..., version: _Optional[str] = ..., organization_id: _Optional[str] = ..., integration_id: _Optional[str] = ..., config_json: _Optional[bytes] = ..., token: _Optional[_Union[_common_pb2.Token, _Mapping]] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "what", "why", "next", "exit_status", "retry_after")
    CODE_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    EXIT_STATUS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    code: str
    what: str
    why: str
    next: _containers.RepeatedScalarFieldContainer[str]
    exit_status: int
    retry_after: _duration_pb2.Duration
    def __init__(self, code: _Optional[str] = ..., what: _Optional[str] = ..., why: _Optional[str] = ..., next: _Optional[_Iterable[str]] = ..., exit_status: _Optional[int] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetHostRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetHostResponse(_message.Message):
    __slots__ = ("version", "minor", "features", "interface_major", "interface_minor", "started_at", "pid", "home", "registries_heard_at", "registries_problem")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MINOR_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_MAJOR_FIELD_NUMBER: _ClassVar[int]
    INTERFACE_MINOR_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    HOME_FIELD_NUMBER: _ClassVar[int]
    REGISTRIES_HEARD_AT_FIELD_NUMBER: _ClassVar[int]
    REGISTRIES_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    version: str
    minor: int
    features: _containers.RepeatedScalarFieldContainer[str]
    interface_major: int
    interface_minor: int
    started_at: _timestamp_pb2.Timestamp
    pid: int
    home: str
    registries_heard_at: _timestamp_pb2.Timestamp
    registries_problem: str
    def __init__(self, version: _Optional[str] = ..., minor: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ..., interface_major: _Optional[int] = ..., interface_minor: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pid: _Optional[int] = ..., home: _Optional[str] = ..., registries_heard_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., registries_problem: _Optional[str] = ...) -> None: ...

class Plugin(_message.Message):
    __slots__ = ("id", "version", "kind", "provider", "badge", "signer", "refusal", "exceptions", "instances")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    BADGE_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    EXCEPTIONS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: str
    kind: str
    provider: str
    badge: str
    signer: str
    refusal: str
    exceptions: _containers.RepeatedScalarFieldContainer[str]
    instances: _containers.RepeatedCompositeFieldContainer[Instance]
    def __init__(self, id: _Optional[str] = ..., version: _Optional[str] = ..., kind: _Optional[str] = ..., provider: _Optional[str] = ..., badge: _Optional[str] = ..., signer: _Optional[str] = ..., refusal: _Optional[str] = ..., exceptions: _Optional[_Iterable[str]] = ..., instances: _Optional[_Iterable[_Union[Instance, _Mapping]]] = ...) -> None: ...

class InstanceKey(_message.Message):
    __slots__ = ("plugin", "organization_id", "integration_id")
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_ID_FIELD_NUMBER: _ClassVar[int]
    plugin: str
    organization_id: str
    integration_id: str
    def __init__(self, plugin: _Optional[str] = ..., organization_id: _Optional[str] = ..., integration_id: _Optional[str] = ...) -> None: ...

class Instance(_message.Message):
    __slots__ = ("key", "version", "kind", "state", "code", "reason", "until", "restarts", "started_at", "last_healthy_at", "pid", "not_enforced", "exceptions", "peak_memory_bytes", "badge", "signer", "breaker", "is_on_demand", "calls", "newcomer", "fallback", "pause")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Instance.State]
        STATE_STOPPED: _ClassVar[Instance.State]
        STATE_STARTING: _ClassVar[Instance.State]
        STATE_READY: _ClassVar[Instance.State]
        STATE_BACKOFF: _ClassVar[Instance.State]
        STATE_PAUSED: _ClassVar[Instance.State]
        STATE_STOPPING: _ClassVar[Instance.State]
        STATE_FAILED: _ClassVar[Instance.State]
    STATE_UNSPECIFIED: Instance.State
    STATE_STOPPED: Instance.State
    STATE_STARTING: Instance.State
    STATE_READY: Instance.State
    STATE_BACKOFF: Instance.State
    STATE_PAUSED: Instance.State
    STATE_STOPPING: Instance.State
    STATE_FAILED: Instance.State
    class Pause(_message.Message):
        __slots__ = ("by", "paused_at", "reason")
        BY_FIELD_NUMBER: _ClassVar[int]
        PAUSED_AT_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        by: str
        paused_at: _timestamp_pb2.Timestamp
        reason: str
        def __init__(self, by: _Optional[str] = ..., paused_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...
    class Fallback(_message.Message):
        __slots__ = ("version", "code", "reason", "left_at")
        VERSION_FIELD_NUMBER: _ClassVar[int]
        CODE_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        LEFT_AT_FIELD_NUMBER: _ClassVar[int]
        version: str
        code: str
        reason: str
        left_at: _timestamp_pb2.Timestamp
        def __init__(self, version: _Optional[str] = ..., code: _Optional[str] = ..., reason: _Optional[str] = ..., left_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_HEALTHY_AT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    NOT_ENFORCED_FIELD_NUMBER: _ClassVar[int]
    EXCEPTIONS_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    BADGE_FIELD_NUMBER: _ClassVar[int]
    SIGNER_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    IS_ON_DEMAND_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    NEWCOMER_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    key: InstanceKey
    version: str
    kind: str
    state: Instance.State
    code: str
    reason: str
    until: _timestamp_pb2.Timestamp
    restarts: int
    started_at: _timestamp_pb2.Timestamp
    last_healthy_at: _timestamp_pb2.Timestamp
    pid: int
    not_enforced: _containers.RepeatedScalarFieldContainer[str]
    exceptions: _containers.RepeatedScalarFieldContainer[str]
    peak_memory_bytes: int
    badge: str
    signer: str
    breaker: str
    is_on_demand: bool
    calls: int
    newcomer: str
    fallback: Instance.Fallback
    pause: Instance.Pause
    def __init__(self, key: _Optional[_Union[InstanceKey, _Mapping]] = ..., version: _Optional[str] = ..., kind: _Optional[str] = ..., state: _Optional[_Union[Instance.State, str]] = ..., code: _Optional[str] = ..., reason: _Optional[str] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., restarts: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_healthy_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pid: _Optional[int] = ..., not_enforced: _Optional[_Iterable[str]] = ..., exceptions: _Optional[_Iterable[str]] = ..., peak_memory_bytes: _Optional[int] = ..., badge: _Optional[str] = ..., signer: _Optional[str] = ..., breaker: _Optional[str] = ..., is_on_demand: _Optional[bool] = ..., calls: _Optional[int] = ..., newcomer: _Optional[str] = ..., fallback: _Optional[_Union[Instance.Fallback, _Mapping]] = ..., pause: _Optional[_Union[Instance.Pause, _Mapping]] = ...) -> None: ...

class ListPluginsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPluginsResponse(_message.Message):
    __slots__ = ("plugins",)
    PLUGINS_FIELD_NUMBER: _ClassVar[int]
    plugins: _containers.RepeatedCompositeFieldContainer[Plugin]
    def __init__(self, plugins: _Optional[_Iterable[_Union[Plugin, _Mapping]]] = ...) -> None: ...

class DescribePluginRequest(_message.Message):
    __slots__ = ("plugin", "organization_id")
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    plugin: str
    organization_id: str
    def __init__(self, plugin: _Optional[str] = ..., organization_id: _Optional[str] = ...) -> None: ...

class DescribePluginResponse(_message.Message):
    __slots__ = ("id", "version", "connector", "capabilities", "definition_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: str
    connector: _connector_pb2.SchemaResponse
    capabilities: _capabilities_pb2.CapabilitiesResponse
    definition_json: bytes
    def __init__(self, id: _Optional[str] = ..., version: _Optional[str] = ..., connector: _Optional[_Union[_connector_pb2.SchemaResponse, _Mapping]] = ..., capabilities: _Optional[_Union[_capabilities_pb2.CapabilitiesResponse, _Mapping]] = ..., definition_json: _Optional[bytes] = ...) -> None: ...

class WatchInstancesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchInstancesResponse(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: Instance
    def __init__(self, instance: _Optional[_Union[Instance, _Mapping]] = ...) -> None: ...

class PauseInstanceRequest(_message.Message):
    __slots__ = ("key", "reason", "by")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    key: InstanceKey
    reason: str
    by: str
    def __init__(self, key: _Optional[_Union[InstanceKey, _Mapping]] = ..., reason: _Optional[str] = ..., by: _Optional[str] = ...) -> None: ...

class PauseInstanceResponse(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: Instance
    def __init__(self, instance: _Optional[_Union[Instance, _Mapping]] = ...) -> None: ...

class ResumeInstanceRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: InstanceKey
    def __init__(self, key: _Optional[_Union[InstanceKey, _Mapping]] = ...) -> None: ...

class ResumeInstanceResponse(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: Instance
    def __init__(self, instance: _Optional[_Union[Instance, _Mapping]] = ...) -> None: ...

class ReleasePluginRequest(_message.Message):
    __slots__ = ("plugin", "version")
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    plugin: str
    version: str
    def __init__(self, plugin: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class ReleasePluginResponse(_message.Message):
    __slots__ = ("ended",)
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ended: _containers.RepeatedCompositeFieldContainer[InstanceKey]
    def __init__(self, ended: _Optional[_Iterable[_Union[InstanceKey, _Mapping]]] = ...) -> None: ...

class TestConnectionRequest(_message.Message):
    __slots__ = ("call",)
    CALL_FIELD_NUMBER: _ClassVar[int]
    call: Call
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ...) -> None: ...

class TestConnectionResponse(_message.Message):
    __slots__ = ("answer", "receipt")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    answer: _connector_pb2.TestResponse
    receipt: Receipt
    def __init__(self, answer: _Optional[_Union[_connector_pb2.TestResponse, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("call", "cursor", "streams", "event_types", "strict")
    CALL_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    call: Call
    cursor: bytes
    streams: _containers.RepeatedScalarFieldContainer[str]
    event_types: _containers.RepeatedScalarFieldContainer[str]
    strict: bool
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., cursor: _Optional[bytes] = ..., streams: _Optional[_Iterable[str]] = ..., event_types: _Optional[_Iterable[str]] = ..., strict: _Optional[bool] = ..., **kwargs) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("batch", "checkpoint", "dead_letter", "progress", "notice", "receipt")
    class Batch(_message.Message):
        __slots__ = ("envelopes",)
        ENVELOPES_FIELD_NUMBER: _ClassVar[int]
        envelopes: _containers.RepeatedCompositeFieldContainer[Envelope]
        def __init__(self, envelopes: _Optional[_Iterable[_Union[Envelope, _Mapping]]] = ...) -> None: ...
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    batch: SyncResponse.Batch
    checkpoint: _connector_pb2.Checkpoint
    dead_letter: _connector_pb2.DeadLetter
    progress: _connector_pb2.Progress
    notice: _common_pb2.Diagnostic
    receipt: Receipt
    def __init__(self, batch: _Optional[_Union[SyncResponse.Batch, _Mapping]] = ..., checkpoint: _Optional[_Union[_connector_pb2.Checkpoint, _Mapping]] = ..., dead_letter: _Optional[_Union[_connector_pb2.DeadLetter, _Mapping]] = ..., progress: _Optional[_Union[_connector_pb2.Progress, _Mapping]] = ..., notice: _Optional[_Union[_common_pb2.Diagnostic, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("id", "kind", "envelope_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    envelope_json: bytes
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., envelope_json: _Optional[bytes] = ...) -> None: ...

class ExecuteRequest(_message.Message):
    __slots__ = ("call", "action", "target", "target_type", "parameters_json", "context_json", "idempotency_key", "dry_run", "approval")
    CALL_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    TARGET_TYPE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_JSON_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_JSON_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    call: Call
    action: str
    target: str
    target_type: str
    parameters_json: bytes
    context_json: bytes
    idempotency_key: str
    dry_run: bool
    approval: _remediation_pb2.Approval
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., action: _Optional[str] = ..., target: _Optional[str] = ..., target_type: _Optional[str] = ..., parameters_json: _Optional[bytes] = ..., context_json: _Optional[bytes] = ..., idempotency_key: _Optional[str] = ..., dry_run: _Optional[bool] = ..., approval: _Optional[_Union[_remediation_pb2.Approval, _Mapping]] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("answer", "approval_sha256", "receipt")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_SHA256_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    answer: _remediation_pb2.ExecuteResponse
    approval_sha256: str
    receipt: Receipt
    def __init__(self, answer: _Optional[_Union[_remediation_pb2.ExecuteResponse, _Mapping]] = ..., approval_sha256: _Optional[str] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class DeliverRequest(_message.Message):
    __slots__ = ("call", "envelopes")
    CALL_FIELD_NUMBER: _ClassVar[int]
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    call: Call
    envelopes: _containers.RepeatedCompositeFieldContainer[_destination_pb2.OutboundEnvelope]
    def __init__(self, call: _Optional[_Union[Call, _Mapping]] = ..., envelopes: _Optional[_Iterable[_Union[_destination_pb2.OutboundEnvelope, _Mapping]]] = ...) -> None: ...

class DeliverResponse(_message.Message):
    __slots__ = ("results", "receipt")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_destination_pb2.EnvelopeResult]
    receipt: Receipt
    def __init__(self, results: _Optional[_Iterable[_Union[_destination_pb2.EnvelopeResult, _Mapping]]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("run_id", "plugin", "version", "organization_id", "integration_id", "operation", "started_at", "ended_at", "duration", "status", "code", "error_message", "seen", "sent", "filtered", "dead_letters", "checkpoint_sha256", "covers_until", "tokens", "egress_refused", "peak_memory_bytes", "instead_of", "traceparent")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Receipt.Status]
        STATUS_RUNNING: _ClassVar[Receipt.Status]
        STATUS_SUCCEEDED: _ClassVar[Receipt.Status]
        STATUS_FAILED: _ClassVar[Receipt.Status]
    STATUS_UNSPECIFIED: Receipt.Status
    STATUS_RUNNING: Receipt.Status
    STATUS_SUCCEEDED: Receipt.Status
    STATUS_FAILED: Receipt.Status
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    INTEGRATION_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    FILTERED_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SHA256_FIELD_NUMBER: _ClassVar[int]
    COVERS_UNTIL_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    EGRESS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    INSTEAD_OF_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    plugin: str
    version: str
    organization_id: str
    integration_id: str
    operation: str
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    duration: _duration_pb2.Duration
    status: Receipt.Status
    code: str
    error_message: str
    seen: int
    sent: int
    filtered: int
    dead_letters: int
    checkpoint_sha256: str
    covers_until: _timestamp_pb2.Timestamp
    tokens: int
    egress_refused: int
    peak_memory_bytes: int
    instead_of: str
    traceparent: str
    def __init__(self, run_id: _Optional[str] = ..., plugin: _Optional[str] = ..., version: _Optional[str] = ..., organization_id: _Optional[str] = ..., integration_id: _Optional[str] = ..., operation: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., status: _Optional[_Union[Receipt.Status, str]] = ..., code: _Optional[str] = ..., error_message: _Optional[str] = ..., seen: _Optional[int] = ..., sent: _Optional[int] = ..., filtered: _Optional[int] = ..., dead_letters: _Optional[int] = ..., checkpoint_sha256: _Optional[str] = ..., covers_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tokens: _Optional[int] = ..., egress_refused: _Optional[int] = ..., peak_memory_bytes: _Optional[int] = ..., instead_of: _Optional[str] = ..., traceparent: _Optional[str] = ...) -> None: ...

class ListReceiptsRequest(_message.Message):
    __slots__ = ("key", "limit")
    KEY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    key: InstanceKey
    limit: int
    def __init__(self, key: _Optional[_Union[InstanceKey, _Mapping]] = ..., limit: _Optional[int] = ...) -> None: ...

class ListReceiptsResponse(_message.Message):
    __slots__ = ("receipts",)
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    receipts: _containers.RepeatedCompositeFieldContainer[Receipt]
    def __init__(self, receipts: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ...) -> None: ...

class StreamLogsRequest(_message.Message):
    __slots__ = ("plugin", "last", "follow")
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    plugin: str
    last: int
    follow: bool
    def __init__(self, plugin: _Optional[str] = ..., last: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class StreamLogsResponse(_message.Message):
    __slots__ = ("records", "left_out")
    class LogRecord(_message.Message):
        __slots__ = ("logged_at", "key", "level", "message", "stream", "module", "fields", "said_at")
        class FieldsEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: str
            def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
        LOGGED_AT_FIELD_NUMBER: _ClassVar[int]
        KEY_FIELD_NUMBER: _ClassVar[int]
        LEVEL_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        STREAM_FIELD_NUMBER: _ClassVar[int]
        MODULE_FIELD_NUMBER: _ClassVar[int]
        FIELDS_FIELD_NUMBER: _ClassVar[int]
        SAID_AT_FIELD_NUMBER: _ClassVar[int]
        logged_at: _timestamp_pb2.Timestamp
        key: InstanceKey
        level: str
        message: str
        stream: str
        module: str
        fields: _containers.ScalarMap[str, str]
        said_at: str
        def __init__(self, logged_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key: _Optional[_Union[InstanceKey, _Mapping]] = ..., level: _Optional[str] = ..., message: _Optional[str] = ..., stream: _Optional[str] = ..., module: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ..., said_at: _Optional[str] = ...) -> None: ...
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[StreamLogsResponse.LogRecord]
    left_out: int
    def __init__(self, records: _Optional[_Iterable[_Union[StreamLogsResponse.LogRecord, _Mapping]]] = ..., left_out: _Optional[int] = ...) -> None: ...
