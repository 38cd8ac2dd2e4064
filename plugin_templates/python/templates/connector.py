"""Audit events from {{ cookiecutter.title }}: the business logic only.

What is written here fits an API of a common shape. Change paths and names to your service's:

    GET /v1/account                       {"id": "a1", "name": "Acme"}
    GET /v1/events?after=POSITION&limit=N {"events": [...], "next": "POSITION", "more": true}
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from aperio_plugin import connector, errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_BASE_URL = "https://api.example.com"
PAGE_EVENTS = 200
MAX_REPLY_BYTES = 16 * 1024 * 1024
REQUEST_TIMEOUT_S = 30.0
MAX_WAITS = 3
MAX_WAIT_S = 30.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")

SCHEMA = connector.Schema(
    provider="{{ cookiecutter.provider }}",
    name="{{ cookiecutter.title }}",
    description="Audit events from {{ cookiecutter.title }}",
    category="other",
    auth=connector.ApiKey("api_key"),
    fields=(
        connector.Field(
            key="base_url",
            label="Address of the API",
            type=connector.FieldType.URL,
            default=DEFAULT_BASE_URL,
        ),
        connector.Field(
            key="api_key",
            label="API key",
            type=connector.FieldType.PASSWORD,
            required=True,
            secret=True,
            helper="An administrator creates one under Settings, API keys, with read access.",
        ),
    ),
    event_types=(
        "{{ cookiecutter.provider.lower() }}.login",
        "{{ cookiecutter.provider.lower() }}.login_failed",
        "{{ cookiecutter.provider.lower() }}.role_changed",
    ),
)


class {{ cookiecutter.class_name }}(connector.Connector):
    """Reads the audit log page by page, oldest event first."""

    def schema(self) -> connector.Schema:
        """Declare the settings and the events."""
        return SCHEMA

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        """Read the account that the key belongs to."""
        account = get(context, "/v1/account", {})
        return connector.TestResult(
            ok=True,
            account={"id": str(account.get("id", "")), "name": str(account.get("name", ""))},
        )

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        """Read from the position in the cursor until the service has no more."""
        position = cursor.decode() if cursor else ""
        while True:
            query = {"after": position, "limit": str(PAGE_EVENTS)}
            page = get(context, "/v1/events", query)
            events, following, more = read_page(page)
            for record in events:
                yield to_event(record)
            if more and following == position:
                raise errors.Unavailable("the service says there is more, and not where")
            if following != position:
                position = following
                # Everything before this point is safe once the host has stored the checkpoint.
                yield connector.Checkpoint(position.encode())
            if not more:
                return


def read_page(page: Mapping[str, Any]) -> tuple[list[Any], str, bool]:
    """Give the events of a page, the position behind them, and whether there are more."""
    events, following, more = page.get("events"), page.get("next"), page.get("more", False)
    if not isinstance(events, list) or not isinstance(following, str):
        raise errors.Unavailable("the service's reply is not a page of events")
    return events, following, more is True


def to_event(record: Any) -> connector.Event:
    """Turn one record of the service into an event."""
    try:
        actor = record.get("actor") or {}
        return connector.Event(
            source_event_id=record["id"],
            event_type=f"{{ cookiecutter.provider.lower() }}.{record['type']}",
            occurred_at=record["time"],
            actor=connector.Actor(
                id=actor.get("id", ""),
                email=actor.get("email", ""),
                ip_address=actor.get("ip", ""),
            ),
            source="audit_log",
            record=record,
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise errors.InvalidRecord(f"an event lacks what every event has: {error}") from error


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keeps the key from following a redirect to another host."""

    def redirect_request(self, *_: Any) -> None:
        """Give no new request, so that the redirect is an error."""


OPENER = urllib.request.build_opener(NoRedirects)


def get(context: connector.Context, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Give the JSON object at a path, waiting when the service asks for it.

    Raises:
        errors.PluginError: one that says why there is none.
    """
    for _ in range(MAX_WAITS):
        request = urllib.request.Request(  # noqa: S310 - base_url has checked the scheme
            f"{base_url(context)}{path}?{urllib.parse.urlencode(query)}",
            headers={"Authorization": f"Bearer {context.config.text('api_key')}"},
        )
        try:
            with OPENER.open(request, timeout=REQUEST_TIMEOUT_S) as reply:
                return read_object(reply.read(MAX_REPLY_BYTES + 1))
        except urllib.error.HTTPError as error:
            with error:
                wait_s = seconds_to_wait(error)
        except OSError as error:
            raise errors.Unavailable(f"the service cannot be reached: {error}") from error
        context.sleep(wait_s)
    raise errors.RateLimited("the service keeps asking to be called less often")


def base_url(context: connector.Context) -> str:
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


def seconds_to_wait(error: urllib.error.HTTPError) -> float:
    """Give how long to wait before trying again, or raise what the status means."""
    if error.code == 401:
        raise errors.Unauthenticated("the service does not accept the key") from error
    if error.code == 403:
        raise errors.PermissionDenied("the key may not read the audit log") from error
    if error.code != 429:
        raise errors.Unavailable(f"the service answered {error.code}") from error
    stated = error.headers.get("Retry-After", "1")
    wait_s = float(stated) if stated.isdecimal() else 1.0
    if wait_s > MAX_WAIT_S:
        # Longer than is good to sit in a call: the host comes back at that time.
        raise errors.RateLimited("the service asks to wait", retry_after_s=wait_s) from error
    return wait_s
