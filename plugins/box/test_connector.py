import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aperio_plugin import connector, errors
from aperio_plugin.testing import Harness, SyncResult
from tests.simulators import box

from box_connector.connector import BoxConnector

NOW = box.NEWEST.astimezone(UTC) + timedelta(minutes=5)
A_MONTH_AGO = (NOW - timedelta(days=30)).isoformat()

NOTHING = box.json_reply(200, {"chunk_size": 0, "next_stream_position": "0", "entries": []})


def harness_for(
    simulator: box.BoxSimulator, *, now: datetime = NOW, token: str | None = None, **config: Any
) -> Harness:
    return Harness(
        BoxConnector(clock=lambda: now, backoff_s=0.001),
        config={
            "enterprise_id": box.ENTERPRISE_ID,
            "client_id": box.CLIENT_ID,
            "client_secret": box.CLIENT_SECRET,
            "base_url": simulator.url,
            **config,
        },
        token=token or simulator.issue_token(),
    )


def ids(entries: Sequence[Any]) -> list[str]:
    return [entry["event_id"] for entry in entries]


def ids_of(result: SyncResult) -> list[str]:
    return [event.source_event_id for event in result.events]


def asked(simulator: box.BoxSimulator, key: str) -> list[str]:
    return [request.query.get(key, "") for request in simulator.requests_for(box.EVENTS_PATH)]


def test_schema_leaves_the_grant_and_its_secret_to_the_host() -> None:
    schema = BoxConnector().schema()
    assert isinstance(schema.auth, connector.OAuth2)
    assert schema.auth.grants == (connector.Grant.CLIENT_CREDENTIALS,)
    secret = {field.key: field for field in schema.fields}["client_secret"]
    assert secret.secret
    assert secret.host_only
    assert schema.provider == "BOX"
    assert "box.item_shared_externally" in schema.event_types


def test_schema_survives_the_wire() -> None:
    plugin = BoxConnector()
    schema = Harness(plugin).schema()
    assert [field.key for field in schema.fields] == [f.key for f in plugin.schema().fields]
    assert list(schema.event_types) == list(plugin.schema().event_types)


def test_sync_gives_every_event_over_several_chunks_and_ends() -> None:
    entries = box.make_events(25)
    with box.BoxSimulator(entries, box.BoxOptions(max_chunk=10)) as simulator:
        result = harness_for(simulator).sync()
    assert result.error is None
    assert ids_of(result) == ids(entries)
    assert [event.record for event in result.events] == entries
    assert len(result.checkpoints) == 4
    assert asked(simulator, "stream_type") == ["admin_logs_streaming"] * 4


def test_sync_normalizes_on_the_way() -> None:
    with box.BoxSimulator(box.make_events(13)) as simulator:
        result = harness_for(simulator, internal_domains="example.com").sync()
    types = {event.event_type for event in result.events}
    assert {"box.item_shared_externally", "box.login_failed", "box.shield_alert"} <= types
    assert "box.collaboration_invited" not in types


def test_sync_of_an_empty_enterprise_gives_a_checkpoint_and_ends() -> None:
    with box.BoxSimulator() as simulator:
        result = harness_for(simulator).sync()
    assert (result.events, len(result.checkpoints), result.error) == ((), 1, None)


def test_the_last_checkpoint_alone_covers_what_box_had_when_it_was_asked() -> None:
    with box.BoxSimulator(box.make_events(20)) as simulator:
        *earlier, last = harness_for(simulator, now=NOW).sync().checkpoints
    assert (last.covers_until, {each.covers_until for each in earlier}) == (NOW, {None})


def test_a_beginning_that_is_asked_for_goes_before_the_one_of_the_settings() -> None:
    with box.BoxSimulator(box.make_events(20)) as simulator:
        harness = harness_for(simulator, created_after=A_MONTH_AGO)
        whole = harness.sync()
        since = NOW - timedelta(minutes=20)
        part = harness.sync(request=connector.SyncRequest(from_time=since))
        assert part.error is None
        wanted = [each.source_event_id for each in whole.events if each.occurred_at >= since]
        assert [each.source_event_id for each in part.events] == wanted
        assert 0 < len(wanted) < len(whole.events)
        ages = harness.sync(request=connector.SyncRequest(from_time=NOW - timedelta(days=5000)))
        assert len(ages.events) == len(whole.events)


def test_sync_again_gives_only_what_is_new() -> None:
    entries = box.make_events(20)
    with box.BoxSimulator(entries[:15]) as simulator:
        harness = harness_for(simulator)
        cursor = harness.sync().checkpoints[-1].cursor
        assert harness.sync(cursor).events == ()
        simulator.add(entries[15:])
        assert ids_of(harness.sync(cursor)) == ids(entries[15:])


@pytest.mark.parametrize("created_after", ["", A_MONTH_AGO])
@pytest.mark.parametrize("kind", ["string", "number"])
def test_resuming_from_every_checkpoint_loses_nothing(created_after: str, kind: Any) -> None:
    options = box.BoxOptions(max_chunk=4, duplicate_every=3, position_kind=kind)
    entries = box.make_events(30)
    with box.BoxSimulator(entries, options) as simulator:
        result = harness_for(simulator, created_after=created_after).resume_from_every_checkpoint()
    assert sorted(ids_of(result)) == sorted(ids(entries))


def test_breaking_off_in_mid_chunk_loses_nothing() -> None:
    entries = box.make_events(20)
    with box.BoxSimulator(entries, box.BoxOptions(max_chunk=8)) as simulator:
        harness = harness_for(simulator)
        part = harness.sync(stop_after_events=11)
        rest = harness.sync(part.checkpoints[-1].cursor if part.checkpoints else None)
    assert set(ids_of(part)) | set(ids_of(rest)) == set(ids(entries))


def test_a_backfill_reads_the_history_first_and_then_live() -> None:
    entries = box.make_events(60, spacing=timedelta(days=1))
    with box.BoxSimulator(entries, box.BoxOptions(max_chunk=20)) as simulator:
        result = harness_for(simulator, created_after=A_MONTH_AGO).sync()
    assert ids_of(result) == ids(entries[-30:])
    streams = asked(simulator, "stream_type")
    assert streams == sorted(streams)
    assert set(streams) == {"admin_logs", "admin_logs_streaming"}
    bounded = [bool(bound) for bound in asked(simulator, "created_after")]
    assert bounded == [stream == "admin_logs" for stream in streams]
    assert {event.origin for event in result.events} == {"admin_logs"}


def test_an_event_that_reaches_the_history_late_comes_from_the_live_stream() -> None:
    class LateHistory(box.BoxSimulator):
        def handle(self, request: box.Request) -> box.Reply:
            if request.query.get("stream_type") == "admin_logs":
                return super().handle(
                    box.Request(
                        request.method,
                        request.path,
                        {**request.query, "created_before": entries[6]["created_at"]},
                        request.headers,
                    )
                )
            return super().handle(request)

    entries = box.make_events(10)
    with LateHistory(entries) as simulator:
        result = harness_for(simulator, created_after=A_MONTH_AGO).sync()
    assert ids_of(result) == ids(entries)
    assert [e.origin for e in result.events[-3:]] == ["admin_logs_streaming"] * 3


def test_a_backfill_of_a_day_does_not_give_two_weeks() -> None:
    entries = box.make_events(10, spacing=timedelta(hours=12))
    since = (NOW - timedelta(days=1)).isoformat()
    with box.BoxSimulator(entries) as simulator:
        result = harness_for(simulator, created_after=since).sync()
    assert ids_of(result) == ids(entries[-2:])


def test_an_empty_history_that_answers_position_zero_does_not_repeat() -> None:
    options = box.BoxOptions(max_chunk=4, empty_position="zero")
    entries = box.make_events(9)
    with box.BoxSimulator(entries, options) as simulator:
        result = harness_for(simulator, created_after=A_MONTH_AGO).sync()
    assert ids_of(result) == ids(entries)


def test_an_empty_live_chunk_that_answers_position_zero_does_not_repeat() -> None:
    with box.BoxSimulator(box.make_events(5)) as simulator:
        harness = harness_for(simulator)
        cursor = harness.sync().checkpoints[-1].cursor
        simulator.fail_next(NOTHING)
        again = harness.sync(cursor).checkpoints[-1].cursor
        assert harness.sync(again).events == ()


@pytest.mark.parametrize("time", [None, "soon", "9999-12-31T23:59:59-08:00"])
def test_an_event_without_a_time_is_a_dead_letter_and_not_an_old_one(time: str | None) -> None:
    entries = box.make_events(2)
    entries[0]["created_at"] = time
    with box.BoxSimulator(entries) as simulator:
        simulator.fail_next(NOTHING)  # the history; the live stream has both
        result = harness_for(simulator, created_after=A_MONTH_AGO).sync()
    assert ids_of(result) == ids(entries[1:])
    assert [letter.source_event_id for letter in result.dead_letters] == ids(entries[:1])


def test_a_pause_longer_than_live_events_are_kept_loses_nothing() -> None:
    entries = box.make_events(50, spacing=timedelta(days=1))
    with box.BoxSimulator(entries[:10]) as simulator:
        then = NOW - timedelta(days=40)
        cursor = harness_for(simulator, now=then).sync().checkpoints[-1].cursor
        simulator.add(entries[10:])
        result = harness_for(simulator).sync(cursor)
    assert set(ids(entries[10:])) <= set(ids_of(result))


def test_duplicates_are_dropped_across_chunks() -> None:
    entries = box.make_events(40)
    options = box.BoxOptions(max_chunk=5, duplicate_every=2)
    with box.BoxSimulator(entries, options) as simulator:
        result = harness_for(simulator).sync()
    assert len(simulator.requests) == 13
    assert ids_of(result) == ids(entries)


def test_a_stream_that_does_not_move_ends_the_sync() -> None:
    stuck = box.json_reply(
        200, {"chunk_size": 2, "next_stream_position": "0", "entries": box.make_events(2)}
    )
    with box.BoxSimulator() as simulator:
        simulator.fail_next(stuck, times=100)
        result = harness_for(simulator).sync()
    assert len(simulator.requests) == 1
    assert len(result.events) == 2


@pytest.mark.parametrize("position", [None, "", True, {}])
def test_a_reply_without_a_usable_position_ends_the_sync(position: Any) -> None:
    reply = {"entries": box.make_events(2), "next_stream_position": position}
    with box.BoxSimulator() as simulator:
        simulator.fail_next(box.json_reply(200, reply))
        result = harness_for(simulator).sync()
    assert (len(result.events), result.error) == (2, None)


def test_rate_limits_and_failures_in_mid_sync_do_not_end_it() -> None:
    entries = box.make_events(20)
    with box.BoxSimulator(entries, box.BoxOptions(max_chunk=5)) as simulator:
        simulator.fail_next(box.rate_limited("0"), skip=1, times=2)
        simulator.fail_next(box.server_error(503), skip=2, times=3)
        result = harness_for(simulator).sync()
    assert result.error is None
    assert ids_of(result) == ids(entries)


def test_a_lasting_failure_keeps_what_was_read() -> None:
    with box.BoxSimulator(box.make_events(20), box.BoxOptions(max_chunk=5)) as simulator:
        simulator.fail_next(box.server_error(502), skip=2, times=100)
        result = harness_for(simulator).sync()
    assert isinstance(result.error, errors.Unavailable)
    assert (len(result.events), len(result.checkpoints)) == (10, 2)


def test_expiry_in_mid_sync_ends_it_after_its_last_checkpoint_and_a_new_token_goes_on() -> None:
    entries = box.make_events(20)
    with box.BoxSimulator(entries, box.BoxOptions(max_chunk=5)) as simulator:
        harness = harness_for(simulator)
        simulator.expire_tokens(after_chunks=2)
        first = harness.sync()
        assert isinstance(first.error, errors.Unauthenticated)
        assert len(first.checkpoints) == 2
        second = harness_for(simulator).sync(first.checkpoints[-1].cursor)
    assert ids_of(first) + ids_of(second) == ids(entries)


def test_malformed_entries_do_not_end_the_sync() -> None:
    entries: list[Any] = box.make_events(8)
    entries[1].pop("created_by")
    entries[2]["source"] = None
    entries[3] = "not an object"
    entries[4] = None
    entries[5]["created_at"] = "yesterday"
    entries[6].pop("event_id")
    entries[7] |= {"created_by": {"id": "1", "name": "\ud83d"}, "note": "\ud83d"}
    with box.BoxSimulator(entries) as simulator:
        result = harness_for(simulator, created_after=A_MONTH_AGO).sync()
    assert result.error is None
    assert [event.record for event in result.events] == entries[:3] + entries[6:]
    assert result.events[-1].actor == connector.Actor(
        id="1", display_name="\ufffd", ip_address=entries[7]["ip_address"]
    )
    reasons = [letter.reason for letter in result.dead_letters]
    assert reasons[0] == "record: expected an object, received text"
    assert reasons[1] == "record: expected an object, received null or nothing"
    assert "yesterday" in reasons[2]
    assert result.dead_letters[0].position == "admin_logs at 0, entry 4"
    assert result.dead_letters[2].source_event_id == entries[5]["event_id"]
    assert [letter.origin for letter in result.dead_letters] == ["admin_logs"] * 3


ODD_ENTRIES = {
    "a fraction as it was written": ("0.10", ""),
    "a number beyond every float": ("1e400", ""),
    "a number of 5,000 digits": ("9" * 5000, ""),
    "600 kB that is not ASCII": ('"' + "\u2603" * 200_000 + '"', ""),
    "500 levels": ("[" * 500 + "]" * 500, ""),
    "5,000 levels": ('{"a":' * 5000 + "1" + "}" * 5000, "more than 512 levels"),
    "no number": ("NaN", "not JSON"),
    "more than 1 MiB": ('"' + "x" * 1024 * 1024 + '"', "1048576 are the most"),
    "a line end in a text": ('"a\nb"', "not JSON"),
}


@pytest.mark.parametrize("odd", ODD_ENTRIES)
def test_an_odd_entry_passes_as_its_own_bytes_or_is_a_dead_letter(odd: str) -> None:
    value, reason = ODD_ENTRIES[odd]
    entries = [json.dumps(entry) for entry in box.make_events(3)]
    entries[1] = entries[1][:-1] + f',"odd":{value}' + "}"
    body = f'{{"entries":[{", ".join(entries)}],"next_stream_position":"7"}}'
    with box.BoxSimulator() as simulator:
        simulator.fail_next(box.Reply(200, body.encode()))
        result = harness_for(simulator).sync()
    assert result.error is None
    assert len(result.checkpoints) == 2
    passed = [event.record_json for event in result.events]
    assert passed == [entry.encode() for entry in (entries[::2] if reason else entries)]
    assert [reason in letter.reason for letter in result.dead_letters] == [True] * bool(reason)


def test_bytes_that_are_not_utf8_spoil_their_own_entry_only() -> None:
    first, second = (json.dumps(entry).encode() for entry in box.make_events(2))
    body = b'{"entries":[%b,{"event_id":"\xff"},%b],"next_stream_position":"7"}' % (first, second)
    with box.BoxSimulator() as simulator:
        simulator.fail_next(box.Reply(200, body))
        result = harness_for(simulator).sync()
    assert len(result.events) == 2
    assert [letter.reason for letter in result.dead_letters] == ["record is not UTF-8"]


@pytest.mark.parametrize("cursor", [b"x", b"{}", json.dumps({"version": 9}).encode()])
def test_a_foreign_cursor_is_refused_before_any_request(cursor: bytes) -> None:
    with box.BoxSimulator(box.make_events(3)) as simulator:
        result = harness_for(simulator).sync(cursor)
    assert isinstance(result.error, errors.InvalidCursor)
    assert simulator.requests == []


def test_connection_gives_the_account() -> None:
    with box.BoxSimulator() as simulator:
        result = harness_for(simulator).test_connection()
    assert result.ok
    assert result.account["enterprise_id"] == box.ENTERPRISE_ID
    assert result.account["enterprise_name"] == "Example Inc"


def test_connection_reads_no_events() -> None:
    with box.BoxSimulator(box.make_events(5)) as simulator:
        assert harness_for(simulator).test_connection().ok
    assert asked(simulator, "stream_position") == ["now"]


def test_connection_with_wrong_credentials_says_what_to_check() -> None:
    with box.BoxSimulator() as simulator:
        result = harness_for(simulator, token="never-issued").test_connection()
    assert not result.ok
    assert "client_secret" in result.diagnostics[0].detail
    assert "never-issued" not in repr(result)


def test_connection_without_the_scope_says_which() -> None:
    with box.BoxSimulator() as simulator:
        simulator.fail_next(box.FORBIDDEN)
        result = harness_for(simulator).test_connection()
    assert not result.ok
    assert "Manage enterprise properties" in result.diagnostics[0].detail


def test_connection_to_another_enterprise_names_the_field() -> None:
    with box.BoxSimulator() as simulator:
        result = harness_for(simulator, enterprise_id="111").test_connection()
    assert not result.ok
    assert result.diagnostics[0].attribute == ("enterprise_id",)
    assert box.ENTERPRISE_ID in result.diagnostics[0].detail


def test_connection_with_a_malformed_setting_names_the_field() -> None:
    with box.BoxSimulator() as simulator:
        result = harness_for(simulator, created_after="soon").test_connection()
    assert result.diagnostics[0].attribute == ("created_after",)
    assert simulator.requests == []


def test_a_callback_gives_account_facts_and_no_secret() -> None:
    with box.BoxSimulator() as simulator:
        token = simulator.issue_token()
        facts = harness_for(simulator, token=token).oauth_callback({})
    assert facts["enterprise_id"] == box.ENTERPRISE_ID
    assert set(facts) == {"user_id", "login", "name", "enterprise_id", "enterprise_name"}
    assert token not in facts.values()


def test_a_callback_that_says_no_is_refused_before_any_request() -> None:
    with box.BoxSimulator() as simulator:
        with pytest.raises(errors.PermissionDenied) as caught:
            harness_for(simulator).oauth_callback({"error": "access_denied\x1b[31m"})
        assert simulator.requests == []
    assert "access_denied" in caught.value.detail
    assert "\x1b" not in caught.value.detail
