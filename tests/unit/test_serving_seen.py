"""A host seen from outside: wide events, metrics, traces, and a voice that waits for nobody."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.usage import ExtraMissing, PlaceUnusable
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising.instances import InstanceKey, Status
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.run_receipt import FAILED, SUCCEEDED, RunReceipt, make_run_id
from aperio_cli.models.traceparent import below as passed_on
from aperio_cli.serving.metrics import METRICS, Metrics
from aperio_cli.serving.service import Service, Speaking
from aperio_cli.serving.telling import not_enforced
from aperio_cli.serving.traces import Traces
from aperio_cli.serving.voice import Voice
from aperio_cli.serving.wide_events import wide_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOX = PluginId("acme", "box")
KEY = InstanceKey(BOX, 'org "1"', "int_1")
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DONE = RunReceipt(
    run_id=make_run_id(bytes(12)),
    plugin=BOX,
    version="1.2.3",
    organization="org_1",
    integration="int_1",
    operation="sync",
    started_at="2026-01-02T03:04:05.500Z",
    status=SUCCEEDED,
    ended_at="2026-01-02T03:04:07.000Z",
    duration_ms=1500,
    seen=10,
    sent=7,
    filtered=2,
    dead_letters=1,
    covers_until="2026-01-02T03:00:00.123456789Z",
    tokens=2,
    egress_refused=3,
)
BROKEN = replace(DONE, status=FAILED, code="plugin-crashed", error_message="`acme/box` ended")


# ── wide events ───────────────────────────────────────────────────────────────────────────────────


def test_a_wide_event_has_the_products_shape() -> None:
    event = wide_event(DONE)
    assert list(event)[:5] == [
        "kind", "event_name", "service", "occurred_at", "organization_id",
    ]  # fmt: skip
    assert (event["kind"], event["service"]) == ("wide_event", "plugin-host")
    assert (event["outcome"], event["duration_ms"], event["records_sent"]) == ("succeeded", 1500, 7)
    assert "error_kind" not in event
    assert "peak_memory_bytes" not in event
    flat = {type(value) for value in event.values()}
    assert flat == {str, int}
    assert "\n" not in json.dumps(event)
    failed = wide_event(BROKEN)
    assert (failed["outcome"], failed["error_kind"]) == ("failed", "plugin-crashed")


# ── metrics ───────────────────────────────────────────────────────────────────────────────────────


def scraped(act: Callable[[Metrics], None], statuses: tuple[Status, ...] = ()) -> str:
    """What a scrape over HTTP shows once something was done."""

    async def scrape() -> str:
        metrics = Metrics(lambda: statuses, STARTED)
        act(metrics)
        with metrics.served("127.0.0.1", 0) as port:
            return await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/metrics")

    return asyncio.run(scrape())


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - of this machine
        body: str = answer.read().decode()
    return body


def values(text: str) -> dict[str, float]:
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_runs_are_counted_by_what_became_of_them() -> None:
    def act(metrics: Metrics) -> None:
        metrics.ended(DONE)
        metrics.ended(BROKEN)

    found = values(scraped(act))
    sync = 'operation="sync"'
    runs = "aperio_plugin_runs_total"
    assert found[f'{runs}{{error_kind="",{sync},outcome="succeeded",plugin="acme/box"}}'] == 1
    failed = f'{runs}{{error_kind="plugin-crashed",{sync},outcome="failed",plugin="acme/box"}}'
    assert found[failed] == 1
    records = "aperio_plugin_records_total"
    assert found[f'{records}{{fate="sent",{sync},plugin="acme/box"}}'] == 14
    assert found[f'{records}{{fate="dead_letter",{sync},plugin="acme/box"}}'] == 2
    assert found['aperio_plugin_egress_refused_total{plugin="acme/box"}'] == 6
    took = "aperio_plugin_run_duration_seconds"
    assert found[f'{took}_sum{{{sync},plugin="acme/box"}}'] == 3
    assert found[f'{took}_bucket{{le="5.0",{sync},plugin="acme/box"}}'] == 2
    covered = "aperio_plugin_covers_until_timestamp_seconds"
    lag = found[f'{covered}{{integration="int_1",organization="org_1",plugin="acme/box"}}']
    assert lag == pytest.approx(datetime(2026, 1, 2, 3, tzinfo=UTC).timestamp(), abs=1)


def test_two_processes_of_one_instance_are_one_series_that_of_the_one_kept_up() -> None:
    """Calls of another reach have one of their own; a scrape with a series twice is thrown away."""
    standing = Status(KEY, Phase.READY, restarts=4)
    other = replace(standing, is_on_demand=True, restarts=1)
    text = scraped(lambda _metrics: None, (standing, other))
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))
    restarts = [v for name, v in values(text).items() if name.startswith("aperio_plugin_restarts")]
    assert restarts == [4]


def test_how_each_instance_is_is_asked_with_each_scrape() -> None:
    status = Status(
        KEY, Phase.BACKOFF, "1.2.3", "connector", "verified",
        restarts=4, last_healthy_at=STARTED, peak_memory_bytes=1024,
    )  # fmt: skip
    found = values(scraped(lambda _metrics: None, (status,)))
    key = 'integration="int_1",organization="org \\"1\\"",plugin="acme/box"'
    assert found[f'aperio_plugin_state{{{key},state="BACKOFF"}}'] == 1
    assert found[f'aperio_plugin_state{{{key},state="READY"}}'] == 0
    assert sum(name.startswith("aperio_plugin_state") for name in found) == len(Phase)
    assert found[f"aperio_plugin_restarts_total{{{key}}}"] == 4
    healthy = "aperio_plugin_last_healthy_timestamp_seconds"
    assert found[f"{healthy}{{{key}}}"] == STARTED.timestamp()
    assert found["aperio_host_start_time_seconds"] == STARTED.timestamp()
    unknown = values(scraped(lambda _metrics: None, (Status(KEY, Phase.STARTING),)))
    assert not any("memory" in name or "healthy" in name for name in unknown)


def test_every_metric_that_is_named_is_shown_and_no_other() -> None:
    status = Status(KEY, Phase.READY, last_healthy_at=STARTED, peak_memory_bytes=1)
    text = scraped(lambda metrics: metrics.ended(DONE), (status,))
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert shown == set(METRICS)
    for name, metric in METRICS.items():
        assert f"# TYPE {name} {metric.kind}" in text, name


def test_an_address_that_is_taken_is_said_with_the_setting() -> None:
    async def twice() -> None:
        metrics = Metrics(tuple, STARTED)
        with metrics.served("127.0.0.1", 0) as port, metrics.served("127.0.0.1", port):
            pass

    with pytest.raises(PlaceUnusable) as caught:
        asyncio.run(twice())
    assert "`[host] metrics`" in caught.value.next[0]


# ── traces ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A collector's address, and what it was sent."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", bodies
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def test_a_run_is_a_span_below_the_callers(collector: tuple[str, list[bytes]]) -> None:
    service = importlib.import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    endpoint, bodies = collector
    traces = Traces(endpoint)
    called = replace(DONE, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01")
    traces.ended(called)
    traces.ended(BROKEN)
    traces.ended(replace(called, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-00"))  # nobody wants it
    traces.close()

    spans = [
        span
        for body in bodies
        for resource in service.ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    below, own = spans
    assert (below.name, below.trace_id.hex()) == ("plugin.sync", "ab" * 16)
    assert below.parent_span_id.hex() == "cd" * 8
    told = passed_on(called.traceparent, called.run_id)  # to the plugin
    assert told == f"00-{below.trace_id.hex()}-{below.span_id.hex()}-01"
    assert wide_event(called)["trace_id"] == "ab" * 16
    assert below.end_time_unix_nano - below.start_time_unix_nano == 1_500_000_000
    about = {each.key: each.value for each in below.attributes}
    assert about["aperio.plugin"].string_value == "acme/box"
    assert about["aperio.records_sent"].int_value == 7
    assert own.parent_span_id == b""
    assert own.status.message == "`acme/box` ended"


def test_a_collector_that_is_gone_costs_moments() -> None:
    traces = Traces("http://127.0.0.1:1/v1/traces")
    traces.ended(DONE)
    closing = threading.Thread(target=traces.close)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()


def test_a_library_that_is_missing_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ExtraMissing) as caught:
        Traces("http://127.0.0.1:1/v1/traces")
    assert "opentelemetry is not installed" in caught.value.why
    assert "pip install 'aperio-cli[traces]'" in caught.value.next[0]


def test_nothing_is_loaded_that_was_not_switched_on() -> None:
    code = (
        "import sys, aperio_cli.serving.metrics, aperio_cli.serving.traces\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules}"
        " & {'prometheus_client', 'opentelemetry', 'requests'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout.strip() == b"[]"


# ── what it says ──────────────────────────────────────────────────────────────────────────────────


def test_a_line_of_a_plugins_never_stands_where_one_of_the_hosts_would() -> None:
    said: list[str] = []
    service = Service(
        lambda: pytest.fail("nothing is read"),
        Speaking(lambda level, words: said.append(f"{level}: {words}"), print),
    )
    service._voice = Voice()
    with service._voice.speaking():
        service._say("warn", "`acme/box` ended\nwarn: acme/other is FAILED")
        service._say("info", "one line")
    assert said == ["warn: `acme/box` ended\n    warn: acme/other is FAILED", "info: one line"]


def test_what_nobody_enforces_is_said_in_a_line_with_who_says_more() -> None:
    status = Status(KEY, Phase.READY, not_enforced=("memory", "egress"))
    assert not_enforced(status) == (
        "not enforced of acme/box: memory egress; `aperio doctor` says what would help"
    )


# ── a voice ───────────────────────────────────────────────────────────────────────────────────────


def test_a_voice_says_one_thing_after_the_other_and_what_waits_at_the_end() -> None:
    said: list[int] = []
    voice = Voice()
    with voice.speaking():
        for number in range(100):
            voice.do(lambda number=number: said.append(number))  # type: ignore[misc] # a default argument
        voice.do(lambda: 1 / 0)
        voice.do(lambda: said.append(100))
    assert said == list(range(101))


def test_a_reader_that_stopped_reading_keeps_nobody_waiting() -> None:
    gate, said, dropped = threading.Event(), list[int](), list[int]()
    voice = Voice(dropped.append)
    with voice.speaking():
        voice.do(gate.wait)
        for number in range(5000):
            voice.do(lambda number=number: said.append(number))  # type: ignore[misc] # a default argument
        gate.set()
    assert len(said) + sum(dropped) == 5000
    assert said == sorted(said)
    assert len(said) >= 999
