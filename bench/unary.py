"""One call after the other to a running plugin, by our host and by gRPC alone."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Final

from figures import Figure

from aperio_cli.host.calls.invocation import Invocation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aperio_cli.host.launch import RunningPlugin

CALLS: Final = 2_000
_SCHEMA: Final = "/aperio.plugin.v1.ConnectorPlugin/Schema"


async def bare_figure(plugin: RunningPlugin, what: str) -> Figure:
    """The median of many calls of Schema, each followed by a bare one of grpc.aio.

    Args:
        plugin: both call it, over the same socket.
        what: kind of plugin, for the name of the line.
    """
    import grpc.aio
    from aperio_plugin.wire import connector_pb2

    async with grpc.aio.insecure_channel(f"unix:{plugin.address}") as channel:
        method = channel.unary_unary(
            _SCHEMA,
            request_serializer=connector_pb2.SchemaRequest.SerializeToString,
            response_deserializer=connector_pb2.SchemaResponse.FromString,
        )

        async def ours() -> None:
            await plugin.connector.schema(Invocation())

        async def bare() -> None:
            context = Invocation().to_message()
            await method(connector_pb2.SchemaRequest(context=context), timeout=30)

        pairs = [(await _seconds(ours), await _seconds(bare)) for _ in range(CALLS)]
    first, second = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Figure(
        name=f"{what}: p50 of {CALLS:,} calls of Schema, to bare ones of grpc.aio",
        value=first / second,
        at_most=1.25,
        detail=f"{first * 1e6:.0f} µs to {second * 1e6:.0f} µs",
    )


async def _seconds(call: Callable[[], Awaitable[None]]) -> float:
    began_s = time.perf_counter()
    await call()
    return time.perf_counter() - began_s
