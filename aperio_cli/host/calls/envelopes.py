"""Stamping: what a plugin knows of an event, plus what only the host may say, as NDJSON lines.

Format: aperio.contracts.v1.Envelope in its JSON form (proto/aperio/contracts/v1/envelope.proto);
keys stand in the order of the proto. The record is checked once and spliced in as it came, so its
numbers and its order of keys are those of the service.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli.errors.running import PluginContractBroken
from aperio_cli.host.calls.json_text import one_line_object
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_plugin.wire import connector_pb2
    from google.protobuf.timestamp_pb2 import Timestamp

EVENT_SCHEMA: Final = "aperio.event.v1"
KINDS: Final = ("event", "finding", "audit_log")
MAX_RECORD_BYTES: Final = 1024 * 1024
MAX_ID_BYTES: Final = 512
_MAX_NAME_BYTES: Final = 128
_MAX_ACTOR_BYTES: Final = 64 * 1024
MAX_ENVELOPE_BYTES: Final = MAX_RECORD_BYTES + 512 * 1024
"""What is written within it is read within it: a record, and the most that an envelope can add.

That is an actor, an id and two names, each byte of which may become six (`\\u001b`), and what the
host says. The record's own control characters may become longer, too.
"""

_ACTOR_FIELDS: Final = ("id", "email", "display_name", "type", "ip_address")
_OLDEST_S: Final = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
_NEWEST_S: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
_NANOSECONDS: Final = 1_000_000_000
_LINE_PREFIX: Final = b'{"type":"event","envelope":'


@dataclass(frozen=True, slots=True)
class Outbound:
    """An envelope on its way to a destination.

    Attributes:
        id: the envelope's id.
        kind: event, finding or audit_log.
        json: the whole envelope as one JSON object on one line.
    """

    id: str
    kind: str
    json: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """What the host says about every event of one invocation.

    Attributes:
        producer: the plugin as `<id>@<version>`.
        organization_id: the tenant.
        integration_id: the connected account.
        provider: upper-case name of the service.
    """

    producer: str
    organization_id: str
    integration_id: str
    provider: str


def netstrings(*parts: str) -> bytes:
    """Join the parts, each behind its length in bytes and a colon: no two tuples agree."""
    encoded = [part.encode() for part in parts]
    return b"".join(b"%d:%b" % (len(part), part) for part in encoded)


def envelope_id(origin: Origin, source_event_id: str) -> str:
    """Return the id of an event.

    Hex sha256 over organization, integration, provider and source id.
    """
    organization, integration = origin.organization_id, origin.integration_id
    tuple_bytes = netstrings(organization, integration, origin.provider, source_event_id)
    return hashlib.sha256(tuple_bytes).hexdigest()


class Stamper:
    """Makes NDJSON lines of one invocation's events; what is the same for all is made once.

    Args:
        origin: of all events.
        subject: what to call the plugin in messages.
        mask: returns a text without secrets; for refusals only, no event passes through it.
    """

    def __init__(self, origin: Origin, *, subject: str, mask: Callable[[str], str] = str) -> None:
        self._subject = subject
        self._mask = mask
        self._id_prefix = hashlib.sha256(
            netstrings(origin.organization_id, origin.integration_id, origin.provider)
        )
        self._constant = (
            f'","schema_version":"{EVENT_SCHEMA}","source":"aperio"'
            f',"producer":{quote(origin.producer)}'
            f',"organization_id":{quote(origin.organization_id)}'
            f',"integration_id":{quote(origin.integration_id)}'
            f',"provider":{quote(origin.provider)},"kind":"event","event_type":'
        )

    def lines(self, batch: connector_pb2.EventBatch) -> list[bytes]:
        r"""Return one line `{"type":"event","envelope":{...}}\n` for each event, in order.

        Raises:
            PluginContractBroken: an event is not as connector.proto says; names the event.
        """
        return [b"%b%b}\n" % (_LINE_PREFIX, self.envelope(event)) for event in batch.events]

    def envelope(self, event: connector_pb2.Event) -> bytes:
        """Return the envelope of one event: a JSON object on one line, UTF-8.

        Raises:
            PluginContractBroken: as `lines`.
        """
        data = self._envelope(event).encode()
        if len(data) > MAX_ENVELOPE_BYTES:
            self._broken(event, f"at most {MAX_ENVELOPE_BYTES} bytes with all that is added")
        return data

    def _envelope(self, event: connector_pb2.Event) -> str:
        source_event_id = event.source_event_id
        id_bytes = source_event_id.encode()
        if not 0 < len(id_bytes) <= MAX_ID_BYTES:
            self._broken(event, f"source_event_id: 1 to {MAX_ID_BYTES} bytes")
        if not 0 < len(event.event_type.encode()) <= _MAX_NAME_BYTES:
            self._broken(event, f"event_type: 1 to {_MAX_NAME_BYTES} bytes")
        if len(event.source.encode()) > _MAX_NAME_BYTES:
            self._broken(event, f"source: at most {_MAX_NAME_BYTES} bytes")
        identity = self._id_prefix.copy()
        identity.update(b"%d:%b" % (len(id_bytes), id_bytes))
        origin = f',"origin":{quote(event.source)}' if event.source else ""
        return (
            f'{{"id":"{identity.hexdigest()}{self._constant}{quote(event.event_type)}'
            f',"actor":{self._actor(event) if event.HasField("actor") else "null"}'
            f',"occurred_at":{self._occurred_at(event)}'
            f',"source_event_id":{quote(source_event_id)}'
            f',"record":{self._record(event)}{origin}}}'
        )

    def _actor(self, event: connector_pb2.Event) -> str:
        values = [(name, getattr(event.actor, name)) for name in _ACTOR_FIELDS]
        if sum(len(value.encode()) for _, value in values) > _MAX_ACTOR_BYTES:
            self._broken(event, f"actor: at most {_MAX_ACTOR_BYTES} bytes in all")
        return "{" + ",".join(f'"{name}":{quote(value)}' for name, value in values if value) + "}"

    def _occurred_at(self, event: connector_pb2.Event) -> str:
        text = format_time(event.occurred_at) if event.HasField("occurred_at") else ""
        return (
            f'"{text}"' if text else self._broken(event, "occurred_at: a time in years 1 to 9999")
        )

    def _record(self, event: connector_pb2.Event) -> str:
        data = event.record_json
        if len(data) > MAX_RECORD_BYTES:
            self._broken(event, f"record_json: at most {MAX_RECORD_BYTES} bytes")
        try:
            return one_line_object(data)
        except ValueError as error:
            self._broken(event, f"record_json: one JSON object\nreceived {error}")

    def _broken(self, event: connector_pb2.Event, expected: str) -> NoReturn:
        raise PluginContractBroken(
            f"{self._subject} was stopped: it sent an event that breaks the plugin interface",
            why=f"event {clean(self._mask(event.source_event_id), limit=80)!r}\n"
            f"expected {self._mask(expected)}",
            next=["tell the plugin's publisher; nothing after the last checkpoint was recorded"],
        )


def format_time(moment: Timestamp) -> str:
    """Return a moment as RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second.

    Empty if out of range.
    """
    seconds, nanos = moment.seconds, moment.nanos
    if not _OLDEST_S <= seconds <= _NEWEST_S or not 0 <= nanos < _NANOSECONDS:
        return ""
    if nanos == 0:
        return _second_text(seconds) + "Z"
    digits = f"{nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{_second_text(seconds)}.{digits}Z"


@functools.lru_cache(maxsize=4096)  # events come in order: many share a second
def _second_text(seconds: int) -> str:
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")
