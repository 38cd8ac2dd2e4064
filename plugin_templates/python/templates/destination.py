"""Findings and events handed to {{ cookiecutter.title }}: the business logic only.

What is written here fits an intake of a common shape. Change path and names to your service's:

    POST /v1/intake   a JSON array of envelopes; answers {"rejected": [{"id": "…", "reason": "…"}]}
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from aperio_plugin import destination, errors

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_BASE_URL = "https://intake.example.com"
MAX_BATCH_ENVELOPES = 200
MAX_REPLY_BYTES = 1024 * 1024
REQUEST_TIMEOUT_S = 30.0
DEFAULT_WAIT_S = 5.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")

CAPABILITIES = destination.Capabilities(
    provider="{{ cookiecutter.provider }}",
    name="{{ cookiecutter.title }}",
    description="Hands findings and events to {{ cookiecutter.title }}",
    category="siem",
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
        body = b"[%b]" % b",".join(envelope.json for envelope in envelopes)
        try:
            reasons = read_rejected(post(context, "/v1/intake", body))
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


def read_rejected(answer: dict[str, Any]) -> dict[str, str]:
    """Read which envelopes the service will never take, and why."""
    try:
        return {item["id"]: str(item["reason"]) for item in answer["rejected"]}
    except (KeyError, TypeError) as error:
        raise errors.Unavailable("the service's reply does not say what it took") from error


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keeps the key and the envelopes from following a redirect to another host."""

    def redirect_request(self, *_: Any) -> None:
        """Give no new request, so that the redirect is an error."""


OPENER = urllib.request.build_opener(NoRedirects)


def post(context: destination.Context, path: str, body: bytes) -> dict[str, Any]:
    """Give the JSON object that the service answers.

    Raises:
        errors.PluginError: one that says why there is none.
    """
    request = urllib.request.Request(  # noqa: S310 - base_url has checked the scheme
        f"{base_url(context)}{path}",
        data=body,
        headers={
            "Authorization": f"Bearer {context.config.text('api_key')}",
            "Content-Type": "application/json",
        },
    )
    try:
        with OPENER.open(request, timeout=REQUEST_TIMEOUT_S) as reply:
            return read_object(reply.read(MAX_REPLY_BYTES + 1))
    except urllib.error.HTTPError as error:
        with error:
            raise meaning(error) from error
    except OSError as error:
        raise errors.Unavailable(f"the service cannot be reached: {error}") from error


def base_url(context: destination.Context) -> str:
    """Give the configured address: https, or http to this machine for a stub."""
    address = context.config.text("base_url", DEFAULT_BASE_URL).rstrip("/")
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return address
    raise errors.InvalidConfig("base_url must begin with https://", field="base_url")


def read_object(body: bytes) -> dict[str, Any]:
    """Give the JSON object in a reply."""
    if len(body) > MAX_REPLY_BYTES:
        raise errors.Unavailable(f"a reply is longer than {MAX_REPLY_BYTES} bytes")
    try:
        value = json.loads(body)
    except ValueError as error:
        raise errors.Unavailable("a reply is not JSON") from error
    if not isinstance(value, dict):
        raise errors.Unavailable("a reply is not a JSON object")
    return value


def meaning(error: urllib.error.HTTPError) -> errors.PluginError:
    """Give what a status other than 200 means."""
    if error.code == 401:
        return errors.Unauthenticated("the service does not accept the key")
    if error.code == 403:
        return errors.PermissionDenied("the key may not write to the intake")
    if error.code != 429:
        return errors.Unavailable(f"the service answered {error.code}")
    stated = error.headers.get("Retry-After", "")
    wait_s = float(stated) if stated.isdecimal() else DEFAULT_WAIT_S
    return errors.RateLimited("the service asks to wait", retry_after_s=wait_s)
