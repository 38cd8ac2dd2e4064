"""Every kind in one, of a newer minor version: it answers with words that this host does not know.

Its sync gives the settings that it was given as an event.
"""

from collections.abc import Iterator
from typing import Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import (
    capabilities_pb2,
    common_pb2,
    connector_pb2,
    destination_pb2,
    remediation_pb2,
)

NEW: Any = 77
_NEW_AUTH = bytes.fromhex("a20603616263")  # field 100 with three bytes


def said() -> common_pb2.Diagnostic:
    return common_pb2.Diagnostic(severity=NEW, summary="said in new words")


def fields() -> list[common_pb2.ConfigField]:
    return [common_pb2.ConfigField(key="pick", type=NEW, default_json='{"deep": [1.50]}')]


def schema(request: Any, context: Any) -> Any:
    made = bare.schema(request, context)
    made.availability = NEW
    made.fields.extend(fields())
    made.auth.MergeFromString(_NEW_AUTH)
    return made


def sync(request: Any, _context: Any) -> Iterator[connector_pb2.SyncEvent]:
    made = bare.batch(0, 1)
    made.batch.events[0].record_json = request.context.config_json
    yield made


def connection(_request: Any, _context: Any) -> Any:
    return connector_pb2.TestResponse(ok=True, diagnostics=[said()])


def capabilities(_request: Any, _context: Any) -> Any:
    made = capabilities_pb2.CapabilitiesResponse(provider="BOX", name="New", fields=fields())
    made.destination.streams.extend([NEW, made.destination.STREAM_EVENT])
    return made


def actions(_request: Any, _context: Any) -> Any:
    made = capabilities_pb2.CapabilitiesResponse(provider="BOX", name="New", fields=fields())
    made.remediation.actions.add(key="box.a", severity_hint=NEW, supports_dry_run=True)
    return made


def execute(_request: Any, _context: Any) -> Any:
    made = remediation_pb2.ExecuteResponse(outcome=NEW, diagnostics=[said()])
    made.changes.add(before_json=b'{"n": 1}', after_json=b"[" * 100_000)
    made.changes.add(before_json=b"NaN", after_json=b'"\\ud83d"')
    made.changes[0].attribute.steps.add(key="role")
    return made


def deliver(request: Any, _context: Any) -> Any:
    ids = [item.id for item in request.envelopes]
    results = [destination_pb2.EnvelopeResult(id=ids[0], status="STATUS_ACCEPTED")]
    results += [
        destination_pb2.EnvelopeResult(id=i, status=NEW, diagnostic=said()) for i in ids[1:]
    ]
    return destination_pb2.DeliverResponse(results=results)


bare.SERVICES["aperio.plugin.v1.RemediationPlugin"] = {
    "Capabilities": bare.unary(actions, capabilities_pb2.CapabilitiesRequest),
    "Execute": bare.unary(execute, remediation_pb2.ExecuteRequest),
}
bare.SERVICES["aperio.plugin.v1.DestinationPlugin"] = {
    "Capabilities": bare.unary(capabilities, capabilities_pb2.CapabilitiesRequest),
    "Deliver": bare.unary(deliver, destination_pb2.DeliverRequest),
}
bare.serve(
    {
        "Schema": bare.unary(schema, connector_pb2.SchemaRequest),
        "TestConnection": bare.unary(connection, connector_pb2.TestRequest),
        "Sync": bare.stream(sync, connector_pb2.SyncRequest),
    }
)
