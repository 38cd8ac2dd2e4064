"""A destination that takes three envelopes at a time, and answers as the record's `want` says.

`accept`, `reject`, `nothing`: no answer, `fail`: it raises, `limit`: the service asks to wait.
"""

import json
from typing import Any

import bare
import grpc
from aperio_plugin._generated.aperio.plugin.v1 import (
    capabilities_pb2,
    common_pb2,
    destination_pb2,
)

_STATUSES = {"accept": "STATUS_ACCEPTED", "reject": "STATUS_REJECTED"}


def capabilities(_request: Any, _context: Any) -> Any:
    made = capabilities_pb2.CapabilitiesResponse(provider="BOX", name="Takes")
    made.destination.max_batch_envelopes = 3
    return made


def deliver(request: Any, context: Any) -> Any:
    wants = [json.loads(each.envelope_json)["record"]["want"] for each in request.envelopes]
    if len(wants) > 3:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "more than was declared")
    if "fail" in wants:
        context.abort(grpc.StatusCode.INTERNAL, "raised")
    if "limit" in wants:
        said = common_pb2.Diagnostics(items=[common_pb2.Diagnostic(summary="slow down")])
        said.retry_after.seconds = 7
        context.set_trailing_metadata((("aperio-diagnostics-bin", said.SerializeToString()),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
    answer = destination_pb2.DeliverResponse()
    for each, want in zip(request.envelopes, wants, strict=True):
        if want != "nothing":
            answer.results.add(id=each.id, status=_STATUSES[want])
    return answer


bare.SERVICES["aperio.plugin.v1.DestinationPlugin"] = {
    "Capabilities": bare.unary(capabilities, capabilities_pb2.CapabilitiesRequest),
    "Deliver": bare.unary(deliver, destination_pb2.DeliverRequest),
}
bare.serve()
