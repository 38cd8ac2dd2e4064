"""A connector that gives findings and audit log entries among its events, one of them odd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator


def finding(**changes: Any) -> connector_pb2.Finding:
    values: dict[str, Any] = {
        "rule_id": "ms365.open_link",
        "title": "A link is open",
        "target": "plan.pdf",
        "severity": "SEVERITY_HIGH",
        "risk_score": 80,
        "status": "STATUS_OPEN",
        "source_event_id": "e0",
    }
    made = connector_pb2.Finding(**(values | changes))
    made.occurred_at.seconds = 1_700_000_000
    return made


def findings(*items: connector_pb2.Finding) -> connector_pb2.SyncEvent:
    return connector_pb2.SyncEvent(findings=connector_pb2.FindingBatch(findings=items))


def entry(number: int) -> connector_pb2.AuditLogEntry:
    made = connector_pb2.AuditLogEntry(
        source_event_id=f"a{number}", action="policy.updated", record_json=b"{}"
    )
    made.occurred_at.seconds = 1_700_000_000
    return made


def schema(request: Any, context: Any) -> Any:
    made = bare.schema(request, context)
    made.interface.features.extend(["findings", "audit-log"])
    made.checks.add(key="ms365.open_link", title="Open link")
    return made


def sync(request: Any, _context: Any) -> Iterator[connector_pb2.SyncEvent]:
    if not request.cursor:
        yield bare.batch(0, 2)
        yield findings(finding(), finding(target="odd", severity=99))
        yield connector_pb2.SyncEvent(
            audit_log=connector_pb2.AuditLogBatch(entries=[entry(0), entry(1)])
        )
        yield bare.checkpoint(b"1")
    yield findings(finding(rule_id="ms365.unheard_of"))
    yield bare.batch(2, 1)
    yield findings(finding(status="STATUS_RESOLVED", source_event_id="e2"))
    yield bare.checkpoint(b"2")


if __name__ == "__main__":
    bare.serve(
        {
            "Schema": bare.unary(schema, connector_pb2.SchemaRequest),
            "Sync": bare.stream(sync, connector_pb2.SyncRequest),
        }
    )
