"""A plugin of all three kinds that passes the acceptance suite, on bare grpcio, without the SDK.

Each file beside this one imports it, changes one thing for the worse, and calls `serve`.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import sys
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, Any

# Under another name from here on, or else importing messages would claim stdout.
os.environ["COOKIE"] = os.environ.pop("APERIO_PLUGIN_MAGIC_COOKIE", "")

import grpc
from aperio_plugin._generated.aperio.plugin.v1 import (
    capabilities_pb2,
    common_pb2,
    connector_pb2,
    destination_pb2,
    remediation_pb2,
)
from aperio_plugin._generated.goplugin import goplugin_pb2
from google.protobuf import empty_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT = 20
STREAMS = ("even", "odd")
STOP = threading.Event()
WORKERS = 8
status = 0


def end(code: int = 0) -> None:
    """Have the process end with a status; from any thread."""
    global status  # noqa: PLW0603 - one process, one status
    status = code
    STOP.set()


def log(message: str) -> None:
    """One structured line."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    line = {"@level": "info", "@message": message, "@timestamp": stamp}
    os.write(2, json.dumps(line).encode() + b"\n")


def settings(request: Any, context: grpc.ServicerContext) -> dict[str, Any]:
    """The settings, or an error with a diagnostic."""
    config: dict[str, Any] = json.loads(request.context.config_json or b"{}")
    if not isinstance(config.get("key", ""), str):
        items = [common_pb2.Diagnostic(summary="key must be text")]
        data = common_pb2.Diagnostics(items=items).SerializeToString()
        context.set_trailing_metadata((("aperio-diagnostics-bin", data),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "key must be text")
    return config


def fields() -> list[common_pb2.ConfigField]:
    key = common_pb2.ConfigField(key="key", type="TYPE_PASSWORD", secret=True, required=True)
    return [key]


# ── connector ─────────────────────────────────────────────────────────────────────────────────────


def schema(_request: Any, _context: Any) -> Any:
    answer = connector_pb2.SchemaResponse(provider="BOX", name="Sound", event_types=["box.login"])
    answer.fields.extend(fields())
    answer.auth.api_key.field = "key"
    answer.interface.features.extend(["something-of-a-newer-version", "findings", "audit-log"])
    answer.interface.features.extend(["backfill", "event-types", "streams"])
    for name in STREAMS:
        answer.streams.add(name=name, description=f"The {name} ones")
    answer.checks.add(key="ms365.open_link", title="Open link")
    return answer


def test_connection(request: Any, context: Any) -> Any:
    settings(request, context)
    log("tested")
    return connector_pb2.TestResponse(ok=True, account={"name": "Acme"})


def event(number: int) -> Any:
    record = b'{"n": "\\u0000"}' if number == COUNT - 1 else b'{"n": %d}' % number  # of the service
    made = connector_pb2.Event(
        source_event_id=f"e{number}", event_type="box.login", record_json=record
    )
    made.occurred_at.seconds = 1_700_000_000 + number
    return made


def batch(*numbers: int) -> Any:
    events = connector_pb2.EventBatch(events=[event(number) for number in numbers])
    return connector_pb2.SyncEvent(batch=events)


def finding(number: int) -> Any:
    made = connector_pb2.Finding(
        rule_id="ms365.open_link",
        title="A link is open",
        target=f"file {number}",
        severity="SEVERITY_HIGH",
        risk_score=80,
        status="STATUS_OPEN",
        source_event_id=f"f{number}",
    )
    made.occurred_at.seconds = 1_700_000_000 + number
    return connector_pb2.SyncEvent(findings=connector_pb2.FindingBatch(findings=[made]))


def entry(number: int) -> Any:
    made = connector_pb2.AuditLogEntry(
        source_event_id=f"a{number}", action="policy.updated", record_json=b"{}"
    )
    made.occurred_at.seconds = 1_700_000_000 + number
    return connector_pb2.SyncEvent(audit_log=connector_pb2.AuditLogBatch(entries=[made]))


def checkpoint(number: int) -> Any:
    return connector_pb2.SyncEvent(checkpoint=connector_pb2.Checkpoint(cursor=b"%d" % number))


def is_wanted(request: Any, number: int) -> bool:
    """Whether an event belongs to what is asked for: even ones to the first stream."""
    streams = request.streams or STREAMS
    since = getattr(request, "from").seconds if not request.cursor else 0
    return STREAMS[number % 2] in streams and 1_700_000_000 + number >= since


def sync(request: Any, context: Any) -> Iterator[Any]:
    settings(request, context)
    for number in range(int(request.cursor or b"0"), COUNT, 5):
        yield batch(*(each for each in range(number, number + 5) if is_wanted(request, each)))
        yield finding(number)
        yield entry(number)
        yield checkpoint(number + 5)


# ── remediation and destination ───────────────────────────────────────────────────────────────────

answered: dict[str, Any] = {}
changed: set[str] = set()


def remediation(_request: Any, _context: Any) -> Any:
    answer = capabilities_pb2.CapabilitiesResponse(provider="BOX", name="Sound")
    answer.interface.features.append("approval")
    answer.fields.extend(fields())
    answer.remediation.actions.add(key="box.unshare", label="Unshare", supports_dry_run=True)
    return answer


def execute(request: Any, context: Any) -> Any:
    settings(request, context)
    answer = remediation_pb2.ExecuteResponse()
    if request.action != "box.unshare":
        answer.outcome = answer.OUTCOME_FAILED
        answer.diagnostics.add(summary="no such action")
        return answer
    if request.dry_run:
        is_done = request.target in changed
        answer.outcome = answer.OUTCOME_UNCHANGED if is_done else answer.OUTCOME_WOULD_CHANGE
        return answer
    require_approval(request, context)
    return answered.setdefault(request.idempotency_key, act(request.target))


def require_approval(request: Any, context: Any) -> None:
    parts = (request.action.encode(), request.target.encode(), request.parameters_json)
    bound = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    if request.approval.sha256 != hashlib.sha256(bound).hexdigest():
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "something else was approved")


def act(target: str) -> Any:
    answer = remediation_pb2.ExecuteResponse()
    answer.outcome = answer.OUTCOME_UNCHANGED if target in changed else answer.OUTCOME_CHANGED
    changed.add(target)
    return answer


def destination(_request: Any, _context: Any) -> Any:
    answer = capabilities_pb2.CapabilitiesResponse(provider="BOX", name="Sound")
    answer.interface.features.append("checkpoints")
    answer.fields.extend(fields())
    answer.destination.streams.append(answer.destination.STREAM_EVENT)
    answer.destination.max_batch_envelopes = 10
    return answer


def deliver(request: Any, context: Any) -> Any:
    settings(request, context)
    answer = destination_pb2.DeliverResponse()
    for envelope in request.envelopes:
        is_empty = envelope.envelope_json == b"{}"
        status = "STATUS_REJECTED" if is_empty else "STATUS_ACCEPTED"
        answer.results.add(id=envelope.id, status=status)
    if request.HasField("checkpoint"):
        answer.checkpoint_outcome = _function("store")(request.checkpoint, answer)
    return answer


stored: dict[bytes, Any] = {}


def store(asked: Any, answer: Any) -> Any:
    """Store a checkpoint, if it may be; what became of it."""
    if any(result.status != result.STATUS_ACCEPTED for result in answer.results):
        return answer.CHECKPOINT_OUTCOME_UNSPECIFIED
    key = asked.source.SerializeToString(deterministic=True)
    before = stored[key].cursor if key in stored else b""
    if before not in {asked.replaces, asked.checkpoint.cursor}:
        return answer.CHECKPOINT_OUTCOME_MOVED
    stored[key] = asked.checkpoint
    return answer.CHECKPOINT_OUTCOME_STORED


def position(request: Any, context: Any) -> Any:
    settings(request, context)
    key = request.source.SerializeToString(deterministic=True)
    return destination_pb2.PositionResponse(kept=True, checkpoint=stored.get(key))


# ── the server ────────────────────────────────────────────────────────────────────────────────────


def health(_request: Any, _context: Any) -> Any:
    return goplugin_pb2.HealthCheckResponse(status="SERVING")


def shutdown(_request: Any, _context: Any) -> Any:
    end()
    return empty_pb2.Empty()


def on_sigterm(_number: int, _frame: Any) -> None:
    end()


def watch_lifeline() -> None:
    select.select([int(os.environ["APERIO_HOST_LIFELINE"])], [], [])
    end()


def _unary(name: str, request: Any) -> Any:
    """A handler; the function is looked up when the server is made, so it may be replaced."""
    return grpc.unary_unary_rpc_method_handler(
        _function(name),
        request.FromString,
        lambda message: message.SerializeToString(),
    )


def _function(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = globals()[name]
    return found


def _services(kind: str) -> dict[str, dict[str, Any]]:
    asked = _unary(kind, capabilities_pb2.CapabilitiesRequest)
    streamed: Any = grpc.unary_stream_rpc_method_handler(
        _function("sync"),
        connector_pb2.SyncRequest.FromString,
        lambda message: message.SerializeToString(),
    )
    return {
        "grpc.health.v1.Health": {"Check": _unary("health", goplugin_pb2.HealthCheckRequest)},
        "plugin.GRPCController": {"Shutdown": _unary("shutdown", empty_pb2.Empty)},
        "aperio.plugin.v1.ConnectorPlugin": {
            "Schema": _unary("schema", connector_pb2.SchemaRequest),
            "TestConnection": _unary("test_connection", connector_pb2.TestRequest),
            "Sync": streamed,
        },
        "aperio.plugin.v1.RemediationPlugin": {
            "Capabilities": asked,
            "Execute": _unary("execute", remediation_pb2.ExecuteRequest),
        },
        "aperio.plugin.v1.DestinationPlugin": {
            "Capabilities": asked,
            "Deliver": _unary("deliver", destination_pb2.DeliverRequest),
            "Position": _unary("position", destination_pb2.PositionRequest),
        },
    }


def refuse() -> None:
    """What a person sees who starts it in a shell."""
    sys.stderr.write("this is a plugin; it is started by its host\n")
    sys.exit(1)


def announce(path: str) -> None:
    os.write(1, f"1|1|unix|{path}|grpc|\n".encode())


def serve(kind: str = "remediation") -> None:
    """Serve until told to end; `kind` says which of two kinds answers Capabilities."""
    if os.environ["COOKIE"] != "aperio-plugin-v1":
        _function("refuse")()
    server = grpc.server(futures.ThreadPoolExecutor(WORKERS))
    for service, methods in _services(kind).items():
        handler = grpc.method_handlers_generic_handler(service, methods)
        server.add_generic_rpc_handlers((handler,))
    path = f"{os.environ['PLUGIN_UNIX_SOCKET_DIR']}/s"
    server.add_insecure_port(f"unix:{path}")
    server.start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_sigterm)
    threading.Thread(target=_function("watch_lifeline"), daemon=True).start()
    _function("announce")(path)
    while not STOP.wait(0.1):  # the main thread wakes up for signals
        pass
    server.stop(0.2).wait(0.5)
    if os.path.exists(path):  # noqa: PTH110 - without pathlib, as small as can be
        os.unlink(path)  # noqa: PTH108 - the same
    os._exit(status)


if __name__ == "__main__":
    serve()
