"""secrets: it logs the settings that it was given."""

import sound  # type: ignore[import-not-found] # beside this file

settings = sound.settings


def other(request: object, context: object) -> object:
    sound.log(f"settings: {request.context.config_json}")  # type: ignore[attr-defined] # any request
    return settings(request, context)


sound.settings = other
sound.serve()
