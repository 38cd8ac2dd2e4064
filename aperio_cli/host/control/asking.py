"""What a caller asks for, read from its message: nothing of it is trusted to make sense."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_cli.data.state import MAX_CURSOR_BYTES
from aperio_cli.errors.controlling import CallInvalid, VersionNotRunning
from aperio_cli.host.calls.executing import Execute
from aperio_cli.host.calls.invocation import AccessToken
from aperio_cli.host.calls.scope import SyncScope
from aperio_cli.host.supervising.instances import InstanceKey
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.reading import Bounds, Unreadable, read_json, require_few_keys
from aperio_cli.models.tenant import why_no_name
from aperio_cli.models.traceparent import read_traceparent, read_tracestate
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from aperio_plugin.wire import control_pb2
    from google.protobuf.timestamp_pb2 import Timestamp

    from aperio_cli.host.launch import RunningPlugin

OPTIONS: Final = ("from", "streams", "event_types")

_SETTINGS: Final = Bounds(1024 * 1024)
_MOST_KEYS: Final = 10_000
_LONGEST_TOKEN_BYTES: Final = 64 * 1024
_LONGEST_REASON: Final = 500
_TRACEPARENT: Final = "traceparent"
_TRACESTATE: Final = "tracestate"


@dataclass(frozen=True, slots=True)
class Asked:
    """On whose behalf a plugin is called, and with what.

    Attributes:
        key: which instance.
        version: that has to run; empty: whichever does.
        settings: values by key; None: those that the host's configuration has. May hold secrets.
        token: of a grant that the caller holds; None: the host performs it.
        traceparent: the caller's span; empty: none.
        tracestate: what belongs to that; empty: nothing.
    """

    key: InstanceKey
    version: str
    settings: Mapping[str, object] | None = field(repr=False)
    token: AccessToken | None
    traceparent: str = ""
    tracestate: str = ""

    def require_version(self, plugin: RunningPlugin) -> None:
        """Require that the version runs that was asked for.

        Raises:
            VersionNotRunning: another one does.
        """
        runs = plugin.program.version
        if self.version and self.version != runs:
            raise VersionNotRunning(
                f"`{self.key.plugin}` was not called: another version of it runs",
                why=f"expected {one_line(self.version)}\nreceived {runs}",
                next=["leave `version` empty to call whichever runs"],
            )


def read_call(call: control_pb2.Call, metadata: Iterable[tuple[str, str | bytes]] = ()) -> Asked:
    """Return what a Call says.

    Args:
        call: the message.
        metadata: of gRPC, which may name the caller's span.

    Raises:
        CallInvalid, PluginIdInvalid: something is missing, or makes no sense.
    """
    key = InstanceKey(
        PluginId.parse(call.plugin),
        _name("organization_id", call.organization_id),
        _name("integration_id", call.integration_id),
    )
    settings = read_object("config_json", call.config_json) if call.config_json else None
    token = _token(call.token) if call.HasField("token") else None
    return Asked(key, call.version, settings, token, *_trace(call, metadata or ()))


def _trace(call: control_pb2.Call, metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str, str]:
    """Return the caller's span and what belongs to it, both of the call or both of the metadata.

    What cannot be read counts as absent: a span that is none, with what belongs to it.
    """
    span, state = call.traceparent, call.tracestate
    if not span:
        found = [(name, str(value)) for name, value in metadata]
        span = next((value for name, value in found if name == _TRACEPARENT), "")
        state = ",".join(value for name, value in found if name == _TRACESTATE)
    span = read_traceparent(span)
    return span, read_tracestate(state) if span else ""


def read_key(key: control_pb2.InstanceKey) -> InstanceKey:
    """Return which instance is meant.

    Raises:
        CallInvalid, PluginIdInvalid: as `read_call`.
    """
    return InstanceKey(
        PluginId.parse(key.plugin),
        _name("organization_id", key.organization_id),
        _name("integration_id", key.integration_id),
    )


def read_organization(text: str) -> str:
    """Return an organization that need not be named.

    Raises:
        CallInvalid: it is named, and that is no name.
    """
    return _name("organization_id", text) if text else ""


def read_reason(text: str) -> str:
    """Return a reason, or who has it, in one line, cut where it is too long."""
    return one_line(text, limit=_LONGEST_REASON)


def read_object(name: str, data: bytes) -> dict[str, Any]:
    """Return the JSON object in a field; what is wrong is said without anything of it.

    Raises:
        CallInvalid: it is none.
    """
    try:
        require_few_keys(data, _MOST_KEYS)
    except Unreadable:
        _refuse(name, f"expected at most {_MOST_KEYS} keys in all")
    try:
        found = read_json(data, _SETTINGS)
    except Unreadable as error:
        _refuse(name, f"expected a JSON object; it cannot be read: {error.place or 'no JSON'}")
    if not isinstance(found, dict):
        _refuse(name, "expected a JSON object")
    return found


def read_sync(request: control_pb2.SyncRequest) -> SyncScope:
    """Return what of a connector's events a sync asks for, once its cursor can be one.

    Raises:
        CallInvalid: the cursor is too long, or the beginning is no time.
    """
    if len(request.cursor) > MAX_CURSOR_BYTES:
        _refuse("cursor", f"expected at most {MAX_CURSOR_BYTES} bytes")
    begin = None
    if request.HasField("from") and not request.cursor:
        begin = _moment("from", getattr(request, "from"))
    return SyncScope(begin, tuple(request.streams), tuple(request.event_types), OPTIONS)


def read_execute(request: control_pb2.ExecuteRequest) -> Execute:
    """Return what is to be executed.

    Raises:
        CallInvalid: something is missing, or makes no sense.
    """
    for name in ("action", "target"):
        if not getattr(request, name):
            _refuse(name, "it is empty")
    parameters, facts = request.parameters_json, request.context_json
    return Execute(
        action=request.action,
        target=request.target,
        parameters=read_object("parameters_json", parameters) if parameters else {},
        idempotency_key=_name("idempotency_key", request.idempotency_key),
        dry_run=request.dry_run,
        approved=request.HasField("approval"),
        target_type=request.target_type,
        facts=read_object("context_json", facts) if facts else {},
        reference=_name("approval.reference", request.approval.reference)
        if request.HasField("approval")
        else "",
        approval_sha256=request.approval.sha256,
    )


def refuse_token(asked: Asked) -> NoReturn:
    """Refuse a token that the plugin has no use for.

    Raises:
        CallInvalid: always.
    """
    _refuse("token", f"`{asked.key.plugin}` takes none: its auth is not OAuth 2.0")


def _token(token: Any) -> AccessToken:
    value = token.value
    if not value or not value.isascii() or not value.isprintable():
        _refuse("token.value", "expected printable ASCII")
    if len(value) > _LONGEST_TOKEN_BYTES:
        _refuse("token.value", f"expected at most {_LONGEST_TOKEN_BYTES} bytes")
    expires_at = token.expires_at if token.HasField("expires_at") else None
    return AccessToken(value, _moment("token.expires_at", expires_at) if expires_at else None)


def _moment(name: str, timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        _refuse(name, "expected a time in the years 1 to 9999")


def _name(field_name: str, text: str) -> str:
    """Return a name that a caller gives.

    Raises:
        CallInvalid: it can be none.
    """
    if why := why_no_name(text):
        _refuse(field_name, why)
    return text


def _refuse(name: str, why: str) -> NoReturn:
    raise CallInvalid(
        f"the call was not made: `{name}` makes no sense",
        why=why,
        next=["mend the program that calls: the same call is refused again"],
    )
