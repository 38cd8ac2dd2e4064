import json
from datetime import UTC, datetime, timedelta

import pytest

from box_connector.cursor import BEGINNING, HISTORY, LIVE, Cursor, CursorInvalid

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LAST_MONTH = NOW - timedelta(days=30)


def test_first_is_live_without_a_backfill_and_history_with_one() -> None:
    assert Cursor.first(None, NOW).stream == LIVE
    first = Cursor.first(LAST_MONTH, NOW)
    assert (first.stream, first.position, first.created_after) == (HISTORY, BEGINNING, LAST_MONTH)


@pytest.mark.parametrize("created_after", [None, LAST_MONTH])
def test_decode_gives_back_what_encode_wrote(created_after: datetime | None) -> None:
    cursor = Cursor.first(created_after, NOW).advanced("30401068076000001", NOW)
    assert Cursor.decode(cursor.encode()) == cursor


@pytest.mark.parametrize("data", [b"", b"\xff", b"null", b"[]", b"{}", b"7", b"[" * 100_000])
def test_decode_refuses_what_is_not_a_cursor(data: bytes) -> None:
    with pytest.raises(CursorInvalid):
        Cursor.decode(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("version", None),
        ("stream_type", "all"),
        ("stream_type", []),
        ("stream_position", ""),
        ("stream_position", 7),
        ("stream_position", "9" * 300),
        ("created_after", "soon"),
        ("read_at", "yesterday"),
        ("read_at", None),
    ],
)
def test_decode_refuses_a_malformed_field(key: str, value: object) -> None:
    fields = json.loads(Cursor.first(LAST_MONTH, NOW).encode())
    with pytest.raises(CursorInvalid):
        Cursor.decode(json.dumps(fields | {key: value}).encode())


def test_the_live_stream_follows_the_history_from_its_oldest_event_on() -> None:
    cursor = Cursor.first(LAST_MONTH, NOW).advanced("9", NOW).at_the_end_of_history(NOW)
    assert (cursor.stream, cursor.position, cursor.created_after) == (LIVE, BEGINNING, LAST_MONTH)


def test_a_short_pause_changes_nothing() -> None:
    cursor = Cursor.first(None, NOW).advanced("9", NOW)
    assert cursor.resumed(NOW + timedelta(days=12)) == cursor


def test_a_pause_longer_than_live_events_are_kept_is_filled_from_the_history() -> None:
    cursor = Cursor.first(None, NOW).advanced("9", NOW)
    resumed = cursor.resumed(NOW + timedelta(days=20))
    assert (resumed.stream, resumed.position) == (HISTORY, BEGINNING)
    assert resumed.created_after == NOW - timedelta(days=1)


def test_a_pause_in_the_history_changes_nothing() -> None:
    cursor = Cursor.first(LAST_MONTH, NOW).advanced("9", NOW)
    assert cursor.resumed(NOW + timedelta(days=20)) == cursor
