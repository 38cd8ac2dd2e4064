"""The stub must behave as Box's documentation says, or the connector's tests prove nothing."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.rows import each_row
from tests.simulators import box

TIMEOUT_S = 10.0


def events(api: box.BoxApi, token: str, **query: str) -> dict[str, Any]:
    query.setdefault("stream_type", "admin_logs_streaming")
    reply = api.handle(
        box.Request("GET", box.EVENTS_PATH, query, {"authorization": f"Bearer {token}"})
    )
    assert reply.status == 200, reply.body
    chunk: dict[str, Any] = json.loads(reply.body)
    assert chunk["chunk_size"] == len(chunk["entries"])
    return chunk


def read_all(api: box.BoxApi, **query: str) -> list[str]:
    token, ids, position = api.issue_token(), [], "0"
    while True:
        chunk = events(api, token, stream_position=position, **query)
        ids += [entry["event_id"] for entry in chunk["entries"]]
        if not chunk["entries"]:
            return ids
        position = str(chunk["next_stream_position"])


def grant(**changes: str) -> box.Request:
    form = {
        "grant_type": "client_credentials",
        "client_id": box.CLIENT_ID,
        "client_secret": box.CLIENT_SECRET,
        "box_subject_type": "enterprise",
        "box_subject_id": box.ENTERPRISE_ID,
    }
    return box.Request("POST", box.TOKEN_PATH, form=form | changes)


def test_make_events_gives_every_shape_and_the_same_for_one_seed() -> None:
    entries = box.make_events(40, seed=7)
    assert entries == box.make_events(40, seed=7)
    assert entries != box.make_events(40, seed=8)
    assert {entry["event_type"] for entry in entries} == set(box.EVENT_TYPES)
    assert len({entry["event_id"] for entry in entries}) == 40
    assert [e["created_at"] for e in entries] == sorted(e["created_at"] for e in entries)


@pytest.mark.parametrize("stream_type", ["admin_logs", "admin_logs_streaming"])
def test_paging_gives_every_event_once(stream_type: str) -> None:
    entries = box.make_events(25)
    ids = read_all(box.BoxApi(entries), stream_type=stream_type, limit="10")
    assert ids == [entry["event_id"] for entry in entries]


def test_streaming_repeats_events_when_asked_to_and_history_never_does() -> None:
    entries = box.make_events(20)
    api = box.BoxApi(entries, box.BoxOptions(duplicate_every=5))
    assert len(read_all(api)) == 24
    assert set(read_all(api)) == {entry["event_id"] for entry in entries}
    assert len(read_all(api, stream_type="admin_logs")) == 20


def test_position_now_gives_an_empty_chunk_before_what_happens_next() -> None:
    api = box.BoxApi(box.make_events(5))
    token = api.issue_token()
    now = events(api, token, stream_position="now")
    assert now["entries"] == []
    later = box.make_events(6, seed=1)[5:]
    api.add(later)
    assert events(api, token, stream_position=now["next_stream_position"])["entries"] == later


def test_an_empty_chunk_keeps_the_position() -> None:
    api = box.BoxApi(box.make_events(3))
    token = api.issue_token()
    end = events(api, token)["next_stream_position"]
    again = events(api, token, stream_position=end)
    assert (again["chunk_size"], again["next_stream_position"]) == (0, end)


def test_an_empty_history_chunk_answers_zero_when_asked_to() -> None:
    api = box.BoxApi(options=box.BoxOptions(empty_position="zero"))
    chunk = events(api, api.issue_token(), stream_type="admin_logs")
    assert chunk["next_stream_position"] == "0"


def test_positions_may_be_numbers() -> None:
    api = box.BoxApi(box.make_events(2), box.BoxOptions(position_kind="number"))
    assert isinstance(events(api, api.issue_token())["next_stream_position"], int)


def test_streaming_forgets_after_two_weeks_and_history_after_a_year() -> None:
    entries = box.make_events(60, spacing=timedelta(days=10))
    api = box.BoxApi(entries)
    assert len(read_all(api)) == 2
    assert len(read_all(api, stream_type="admin_logs")) == 37


def test_history_honours_bounds_and_streaming_ignores_them() -> None:
    entries = box.make_events(10)
    bounds = {"created_after": entries[4]["created_at"], "created_before": entries[6]["created_at"]}
    api = box.BoxApi(entries)
    assert len(read_all(api, stream_type="admin_logs", **bounds)) == 3
    assert len(read_all(api, **bounds)) == 10


def test_a_filter_by_event_type_still_reaches_the_end() -> None:
    entries = box.make_events(30)
    wanted = [e["event_id"] for e in entries if e["event_type"] in {"LOGIN", "DOWNLOAD"}]
    assert read_all(box.BoxApi(entries), event_type="LOGIN,DOWNLOAD", limit="2") == wanted


@each_row(
    ("query", "code"),
    [
        ({"limit": "0"}, "invalid_limit"),
        ({"limit": "many"}, "invalid_request_parameters"),
        ({"stream_position": "x"}, "invalid_request_parameters"),
        ({"stream_type": "admin_logs", "created_after": "soon"}, "invalid_request_parameters"),
        ({"stream_type": "all"}, "bad_request"),
    ],
)
def test_a_wrong_parameter_is_refused(query: dict[str, str], code: str) -> None:
    api = box.BoxApi()
    headers = {"authorization": f"Bearer {api.issue_token()}"}
    query = {"stream_type": "admin_logs_streaming"} | query
    reply = api.handle(box.Request("GET", box.EVENTS_PATH, query, headers))
    error = json.loads(reply.body)
    assert (reply.status, error["type"], error["code"]) == (400, "error", code)


def test_a_grant_gives_a_token_that_opens_the_api() -> None:
    api = box.BoxApi()
    token = json.loads(api.handle(grant()).body)
    assert (token["token_type"], token["expires_in"]) == ("bearer", 3600)
    assert events(api, token["access_token"])["entries"] == []


@each_row(
    ("changes", "error"),
    [
        ({"client_id": "other"}, "invalid_client"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"box_subject_id": "1"}, "invalid_grant"),
        ({"box_subject_type": "user"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_a_wrong_grant_is_refused(changes: dict[str, str], error: str) -> None:
    reply = box.BoxApi().handle(grant(**changes))
    assert (reply.status, json.loads(reply.body)["error"]) == (400, error)


@each_row("header", ["", "Bearer nothing", "Basic x"])
def test_a_request_without_a_valid_token_is_refused(header: str) -> None:
    reply = box.BoxApi().handle(
        box.Request("GET", box.USERS_ME_PATH, headers={"authorization": header})
    )
    assert (reply.status, reply.body) == (401, b"")
    assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]


def test_a_token_dies_of_age() -> None:
    api = box.BoxApi(options=box.BoxOptions(token_life_s=0))
    headers = {"authorization": f"Bearer {api.issue_token()}"}
    assert api.handle(box.Request("GET", box.USERS_ME_PATH, headers=headers)).status == 401


def test_tokens_expire_after_the_chunks_asked_for() -> None:
    api = box.BoxApi(box.make_events(4))
    token = api.issue_token()
    api.expire_tokens(after_chunks=2)
    events(api, token, limit="1")
    events(api, token, limit="1")
    headers = {"authorization": f"Bearer {token}"}
    assert api.handle(box.Request("GET", box.EVENTS_PATH, headers=headers)).status == 401
    events(api, api.issue_token())


def test_faults_come_when_scripted_and_are_recorded() -> None:
    api = box.BoxApi(box.make_events(2))
    token = api.issue_token()
    api.fail_next(box.rate_limited("7"), times=2, skip=1)
    request = box.Request(
        "GET",
        box.EVENTS_PATH,
        {"stream_type": "admin_logs_streaming"},
        {"authorization": f"Bearer {token}"},
    )
    replies = [api.handle(request) for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 429, 429, 200]
    assert replies[1].headers["Retry-After"] == "7"
    assert len(api.requests_for(box.EVENTS_PATH)) == 4


def test_users_me_gives_only_the_fields_asked_for() -> None:
    api = box.BoxApi()
    headers = {"authorization": f"Bearer {api.issue_token()}"}
    query = {"fields": "enterprise"}
    reply = api.handle(box.Request("GET", box.USERS_ME_PATH, query, headers))
    user = json.loads(reply.body)
    assert set(user) == {"type", "id", "name", "login", "enterprise"}
    assert user["enterprise"]["id"] == box.ENTERPRISE_ID


@pytest.fixture
def simulator() -> Iterator[box.BoxSimulator]:
    with box.BoxSimulator(box.make_events(12)) as running:
        yield running


def test_the_server_speaks_http(simulator: box.BoxSimulator) -> None:
    with httpx.Client(base_url=simulator.url, timeout=TIMEOUT_S) as client:
        token = client.post(box.TOKEN_PATH, data=dict(grant().form)).json()["access_token"]
        chunk = client.get(
            box.EVENTS_PATH,
            params={"stream_type": "admin_logs", "limit": "5"},
            headers={"Authorization": f"Bearer {token}"},
        ).json()
        assert client.get("/2.0/files/1").status_code == 404
    assert chunk["chunk_size"] == 5
    assert simulator.requests_for(box.EVENTS_PATH)[0].query["limit"] == "5"


def test_the_server_can_hang_up(simulator: box.BoxSimulator) -> None:
    simulator.fail_next(box.HANG_UP)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(simulator.url + box.EVENTS_PATH, timeout=TIMEOUT_S)


def test_stop_does_not_wait_for_delayed_replies() -> None:
    simulator = box.BoxSimulator().start()
    simulator.fail_next(box.Reply(200, delay_s=3600))
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(simulator.url + box.EVENTS_PATH, timeout=0.2)
    before = time.monotonic()
    simulator.stop()
    assert time.monotonic() - before < 30


def test_the_program_prints_its_url_and_ends_with_its_stdin() -> None:
    program = Path(box.__file__)
    with subprocess.Popen(
        [sys.executable, program, "--port", "0", "--events", "3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        reply = httpx.post(url + box.TOKEN_PATH, data=dict(grant().form), timeout=TIMEOUT_S)
        child.stdin.close()
        assert child.wait(timeout=TIMEOUT_S) == 0
    assert reply.status_code == 200
