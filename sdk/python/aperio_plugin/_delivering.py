"""A destination's calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_plugin import declarations, destination, errors
from aperio_plugin._convert import answering, declaring
from aperio_plugin._services import Method, context_of, failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aperio_plugin._generated.aperio.plugin.v1 import destination_pb2
    from aperio_plugin._services import Call
    from aperio_plugin.context import Context


class DestinationService:
    """A destination's calls."""

    name = "aperio.plugin.v1.DestinationPlugin"

    def __init__(self, plugin: destination.Destination) -> None:
        self._plugin = plugin

    def methods(self) -> Mapping[str, Method]:
        """Give the methods by name."""
        from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2
        from aperio_plugin._generated.aperio.plugin.v1 import destination_pb2 as pb

        return {
            "Capabilities": Method(
                capabilities_pb2.CapabilitiesRequest,
                lambda _request, _call: declaring.capabilities_message(
                    self.capabilities(), *self.features
                ),
            ),
            "Deliver": Method(pb.DeliverRequest, self._deliver),
            "Position": Method(pb.PositionRequest, self._position),
        }

    def _deliver(
        self, request: destination_pb2.DeliverRequest, call: Call
    ) -> destination_pb2.DeliverResponse:
        """Answer a call of Deliver.

        Raises:
            Exception: as `deliver` and `deliver_and_store`.
        """
        from aperio_plugin._generated.aperio.plugin.v1 import destination_pb2 as pb

        context = context_of(request.context, call)
        envelopes = [answering.envelope_from(item) for item in request.envelopes]
        if not request.HasField("checkpoint"):
            results = self.deliver(context, envelopes)
            return pb.DeliverResponse(results=map(answering.delivery_message, results))
        from aperio_plugin._convert import keeping

        delivered = self.deliver_and_store(
            context, envelopes, keeping.store_from(request.checkpoint)
        )
        return pb.DeliverResponse(
            results=map(answering.delivery_message, delivered.results),
            checkpoint_outcome=keeping.outcome_of(delivered.outcome),
        )

    def _position(
        self, request: destination_pb2.PositionRequest, call: Call
    ) -> destination_pb2.PositionResponse:
        """Answer a call of Position.

        Raises:
            Exception: as `position`.
        """
        from aperio_plugin._convert import keeping

        source = keeping.source_from(request.source)
        return keeping.position_message(self.position(context_of(request.context, call), source))

    @property
    def features(self) -> tuple[str, ...]:
        """What the destination can beyond the minimum, by the names of the interface."""
        keeps = isinstance(self._plugin, destination.CheckpointKeeper)
        return (declaring.CHECKPOINTS_FEATURE,) if keeps else ()

    def capabilities(self) -> destination.Capabilities:
        """Give what the destination declares.

        Raises:
            ValueError: a part of it makes no sense.
        """
        capabilities = self._plugin.capabilities()
        declarations.check(capabilities.fields, capabilities.auth)
        return capabilities

    def deliver(
        self, context: Context, envelopes: Sequence[destination.Envelope]
    ) -> list[destination.DeliveryResult]:
        """Deliver, and give one result for each envelope in the order of the envelopes.

        Raises:
            Exception: what the author raised before the first answer.
        """
        answers: dict[str, destination.DeliveryResult] = {}
        reason = _NO_ANSWER
        try:
            for answer in self._plugin.deliver(context, envelopes):
                answers[answer.id] = answer
        except Exception as error:
            if not answers:
                raise
            reason = failure(error).diagnostic
        return _in_order(envelopes, answers, reason)

    def position(
        self, context: Context, source: destination.SyncSource
    ) -> destination.Position | None:
        """Give where the destination is in a sync; None: it keeps no checkpoints.

        Raises:
            errors.Unsupported: it cannot.
            Exception: what the author raised.
        """
        return self._keeper().position(context, source)

    def deliver_and_store(
        self,
        context: Context,
        envelopes: Sequence[destination.Envelope],
        request: destination.StoreCheckpoint,
    ) -> destination.Delivered:
        """Deliver, and store a checkpoint; one result for each envelope, in their order.

        Raises:
            errors.Unsupported: it cannot.
            Exception: what the author raised.
        """
        delivered = self._keeper().deliver_and_store(context, envelopes, request)
        answers = {answer.id: answer for answer in delivered.results}
        results = _in_order(envelopes, answers, _NO_ANSWER)
        return destination.Delivered(results, delivered.outcome)

    def _keeper(self) -> destination.CheckpointKeeper:
        if not isinstance(self._plugin, destination.CheckpointKeeper):
            raise errors.Unsupported("this destination does not have the feature checkpoints")
        return self._plugin


_NO_ANSWER = errors.Diagnostic("the plugin gave no answer", code="no-answer")


def _in_order(
    envelopes: Iterable[destination.Envelope],
    answers: Mapping[str, destination.DeliveryResult],
    reason: errors.Diagnostic,
) -> list[destination.DeliveryResult]:
    """Give one result for each envelope: what was answered, or that it is tried again."""
    retry = destination.Status.RETRY
    return [
        answers.get(envelope.id, destination.DeliveryResult(envelope.id, retry, reason))
        for envelope in envelopes
    ]
