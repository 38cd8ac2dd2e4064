"""What Aperio hands to {{ cookiecutter.title }}: the business logic only.

What is written here fits an intake of a common shape. Change path and names to your service's:

    POST /v1/intake   a JSON array of {"id": "…", "envelope": {…}}, where `id` is the delivery key;
                      answers {"rejected": [{"id": "…", "reason": "…"}]}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aperio_plugin import destination, errors, rest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEFAULT_BASE_URL = "https://intake.example.com"
MAX_BATCH_ENVELOPES = 200

CAPABILITIES = destination.Capabilities(
    provider="{{ cookiecutter.provider }}",
    name="{{ cookiecutter.title }}",
    description="Hands findings, events and audit logs to {{ cookiecutter.title }}",
    category="Generic",
    docs_url="https://{{ cookiecutter.module }}",
    streams=tuple(destination.Stream),
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
        destination.Field(
            key="signing_secret",
            label="Signing secret",
            type=destination.FieldType.PASSWORD,
            secret=True,
            helper="With one, each request carries an HMAC-SHA256 of its body.",
        ),
        destination.Field(
            key="allow_private",
            label="Allow addresses of private networks",
            type=destination.FieldType.BOOLEAN,
            default=False,
            helper="For a service that only your own network reaches.",
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
    ) -> Iterator[destination.DeliveryResult]:
        """Post the envelopes as they are, and answer for each one."""
        api, secret = service(context), context.config.text("signing_secret", "")

        def send(batch: Sequence[destination.Envelope]) -> list[destination.DeliveryResult]:
            body = b"[%b]" % b",".join(map(item_of, batch))
            signature = {destination.SIGNATURE_HEADER: destination.sign_hmac(body, secret)}
            reply = api.post("/v1/intake", body, headers=signature if secret else None)
            reasons = read_rejected(reply.object(), {envelope.id for envelope in batch})
            return [
                destination.rejected(envelope, reasons[envelope.id])
                if envelope.id in reasons
                else destination.accepted(envelope)
                for envelope in batch
            ]

        # What the service answers to a request becomes the result of each envelope in it.
        return destination.hand_over(envelopes, send)


def item_of(envelope: destination.Envelope) -> bytes:
    """Give what the service gets for an envelope: its bytes, beside what tells it from a repeat."""
    return b'{"id":%b,"envelope":%b}' % (json.dumps(envelope.id).encode(), envelope.json)


def read_rejected(answer: dict[str, Any], sent: set[str]) -> dict[str, str]:
    """Read which of the envelopes that were sent the service will never take, and why."""
    try:
        reasons = {item["id"]: item["reason"] for item in answer["rejected"]}
    except (KeyError, TypeError) as error:
        raise errors.Unavailable("the service's reply does not say what it took") from error
    # What it refuses under another name is among those that would count as taken.
    if not reasons.keys() <= sent or not all(isinstance(why, str) for why in reasons.values()):
        raise errors.Unavailable("the service's reply refuses what was not sent")
    return reasons


def service(context: destination.Context) -> rest.Service:
    """Give the service at the configured address, with the configured key."""
    address = context.config.text("base_url", DEFAULT_BASE_URL)
    # Plain http may lead to this machine only, for a stub of the service.
    if not (address.startswith("http:") or context.config.flag("allow_private", default=False)):
        rest.require_public(address)
    return rest.Service(
        context,
        address,
        headers={
            "Authorization": f"Bearer {context.config.text('api_key')}",
            "Content-Type": "application/json",
        },
        refusals={403: "the key may not write to the intake"},
        waits=0,  # the host waits, envelope by envelope
    )
