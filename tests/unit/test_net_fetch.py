from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors import REFUSED, UNAVAILABLE
from aperio_cli.errors.files import (
    DigestMismatch,
    DiskFull,
    FileNotRegular,
    InsecureUrl,
    NetworkUnavailable,
    Offline,
    ResponseNotFound,
    ResponseTooLarge,
)
from aperio_cli.models.address import Place
from aperio_cli.models.digest import Digest
from aperio_cli.net.fetch import (
    Fetched,
    FetchRequest,
    fetch_bytes,
    fetch_file,
    fetch_into,
    place_of_url,
)
from tests.certificates import make_certificate
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Answer = Callable[[BaseHTTPRequestHandler], None]

BODY = b"artifact bytes" * 1000


class Server:
    """A real server on this machine that answers each path as the test says."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                self.close_connection = True
                queue = outer.answers[self.path]
                with contextlib.suppress(ConnectionError):  # a client that hangs up is the point
                    (queue.pop(0) if len(queue) > 1 else queue[0])(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self) -> int:
        return self._http.server_port

    def url(self, path: str = "/a", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def wrap(self, context: ssl.SSLContext) -> None:
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)

    def stop(self) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder: nothing but what the test puts there."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture
def waits() -> list[float]:
    return []


def reply(status: int = 200, body: bytes = BODY, **headers: str) -> Answer:
    """An answer with this status, body and headers; a right Content-Length unless given."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        for key, value in ({"Content-Length": str(len(body))} | named).items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def raw(data: bytes) -> Answer:
    """An answer sent as it stands."""
    return lambda handler: (handler.wfile.write(data), None)[1]


def request_for(source: object, **changes: object) -> FetchRequest:
    settings: dict[str, object] = {"limit_bytes": 100_000, "timeout_s": 20.0} | changes
    return FetchRequest(str(source), **settings)  # type: ignore[arg-type] # a test names its fields


def get(source: object, **changes: object) -> tuple[bytes, Fetched]:
    return fetch_bytes(request_for(source, **changes), sleep=lambda _: None)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


@each_row("form", ["{}", "file://{}", "file://localhost{}", "FILE://{}"])
def test_fetch_reads_a_file_when_it_is_named_by_path_or_url(tmp_path: Path, form: str) -> None:
    (tmp_path / "a b").write_bytes(BODY)
    source = form.format(tmp_path / "a b").replace(" ", " " if form == "{}" else "%20")

    body, fetched = get(source, offline=True, expected_digest=Digest.of(BODY))

    assert body == BODY
    assert fetched == Fetched(Digest.of(BODY), len(BODY), None, is_modified=True)


def test_fetch_refuses_when_a_file_url_names_another_machine() -> None:
    with pytest.raises(InsecureUrl, match="no other machine"):
        get("file://evil.example/etc/passwd")


@each_row("kind", ["link", "fifo", "folder", "socket"])
def test_fetch_refuses_when_a_file_is_not_regular(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    match kind:
        case "link":
            path.symlink_to("/etc/hostname")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))

    with pytest.raises(FileNotRegular) as caught:
        fetch_file(request_for(path), tmp_path / "out")

    assert caught.value.exit_status == REFUSED
    assert not (tmp_path / "out").exists()


@each_row("name", ["missing", "file/below", "nul\0byte"])
def test_fetch_says_not_there_when_a_file_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ResponseNotFound) as caught:
        get(f"{tmp_path}/{name}")

    assert caught.value.exit_status == UNAVAILABLE


def test_fetch_says_unreadable_when_a_path_is_impossible(here: Path) -> None:
    with pytest.raises(NetworkUnavailable, match="cannot be read"):
        get(here / ("n" * 300))


def test_fetch_stops_when_a_file_is_longer_than_the_limit(here: Path) -> None:
    (here / "a").write_bytes(BODY)

    with pytest.raises(ResponseTooLarge):
        fetch_file(request_for(here / "a", limit_bytes=len(BODY) - 1), here / "out")

    assert [path.name for path in here.iterdir()] == ["a"]


# ── one good answer ───────────────────────────────────────────────────────────────────────────────


def test_fetch_writes_the_file_when_it_is_the_expected_one(server: Server, here: Path) -> None:
    server.answers["/a"] = [reply()]

    fetched = fetch_file(request_for(server.url(), expected_digest=Digest.of(BODY)), here / "out")

    assert (here / "out").read_bytes() == BODY
    assert [path.name for path in here.iterdir()] == ["out"]
    assert (fetched.digest, fetched.size_bytes) == (Digest.of(BODY), len(BODY))


def test_fetch_refuses_and_keeps_the_old_file_when_the_digest_differs(
    server: Server, here: Path
) -> None:
    server.answers["/a"] = [reply()]
    (here / "out").write_bytes(b"old")
    expected = Digest.of(b"promised")

    with pytest.raises(DigestMismatch) as caught:
        fetch_file(request_for(server.url(), expected_digest=expected), here / "out")

    assert caught.value.why == f"expected {expected}\nreceived {Digest.of(BODY)}"
    assert (caught.value.code, caught.value.exit_status) == ("artifact-digest-mismatch", 3)
    assert (here / "out").read_bytes() == b"old"
    assert [path.name for path in here.iterdir()] == ["out"]


def test_fetch_takes_the_bytes_as_sent_when_the_server_calls_them_compressed(
    server: Server,
) -> None:
    server.answers["/a"] = [reply(Content_Encoding="gzip")]

    assert get(server.url())[0] == BODY
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_fetch_ignores_proxies_when_the_server_is_on_this_machine(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.answers["/a"] = [reply()]

    assert get(server.url(host="localhost"))[0] == BODY


def test_fetch_reports_a_full_disk_and_leaves_nothing(
    server: Server, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    server.answers["/a"] = [reply()]
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        fetch_file(request_for(server.url()), here / "out")

    assert list(here.iterdir()) == []


# ── conditional requests ──────────────────────────────────────────────────────────────────────────


def test_fetch_gives_the_etag_and_leaves_the_file_when_it_was_not_modified(
    server: Server, here: Path
) -> None:
    server.answers["/a"] = [reply(ETag='"one"'), reply(304, b"")]
    first = fetch_file(request_for(server.url()), here / "out")

    second = fetch_file(request_for(server.url(), etag=first.etag), here / "out")

    assert first.etag == second.etag == '"one"'
    assert server.requests[1][1]["if-none-match"] == '"one"'
    assert not second.is_modified
    assert (here / "out").read_bytes() == BODY
    assert [path.name for path in here.iterdir()] == ["out"]


def test_fetch_refuses_not_modified_when_it_did_not_ask(server: Server) -> None:
    server.answers["/a"] = [reply(304, b"")]

    with pytest.raises(NetworkUnavailable, match="was not fetched"):
        get(server.url())


def test_fetch_drops_an_etag_when_it_is_absurdly_long(server: Server) -> None:
    server.answers["/a"] = [reply(ETag="x" * 257)]

    assert get(server.url())[1].etag is None


# ── lengths ───────────────────────────────────────────────────────────────────────────────────────


def endless(server: Server) -> Answer:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.stopping.is_set():
            handler.wfile.write(b"x" * 65536)

    return send


def test_fetch_stops_when_a_body_never_ends(server: Server, here: Path) -> None:
    server.answers["/a"] = [endless(server)]

    with pytest.raises(ResponseTooLarge) as caught:
        fetch_file(request_for(server.url()), here / "out")

    assert caught.value.exit_status == UNAVAILABLE
    assert list(here.iterdir()) == []
    assert len(server.requests) == 1


def test_fetch_reads_nothing_when_the_announced_length_is_too_long(server: Server) -> None:
    server.answers["/a"] = [raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n")]

    with pytest.raises(ResponseTooLarge) as caught:
        get(server.url())

    assert "announced 100001" in caught.value.why


def test_fetch_stops_at_the_limit_when_chunks_announce_no_length(server: Server) -> None:
    chunks = b"".join(b"fff\r\n" + b"x" * 4095 + b"\r\n" for _ in range(30)) + b"0\r\n\r\n"
    server.answers["/a"] = [raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)]

    with pytest.raises(ResponseTooLarge):
        get(server.url())
    assert len(get(server.url(), limit_bytes=30 * 4095)[0]) == 30 * 4095


def test_fetch_accepts_a_body_exactly_as_long_as_the_limit(server: Server) -> None:
    server.answers["/a"] = [reply()]

    assert get(server.url(), limit_bytes=len(BODY))[0] == BODY


def test_fetch_never_keeps_a_body_when_it_is_shorter_than_announced(
    server: Server, here: Path
) -> None:
    server.answers["/a"] = [raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort")]

    with pytest.raises(NetworkUnavailable):
        fetch_file(request_for(server.url()), here / "out", sleep=lambda _: None)

    assert list(here.iterdir()) == []
    assert len(server.requests) == 3


# ── tries ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_fetch_tries_again_when_the_server_is_busy(
    server: Server, waits: list[float], status: int
) -> None:
    server.answers["/a"] = [reply(status, b"busy"), reply(status, b"busy"), reply()]

    body, _ = fetch_bytes(request_for(server.url()), sleep=waits.append)

    assert body == BODY
    assert len(waits) == 2
    assert 0.125 <= waits[0] <= 0.375
    assert 0.25 <= waits[1] <= 0.75


def test_fetch_starts_over_when_a_try_broke_off_in_the_middle(server: Server, here: Path) -> None:
    broken = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + b"junk" * 20_000)
    server.answers["/a"] = [broken, reply()]

    fetched = fetch_file(request_for(server.url()), here / "out", sleep=lambda _: None)

    assert (here / "out").read_bytes() == BODY
    assert fetched.digest == Digest.of(BODY)


def test_fetch_gives_up_after_three_tries(server: Server, waits: list[float]) -> None:
    server.answers["/a"] = [reply(503, b"busy")]

    with pytest.raises(NetworkUnavailable) as caught:
        fetch_bytes(request_for(server.url()), sleep=waits.append)

    assert (len(server.requests), len(waits)) == (3, 2)
    assert (
        caught.value.why
        == "tried 3 times; the last time: the server answered 503 Service Unavailable"
    )
    assert caught.value.exit_status == UNAVAILABLE


@pytest.mark.parametrize(
    ("header", "waited_s"),
    [("3", 3.0), ("86400", 10.0), ("9" * 400, 10.0), ("-5", 0.0), ("x", 0.0)],
)
def test_fetch_waits_as_asked_but_not_for_ever(
    server: Server, waits: list[float], header: str, waited_s: float
) -> None:
    server.answers["/a"] = [reply(429, b"", Retry_After=header), reply()]

    fetch_bytes(request_for(server.url()), sleep=waits.append)

    assert waits == [pytest.approx(waited_s, abs=0.4)]


def test_fetch_does_not_wait_when_the_wait_would_pass_the_deadline(
    server: Server, waits: list[float]
) -> None:
    server.answers["/a"] = [reply(429, b"", Retry_After="9")]

    with pytest.raises(NetworkUnavailable):
        fetch_bytes(request_for(server.url(), timeout_s=5.0), sleep=waits.append)

    assert waits == []


@pytest.mark.parametrize("status", [400, 401, 403, 418])
def test_fetch_asks_once_when_the_answer_is_final(server: Server, status: int) -> None:
    server.answers["/a"] = [reply(status, b"no")]

    with pytest.raises(NetworkUnavailable) as caught:
        get(server.url())

    assert str(status) in caught.value.why
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [404, 410])
def test_fetch_says_not_there_when_the_server_says_so(server: Server, status: int) -> None:
    server.answers["/a"] = [reply(status, b"no")]

    with pytest.raises(ResponseNotFound):
        get(server.url())

    assert len(server.requests) == 1


def test_fetch_says_unavailable_when_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(NetworkUnavailable, match="was not fetched"):
        get(f"http://127.0.0.1:{port}/a")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"\xff" * 1000,
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_fetch_says_unavailable_when_the_answer_is_not_http(server: Server, data: bytes) -> None:
    server.answers["/a"] = [raw(data)]

    with pytest.raises(NetworkUnavailable):
        get(server.url())


def test_fetch_says_unavailable_when_interim_answers_never_end(server: Server) -> None:
    """RFC 9110, section 15.2: any number of them may come before the answer."""
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    server.answers["/a"] = [drip(server, b"", early * 100)] * 3
    began_s = time.monotonic()
    with pytest.raises(NetworkUnavailable):
        get(server.url(), timeout_s=0.5)
    assert time.monotonic() - began_s < 20.0
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    server.answers["/a"] = [raw(early * 3 + body)]
    assert get(server.url())[0] == b"x"


# ── deadlines ─────────────────────────────────────────────────────────────────────────────────────


def drip(server: Server, head: bytes, drop: bytes) -> Answer:
    """Sends a head, then one drop every 20 ms until the test ends or the client hangs up."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while not server.stopping.wait(0.02):
            handler.wfile.write(drop)

    return send


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n\r\n", b""),
        (b"", b""),
    ],
    ids=[
        "header",
        "body",
        "body-without-length",
        "silent-body",
        "silent-body-without-length",
        "silent",
    ],
)
def test_fetch_ends_at_the_deadline_when_the_server_is_slow(
    server: Server, here: Path, head: bytes, drop: bytes
) -> None:
    server.answers["/a"] = [drip(server, head, drop)]
    started_s = time.monotonic()

    with pytest.raises(NetworkUnavailable) as caught:
        fetch_file(request_for(server.url(), timeout_s=0.4), here / "out")

    assert time.monotonic() - started_s < 30
    assert caught.value.why == "it was not complete after 0.4 s"
    assert list(here.iterdir()) == []


def test_fetch_leaves_no_thread_behind(server: Server) -> None:
    server.answers["/a"] = [reply()]
    before = {thread for thread in threading.enumerate() if "process_request" not in thread.name}

    get(server.url(), timeout_s=600.0)

    after = {thread for thread in threading.enumerate() if "process_request" not in thread.name}
    assert after == before


# ── where it may go ───────────────────────────────────────────────────────────────────────────────


@each_row(
    "source",
    [
        "http://registry.example/a",
        "http://127.0.0.1.evil.example/a",
        "http://127.0.0.1@evil.example/a",
        "http://localhost@evil.example/a",
        "http://localhost.evil.example/a",
        "http://localhost./a",
        "http://0.0.0.0/a",
        "http://2130706433/a",
        "https://2130706433/a",
        "https://0x7f.1/a",
        "https://localhost./a",
        "https://[::ffff:127.0.0.1]/a",
        "http://[::ffff:127.0.0.1]/a",
        "http:///a",
        "https:///a",
        "ftp://127.0.0.1/a",
        "gopher://localhost/a",
        "http://[bad/a",
        "https://registry.example:port/a",
        "https://registry.example:0/a",
        "https://registry.example:-1/a",
        "https://registry.example:65536/a",
        "https://a..b/a",
        "https://.a/a",
        f"https://{'a' * 64}.example/a",
        f"https://{'a.' * 127}example/a",
    ],
)
def test_fetch_refuses_when_the_address_is_not_secure(tmp_path: Path, source: str) -> None:
    with pytest.raises(InsecureUrl) as caught:
        fetch_file(request_for(source), tmp_path / "out")

    assert caught.value.exit_status == REFUSED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["https://registry.example/a", "http://127.0.0.1:9/a"])
def test_fetch_connects_nowhere_when_offline(source: str) -> None:
    with pytest.raises(Offline) as caught:
        get(source, offline=True)

    assert caught.value.exit_status == UNAVAILABLE


def test_fetch_follows_five_redirects_on_this_machine(server: Server) -> None:
    for number in range(5):
        server.answers[f"/{number}"] = [reply(302, b"", Location=f"/{number + 1}")]
    server.answers["/5"] = [reply()]

    assert get(server.url("/0"))[0] == BODY


def test_fetch_gives_up_when_there_are_six_redirects(server: Server) -> None:
    server.answers["/a"] = [reply(302, b"", Location="/a")]

    with pytest.raises(NetworkUnavailable) as caught:
        get(server.url())

    assert "more than 5 redirects" in caught.value.why
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "location",
    [
        "https://registry.example/a",
        "http://registry.example/a",
        "//registry.example/a",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "http://2130706433/a",
        "https://[::ffff:127.0.0.1]/a",
    ],
)
def test_fetch_refuses_when_a_redirect_leads_off_this_machine(
    server: Server, location: str
) -> None:
    server.answers["/a"] = [reply(302, b"", Location=location)]

    with pytest.raises(InsecureUrl) as caught:
        get(server.url())

    assert caught.value.exit_status == REFUSED


@pytest.mark.parametrize("headers", [{}, {"Location": "http://127.0.0.1:99999999/"}])
def test_fetch_says_unavailable_when_a_redirect_names_no_address(
    server: Server, headers: dict[str, str]
) -> None:
    server.answers["/a"] = [reply(302, b"", **headers)]

    with pytest.raises(NetworkUnavailable):
        get(server.url())


def test_messages_hide_what_may_be_secret_in_an_address() -> None:
    with pytest.raises(InsecureUrl) as caught:
        get("http://user:hunter2@evil.example/a?token=tok_1#frag\x1b[2J")

    text = f"{caught.value.what} {caught.value.why}"
    assert "http://evil.example/a" in text
    for secret in ("hunter2", "tok_1", "frag", "\x1b"):
        assert secret not in text


@each_row(
    ("source", "place"),
    [
        ("http://localhost:8080/x", Place.HERE),
        ("https://127.0.0.2/x", Place.HERE),
        ("http://[::1]:80/", Place.HERE),
        ("https://registry.example/", Place.ELSEWHERE),
        ("https://127.0.0.1@registry.example/", Place.ELSEWHERE),
        ("https://registry.example\\@localhost/", Place.HERE),
        ("ftp://localhost/", Place.UNCLEAR),
        ("http:/localhost/", Place.UNCLEAR),
    ],
)
def test_place_of_url_says_where_an_address_leads(source: str, place: Place) -> None:
    assert place_of_url(source) is place


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate with its key, for localhost and registry.example."""
    return make_certificate(tmp_path / "certificate.pem", "registry.example")


@pytest.fixture
def secure_server(server: Server, certificate: Path) -> Server:
    """The server behind TLS, with a certificate that nobody trusts yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.wrap(context)
    return server


@pytest.fixture
def registry_url(secure_server: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The secure server under the name of another machine, its certificate trusted."""
    resolve = socket.getaddrinfo

    def to_this_machine(_: object, port: int, *rest: object, **named: object) -> object:
        return resolve("127.0.0.1", port, *rest, **named)  # type: ignore[arg-type] # passed on

    monkeypatch.setattr(socket, "getaddrinfo", to_this_machine)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return f"https://registry.example:{secure_server.port}"


def test_fetch_says_unavailable_when_a_certificate_is_not_trusted(secure_server: Server) -> None:
    secure_server.answers["/a"] = [reply()]

    with pytest.raises(NetworkUnavailable) as caught:
        get(f"https://localhost:{secure_server.port}/a")

    assert caught.value.code == "certificate-untrusted"
    assert secure_server.requests == []


def test_fetch_follows_a_redirect_from_https_to_https(
    secure_server: Server, registry_url: str
) -> None:
    secure_server.answers["/a"] = [reply(302, b"", Location=f"{registry_url}/b")]
    secure_server.answers["/b"] = [reply()]

    assert get(f"{registry_url}/a")[0] == BODY


@pytest.mark.parametrize(
    "target",
    [
        "http://registry.example/b",
        "https://localhost/b",
        "https://localhost./b",
        "https://127.1/b",
        "http://[::1]/b",
    ],
)
def test_fetch_refuses_when_a_redirect_leaves_https_or_comes_onto_this_machine(
    secure_server: Server, registry_url: str, target: str
) -> None:
    secure_server.answers["/a"] = [reply(302, b"", Location=target)]

    with pytest.raises(InsecureUrl):
        get(f"{registry_url}/a")

    assert len(secure_server.requests) == 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_fetch_ends_at_the_deadline_when_a_slow_server_speaks_tls(
    secure_server: Server, registry_url: str, head: bytes
) -> None:
    secure_server.answers["/a"] = [drip(secure_server, head, b"x")]

    with pytest.raises(NetworkUnavailable) as caught:
        get(f"{registry_url}/a", timeout_s=1.0)

    assert caught.value.why == "it was not complete after 1 s"


# ── into an open file ─────────────────────────────────────────────────────────────────────────────


def test_fetch_into_an_open_file_starts_it_anew_at_each_try(server: Server) -> None:
    cut_short = reply(body=b"x" * 10, Content_Length="1000")
    server.answers["/a"] = [cut_short, reply()]
    with tempfile.TemporaryFile() as sink:
        sink.write(b"what stood there before, and longer than that" * 1000)
        fetched = fetch_into(request_for(server.url()), sink, sleep=lambda _: None)
        sink.seek(0)
        assert sink.read() == BODY
    assert (fetched.digest, fetched.size_bytes) == (Digest.of(BODY), len(BODY))
