"""Stamping: what a plugin knows of an event, plus what only the host may say, as NDJSON lines.

Format: aperio.contracts.v1.Envelope in its JSON form (proto/aperio/contracts/v1/envelope.proto);
keys stand in the order of the proto. The record is checked once and spliced in as it came, so its
numbers and its order of keys are those of the service.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from aperio_cli.errors.running import PluginContractBroken
from aperio_cli.errors.usage import UsageError
from aperio_cli.text import clean, escape_controls

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_plugin.wire import connector_pb2
    from google.protobuf.timestamp_pb2 import Timestamp

EVENT_SCHEMA: Final = "aperio.event.v1"
KINDS: Final = ("event", "finding", "audit_log")
MAX_RECORD_BYTES: Final = 1024 * 1024
MAX_ENVELOPE_BYTES: Final = 1024 * 1024
_MAX_ID_BYTES: Final = 512
_MAX_NAME_BYTES: Final = 128
_ACTOR_FIELDS: Final = ("id", "email", "display_name", "type", "ip_address")
_OLDEST_S: Final = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
_NEWEST_S: Final = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
_NANOSECONDS: Final = 1_000_000_000
_LINE_PREFIX: Final = '{"type":"event","envelope":'


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity, which Python reads and JSON (RFC 8259) does not have."""
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


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
        return [f"{_LINE_PREFIX}{self._envelope(event)}}}\n".encode() for event in batch.events]

    def envelope(self, event: connector_pb2.Event) -> bytes:
        """Return the envelope of one event: a JSON object on one line, UTF-8.

        Raises:
            PluginContractBroken: as `lines`.
        """
        return self._envelope(event).encode()

    def _envelope(self, event: connector_pb2.Event) -> str:
        source_event_id = event.source_event_id
        id_bytes = source_event_id.encode()
        if not 0 < len(id_bytes) <= _MAX_ID_BYTES:
            self._broken(event, f"source_event_id: 1 to {_MAX_ID_BYTES} bytes")
        if not 0 < len(event.event_type) <= _MAX_NAME_BYTES:
            self._broken(event, f"event_type: 1 to {_MAX_NAME_BYTES} bytes")
        identity = self._id_prefix.copy()
        identity.update(b"%d:%b" % (len(id_bytes), id_bytes))
        origin = f',"origin":{quote(event.source)}' if event.source else ""
        return (
            f'{{"id":"{identity.hexdigest()}{self._constant}{quote(event.event_type)}'
            f',"actor":{_actor_json(event.actor) if event.HasField("actor") else "null"}'
            f',"occurred_at":{self._occurred_at(event)}'
            f',"source_event_id":{quote(source_event_id)}'
            f',"record":{self._record(event)}{origin}}}'
        )

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


def one_line_object(data: bytes) -> str:
    """Return the text of one JSON object, checked, and on one line.

    It is the same text, except that line ends between tokens become spaces, inside of strings JSON
    has none, and that control characters which a terminal would obey are escaped: nothing of the
    contents changes.

    Raises:
        ValueError: not UTF-8, not JSON (RFC 8259), not an object, or nested too deeply to check.
    """
    text = data.decode()
    _object(text)
    text = escape_controls(text)
    if "\n" in text or "\r" in text:
        return text.replace("\n", " ").replace("\r", " ")
    return text


def _object(text: str) -> dict[str, Any]:
    document: Any
    try:
        if text.startswith("{"):  # the usual case, without looking for white space
            document, end = _DECODER.raw_decode(text)
            if end == len(text):
                return cast("dict[str, Any]", document)
        document = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("JSON that is no object")  # noqa: TRY004 - a wrong value, whatever its type
    return document


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


def _actor_json(actor: connector_pb2.Actor) -> str:
    parts = (
        f'"{name}":{quote(value)}' for name in _ACTOR_FIELDS if (value := getattr(actor, name))
    )
    return "{" + ",".join(parts) + "}"


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


def read_outbound(line: bytes, *, number: int) -> Outbound | None:
    """Return the envelope in a line for `deliver`; None for a blank line or a line of another type.

    Args:
        line: an `event` line as `run … sync` writes it, or a bare envelope.
        number: the line's number, from 1, for the message.

    Raises:
        UsageError: not JSON, larger than 1 MiB, or neither of the two forms.
    """
    try:
        text = line.decode().strip()
        return _outbound(text) if text else None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"line {number} of the input was not delivered, nor any after it: it is no envelope",
            why=f"{type(error).__name__}: {error}",
            next=["give lines as `aperio plugin run … sync` prints them, or bare envelopes"],
        ) from error


def _outbound(text: str) -> Outbound | None:
    if text.startswith(_LINE_PREFIX):  # a line of ours: cut out, so that no number is rewritten
        text = text.removeprefix(_LINE_PREFIX)[:-1]
    envelope = _object(text)
    if "type" in envelope and "schema_version" not in envelope:
        if envelope["type"] != "event":
            return None
        text = json.dumps(envelope["envelope"], ensure_ascii=False)
        envelope = _object(text)
    identity, kind = envelope["id"], envelope["kind"]
    if not isinstance(identity, str) or not identity or kind not in KINDS:
        raise ValueError(f"expected an id, and a kind that is one of {', '.join(KINDS)}")
    data = text.encode()
    if len(data) > MAX_ENVELOPE_BYTES:
        raise ValueError(f"expected an envelope of at most {MAX_ENVELOPE_BYTES} bytes")
    return Outbound(identity, kind, data)
