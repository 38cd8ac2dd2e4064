"""The nouns of supervision: which instance, what is wanted of it, how it is; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from aperio_cli.clock import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from aperio_cli.errors import AperioError
    from aperio_cli.host.lifecycle import Phase
    from aperio_cli.models.plugin_id import PluginId


@dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """One plugin for one integration of one organization."""

    plugin: PluginId
    organization: str
    integration: str

    def __str__(self) -> str:
        return f"{self.plugin} {self.organization} {self.integration}"


Name: TypeAlias = tuple[InstanceKey, str]
"""By which a supervisor knows an instance: which it is, and the reach of one that only calls keep
up; empty of one that is wanted. Never as one text: names of organizations may have blanks."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An instance that is to be up.

    Attributes:
        key: which.
        version: of the plugin; empty: the current one, whatever that is at the time.
        settings: values by key, already resolved; may hold secrets.
        is_configured: whether its settings are stated here, and have to fit it; else each call
            brings its own.
        is_on_demand: whether only calls keep it up.
        problem: what is wrong with how it is stated, so that it cannot be started; None: nothing.
    """

    key: InstanceKey
    version: str = ""
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    is_configured: bool = True
    is_on_demand: bool = False
    problem: AperioError | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Fallback:
    """A version that was left for the last healthy one, because it did not start.

    Attributes:
        version: that was left.
        code: of the error that it ended with.
        reason: that error in words.
        at: when it was left, RFC 3339 in UTC.
    """

    version: str
    code: str
    reason: str
    at: str

    def to_json(self) -> dict[str, object]:
        """Return it as records and `--json` have it."""
        return {
            "version": self.version,
            "code": self.code or None,
            "reason": self.reason or None,
            "at": self.at,
        }


@dataclass(frozen=True, slots=True)
class Pause:
    """That an instance is to rest until somebody resumes it, however often the host is started.

    Attributes:
        by: who wants that.
        at: since when, RFC 3339 in UTC.
        reason: why; may be empty.
    """

    by: str
    at: str
    reason: str = ""

    def __str__(self) -> str:
        return f"paused by {self.by} {self.at}{f': {self.reason}' if self.reason else ''}"

    def to_json(self) -> dict[str, object]:
        """Return it as records and `--json` have it."""
        return {"by": self.by, "at": self.at, "reason": self.reason or None}


@dataclass(frozen=True, slots=True)
class Status:
    """How an instance is at one moment. All text is safe to print.

    Attributes:
        key: which.
        version: that runs, or was to run last; empty: none was cleared yet.
        kind: connector, remediation or destination; empty as long as there is no version.
        badge: as the policy gives it; empty in the same way.
        signer: who signed it; empty: nobody has.
        phase: what state it is in.
        code: of the error that keeps it from running; empty: nothing is wrong.
        reason: that error in words.
        until: when it is started again; None: not by itself, or it is up.
        restarts: how often it was started again.
        last_healthy_at: when it last answered a health check.
        started_at: when its process was started.
        pid: of its process.
        not_enforced: names of the limits that nobody keeps of it.
        exceptions: the exceptions by which it may run, in words.
        peak_memory_bytes: the most memory that it had; None: nobody counts.
        breaker: whether starts of its plugin are let through.
        is_on_demand: whether only calls keep it up.
        calls: how many are in flight.
        newcomer: the version that is to take over from it, and why it has not; empty: none.
        fallback: the version in whose place it runs, since that does not start; None: none.
        pause: who wants it to rest; None: nobody.
    """

    key: InstanceKey
    phase: Phase
    version: str = ""
    kind: str = ""
    badge: str = ""
    signer: str = ""
    code: str = ""
    reason: str = ""
    until: datetime | None = None
    restarts: int = 0
    last_healthy_at: datetime | None = None
    started_at: datetime | None = None
    pid: int | None = None
    not_enforced: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    peak_memory_bytes: int | None = None
    breaker: str = "CLOSED"
    is_on_demand: bool = False
    calls: int = 0
    newcomer: str = ""
    fallback: Fallback | None = None
    pause: Pause | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as `--json` shows it."""
        return {
            "plugin": str(self.key.plugin),
            "organization": self.key.organization,
            "integration": self.key.integration,
            "state": self.phase.value,
            "version": self.version or None,
            "kind": self.kind or None,
            "badge": self.badge or None,
            "signer": self.signer or None,
            "code": self.code or None,
            "reason": self.reason or None,
            "until": _text(self.until),
            "restarts": self.restarts,
            "last_healthy_at": _text(self.last_healthy_at),
            "started_at": _text(self.started_at),
            "pid": self.pid,
            "not_enforced": list(self.not_enforced),
            "exceptions": list(self.exceptions),
            "peak_memory_bytes": self.peak_memory_bytes,
            "breaker": self.breaker,
            "is_on_demand": self.is_on_demand,
            "calls": self.calls,
            "newcomer": self.newcomer or None,
            "fallback": self.fallback.to_json() if self.fallback else None,
            "pause": self.pause.to_json() if self.pause else None,
        }


def _text(moment: datetime | None) -> str | None:
    return format_timestamp(moment) if moment else None
