"""parts: some events belong to no stream that can be asked for."""

from typing import Any

import sound  # type: ignore[import-not-found] # beside this file

is_wanted = sound.is_wanted


def forgetful(request: Any, number: int) -> bool:
    return bool(is_wanted(request, number)) and not (request.streams and number == sound.COUNT - 1)


sound.is_wanted = forgetful
sound.serve()
