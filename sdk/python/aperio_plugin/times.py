"""Times as services write them, for plugins that compare them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aperio_plugin._convert.times import time_fields

__all__ = ["parse_time"]


def parse_time(text: str) -> datetime:
    """Read a time by the rule for `Event.occurred_at`: RFC 3339, as services write it.

    Returns:
        The time in UTC, cut to the microsecond.

    Raises:
        ValueError: it is none, has no time zone, or is outside of the years 1 to 9999 in UTC.
    """
    found = time_fields(str(text))
    since = timedelta(seconds=found["seconds"], microseconds=found.get("nanos", 0) // 1000)
    return datetime(1970, 1, 1, tzinfo=UTC) + since
