"""fields: its auth names a setting that it does not declare."""

import sound  # type: ignore[import-not-found] # beside this file

schema = sound.schema


def other(request: object, context: object) -> object:
    answer = schema(request, context)
    answer.auth.api_key.field = "token"
    return answer


sound.schema = other
sound.serve()
