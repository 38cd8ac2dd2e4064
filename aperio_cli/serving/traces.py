"""Traces: a span for each run, over OTLP, for whoever collects them.

The libraries are loaded only where the configuration says to which address. Spans are sent by a
thread of theirs; a collector that is gone, or slow, costs a run nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import aperio_cli
from aperio_cli.models.run_receipt import SUCCEEDED
from aperio_cli.models.traceparent import span_id
from aperio_cli.serving.extras import require
from aperio_cli.serving.wide_events import SERVICE, wide_event

if TYPE_CHECKING:
    from aperio_cli.models.run_receipt import RunReceipt

_EXPORT_S: Final = 2
_FLUSH_MS: Final = 3000
_NANOSECONDS: Final = 1_000_000_000
_OWN: Final = frozenset({"kind", "event_name", "service", "occurred_at"})
"""Keys of a wide event that a span says in another way."""


class Traces:
    """Sends a span for each run that has ended.

    Args:
        endpoint: address that takes OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`.

    Raises:
        ExtraMissing: the libraries are not installed.
    """

    def __init__(self, endpoint: str) -> None:
        trace = require("opentelemetry.sdk.trace", extra="traces")
        export = require("opentelemetry.sdk.trace.export", extra="traces")
        otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", extra="traces")
        resources = require("opentelemetry.sdk.resources", extra="traces")
        about = {"service.name": f"aperio-{SERVICE}", "service.version": aperio_cli.__version__}
        resource = resources.Resource.create(about)
        ids = require("opentelemetry.sdk.trace.id_generator", extra="traces")
        self._ids = _Ids(ids.RandomIdGenerator())
        self._provider = trace.TracerProvider(
            resource=resource, shutdown_on_exit=False, id_generator=self._ids
        )
        exporter = otlp.OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_S)
        self._provider.add_span_processor(export.BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("aperio", aperio_cli.__version__)

    def ended(self, receipt: RunReceipt) -> None:
        """Take a run that has ended; its span is below its caller's. Called in one thread."""
        status = require("opentelemetry.trace.status", extra="traces")
        self._ids.next_span = span_id(receipt.run_id)
        span = self._tracer.start_span(
            f"plugin.{receipt.operation}",
            context=_parent(receipt.traceparent),
            start_time=_nanoseconds(receipt.started_at),
            attributes={
                f"aperio.{name}": value
                for name, value in wide_event(receipt).items()
                if name not in _OWN
            },
        )
        if receipt.status != SUCCEEDED:
            failed = status.Status(status.StatusCode.ERROR, receipt.error_message)
            span.set_status(failed)
        ended_ns = _nanoseconds(receipt.started_at) + (receipt.duration_ms or 0) * 1_000_000
        span.end(end_time=ended_ns)

    def close(self) -> None:
        """Send what has not been sent, within moments, and end. Blocks."""
        self._provider.force_flush(_FLUSH_MS)
        self._provider.shutdown()


class _Ids:
    """Gives spans the ids that plugins were told of (`models.traceparent`), and traces random ones.

    Args:
        random: the library's own.

    Attributes:
        next_span: of the next span; None: a random one.
    """

    def __init__(self, random: Any) -> None:
        self._random = random
        self.next_span: int | None = None

    def generate_span_id(self) -> int:
        """Return the id of a span that begins."""
        found, self.next_span = self.next_span, None
        return found or int(self._random.generate_span_id())

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the library."""
        return getattr(self._random, name)


def _parent(traceparent: str) -> Any:
    """Return the context of the caller's span; an empty one where there is none."""
    propagation = require("opentelemetry.trace.propagation.tracecontext", extra="traces")
    carrier = {"traceparent": traceparent} if traceparent else {}
    return propagation.TraceContextTextMapPropagator().extract(carrier)


def _nanoseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000) * (_NANOSECONDS // 1000)
