"""One line per scenario, against a fake of the service on this machine; no host, no network."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin import errors
from aperio_plugin.remediation import ExecuteRequest, ExecuteResult, Outcome
from aperio_plugin.testing import Harness

from remediation import RESUME, SUSPEND, {{ cookiecutter.class_name }}

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "made-up-key"


@dataclass
class FakeService:
    """The service: who is suspended, and answers that it gives before anything else."""

    suspended: dict[str, bool] = field(default_factory=lambda: {"u1": False})
    first_answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    idempotency_keys: list[str | None] = field(default_factory=list)
    is_deaf: bool = False
    answer_to_post: tuple[int, dict[str, Any]] | None = None
    url: str = ""

    def answer(
        self, method: str, path: str, headers: Any
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Give status, headers and body for a request."""
        if self.first_answers:
            return *self.first_answers.pop(0), {}
        if headers["Authorization"] != f"Bearer {KEY}":
            return 401, {}, {}
        user, _, step = path.removeprefix("/v1/users/").partition("/")
        if user not in self.suspended:
            return 404, {}, {}
        if method == "POST":
            self.idempotency_keys.append(headers["Idempotency-Key"])
            if not self.is_deaf:
                self.suspended[user] = step == "suspend"
            if self.answer_to_post:
                status, body = self.answer_to_post
                return status, {}, body
        return 200, {}, {"id": user, "suspended": self.suspended[user]}


@pytest.fixture
def service() -> Iterator[FakeService]:
    fake = FakeService()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply("GET")

        def do_POST(self) -> None:
            self.reply("POST")

        def reply(self, method: str) -> None:
            status, headers, body = fake.answer(method, self.path, self.headers)
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


def execute(
    service: FakeService,
    action: str = SUSPEND,
    target: str = "u1",
    *,
    dry_run: bool = False,
    key: str = KEY,
) -> ExecuteResult:
    settings = {"base_url": service.url, "api_key": key}
    request = ExecuteRequest(action=action, target=target, idempotency_key="i1", dry_run=dry_run)
    harness = Harness({{ cookiecutter.class_name }}(), config=settings)
    return harness.execute(request)


def test_suspend_changes_the_user_and_says_what_changed(service: FakeService) -> None:
    result = execute(service)
    assert service.suspended == {"u1": True}
    assert result.outcome is Outcome.CHANGED
    assert [(change.attribute, change.before, change.after) for change in result.changes] == [
        ("suspended", False, True)
    ]


def test_resume_undoes_suspend(service: FakeService) -> None:
    execute(service)
    assert execute(service, RESUME).outcome is Outcome.CHANGED
    assert service.suspended == {"u1": False}


def test_dry_run_says_what_would_change_and_changes_nothing(service: FakeService) -> None:
    result = execute(service, dry_run=True)
    assert result.outcome is Outcome.WOULD_CHANGE
    assert service.suspended == {"u1": False}
    assert service.idempotency_keys == []


def test_a_user_who_is_as_wanted_is_left_alone(service: FakeService) -> None:
    service.suspended["u1"] = True
    assert execute(service).outcome is Outcome.UNCHANGED
    assert service.idempotency_keys == []


def test_the_key_of_the_intent_reaches_the_service(service: FakeService) -> None:
    execute(service)
    assert service.idempotency_keys == ["i1"]


def test_an_answer_that_changed_nothing_is_a_failure(service: FakeService) -> None:
    service.is_deaf = True
    assert execute(service).outcome is Outcome.FAILED


@pytest.mark.parametrize("answer", [(500, {}), (502, {}), (200, {"id": "u1"})])
def test_an_answer_that_leaves_open_what_was_done_is_unknown(
    service: FakeService, answer: tuple[int, dict[str, Any]]
) -> None:
    service.answer_to_post = answer
    assert execute(service).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("target", ["u2", "u1/../u2", "?", ""])
def test_an_unknown_user_is_refused(service: FakeService, target: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        execute(service, target=target)
    assert service.suspended == {"u1": False}


def test_a_wrong_key_is_refused(service: FakeService) -> None:
    with pytest.raises(errors.Unauthenticated):
        execute(service, key="another")


def test_execute_waits_when_the_service_asks_for_it(service: FakeService) -> None:
    service.first_answers = [(429, {"Retry-After": "0"})]
    assert execute(service).outcome is Outcome.CHANGED


def test_execute_hands_a_long_wait_to_the_host(service: FakeService) -> None:
    service.first_answers = [(429, {"Retry-After": "600"})]
    with pytest.raises(errors.RateLimited) as caught:
        execute(service)
    assert caught.value.retry_after_s == 600


def test_execute_refuses_a_redirect(service: FakeService) -> None:
    service.first_answers = [(302, {"Location": "http://192.0.2.1/"})]
    with pytest.raises(errors.Unavailable):
        execute(service)
