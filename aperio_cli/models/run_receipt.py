"""The receipt of one run: what a plugin was asked to do for whom, and what came of it.

Its words are those of Aperio's server for the same thing: RUNNING, SUCCEEDED or FAILED, an error
message of at most 500 characters, a duration in milliseconds.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

from aperio_cli.models.plugin_id import PluginId

if TYPE_CHECKING:
    from aperio_cli.models.reading import Table

RUNNING: Final = "RUNNING"
SUCCEEDED: Final = "SUCCEEDED"
FAILED: Final = "FAILED"
STATUSES: Final = (RUNNING, SUCCEEDED, FAILED)
MOST_MESSAGE: Final = 500

_RUN_ID: Final = re.compile(r"run_[A-Za-z0-9_-]{16}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COUNTS: Final = ("seen", "sent", "filtered", "dead_letters", "tokens", "egress_refused")
_TEXTS: Final = ("version", "organization", "integration", "operation", "started_at")
_KNOWN: Final = ("duration_ms", "peak_memory_bytes")
_OPTIONAL: Final = (
    "ended_at",
    "covers_until",
    "code",
    "error_message",
    "instead_of",
    "traceparent",
)


def make_run_id(random: bytes) -> str:
    """Return a run's id made of 12 random bytes, in the form of the server's ids."""
    return f"run_{base64.urlsafe_b64encode(random).decode()}"


@dataclass(frozen=True, slots=True)
class RunReceipt:
    """What one run did.

    Attributes:
        run_id: unique.
        plugin: which one.
        version: its version.
        organization: the tenant.
        integration: the connected account.
        operation: what it was asked to do: sync, deliver, execute, test and so on.
        started_at: RFC 3339 in UTC, with milliseconds.
        status: RUNNING, SUCCEEDED or FAILED.
        ended_at: likewise; empty while it is running.
        duration_ms: by a clock that never goes back; None while it is running.
        seen: records that were read, or handed over.
        sent: of those, what was passed on and accepted.
        filtered: of those, what nobody had asked for, or the destination does not take.
        dead_letters: of those, what could not be passed on, or will never be taken.
        checkpoint_sha256: of the cursor that was stored last, hex; empty: none was.
        covers_until: all up to this time was read, RFC 3339 in UTC; empty: not known.
        tokens: access tokens that were obtained for it.
        egress_refused: connections that were refused meanwhile.
        peak_memory_bytes: the most memory that the plugin had; None: nobody has counted it.
        code: of the error that it ended with; empty: none.
        error_message: that error, in a line.
        instead_of: the version in whose place it ran, since that does not start; empty: none.
        traceparent: the caller's span, as W3C Trace Context writes it; empty: none.
    """

    run_id: str
    plugin: PluginId
    version: str
    organization: str
    integration: str
    operation: str
    started_at: str
    status: str = RUNNING
    ended_at: str = ""
    duration_ms: int | None = None
    seen: int = 0
    sent: int = 0
    filtered: int = 0
    dead_letters: int = 0
    checkpoint_sha256: str = ""
    covers_until: str = ""
    tokens: int = 0
    egress_refused: int = 0
    peak_memory_bytes: int | None = None
    code: str = ""
    error_message: str = ""
    instead_of: str = ""
    traceparent: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as records and reports carry it; what is not known is null."""
        document = {name: getattr(self, name) for name in _NAMES} | {"plugin": str(self.plugin)}
        return {key: None if value == "" else value for key, value in document.items()}

    @classmethod
    def from_record(cls, table: Table) -> Self:
        """Return the receipt that a record states; what is wrong with it is raised by its `fail`.

        Args:
            table: the record, of this release or a later one.
        """
        texts = {key: table.recorded(key) for key in _TEXTS}
        texts |= {key: table.recorded(key) for key in _OPTIONAL if table.values.get(key)}
        counts = {key: table.integer(key) for key in _COUNTS if key in table}
        known = {key: table.integer(key) for key in _KNOWN if table.values.get(key) is not None}
        fields: dict[str, Any] = {**texts, **counts, **known}
        return cls(
            run_id=table.matching("run_id", _RUN_ID, "run_ and 16 letters"),
            plugin=table.converted("plugin", PluginId.parse),
            status=table.choice("status", STATUSES),
            checkpoint_sha256=table.matching("checkpoint_sha256", _SHA256, "a digest")
            if table.values.get("checkpoint_sha256")
            else "",
            **fields,
        )


_NAMES: Final = tuple(each.name for each in fields(RunReceipt))
