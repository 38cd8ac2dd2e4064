"""Stamping: what a plugin knows of an event, plus what only the host may say, as envelopes.

Format: aperio.plugin.contracts.v1.Envelope in its JSON form
(proto/aperio/plugin/contracts/v1/envelope.proto); keys stand in the order of the proto. The record
is checked once and spliced in as it came, so its numbers and its order of keys are those of the
service.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from aperio_plugin.wire import event_rules, limits

from aperio_cli.host.calls.json_text import one_line_object
from aperio_cli.host.calls.letters import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aperio_plugin.wire import connector_pb2
    from google.protobuf.timestamp_pb2 import Timestamp

EVENT_SCHEMA: Final = "aperio.event.v1"
KINDS: Final = ("event", "finding", "audit_log")
MAX_ENVELOPE_BYTES: Final = limits.MAX_RECORD_BYTES + 512 * 1024
"""What is written within it is read within it: a record, and the most that an envelope can add.

That is an actor, an id and three names, each byte of which may become six (`\\u001b`), and what the
host says. The record's own control characters may become longer, too.
"""

_ACTOR_FIELDS: Final = ("id", "email", "display_name", "type", "ip_address")
_BACKSLASH: Final = 0x5C
_NANOSECONDS: Final = 1_000_000_000
_UNSET_TIME: Final = "1970-01-01T00:00:00Z"  # what a Timestamp says that nobody has set
_LINE_PREFIX: Final = b'{"type":"event","envelope":'
_LINE_END: Final = b"}\n"
_BETWEEN_LINES: Final = _LINE_END + _LINE_PREFIX


class Outbound(NamedTuple):
    """An envelope on its way to a destination.

    Attributes:
        id: the envelope's own id; empty: it has none, as the product's.
        kind: event, finding or audit_log.
        json: the whole envelope as one JSON object on one line.
        organization_id: the tenant that the envelope says it is of.
        number: of the line that it stood in, from 1; 0: in none.
        key: its delivery key, once it is addressed to a destination.
    """

    id: str
    kind: str
    json: bytes
    organization_id: str
    number: int = 0
    key: str = ""


def lines_of(envelopes: Sequence[Outbound]) -> bytes:
    r"""Return what stands for them in a stream: each as `{"type":"event","envelope":{...}}\n`."""
    texts = [envelope.json for envelope in envelopes]
    if not texts:
        return b""
    texts[0] = _LINE_PREFIX + texts[0]
    texts[-1] += _LINE_END
    return _BETWEEN_LINES.join(texts)  # once: a batch is long enough for a copy to be felt


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


def _ignore(_source_event_id: str, _why: str) -> None:
    """Nobody hears doubts."""


@dataclass(frozen=True, slots=True)
class Promises:
    """What a connector says of its events, and who hears where that is not so.

    Attributes:
        event_types: as its schema declares them.
        doubt: hears id and what is wrong of an event that is passed on all the same.
        checks: keys of those that its schema declares.
        features: that its schema names.
    """

    event_types: Sequence[str] = ()
    doubt: Callable[[str, str], None] = _ignore
    checks: Sequence[str] = ()
    features: Sequence[str] = ()

    @classmethod
    def of(cls, schema: connector_pb2.SchemaResponse, doubt: Callable[[str, str], None]) -> Self:
        """Return what a schema says."""
        checks = [check.key for check in schema.checks]
        return cls(schema.event_types, doubt, checks, schema.interface.features)


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


def constant(origin: Origin, schema_version: str, kind: str) -> str:
    """Return what stands in every envelope of a kind between its id and its event type."""
    return (
        f'","schema_version":"{schema_version}","source":"aperio"'
        f',"producer":{quote(origin.producer)}'
        f',"organization_id":{quote(origin.organization_id)}'
        f',"integration_id":{quote(origin.integration_id)}'
        f',"provider":{quote(origin.provider)},"kind":"{kind}","event_type":'
    )


class Stamper:
    """Makes envelopes of one invocation's events; what is the same for all is made once.

    Args:
        origin: of all events.
        mask: returns a text without secrets; for dead letters only, no event passes through it.
        promises: of the connector.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        mask: Callable[[str], str] = str,
        promises: Promises | None = None,
    ) -> None:
        self._mask = mask
        self._organization_id = origin.organization_id
        promises = promises or Promises()
        self._rules = event_rules.EventRules(origin.provider, promises.event_types)
        self._doubt = promises.doubt
        self._has_nul = False
        self._id_prefix = hashlib.sha256(
            netstrings(origin.organization_id, origin.integration_id, origin.provider)
        )
        self._constant = constant(origin, EVENT_SCHEMA, "event")

    def stamp(self, batch: connector_pb2.EventBatch) -> tuple[list[Outbound], list[DeadLetter]]:
        """Return the envelopes of a batch in order, and the events that cannot be passed on."""
        made: list[Outbound] = []
        dead: list[DeadLetter] = []
        for event in batch.events:
            try:
                envelope = self.envelope(event)
                self._examine(event.source_event_id, event.event_type)
                if not self._has_nul and _BACKSLASH in envelope.json:  # the quickest to find
                    self._examine_nul(event.source_event_id, envelope.json)
                made.append(envelope)
            except ValueError as error:
                dead.append(DeadLetter.of_event(event, str(error), self._mask))
        return made, dead

    def restart(self) -> None:
        """Take note that the sync goes on from its last checkpoint, and repeats what came after."""
        self._rules.restart()

    def _examine(self, source_event_id: str, event_type: str) -> None:
        """Hold an event against what the connector promises.

        Raises:
            ValueError: it is of another provider.
        """
        for flaw in self._rules.flaws(source_event_id, event_type):
            if flaw.is_breach:
                raise ValueError(flaw.text)
            self._doubt(source_event_id, flaw.text)

    def _examine_nul(self, source_event_id: str, envelope: bytes) -> None:
        """Tell the first event of a sync that the product cannot store."""
        self._has_nul = event_rules.has_nul(envelope)
        if self._has_nul:
            self._doubt(source_event_id, event_rules.NUL_DOUBT)

    def letter(self, message: connector_pb2.DeadLetter) -> DeadLetter:
        """Return what the plugin says that it cannot pass on."""
        return DeadLetter.of_message(message, self._mask)

    def envelope(self, event: connector_pb2.Event) -> Outbound:
        """Return the envelope of one event: a JSON object on one line, UTF-8.

        Raises:
            ValueError: the event is not as connector.proto says.
        """
        identifier = event.source_event_id
        id_bytes = identifier.encode()
        if not 0 < len(id_bytes) <= limits.MAX_ID_BYTES:
            raise ValueError(f"expected source_event_id: 1 to {limits.MAX_ID_BYTES} bytes")
        digest = self._id_prefix.copy()
        digest.update(b"%d:%b" % (len(id_bytes), id_bytes))
        identity = digest.hexdigest()
        head = (
            f'{{"id":"{identity}{self._constant}{_event_type(event.event_type)}'
            f',"actor":{actor_json(event.actor) if event.HasField("actor") else "null"}'
            f',"occurred_at":{occurred_at_json(event)}'
            f',"source_event_id":{quote(identifier)},"record":'
        )
        record = event.record_json
        if len(record) > limits.MAX_RECORD_BYTES:
            raise ValueError(f"expected record_json: at most {limits.MAX_RECORD_BYTES} bytes")
        try:
            record = one_line_object(record)
        except ValueError as error:
            raise ValueError(f"expected record_json: one JSON object; received {error}") from error
        tail = _service_words(event.origin, event.native_event_type)
        # Quoted, all but the record is ASCII.
        data = b"".join((head.encode(), record, tail))
        if len(data) > MAX_ENVELOPE_BYTES:
            raise ValueError(f"expected an envelope of at most {MAX_ENVELOPE_BYTES} bytes")
        return Outbound(identity, "event", data, self._organization_id)


@functools.lru_cache(maxsize=1024)  # a service has few of them
def _event_type(name: str) -> str:
    if not 0 < len(name.encode()) <= limits.MAX_NAME_BYTES:
        raise ValueError(f"expected event_type: 1 to {limits.MAX_NAME_BYTES} bytes")
    return quote(name)


@functools.lru_cache(maxsize=1024)  # likewise
def _service_words(origin: str, native_event_type: str) -> bytes:
    """Return an envelope's end: where an event was read and what the service calls it."""
    if len(origin.encode()) > limits.MAX_NAME_BYTES:
        raise ValueError(f"expected origin: at most {limits.MAX_NAME_BYTES} bytes")
    if len(native_event_type.encode()) > limits.MAX_NAME_BYTES:
        raise ValueError(f"expected native_event_type: at most {limits.MAX_NAME_BYTES} bytes")
    members = f',"origin":{quote(origin)}' if origin else ""
    if native_event_type:
        members += f',"native_event_type":{quote(native_event_type)}'
    return f"{members}}}".encode()


def actor_json(actor: connector_pb2.Actor) -> str:
    """Return an actor as JSON, its texts cut visibly."""
    parts = [
        f'"{name}":{quote(value)}' for name in _ACTOR_FIELDS if (value := getattr(actor, name))
    ]
    text = ",".join(parts)
    if len(text) > limits.MAX_ACTOR_CHARACTERS or ("\\" in text and "\\u0000" in text):
        texts = {name: event_rules.actor_text(getattr(actor, name)) for name in _ACTOR_FIELDS}
        text = ",".join(f'"{name}":{quote(value)}' for name, value in texts.items() if value)
    return f"{{{text}}}"


def occurred_at_json(event: Any) -> str:
    """Return when an event, a finding or an entry occurred, as JSON.

    Raises:
        ValueError: it does not say, or the time is out of range.
    """
    moment = event.occurred_at
    text = _time_text(moment.seconds, moment.nanos)
    if not text or (text == _UNSET_TIME and not event.HasField("occurred_at")):
        raise ValueError("expected occurred_at: a time in years 1 to 9999")
    return f'"{text}"'


def format_time(moment: Timestamp) -> str:
    """Return a moment as RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second.

    Empty if out of range.
    """
    return _time_text(moment.seconds, moment.nanos)


@functools.lru_cache(maxsize=4096)  # events come in order: many share a second
def _time_text(seconds: int, nanos: int) -> str:
    if not limits.MIN_SECONDS <= seconds <= limits.MAX_SECONDS or not 0 <= nanos < _NANOSECONDS:
        return ""
    if nanos == 0:
        return f"{_second_text(seconds)}Z"
    digits = f"{nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{_second_text(seconds)}.{digits}Z"


@functools.lru_cache(maxsize=4096)  # likewise, where the fractions differ
def _second_text(seconds: int) -> str:
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="seconds")
