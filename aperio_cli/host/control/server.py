"""Serving the control API: the gate on a unix socket, gRPC behind it, errors for programs."""

from __future__ import annotations

import contextlib
import stat
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors import AperioError
from aperio_cli.errors.controlling import HostFailed
from aperio_cli.errors.files import FolderNotPrivate
from aperio_cli.files import owning
from aperio_cli.host.control.failures import DETAILS_KEY, details_of, status_of, summary_of
from aperio_cli.host.control.gate import Gate
from aperio_cli.host.wire.channel import grpc_options, import_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from grpc.aio import Server, ServicerContext

    from aperio_cli.host.control.controlled import Controlled

SERVICE: Final = "aperio.host.v1.HostService"
MOST_CALLS: Final = 256
"""At once; what comes beyond is refused with RESOURCE_EXHAUSTED, and nothing was begun."""
MOST_STREAMS: Final = 100
"""Of one connection; a client of gRPC waits with those beyond."""

IDLE_MS: Final = 10 * 60 * 1000
"""How long a connection may be without a call; whoever calls again is connected anew."""
HELLO_MS: Final = 10_000
"""How long a caller may take for the first bytes of HTTP/2."""

_INNER: Final = (".in", "s")
_GRACE_S: Final = 1.0
"""Of calls in flight; their plugins have ended by then, so these have, but for who only listens."""


@contextlib.asynccontextmanager
async def serve(
    path: Path, controlled: Controlled, tell: Callable[[str, str], None]
) -> AsyncIterator[None]:
    """Serve the control API on a socket for the length of an `async with` block.

    Calls in flight may end for a moment then, actions until they are done.

    Args:
        path: of the socket, in a folder of this user's; whoever calls holds its home's lock.
        controlled: what is served.
        tell: hears what an operator should know, with its level; must not block.

    Raises:
        SocketPathTooLong: no socket can be there.
        FolderNotPrivate: others may enter the folder inside of it.
    """
    import_grpc()
    import grpc.aio

    from aperio_cli.host.control.service import HostService

    inner = _inner(path)
    service = HostService(controlled)
    options = [
        *grpc_options(),
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.server_handshake_timeout_ms", HELLO_MS),
        ("grpc.so_reuseport", 0),
    ]
    server: Server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_CALLS)
    server.add_generic_rpc_handlers((_handlers(service, tell),))
    server.add_insecure_port(f"unix:{inner}")
    await server.start()
    try:
        async with Gate(path, inner, lambda text: tell("warn", text)):
            try:
                yield
            finally:
                await server.stop(_GRACE_S)
                await service.settle()
    finally:
        await server.stop(None)


def _inner(path: Path) -> Path:
    """Return where gRPC listens: in a folder that nobody else may enter, with no socket there.

    Raises:
        FolderNotPrivate: there is such a folder, and it is somebody else's.
    """
    folder, name = path.parent / _INNER[0], _INNER[1]
    folder.mkdir(mode=0o700, exist_ok=True)
    owning.require_own(folder)
    if stat.S_IMODE(folder.lstat().st_mode) & 0o077:
        raise FolderNotPrivate(f"`{folder}` may be entered by others")
    inner = folder / name
    inner.unlink(missing_ok=True)
    return inner


def _handlers(service: Any, tell: Callable[[str, str], None]) -> Any:
    """Return the service by path, as `services.keyvalue` does."""
    import grpc

    from aperio_cli.host.control.service import methods

    handlers: dict[str, Any] = {}
    for name, (method, request, is_stream) in methods(service).items():
        make = (
            grpc.unary_stream_rpc_method_handler
            if is_stream
            else grpc.unary_unary_rpc_method_handler
        )
        handlers[name] = make(
            _answering(name, method, tell),
            request_deserializer=request.FromString,
            response_serializer=_serialized,
        )
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


def _serialized(response: Any) -> bytes:
    """Return the bytes of an answer; some are made as bytes."""
    data: bytes = response if isinstance(response, bytes) else response.SerializeToString()
    return data


def _answering(
    name: str, method: Callable[..., Awaitable[Any]], tell: Callable[[str, str], None]
) -> Callable[..., Any]:
    """Return a gRPC method that answers with an error as callers are told of it."""

    async def answer(request: Any, context: ServicerContext[Any, Any]) -> Any:  # noqa: RET503 - aborting raises
        failed: AperioError
        try:
            return await method(request, context)
        except AperioError as error:
            failed = error
        except Exception as error:  # noqa: BLE001 - told below, by its kind: its text may hold secrets
            failed = HostFailed(f"{name} failed in the host", why=type(error).__name__)
            tell("error", f"{name} failed: {type(error).__name__}{_where(error)}")
        await context.abort(
            status_of(failed),
            summary_of(failed),
            trailing_metadata=((DETAILS_KEY, details_of(failed)),),
        )

    return answer


def _where(error: BaseException) -> str:
    """Return where in the sources an error was raised; nothing of its text."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
