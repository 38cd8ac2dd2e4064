"""The key-value store as plugins see it (proto/aperio/plugin/v1/host.proto), over a unix socket.

A call names an invocation in its metadata; only one in progress opens a slice, and nothing else in
the request can. The thread of the database executes them, so that the loop waits for no process
that holds its lock; of one plugin one at a time, in the order in which they came, so that a plugin
with many waits for itself. However many processes a plugin has, and whatever they open, it holds so
many descriptors of its host, and so much memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.data.state import MAX_VALUE_BYTES
from aperio_cli.errors import AperioError
from aperio_cli.errors.running import StateConflict, StateLimit
from aperio_cli.host.control.gate import Gate
from aperio_cli.host.wire.channel import grpc_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_plugin.wire import host_pb2
    from google.protobuf.message import Message
    from grpc.aio import Server, ServicerContext

    from aperio_cli.data.state import Slice, StateDatabase
    from aperio_cli.host.calls.invocation import OpenInvocations
    from aperio_cli.host.process.surroundings import PrivateFolder

INVOCATION_KEY: Final = "aperio-invocation"

_SERVICE: Final = "aperio.plugin.v1.KeyValueStore"
_DEFAULT_LISTED: Final = 100
MOST_CONNECTIONS: Final = 16
"""Of one plugin; an SDK has one for each process."""
MOST_CALLS: Final = 64
"""At once; what comes beyond is refused with RESOURCE_EXHAUSTED."""
_MOST_STREAMS: Final = 32
_MESSAGE_BYTES: Final = MAX_VALUE_BYTES + 64 * 1024
_MEANT_FOR_US: Final = (
    "grpc.max_receive_message_length",
    "grpc.max_concurrent_streams",
)


class KeyValueServer:
    """The store of one plugin, as it is served to it.

    Args:
        server: started.
        gate: in front of it, open.
    """

    def __init__(self, server: Server, gate: Gate) -> None:
        self._server = server
        self._gate = gate

    async def stop(self) -> None:
        """End every call and connection."""
        await self._gate.close()
        await self._server.stop(None)


async def serve(
    folder: PrivateFolder,
    state: StateDatabase,
    invocations: OpenInvocations,
    tell: Callable[[str], None] = lambda _text: None,
    uid: int | None = None,
) -> KeyValueServer:
    """Return the store, served on `folder.host_socket`.

    Args:
        folder: of the run; a plugin with a user id of its own is shown that socket in its sandbox.
        state: the open database.
        invocations: which invocation opens which slice.
        tell: hears of callers that were refused; must not block.
        uid: the user id that the plugin has; None: this process's.
    """
    import grpc.aio

    options = [
        *(option for option in grpc_options() if option[0] not in _MEANT_FOR_US),
        ("grpc.max_receive_message_length", _MESSAGE_BYTES),
        ("grpc.max_concurrent_streams", _MOST_STREAMS),
    ]
    server: Server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_CALLS)
    server.add_generic_rpc_handlers((_handlers(_Store(state, invocations)),))
    server.add_insecure_port(f"unix:{folder.store_socket}")
    await server.start()
    gate = Gate(folder.host_socket, folder.store_socket, tell, uid=uid, most=MOST_CONNECTIONS)
    try:
        await gate.open()
    except BaseException:
        await server.stop(None)
        raise
    return KeyValueServer(server, gate)


def _handlers(store: _Store) -> Any:
    """Return the service by path.

    No generated service code, so no second descriptor of its names.
    """
    import grpc
    from aperio_plugin.wire import host_pb2

    def handler(method: Callable[..., Any], request: type[Message]) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            store.answering(method),
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    return grpc.method_handlers_generic_handler(
        _SERVICE,
        {
            "Get": handler(store.get, host_pb2.GetRequest),
            "Put": handler(store.put, host_pb2.PutRequest),
            "Delete": handler(store.delete, host_pb2.DeleteRequest),
            "List": handler(store.list, host_pb2.ListRequest),
        },
    )


class _NotOpen(Exception):
    """A call names no invocation in progress."""


class _Store:
    """The four methods, without what gRPC wants around them."""

    def __init__(self, state: StateDatabase, invocations: OpenInvocations) -> None:
        self._state = state
        self._invocations = invocations
        self._turn = asyncio.Lock()

    def answering(self, method: Callable[[Slice, Any], Message | None]) -> Callable[..., Any]:
        """Return a gRPC method that finds the slice, and turns errors into their status codes."""
        import grpc

        async def answer(request: Message, context: ServicerContext[Any, Any]) -> Any:
            invocation = _invocation_of(context)
            try:
                self._slice(invocation)  # or it does not even wait
                response = await self._apart(lambda: method(self._slice(invocation), request))
            except _NotOpen:
                await context.abort(
                    grpc.StatusCode.PERMISSION_DENIED, f"{INVOCATION_KEY} names no open invocation"
                )
            except AperioError as error:
                await context.abort(_status(error, request), f"{error.what} {error.why}".strip())
            if response is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such key")
            return response

        return answer

    async def _apart(self, work: Callable[[], Message | None]) -> Message | None:
        """Return what the database's thread comes to, once it is this plugin's turn.

        A turn ends with the work, also where the caller has gone: what a plugin asks for and gives
        up must not pile up in the thread's queue.
        """
        await self._turn.acquire()
        try:
            done = asyncio.wrap_future(self._state.submit(work))
        except BaseException:
            self._turn.release()
            raise
        done.add_done_callback(self._end_turn)
        await asyncio.wait([done])
        return done.result()

    def _end_turn(self, done: asyncio.Future[Message | None]) -> None:
        self._turn.release()
        if not done.cancelled():
            done.exception()  # perhaps nobody waits for it any more

    def _slice(self, invocation_id: str) -> Slice:
        """Return what an invocation opens now; asked again when its turn comes.

        Raises:
            _NotOpen: it is not in progress, or not any more.
        """
        if found := self._invocations.find(invocation_id):
            return found
        raise _NotOpen

    def get(self, slice_: Slice, request: host_pb2.GetRequest) -> host_pb2.GetResponse | None:
        from aperio_plugin.wire import host_pb2

        item = self._state.get(slice_, request.key)
        return host_pb2.GetResponse(value=item.value, revision=item.revision) if item else None

    def put(self, slice_: Slice, request: host_pb2.PutRequest) -> host_pb2.PutResponse:
        from aperio_plugin.wire import host_pb2

        expected = request.if_revision if request.HasField("if_revision") else None
        revision = self._state.put(slice_, request.key, request.value, if_revision=expected)
        return host_pb2.PutResponse(revision=revision)

    def delete(self, slice_: Slice, request: host_pb2.DeleteRequest) -> host_pb2.DeleteResponse:
        from aperio_plugin.wire import host_pb2

        self._state.delete(slice_, request.key)
        return host_pb2.DeleteResponse()

    def list(self, slice_: Slice, request: host_pb2.ListRequest) -> host_pb2.ListResponse:
        from aperio_plugin.wire import host_pb2

        keys, more = self._state.list_keys(
            slice_,
            prefix=request.prefix,
            after=request.after,
            limit=request.limit or _DEFAULT_LISTED,
        )
        return host_pb2.ListResponse(keys=keys, more=more)


def _invocation_of(context: ServicerContext[Any, Any]) -> str:
    """Return the id that a call names; empty: none."""
    metadata = context.invocation_metadata() or ()
    return str(next((value for key, value in metadata if key == INVOCATION_KEY), ""))


def _status(error: AperioError, request: Any) -> Any:
    """Return the status that host.proto names for an error."""
    import grpc

    if isinstance(error, StateConflict):
        return grpc.StatusCode.FAILED_PRECONDITION
    if isinstance(error, StateLimit):
        is_put = request.DESCRIPTOR.name == "PutRequest"
        return grpc.StatusCode.RESOURCE_EXHAUSTED if is_put else grpc.StatusCode.INVALID_ARGUMENT
    return grpc.StatusCode.UNAVAILABLE
