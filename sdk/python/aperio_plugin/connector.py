"""Connectors: they pull audit events out of a SaaS product.

from aperio_plugin import connector

class ExampleConnector(connector.Connector):
    def schema(self) -> connector.Schema: ...
    def test_connection(self, context) -> connector.TestResult: ...
    def sync(self, context, cursor):
        yield connector.Event(...)
        yield connector.Checkpoint(b"page 2")

if __name__ == "__main__":
    connector.serve(ExampleConnector())
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from aperio_plugin import errors
from aperio_plugin.context import Config, Context, State, StoredValue, SyncRequest, Token
from aperio_plugin.declarations import (
    ApiKey,
    Auth,
    Field,
    FieldType,
    Grant,
    NoAuth,
    OAuth2,
    SeverityHint,
)
from aperio_plugin.errors import Diagnostic, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from aperio_plugin._services import Service

__all__ = [
    "Action",
    "Actor",
    "ApiKey",
    "AuditLogEntry",
    "Auth",
    "Availability",
    "Check",
    "Checkpoint",
    "Config",
    "Connector",
    "Context",
    "DeadLetter",
    "Diagnostic",
    "Event",
    "EventMapping",
    "Feature",
    "Field",
    "FieldType",
    "Finding",
    "FindingSeverity",
    "FindingStatus",
    "Grant",
    "Item",
    "NoAuth",
    "OAuth2",
    "Progress",
    "Schema",
    "Severity",
    "SeverityHint",
    "State",
    "StoredValue",
    "Stream",
    "SyncRequest",
    "TestResult",
    "Token",
    "serve",
]


# Actor and Event are made for each event: frozen ones take twice as long to make, measured.
@dataclass(slots=True, kw_only=True)
class Actor:
    """Who did something; each attribute may be empty.

    An event with longer ones passes: what has more than 255 characters is cut, with `…` at its
    end, and U+0000 becomes U+FFFD. The record has all.

    Attributes:
        id: id in the service.
        email: mail address.
        display_name: what people call it.
        type: such as `user`, `service`, `app`.
        ip_address: where it acted from.
    """

    id: str = ""
    email: str = ""
    display_name: str = ""
    type: str = ""
    ip_address: str = ""


@dataclass(slots=True, kw_only=True)
class Event:
    """What the plugin knows about one event; the host adds organization, provider and the like.

    One that cannot be passed on becomes a `DeadLetter` that names the part, and the sync goes on.

    Attributes:
        source_event_id: stable id in the service: the same event has the same one whenever it is
            read. 1 to 512 bytes.
        event_type: such as `box.login_failed`: provider, dot, type. 1 to 128 bytes.
        occurred_at: a datetime with a time zone, RFC 3339 text (kept to the nanosecond), or seconds
            since 1970 in UTC. In the years 1 to 9999 in UTC.
        record: the service's own record: a JSON object as a mapping, or already encoded as bytes,
            which are passed on untouched (faster). At most 1 MiB and 512 levels.
        actor: who did it; None when the service does not say.
        origin: where in the service it was read, such as `admin_logs`. At most 128 bytes.
        native_event_type: the service's own word for the type, such as `COLLABORATION_INVITE`;
            empty: it has none. At most 128 bytes.
    """

    source_event_id: str
    event_type: str
    occurred_at: datetime | str | float
    record: Mapping[str, Any] | bytes
    actor: Actor | None = None
    origin: str = ""
    native_event_type: str = ""


class FindingSeverity(enum.Enum):
    """How grave a finding is."""

    INFO = "INFO"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class FindingStatus(enum.Enum):
    """Whether a finding stands."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"
    MUTED = "MUTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong that the connector itself sees in the service.

    The host adds the tenant, the provider and the key by which repeats are known. Most connectors
    yield events only, and leave the judgement to the product's rules; one that yields findings says
    so by `Feature.FINDINGS`. One that cannot be passed on becomes a `DeadLetter` that names the
    part, and the sync goes on.

    Attributes:
        rule_id: the key of a declared check, such as `box.public_shared_link`. 1 to 160 bytes.
        title: one line. 1 to 220 characters.
        target: what it is about, such as the name of a repository. 1 to 255 characters.
        severity: how grave it is.
        risk_score: 0 to 100.
        occurred_at: when it was found, or became resolved or muted; as an event's.
        source_event_id: stable id of this occurrence in the service: of the event that gave rise to
            it, say. The same finding with the same id and status is delivered once. 1 to 512 bytes.
        status: whether it stands.
        description: at most 16 KiB.
        remediation_steps: what to do, one step each; at most 64 of at most 1024 bytes.
        dedupe_target: what tells findings of one rule apart, where it is not the target. At most
            255 characters.
        event_type: as an event's; may be empty.
        actor: who gave rise to it; None when the service does not say.
        origin: as an event's.
        tags: at most 32 of at most 64 bytes.
        evidence: a JSON object, as an event's record; None: none.
    """

    rule_id: str
    title: str
    target: str
    severity: FindingSeverity
    risk_score: int
    occurred_at: datetime | str | float
    source_event_id: str
    status: FindingStatus = FindingStatus.OPEN
    description: str = ""
    remediation_steps: Sequence[str] = ()
    dedupe_target: str = ""
    event_type: str = ""
    actor: Actor | None = None
    origin: str = ""
    tags: Sequence[str] = ()
    evidence: Mapping[str, Any] | bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogEntry:
    """Who did what to the configuration of the service itself.

    A connector that yields entries says so by `Feature.AUDIT_LOG`. One that cannot be passed on
    becomes a `DeadLetter`, as an event does.

    Attributes:
        source_event_id: as an event's.
        action: what was done, such as `policy.updated`. 1 to 128 bytes.
        occurred_at: as an event's.
        record: the service's own record, as an event's.
        actor: who did it; None when the service does not say.
        origin: as an event's.
    """

    source_event_id: str
    action: str
    occurred_at: datetime | str | float
    record: Mapping[str, Any] | bytes
    actor: Actor | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """From this cursor a later sync goes on without losing an event.

    Attributes:
        cursor: any bytes that `sync` understands, at most 64 KiB; never a secret. It stands for all
            streams of the call.
        stream: the declared stream that has come on; empty: all of the call's.
        covers_until: everything that the service had of it up to this time was read, as an event's
            `occurred_at`; None: it is not known.
    """

    cursor: bytes
    stream: str = ""
    covers_until: datetime | str | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record of the service that cannot become an event: it is skipped, counted, written down.

    The sync goes on, and a checkpoint covers it like an event: it is not read again. What is too
    long is cut, so that a dead letter itself always passes.

    Attributes:
        reason: one line: what is wrong, naming the field; no secrets. At most 1024 bytes.
        code: stable kebab-case name of the cause. At most 64 bytes.
        source_event_id: id in the service, where it could be read. At most 512 bytes.
        position: where a person finds it in the service without an id, such as `page 17, entry 3`.
            At most 512 bytes.
        event_type: as an event's, where it could be read.
        origin: as an event's.
        record: the record as it came; its first 1024 bytes and its length are passed on.
    """

    reason: str
    code: str = "record-invalid"
    source_event_id: str = ""
    position: str = ""
    event_type: str = ""
    origin: str = ""
    record: bytes | str = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A word for people; the host may drop it.

    Attributes:
        done: events read so far in this sync.
        total: how many there will be; 0: unknown.
        message: one line.
    """

    done: int = 0
    total: int = 0
    message: str = ""


Item = Event | Finding | AuditLogEntry | Checkpoint | Progress | DeadLetter
"""What `Connector.sync` yields."""


class Availability(enum.Enum):
    """How far the connector is developed."""

    PRODUCTION_READY = "production_ready"
    PREVIEW = "preview"


class Feature(enum.Enum):
    """What a connector can do beyond reading everything; a host asks for nothing else."""

    BACKFILL = "backfill"
    """`context.request.from_time` is understood."""
    STREAMS = "streams"
    """`context.request.streams` is understood."""
    EVENT_TYPES = "event-types"
    """`context.request.event_types` is understood."""
    FINDINGS = "findings"
    """`sync` may yield findings."""
    AUDIT_LOG = "audit-log"
    """`sync` may yield audit log entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One source of records in the service that has its own order and its own lag.

    Attributes:
        name: lower-case letters, digits, `_` and `-`, such as `admin_logs`. At most 64 bytes.
        description: one line.
    """

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class EventMapping:
    """What the product calls a type of event: matched exactly, against a closed list.

    Attributes:
        event_type: an event's `native_event_type`, or else its `event_type`. At most 128 bytes.
        product_event_type: such as `PUBLIC_REPOSITORY_CREATED`. At most 120 bytes.
    """

    event_type: str
    product_event_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One posture check that the connector's events make possible.

    Attributes:
        key: such as `box.public_shared_link`: a prefix, a dot, a name; at most 160 bytes. The
            prefix need not be the provider's name.
        title: one line.
        description: what is looked for, and why it matters.
        severity_hint: how grave a finding usually is.
        enabled_by_default: whether the check runs unless somebody turns it off.
    """

    key: str
    title: str
    description: str = ""
    severity_hint: SeverityHint = SeverityHint.MEDIUM
    enabled_by_default: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """An action that a remediation plugin for this provider can execute.

    Attributes:
        key: such as `okta.suspend_user`.
        label: what a button says.
        description: what it does.
        severity_hint: how grave its effect is.
    """

    key: str
    label: str
    description: str = ""
    severity_hint: SeverityHint = SeverityHint.MEDIUM


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a connector needs and offers; the same for the same build.

    Attributes:
        provider: upper-case name of the service, such as `BOX`; equals the manifest's.
        name: what people call the service.
        fields: the settings.
        auth: how the service authenticates its callers.
        category: the catalogue groups by Identity, Productivity, Source Control and Messaging, and
            shows another as it is.
        availability: how far the connector is developed.
        description: one paragraph.
        docs_url: where an operator reads on.
        read_scopes: OAuth scopes that reading needs.
        remediation_scopes: OAuth scopes that remediation needs.
        checks: posture checks that the events make possible.
        actions: remediation actions for this provider.
        event_types: the types that `sync` gives; `box.*` among them says that others come as well.
            None: nothing is said about them.
        features: what of a `SyncRequest` the connector understands, and what it may yield beside
            events.
        readiness_note: why it is not ready for production, or what to know before it is used.
        account_id_field: key of the setting that identifies the account in the service.
        streams: what is read, one after the other or at once; none: one stream without a name.
        event_mappings: what the product calls the event types that its rules know.
    """

    provider: str
    name: str
    fields: Sequence[Field] = ()
    auth: Auth = field(default_factory=NoAuth)
    category: str = ""
    availability: Availability = Availability.PREVIEW
    description: str = ""
    docs_url: str = ""
    read_scopes: Sequence[str] = ()
    remediation_scopes: Sequence[str] = ()
    checks: Sequence[Check] = ()
    actions: Sequence[Action] = ()
    event_types: Sequence[str] = ()
    features: Sequence[Feature] = ()
    readiness_note: str = ""
    account_id_field: str = ""
    streams: Sequence[Stream] = ()
    event_mappings: Sequence[EventMapping] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """Whether the configuration works.

    Attributes:
        ok: it does.
        account: facts that show that it is the right account, such as its name; no secrets.
        diagnostics: what is wrong, or what to know.
        retry_after_s: the service asks to wait so long before it is called again; None: it does
            not.
    """

    __test__: ClassVar[bool] = False  # it is no test class, whatever pytest reads into its name

    ok: bool
    account: Mapping[str, str] = field(default_factory=dict[str, str])
    diagnostics: Sequence[Diagnostic] = ()
    retry_after_s: float | None = None


class Connector(ABC):
    """The base of every connector. Methods run in threads, several at once for different calls."""

    @abstractmethod
    def schema(self) -> Schema:
        """Declare what the connector needs and offers, without the network."""

    @abstractmethod
    def test_connection(self, context: Context) -> TestResult:
        """Tell by a cheap read whether the configuration works.

        An error of `aperio_plugin.errors` that it raises becomes a result that is not ok.
        """

    @abstractmethod
    def sync(self, context: Context, cursor: bytes | None) -> Iterator[Item]:
        """Read events from a cursor on, in order, until caught up: a plain generator.

        It yields one event at a time; the SDK batches. It runs in a thread of its own and is held
        up at `yield` while the host does not read. When the call ends early, `context.cancelled` is
        set and the generator is closed at its next `yield`.

        Args:
            context: the call. `context.request` says what is asked for, of what the schema's
                `features` name.
            cursor: of the last stored checkpoint; None: from the beginning.

        Raises:
            errors.PluginError: one that says why it cannot go on; events before it are kept.
        """

    def oauth_callback(self, context: Context, parameters: Mapping[str, str]) -> Mapping[str, str]:
        """Check provider-specific parameters of an OAuth callback and give account facts.

        Args:
            context: the call.
            parameters: what came beside `code` and `state`.

        Raises:
            errors.Unsupported: unless a connector overrides it.
        """
        del context, parameters
        raise errors.Unsupported("this connector has no parameters of its own in an OAuth callback")


def serve(plugin: Connector) -> None:
    """Serve the connector until the host says stop; ends the process, never returns.

    Raises:
        TypeError: it is something else, such as the class instead of an instance.
        SystemExit: status 1 when no go-plugin host started the process, or none that it can serve.
    """
    # Here: the serving modules build on this one, and take most of the time until the handshake.
    from aperio_plugin._serve import run

    def service() -> Service:
        from aperio_plugin._connecting import ConnectorService

        return ConnectorService(plugin)

    run(plugin, Connector, service)
