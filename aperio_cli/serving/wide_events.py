"""Wide events: one line of JSON for each run, in the shape that Aperio's server logs its own in.

`kind`, `event_name`, `service`, `occurred_at` and `organization_id` are everybody's; then follow
dimensions, which are texts, and measurements, which are whole numbers, side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aperio_cli.models.run_receipt import SUCCEEDED
from aperio_cli.models.traceparent import trace_id

if TYPE_CHECKING:
    from aperio_cli.models.run_receipt import RunReceipt

SERVICE: Final = "plugin-host"
NAME: Final = "plugin.run"


def wide_event(receipt: RunReceipt) -> dict[str, Any]:
    """Return the wide event of a run that has ended."""
    dimensions = {
        "run_id": receipt.run_id,
        "plugin": str(receipt.plugin),
        "plugin_version": receipt.version,
        "integration_id": receipt.integration,
        "operation": receipt.operation,
        "outcome": "succeeded" if receipt.status == SUCCEEDED else "failed",
        "error_kind": receipt.code,
        "instead_of": receipt.instead_of,
        "trace_id": trace_id(receipt.traceparent),
    }
    measurements = {
        "duration_ms": receipt.duration_ms,
        "records_seen": receipt.seen,
        "records_sent": receipt.sent,
        "records_filtered": receipt.filtered,
        "dead_letters": receipt.dead_letters,
        "tokens": receipt.tokens,
        "egress_refused": receipt.egress_refused,
        "peak_memory_bytes": receipt.peak_memory_bytes,
    }
    return {
        "kind": "wide_event",
        "event_name": NAME,
        "service": SERVICE,
        "occurred_at": receipt.ended_at,
        "organization_id": receipt.organization,
        **{name: value for name, value in dimensions.items() if value},
        **{name: value for name, value in measurements.items() if value is not None},
    }
