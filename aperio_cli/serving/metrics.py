"""Metrics: how plugins are and what their runs did, for Prometheus.

`METRICS` names all of them; nothing else is exposed. The library is loaded, and its server started,
only where the configuration says at which address.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aperio_cli
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.host.lifecycle import Phase
from aperio_cli.models.run_receipt import SUCCEEDED
from aperio_cli.serving.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from aperio_cli.host.supervising.instances import Status
    from aperio_cli.models.run_receipt import RunReceipt

_INSTANCE: Final = ("plugin", "organization", "integration")
_SCRAPE_S: Final = 5.0
_BUCKETS_S: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 3600, 4 * 3600)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        kind: gauge, counter or histogram.
        help: what it says.
        labels: by which it is told apart.
    """

    kind: str
    help: str
    labels: tuple[str, ...] = ()


METRICS: Final = {
    "aperio_host_info": Metric("gauge", "The host that is running; always 1.", ("version",)),
    "aperio_host_start_time_seconds": Metric("gauge", "When the host was started."),
    "aperio_plugin_state": Metric(
        "gauge", "1 for the state that an instance is in, 0 for every other.", (*_INSTANCE, "state")
    ),
    "aperio_plugin_info": Metric(
        "gauge", "What an instance runs; always 1.", (*_INSTANCE, "version", "kind", "badge")
    ),
    "aperio_plugin_restarts_total": Metric(
        "counter", "How often an instance was started again.", _INSTANCE
    ),
    "aperio_plugin_last_healthy_timestamp_seconds": Metric(
        "gauge", "When an instance last answered a health check.", _INSTANCE
    ),
    "aperio_plugin_peak_memory_bytes": Metric(
        "gauge", "The most memory that an instance had.", _INSTANCE
    ),
    "aperio_plugin_covers_until_timestamp_seconds": Metric(
        "gauge", "Until when everything was read, as the newest sync says.", _INSTANCE
    ),
    "aperio_plugin_runs_total": Metric(
        "counter", "Runs that have ended.", ("plugin", "operation", "outcome", "error_kind")
    ),
    "aperio_plugin_run_duration_seconds": Metric(
        "histogram", "How long runs took.", ("plugin", "operation")
    ),
    "aperio_plugin_records_total": Metric(
        "counter",
        "Records of runs, by what became of them: sent, filtered or dead_letter.",
        ("plugin", "operation", "fate"),
    ),
    "aperio_plugin_tokens_total": Metric("counter", "Access tokens obtained.", ("plugin",)),
    "aperio_plugin_egress_refused_total": Metric(
        "counter", "Connections that plugins were refused.", ("plugin",)
    ),
}
"""Every metric by its name, as a scrape shows it."""

_BY_RUN: Final = tuple(
    name
    for name in METRICS
    if name.startswith(("aperio_plugin_run", "aperio_plugin_rec", "aperio_plugin_tok"))
    or name
    in {"aperio_plugin_egress_refused_total", "aperio_plugin_covers_until_timestamp_seconds"}
)
"""Those that runs change; the others are asked for with each scrape."""


class Metrics:
    """Counts runs, and shows them with the state of each instance.

    Args:
        statuses: gives how each instance is; called on the loop on which this is made.
        started_at: since when the host runs.

    Raises:
        ExtraMissing: the library is not installed.
    """

    def __init__(self, statuses: Callable[[], Sequence[Status]], started_at: datetime) -> None:
        client = require("prometheus_client", extra="metrics")
        client.disable_created_metrics()
        self._registry = client.CollectorRegistry()
        self._statuses = statuses
        self._started_at = started_at
        self._loop = asyncio.get_running_loop()
        self._runs = {name: self._made(client, name) for name in _BY_RUN}
        self._registry.register(self)

    def _made(self, client: Any, name: str) -> Any:
        metric = METRICS[name]
        kind = getattr(client, metric.kind.capitalize())
        more = {"buckets": _BUCKETS_S} if metric.kind == "histogram" else {}
        return kind(name, metric.help, metric.labels, registry=self._registry, **more)

    def ended(self, receipt: RunReceipt) -> None:
        """Count a run that has ended."""
        plugin, operation = str(receipt.plugin), receipt.operation
        outcome = "succeeded" if receipt.status == SUCCEEDED else "failed"
        runs = self._runs
        runs["aperio_plugin_runs_total"].labels(plugin, operation, outcome, receipt.code).inc()
        if receipt.duration_ms is not None:
            duration = runs["aperio_plugin_run_duration_seconds"].labels(plugin, operation)
            duration.observe(receipt.duration_ms / 1000)
        fates = {
            "sent": receipt.sent,
            "filtered": receipt.filtered,
            "dead_letter": receipt.dead_letters,
        }
        for fate, count in fates.items():
            runs["aperio_plugin_records_total"].labels(plugin, operation, fate).inc(count)
        runs["aperio_plugin_tokens_total"].labels(plugin).inc(receipt.tokens)
        runs["aperio_plugin_egress_refused_total"].labels(plugin).inc(receipt.egress_refused)
        if receipt.covers_until:
            gauge = runs["aperio_plugin_covers_until_timestamp_seconds"]
            covered_s = _seconds(receipt.covers_until)
            gauge.labels(plugin, receipt.organization, receipt.integration).set(covered_s)

    def collect(self) -> Iterator[Any]:
        """Yield what is asked for with each scrape; called in the thread of the server."""
        found = asyncio.run_coroutine_threadsafe(self._gather(), self._loop)
        yield from _families(found.result(_SCRAPE_S), self._started_at)

    async def _gather(self) -> Sequence[Status]:
        return self._statuses()

    def describe(self) -> list[Any]:
        """Return nothing: the library would else scrape once to find out."""
        return []

    def text(self) -> str:
        """Return what a scrape shows; called in another thread than the loop's."""
        client = require("prometheus_client", extra="metrics")
        return str(client.generate_latest(self._registry).decode())

    @contextlib.contextmanager
    def served(self, host: str, port: int) -> Iterator[int]:
        """Serve them over HTTP while the block runs; give the port.

        Raises:
            PlaceUnusable: the address cannot be used.
        """
        client = require("prometheus_client", extra="metrics")
        try:
            server, thread = client.start_http_server(port, addr=host, registry=self._registry)
        except OSError as error:
            raise PlaceUnusable(
                f"metrics are not served: `{host}:{port}` cannot be used",
                why=error.strerror or str(error),
                next=["name another address: `[host] metrics` of config.toml"],
            ) from error
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join(_SCRAPE_S)


def _families(statuses: Sequence[Status], started_at: datetime) -> Iterator[Any]:
    """Yield the metrics that say how the host and its instances are."""
    families = {name: _family(name) for name in METRICS if name not in _BY_RUN}
    families["aperio_host_info"].add_metric([aperio_cli.__version__], 1)
    families["aperio_host_start_time_seconds"].add_metric([], started_at.timestamp())
    # Of several processes of one instance, for calls of other reach, the first: it is kept up.
    for status in {status.key: status for status in reversed(statuses)}.values():
        key = [str(status.key.plugin), status.key.organization, status.key.integration]
        about = [*key, status.version, status.kind, status.badge]
        families["aperio_plugin_info"].add_metric(about, 1)
        for phase in Phase:
            is_it = float(phase is status.phase)
            families["aperio_plugin_state"].add_metric([*key, phase.name], is_it)
        families["aperio_plugin_restarts_total"].add_metric(key, status.restarts)
        if status.last_healthy_at:
            healthy_s = status.last_healthy_at.timestamp()
            families["aperio_plugin_last_healthy_timestamp_seconds"].add_metric(key, healthy_s)
        if status.peak_memory_bytes is not None:
            families["aperio_plugin_peak_memory_bytes"].add_metric(key, status.peak_memory_bytes)
    yield from families.values()


def _family(name: str) -> Any:
    core = require("prometheus_client.core", extra="metrics")
    metric = METRICS[name]
    kind = getattr(core, f"{metric.kind.capitalize()}MetricFamily")
    return kind(name, metric.help, labels=metric.labels)


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()
