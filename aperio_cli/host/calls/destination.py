"""Typed calls to a destination (proto/aperio/plugin/v1/destination.proto)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aperio_cli.host.calls.declaration import capabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_plugin.wire import capabilities_pb2, destination_pb2

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.invocation import Invocation, OpenInvocations
    from aperio_cli.host.calls.keeping import CheckpointToStore, SyncSource
    from aperio_cli.host.wire.channel import Calls

DELIVER_TIMEOUT_S: Final = 150.0
"""Half of the lease that the product has on a delivery: none is sent twice because the first try is
still under way."""
POSITION_TIMEOUT_S: Final = 60.0
DEFAULT_BATCH: Final = 256
"""Most envelopes in one Deliver when the plugin states no `max_batch_envelopes`."""
MAX_BATCH_BYTES: Final = 3 * 1024 * 1024
"""Most bytes of envelopes in one Deliver; below 4 MiB by what ids and the context may take."""

_SERVICE: Final = "/aperio.plugin.v1.DestinationPlugin/"


class Destination:
    """A running destination. Every method may raise the errors of `Calls.unary`."""

    def __init__(self, calls: Calls, invocations: OpenInvocations, provider: str) -> None:
        self._calls = calls
        self._invocations = invocations
        self._provider = provider

    async def capabilities(self, invocation: Invocation) -> capabilities_pb2.CapabilitiesResponse:
        """Return the streams it takes and what it needs.

        Raises:
            PluginContractBroken: as `declaration.settle`.
        """
        with self._invocations.open(invocation) as context:
            return await capabilities(self._calls, _SERVICE, context, self._provider)

    async def deliver(
        self,
        invocation: Invocation,
        envelopes: Sequence[Outbound],
        checkpoint: CheckpointToStore | None = None,
    ) -> destination_pb2.DeliverResponse:
        """Return one result for each envelope; a missing one counts as "try again".

        Args:
            invocation: on whose behalf.
            envelopes: with their keys, at most `MAX_BATCH_BYTES` and what the plugin declares as a
                batch; none only with a checkpoint.
            checkpoint: to be stored with them, by a destination that keeps them.
        """
        from aperio_plugin.wire import destination_pb2

        with self._invocations.open(invocation) as context:
            request = destination_pb2.DeliverRequest(
                context=context,
                envelopes=[
                    destination_pb2.OutboundEnvelope(
                        id=item.key, kind=item.kind, envelope_json=item.json
                    )
                    for item in envelopes
                ],
                checkpoint=checkpoint.to_message() if checkpoint else None,
            )
            response: destination_pb2.DeliverResponse = await self._calls.unary(
                _SERVICE + "Deliver",
                request,
                destination_pb2.DeliverResponse,
                timeout_s=DELIVER_TIMEOUT_S,
            )
        return response

    async def position(
        self, invocation: Invocation, source: SyncSource
    ) -> destination_pb2.PositionResponse:
        """Return where it is in a sync; only of a destination that keeps checkpoints.

        Args:
            invocation: on whose behalf.
            source: which sync.
        """
        from aperio_plugin.wire import destination_pb2

        with self._invocations.open(invocation) as context:
            response: destination_pb2.PositionResponse = await self._calls.unary(
                _SERVICE + "Position",
                destination_pb2.PositionRequest(context=context, source=source.to_message()),
                destination_pb2.PositionResponse,
                timeout_s=POSITION_TIMEOUT_S,
            )
        return response
