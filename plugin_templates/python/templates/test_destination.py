"""One line per scenario, against a fake of the service on this machine; no host, no network."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin import errors
from aperio_plugin.destination import DeliveryResult, Status
from aperio_plugin.testing import Harness

from destination import {{ cookiecutter.class_name }}

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

KEY = "made-up-key"
SIGNING_KEY = "made-up-signing-key"
ITEM = re.compile(rb'{"id":"(\w+)","envelope":({.*?})}(?=[,\]])')
OPEN = (  # as Aperio's server delivers a finding: without an id
    b'{"schema_version":"aperio.finding.v1","source":"aperio","producer":"aperio.sspm",'
    b'"destination_id":"siem_1","organization_id":"local","kind":"finding",'
    b'"occurred_at":"2026-06-06T00:00:00.123456789Z","record":{"description":"\\u003cb\\u003e",'
    b'"findingId":"fnd_1","sourceEventId":"evt_1","status":"OPEN"}}'
)
RESOLVED = OPEN.replace(b"OPEN", b"RESOLVED")
AUDIT_LOG = (
    b'{"schema_version":"aperio.audit_log.v1","source":"aperio","producer":"aperio.sspm",'
    b'"destination_id":"siem_1","organization_id":"local","kind":"audit_log",'
    b'"occurred_at":"2026-06-06T00:00:00Z","record":{"action":"a","actor":null,"n":0.10}}'
)


@dataclass
class FakeService:
    """The intake: what it has, what it refuses, and answers that it gives before anything else.

    It drops an item whose id it has, as services do; refuses a body with poison in it; and checks
    the signature, where there is one.
    """

    taken: dict[str, bytes] = field(default_factory=dict)
    refused: dict[bytes, str] = field(default_factory=dict)
    poison: bytes = b"\0"
    signed: int = 0
    first_answers: list[tuple[int, dict[str, str], Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, headers: Message, body: bytes) -> tuple[int, dict[str, str], Any]:
        """Give status, headers and body for a request."""
        if self.first_answers:
            return self.first_answers.pop(0)
        if headers["Authorization"] != f"Bearer {KEY}":
            return 401, {}, {}
        signature = hmac.new(SIGNING_KEY.encode(), body, hashlib.sha256).hexdigest()
        if headers["x-aperio-signature"] not in {None, signature}:
            return 403, {}, {}
        if self.poison in body:
            return 400, {}, {}
        self.signed += headers["x-aperio-signature"] is not None
        rejected = []
        for identity, envelope in ITEM.findall(body):
            if reason := self.refused.get(envelope):
                rejected.append({"id": identity.decode(), "reason": reason})
            else:
                self.taken.setdefault(identity.decode(), envelope)
        return 200, {}, {"rejected": rejected}


@pytest.fixture
def service() -> Iterator[FakeService]:
    fake = FakeService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, answer = fake.answer(self.headers, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

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


def envelope(number: int) -> bytes:
    return b'{"id":"e%d","kind":"event","record":{"number":%d}}' % (number, number)


def deliver(
    service: FakeService,
    *envelopes: int | bytes,
    key: str = KEY,
    more: dict[str, Any] | None = None,
) -> list[DeliveryResult]:
    settings = {"base_url": service.url, "api_key": key, **(more or {})}
    harness = Harness({{ cookiecutter.class_name }}(), config=settings)
    given = [envelope(each) if isinstance(each, int) else each for each in envelopes]
    return harness.deliver(given)


def test_deliver_hands_over_every_envelope(service: FakeService) -> None:
    results = deliver(service, 1, 2)
    assert [result.status for result in results] == [Status.ACCEPTED, Status.ACCEPTED]
    assert list(service.taken.values()) == [envelope(1), envelope(2)]


def test_deliver_passes_the_products_envelopes_on_as_they_are(service: FakeService) -> None:
    for _ in range(2):
        results = deliver(service, OPEN, RESOLVED, AUDIT_LOG)
        assert [result.status for result in results] == [Status.ACCEPTED] * 3
    assert list(service.taken.values()) == [OPEN, RESOLVED, AUDIT_LOG]


def test_deliver_answers_for_each_envelope(service: FakeService) -> None:
    service.refused = {envelope(2): "too old"}
    one, two, three = deliver(service, 1, 2, 3)
    assert (one.status, three.status) == (Status.ACCEPTED, Status.ACCEPTED)
    assert two.status is Status.REJECTED
    assert two.diagnostic is not None
    assert two.diagnostic.summary == "too old"


def test_deliver_signs_requests_with_the_secret(service: FakeService) -> None:
    assert deliver(service, 1)[0].status is Status.ACCEPTED
    assert service.signed == 0
    assert deliver(service, 2, more={"signing_secret": SIGNING_KEY})[0].status is Status.ACCEPTED
    assert service.signed == 1
    with pytest.raises(errors.PermissionDenied):
        deliver(service, 3, more={"signing_secret": "another"})


def test_deliver_rejects_what_the_service_never_takes_and_nothing_beside_it(
    service: FakeService,
) -> None:
    service.poison = b'"number":3'
    results = deliver(service, 1, 2, 3, 4)
    statuses = [result.status.value for result in results]
    assert statuses == ["accepted", "accepted", "rejected", "accepted"]
    assert list(service.taken.values()) == [envelope(1), envelope(2), envelope(4)]


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "HTTPS://localhost:1"])
def test_deliver_leads_to_no_private_network_unless_it_may(service: FakeService, url: str) -> None:
    service.url = url
    with pytest.raises(errors.InvalidConfig):
        deliver(service, 1)
    with pytest.raises(errors.Unavailable):
        deliver(service, 1, more={"allow_private": True})


def test_deliver_of_the_same_envelope_twice_is_accepted_twice(service: FakeService) -> None:
    deliver(service, 1)
    assert deliver(service, 1)[0].status is Status.ACCEPTED
    assert list(service.taken.values()) == [envelope(1)]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 302])
def test_deliver_asks_to_try_again_when_the_service_does(service: FakeService, status: int) -> None:
    service.first_answers = [(status, {"Retry-After": "600", "Location": service.url}, {})]
    results = deliver(service, 1, 2)
    assert [(result.status, result.retry_after_s) for result in results] == [
        (Status.RETRY, 600),
        (Status.RETRY, 600),
    ]
    assert service.taken == {}


def test_deliver_fails_with_a_wrong_key(service: FakeService) -> None:
    with pytest.raises(errors.Unauthenticated):
        deliver(service, 1, key="another")


@pytest.mark.parametrize(
    "reply",
    [
        [],
        {},
        {"rejected": 5},
        {"rejected": [{"id": "x"}]},
        {"rejected": [{"id": "of nobody", "reason": "too old"}]},
        {"rejected": [{"id": 1, "reason": "too old"}]},
    ],
)
def test_deliver_accepts_nothing_on_an_unclear_reply(service: FakeService, reply: Any) -> None:
    service.first_answers = [(200, {}, reply)]
    with pytest.raises(errors.Unavailable):
        deliver(service, 1)
