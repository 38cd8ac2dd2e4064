"""What every call has: settings, a token, errors and diagnostics."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from aperio_plugin._convert.objects import decode_object
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2
from aperio_plugin.context import Config, Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_plugin import errors

DIAGNOSTICS_KEY: Final = "aperio-diagnostics-bin"

# gRPC takes 8 KiB of metadata; the message is sent beside the diagnostics and may triple in size.
_MAX_STATUS_TEXT = 400
_MAX_SUMMARY_TEXT = 500
_MAX_DETAIL_TEXT = 1500


def config_from(message: common_pb2.InvocationContext) -> Config:
    """Return the operator's settings.

    Raises:
        errors.InvalidArgument: they are not a JSON object.
    """
    return Config(decode_object(message.config_json, "the configuration"))


def token_from(message: common_pb2.InvocationContext) -> Token | None:
    """Return the access token, if there is one."""
    if not message.HasField("token"):
        return None
    token = message.token
    known = token.HasField("expires_at")
    return Token(token.value, token.expires_at.ToDatetime(tzinfo=UTC) if known else None)


def status_text(error: errors.PluginError) -> str:
    """Return the one line that stands beside the status code."""
    return _one_line(error.summary, _MAX_STATUS_TEXT)


def diagnostics_of(error: errors.PluginError) -> common_pb2.Diagnostics:
    """Return an error as the payload of `DIAGNOSTICS_KEY`, short enough for metadata."""
    message = common_pb2.Diagnostics(items=[diagnostic_message(error.diagnostic)])
    ask_to_wait(message, error.retry_after_s)
    return message


def ask_to_wait(message: Any, retry_after_s: object) -> None:
    """Set `retry_after` of a message, if what a plugin gives for it makes sense."""
    from aperio_plugin.rest import retry_after_s as read

    if retry_after_s is not None and (seconds := read(retry_after_s)) is not None:
        message.retry_after.FromMicroseconds(int(seconds * 1_000_000))


def diagnostic_message(diagnostic: errors.Diagnostic) -> common_pb2.Diagnostic:
    """Return the message of a diagnostic, its texts shortened if they are very long."""
    return common_pb2.Diagnostic(
        severity=named(common_pb2.Diagnostic.Severity, "SEVERITY", diagnostic.severity),
        summary=_one_line(diagnostic.summary, _MAX_SUMMARY_TEXT),
        detail=_clean(diagnostic.detail)[:_MAX_DETAIL_TEXT],
        code=diagnostic.code,
        attribute=path_message(diagnostic.attribute) if diagnostic.attribute else None,
    )


def diagnostic_messages(items: Sequence[errors.Diagnostic]) -> list[common_pb2.Diagnostic]:
    """Return the messages of diagnostics, in their order."""
    return [diagnostic_message(item) for item in items]


def _clean(text: str) -> str:
    """Return text without lone surrogates, which UTF-8 does not have."""
    return str(text).encode("utf-8", "replace").decode()


def _one_line(text: str, most: int) -> str:
    return " ".join(_clean(text).split())[:most]


def path_message(path: errors.Path) -> common_pb2.AttributePath:
    """Return the message of a path into settings or a record."""
    steps = (path,) if isinstance(path, str) else path
    return common_pb2.AttributePath(
        steps=[{"index": step} if isinstance(step, int) else {"key": step} for step in steps]
    )


def named(wrapper: Any, prefix: str, member: Any) -> Any:
    """Return the protobuf value whose name is the prefix and the name of our enum's member."""
    return wrapper.Value(f"{prefix}_{member.name}")
