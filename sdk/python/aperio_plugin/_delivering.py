"""A destination's calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_plugin import declarations, destination, errors
from aperio_plugin._convert import answering, declaring
from aperio_plugin._services import Method, context_of, failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
                lambda _request, _call: declaring.capabilities_message(self.capabilities()),
            ),
            "Deliver": Method(
                pb.DeliverRequest,
                lambda request, call: pb.DeliverResponse(
                    results=map(
                        answering.delivery_message,
                        self.deliver(
                            context_of(request.context, call),
                            [answering.envelope_from(item) for item in request.envelopes],
                        ),
                    )
                ),
            ),
        }

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
        reason = errors.Diagnostic("the plugin gave no answer", code="no-answer")
        try:
            for answer in self._plugin.deliver(context, envelopes):
                answers[answer.id] = answer
        except Exception as error:
            if not answers:
                raise
            reason = failure(error).diagnostic
        retry = destination.Status.RETRY
        return [
            answers.get(envelope.id, destination.DeliveryResult(envelope.id, retry, reason))
            for envelope in envelopes
        ]
