"""parts: what occurred at the very moment that a backfill begins is left out."""

from typing import Any

import sound  # type: ignore[import-not-found] # beside this file

is_wanted = sound.is_wanted


def late(request: Any, number: int) -> bool:
    since = getattr(request, "from").seconds
    return bool(is_wanted(request, number)) and sound.event(number).occurred_at.seconds != since


sound.is_wanted = late
sound.serve()
