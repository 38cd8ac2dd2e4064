"""secrets: it logs the token of the call."""

import sound  # type: ignore[import-not-found] # beside this file

settings = sound.settings


def other(request: object, context: object) -> object:
    sound.log(f"token {request.context.token.value}")  # type: ignore[attr-defined] # any request
    return settings(request, context)


sound.settings = other
sound.serve()
