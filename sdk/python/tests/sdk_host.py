"""A host for these tests: starts a plugin as a real process and calls it over its real socket."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aperio_plugin
import grpc
from aperio_plugin._generated.aperio.plugin.v1 import (
    common_pb2,
    connector_pb2,
    destination_pb2,
    remediation_pb2,
)
from aperio_plugin._generated.goplugin import goplugin_pb2
from aperio_plugin.remediation import approval_sha256
from google.protobuf.empty_pb2 import Empty

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

COOKIE = {"APERIO_PLUGIN_MAGIC_COOKIE": "aperio-plugin-v1", "PLUGIN_PROTOCOL_VERSIONS": "1"}
TIMEOUT_S = 15.0

_SDK = Path(aperio_plugin.__file__).resolve().parents[1]
# What stands before each plugin of the tests: the SDK, and a connector that does next to nothing.
PRELUDE = f"""\
import sys
sys.path.insert(0, {str(_SDK)!r})
import ctypes, json, logging, os, threading, time
{{before}}
from aperio_plugin import connector, destination, errors, remediation
from aperio_plugin.connector import Checkpoint, Event, Progress

def event(number, record=b"{{{{}}}}"):
    return Event(
        source_event_id=f"e{{{{number}}}}", event_type="x.y", occurred_at=0, record=record
    )

class Plain(connector.Connector):
    def schema(self):
        return connector.Schema(provider="X", name="X")
    def test_connection(self, context):
        return connector.TestResult(ok=True)
    def sync(self, context, cursor):
        yield from ()
"""


@dataclass
class Plugin:
    """A plugin's process, with its pipes drained."""

    process: subprocess.Popen[bytes]
    handshake: str = ""
    _channel: grpc.Channel | None = None
    _stderr: list[bytes] = field(default_factory=list)
    _drain: threading.Thread | None = None

    def begin(self) -> Plugin:
        """Read the handshake with a deadline, and standard error in the background."""
        self._drain = threading.Thread(target=self._read_stderr, daemon=True)
        self._drain.start()
        timer = threading.Timer(TIMEOUT_S, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        self.handshake = self.process.stdout.readline().decode()
        timer.cancel()
        return self

    @property
    def socket(self) -> Path:
        return Path(self.handshake.split("|")[3])

    @property
    def channel(self) -> grpc.Channel:
        if self._channel is None:
            quoted = str(self.socket).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
            options = [("grpc.enable_http_proxy", 0)]
            self._channel = grpc.insecure_channel(f"unix:{quoted}", options=options)
        return self._channel

    def unary(self, path: str, request: Any, answer: Any, timeout_s: float = TIMEOUT_S) -> Any:
        call: Any = self.channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=timeout_s)

    def stream(self, path: str, request: Any, answer: Any, timeout_s: float = TIMEOUT_S) -> Any:
        call: Any = self.channel.unary_stream(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=timeout_s)

    def health(self, service: str = "plugin", timeout_s: float = TIMEOUT_S) -> int:
        request = goplugin_pb2.HealthCheckRequest(service=service)
        answer = goplugin_pb2.HealthCheckResponse
        return int(self.unary("/grpc.health.v1.Health/Check", request, answer, timeout_s).status)

    def schema(self) -> connector_pb2.SchemaResponse:
        pb = connector_pb2
        path = "/aperio.plugin.v1.ConnectorPlugin/Schema"
        # The value comes from an untyped callable; its type is stated by the signature.
        return self.unary(path, pb.SchemaRequest(), pb.SchemaResponse)  # type: ignore[no-any-return]  # generated

    def sync(
        self,
        *,
        config: Mapping[str, Any] | None = None,
        cursor: bytes = b"",
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        request = connector_pb2.SyncRequest(context=context(config), cursor=cursor)
        path = "/aperio.plugin.v1.ConnectorPlugin/Sync"
        return self.stream(path, request, connector_pb2.SyncEvent, timeout_s)

    def execute(self, **values: Any) -> remediation_pb2.ExecuteResponse:
        request = remediation_pb2.ExecuteRequest(context=context(), **values)
        request.context.mode = request.context.MODE_REMEDIATION
        request.approval.reference = "r"
        request.approval.sha256 = approval_sha256(
            request.action, request.target, request.parameters_json
        )
        path = "/aperio.plugin.v1.RemediationPlugin/Execute"
        # The value comes from an untyped callable; its type is stated by the signature.
        return self.unary(path, request, remediation_pb2.ExecuteResponse)  # type: ignore[no-any-return]  # generated

    def deliver(self, *identifiers: str) -> destination_pb2.DeliverResponse:
        pb = destination_pb2
        envelopes = [
            pb.OutboundEnvelope(id=identifier, kind="event", envelope_json=b"{}")
            for identifier in identifiers
        ]
        request = pb.DeliverRequest(context=context(), envelopes=envelopes)
        path = "/aperio.plugin.v1.DestinationPlugin/Deliver"
        # The value comes from an untyped callable; its type is stated by the signature.
        return self.unary(path, request, pb.DeliverResponse)  # type: ignore[no-any-return]  # generated

    def stdio(self, timeout_s: float = TIMEOUT_S) -> Any:
        path = "/plugin.GRPCStdio/StreamStdio"
        return self.stream(path, Empty(), goplugin_pb2.StdioData, timeout_s)

    def shut_down(self) -> None:
        self.unary("/plugin.GRPCController/Shutdown", Empty(), Empty)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        return self.process.wait(timeout_s)

    def stderr(self) -> bytes:
        """All that the process wrote to descriptor 2, once it has ended."""
        assert self._drain is not None
        self._drain.join(TIMEOUT_S)
        return b"".join(self._stderr)

    def records(self) -> list[dict[str, Any]]:
        """The log records among it."""
        lines = self.stderr().splitlines()
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def end(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT_S)
        if self._drain is not None:
            self._drain.join(TIMEOUT_S)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        while data := os.read(self.process.stderr.fileno(), 65536):
            self._stderr.append(data)


class Launch(Protocol):
    """Starts a plugin from the body of its module; `before` runs before the SDK is imported.

    It is forked from a process that has imported gRPC, unless something runs before, descriptors
    are passed on or it is to be an interpreter started `anew`.
    """

    def __call__(
        self,
        body: str = "connector.serve(Plain())",
        *,
        before: str = "",
        environment: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
        anew: bool = False,
    ) -> Plugin: ...


def context(config: Mapping[str, Any] | None = None) -> common_pb2.InvocationContext:
    message = common_pb2.InvocationContext(
        organization_id="org",
        integration_id="int",
        invocation_id="inv-1",
        config_json=json.dumps(config or {}).encode(),
    )
    message.token.value = "s3cret-token"
    return message


def stop_by_signal(plugin: Plugin) -> int:
    """End a plugin with SIGTERM and give its exit status."""
    plugin.process.send_signal(signal.SIGTERM)
    return plugin.wait()
