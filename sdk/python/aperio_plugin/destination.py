"""Destinations: they push findings and events to a SIEM or a workflow tool."""

from __future__ import annotations

import enum
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from aperio_plugin.context import Config, Context, State, StoredValue, Token
from aperio_plugin.declarations import ApiKey, Auth, Field, FieldType, Grant, NoAuth, OAuth2
from aperio_plugin.errors import (
    Diagnostic,
    InvalidArgument,
    PluginError,
    RateLimited,
    Severity,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aperio_plugin._services import Service

__all__ = [
    "SIGNATURE_HEADER",
    "ApiKey",
    "Auth",
    "Capabilities",
    "Config",
    "Context",
    "DeliveryResult",
    "Destination",
    "Diagnostic",
    "Envelope",
    "Field",
    "FieldType",
    "Grant",
    "NoAuth",
    "OAuth2",
    "Severity",
    "State",
    "Status",
    "StoredValue",
    "Stream",
    "Token",
    "accepted",
    "delivery_key",
    "hand_over",
    "rejected",
    "result_of",
    "retry",
    "serve",
    "sign_hmac",
]

SIGNATURE_HEADER: Final = "x-aperio-signature"
"""The header that carries the signature of a body, as `sign_hmac` makes it."""

_BAD, _SERVER_ERROR = 400, 500
_EARLY: Final = (408, 425)
"""Request Timeout, Too Early (RFC 9110, RFC 8470): the same request may be sent again."""


class Stream(enum.Enum):
    """A kind of envelope."""

    FINDING = "finding"
    EVENT = "event"
    AUDIT_LOG = "audit_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a destination needs and takes; the same for the same build.

    Attributes:
        provider: upper-case name of the service, such as `SPLUNK_HEC`; equals the manifest's.
        name: what people call the service.
        streams: the kinds of envelope that it takes.
        fields: the settings.
        auth: how the service authenticates its callers.
        vendor: who makes the service.
        category: the catalogue groups by Cloud SIEM, Hosted Search, Observability, Graph and
            Generic, and shows another as it is.
        max_batch_envelopes: most envelopes in one `deliver`; 0: 256.
        description: one paragraph.
        docs_url: where an operator reads on.
    """

    provider: str
    name: str
    streams: Sequence[Stream]
    fields: Sequence[Field] = ()
    auth: Auth = field(default_factory=NoAuth)
    vendor: str = ""
    category: str = ""
    max_batch_envelopes: int = 0
    description: str = ""
    docs_url: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One event, finding or audit log entry to hand over.

    Attributes:
        id: the delivery key, the same on every attempt and another one when a finding's status
            changes: use it for de-duplication. It is not the id inside the envelope, which the
            product's envelopes do not have; `delivery_key` computes it.
        stream: its kind.
        json: the whole envelope (`aperio.plugin.contracts.v1`, or the product's eight keys) as one
            JSON object, at most 1.5 MiB: a record's 1 MiB, and what an envelope adds. Pass it on
            as it is.
    """

    id: str
    stream: Stream
    json: bytes

    def value(self) -> dict[str, Any]:
        """Give the envelope parsed; parse at most once, it is not kept."""
        return cast("dict[str, Any]", json.loads(self.json))


class Status(enum.Enum):
    """What became of an envelope."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of one envelope; made by `accepted`, `rejected`, `retry`.

    Attributes:
        id: the envelope's.
        status: what became of it.
        diagnostic: why it was not accepted.
        retry_after_s: try again no sooner; None: the host decides.
    """

    id: str
    status: Status
    diagnostic: Diagnostic | None = None
    retry_after_s: float | None = None


def accepted(envelope: Envelope) -> DeliveryResult:
    """Give the result of an envelope that the service has."""
    return DeliveryResult(envelope.id, Status.ACCEPTED)


def rejected(
    envelope: Envelope, summary: str, *, detail: str = "", code: str = ""
) -> DeliveryResult:
    """Give the result of an envelope that the service will never take."""
    return DeliveryResult(envelope.id, Status.REJECTED, Diagnostic(summary, detail, code))


def retry(envelope: Envelope, summary: str = "", *, after_s: float | None = None) -> DeliveryResult:
    """Give the result of an envelope that the service did not take now."""
    reason = Diagnostic(summary) if summary else None
    return DeliveryResult(envelope.id, Status.RETRY, reason, after_s)


def delivery_key(
    envelope: bytes | Mapping[str, Any], *, organization_id: str, destination_id: str
) -> str:
    """Give the delivery key of an envelope: 64 lower-case hex digits.

    Args:
        envelope: the host's own or the product's, as JSON or as the object that it is.
        organization_id: of the call.
        destination_id: of the destination; of a call of aperio its integration id.

    Raises:
        ValueError: it is no JSON object in UTF-8, of another kind, or has no record.
    """
    from aperio_plugin._delivery_keys import DeliveryKeys

    return DeliveryKeys(organization_id, destination_id).of(envelope)


def result_of(envelope: Envelope, error: PluginError) -> DeliveryResult:
    """Give the result for an envelope whose request failed, as `rest` says it.

    Tried again, no sooner than the service asks: 429, 408, 425, 5xx and redirects, a service that
    does not answer in time or cannot be reached, a name that is not resolved. Rejected: every other
    4xx but 401 and 403, which are about the key and not about the envelope.

    Raises:
        PluginError: the error itself, when it is about the call: key, permission, a setting, the
            end of the call, a bug.
    """
    is_permanent = isinstance(error, InvalidArgument) or (
        _BAD <= (error.http_status or 0) < _SERVER_ERROR and error.http_status not in _EARLY
    )
    if not isinstance(error, RateLimited | Unavailable | InvalidArgument):
        raise error
    status = Status.REJECTED if is_permanent else Status.RETRY
    wait_s = None if is_permanent else error.retry_after_s
    return DeliveryResult(envelope.id, status, error.diagnostic, wait_s)


def hand_over(
    envelopes: Sequence[Envelope],
    send: Callable[[Sequence[Envelope]], Iterable[DeliveryResult]],
) -> Iterator[DeliveryResult]:
    """Send envelopes together, and in halves where the service refuses the request for good.

    So one envelope that the service never takes, or a request that is too long, is not the end of
    those beside it. Give the iterator back from `deliver`.

    Args:
        envelopes: of the call.
        send: sends some of them in one request; gives a result for each.

    Raises:
        PluginError: as `result_of`, or the service did not answer at all: the host is told, and
            tries again.
    """
    left = [envelopes] if envelopes else []
    while left:
        batch = left.pop()
        try:
            answered = list(send(batch))
        except PluginError as error:
            if isinstance(error, Unavailable) and error.http_status is None:
                raise
            answered = [result_of(envelope, error) for envelope in batch]
            if len(batch) > 1 and answered[0].status is Status.REJECTED:
                middle = len(batch) // 2
                left += [batch[middle:], batch[:middle]]
                continue
        yield from answered


def sign_hmac(body: bytes, secret: str) -> str:
    """Give the signature of a body, for `SIGNATURE_HEADER`: hex of HMAC-SHA256, nothing before it.

    Args:
        body: the bytes that are sent.
        secret: what the receiver knows, too; its UTF-8 is the key.
    """
    import hashlib
    import hmac

    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Destination(ABC):
    """The base of every destination. Methods run in threads, several at once."""

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Declare what the destination needs and takes, without the network."""

    @abstractmethod
    def deliver(self, context: Context, envelopes: Sequence[Envelope]) -> Iterable[DeliveryResult]:
        """Hand over envelopes and answer for each one: a list or a generator.

        An envelope without an answer is tried again, and so are those that an error in mid-way left
        without one: answers given before it count.

        Raises:
            errors.PluginError: one that says why none could be handed over.
        """


def serve(plugin: Destination) -> None:
    """Serve the destination until the host says stop; ends the process, never returns.

    Raises:
        TypeError: it is something else, such as the class instead of an instance.
        SystemExit: status 1 when no go-plugin host started the process, or none that it can serve.
    """
    # Here: the serving modules build on this one, and take most of the time until the handshake.
    from aperio_plugin._serve import run

    def service() -> Service:
        from aperio_plugin._delivering import DestinationService

        return DestinationService(plugin)

    run(plugin, Destination, service)
