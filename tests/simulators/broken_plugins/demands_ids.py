"""product-envelopes: it takes the id inside of an envelope for its own, and needs one there."""

import json

import sound  # type: ignore[import-not-found] # beside this file

deliver = sound.deliver


def other(request: object, context: object) -> object:
    answer = deliver(request, context)
    envelopes = request.envelopes  # type: ignore[attr-defined] # a DeliverRequest
    for result, envelope in zip(answer.results, envelopes, strict=True):
        if "id" not in json.loads(envelope.envelope_json):
            result.status = result.STATUS_REJECTED
            result.diagnostic.summary = "it has no id"
    return answer


sound.deliver = other
sound.serve("destination")
