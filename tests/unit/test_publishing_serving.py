from __future__ import annotations

import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from aperio_cli.errors.registries import PortInUse, RegistrySourceInvalid
from aperio_cli.publishing import init
from aperio_cli.publishing.serving import built_folder, serve, serving
from tests.builders import registry_folder
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = registry_folder(tmp_path / "registry", b'{"version": 1}')
    (made / "artifacts").mkdir()
    (made / "artifacts/box.tar.gz").write_bytes(b"\x1f\x8b" + bytes(200_000))
    (tmp_path / "secret").write_text("secret")
    return made


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    with serving(folder) as address:
        yield address


def ask(
    url: str, target: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request with exactly this target: clients that tidy it up would hide the attack."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=10)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_serving_gives_files(url: str, folder: Path) -> None:
    status, headers, body = ask(url, "/plugins.json")
    assert (status, body, headers["Content-Type"]) == (200, b'{"version": 1}', "application/json")
    status, headers, body = ask(url, "/artifacts/box.tar.gz?x=1")
    assert body == (folder / "artifacts/box.tar.gz").read_bytes()
    assert headers["Content-Length"] == str(len(body))


def test_serving_answers_head_without_a_body(url: str) -> None:
    status, headers, body = ask(url, "/plugins.json", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "14", b"")


def test_serving_says_not_modified_to_whoever_has_it(url: str, folder: Path) -> None:
    etag = ask(url, "/plugins.json")[1]["ETag"]
    status, _, body = ask(url, "/plugins.json", headers={"If-None-Match": etag})
    assert (status, body) == (304, b"")
    (folder / "plugins.json").write_bytes(b"changed")
    status, _, body = ask(url, "/plugins.json", headers={"If-None-Match": etag})
    assert (status, body) == (200, b"changed")


@each_row(
    "target",
    [
        "/../secret",
        "/artifacts/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/artifacts/..%2f..%2fsecret",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/./plugins.json",
        "/.hidden",
        "/.git/config",
        "/",
        "/artifacts",
        "/artifacts/",
        "/plugins.json/",
        "/plugins.json/x",
        "/none",
        "/plugins.json%00.txt",
        "/%ff",
        "plugins.json",
        "http://example.org/plugins.json",
        "*",
        "/" + "a" * 5000,
    ],
)
def test_serving_gives_nothing_else(url: str, folder: Path, target: str) -> None:
    (folder / ".hidden").write_text("hidden")
    status, _, body = ask(url, target)
    assert status == 404
    assert b"secret" not in body
    assert b"box.tar.gz" not in body


@pytest.mark.parametrize("place", ["link", "folder/secret"])
def test_serving_follows_no_link(url: str, folder: Path, place: str) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "folder").symlink_to(folder.parent)
    assert ask(url, f"/{place}")[0] == 404


def test_client_that_goes_away_is_no_news(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    port = urlsplit(url).port or 0
    for target in (b"/nothing", b"/plugins.json"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            # Closing with a linger of 0 sends a reset, which the answer then runs into.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"GET " + target + b" HTTP/1.0\r\n")
    assert ask(url, "/plugins.json")[0] == 200
    assert capfd.readouterr().err == ""


def test_serving_does_not_wait_on_a_pipe(url: str, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert ask(url, "/pipe")[0] == 404


@each_row("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_serving_knows_no_other_method(url: str, method: str) -> None:
    assert ask(url, "/plugins.json", method=method)[0] == 501


def test_serving_listens_on_this_machine_only_and_stops(folder: Path) -> None:
    with serving(folder) as url:
        assert url.startswith("http://127.0.0.1:")
        port = urlsplit(url).port or 0
        idle = socket.create_connection(("127.0.0.1", port), timeout=10)
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


@pytest.mark.parametrize("is_before", [True, False])
def test_serving_leaves_nothing_when_it_is_stopped_at_its_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_before: bool
) -> None:
    """SIGTERM comes while the thread is started: a thread of its own would never end."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if not is_before:
            start(thread)
        raise SystemExit(143)

    before = set(threading.enumerate())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(SystemExit), serving(folder):
            pytest.fail("it was stopped before")
    assert set(threading.enumerate()) <= before


def test_serving_refuses_a_port_that_is_taken(folder: Path) -> None:
    with serving(folder) as url:
        port = urlsplit(url).port or 0
        with pytest.raises(PortInUse) as caught:
            serving(folder, port).__enter__()
    assert (caught.value.code, caught.value.exit_status) == ("port-in-use", 1)


def test_built_folder_finds_what_was_built(tmp_path: Path) -> None:
    assert built_folder(registry_folder(tmp_path / "a"), "was not served") == ()
    registry_folder(tmp_path / "b" / "public")
    assert built_folder(tmp_path / "b", "was not served") == ("public",)


def test_serve_refuses_a_folder_without_a_registry(tmp_path: Path) -> None:
    with pytest.raises(RegistrySourceInvalid) as caught:
        serve(tmp_path, 0, announce=lambda _: pytest.fail("announced"))
    assert "aperio registry build" not in caught.value.next[0]  # which refuses it, too
    init(tmp_path / "source")
    with pytest.raises(RegistrySourceInvalid) as caught:
        serve(tmp_path / "source", 0, announce=lambda _: pytest.fail("announced"))
    assert "aperio registry build" in caught.value.next[0]


def test_serve_stops_when_its_input_is_closed(folder: Path) -> None:
    ours, theirs = os.pipe()
    announced = threading.Event()
    thread = threading.Thread(
        target=serve,
        args=(folder, 0),
        kwargs={"announce": lambda _: announced.set(), "stdin": ours},
        daemon=True,
    )
    thread.start()
    assert announced.wait(10)
    os.close(theirs)
    thread.join(10)
    os.close(ours)
    assert not thread.is_alive()


def test_serve_stops_when_it_is_interrupted(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from aperio_cli.publishing import serve;"
        "serve(Path(sys.argv[1]), 0, announce=lambda url: print(url, flush=True), stdin=0)"
    )
    assert stopped(program, folder, signal.SIGINT) == -signal.SIGINT


def test_serve_stops_at_a_signal_that_does_not_interrupt_its_wait(folder: Path) -> None:
    """As one that comes just before the wait; here, one that another thread takes."""
    program = (
        "import signal, sys; from pathlib import Path; from aperio_cli.publishing import serve\n"
        "def announce(url):\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
        "    print(url, flush=True)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "serve(Path(sys.argv[1]), 0, announce=announce, stdin=0)"
    )
    assert stopped(program, folder, signal.SIGTERM) == 7


def stopped(program: str, folder: Path, number: int) -> int:
    """The status of a program that serves, when it was sent a signal."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("http://127.0.0.1:")
            process.send_signal(number)
            return process.wait(timeout=10)
        finally:
            process.kill()
