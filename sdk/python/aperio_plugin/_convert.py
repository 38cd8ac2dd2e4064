"""The only place where author-facing types and protobuf messages meet."""

from __future__ import annotations

import json
import json.encoder
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from aperio_plugin import declarations, errors
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2, connector_pb2
from aperio_plugin.context import Config, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aperio_plugin import connector, destination, remediation
    from aperio_plugin._generated.aperio.plugin.v1 import (
        capabilities_pb2,
        destination_pb2,
        remediation_pb2,
    )
    from aperio_plugin.connector import Actor, Checkpoint, Event, Progress

INTERFACE_MINOR: Final = 0
DIAGNOSTICS_KEY: Final = "aperio-diagnostics-bin"

MAX_RECORD_BYTES: Final = 1024 * 1024
MAX_CURSOR_BYTES: Final = 64 * 1024
_MAX_ID_BYTES = 512
_MAX_NAME_BYTES = 128
_MAX_ACTOR_BYTES = 64 * 1024
_MAX_PROGRESS_TEXT = 1000
# gRPC takes 8 KiB of metadata; the message is sent beside the diagnostics and may triple in size.
_MAX_STATUS_TEXT = 400
_MAX_SUMMARY_TEXT = 500
_MAX_DETAIL_TEXT = 1500
_MOST_BESIDE_ACTOR_TEXT = 32  # tags and lengths
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # google/protobuf/timestamp.proto
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_BESIDE_RECORD = _MAX_ID_BYTES + 2 * _MAX_NAME_BYTES + 64  # and the time, tags and lengths


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────


def _refuse_value(value: Any) -> NoReturn:
    raise TypeError(f"a {type(value).__name__} has no JSON form")


_UTF8 = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_ASCII = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def _fast_encoder() -> Callable[[Any], str]:
    """Give `_UTF8.encode`, where possible without the set-up that it repeats for each value."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _UTF8.encode
    quote = json.encoder.encode_basestring
    encode = make(None, _refuse_value, quote, None, ":", ",", False, False, False)  # noqa: FBT003 - it takes no keywords
    join = "".join
    return lambda value: join(encode(value, 0))


_encode_fast = _fast_encoder()


def encode_object(value: Mapping[str, Any]) -> bytes:
    """Give a JSON object, compact, in UTF-8.

    Raises:
        TypeError, ValueError, RecursionError: a part of it has no JSON form.
    """
    text = _encode_fast(value if type(value) is dict else dict(value))
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can carry only as an escape
        return _ASCII.encode(value).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def decode_object(data: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object that the host sent; nothing stands for an empty one.

    Raises:
        errors.InvalidArgument: it is not one.
    """
    try:
        # As text: json.loads would take bytes for UTF-16, too, where they look like it.
        value = json.loads((data or b"{}").decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise errors.InvalidArgument(f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise errors.InvalidArgument(f"{what} is not a JSON object")
    return value


# ── sync: the hot path ────────────────────────────────────────────────────────────────────────────


def event_fields(event: Event) -> tuple[dict[str, Any], int]:
    """Give an event as the arguments of its message, and an upper bound of its size in bytes.

    All is checked here, so that making the message of a whole batch cannot fail.

    Raises:
        errors.InvalidRecord: a part of it is malformed or too long; the error names the event.
    """
    try:
        record = event.record
        if not isinstance(record, bytes):
            record = encode_object(record)
        identifier, kind, source = event.source_event_id, event.event_type, event.source
        # The common case first: what is ASCII and short needs no closer look.
        if not (
            0 < len(identifier) <= _MAX_ID_BYTES
            and 0 < len(kind) <= _MAX_NAME_BYTES
            and len(source) <= _MAX_NAME_BYTES
            and len(record) <= MAX_RECORD_BYTES
            and (identifier + kind + source).isascii()
        ):
            _check_lengths(event, record)
        fields: dict[str, Any] = {
            "source_event_id": identifier,
            "event_type": kind,
            "occurred_at": _time(event.occurred_at),
            "source": source,
            "record_json": record,
        }
        size = len(record) + _MOST_BESIDE_RECORD
        if event.actor is not None:
            fields["actor"], actor_size = _actor_fields(event.actor)
            size += actor_size
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError) as error:
        name = repr(event.source_event_id)[:200]
        raise errors.InvalidRecord(f"event {name} cannot be passed on: {error}") from error
    return fields, size


def _check_lengths(event: Event, record: bytes) -> None:
    for name, value, least, most in (
        ("source_event_id", event.source_event_id.encode(), 1, _MAX_ID_BYTES),
        ("event_type", event.event_type.encode(), 1, _MAX_NAME_BYTES),
        ("source", event.source.encode(), 0, _MAX_NAME_BYTES),
        ("record", record, 0, MAX_RECORD_BYTES),
    ):
        if len(value) < least:
            raise ValueError(f"{name} is empty")
        if len(value) > most:
            raise ValueError(f"{name} has {len(value)} bytes, {most} are the most")


def _actor_fields(actor: Actor) -> tuple[dict[str, str], int]:
    fields = {
        "id": actor.id,
        "email": actor.email,
        "display_name": actor.display_name,
        "type": actor.type,
        "ip_address": actor.ip_address,
    }
    size = len("".join(fields.values()).encode())
    if size > _MAX_ACTOR_BYTES:
        raise ValueError(f"actor has {size} bytes, {_MAX_ACTOR_BYTES} are the most")
    return fields, size + _MOST_BESIDE_ACTOR_TEXT


def _time(value: datetime | str | float) -> dict[str, int]:
    """Give the arguments of a Timestamp."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"occurred_at has no time zone: {value}")
        since = value - _EPOCH
        return {"seconds": since.days * 86400 + since.seconds, "nanos": since.microseconds * 1000}
    seconds, microseconds = divmod(round(value * 1_000_000), 1_000_000)
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise ValueError(f"occurred_at is outside of the years 1 to 9999: {value}")
    return {"seconds": seconds, "nanos": microseconds * 1000}


def batch_message(events: list[dict[str, Any]]) -> connector_pb2.SyncEvent:
    """Give the stream's message of the events that `event_fields` gave."""
    # From dictionaries it is made in half the time that appending messages takes, measured.
    return connector_pb2.SyncEvent(batch={"events": events})


def checkpoint_message(checkpoint: Checkpoint) -> connector_pb2.SyncEvent:
    """Give the stream's message of a checkpoint.

    Raises:
        errors.InvalidRecord: the cursor is not bytes, or too long.
    """
    try:
        length = len(checkpoint.cursor)  # None would count as no cursor
        message = connector_pb2.Checkpoint(cursor=checkpoint.cursor)
    except TypeError as error:
        raise errors.InvalidRecord("a cursor must be bytes") from error
    if length > MAX_CURSOR_BYTES:
        raise errors.InvalidRecord(f"a cursor has {length} bytes, {MAX_CURSOR_BYTES} are the most")
    return connector_pb2.SyncEvent(checkpoint=message)


def progress_message(progress: Progress) -> connector_pb2.SyncEvent:
    """Give the stream's message of a progress."""
    line = " ".join(progress.message.split())[:_MAX_PROGRESS_TEXT]
    return connector_pb2.SyncEvent(
        progress=connector_pb2.Progress(done=progress.done, total=progress.total, message=line)
    )


# ── every call ────────────────────────────────────────────────────────────────────────────────────


def config_from(message: common_pb2.InvocationContext) -> Config:
    """Give the operator's settings.

    Raises:
        errors.InvalidArgument: they are not a JSON object.
    """
    return Config(decode_object(message.config_json, "the configuration"))


def token_from(message: common_pb2.InvocationContext) -> Token | None:
    """Give the access token, if there is one."""
    if not message.HasField("token"):
        return None
    token = message.token
    known = token.HasField("expires_at")
    return Token(token.value, token.expires_at.ToDatetime(tzinfo=UTC) if known else None)


def status_text(error: errors.PluginError) -> str:
    """Give the one line that stands beside the status code."""
    return _one_line(error.summary, _MAX_STATUS_TEXT)


def diagnostics_of(error: errors.PluginError) -> common_pb2.Diagnostics:
    """Give an error as the payload of `DIAGNOSTICS_KEY`, short enough for metadata."""
    message = common_pb2.Diagnostics(items=[diagnostic_message(error.diagnostic)])
    if error.retry_after_s is not None:
        message.retry_after.FromMicroseconds(int(error.retry_after_s * 1_000_000))
    return message


def diagnostic_message(diagnostic: errors.Diagnostic) -> common_pb2.Diagnostic:
    """Give the message of a diagnostic, its texts shortened if they are very long."""
    return common_pb2.Diagnostic(
        severity=_named(common_pb2.Diagnostic.Severity, "SEVERITY", diagnostic.severity),
        summary=_one_line(diagnostic.summary, _MAX_SUMMARY_TEXT),
        detail=_clean(diagnostic.detail)[:_MAX_DETAIL_TEXT],
        code=diagnostic.code,
        attribute=_path(diagnostic.attribute) if diagnostic.attribute else None,
    )


def _clean(text: str) -> str:
    """Give text without lone surrogates, which UTF-8 does not have."""
    return str(text).encode("utf-8", "replace").decode()


def _one_line(text: str, most: int) -> str:
    return " ".join(_clean(text).split())[:most]


def _path(path: errors.Path) -> common_pb2.AttributePath:
    steps = (path,) if isinstance(path, str) else path
    return common_pb2.AttributePath(
        steps=[{"index": step} if isinstance(step, int) else {"key": step} for step in steps]
    )


def _named(wrapper: Any, prefix: str, member: Any) -> Any:
    """Give the protobuf value whose name is the prefix and the name of our enum's member."""
    return wrapper.Value(f"{prefix}_{member.name}")


# ── what plugins declare ──────────────────────────────────────────────────────────────────────────


def schema_message(schema: connector.Schema) -> connector_pb2.SchemaResponse:
    """Give the message of a connector's schema.

    Raises:
        TypeError, ValueError: a part of it has a wrong type.
    """
    pb = connector_pb2
    return pb.SchemaResponse(
        interface=_interface(),
        provider=schema.provider,
        name=schema.name,
        category=schema.category,
        availability=_named(pb.SchemaResponse.Availability, "AVAILABILITY", schema.availability),
        description=schema.description,
        docs_url=schema.docs_url,
        read_scopes=schema.read_scopes,
        remediation_scopes=schema.remediation_scopes,
        fields=[_field(field) for field in schema.fields],
        auth=_auth(schema.auth),
        checks=[
            pb.Check(
                key=check.key,
                title=check.title,
                description=check.description,
                severity_hint=_hint(check.severity_hint),
                enabled_by_default=check.enabled_by_default,
            )
            for check in schema.checks
        ],
        remediation_actions=[
            pb.RemediationAction(
                key=action.key,
                label=action.label,
                description=action.description,
                severity_hint=_hint(action.severity_hint),
            )
            for action in schema.actions
        ],
        event_types=schema.event_types,
    )


def capabilities_message(
    capabilities: remediation.Capabilities | destination.Capabilities,
) -> capabilities_pb2.CapabilitiesResponse:
    """Give the message of what a remediation or destination declares.

    Raises:
        TypeError, ValueError: a part of it has a wrong type.
    """
    from aperio_plugin import destination
    from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2

    message = capabilities_pb2.CapabilitiesResponse(
        interface=_interface(),
        provider=capabilities.provider,
        name=capabilities.name,
        description=capabilities.description,
        docs_url=capabilities.docs_url,
        fields=[_field(field) for field in capabilities.fields],
        auth=_auth(capabilities.auth),
    )
    if isinstance(capabilities, destination.Capabilities):
        message.destination.CopyFrom(_destination(capabilities, capabilities_pb2))
    else:
        message.remediation.SetInParent()
        message.remediation.actions.extend(
            _action(action, capabilities_pb2) for action in capabilities.actions
        )
    return message


def _destination(
    capabilities: destination.Capabilities, pb: Any
) -> capabilities_pb2.DestinationCapabilities:
    kinds = pb.DestinationCapabilities.Stream
    return cast(
        "capabilities_pb2.DestinationCapabilities",
        pb.DestinationCapabilities(
            vendor=capabilities.vendor,
            category=capabilities.category,
            streams=[_named(kinds, "STREAM", stream) for stream in capabilities.streams],
            max_batch_envelopes=capabilities.max_batch_envelopes,
        ),
    )


def _action(action: remediation.Action, pb: Any) -> capabilities_pb2.RemediationCapabilities.Action:
    return cast(
        "capabilities_pb2.RemediationCapabilities.Action",
        pb.RemediationCapabilities.Action(
            key=action.key,
            label=action.label,
            description=action.description,
            severity_hint=_hint(action.severity_hint),
            parameters=[_field(field) for field in action.parameters],
            target_type=action.target_type,
            reversible=action.reversible,
            supports_dry_run=action.supports_dry_run,
            scopes=action.scopes,
        ),
    )


def _interface() -> common_pb2.Interface:
    return common_pb2.Interface(minor=INTERFACE_MINOR)


def _hint(hint: declarations.SeverityHint) -> Any:
    return _named(common_pb2.SeverityHint, "SEVERITY_HINT", hint)


def _field(field: declarations.Field) -> common_pb2.ConfigField:
    return common_pb2.ConfigField(
        key=field.key,
        label=field.label,
        placeholder=field.placeholder,
        helper=field.helper,
        type=_named(common_pb2.ConfigField.Type, "TYPE", field.type),
        required=field.required,
        secret=field.secret,
        options=field.options,
        default_json="" if field.default is None else json.dumps(field.default),
        host_only=field.host_only,
    )


def _auth(auth: declarations.Auth) -> common_pb2.Auth:
    pb = common_pb2.Auth
    if isinstance(auth, declarations.ApiKey):
        return pb(api_key=pb.ApiKey(field=auth.field))
    if isinstance(auth, declarations.NoAuth):
        return pb(none=pb.NoAuth())
    return pb(
        oauth2=pb.OAuth2(
            authorize_url=auth.authorize_url,
            token_url=auth.token_url,
            grants=[_named(pb.OAuth2.Grant, "GRANT", grant) for grant in auth.grants],
            scopes=auth.scopes,
            client_id_field=auth.client_id_field,
            client_secret_field=auth.client_secret_field,
            token_parameters=auth.token_parameters,
        )
    )


# ── what plugins answer ───────────────────────────────────────────────────────────────────────────


def test_message(result: connector.TestResult) -> connector_pb2.TestResponse:
    """Give the message of a connection test's result.

    Raises:
        TypeError, ValueError: a part of it has a wrong type.
    """
    return connector_pb2.TestResponse(
        ok=result.ok, diagnostics=_diagnostics(result.diagnostics), account=result.account
    )


def _diagnostics(items: Sequence[errors.Diagnostic]) -> list[common_pb2.Diagnostic]:
    return [diagnostic_message(item) for item in items]


def execute_request_from(message: remediation_pb2.ExecuteRequest) -> remediation.ExecuteRequest:
    """Give what the host wants executed.

    Raises:
        errors.InvalidArgument: the parameters are not a JSON object.
    """
    from aperio_plugin.remediation import ExecuteRequest

    return ExecuteRequest(
        action=message.action,
        target=message.target,
        idempotency_key=message.idempotency_key,
        parameters=decode_object(message.parameters_json, "the action's parameters"),
        dry_run=message.dry_run,
    )


def execute_message(result: remediation.ExecuteResult) -> remediation_pb2.ExecuteResponse:
    """Give the message of an action's result.

    Raises:
        TypeError, ValueError: a part of it has a wrong type.
    """
    from aperio_plugin._generated.aperio.plugin.v1 import remediation_pb2 as pb

    return pb.ExecuteResponse(
        outcome=_named(pb.ExecuteResponse.Outcome, "OUTCOME", result.outcome),
        changes=[
            pb.ExecuteResponse.Change(
                attribute=_path(change.attribute),
                before_json=_json_or_nothing(change.before),
                after_json=_json_or_nothing(change.after),
            )
            for change in result.changes
        ],
        diagnostics=_diagnostics(result.diagnostics),
    )


def _json_or_nothing(value: Any) -> bytes:
    return b"" if value is None else _ASCII.encode(value).encode()


def envelope_from(message: destination_pb2.OutboundEnvelope) -> destination.Envelope:
    """Give an envelope that the host hands over.

    Raises:
        errors.InvalidArgument: it is of a kind that this interface does not have.
    """
    from aperio_plugin.destination import Envelope, Stream

    try:
        stream = Stream(message.kind)
    except ValueError as error:
        raise errors.InvalidArgument(f"unknown kind of envelope {message.kind!r}") from error
    return Envelope(message.id, stream, message.envelope_json)


def delivery_message(result: destination.DeliveryResult) -> destination_pb2.EnvelopeResult:
    """Give the message of one envelope's result.

    Raises:
        TypeError, ValueError: a part of it has a wrong type.
    """
    from aperio_plugin._generated.aperio.plugin.v1 import destination_pb2 as pb

    message = pb.EnvelopeResult(
        id=result.id, status=_named(pb.EnvelopeResult.Status, "STATUS", result.status)
    )
    if result.diagnostic is not None:
        message.diagnostic.CopyFrom(diagnostic_message(result.diagnostic))
    if result.retry_after_s is not None:
        message.retry_after.FromMicroseconds(int(result.retry_after_s * 1_000_000))
    return message
