"""wrong-settings: it fails without a word about what is wrong."""

import sound  # type: ignore[import-not-found] # beside this file


def settings(request: object, context: object) -> None:
    if b"[" in request.context.config_json:  # type: ignore[attr-defined] # any request
        context.abort(sound.grpc.StatusCode.INVALID_ARGUMENT, "no")  # type: ignore[attr-defined] # a ServicerContext


sound.settings = settings
sound.serve()
