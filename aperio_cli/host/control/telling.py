"""What the host knows, as messages of its API, and as a caller in Python reads them back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.host.control.controlled import InstalledPlugin, LogEntry
from aperio_cli.host.control.encoding import cut
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.process.logs import LogRecord
from aperio_cli.host.supervising.instances import Fallback, InstanceKey, Pause, Status
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.run_receipt import RunReceipt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aperio_plugin.wire import connector_pb2, control_pb2
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from aperio_cli.host.calls.letters import DeadLetter

_LONGEST_TEXT_BYTES: Final = 2000
"""Of what is wrong with one instance: all of a host have to go into one message."""
_STATE: Final = "STATE_"
_STATUS: Final = "STATUS_"
_TEXTS: Final = ("version", "kind", "code", "reason", "badge", "signer", "breaker", "newcomer")
_MOMENTS: Final = ("until", "started_at", "last_healthy_at")
_COUNTS: Final = ("seen", "sent", "filtered", "dead_letters", "tokens", "egress_refused")
_RECEIPT_TEXTS: Final = (
    "run_id",
    "version",
    "instead_of",
    "traceparent",
    "operation",
    "code",
    "error_message",
)

_RECEIPT_FIELDS: Final = (*_RECEIPT_TEXTS, *_COUNTS, "checkpoint_sha256")


# ── instances ─────────────────────────────────────────────────────────────────────────────────────


def key_message(key: InstanceKey) -> control_pb2.InstanceKey:
    """Return which instance is meant, as a message."""
    from aperio_plugin.wire import control_pb2

    return control_pb2.InstanceKey(
        plugin=str(key.plugin), organization_id=key.organization, integration_id=key.integration
    )


def key_of(message: control_pb2.InstanceKey) -> InstanceKey:
    """Return which instance a message means.

    Raises:
        PluginIdInvalid: its plugin is no id.
    """
    plugin = PluginId.parse(message.plugin)
    return InstanceKey(plugin, message.organization_id, message.integration_id)


def instance_message(status: Status) -> control_pb2.Instance:
    """Return how an instance is, as a message."""
    from aperio_plugin.wire import control_pb2

    texts = {name: getattr(status, name) for name in _TEXTS}
    texts |= {name: cut(texts[name], _LONGEST_TEXT_BYTES) for name in ("reason", "newcomer")}
    message = control_pb2.Instance(
        key=key_message(status.key),
        state=f"{_STATE}{status.phase.value}",
        restarts=status.restarts,
        pid=status.pid or 0,
        not_enforced=status.not_enforced,
        exceptions=status.exceptions,
        peak_memory_bytes=status.peak_memory_bytes,
        is_on_demand=status.is_on_demand,
        calls=status.calls,
        **texts,
    )
    for name in _MOMENTS:
        if moment := getattr(status, name):
            getattr(message, name).FromDatetime(moment)
    if left := status.fallback:
        message.fallback.version, message.fallback.code = left.version, left.code
        message.fallback.reason = left.reason
        message.fallback.left_at.FromJsonString(left.at)
    if pause := status.pause:
        message.pause.by, message.pause.reason = pause.by, pause.reason
        message.pause.paused_at.FromJsonString(pause.at)
    return message


def status_of(message: control_pb2.Instance) -> Status:
    """Return how an instance is; a state of a newer host counts as FAILED."""
    from aperio_plugin.wire import control_pb2

    known = control_pb2.Instance.State.DESCRIPTOR.values_by_number.get(message.state)
    name = known.name.removeprefix(_STATE) if known else ""
    moments: dict[str, Any] = {name: _moment(message, name) for name in _MOMENTS}
    return Status(
        key=key_of(message.key),
        phase=Phase[name] if name in Phase.__members__ else Phase.FAILED,
        restarts=message.restarts,
        pid=message.pid or None,
        not_enforced=tuple(message.not_enforced),
        exceptions=tuple(message.exceptions),
        peak_memory_bytes=message.peak_memory_bytes
        if message.HasField("peak_memory_bytes")
        else None,
        is_on_demand=message.is_on_demand,
        calls=message.calls,
        fallback=_fallback(message.fallback) if message.HasField("fallback") else None,
        pause=_pause(message.pause) if message.HasField("pause") else None,
        **{name: getattr(message, name) for name in _TEXTS},
        **moments,
    )


def _fallback(message: control_pb2.Instance.Fallback) -> Fallback:
    return Fallback(message.version, message.code, message.reason, _text(message, "left_at"))


def _pause(message: control_pb2.Instance.Pause) -> Pause:
    return Pause(message.by, _text(message, "paused_at"), message.reason)


# ── plugins ───────────────────────────────────────────────────────────────────────────────────────


def plugin_message(plugin: InstalledPlugin, statuses: Iterable[Status]) -> control_pb2.Plugin:
    """Return an installed plugin with its instances, as a message."""
    from aperio_plugin.wire import control_pb2

    return control_pb2.Plugin(
        id=str(plugin.id),
        version=plugin.version,
        kind=plugin.kind,
        provider=plugin.provider,
        badge=plugin.badge,
        signer=plugin.signer,
        refusal=plugin.refusal,
        exceptions=plugin.exceptions,
        instances=[instance_message(each) for each in statuses if each.key.plugin == plugin.id],
    )


def plugin_of(message: control_pb2.Plugin) -> tuple[InstalledPlugin, tuple[Status, ...]]:
    """Return an installed plugin, and how its instances are.

    Raises:
        PluginIdInvalid: its id is none.
    """
    plugin = InstalledPlugin(
        PluginId.parse(message.id),
        message.version,
        message.kind,
        message.provider,
        message.badge,
        message.signer,
        message.refusal,
        tuple(message.exceptions),
    )
    return plugin, tuple(map(status_of, message.instances))


# ── receipts ──────────────────────────────────────────────────────────────────────────────────────


def receipt_message(receipt: RunReceipt) -> control_pb2.Receipt:
    """Return a receipt as a message."""
    from aperio_plugin.wire import control_pb2

    message = control_pb2.Receipt(
        plugin=str(receipt.plugin),
        organization_id=receipt.organization,
        integration_id=receipt.integration,
        status=f"{_STATUS}{receipt.status}",
        peak_memory_bytes=receipt.peak_memory_bytes,
        # What is empty is left out: it takes as long to state as the rest, and says the same.
        **{name: value for name in _RECEIPT_FIELDS if (value := getattr(receipt, name))},
    )
    for name in ("started_at", "ended_at"):  # in milliseconds, as `moment` writes them
        if text := getattr(receipt, name):
            _set_ms(getattr(message, name), round(datetime.fromisoformat(text).timestamp() * 1000))
    if receipt.covers_until:  # in nanoseconds, perhaps
        message.covers_until.FromJsonString(receipt.covers_until)
    if receipt.duration_ms is not None:
        _set_ms(message.duration, receipt.duration_ms)
    return message


def _set_ms(message: Timestamp | Duration, milliseconds: int) -> None:
    """Set a time to so many milliseconds since 1970, or a duration to as many."""
    message.seconds, rest = divmod(milliseconds, 1000)
    message.nanos = rest * 1_000_000
    message.SetInParent()  # also where it is 0


def receipt_of(message: control_pb2.Receipt) -> RunReceipt:
    """Return the receipt in a message.

    Raises:
        PluginIdInvalid: its plugin is no id.
    """
    from aperio_plugin.wire import control_pb2

    known = control_pb2.Receipt.Status.DESCRIPTOR.values_by_number.get(message.status)
    times: dict[str, Any] = {
        name: _text(message, name) for name in ("started_at", "ended_at", "covers_until")
    }
    return RunReceipt(
        plugin=PluginId.parse(message.plugin),
        organization=message.organization_id,
        integration=message.integration_id,
        status=known.name.removeprefix(_STATUS) if known else f"UNKNOWN_{message.status}",
        duration_ms=message.duration.ToMilliseconds() if message.HasField("duration") else None,
        checkpoint_sha256=message.checkpoint_sha256,
        peak_memory_bytes=message.peak_memory_bytes
        if message.HasField("peak_memory_bytes")
        else None,
        **times,
        **{name: getattr(message, name) for name in (*_RECEIPT_TEXTS, *_COUNTS)},
    )


# ── what was said ─────────────────────────────────────────────────────────────────────────────────


def log_message(entry: LogEntry) -> Any:
    """Return a log record as a message."""
    from aperio_plugin.wire import control_pb2

    record = entry.record
    message = control_pb2.StreamLogsResponse.LogRecord(
        key=key_message(entry.key),
        level=record.level,
        message=record.message,
        stream=record.stream,
        module=record.module,
        fields=dict(record.fields),
        said_at=record.timestamp,
    )
    message.logged_at.FromDatetime(entry.at)
    return message


def log_of(message: Any) -> LogEntry:
    """Return the log record in a message.

    Raises:
        PluginIdInvalid: its plugin is no id.
    """
    record = LogRecord(
        message.level,
        message.message,
        message.stream,
        tuple(sorted(message.fields.items())),
        message.module,
        message.said_at,
    )
    at = message.logged_at.ToDatetime(UTC)
    return LogEntry(key_of(message.key), at, record)


def letter_message(letter: DeadLetter) -> connector_pb2.DeadLetter:
    """Return a dead letter as a message."""
    from aperio_plugin.wire import connector_pb2

    return connector_pb2.DeadLetter(
        **{name: getattr(letter, name) for name in letter.__slots__}  # the same names
    )


def _moment(message: Any, name: str) -> datetime | None:
    return getattr(message, name).ToDatetime(UTC) if message.HasField(name) else None


def _text(message: Any, name: str) -> str:
    """Return a time as records state it: RFC 3339 in UTC; empty when it is absent."""
    found: str = getattr(message, name).ToJsonString() if message.HasField(name) else ""
    return found
