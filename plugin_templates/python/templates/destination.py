"""Findings and events handed to {{ cookiecutter.title }}: the business logic only.

What is written here fits an intake of a common shape. Change path and names to your service's:

    POST /v1/intake   a JSON array of {"id": "…", "envelope": {…}}, where `id` is the delivery key;
                      answers {"rejected": [{"id": "…", "reason": "…"}]}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aperio_plugin import destination, errors, rest

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_BASE_URL = "https://intake.example.com"
MAX_BATCH_ENVELOPES = 200

CAPABILITIES = destination.Capabilities(
    provider="{{ cookiecutter.provider }}",
    name="{{ cookiecutter.title }}",
    description="Hands findings and events to {{ cookiecutter.title }}",
    category="Generic",
    streams=(destination.Stream.FINDING, destination.Stream.EVENT),
    max_batch_envelopes=MAX_BATCH_ENVELOPES,
    auth=destination.ApiKey("api_key"),
    fields=(
        destination.Field(
            key="base_url",
            label="Address of the intake",
            type=destination.FieldType.URL,
            default=DEFAULT_BASE_URL,
        ),
        destination.Field(
            key="api_key",
            label="API key",
            type=destination.FieldType.PASSWORD,
            required=True,
            secret=True,
            helper="An administrator creates one under Settings, Intake keys.",
        ),
    ),
)


class {{ cookiecutter.class_name }}(destination.Destination):
    """Posts batches of envelopes. The service drops a repeat of an id that it has."""

    def capabilities(self) -> destination.Capabilities:
        """Declare the settings and the streams."""
        return CAPABILITIES

    def deliver(
        self, context: destination.Context, envelopes: Sequence[destination.Envelope]
    ) -> list[destination.DeliveryResult]:
        """Post the envelopes as they are, and answer for each one."""
        body = b"[%b]" % b",".join(map(item_of, envelopes))
        try:
            reasons = read_rejected(service(context).post("/v1/intake", body).object())
        except errors.RateLimited as limited:
            return [
                destination.retry(envelope, limited.summary, after_s=limited.retry_after_s)
                for envelope in envelopes
            ]
        return [
            destination.rejected(envelope, reasons[envelope.id])
            if envelope.id in reasons
            else destination.accepted(envelope)
            for envelope in envelopes
        ]


def item_of(envelope: destination.Envelope) -> bytes:
    """Give what the service gets for an envelope: its bytes, beside what tells it from a repeat."""
    return b'{"id":%b,"envelope":%b}' % (json.dumps(envelope.id).encode(), envelope.json)


def read_rejected(answer: dict[str, Any]) -> dict[str, str]:
    """Read which envelopes the service will never take, and why."""
    try:
        return {item["id"]: str(item["reason"]) for item in answer["rejected"]}
    except (KeyError, TypeError) as error:
        raise errors.Unavailable("the service's reply does not say what it took") from error


def service(context: destination.Context) -> rest.Service:
    """Give the service at the configured address, with the configured key."""
    return rest.Service(
        context,
        context.config.text("base_url", DEFAULT_BASE_URL),
        headers={
            "Authorization": f"Bearer {context.config.text('api_key')}",
            "Content-Type": "application/json",
        },
        refusals={403: "the key may not write to the intake"},
        waits=0,  # the host waits, envelope by envelope
    )
