"""parts: asked for one type of events, it gives only some of them."""

from typing import Any

import sound  # type: ignore[import-not-found] # beside this file

is_wanted = sound.is_wanted


def wrong(request: Any, number: int) -> bool:
    return bool(is_wanted(request, number)) and not (request.event_types and number % 5 == 0)


sound.is_wanted = wrong
sound.serve()
