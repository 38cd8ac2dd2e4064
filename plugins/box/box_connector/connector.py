"""The connector: what it declares, and how it reads Box's two event streams."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aperio_plugin import connector, errors, records, times

from box_connector.client import PUBLIC_BASE_URL, BoxClient
from box_connector.cursor import HISTORY, Cursor, CursorInvalid
from box_connector.normalization import EVENT_TYPES, ITEM_SHARED_EXTERNALLY, normalize
from box_connector.recent import RecentIds
from box_connector.settings import HISTORY_RETENTION, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from box_connector.client import Chunk

SCOPE: Final = "manage_enterprise_properties"

_FIELDS: Final = (
    connector.Field(
        key="enterprise_id",
        label="Enterprise ID",
        required=True,
        placeholder="8675309",
        helper="Admin Console, Account & Billing.",
    ),
    connector.Field(
        key="client_id",
        label="Client ID",
        required=True,
        helper="Developer console, the application's Configuration tab.",
    ),
    connector.Field(
        key="client_secret",
        label="Client secret",
        type=connector.FieldType.PASSWORD,
        required=True,
        secret=True,
        host_only=True,
        helper="Beside the client ID; Box shows it after a second factor.",
    ),
    connector.Field(
        key="created_after",
        label="Read the history from",
        placeholder="2026-01-31T00:00:00Z",
        helper="A time in RFC 3339, at most a year back; empty: the last two weeks.",
    ),
    connector.Field(
        key="internal_domains",
        label="Your mail domains",
        placeholder="example.com, example.org",
        helper="Invitations to any other domain count as sharing externally.",
    ),
    connector.Field(
        key="base_url",
        label="Base URL of Box's API",
        type=connector.FieldType.URL,
        default=PUBLIC_BASE_URL,
        helper="Leave it as it is, except to try the connector against a stub.",
    ),
)
_CHECKS: Final = (
    connector.Check(
        key="box.item_shared_externally",
        title="An item was shared outside the enterprise",
        description="A link that anyone may open, or an invitation to a foreign mail domain.",
        severity_hint=connector.SeverityHint.HIGH,
    ),
    connector.Check(
        key="box.admin_role_changed",
        title="An admin role was changed",
        description="Somebody was made an admin or co-admin, or ceased to be one.",
        severity_hint=connector.SeverityHint.HIGH,
    ),
    connector.Check(
        key="box.app_authorized",
        title="An application was authorized",
        description="A server application may act in the enterprise from now on.",
        severity_hint=connector.SeverityHint.MEDIUM,
    ),
)
_MAPPINGS: Final = (connector.EventMapping(ITEM_SHARED_EXTERNALLY, "EXTERNAL_SHARING_ENABLED"),)


class BoxConnector(connector.Connector):
    """Reads the audit events of one Box enterprise.

    Args:
        clock: gives the current time in UTC.
        backoff_s: the first pause after a failure of Box's.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        backoff_s: float = 1.0,
    ) -> None:
        self._clock = clock
        self._backoff_s = backoff_s

    def schema(self) -> connector.Schema:
        """Declare settings, the client credentials grant and the event types."""
        return connector.Schema(
            provider="BOX",
            name="Box",
            category="Productivity",
            availability=connector.Availability.PREVIEW,
            description="Audit events of a Box enterprise: sharing, logins, roles, downloads.",
            docs_url="https://developer.box.com/guides/events/enterprise-events/for-enterprise",
            read_scopes=(SCOPE,),
            fields=_FIELDS,
            auth=connector.OAuth2(
                token_url="{base_url}/oauth2/token",  # noqa: S106 - a place, not a token
                grants=(connector.Grant.CLIENT_CREDENTIALS,),
                client_id_field="client_id",
                client_secret_field="client_secret",  # noqa: S106 - the name of a setting
                token_parameters={
                    "box_subject_type": "enterprise",
                    "box_subject_id": "{enterprise_id}",
                },
            ),
            checks=_CHECKS,
            event_types=EVENT_TYPES,
            features=(connector.Feature.BACKFILL,),
            account_id_field="enterprise_id",
            event_mappings=_MAPPINGS,
        )

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        """Tell whether the token works, belongs to the enterprise and may read its events.

        Raises:
            errors.PluginError: what does not work; the SDK makes a result of it.
        """
        settings = self._settings(context)
        with self._client(context, settings) as client:
            facts = _account_facts(client.current_user())
            client.events("admin_logs_streaming", "now")
        found = facts.get("enterprise_id", "")
        if found and found != settings.enterprise_id:
            raise errors.InvalidConfig(
                "the token belongs to another enterprise",
                field="enterprise_id",
                detail=f"expected {settings.enterprise_id}\nreceived {found}",
            )
        return connector.TestResult(ok=True, account=facts)

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        """Read from the cursor on until Box has nothing newer, a checkpoint after each chunk.

        Raises:
            errors.InvalidCursor: the cursor is not one of this connector's.
            errors.Unauthenticated: Box no longer accepts the token; checkpoints given so far hold.
            errors.PluginError: as `BoxClient.events` raises.
        """
        settings = self._settings(context)
        place = self._start(cursor, context.request.from_time, settings)
        recent, done = RecentIds(), 0
        with self._client(context, settings) as client:
            caught_up = False
            while not caught_up:
                asked = self._clock()
                chunk = client.events(place.stream, place.position, _bound(place))
                for item in _items(chunk, place, settings):
                    if recent.is_new(_identity(item)):
                        done += 1
                        yield item
                caught_up = place.stream != HISTORY and not _goes_on(chunk, place)
                place = self._after(chunk, place)
                covered = asked if caught_up else None
                yield connector.Checkpoint(place.encode(), covers_until=covered)
                yield connector.Progress(done=done, message=f"reading {place.stream}")

    def oauth_callback(
        self, context: connector.Context, parameters: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Give the facts of the account that was authorized.

        Raises:
            errors.PermissionDenied: Box's parameters say that it was not (RFC 6749, 4.1.2.1).
            errors.PluginError: as `BoxClient.current_user` raises.
        """
        if "error" in parameters:
            raise errors.PermissionDenied(
                "Box did not authorize the application",
                detail=f"error: {parameters['error'][:100]!r}",
            )
        with self._client(context, self._settings(context)) as client:
            return _account_facts(client.current_user())

    def _settings(self, context: connector.Context) -> Settings:
        return Settings.parse(context.config, self._clock())

    def _client(self, context: connector.Context, settings: Settings) -> BoxClient:
        if context.token is None:
            raise errors.Unauthenticated("the host gave no access token for Box")
        return BoxClient(
            settings.base_url, context.token.value, context.sleep, backoff_s=self._backoff_s
        )

    def _start(
        self, cursor: bytes | None, from_time: datetime | None, settings: Settings
    ) -> Cursor:
        if cursor is None:
            now = self._clock()
            since = max(from_time, now - HISTORY_RETENTION) if from_time else settings.created_after
            return Cursor.first(since, now)
        try:
            return Cursor.decode(cursor).resumed(self._clock())
        except CursorInvalid as error:
            raise errors.InvalidCursor(
                "the cursor is not one of this connector's",
                detail=f"{error}\nStart a full sync to read from the beginning.",
            ) from error

    def _after(self, chunk: Chunk, place: Cursor) -> Cursor:
        """Give the place after a chunk.

        An empty chunk of the history answers position `0` (Box's maintainers call that intended,
        github.com/box/box-windows-sdk-v2 issue 371): it must not become a place to go on from.
        """
        if place.stream == HISTORY and not _goes_on(chunk, place):
            return place.at_the_end_of_history(self._clock())
        moved = chunk.next_position if chunk.next_position not in {None, "0"} else place.position
        return place.advanced(moved or place.position, self._clock())


def _goes_on(chunk: Chunk, place: Cursor) -> bool:
    """Tell whether there may be more; a short chunk alone is not the end (Box's `limit`)."""
    return bool(chunk.entries) and chunk.next_position not in {None, place.position}


def _bound(place: Cursor) -> datetime | None:
    return place.created_after if place.stream == HISTORY else None


def _items(
    chunk: Chunk, place: Cursor, settings: Settings
) -> Iterator[connector.Event | connector.DeadLetter]:
    """Give what is wanted of a chunk; an entry that cannot be passed on as a dead letter."""
    domains, stream = settings.internal_domains, place.stream
    has_bound = stream != HISTORY and place.created_after is not None
    for number, entry in enumerate(chunk.entries, start=1):
        try:
            entry.require()
            event = normalize(entry, stream, domains)
        except errors.InvalidRecord as error:
            position = f"{stream} at {place.position}, entry {number}"
            letter = records.letter(entry, error, position=position, id_key="event_id")
            yield replace(letter, origin=stream)
            continue
        if not (has_bound and _is_too_old(event, place)):
            yield event


def _identity(item: connector.Event | connector.DeadLetter) -> str:
    """Give by what a repeat is known; the streams repeat dead letters, too."""
    if isinstance(item, connector.Event):
        return item.source_event_id
    record = item.record if isinstance(item.record, bytes) else item.record.encode()
    return f"dead:{hashlib.sha256(record).hexdigest()}"


def _is_too_old(event: connector.Event, place: Cursor) -> bool:
    """Tell whether the live stream gave something from before the backfill's start."""
    if place.created_after is None:
        return False
    try:
        return times.parse_time(str(event.occurred_at)) < place.created_after
    except ValueError:
        return False  # the SDK says what is wrong with it


def _account_facts(user: Mapping[str, object]) -> dict[str, str]:
    """Give what shows an operator that it is the right account; only text, and no secrets."""
    enterprise = user.get("enterprise")
    facts = {
        "user_id": user.get("id"),
        "login": user.get("login"),
        "name": user.get("name"),
        "enterprise_id": enterprise.get("id") if isinstance(enterprise, dict) else None,
        "enterprise_name": enterprise.get("name") if isinstance(enterprise, dict) else None,
    }
    return {key: value for key, value in facts.items() if isinstance(value, str) and value}
