"""Audit events from {{ cookiecutter.title }}: the business logic only.

What is written here fits an API of a common shape. Change paths and names to your service's:

    GET /v1/account                       {"id": "a1", "name": "Acme"}
    GET /v1/events?after=POSITION&limit=N {"events": [...], "next": "POSITION", "more": true}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_plugin import connector, errors, records, rest

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_BASE_URL = "https://api.example.com"
PAGE_EVENTS = 200

SCHEMA = connector.Schema(
    provider="{{ cookiecutter.provider }}",
    name="{{ cookiecutter.title }}",
    description="Audit events from {{ cookiecutter.title }}",
    category="Productivity",
    docs_url="https://{{ cookiecutter.module }}",
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
        account = service(context).get("/v1/account").object()
        return connector.TestResult(
            ok=True,
            account={"id": str(account.get("id", "")), "name": str(account.get("name", ""))},
        )

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        """Read from the position in the cursor until the service has no more."""
        position, api = cursor.decode() if cursor else "", service(context)
        while True:
            query = {"after": position, "limit": str(PAGE_EVENTS)}
            page = api.get("/v1/events", query).page("events")
            following, more = page.fields.get("next"), page.fields.get("more") is True
            if not isinstance(following, str):
                raise errors.Unavailable("the service's reply does not say what comes next")
            # A record that cannot be read is a dead letter: skipped, counted and written down.
            yield from records.events(page.records, to_event, position=f"after {position!r}")
            if more and following == position:
                raise errors.Unavailable("the service says there is more, and not where")
            if following != position:
                position = following
                # Everything before this point is safe once the host has stored the checkpoint.
                yield connector.Checkpoint(position.encode())
            if not more:
                return


def to_event(record: records.Record) -> connector.Event:
    """Turn one record of the service into an event; the record itself goes along as it came."""
    kind = record.text("type")
    return connector.Event(
        source_event_id=record.text("id"),
        event_type=f"{{ cookiecutter.provider.lower() }}.{kind}",
        native_event_type=kind,
        occurred_at=record.text("time"),
        actor=connector.Actor(
            id=record.text("actor", "id", default=""),
            email=record.text("actor", "email", default=""),
            ip_address=record.text("actor", "ip", default=""),
        ),
        origin="audit_log",
        record=record.json,
    )


def service(context: connector.Context) -> rest.Service:
    """Give the service at the configured address, with the configured key."""
    return rest.Service(
        context,
        context.config.text("base_url", DEFAULT_BASE_URL),
        headers={"Authorization": f"Bearer {context.config.text('api_key')}"},
        refusals={403: "the key may not read the audit log"},
    )
