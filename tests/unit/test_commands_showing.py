"""What comes of answers as words, as data and as an exit status."""

from __future__ import annotations

from typing import Any

from aperio_plugin.wire import connector_pb2

from aperio_cli.commands.plugin import showing
from aperio_cli.host.calls.sync import CheckpointStored
from tests.rows import each_row


def answering(*codes: str, ok: bool = False, **wait: int) -> Any:
    made = connector_pb2.TestResponse(ok=ok)
    for code in codes:
        made.diagnostics.add(severity="SEVERITY_ERROR", summary=f"it is {code}", code=code)
    if wait:
        made.retry_after.seconds = wait["seconds"]
        made.retry_after.nanos = wait.get("nanos", 0)
    return made


@each_row(
    ("answer", "status", "wait_s", "last_line"),
    [
        (answering("rate-limited", seconds=120), 4, 120, "wait 120 s, then run it again"),
        (answering("rate-limited", seconds=1, nanos=1), 4, 2, "wait 2 s, then run it again"),
        (answering("service-unavailable"), 4, None, "wait some minutes, then run it again"),
        (answering("of-another-maker", seconds=5), 4, 5, "wait 5 s, then run it again"),
        (
            answering("rate-limited", seconds=10**12),
            4,
            None,
            "wait some minutes, then run it again",
        ),
        (answering("unauthenticated"), 5, None, "error: it is unauthenticated"),
        (answering("unauthenticated", seconds=-5), 5, None, "error: it is unauthenticated"),
        (answering(), 5, None, "the connection does not work"),
        (answering(ok=True), 0, None, "the connection works"),
        (answering("rate-limited", ok=True, seconds=5), 0, None, "error: it is rate-limited"),
    ],
)
def test_a_connection_that_cannot_be_tested_for_now_is_no_failure_of_the_plugin(
    answer: Any, status: int, wait_s: int | None, last_line: str
) -> None:
    report = showing.test(answer)

    assert (report.exit_status, report.data["retry_after_s"]) == (status, wait_s)
    assert report.text.splitlines()[-1] == last_line
    assert "retry_after" not in report.data


def test_a_schema_shows_what_it_says_of_itself_and_nothing_where_it_says_nothing() -> None:
    bare = connector_pb2.SchemaResponse(provider="BOX", name="Box")
    full = connector_pb2.SchemaResponse(
        provider="BOX", name="Box", account_id_field="tenant", readiness_note="a\n\x1b[2Jnote",
        streams=[{"name": "admin_logs", "description": "what admins did"}],
        event_mappings=[{"event_type": "SHARE", "product_event_type": "EXTERNAL_SHARING_ENABLED"}],
    )  # fmt: skip
    full.interface.features.extend(["backfill", "unheard-of"])

    text = showing.declaration(full).text

    assert "features   backfill, unheard-of\naccount    tenant\nnote       a " in text
    assert "\x1b" not in text
    assert "admin_logs  what admins did" in text
    assert "SHARE       EXTERNAL_SHARING_ENABLED" in text
    silent = showing.declaration(bare).text
    assert not [word for word in ("features", "account", "note", "stream") if word in silent]
    assert showing.declaration(full).data["streams"][0]["name"] == "admin_logs"


@each_row(
    ("note", "text"),
    [
        (CheckpointStored(2), "checkpoint after 2 events"),
        (
            CheckpointStored(2, "", "2026-11-28T10:00:59.5Z"),
            "checkpoint after 2 events; read until 2026-11-28 10:00 UTC",
        ),
        (
            CheckpointStored(2, "logs", "0001-01-01T00:00:00Z"),
            "checkpoint after 2 events; logs read until 0001-01-01 00:00 UTC",
        ),
    ],
)
def test_a_checkpoint_says_until_when_was_read(note: CheckpointStored, text: str) -> None:
    said, shown = showing.note(note)

    assert shown == text
    assert said == {
        "type": "checkpoint",
        "events": 2,
        "stream": note.stream,
        "covers_until": note.covers_until,
    }
