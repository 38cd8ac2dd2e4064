"""Typed calls to a connector (proto/aperio/plugin/v1/connector.proto)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.errors.running import PluginLimitReached
from aperio_cli.host.calls.declaration import settle
from aperio_cli.host.calls.salvaging import salvage
from aperio_cli.host.calls.scope import EVERYTHING, SyncScope

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from aperio_plugin.wire import connector_pb2

    from aperio_cli.errors.running import PluginFault
    from aperio_cli.host.calls.invocation import Invocation, OpenInvocations
    from aperio_cli.host.process.program import Program
    from aperio_cli.host.wire.channel import Calls

SCHEMA_TIMEOUT_S: Final = 30.0
TEST_TIMEOUT_S: Final = 120.0
CALLBACK_TIMEOUT_S: Final = 60.0
SYNC_SILENCE_S: Final = 900.0
"""The longest pause between two messages of a sync; a service may ask to wait for minutes."""

_SERVICE: Final = "/aperio.plugin.v1.ConnectorPlugin/"


class Connector:
    """A running connector. Every method may raise the errors of `Calls.unary`."""

    def __init__(self, calls: Calls, invocations: OpenInvocations, program: Program) -> None:
        self._calls = calls
        self._invocations = invocations
        self._program = program

    def sync_deadline_s(self) -> float:
        """Return when a sync that begins now has to be done, on the monotonic clock."""
        return clock.monotonic_s() + self._program.manifest.limits.duration_s

    async def schema(self, invocation: Invocation) -> connector_pb2.SchemaResponse:
        """Return what the connector needs and offers.

        Raises:
            PluginContractBroken: as `declaration.settle`.
        """
        from aperio_plugin.wire import connector_pb2

        with self._invocations.open(invocation) as context:
            schema: connector_pb2.SchemaResponse = await self._calls.unary(
                _SERVICE + "Schema",
                connector_pb2.SchemaRequest(context=context),
                connector_pb2.SchemaResponse,
                timeout_s=SCHEMA_TIMEOUT_S,
            )
        settle(self._calls, "Schema", schema, self._program.provider)
        return schema

    async def test_connection(self, invocation: Invocation) -> connector_pb2.TestResponse:
        """Return whether the configuration works; that it does not is an answer, not an error."""
        from aperio_plugin.wire import connector_pb2

        with self._invocations.open(invocation) as context:
            response: connector_pb2.TestResponse = await self._calls.unary(
                _SERVICE + "TestConnection",
                connector_pb2.TestRequest(context=context),
                connector_pb2.TestResponse,
                timeout_s=TEST_TIMEOUT_S,
            )
        return response

    async def oauth_callback(
        self, invocation: Invocation, parameters: Mapping[str, str]
    ) -> connector_pb2.OAuthCallbackResponse:
        """Return facts about the account that an authorization is for.

        Args:
            invocation: on whose behalf.
            parameters: the provider's callback parameters, without `code` and `state`.
        """
        from aperio_plugin.wire import connector_pb2

        with self._invocations.open(invocation) as context:
            response: connector_pb2.OAuthCallbackResponse = await self._calls.unary(
                _SERVICE + "OAuthCallback",
                connector_pb2.OAuthCallbackRequest(context=context, parameters=dict(parameters)),
                connector_pb2.OAuthCallbackResponse,
                timeout_s=CALLBACK_TIMEOUT_S,
            )
        return response

    async def sync(
        self,
        invocation: Invocation,
        cursor: bytes = b"",
        *,
        scope: SyncScope = EVERYTHING,
        silence_s: float = SYNC_SILENCE_S,
        deadline_s: float | None = None,
    ) -> AsyncGenerator[connector_pb2.SyncEvent, None]:
        """Return the messages of a sync in their order.

        The plugin waits while nobody asks for the next.

        Args:
            invocation: on whose behalf.
            cursor: of the last stored checkpoint; empty: from the beginning.
            scope: what is asked for; it is understood.
            silence_s: the longest pause between two messages.
            deadline_s: when all of it has to be done, on the monotonic clock; None: once as much
                time has passed as the plugin's limit of a sync allows.

        Raises:
            PluginUnauthenticated: the token is no longer good.
            PluginDeadlineExceeded: it was silent for too long.
            PluginLimitReached: all of it takes too long.
        """
        from aperio_plugin.wire import connector_pb2

        deadline_s = self.sync_deadline_s() if deadline_s is None else deadline_s
        with self._invocations.open(invocation) as context:
            request = connector_pb2.SyncRequest(
                context=context, cursor=cursor, streams=scope.streams, event_types=scope.event_types
            )
            if scope.from_time and not cursor:  # it says where a sync without a cursor begins
                getattr(request, "from").FromDatetime(scope.from_time)
            call = await self._calls.open_stream(_SERVICE + "Sync", request)
            try:
                while (data := await self._next(call, silence_s, deadline_s)) is not None:
                    for message in self._messages(data):
                        yield message
            finally:
                call.cancel()

    async def _next(self, call: Any, silence_s: float, deadline_s: float) -> bytes | None:
        """Return the bytes of the next message, or None at the end."""
        import grpc.aio

        left_s = deadline_s - clock.monotonic_s()
        if left_s <= 0:  # a stream that never pauses gets no time-out
            raise self._endless()
        try:
            async with asyncio.timeout(min(silence_s, left_s)):
                data: Any = await call.read()
        except TimeoutError as error:
            if left_s < silence_s:
                raise self._endless() from error
            raise self._calls.late("Sync", silence_s) from error
        except grpc.aio.AioRpcError as error:
            raise await self._calls.explain(error, _SERVICE + "Sync", silence_s) from error
        except asyncio.CancelledError as error:
            raise await self._calls.cut_off(error) from None
        if data is not grpc.aio.EOF:
            found: bytes = data
            return found
        # After the end read() does not say how the call ended; its status does.
        if await call.code() is not grpc.StatusCode.OK:
            raise await self._failure(call, silence_s)
        return None

    def _endless(self) -> PluginLimitReached:
        program = self._program
        limit = program.manifest.limits.to_json()["duration"]
        return PluginLimitReached(
            f"{program.subject} was stopped: it reached its limit of duration",
            why=f"duration: limit {limit}, its sync was not done by then",
            next=[
                "run it again: it goes on from the last checkpoint",
                program.advice.at_limit.format(plugin=program.plugin_id, limit="duration"),
            ],
        )

    def _messages(self, data: bytes) -> list[connector_pb2.SyncEvent]:
        """Return the message in bytes; of a batch with an event that is none, what is sound.

        Raises:
            PluginContractBroken: it is no such message.
        """
        from aperio_plugin.wire import connector_pb2
        from google.protobuf.message import DecodeError

        try:
            return [connector_pb2.SyncEvent.FromString(data)]
        except DecodeError as error:
            found = salvage(data)
            if not found:
                raise self._calls.broken("Sync", str(error)) from error
            return found

    async def _failure(self, call: Any, silence_s: float) -> PluginFault:
        import grpc.aio

        error = grpc.aio.AioRpcError(
            await call.code(),
            await call.initial_metadata(),
            await call.trailing_metadata(),
            details=await call.details(),
        )
        return await self._calls.explain(error, _SERVICE + "Sync", silence_s)
