"""Addressing: envelopes of one organization to one of its destinations, each with its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperio_cli.host.calls.envelopes import Outbound


class Address:
    """Where envelopes go.

    Args:
        organization_id: of the call.
        destination_id: of the destination; a call names it as its integration.
    """

    def __init__(self, organization_id: str, destination_id: str) -> None:
        from aperio_plugin.wire import delivery_keys

        self.organization_id = organization_id
        self._first_text = delivery_keys.first_text
        self._keys = delivery_keys.DeliveryKeys(organization_id, destination_id)

    def takes(self, envelope: Outbound) -> bool:
        """Return whether an envelope is of this organization; another's is never handed over."""
        return envelope.organization_id == self.organization_id

    def addressed(self, envelope: Outbound) -> Outbound:
        """Return the envelope with its delivery key.

        Raises:
            ValueError: it is no envelope.
        """
        if envelope.kind != "finding" and (own := self._first_text(envelope.id)):
            return envelope._replace(key=self._keys.of_id(envelope.kind, own))
        return envelope._replace(key=self._keys.of(envelope.json))
