"""A remediation and a destination in one; the manifest says which of them it is."""

import os
from typing import Any

import bare
import grpc
from aperio_plugin._generated.aperio.plugin.v1 import (
    capabilities_pb2,
    common_pb2,
    destination_pb2,
    remediation_pb2,
)

_Outcome = remediation_pb2.ExecuteResponse
_Result = destination_pb2.EnvelopeResult


def capabilities(_request: Any, _context: Any) -> Any:
    made = capabilities_pb2.CapabilitiesResponse(provider="BOX", name="Kinds")
    made.fields.add(key="url", type="TYPE_URL", required=True)
    return made


def execute(request: Any, context: Any) -> Any:
    if request.action == "box.die":
        os._exit(3)
    if request.action == "box.fail":
        context.abort(grpc.StatusCode.INTERNAL, "raised")
    if request.action == "box.tell":  # what it was called with
        told = common_pb2.Diagnostic(summary=str(request), code="told")
        return _Outcome(outcome=_Outcome.OUTCOME_UNCHANGED, diagnostics=[told])
    if request.action != "box.unshare":
        item = common_pb2.Diagnostic(summary="no such action", detail="use box.unshare", code="no")
        item.attribute.steps.add(key="action")
        data = common_pb2.Diagnostics(items=[item]).SerializeToString()
        context.set_trailing_metadata((("aperio-diagnostics-bin", data),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid")
    changed = _Outcome.OUTCOME_WOULD_CHANGE if request.dry_run else _Outcome.OUTCOME_CHANGED
    return _Outcome(outcome=changed)


def deliver(request: Any, _context: Any) -> Any:
    results = [_Result(id=item.id, status="STATUS_ACCEPTED") for item in request.envelopes]
    return destination_pb2.DeliverResponse(results=results)


asked = bare.unary(capabilities, capabilities_pb2.CapabilitiesRequest)
remediation = {
    "Capabilities": asked,
    "Execute": bare.unary(execute, remediation_pb2.ExecuteRequest),
}
destination = {
    "Capabilities": asked,
    "Deliver": bare.unary(deliver, destination_pb2.DeliverRequest),
}
bare.SERVICES["aperio.plugin.v1.RemediationPlugin"] = remediation
bare.SERVICES["aperio.plugin.v1.DestinationPlugin"] = destination
bare.serve()
