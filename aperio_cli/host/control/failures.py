"""Failures of calls: errors as gRPC states them, and back.

Form: the trailing metadata key `grpc-status-details-bin` with a google.rpc.Status, whose one detail
is an aperio.host.v1.Error. Clients of gRPC and Connect read it by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors import (
    INCOMPATIBLE,
    NOT_DONE,
    PLUGIN_FAILED,
    REFUSED,
    UNAVAILABLE,
    USAGE,
    AperioError,
    catalogue,
)
from aperio_cli.errors.controlling import HostBusy, HostFailed, HostNotRunning
from aperio_cli.errors.installing import NotInstalled
from aperio_cli.errors.running import (
    PluginContractBroken,
    PluginDeadlineExceeded,
    PluginRateLimited,
    PluginReportedError,
    PluginUnauthenticated,
)
from aperio_cli.errors.usage import NotFound
from aperio_cli.host.control.encoding import cut, varint

if TYPE_CHECKING:
    from aperio_plugin.wire import control_pb2
    from grpc import StatusCode
    from grpc.aio import AioRpcError

DETAILS_KEY: Final = "grpc-status-details-bin"

_TYPE_PREFIX: Final = "type.googleapis.com/"
# Clients refuse trailers that are too long (gRPC: from 8 KiB on, of all of them together), and with
# them the error: it is cut to what fits in base64, beside a message in which a byte may take three.
_LONGEST_WHAT_BYTES: Final = 1000
_LONGEST_WHY_BYTES: Final = 2000
_LONGEST_STEP_BYTES: Final = 400
_LONGEST_MESSAGE_BYTES: Final = 300
_MOST_STEPS: Final = 3
# The first that an error is an instance of.
_BY_KIND: Final = (
    (NotInstalled, "NOT_FOUND"),
    (NotFound, "NOT_FOUND"),
    (PluginUnauthenticated, "UNAUTHENTICATED"),
    (PluginRateLimited, "RESOURCE_EXHAUSTED"),
    (PluginDeadlineExceeded, "DEADLINE_EXCEEDED"),
    (PluginContractBroken, "INTERNAL"),
    (HostFailed, "INTERNAL"),
    (HostBusy, "RESOURCE_EXHAUSTED"),
)
_BY_EXIT_STATUS: Final = {
    NOT_DONE: "FAILED_PRECONDITION",
    USAGE: "INVALID_ARGUMENT",
    REFUSED: "PERMISSION_DENIED",
    UNAVAILABLE: "UNAVAILABLE",
    PLUGIN_FAILED: "UNAVAILABLE",
    INCOMPATIBLE: "FAILED_PRECONDITION",
}


def status_of(error: AperioError) -> StatusCode:
    """Return the gRPC status of an error; of one that a plugin reported the plugin's own."""
    import grpc

    name = next((name for kind, name in _BY_KIND if isinstance(error, kind)), "")
    if not name and isinstance(error, PluginReportedError):
        name = error.status
    return grpc.StatusCode[name or _BY_EXIT_STATUS.get(error.exit_status, "UNKNOWN")]


def summary_of(error: AperioError) -> str:
    """Return what a status says beside its code."""
    return cut(error.what, _LONGEST_MESSAGE_BYTES)


def message_of(error: AperioError) -> control_pb2.Error:
    """Return an error as a message, short enough for a trailer."""
    from aperio_plugin.wire import control_pb2

    message = control_pb2.Error(
        code=error.code,
        what=cut(error.what, _LONGEST_WHAT_BYTES),
        why=cut(error.why, _LONGEST_WHY_BYTES),
        next=[cut(step, _LONGEST_STEP_BYTES) for step in error.next[:_MOST_STEPS]],
        exit_status=error.exit_status,
    )
    wait_s = getattr(error, "retry_after_s", None)
    if wait_s is not None:
        message.retry_after.seconds = wait_s
    return message


def details_of(error: AperioError) -> bytes:
    """Return what stands under `DETAILS_KEY` for an error."""
    from google.protobuf.any_pb2 import Any as AnyMessage

    message = message_of(error)
    detail = AnyMessage(
        type_url=_TYPE_PREFIX + message.DESCRIPTOR.full_name, value=message.SerializeToString()
    )
    code: int = status_of(error).value[0]
    text = summary_of(error).encode()
    packed = detail.SerializeToString()
    # google.rpc.Status by hand, so that no second copy of its descriptor is registered:
    # 1 int32 code, 2 string message, 3 repeated Any details.
    return b"".join(
        (
            b"\x08",
            varint(code),
            b"\x12",
            varint(len(text)),
            text,
            b"\x1a",
            varint(len(packed)),
            packed,
        )
    )


# ── the caller's side ─────────────────────────────────────────────────────────────────────────────


def error_of(failed: AioRpcError) -> AperioError:
    """Return the error behind a failed call; for a code of a newer host a general one."""
    found = _detail(failed)
    if found is None:
        return _plain(failed)
    known = {kind.code: kind for kind in catalogue()}.get(found.code)
    if known is None:  # of a newer host
        return HostFailed(found.what, why=f"{found.code}\n{found.why}", next=list(found.next))
    error = known(found.what, why=found.why, next=list(found.next))
    if found.HasField("retry_after") and hasattr(error, "retry_after_s"):
        error.retry_after_s = found.retry_after.seconds
    return error


def _plain(failed: AioRpcError) -> AperioError:
    """Return the error for a call that failed on its way."""
    import grpc

    why = f"{failed.code().name}: {failed.details() or 'no details'}"
    if failed.code() is grpc.StatusCode.UNAVAILABLE:
        return HostNotRunning(
            "the host did not answer", why=why, next=["`aperio host run` starts one"]
        )
    if failed.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return HostBusy("the host did not take the call", why=why, next=["call it again later"])
    return HostFailed("the host could not do what it was asked", why=why)


def _detail(failed: AioRpcError) -> control_pb2.Error | None:
    """Return the Error in the trailer of a failed call, or None."""
    from aperio_plugin.wire import control_pb2
    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.protobuf.empty_pb2 import Empty
    from google.protobuf.message import DecodeError
    from google.protobuf.unknown_fields import UnknownFieldSet

    metadata: Any = failed.trailing_metadata() or ()
    data = next((value for key, value in metadata if key == DETAILS_KEY), b"")
    try:
        fields: Any = UnknownFieldSet(Empty.FromString(data))
        for field in fields:
            if field.field_number == 3:  # noqa: PLR2004 - details
                detail = AnyMessage.FromString(field.data)
                if detail.type_url == _TYPE_PREFIX + control_pb2.Error.DESCRIPTOR.full_name:
                    return control_pb2.Error.FromString(detail.value)
    except (DecodeError, TypeError):
        pass
    return None
