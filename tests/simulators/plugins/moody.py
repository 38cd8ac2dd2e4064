"""A destination that does with envelopes what its setting `plan` says, and keeps what it accepts.

The plan is JSON: `out`, a file that gets a line for each accepted envelope; `calls`, what becomes
of the first calls of Deliver; `poison`, events at which a call fails; `ids`, what becomes of the
first attempts at an event. Events are named by their id in the service, others by their delivery
key. A word is `ok`, `crash`, `hang`, `retry`, `reject`, `nothing`, `newer`, or a gRPC status; a
number behind a colon is a wait that is asked for, in seconds.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import bare
import grpc
from aperio_plugin._generated.aperio.plugin.v1 import (
    capabilities_pb2,
    common_pb2,
    destination_pb2,
)

_STATUSES = {"ok": 1, "reject": 2, "retry": 3, "newer": 77}
_ATTEMPTS: dict[str, int] = {}


def capabilities(_request: Any, _context: Any) -> Any:
    made = capabilities_pb2.CapabilitiesResponse(provider="MOODY", name="Moody")
    made.fields.add(key="plan", type="TYPE_TEXT", required=True)
    made.destination.streams.append(made.destination.STREAM_EVENT)
    made.destination.max_batch_envelopes = 2
    return made


def word(name: str, planned: list[str]) -> tuple[str, float]:
    """The word for the next attempt at something, and the wait."""
    attempt = _ATTEMPTS[name] = _ATTEMPTS.get(name, -1) + 1
    found, _, wait = (planned[attempt] if attempt < len(planned) else "ok").partition(":")
    return found, float(wait or 0)


def name_of(item: Any) -> str:
    """An event's id in the service; of what has none the delivery key."""
    return str(json.loads(item.envelope_json).get("source_event_id", item.id))


def deliver(request: Any, context: Any) -> Any:
    plan = json.loads(json.loads(request.context.config_json)["plan"])
    told, wait_s = word("", plan.get("calls", []))
    if told == "crash":
        os._exit(3)
    if told == "hang":
        while context.is_active():
            time.sleep(0.01)
        return destination_pb2.DeliverResponse()
    if told != "ok":
        down = common_pb2.Diagnostic(summary="the service is down", detail="look at its log")
        said = common_pb2.Diagnostics(items=[down])
        said.retry_after.FromNanoseconds(int(wait_s * 1e9))
        context.set_trailing_metadata((("aperio-diagnostics-bin", said.SerializeToString()),))
        context.abort(grpc.StatusCode[told], "down")
    names = {name_of(item) for item in request.envelopes}
    if names & set(plan.get("poison", [])):
        context.abort(grpc.StatusCode.UNKNOWN, "Exception calling application: bitter")
    response = destination_pb2.DeliverResponse()
    with Path(plan["out"]).open("ab") as out:
        for item in request.envelopes:
            name = name_of(item)
            told, wait_s = word(name, plan.get("ids", {}).get(name, []))
            if told == "ok":
                out.write(item.envelope_json + b"\n")
            if told != "nothing":
                result = response.results.add(id=item.id, status=_STATUSES[told])
                result.diagnostic.summary = f"it is {name}"
                result.diagnostic.code = "mood"
                result.retry_after.FromNanoseconds(int(wait_s * 1e9))
    return response


def serve(changed: Any = capabilities) -> None:
    bare.SERVICES["aperio.plugin.v1.DestinationPlugin"] = {
        "Capabilities": bare.unary(changed, capabilities_pb2.CapabilitiesRequest),
        "Deliver": bare.unary(deliver, destination_pb2.DeliverRequest),
    }
    bare.serve()


if __name__ == "__main__":
    serve()
