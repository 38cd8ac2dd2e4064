"""resume: what it finds it gives only when it reads from the beginning."""

from collections.abc import Iterator
from typing import Any

import sound  # type: ignore[import-not-found] # beside this file

sync = sound.sync


def forgetful(request: Any, context: Any) -> Iterator[Any]:
    for message in sync(request, context):
        if not request.cursor or not message.HasField("findings"):
            yield message


sound.sync = forgetful
sound.serve()
