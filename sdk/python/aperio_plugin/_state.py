"""The host's key-value store, over the unix socket that the host names in the environment."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

from aperio_plugin import errors
from aperio_plugin.context import State, StoredValue

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

SOCKET_VARIABLE: Final = "APERIO_HOST_SOCKET"
INVOCATION_KEY: Final = "aperio-invocation"
_SERVICE = "/aperio.plugin.v1.KeyValueStore/"
_TIMEOUT_S = 10.0
_PAGE = 1000

_lock = threading.Lock()
_channels: dict[str, grpc.Channel] = {}  # by socket; one per process


class HostState(State):
    """The slice of one call; connects when it is first used.

    Args:
        invocation_id: selects the slice.
        socket: the host's socket; None: the one in the environment.
    """

    def __init__(self, invocation_id: str, socket: str | None = None) -> None:
        self._invocation_id = invocation_id
        self._socket = socket or os.environ.get(SOCKET_VARIABLE, "")

    def get(self, key: str) -> StoredValue | None:
        """Give the value of a key, or None."""
        pb = _messages()
        answer = self._call("Get", pb.GetRequest(key=key), pb.GetResponse, absent="NOT_FOUND")
        return None if answer is None else StoredValue(answer.value, answer.revision)

    def put(self, key: str, value: bytes, *, if_revision: int | None = None) -> int:
        """Store a value and give its revision."""
        pb = _messages()
        request = pb.PutRequest(key=key, value=value, if_revision=if_revision)
        answer = self._call("Put", request, pb.PutResponse, absent="FAILED_PRECONDITION")
        if answer is None:
            raise errors.StateConflict(f"{key} does not have revision {if_revision}")
        return int(answer.revision)

    def delete(self, key: str) -> None:
        """Remove a key."""
        pb = _messages()
        self._call("Delete", pb.DeleteRequest(key=key), pb.DeleteResponse)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Give the keys that begin with a prefix, page by page."""
        pb = _messages()
        after, more = "", True
        while more:
            request = pb.ListRequest(prefix=prefix, after=after, limit=_PAGE)
            answer = self._call("List", request, pb.ListResponse)
            yield from answer.keys
            more = answer.more and bool(answer.keys)
            after = answer.keys[-1] if answer.keys else ""

    def _call(self, method: str, request: Any, answer: Any, *, absent: str = "") -> Any:
        """Give the answer, or None for the status that the method gives a meaning to.

        Raises:
            errors.StateUnavailable: there is no store, or the call failed otherwise.
        """
        import grpc

        call = self._channel().unary_unary(
            _SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        metadata = ((INVOCATION_KEY, self._invocation_id),)
        try:
            return call(request, timeout=_TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            status = error.code().name
            if status == absent:
                return None
            raise errors.StateUnavailable(
                f"the host's key-value store did not do {method}",
                detail=f"{status}: {error.details()}",
            ) from error

    def _channel(self) -> grpc.Channel:
        import grpc

        if not self._socket:
            raise errors.StateUnavailable(
                "the host offers no key-value store",
                detail="The manifest must say `state: true`, and the host must support it.",
            )
        with _lock:
            if self._socket not in _channels:
                _channels[self._socket] = grpc.insecure_channel(
                    f"unix:{self._socket}", options=[("grpc.enable_http_proxy", 0)]
                )
            return _channels[self._socket]


def _messages() -> Any:
    from aperio_plugin._generated.aperio.plugin.v1 import host_pb2

    return host_pb2
