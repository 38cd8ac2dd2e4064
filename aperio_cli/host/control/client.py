"""A caller of the control API, in Python: what `aperio host …` speaks with.

    async with connect(path) as host:
        for plugin, statuses in await host.plugins():
            ...

Every error of a call is the AperioError that the host raised.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors.controlling import HostNotRunning
from aperio_cli.errors.running import HandshakeAddressRefused
from aperio_cli.host.control import telling
from aperio_cli.host.control.failures import error_of
from aperio_cli.host.wire.channel import grpc_options, import_grpc, pin_socket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from aperio_plugin.wire import control_pb2
    from grpc.aio import Channel

    from aperio_cli.host.control.controlled import InstalledPlugin, LogEntry
    from aperio_cli.host.supervising.instances import InstanceKey, Status
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.run_receipt import RunReceipt

CALL_TIMEOUT_S: Final = 30.0
INVOCATION_TIMEOUT_S: Final = 330.0
"""Longer than any deadline that the host gives a plugin."""

_DIAL_MS: Final = 5_000
"""How long a host may take to say anything; gRPC calls it by another name."""

_SERVICE: Final = "/aperio.host.v1.HostService/"


@contextlib.asynccontextmanager
async def connect(path: Path) -> AsyncIterator[HostClient]:
    """Give a client of the host that listens on a socket.

    Raises:
        HostNotRunning: nobody listens there, or it is no socket of this user's.
    """
    import_grpc()
    import grpc.aio

    try:
        pinned = pin_socket(path, f"`{path}`")
    except HandshakeAddressRefused as error:
        raise HostNotRunning(
            "no host runs on this home",
            why=f"{path}: {error.why.splitlines()[-1]}",
            next=["`aperio host run` starts one"],
        ) from error
    try:
        options = [*grpc_options(), ("grpc.min_reconnect_backoff_ms", _DIAL_MS)]
        async with grpc.aio.insecure_channel(pinned.target, options=options) as channel:
            yield HostClient(channel)
    finally:
        pinned.close()


class HostClient:
    """The methods of the API; `unary` and `stream` make those that have no shorter form.

    Args:
        channel: to the host.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def unary(self, method: str, request: Any, *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Return the answer to one request.

        Args:
            method: its name, such as `TestConnection`.
            request: its message.
            timeout_s: how long it may take.

        Raises:
            AperioError: as the host raised it; HostNotRunning, HostBusy, HostFailed of its own.
        """
        import grpc.aio
        from aperio_plugin.wire import control_pb2

        answer = getattr(control_pb2, f"{method}Response")
        call: Any = self._channel.unary_unary(
            _SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return await call(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error

    async def stream(self, method: str, request: Any) -> AsyncGenerator[Any, None]:
        """Give the answers to one request as they come; the call ends with the generator.

        Raises:
            AperioError: as `unary`.
        """
        import grpc.aio
        from aperio_plugin.wire import control_pb2

        answer = getattr(control_pb2, f"{method}Response")
        make: Any = self._channel.unary_stream(
            _SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        call = make(request)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from error
        finally:
            call.cancel()

    async def host(self) -> control_pb2.GetHostResponse:
        """Return who answers."""
        from aperio_plugin.wire import control_pb2

        answer: control_pb2.GetHostResponse = await self.unary(
            "GetHost", control_pb2.GetHostRequest()
        )
        return answer

    async def plugins(self) -> list[tuple[InstalledPlugin, tuple[Status, ...]]]:
        """Return what is installed, and how the instances of each are."""
        from aperio_plugin.wire import control_pb2

        answer = await self.unary("ListPlugins", control_pb2.ListPluginsRequest())
        return [telling.plugin_of(each) for each in answer.plugins]

    async def describe(
        self, plugin: PluginId, organization: str = ""
    ) -> control_pb2.DescribePluginResponse:
        """Return what a plugin declares; it is started for that where it does not run."""
        from aperio_plugin.wire import control_pb2

        request = control_pb2.DescribePluginRequest(
            plugin=str(plugin), organization_id=organization
        )
        answer: control_pb2.DescribePluginResponse = await self.unary(
            "DescribePlugin", request, timeout_s=INVOCATION_TIMEOUT_S
        )
        return answer

    async def watch(self) -> AsyncGenerator[Status, None]:
        """Give how each instance is, then each change."""
        from aperio_plugin.wire import control_pb2

        answers = self.stream("WatchInstances", control_pb2.WatchInstancesRequest())
        async with contextlib.aclosing(answers):
            async for answer in answers:
                yield telling.status_of(answer.instance)

    async def pause(self, key: InstanceKey, reason: str = "", by: str = "") -> Status:
        """Pause an instance; return how it is then.

        Args:
            key: which.
            reason: why.
            by: who wants that; empty: the user whose host it is.
        """
        from aperio_plugin.wire import control_pb2

        message = telling.key_message(key)
        request = control_pb2.PauseInstanceRequest(key=message, reason=reason, by=by)
        answer = await self.unary("PauseInstance", request)
        return telling.status_of(answer.instance)

    async def resume(self, key: InstanceKey) -> Status:
        """Take the pause of an instance back; return how it is then."""
        from aperio_plugin.wire import control_pb2

        request = control_pb2.ResumeInstanceRequest(key=telling.key_message(key))
        answer = await self.unary("ResumeInstance", request)
        return telling.status_of(answer.instance)

    @contextlib.asynccontextmanager
    async def release(
        self, plugin: PluginId, version: str = ""
    ) -> AsyncIterator[tuple[InstanceKey, ...]]:
        """Have nothing of a plugin run for the length of a block, so that its files may be changed.

        Args:
            plugin: which.
            version: what runs of this one only; empty: of each.

        Returns:
            The instances that were ended for it.

        Raises:
            TimeoutError: the host could not end them in time.
            AperioError: as `unary`.
        """
        from aperio_plugin.wire import control_pb2

        request = control_pb2.ReleasePluginRequest(plugin=str(plugin), version=version)
        answers = self.stream("ReleasePlugin", request)
        async with contextlib.aclosing(answers):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                answer = await anext(answers)
            yield tuple(map(telling.key_of, answer.ended))

    async def receipts(self, plugin: PluginId | None = None, most: int = 20) -> list[RunReceipt]:
        """Return the newest receipts, of one plugin or of all, the newest first."""
        from aperio_plugin.wire import control_pb2

        request = control_pb2.ListReceiptsRequest(limit=most)
        request.key.plugin = str(plugin or "")
        answer = await self.unary("ListReceipts", request)
        return [telling.receipt_of(each) for each in answer.receipts]

    async def logs(
        self, plugin: PluginId | None = None, last: int = 0, *, follow: bool = False
    ) -> AsyncGenerator[LogEntry | int, None]:
        """Give log records, as `Controlled.logs`."""
        from aperio_plugin.wire import control_pb2

        request = control_pb2.StreamLogsRequest(plugin=str(plugin or ""), last=last, follow=follow)
        answers = self.stream("StreamLogs", request)
        async with contextlib.aclosing(answers):
            async for answer in answers:
                if answer.left_out:
                    yield answer.left_out
                for record in answer.records:
                    yield telling.log_of(record)
