"""The time, read in one place so that tests can hold it still."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the current moment, aware, in UTC."""
    return datetime.now(tz=UTC)


def timestamp() -> str:
    """Return the current moment as RFC 3339 in UTC with whole seconds: `2026-01-02T03:04:05Z`."""
    return format_timestamp(now())


def format_timestamp(moment: datetime) -> str:
    """Return an aware moment as RFC 3339 in UTC with whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def monotonic_s() -> float:
    """Return seconds on a clock that never goes back; only differences mean something."""
    return time.monotonic()
