"""What `plugin run … sync` is to read, as people type it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.scope import SyncScope

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def read_scope(since: str, streams: Sequence[str], event_types: Sequence[str]) -> SyncScope:
    """Return what is asked for.

    Args:
        since: a day, which begins in UTC, or a time in RFC 3339; empty: everything.
        streams: names.
        event_types: names.

    Raises:
        UsageError: the time is none.
    """
    return SyncScope(_time(since) if since else None, tuple(streams), tuple(event_types))


def _time(text: str) -> datetime:
    from aperio_plugin.times import parse_time

    try:
        return parse_time(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError as error:
        raise UsageError(
            "`--from` is no time: nothing was read",
            why=str(error).replace("occurred_at", "it", 1),
            next=["write a day, 2026-01-31, or a time with its zone, 2026-01-31T09:00:00Z"],
        ) from error
