"""wrong-settings: it ends when a setting is not what it expects."""

import os

import sound  # type: ignore[import-not-found] # beside this file


def settings(request: object, _context: object) -> None:
    if b"[" in request.context.config_json:  # type: ignore[attr-defined] # any request
        os._exit(3)


sound.settings = settings
sound.serve()
