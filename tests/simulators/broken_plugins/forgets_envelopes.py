"""results: the last envelopes of a large batch have no result."""

import sound  # type: ignore[import-not-found] # beside this file

deliver = sound.deliver


def other(request: object, context: object) -> object:
    del request.envelopes[5:]  # type: ignore[attr-defined] # a DeliverRequest
    return deliver(request, context)


sound.deliver = other
sound.serve("destination")
