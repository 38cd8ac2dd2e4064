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
    from datetime import datetime

    from aperio_plugin._services import Service

__all__ = [
    "SIGNATURE_HEADER",
    "ApiKey",
    "Auth",
    "Capabilities",
    "CheckpointKeeper",
    "CheckpointOutcome",
    "Config",
    "Context",
    "Delivered",
    "DeliveryResult",
    "Destination",
    "Diagnostic",
    "Envelope",
    "Field",
    "FieldType",
    "Grant",
    "NoAuth",
    "OAuth2",
    "Position",
    "Severity",
    "State",
    "Status",
    "StoreCheckpoint",
    "StoredValue",
    "Stream",
    "SyncCheckpoint",
    "SyncSource",
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


@dataclass(frozen=True, slots=True)
class SyncSource:
    """Which sync of a call's organization and integration a checkpoint is of.

    Each of the four tells checkpoints apart.

    Attributes:
        connector: who reads; opaque, the same over versions, at most 256 bytes.
        choice: of which streams and event types; opaque, at most 256 bytes; empty: of all.
    """

    connector: str
    choice: str = ""


@dataclass(frozen=True, slots=True)
class SyncCheckpoint:
    """What is kept of a sync; each replaces the one before it.

    Attributes:
        cursor: opaque, at most 64 KiB.
        covered: by the name of a stream, the time until which everything of it was read, in UTC.
        connector_version: the connector's version that gave it, at most 128 bytes.
    """

    cursor: bytes
    covered: Mapping[str, datetime] = field(default_factory=dict)
    connector_version: str = ""


@dataclass(frozen=True, slots=True)
class StoreCheckpoint:
    """A checkpoint to be stored in one transaction with the envelopes of its call.

    Attributes:
        source: which sync it is of.
        checkpoint: what is stored.
        replaces: the cursor that the host knows to be stored; empty: none is.
    """

    source: SyncSource
    checkpoint: SyncCheckpoint
    replaces: bytes = b""

    def may_replace(self, cursor: bytes) -> bool:
        """Say whether it may take the place of what is stored, else its outcome is `MOVED`.

        Args:
            cursor: the stored one; empty: none is.
        """
        return cursor in {self.replaces, self.checkpoint.cursor}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a destination is in a sync.

    Attributes:
        checkpoint: the one that was stored last; None: none was.
        stored_at: when that was, in UTC; None: it is not known.
    """

    checkpoint: SyncCheckpoint | None = None
    stored_at: datetime | None = None


class CheckpointOutcome(enum.Enum):
    """What became of a checkpoint that was to be stored."""

    NOT_STORED = "not_stored"
    """An envelope of the call was not accepted."""
    STORED = "stored"
    """It is stored, and so is every envelope of the call."""
    MOVED = "moved"
    """Another cursor is stored than the one to be replaced; see `StoreCheckpoint.may_replace`."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of envelopes, and of the checkpoint after them.

    Attributes:
        results: one for each envelope.
        outcome: the checkpoint's.
    """

    results: Sequence[DeliveryResult]
    outcome: CheckpointOutcome


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
    does not answer in time or cannot be reached, a name that is not resolved. Rejected, with the
    code `argument-invalid`: every other 4xx but 401 and 403, which are about the key and not about
    the envelope.

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
    wait_s, reason = None if is_permanent else error.retry_after_s, error.diagnostic
    if is_permanent:  # whatever the service is called elsewhere: later is of no help here
        reason = Diagnostic(error.summary, error.detail, InvalidArgument.code, error.attribute)
    return DeliveryResult(envelope.id, status, reason, wait_s)


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


class CheckpointKeeper(Destination):
    """The base of a destination that can keep the checkpoints of a sync beside what it writes.

    After a crash at any point what was written and the checkpoint agree, and what is brought back
    from a backup goes on from where it was then. `deliver` is called where there is no checkpoint.
    """

    @abstractmethod
    def position(self, context: Context, source: SyncSource) -> Position | None:
        """Give where the destination is in a sync; None: it keeps no checkpoints.

        Whether it does may hang on the settings of the call.

        Raises:
            errors.PluginError: one that says why it could not be found out.
        """

    @abstractmethod
    def deliver_and_store(
        self, context: Context, envelopes: Sequence[Envelope], request: StoreCheckpoint
    ) -> Delivered:
        """Hand over envelopes and store a checkpoint, both in one transaction.

        There may be no envelopes. The checkpoint is stored only when every envelope is accepted,
        and when what is stored may be replaced (`StoreCheckpoint.may_replace`).

        Raises:
            errors.PluginError: one that says why none could be handed over; nothing is stored, or
                it is not known.
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
