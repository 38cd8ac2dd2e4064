"""`aperio_plugin.records` and `aperio_plugin.rest`: what a service answers, read with care."""

from __future__ import annotations

import json
import random
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin import destination, errors, records, rest
from aperio_plugin._convert.calls import diagnostics_of
from aperio_plugin.connector import DeadLetter, Event
from aperio_plugin.context import Config, Context
from aperio_plugin.testing import MemoryState
from aperio_plugin.times import parse_time

from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_plugin.records import Record

SECRET = "made-up-key"
ODD = {
    '{"a" : 0.10}': "",
    '{"a":1e400}': "",
    '{"a":' + "9" * 5000 + "}": "",
    '{"a":"\\ud83d","a":1}': "",
    "{}": "",
    '{"a":' * 5000 + "1" + "}" * 5000: "more than 512 levels",
    '{"a":' * 600 + "1" + "}" * 600: "more than 512 levels",
    '{"a":"' + "x" * 1024 * 1024 + '"}': "1048576 are the most",
    '{"a":NaN}': "JSON has no NaN",
    '{"a":tru}': "not JSON",
    '{"a":"\n"}': "not JSON",
    '{"a" 1}': "not JSON",
    '{"a":"\udcff"}': "not UTF-8",  # the byte 0xff
    '"]}"': "expected an object, received text",
    "17": "received the number 17",
    "\xa0tru": "not JSON",  # white space of Unicode's, and none of JSON's
    "\x0b1": "not JSON",
    "null": "received null or nothing",
    "[[1]]": "received a list",
}


DEEP = 200_000  # more than the stack is for; from Python 3.14 on a few thousand are not


# ── records ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["msgspec", "Python's own"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two readers of replies."""
    if request.param != "msgspec":
        monkeypatch.setattr(records, "_msgspec", lambda: None)


@pytest.mark.usefixtures("reader")
@each_row("odd", ODD, ids=range(len(ODD)))
def test_a_record_is_cut_out_as_it_was_written_and_spoils_no_other(odd: str) -> None:
    body = f' {{"deep":{"[" * DEEP}{"]" * DEEP},"list" : [ {{"a":1}} ,{odd},\n{{"b":2}}], "n":5}} '
    data = odd.encode(errors="surrogateescape")
    page = records.split(body.encode(errors="surrogateescape"), "list")
    assert [record.json for record in page.records] == [b'{"a":1}', data, b'{"b":2}']
    assert [page.records[0].problem, page.records[2].problem] == ["", ""]
    assert ODD[odd] in page.records[1].problem
    assert bool(page.records[1].problem) == bool(ODD[odd])
    assert page.fields == {"deep": None, "n": 5}


@pytest.mark.usefixtures("reader")
def test_what_is_wrong_beside_the_list_spoils_no_record() -> None:
    body = b'{"list":7,"n":01,"m":1\xc2\xa0,"list":[{"a":1}],"list":17\x0b}'
    page = records.split(body, "list")
    assert [record.json for record in page.records] == [b'{"a":1}']
    assert page.fields == {"n": None, "m": None}


@pytest.mark.usefixtures("reader")
@each_row(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"list":[{"a":1},',
        b'{"list":[{"a":"]}',
        b'{"list":[1 2]}',
        b'{"list":[,]}',
        b'{"list":[1,]}',
        b'{"list":[]',
        b'{"list":[]} x',
        b'{"list":[],}',
        b'{"list":{}}',
        b'{"other":[]}',
        b"{list:[]}",
        b"\xff\xfe",
        b'{"list":[' + b'"\\"' * 100_000,
        b'{"list":[' + b"{" * 100_000,
        b'{"list":[{"a":"' + b'\\"' * 1_000_000,
        b'{"list":[{"a":"' + b'\\"' * 1_000_000 + b"\\",
        b"[" * 100_000,
    ],
)
def test_a_reply_without_the_list_is_unavailable(body: bytes) -> None:
    with pytest.raises(errors.Unavailable, match="a reply"):
        records.split(body, "list")


@pytest.mark.usefixtures("reader")
def test_many_broken_records_spoil_no_other() -> None:
    page = records.split(b'{"list":[' + b'{"a":"\n"},{"b":1},' * 300 + b"{}]}", "list")
    assert [bool(record.problem) for record in page.records] == [True, False] * 300 + [False]
    assert page.records[599].json == b'{"b":1}'


def test_msgspec_alone_cuts_a_usual_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_page", "_element"):
        monkeypatch.setattr(records, name, pytest.fail)
    page = records.split(b' {"n":1, "list":[ {"a" : 0.10} ,\n{"b":[null]}]}\n', "list")
    assert [(record.json, record.fields) for record in page.records] == [
        (b'{"a" : 0.10}', {"a": 0.1}),
        (b'{"b":[null]}', {"b": [None]}),
    ]
    assert page.fields == {"n": 1}


REPLY = (
    '{"n":1.0,"list" : [{"a":0.10,"a":-0},{"b":"\\ud83d\\ude00 \u00e9"}, '
    '{"c":18446744073709551616},'
    '\n{"d":[1E5,1e400,{}]} ,5,{"e":"\\ud800"},"]}",[],{}],"next":{"list":[null]}}'
).encode()
PIECES = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"NaN", b"nul", b"01"),
    *(
        b'"list":5,',
        b'"list":[{}],',
        b"1.",
        b"-",
        b"\n",
        b"\x00",
        b"\xc3\xa9",
        b"\xff",
        b"\xef\xbb\xbf",
    ),
)


def _cut(body: bytes) -> Any:
    try:
        page = records.split(body, "list")
    except errors.Unavailable as error:
        return str(error), error.detail
    return [(r.json, repr(r.fields), r.problem) for r in page.records], repr(page.fields)


def test_both_readers_agree_about_what_is_nearly_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    bodies = [REPLY, REPLY.replace(b'"n"', b'"list"'), REPLY.replace(b'"next"', b'"list"')]
    for _ in range(3000):
        body = bytearray(REPLY)
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(len(body) + 1)
            body[at : at + chance.choice((0, 0, 1, 3))] = chance.choice((b"", *PIECES))
        bodies.append(bytes(body))
    quick = [_cut(body) for body in bodies]
    monkeypatch.setattr(records, "_msgspec", lambda: None)
    assert [_cut(body) for body in bodies] == quick
    assert 300 < sum(isinstance(answer[0], list) for answer in quick) < 2700


def _record(fields: dict[str, Any]) -> Record:
    return records.split(json.dumps({"list": [fields]}).encode(), "list").records[0]


@each_row(
    ("fields", "reason"),
    [
        ({}, "id: expected text, received null or nothing"),
        ({"id": None}, "id: expected text, received null or nothing"),
        ({"id": 17}, "id: expected text, received the number 17"),
        ({"id": True}, "id: expected text, received true"),
        ({"id": "1", "actor": "octocat"}, "actor: expected an object, received text"),
        ({"id": "1", "actor": {"email": 5}}, "actor.email: expected text, received the number 5"),
        ({"id": "1", "actor": {"email": []}}, "actor.email: expected text, received a list"),
        ({"id": "1", "type": None}, "type: expected text, received null or nothing"),
        ({"id": "1", "type": "t", "time": 1772356297000}, "received the number 1772356297000"),
    ],
)
def test_a_field_of_another_type_is_named(fields: dict[str, Any], reason: str) -> None:
    (item,) = records.events([_record(fields)], _to_event, position="page 7")
    assert isinstance(item, DeadLetter)
    assert reason in item.reason
    assert item.position == "page 7, entry 1"
    assert item.source_event_id == str(fields.get("id") or "")
    assert json.loads(item.record) == fields


@each_row("actor", [None, {}, {"email": None}, "absent"])
def test_what_may_be_missing_is_empty(actor: Any) -> None:
    fields = {"id": "1", "type": "t", "time": "2026-01-01T00:00:00Z", "actor": actor}
    if actor == "absent":
        del fields["actor"]
    (item,) = records.events([_record(fields)], _to_event)
    assert isinstance(item, Event)
    assert item.origin == ""


def _to_event(record: Record) -> Event:
    return Event(
        source_event_id=record.text("id"),
        origin=record.text("actor", "email", default=""),
        event_type=record.text("type"),
        occurred_at=record.text("time"),
        record=record.json,
    )


@each_row("error", [KeyError("type"), TypeError("x"), ValueError("x"), IndexError()])
def test_what_a_record_makes_a_plugin_raise_is_a_dead_letter(error: Exception) -> None:
    def fail(_record: Record) -> Event:
        raise error

    (item,) = records.events([_record({"id": "1"})], fail)
    assert isinstance(item, DeadLetter)
    assert item.reason == f"{type(error).__name__}: {error}"


def test_a_record_without_an_id_is_told_by_its_place() -> None:
    def to_event(record: records.Record) -> Event:
        return Event(
            source_event_id=record.text("id"),
            event_type="x.y",
            occurred_at="2026-01-01T00:00:00Z",
            record=record.json,
        )

    found = [_record({"id": "e1"}), _record({"id": ""}), _record({})]
    made, *letters = records.events(found, to_event, position="page 7")
    assert isinstance(made, Event)
    assert all(isinstance(letter, DeadLetter) for letter in letters)
    assert [(letter.position, letter.reason) for letter in letters] == [  # type: ignore[union-attr]
        ("page 7, entry 2", "source_event_id is empty"),
        ("page 7, entry 3", "id: expected text, received null or nothing"),
    ]


def test_a_bug_is_no_dead_letter() -> None:
    def fail(_record: Record) -> Event:
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        list(records.events([_record({"id": "1"})], fail))


def test_times_are_read_for_comparing() -> None:
    assert parse_time("2026-01-01T00:00:00Z").isoformat() == "2026-01-01T00:00:00+00:00"
    assert (
        parse_time("2016-12-31t23:59:60.1234567z").isoformat() == "2017-01-01T00:00:00.123456+00:00"
    )
    with pytest.raises(ValueError, match="no time zone"):
        parse_time("2026-01-01T00:00:00")


# ── requests ──────────────────────────────────────────────────────────────────────────────────────


class Waited(Exception):
    """The plugin waits for so long."""


class _Cancelled(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        raise Waited(timeout)


def _context(*, waits: bool = False) -> Context:
    return Context(
        organization_id="o",
        integration_id="i",
        invocation_id="v",
        config=Config({}),
        token=None,
        logger=None,  # type: ignore[arg-type]  # nothing here logs
        cancelled=threading.Event() if waits else _Cancelled(),
        state=MemoryState(),
    )


@contextmanager
def _served(*answers: bytes) -> Iterator[tuple[str, list[str]]]:
    """A service that sends one of these after another, byte for byte, and then hangs up."""
    left, seen = list(answers), list[str]()

    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            self.raw_requestline = self.rfile.readline(65_537)
            self.parse_request()
            length = int(self.headers["Content-Length"] or 0)
            seen.append(f"{self.command} {self.path} {self.rfile.read(length).decode()}".strip())
            self.wfile.write(left.pop(0))
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _service(url: str, *, waits: bool = False, **options: Any) -> rest.Service:
    headers = {"Authorization": f"Bearer {SECRET}"}
    return rest.Service(_context(waits=waits), url, headers=headers, **options)


def _http(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_reply_is_read_whole() -> None:
    whole = CHUNKED + b'8\r\n{"a":"b"\r\n1\r\n}\r\n0\r\n\r\n'
    with _served(_http(200, b'{"list":[{"a":1}]}'), whole, _http(200)) as (url, seen):
        service = _service(url + "/")
        assert service.get("/x", {"after": "a b"}).page("list").records[0].json == b'{"a":1}'
        assert service.get("/y").object() == {"a": "b"}
        assert service.post("/z", b"body", headers={"X": "1"}).object() == {}
    assert seen == ["GET /x?after=a+b", "GET /y", "POST /z body"]


@each_row(
    "answer",
    [
        b"",
        b"\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"a":1}',
        CHUNKED + b'50\r\n{"a":1}',
        CHUNKED + b"zz\r\n{}",
        _http(302, b"", "Location: http://127.0.0.1:1/"),
        _http(500),
        _http(404),
        _http(200, b"x" * 1001),
    ],
)
def test_a_broken_answer_is_unavailable(answer: bytes) -> None:
    with (
        _served(answer) as (url, _),
        pytest.raises(errors.Unavailable) as caught,
    ):
        _service(url, max_reply_bytes=1000).get("/")
    assert SECRET not in f"{caught.value!r} {caught.value.detail}"


@each_row(
    "body", [b"", b"[]", b"7", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b'{"a":NaN}']
)
def test_a_body_that_is_no_object_is_unavailable(body: bytes) -> None:
    with _served(_http(200, body)) as (url, _), pytest.raises(errors.Unavailable):
        _service(url).get("/").object()


@each_row(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        CHUNKED + b'50\r\n{"a":1}',
        _http(500),
        _http(502),
        _http(200, b"[]"),
    ],
)
def test_a_change_without_an_answer_that_says_more_is_unknown(answer: bytes) -> None:
    with _served(answer) as (url, _), pytest.raises(errors.ResultUnknown) as caught:
        _service(url).post("/", b"{}").object()
    assert SECRET not in f"{caught.value!r} {caught.value.detail}"


@pytest.mark.parametrize(
    ("answer", "error"), [(_http(400), errors.Unavailable), (_http(403), errors.PermissionDenied)]
)
def test_a_change_that_was_refused_was_not_made(
    answer: bytes, error: type[errors.PluginError]
) -> None:
    with _served(answer) as (url, _), pytest.raises(error) as caught:
        _service(url).post("/", b"{}")
    assert not isinstance(caught.value, errors.ResultUnknown)


def test_a_change_that_reached_nobody_was_not_made() -> None:
    with _served() as (url, _):
        pass
    with pytest.raises(errors.Unavailable, match="cannot be reached") as caught:
        _service(url).post("/", b"{}")
    assert not isinstance(caught.value, errors.ResultUnknown)


@each_row("scheme", ["http", "https"])
@each_row("method", ["GET", "POST"])
@each_row(
    ("answer", "error", "said"),
    [
        ("403 not-granted", errors.PermissionDenied, "does not let this plugin connect"),
        ("403 address-not-public", errors.PermissionDenied, "does not let this plugin connect"),
        ("502 unresolved", errors.Unavailable, "no connection to the service"),
        ("502 unreachable", errors.Unavailable, "no connection to the service"),
    ],
)
def test_what_the_host_does_not_connect_is_no_answer_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    method: str,
    answer: str,
    error: type[errors.PluginError],
    said: str,
) -> None:
    status, _, code = answer.partition(" ")
    line = f" Refused by aperio: {code}\r\n".encode()
    refused = _http(int(status)).replace(b" X\r\n", line, 1)
    with _served(refused) as (proxy, seen):
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        service = _service(f"{scheme}://localhost:9", refusals={403: "the key may not read"})
        with pytest.raises(error, match=said) as caught:
            service.ask(method, "/")
    assert not isinstance(caught.value, errors.ResultUnknown)
    assert (caught.value.detail, len(seen)) == (code, 1)


def test_a_host_that_failed_at_some_moment_leaves_open_what_came_of_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = _http(502).replace(b" X\r\n", b" Refused by aperio: broken\r\n", 1)
    with _served(refused) as (proxy, _):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(errors.ResultUnknown):
            _service("http://localhost:9").post("/")


def test_a_change_was_not_sent_where_tls_did_not_begin() -> None:
    with (
        _served(_http(200)) as (url, _),
        pytest.raises(errors.Unavailable, match="cannot be reached") as caught,
    ):
        _service(url.replace("http:", "https:")).post("/", b"{}")
    assert not isinstance(caught.value, errors.ResultUnknown)


@each_row("target", [".", "..", "%2e", "%2E.", ".%2e"])
def test_a_name_that_leads_further_up_is_not_asked_for(target: str) -> None:
    with _served() as (url, seen), pytest.raises(errors.InvalidArgument, match="path"):
        _service(url).post(f"/v1/users/{target}/suspend")
    assert seen == []


def test_other_names_with_dots_are_asked_for() -> None:
    with _served(_http(200), _http(200)) as (url, seen):
        service = _service(url)
        service.get("/v1/users/...", {"next": ".."})
        service.get("/v1/users/a..b/.c?x=/../")
    assert seen == ["GET /v1/users/...?next=..", "GET /v1/users/a..b/.c?x=/../"]


def test_nobody_there_is_unavailable() -> None:
    with _served() as (url, _):
        pass
    with pytest.raises(errors.Unavailable, match="cannot be reached"):
        _service(url).get("/")


@each_row(
    ("status", "expected", "said"),
    [
        (401, errors.Unauthenticated, "the service does not accept the key"),
        (403, errors.PermissionDenied, "the key may not read"),
        (404, errors.InvalidArgument, "no such user"),
        (410, errors.Unavailable, "the service answered 410"),
    ],
)
def test_a_status_has_a_meaning(status: int, expected: type[errors.PluginError], said: str) -> None:
    refusals = {403: "the key may not read", 404: "no such user"}
    with _served(_http(status)) as (url, _), pytest.raises(expected, match=said):
        _service(url, refusals=refusals).get("/")


@each_row(
    ("answer", "waited"),
    [
        (_http(429), 1.0),
        (_http(429, b"", "Retry-After: 7"), 7.0),
        (_http(429, b"", "Retry-After: 7", "Retry-After: 9"), 9.0),
        (_http(429, b"", "Retry-After: nan"), 1.0),
        (_http(503, b"", "Retry-After: 2.5"), 2.5),
    ],
)
def test_a_busy_service_is_waited_for(answer: bytes, waited: float) -> None:
    with _served(answer) as (url, _), pytest.raises(Waited) as caught:
        _service(url).get("/")
    assert caught.value.args == (waited,)


def test_a_busy_service_is_asked_again_and_then_left_to_the_host() -> None:
    busy = _http(429, b"", "Retry-After: 0")
    with _served(busy, _http(200), *[busy] * 4) as (url, seen):
        service = _service(url, waits=True)
        assert service.get("/").object() == {}
        with pytest.raises(errors.RateLimited) as caught:
            service.get("/")
    assert caught.value.retry_after_s == 0
    assert len(seen) == 6


@pytest.mark.parametrize("asked", ["31", "1" + "0" * 20])
def test_a_long_wait_is_the_hosts(asked: str) -> None:
    busy = _http(429, b"", f"Retry-After: {asked}")
    with _served(busy) as (url, _), pytest.raises(errors.RateLimited) as caught:
        _service(url).get("/")
    assert caught.value.retry_after_s == rest.retry_after_s(asked)
    assert diagnostics_of(caught.value).retry_after.seconds > 30


@each_row(
    ("given", "seconds"),
    [
        ("3", 3),
        (3, 3),
        (2.5, 2.5),
        (10**20, 2_592_000),
        (float("nan"), 0),
        (float("inf"), 0),
        (-1, 0),
        ("soon", 0),
        (True, 0),
        (object(), 0),
    ],
)
def test_any_wait_of_a_plugin_is_told_or_left_out(given: Any, seconds: float) -> None:
    told = diagnostics_of(errors.RateLimited("slow", retry_after_s=given))
    assert told.retry_after.ToMicroseconds() == seconds * 1_000_000
    assert told.HasField("retry_after") == (seconds != 0)


@each_row(
    "address",
    [
        "http://example.com",
        "ftp://x",
        "example.com",
        "https://",
        "https://[",
        "https://a:b",
        "https://user:pw@example.com",
        "https://example.com?x=1",
        "https://example.com#x",
        "",
    ],
)
def test_an_address_that_would_expose_the_key_is_refused(address: str) -> None:
    with pytest.raises(errors.InvalidConfig) as caught:
        _service(address)
    assert caught.value.attribute == ("base_url",)


@each_row(
    ("address", "why"),
    [
        ("http://example.com", "with http:// it may lead to this machine only"),
        ("ftp://127.0.0.1", "must begin with https://"),
        ("https://", "names no host"),
        ("https://user:pw@example.com", "no user"),
    ],
)
def test_an_address_is_refused_for_its_true_reason(address: str, why: str) -> None:
    with pytest.raises(errors.InvalidConfig, match=why):
        _service(address)
    assert _service("http://127.0.0.1:8080")


@each_row("value", ["key\n", "key\r", "k\x00ey", "\ufeffkey", "k\u2603", "k\x7f"])
def test_a_header_that_cannot_carry_its_value_does_not_say_it(value: str) -> None:
    with pytest.raises(errors.InvalidConfig, match="Authorization") as caught:
        rest.Service(
            _context(), "https://example.com", headers={"Authorization": f"Bearer {value}"}
        )
    assert value not in f"{caught.value.summary} {caught.value.detail}"


# ── deliveries ────────────────────────────────────────────────────────────────────────────────────


def _envelopes(names: str) -> list[destination.Envelope]:
    return [destination.Envelope(n, destination.Stream.EVENT, n.encode()) for n in names]


def _sent(service: rest.Service, names: str) -> tuple[list[tuple[str, str, float | None]], str]:
    """Results, and which error ended the delivery."""

    def send(batch: Sequence[destination.Envelope]) -> list[destination.DeliveryResult]:
        service.post("/in", b"".join(envelope.json for envelope in batch))
        return [destination.accepted(envelope) for envelope in batch]

    results: list[tuple[str, str, float | None]] = []
    try:
        results.extend(
            (result.id, result.status.value, result.retry_after_s)
            for result in destination.hand_over(_envelopes(names), send)
        )
    except errors.PluginError as error:
        return results, error.code
    return results, ""


@each_row(
    ("answer", "expected"),
    [
        (_http(200), ("accepted", None)),
        (_http(429), ("retry", 1.0)),
        (_http(429, b"", "Retry-After: 600"), ("retry", 600.0)),
        (_http(503, b"", "Retry-After: 7"), ("retry", 7.0)),
        (_http(500), ("retry", None)),
        (_http(502, b"", "Retry-After: 9"), ("retry", 9.0)),
        (_http(408), ("retry", None)),
        (_http(425), ("retry", None)),
        (_http(302, b"", "Location: /"), ("retry", None)),
        (_http(400), ("rejected", None)),
        (_http(404), ("rejected", None)),
        (_http(422, b"", "Retry-After: 5"), ("rejected", None)),
        (_http(401), "unauthenticated"),
        (_http(403), "permission-denied"),
        (b"", "result-unknown"),
    ],
)
def test_what_a_service_answers_is_what_becomes_of_the_envelope(
    answer: bytes, expected: tuple[str, float | None] | str
) -> None:
    with _served(answer) as (url, _):
        found = _sent(rest.Service(_context(), url, headers={}, waits=0), "a")
    assert found == (([], expected) if isinstance(expected, str) else ([("a", *expected)], ""))


def test_a_name_that_is_not_resolved_and_a_service_that_is_silent_are_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(errors.Unavailable) as caught:
            _service(url, timeout_s=0.05).get("/")
    assert destination.result_of(_envelopes("a")[0], caught.value).status.value == "retry"

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert _sent(_service("https://intake.example.com"), "ab") == ([], "service-unavailable")


def test_one_envelope_that_is_never_taken_is_not_the_end_of_those_beside_it() -> None:
    sent = []

    def send(batch: Sequence[destination.Envelope]) -> Iterator[destination.DeliveryResult]:
        names = "".join(envelope.id for envelope in batch)
        sent.append(names)
        if "x" in names or len(names) > 4:
            error = errors.Unavailable("refused")
            error.http_status = 400 if "x" in names else 413
            raise error
        return map(destination.accepted, batch)

    results = list(destination.hand_over(_envelopes("abcdxfgh"), send))

    assert "".join(result.id for result in results) == "abcdxfgh"
    assert "".join(result.id for result in results if result.status.value == "rejected") == "x"
    assert sent == ["abcdxfgh", "abcd", "xfgh", "xf", "x", "f", "gh"]
    assert list(destination.hand_over([], send)) == []


def test_answers_before_a_service_went_away_count() -> None:
    def send(batch: Sequence[destination.Envelope]) -> list[destination.DeliveryResult]:
        if len(batch) > 1:
            raise errors.InvalidArgument("too many")
        if batch[0].id == "b":
            raise errors.Unavailable("gone")
        return [destination.accepted(batch[0])]

    results = destination.hand_over(_envelopes("ab"), send)
    assert next(results).id == "a"
    with pytest.raises(errors.Unavailable, match="gone"):
        next(results)
