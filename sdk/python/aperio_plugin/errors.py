"""What went wrong, in the terms that a host understands.

Raise one of these from a plugin; the SDK turns it into the right gRPC status with structured
diagnostics. Anything else that a plugin raises is a bug: the host sees INTERNAL and the log gets
the traceback.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "Cancelled",
    "Diagnostic",
    "InvalidArgument",
    "InvalidConfig",
    "InvalidCursor",
    "InvalidRecord",
    "Path",
    "PermissionDenied",
    "PluginError",
    "RateLimited",
    "ResultUnknown",
    "Severity",
    "StateConflict",
    "StateUnavailable",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
]

Path = str | tuple[str | int, ...]
"""A place in the configuration or in a record: one key, or keys and indices, outermost first."""


class Severity(enum.Enum):
    """How much a diagnostic matters: an error means that something was not done."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong, or that a person should know.

    Attributes:
        summary: one line; no secrets.
        detail: what to do about it, and evidence; may have several lines; no secrets.
        code: stable kebab-case name of the cause, for programs.
        attribute: what it is about, outermost step first; empty: the whole.
        severity: an error unless said otherwise.
    """

    summary: str
    detail: str = ""
    code: str = ""
    attribute: tuple[str | int, ...] = ()
    severity: Severity = Severity.ERROR


class PluginError(Exception):
    """The base of every error that a plugin raises on purpose.

    Args:
        summary: one line that says what is wrong; no secrets.
        detail: what to do about it, and evidence; may have several lines; no secrets.
        attribute: the part of the configuration or of a record that it is about.
        retry_after_s: the service asks not to be called again for so many seconds.

    Attributes:
        status: the name of the gRPC status code that the host sees.
        code: stable kebab-case name of the cause.
        http_status: what the service answered with, where `rest` raised it; None: it did not
            answer, or asks to wait.
    """

    status: ClassVar[str] = "INTERNAL"
    code: ClassVar[str] = "plugin-failed"

    def __init__(
        self,
        summary: str,
        *,
        detail: str = "",
        attribute: Path = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(summary)
        self.summary = summary
        self.detail = detail
        self.attribute = (attribute,) if isinstance(attribute, str) else tuple(attribute)
        self.retry_after_s = retry_after_s
        self.http_status: int | None = None

    @property
    def diagnostic(self) -> Diagnostic:
        """The error as data."""
        return Diagnostic(self.summary, self.detail, self.code, self.attribute)


class Unauthenticated(PluginError):
    """The service does not, or no longer, accept the token or key.

    Raised in mid-sync, the host obtains another token and goes on from the last checkpoint.
    """

    status = "UNAUTHENTICATED"
    code = "unauthenticated"


class PermissionDenied(PluginError):
    """The service knows the caller and does not let it do this, for want of a scope, say."""

    status = "PERMISSION_DENIED"
    code = "permission-denied"


class RateLimited(PluginError):
    """The service asks to be called less often; say in `retry_after_s` how long to wait."""

    status = "RESOURCE_EXHAUSTED"
    code = "rate-limited"


class Unavailable(PluginError):
    """The service does not answer, or not usefully; trying later may help."""

    status = "UNAVAILABLE"
    code = "service-unavailable"


class ResultUnknown(Unavailable):
    """A request that changes something was sent, and what came of it is not known.

    In `Remediation.execute` it becomes the outcome *unknown*: neither failed nor done. Where a
    repeat is harmless it is an `Unavailable` like any other.
    """

    code = "result-unknown"


class InvalidConfig(PluginError):
    """A setting is missing, malformed or refused by the service; `field` says which.

    Args:
        summary: one line that says what is wrong; no secrets.
        field: the key of the setting, or the path of a part of it.
        detail: what to do about it, and evidence.
    """

    status = "INVALID_ARGUMENT"
    code = "config-invalid"

    def __init__(self, summary: str, *, field: Path = (), detail: str = "") -> None:
        super().__init__(summary, detail=detail, attribute=field)


class InvalidArgument(PluginError):
    """A parameter of this call is not acceptable, such as an unknown target of an action."""

    status = "INVALID_ARGUMENT"
    code = "argument-invalid"


class InvalidCursor(PluginError):
    """The cursor is not this plugin's, or the service forgot it: only a full sync can go on."""

    status = "OUT_OF_RANGE"
    code = "cursor-invalid"


class InvalidRecord(PluginError):
    """A record of the service, or an event made of one, cannot be passed on."""

    status = "INTERNAL"
    code = "record-invalid"


class Unsupported(PluginError):
    """The plugin does not do what was asked."""

    status = "UNIMPLEMENTED"
    code = "unsupported"


class Cancelled(PluginError):
    """The host ended the call, or its deadline passed; `Context.sleep` raises it."""

    status = "CANCELLED"
    code = "cancelled"


class StateUnavailable(PluginError):
    """The host offers no key-value store, or does not answer; see `state` in the manifest."""

    status = "FAILED_PRECONDITION"
    code = "state-unavailable"


class StateConflict(PluginError):
    """The stored revision is not the expected one: somebody else has written meanwhile."""

    status = "ABORTED"
    code = "state-conflict"
