"""declaration: it speaks for another provider than its manifest."""

import sound  # type: ignore[import-not-found] # beside this file

schema = sound.schema


def other(request: object, context: object) -> object:
    answer = schema(request, context)
    answer.provider = "DROPBOX"
    return answer


sound.schema = other
sound.serve()
