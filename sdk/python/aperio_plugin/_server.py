"""gRPC in front of `_services`, and the services that every go-plugin plugin has.

All are registered by path: message names never cross the wire, and a second copy of go-plugin's or
gRPC's own generated modules in one process would clash.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import grpc
from google.protobuf.empty_pb2 import Empty

from aperio_plugin import _output
from aperio_plugin._convert import calls
from aperio_plugin._generated.goplugin import goplugin_pb2
from aperio_plugin._services import Call, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aperio_plugin import errors
    from aperio_plugin._output import Printed
    from aperio_plugin._services import Method, Service

    _Handler = grpc.RpcMethodHandler[Any, Any]

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
MAX_CALLS: Final = 64
"""Most calls into the author's code at once; one more is refused with RESOURCE_EXHAUSTED."""

_OTHER_CALLS = 32
"""Threads beyond these, so that health checks, stdio and Shutdown never wait for the author's."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
)
_LONGEST_DEADLINE_S = 1e8  # what a call without one has is longer
_CHANNELS = {
    _output.STDOUT: goplugin_pb2.StdioData.STDOUT,
    _output.STDERR: goplugin_pb2.StdioData.STDERR,
}
_SERVING = goplugin_pb2.HealthCheckResponse(status=goplugin_pb2.HealthCheckResponse.SERVING)


class Server:
    """The gRPC server of one plugin.

    Args:
        service: the author's class.
        printed: what it prints.
        shut_down: called when the host asks the plugin to end.
    """

    def __init__(self, service: Service, printed: Printed, shut_down: Callable[[], None]) -> None:
        self._printed = printed
        self._shut_down = shut_down
        self._calls = _Calls()
        self._server = grpc.server(
            ThreadPoolExecutor(MAX_CALLS + _OTHER_CALLS, "call"), options=_OPTIONS
        )
        methods = {name: self._handler(method) for name, method in service.methods().items()}
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(service.name, methods),
                *self._standard_handlers(),
            )
        )

    def start(
        self, path: str, key: bytes = b"", certificate: bytes = b"", client: bytes = b""
    ) -> None:
        """Listen on a unix socket, in plaintext or with TLS.

        Args:
            path: the socket's.
            key: of the certificate, PEM; empty: plaintext.
            certificate: what to show, PEM.
            client: the one certificate (PEM) that clients must show.

        Raises:
            RuntimeError: that is not possible.
        """
        # grpcio decodes %XX and takes ? and # for parts of a URI.
        quoted = path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
        if key:
            credentials = grpc.ssl_server_credentials(
                [(key, certificate)], root_certificates=client, require_client_auth=True
            )
            self._server.add_secure_port(f"unix:{quoted}", credentials)
        else:
            self._server.add_insecure_port(f"unix:{quoted}")
        self._server.start()

    def stop(self, calls_s: float, all_s: float) -> None:
        """Cancel the author's calls, give the host what was printed, and end the connections.

        Args:
            calls_s: how long to wait for the author's code, in seconds.
            all_s: how long for everything; what the calls leave is the host's, to read the rest.
        """
        deadline = time.monotonic() + all_s
        self._calls.end(calls_s)
        self._printed.close()
        self._server.stop(deadline - time.monotonic()).wait(all_s)

    # ── the author's methods ──────────────────────────────────────────────────────────────────────

    def _handler(self, method: Method) -> _Handler:
        if method.streams:
            return grpc.unary_stream_rpc_method_handler(
                lambda request, context: self._stream(method, request, context),
                method.request.FromString,
                _serialized,
            )
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(method, request, context),
            method.request.FromString,
            _serialized,
        )

    def _answer(self, method: Method, request: Any, context: grpc.ServicerContext) -> Any:
        with self._calls.entered(context) as call:
            try:
                answer = method.answer(request, call)
            except BaseException as raised:  # noqa: BLE001 - the host is told
                error = failure(raised)
            else:
                return answer
        return _abort(context, error)

    def _stream(self, method: Method, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with self._calls.entered(context) as call:
            try:
                messages = method.answer(request, call)
                if not context.add_callback(messages.stop):
                    messages.stop()
                yield from messages
            except GeneratorExit:  # the call ended
                raise
            except BaseException as raised:  # noqa: BLE001 - the host is told
                error = failure(raised)
            else:
                return
        _abort(context, error)

    # ── what every plugin has ─────────────────────────────────────────────────────────────────────

    def _standard_handlers(self) -> list[grpc.GenericRpcHandler]:
        health = {
            "Check": grpc.unary_unary_rpc_method_handler(
                _health, goplugin_pb2.HealthCheckRequest.FromString, _serialized
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch, goplugin_pb2.HealthCheckRequest.FromString, _serialized
            ),
        }
        controller = {
            "Shutdown": grpc.unary_unary_rpc_method_handler(
                self._shutdown, Empty.FromString, _serialized
            )
        }
        stdio = {
            "StreamStdio": grpc.unary_stream_rpc_method_handler(
                self._stdio, Empty.FromString, _serialized
            )
        }
        services = (
            ("grpc.health.v1.Health", health),
            ("plugin.GRPCController", controller),
            ("plugin.GRPCStdio", stdio),
        )
        return [grpc.method_handlers_generic_handler(name, methods) for name, methods in services]

    def _watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield _health(request, context)
        self._calls.wait_for_end(context)

    def _shutdown(self, request: Any, context: grpc.ServicerContext) -> Empty:
        del request, context
        self._shut_down()
        return Empty()

    def _stdio(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        del request
        gone = threading.Event()

        def leave() -> None:
            gone.set()
            self._printed.wake()

        if not context.add_callback(leave):
            return
        for channel, data in self._printed.read(gone):
            yield goplugin_pb2.StdioData(channel=_CHANNELS[channel], data=data)


class _Calls:
    """The calls that the author's code is answering."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._active: set[grpc.ServicerContext] = set()
        self._ending = False

    @contextmanager
    def entered(self, context: grpc.ServicerContext) -> Iterator[Call]:
        """Give the call, counted while the block lasts; refuse it when there is no room."""
        with self._changed:
            refused = self._ending or len(self._active) >= MAX_CALLS
            if not refused:
                self._active.add(context)
        if refused and self._ending:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the plugin is stopping")
        if refused:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_CALLS} calls are under way")
        call = Call(deadline=_deadline(context))
        try:
            if not context.add_callback(call.cancelled.set):
                call.cancelled.set()
            yield call
        finally:
            with self._changed:
                self._active.discard(context)
                self._changed.notify_all()

    def end(self, timeout_s: float) -> None:
        """Cancel all, refuse new ones, and wait until the author's code is done or time is up."""
        with self._changed:
            self._ending = True
            for context in self._active:
                context.cancel()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._active, timeout_s)

    def wait_for_end(self, context: grpc.ServicerContext) -> None:
        """Wait until this call, which is not the author's, is over or all are to end."""
        gone = threading.Event()

        def leave() -> None:
            with self._changed:
                gone.set()
                self._changed.notify_all()

        if context.add_callback(leave):
            with self._changed:
                self._changed.wait_for(lambda: gone.is_set() or self._ending)


def _deadline(context: grpc.ServicerContext) -> float | None:
    left_s = context.time_remaining()
    if left_s > _LONGEST_DEADLINE_S:
        return None
    return time.monotonic() + left_s


def _abort(context: grpc.ServicerContext, error: errors.PluginError) -> NoReturn:
    """End the call with the error's status and diagnostics, by grpcio's exception for that."""
    diagnostics = calls.diagnostics_of(error).SerializeToString()
    context.set_trailing_metadata(((calls.DIAGNOSTICS_KEY, diagnostics),))
    context.abort(grpc.StatusCode[error.status], calls.status_text(error))


def _health(request: Any, context: grpc.ServicerContext) -> Any:
    """Answer a health check: go-plugin asks for `plugin`, others for the whole server."""
    if request.service not in {"", "plugin"}:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return _SERVING


def _serialized(message: Any) -> bytes:
    return cast("bytes", message.SerializeToString())
