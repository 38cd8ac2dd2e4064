from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.net.request import Request, Unanswered, answered, off_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 30.0


class Listener:
    """A server that notes what it is sent, and answers one thing."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(WAIT_S)
        self.port = self._socket.getsockname()[1]
        self.received = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(WAIT_S)
                self.received = connection.recv(65536)
                connection.sendall(self._answer)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closing alone would not wake `accept`
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(WAIT_S)


@pytest.fixture
def proxy() -> Iterator[Listener]:
    listener = Listener(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    yield listener
    listener.close()


def ask(url: str, *, is_local: bool = False) -> int:
    request = Request(url, clock.monotonic_s() + WAIT_S, is_local=is_local)
    with answered(request) as answer:
        return answer.status_code


def test_https_goes_through_the_environments_proxy(
    proxy: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")
    with pytest.raises(Unanswered) as caught:
        ask("https://registry.example/x")
    assert (caught.value.kind, caught.value.is_late) == ("ProxyError", False)
    assert "secret" not in str(caught.value)
    assert proxy.received.startswith(b"CONNECT registry.example:443 ")
    assert base64.b64encode(b"me:secret") in proxy.received


def test_no_proxy_is_obeyed(proxy: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost")
    with pytest.raises(Unanswered):  # it is no TLS server; but it was asked itself
        ask(f"https://localhost:{proxy.port}/")
    assert proxy.received.startswith(b"\x16")


def test_this_machines_own_traffic_goes_past_every_proxy(
    proxy: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert ask(f"http://127.0.0.1:{proxy.port}/", is_local=True) == 403


def test_a_proxy_of_another_kind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(Unanswered, match="begins with http or https"):
        ask("https://registry.example/x")


def test_a_request_whose_time_is_up_is_late(proxy: Listener) -> None:
    request = Request(f"http://127.0.0.1:{proxy.port}/", clock.monotonic_s() - 1, is_local=True)
    with pytest.raises(Unanswered) as caught, answered(request):
        pytest.fail("it was answered")
    assert caught.value.is_late


def test_blocking_work_is_awaited_off_the_loop() -> None:
    async def main() -> tuple[int, int]:
        mine = threading.get_ident()
        return mine, await off_loop(threading.get_ident)

    mine, other = asyncio.run(main())
    assert mine != other


def test_an_error_off_the_loop_is_raised_where_it_is_awaited() -> None:
    def fail() -> None:
        raise Unanswered("ConnectError", "refused", is_late=False)

    with pytest.raises(Unanswered, match="refused"):
        asyncio.run(off_loop(fail))


def test_a_cancelled_wait_does_not_hold_the_loop() -> None:
    release = threading.Event()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(off_loop(lambda: release.wait(WAIT_S)), 0.05)

    started_s = clock.monotonic_s()
    asyncio.run(main())
    took_s = clock.monotonic_s() - started_s
    release.set()
    assert took_s < WAIT_S / 2
