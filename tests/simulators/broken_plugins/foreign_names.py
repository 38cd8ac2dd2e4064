"""names: an event type is not named after the provider."""

import sound  # type: ignore[import-not-found] # beside this file

schema = sound.schema


def other(request: object, context: object) -> object:
    answer = schema(request, context)
    answer.event_types.append("login")
    return answer


sound.schema = other
sound.serve()
