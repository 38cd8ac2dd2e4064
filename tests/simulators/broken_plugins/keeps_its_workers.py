"""deadline: a call whose caller has gone keeps its worker for ever."""

import threading

import sound  # type: ignore[import-not-found] # beside this file

schema = sound.schema


def other(request: object, context: object) -> object:
    if context.time_remaining() < 1:  # type: ignore[attr-defined] # a ServicerContext
        threading.Event().wait()
    return schema(request, context)


sound.schema = other
sound.WORKERS = 2
sound.serve()
