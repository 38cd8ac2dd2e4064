"""repeat: it rejects an envelope that it has taken already."""

import sound  # type: ignore[import-not-found] # beside this file

deliver = sound.deliver
seen: set[str] = set()


def other(request: object, context: object) -> object:
    answer = deliver(request, context)
    for result in answer.results:
        if result.id in seen:
            result.status = result.STATUS_REJECTED
            result.diagnostic.summary = "it is here already"
        seen.add(result.id)
    return answer


sound.deliver = other
sound.serve("destination")
