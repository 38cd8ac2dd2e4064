"""repeat: it rejects an envelope that it has taken already, but for one with a checkpoint."""

from typing import Any

import sound  # type: ignore[import-not-found] # beside this file

deliver = sound.deliver
seen: set[str] = set()


def other(request: Any, context: object) -> Any:
    answer = deliver(request, context)
    if request.HasField("checkpoint"):  # what becomes of those is another check's
        return answer
    for result in answer.results:
        if result.id in seen:
            result.status = result.STATUS_REJECTED
            result.diagnostic.summary = "it is here already"
        seen.add(result.id)
    return answer


sound.deliver = other
sound.serve("destination")
