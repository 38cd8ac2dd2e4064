"""What a sync may ask a connector for, and what it is refused for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from aperio_plugin.wire import connector_pb2

from aperio_cli.commands.plugin.scope import read_scope
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.scope import SyncScope, require_understood
from tests.rows import each_row

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def schema(*features: str, **parts: Any) -> connector_pb2.SchemaResponse:
    made = connector_pb2.SchemaResponse(provider="BOX", **parts)
    made.interface.features.extend(features)
    return made


EVERY = schema(
    "backfill", "streams", "event-types", "of-a-newer-version",
    streams=[{"name": "logs"}, {"name": "sign-ins"}], event_types=["box.login", "box.logout"],
)  # fmt: skip
OPEN = schema("event-types", event_types=["box.login", "box.*"])


@each_row(
    ("scope", "declared"),
    [
        (SyncScope(), schema()),
        (SyncScope(MONDAY), schema("backfill")),
        (SyncScope(MONDAY, ("logs", "sign-ins"), ("box.login",)), EVERY),
        (SyncScope(event_types=("box.anything",)), OPEN),
    ],
)
def test_what_a_connector_declares_it_is_asked_for(scope: SyncScope, declared: Any) -> None:
    require_understood(scope, declared, "`acme/box`")


@each_row(
    ("scope", "declared", "what", "why"),
    [
        (
            SyncScope(MONDAY),
            schema(),
            "`--from` is nothing",
            "`backfill` in its schema, found none",
        ),
        (SyncScope(streams=("logs",)), schema("backfill"), "`--stream` is", "found backfill"),
        (SyncScope(event_types=("box.login",)), schema(), "`--event-type` is", "`event-types`"),
        (SyncScope(streams=("other",)), EVERY, "`--stream other` is", "declares logs, sign-ins"),
        (SyncScope(streams=("logs", "")), EVERY, "`--stream ` is", "declares logs, sign-ins"),
        (SyncScope(event_types=("box.x",)), EVERY, "`--event-type box.x` is", "box.login, box.log"),
        (SyncScope(event_types=("okta.x",)), OPEN, "`--event-type okta.x` is", "box.login, box.*"),
    ],
)
def test_what_a_connector_does_not_declare_it_is_not_asked_for(
    scope: SyncScope, declared: Any, what: str, why: str
) -> None:
    with pytest.raises(UsageError) as caught:
        require_understood(scope, declared, "`acme/box` 1.2.0")

    assert caught.value.what.startswith(what)
    assert caught.value.what.endswith(": nothing was read")
    assert why in caught.value.why
    assert caught.value.next


def test_each_choice_has_a_key_of_its_own_whatever_the_order() -> None:
    keys = [
        SyncScope().key,
        SyncScope(streams=("a",)).key,
        SyncScope(streams=("a", "b")).key,
        SyncScope(event_types=("a",)).key,
        SyncScope(streams=("a",), event_types=("a",)).key,
        SyncScope(event_types=("a,b",)).key,
        SyncScope(event_types=("a", "b")).key,
    ]

    assert keys[:3] == ["", "a", "a,b"]
    assert len(set(keys)) == len(keys)
    assert SyncScope(MONDAY, ("b", "a", "b")).key == "a,b"


@each_row(
    ("typed", "read"),
    [
        ("", None),
        ("2026-01-05", MONDAY),
        ("2026-01-05T01:00:00+01:00", MONDAY),
        ("2026-01-05 00:00:00Z", MONDAY),
    ],
)
def test_a_day_begins_in_utc_and_a_time_says_its_zone(typed: str, read: datetime | None) -> None:
    assert read_scope(typed, ["s"], ["t"]) == SyncScope(read, ("s",), ("t",))


@each_row("typed", ["yesterday", "2026-02-30", "2026-01-05T09:00:00", "0", "٢٠٢٦-01-05"])
def test_a_time_that_is_none_is_refused_with_one_that_would_do(typed: str) -> None:
    with pytest.raises(UsageError, match="`--from` is no time") as caught:
        read_scope(typed, [], [])

    assert "2026-01-31" in caught.value.next[0]
