"""One line per scenario, against a fake of the service on this machine; no host, no network."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aperio_plugin import errors
from aperio_plugin.testing import Harness

from connector import {{ cookiecutter.class_name }}

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "made-up-key"
PAGE = 2


@dataclass
class FakeService:
    """The service: its events, and answers that it gives before anything else."""

    events: list[dict[str, Any]] = field(default_factory=list)
    first_answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, key: str | None) -> tuple[int, dict[str, str], Any]:
        """Give status, headers and body for a request."""
        if self.first_answers:
            status, headers = self.first_answers.pop(0)
            return status, headers, {}
        if key != f"Bearer {KEY}":
            return 401, {}, {}
        if urlsplit(path).path == "/v1/account":
            return 200, {}, {"id": "a1", "name": "Acme"}
        start = int(parse_qs(urlsplit(path).query).get("after", ["0"])[0])
        page = self.events[start : start + PAGE]
        end = start + len(page)
        return 200, {}, {"events": page, "next": str(end), "more": end < len(self.events)}


@pytest.fixture
def service() -> Iterator[FakeService]:
    fake = FakeService()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = fake.answer(self.path, self.headers["Authorization"])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


def harness(service: FakeService, key: str = KEY) -> Harness:
    settings = {"base_url": service.url, "api_key": key}
    return Harness({{ cookiecutter.class_name }}(), config=settings)


def login(number: int) -> dict[str, Any]:
    return {
        "id": f"e{number}",
        "type": "login",
        "time": f"2026-01-01T00:00:{number:02}Z",
        "actor": {"id": "u1", "email": "ada@example.com", "ip": "192.0.2.1"},
    }


def test_connection_shows_the_account(service: FakeService) -> None:
    result = harness(service).test_connection()
    assert result.ok
    assert result.account["name"] == "Acme"


def test_connection_fails_with_a_wrong_key(service: FakeService) -> None:
    assert not harness(service, key="another").test_connection().ok


def test_sync_reads_every_page_once(service: FakeService) -> None:
    service.events = [login(number) for number in range(5)]
    result = harness(service).sync()
    assert result.error is None
    assert [event.source_event_id for event in result.events] == ["e0", "e1", "e2", "e3", "e4"]
    assert result.events[0].event_type == "{{ cookiecutter.provider.lower() }}.login"
    assert result.events[0].native_event_type == "login"
    assert result.events[0].actor is not None
    assert result.events[0].actor.email == "ada@example.com"


def test_sync_loses_nothing_from_any_checkpoint(service: FakeService) -> None:
    service.events = [login(number) for number in range(5)]
    harness(service).resume_from_every_checkpoint()


def test_sync_waits_when_the_service_asks_for_it(service: FakeService) -> None:
    service.events = [login(1)]
    service.first_answers = [(429, {"Retry-After": "0"})]
    assert len(harness(service).sync().events) == 1


def test_sync_hands_a_long_wait_to_the_host(service: FakeService) -> None:
    service.first_answers = [(429, {"Retry-After": "600"})]
    error = harness(service).sync().error
    assert isinstance(error, errors.RateLimited)
    assert error.retry_after_s == 600


def test_sync_refuses_a_redirect(service: FakeService) -> None:
    service.first_answers = [(302, {"Location": "http://192.0.2.1/"})]
    assert isinstance(harness(service).sync().error, errors.Unavailable)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"id": 17}, "id: expected text, received the number 17"),
        ({"type": None}, "type: expected text, received null or nothing"),
        ({"actor": "octocat"}, "actor: expected an object, received text"),
        ({"time": 1772356297000}, "time: expected text, received the number 1772356297000"),
        ({"time": "yesterday"}, "occurred_at is not a time"),
    ],
)
def test_sync_goes_on_after_a_record_that_cannot_be_read(
    service: FakeService, odd: dict[str, Any], reason: str
) -> None:
    service.events = [login(1), login(2) | odd, login(3)]
    result = harness(service).sync()
    assert result.error is None
    assert [event.source_event_id for event in result.events] == ["e1", "e3"]
    assert [reason in letter.reason for letter in result.dead_letters] == [True]


def test_sync_takes_what_the_service_leaves_out_for_empty(service: FakeService) -> None:
    service.events = [login(1) | {"actor": {"id": "u1", "email": None}}, login(2) | {"actor": None}]
    result = harness(service).sync()
    assert [event.actor and event.actor.email for event in result.events] == ["", ""]
