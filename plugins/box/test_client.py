import gzip
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aperio_plugin import errors
from tests.simulators import box

from box_connector.client import BoxClient

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
Waits = list[float]


@pytest.fixture
def simulator() -> Iterator[box.BoxSimulator]:
    with box.BoxSimulator(box.make_events(12)) as running:
        yield running


@pytest.fixture
def waits() -> Waits:
    return []


@pytest.fixture
def client(simulator: box.BoxSimulator, waits: Waits) -> Iterator[BoxClient]:
    with BoxClient(simulator.url, simulator.issue_token(), waits.append) as opened:
        yield opened


def read(client: BoxClient) -> int:
    return len(client.events("admin_logs_streaming", "0").entries)


def test_events_asks_for_the_largest_chunk_at_the_position(
    simulator: box.BoxSimulator, client: BoxClient
) -> None:
    chunk = client.events("admin_logs", "0", NOW - timedelta(days=3))
    assert len(chunk.entries) == 12
    query = simulator.requests_for(box.EVENTS_PATH)[0].query
    assert (query["stream_type"], query["limit"]) == ("admin_logs", "500")
    assert query["created_after"] == "2026-02-27T12:00:00+00:00"


def test_a_position_that_is_a_number_becomes_text() -> None:
    options = box.BoxOptions(position_kind="number")
    with (
        box.BoxSimulator(box.make_events(1), options) as simulator,
        BoxClient(simulator.url, simulator.issue_token(), lambda _: None) as client,
    ):
        position = client.events("admin_logs_streaming", "0").next_position
    assert position is not None
    assert position.isdigit()


def test_429_waits_as_long_as_box_asks(
    simulator: box.BoxSimulator, client: BoxClient, waits: Waits
) -> None:
    simulator.fail_next(box.rate_limited("17"), times=2)
    assert read(client) == 12
    assert waits == [17.0, 17.0]


def test_429_ends_the_call_when_box_asks_for_too_long(
    simulator: box.BoxSimulator, client: BoxClient, waits: Waits
) -> None:
    simulator.fail_next(box.rate_limited("86400"))
    with pytest.raises(errors.RateLimited) as caught:
        read(client)
    assert caught.value.retry_after_s == 86400
    assert waits == []


@pytest.mark.parametrize(
    "fault",
    [
        box.server_error(500),
        box.server_error(502),
        box.server_error(503),
        box.HANG_UP,
        box.NOT_JSON,
        box.Reply(200, b"x", {"Content-Encoding": "gzip"}),
        box.Reply(200, b'{"entries":[{"a":1}'),
        box.Reply(200, b'{"entries":{}}'),
        box.Reply(200, b"[" * 100_000),
    ],
)
def test_a_passing_failure_is_tried_again(
    simulator: box.BoxSimulator, client: BoxClient, waits: Waits, fault: box.Reply
) -> None:
    simulator.fail_next(fault, times=2)
    assert read(client) == 12
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1.0 <= waits[1] <= 2.0


def test_a_lasting_failure_ends_the_call_after_six_requests(
    simulator: box.BoxSimulator, client: BoxClient, waits: Waits
) -> None:
    simulator.fail_next(box.server_error(503), times=100)
    with pytest.raises(errors.Unavailable) as caught:
        read(client)
    assert "503" in caught.value.detail
    assert len(simulator.requests) == 6
    assert len(waits) == 5


def test_a_wait_that_is_cancelled_ends_the_call(simulator: box.BoxSimulator) -> None:
    def cancelled(_: float) -> None:
        raise InterruptedError

    simulator.fail_next(box.rate_limited("100"))
    with (
        BoxClient(simulator.url, simulator.issue_token(), cancelled) as client,
        pytest.raises(InterruptedError),
    ):
        read(client)
    assert len(simulator.requests) == 1


def test_an_expired_token_is_unauthenticated_at_once(
    simulator: box.BoxSimulator, client: BoxClient
) -> None:
    simulator.expire_tokens()
    with pytest.raises(errors.Unauthenticated):
        read(client)
    assert len(simulator.requests) == 1


def test_a_missing_scope_is_denied_with_what_to_do(
    simulator: box.BoxSimulator, client: BoxClient
) -> None:
    simulator.fail_next(box.FORBIDDEN)
    with pytest.raises(errors.PermissionDenied) as caught:
        read(client)
    assert "Manage enterprise properties" in caught.value.detail


def test_a_refused_request_quotes_box_on_one_line(
    simulator: box.BoxSimulator, client: BoxClient
) -> None:
    simulator.fail_next(box.client_error(400, "bad\nrequest", "no \x1b[31mred\x1b[0m"))
    with pytest.raises(errors.InvalidArgument) as caught:
        read(client)
    assert "400 (bad request)" in caught.value.detail
    assert "\x1b" not in caught.value.detail


def test_a_redirect_is_not_followed(simulator: box.BoxSimulator, client: BoxClient) -> None:
    simulator.fail_next(box.Reply(302, headers={"Location": simulator.url + box.USERS_ME_PATH}))
    with pytest.raises(errors.InvalidArgument):
        read(client)
    assert len(simulator.requests) == 1


def test_an_absurdly_large_reply_is_given_up(
    simulator: box.BoxSimulator, client: BoxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("box_connector.client._MAX_BODY_BYTES", 1000)
    simulator.fail_next(box.Reply(200, b" " * 2000))
    with pytest.raises(errors.Unavailable, match="1000 bytes"):
        read(client)


def test_the_token_stands_in_no_message(simulator: box.BoxSimulator, client: BoxClient) -> None:
    token = "tell-nobody"
    simulator.fail_next(box.unauthorized())
    with (
        BoxClient(simulator.url, token, lambda _: None) as other,
        pytest.raises(errors.Unauthenticated) as caught,
    ):
        read(other)
    assert token not in repr(caught.value)
    assert read(client) == 12


@pytest.mark.parametrize("token", ["two\nlines", "t\u00f6ken", "\u2603", "nul\0"])
def test_a_token_that_no_request_can_carry_is_not_shown(
    simulator: box.BoxSimulator, token: str
) -> None:
    with pytest.raises(errors.Unauthenticated) as caught:
        BoxClient(simulator.url, token, lambda _: None)
    assert token not in f"{caught.value!r} {caught.value.detail}"
    assert repr(token)[1:-1] not in repr(caught.value)


def test_a_compressed_reply_is_read(simulator: box.BoxSimulator, client: BoxClient) -> None:
    body = gzip.compress(b'{"entries":[{"event_id":"a"}],"next_stream_position":"7"}')
    simulator.fail_next(box.Reply(200, body, {"Content-Encoding": "gzip"}))
    chunk = client.events("admin_logs_streaming", "0")
    assert (len(chunk.entries), chunk.next_position) == (1, "7")


@pytest.mark.parametrize("proxy", ["socks5://ann:secret@127.0.0.1:9", "http://[ann:secret@x"])
def test_a_proxy_of_another_kind_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(errors.Unavailable) as caught:
        BoxClient("http://localhost:9", "t", lambda _: None)
    assert "secret" not in f"{caught.value!r} {caught.value.detail}"


class _Server(BaseHTTPRequestHandler):
    """Answers everything with an empty chunk, and notes who asked for what."""

    protocol_version = "HTTP/1.1"
    heard: list[tuple[object, str, str]]

    def do_GET(self) -> None:
        login = self.headers.get("Proxy-Authorization", "")
        self.heard.append((self.client_address, self.path.partition("?")[0], login))
        self.send_response(200)
        self.send_header("Content-Length", "14")
        self.end_headers()
        self.wfile.write(b'{"entries":[]}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[int, list[tuple[object, str, str]]]]:
    """A server's port, and what it heard: from where, which path, with which login for a proxy."""
    heard: list[tuple[object, str, str]] = []
    handler = type("_Heard", (_Server,), {"heard": heard})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_port, heard
        running.shutdown()


def test_chunks_come_over_one_connection(
    server: tuple[int, list[tuple[object, str, str]]],
) -> None:
    port, heard = server
    with BoxClient(f"http://127.0.0.1:{port}/api/", "t", lambda _: None) as client:
        for _ in range(3):
            assert read(client) == 0
    assert len(heard) == 3
    assert len({address for address, _, _ in heard}) == 1
    assert {path for _, path, _ in heard} == {"/api/2.0/events"}


@pytest.mark.parametrize(
    ("proxy", "login"),
    [
        ("http://127.0.0.1:{}", ""),
        ("127.0.0.1:{}", ""),
        ("http://ann:p%40ss@127.0.0.1:{}/", "Basic YW5uOnBAc3M="),
    ],
)
def test_requests_go_by_the_proxy_that_is_set(
    server: tuple[int, list[tuple[object, str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    proxy: str,
    login: str,
) -> None:
    port, heard = server
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy.format(port))
    monkeypatch.setenv("no_proxy", "elsewhere.example")
    with BoxClient("http://localhost:9", "t", lambda _: None) as client:
        assert read(client) == 0
    assert [asked[1:] for asked in heard] == [("http://localhost:9/2.0/events", login)]
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    with BoxClient(f"http://localhost:{port}", "t", lambda _: None) as client:
        assert read(client) == 0
    assert heard[-1][1:] == ("/2.0/events", "")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("code", "error"),
    [("not-granted", errors.PermissionDenied), ("unresolved", errors.Unavailable)],
)
def test_what_the_host_does_not_connect_is_not_for_box_to_answer(
    monkeypatch: pytest.MonkeyPatch, scheme: str, code: str, error: type[errors.PluginError]
) -> None:
    asked: list[tuple[object, str, str]] = []

    class Door(_Server):
        heard = asked

        def do_GET(self) -> None:
            self.heard.append((self.client_address, self.path, ""))
            self.send_response(403, f"Refused by aperio: {code}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_CONNECT = do_GET  # noqa: N815 - http.server's names

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{running.server_port}")
        monkeypatch.setenv("no_proxy", "")
        with (
            BoxClient(f"{scheme}://localhost:9", "t", lambda _: None) as client,
            pytest.raises(error) as caught,
        ):
            read(client)
        running.shutdown()
    assert (caught.value.detail, len(asked)) == (code, 1)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.box.com",
        "ftp://api.box.com",
        "api.box.com",
        "https://",
        "https://user:pw@api.box.com",
        "https://api.box.com?x=1",
        "http://127.0.0.1.example.com",
        "https://[",
        "",
    ],
)
def test_a_base_url_that_would_expose_the_token_is_refused(base_url: str) -> None:
    with pytest.raises(errors.InvalidConfig):
        BoxClient(base_url, "t", lambda _: None)


@pytest.mark.parametrize(
    ("header", "waited"),
    [
        ("0", 0.5),
        ("12.5", 12.5),
        ("1, 20", 20.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.5),
        ("nan", 0.5),
        ("soon", 0.5),
    ],
)
def test_429_waits_whatever_form_the_header_has(
    simulator: box.BoxSimulator, client: BoxClient, waits: Waits, header: str, waited: float
) -> None:
    simulator.fail_next(box.rate_limited(header))
    assert read(client) == 12
    assert waited <= waits[0] <= max(1.0, waited)


def test_429_for_ever_is_told_as_a_month(simulator: box.BoxSimulator, client: BoxClient) -> None:
    simulator.fail_next(box.rate_limited("1" + "0" * 20))
    with pytest.raises(errors.RateLimited) as caught:
        read(client)
    assert caught.value.retry_after_s == 30 * 86_400
