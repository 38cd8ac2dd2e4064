"""The destination that `plugin init` makes, in each language, handed the product's envelopes.

It is run from its folder, as its author runs it, against the intake that it is written for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from tests import captured
from tests.go_operators import Operator, use_compiled
from tests.go_projects import require_go

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.go,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("forked_plugins"),
]

KEY: Final = "made-up-key"
SECRET: Final = "made-up sécret"
ITEM: Final = re.compile(rb'{"id":"([0-9a-f]{64})","envelope":')
Answer = tuple[int, dict[str, str], Any]


class Intake(ThreadingHTTPServer):
    """What was posted, body by body; the next answers, before it takes everything."""

    daemon_threads = True

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.unsigned = 0
        self.answers: list[Callable[[list[str]], Answer]] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def envelopes(self) -> list[bytes]:
        """The bytes of each envelope that was posted."""
        return [each for body in self.bodies for _, each in items(body)]


class _Handler(BaseHTTPRequestHandler):
    server: Intake

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        self.server.unsigned += self.headers["x-aperio-signature"] != expected
        self.server.bodies.append(body)
        taken: Answer = (200, {}, {"rejected": []})
        next_ = self.server.answers.pop(0) if self.server.answers else None
        status, headers, answer = next_([key for key, _ in items(body)]) if next_ else taken
        data = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def items(body: bytes) -> list[tuple[str, bytes]]:
    """Key and bytes of each envelope in a body; what stands between them is checked, too."""
    found = list(ITEM.finditer(body))
    ends = [each.start() - 1 for each in found[1:]] + [len(body) - 1]
    cut = [
        (each[1].decode(), body[each.end() : end - 1])
        for each, end in zip(found, ends, strict=True)
    ]
    whole = [b'{"id":"%b","envelope":%b}' % (key.encode(), envelope) for key, envelope in cut]
    assert body == b"[%b]" % b",".join(whole)
    return cut


@pytest.fixture(scope="module", params=["python", "go"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scaffold of one language."""
    require_go(with_modules=True)
    wanted = ScaffoldRequest(
        f"github.com/acme/aperio-plugin-hook-{request.param}", kind="destination",
        language=request.param, output=tmp_path_factory.mktemp("hook") / "project",
    )  # fmt: skip
    return scaffold(wanted).path


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    made = Operator(tmp_path_factory.mktemp("operator"))
    use_compiled(made.folder / "home")
    return made


@pytest.fixture
def intake() -> Iterator[Intake]:
    with Intake() as intake:
        yield intake


@pytest.fixture
def deliver(operator: Operator, project: Path, intake: Intake) -> Callable[..., dict[str, Any]]:
    """Hand lines to the plugin; gives what came of it."""

    def run(*lines: str, retry_for: int = 0, status: int = 0) -> dict[str, Any]:
        settings = (
            f"base_url=http://127.0.0.1:{intake.server_port}",
            f"api_key={KEY}",
            f"signing_secret={SECRET}",
        )
        of = ("--org", captured.ORGANIZATION, "--integration", captured.DESTINATION)
        words = [word for each in settings for word in ("--set", each)]
        data: dict[str, Any] = operator.aperio(
            "plugin", "run", str(project), "deliver", *words, *of, "--retry-for", str(retry_for),
            given="".join(f"{line}\n" for line in lines), status=status,
        )["data"]  # fmt: skip
        return data

    return run


def shaped() -> list[str]:
    """The product's envelopes in other orders of keys, and records that rewriting would change."""
    orders = random.Random(7)  # noqa: S311 - the same ones each time
    made = []
    for text in captured.ALL:
        pairs = re.findall(r'("\w+":(?:"[^"]*"|\{.*\}))[,}]', text)
        orders.shuffle(pairs)
        made.append(f"{{\t{' , '.join(pairs)} }}")
    whole = captured.EVENT.replace('"id":"src_1"', '"id":"src_%d"')
    records = (
        '"n":0.10,"big":123456789012345678901234567890,"e":1E400,"z":-0',
        '"text":"\\u0000 \\ud800 \\udc00x \\u003c/\\/"',
        '"a":1,"a":2,"nothing":null',
        f'"long":"{"x" * 1_000_000}"',
    )
    made += [
        (whole % number).replace('"ratio":0.10', record) for number, record in enumerate(records)
    ]
    return made


def test_the_products_envelopes_arrive_byte_for_byte_and_signed(
    deliver: Callable[..., dict[str, Any]], intake: Intake
) -> None:
    given = [*captured.ALL, *shaped()]
    assert deliver(*given)["accepted"] == len(given)
    assert intake.envelopes() == [line.encode() for line in given]
    assert intake.unsigned == 0
    keys = [key for body in intake.bodies for key, _ in items(body)]
    assert keys[: len(captured.KEYS)] == list(captured.KEYS)


def test_what_the_service_answers_becomes_the_result_of_each_envelope(
    deliver: Callable[..., dict[str, Any]], intake: Intake
) -> None:
    intake.answers = [
        lambda _: (429, {"Retry-After": "0.1"}, {}),
        lambda _: (503, {}, {}),
        lambda keys: (200, {}, {"rejected": [{"id": keys[1], "reason": "too old"}]}),
    ]
    data = deliver(*captured.ALL, retry_for=60, status=1)
    assert (data["accepted"], data["rejected"], data["retry"]) == (len(captured.ALL) - 1, 1, 0)
    assert [each["reason"] for each in data["reasons"]] == ["too old"]
    intake.answers = [lambda _: (422, {}, {})] * 3
    data = deliver(*captured.ALL[:2], status=1)
    assert [each["code"] for each in data["reasons"]] == ["argument-invalid"] * 2
    intake.answers = [lambda _: (307, {"Location": "/elsewhere", "Retry-After": "600"}, {})]
    assert deliver(captured.EVENT, status=1)["retry"] == 1
    intake.answers = [lambda _: (200, {}, {"rejected": [{"id": "0" * 64, "reason": "?"}]})]
    assert deliver(captured.EVENT, status=4) == {}
