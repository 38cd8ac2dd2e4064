"""What everybody can read never has this machine ask what only some networks reach."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import httpcore
import pytest

from aperio_cli.errors.files import InsecureUrl, NetworkUnavailable
from aperio_cli.net.fetch import FetchRequest, fetch_bytes
from tests.certificates import make_certificate
from tests.egress import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INDEX, CDN, INSIDE = "registry.example.org", "cdn.example.net", "rebound.example.net"
OUTSIDE = "93.184.216.34"


class _At(httpcore.NetworkStream):
    """A connection to this machine that passes for one to another address."""

    def __init__(self, inner: httpcore.NetworkStream, address: str) -> None:
        self._inner, self._address = inner, address

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *given: Any, **named: Any) -> httpcore.NetworkStream:
        return _At(self._inner.start_tls(*given, **named), self._address)

    def get_extra_info(self, info: str) -> Any:
        if info == "server_addr":
            return self._address, 443
        return self._inner.get_extra_info(info)


class Internet:
    """Names and addresses, all of them at one server of this machine.

    Attributes:
        names: what each name resolves to.
        asked: which addresses were connected to.
        port: of the server.
        redirects: where it sends whom it is asked for, by path.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names = {INDEX: [OUTSIDE], CDN: ["93.184.216.35"], INSIDE: ["10.0.0.7"]}
        self.asked: list[str] = []
        self.port = 0
        self.redirects: dict[str, str] = {}
        resolve, connect = socket.getaddrinfo, httpcore.SyncBackend.connect_tcp

        def resolved(host: str, port: int, *rest: Any, **named: Any) -> Any:
            addresses = self.names.get(host)
            if addresses is None:
                return resolve(host, port, *rest, **named)
            kinds = [socket.AF_INET6 if ":" in a else socket.AF_INET for a in addresses]
            return [
                (kind, socket.SOCK_STREAM, 6, "", (address, port))
                for kind, address in zip(kinds, addresses, strict=True)
            ]

        def connected(backend: Any, host: str, port: int, *rest: Any) -> Any:
            address = self.names.get(host, [host])[0]
            self.asked.append(address)
            return _At(connect(backend, "127.0.0.1", port, *rest), address)

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connected)

    def url(self, host: str, path: str = "/a") -> str:
        return f"https://{host}:{self.port}{path}"

    def fetch(self, url: str, *, named_by: str = "") -> bytes:
        return fetch_bytes(FetchRequest(url, 1000, named_by=named_by), sleep=lambda _: None)[0]

    def answer(self, made: socket.socket) -> None:
        path = made.recv(4096).split(b" ")[1].decode()
        target = self.redirects.get(path)
        head = f"302 Found\r\nLocation: {target}" if target else "200 OK"
        made.sendall(
            f"HTTP/1.1 {head}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode()
        )


@pytest.fixture
def internet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    certificate = make_certificate(tmp_path / "certificate.pem", INDEX, CDN, INSIDE)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    made = Internet(monkeypatch)
    with Server(made.answer, certificate) as server:
        made.port = server.port
        yield made


PRIVATE = [
    "10.0.0.7", "172.16.3.4", "192.168.1.1", "127.0.0.1", "0.0.0.0", "169.254.169.254",  # noqa: S104 - a text
    "100.64.0.1", "224.0.0.1", "::1", "::", "fe80::1", "fd00::1", "fec0::1", "ff02::1",
    "::ffff:10.0.0.7", "::10.0.0.7", "64:ff9b::a00:7", "64:ff9b:1::a00:7", "2002:a00:7::",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_name_that_a_public_registry_states_is_refused_when_it_leads_inwards(
    internet: Internet, address: str
) -> None:
    internet.names[INSIDE] = [address]
    with pytest.raises(InsecureUrl, match="private network, or to this machine") as caught:
        internet.fetch(internet.url(INSIDE), named_by=internet.url(INDEX, "/"))
    assert caught.value.why == f"{INSIDE} is {address}"
    assert internet.asked == []


@pytest.mark.parametrize(
    "address", [OUTSIDE, "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_name_that_a_public_registry_states_is_asked_at_the_address_that_was_looked_at(
    internet: Internet, address: str
) -> None:
    internet.names[CDN] = ["10.0.0.7", address]
    assert internet.fetch(internet.url(CDN), named_by=internet.url(INDEX, "/")) == b"ok"
    assert internet.asked == [address]


def test_registry_of_one_network_may_state_names_of_it(internet: Internet) -> None:
    """It may have a public name; where it is tells that it is for that network alone."""
    internet.names[INDEX] = ["10.0.0.6"]
    assert internet.fetch(internet.url(INSIDE), named_by=internet.url(INDEX, "/")) == b"ok"
    assert internet.fetch(internet.url(INSIDE), named_by="https://nas.local/") == b"ok"
    assert internet.fetch(internet.url(INDEX), named_by=internet.url(INDEX, "/")) == b"ok"


def test_name_that_resolves_otherwise_a_moment_later_changes_nothing(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo
    answers = iter([[OUTSIDE], ["10.0.0.7"], ["10.0.0.7"]])

    def rebinding(host: str, *rest: Any, **named: Any) -> Any:
        if host == CDN:
            internet.names[CDN] = next(answers)
        return resolve(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert internet.fetch(internet.url(CDN), named_by=internet.url(INDEX, "/")) == b"ok"
    assert internet.asked == [OUTSIDE]


@pytest.mark.parametrize("address", PRIVATE)
def test_redirect_of_a_public_server_is_refused_when_its_name_leads_inwards(
    internet: Internet, address: str
) -> None:
    internet.names[INSIDE] = [address]
    internet.redirects["/a"] = internet.url(INSIDE, "/b")
    with pytest.raises(InsecureUrl, match="leads into a private network"):
        internet.fetch(internet.url(CDN))
    assert internet.asked == ["93.184.216.35"]


def test_redirect_is_followed_outwards_and_within_one_network(internet: Internet) -> None:
    internet.redirects["/a"] = internet.url(INDEX, "/b")
    assert internet.fetch(internet.url(CDN)) == b"ok"
    internet.names |= {CDN: ["10.0.0.8"], INDEX: ["10.0.0.9"]}
    assert internet.fetch(internet.url(CDN)) == b"ok"


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.7", "[::ffff:10.0.0.7]", "0.0.0.0", "169.254.169.254", "[fe80::1]",  # noqa: S104 - a text
        "[64:ff9b::a00:7]", "[2002:a00:7::]", "localhost.", "a.localhost.", "127.0.0.1.",
        "xn--localhost-", "intranet.", "2130706433", "0x7f.1", "\uff11\uff12\uff17.0.0.1",
    ],
)  # fmt: skip
def test_redirect_of_a_public_server_to_such_an_address_itself_is_refused(
    internet: Internet, host: str
) -> None:
    internet.redirects["/a"] = f"https://{host}:{internet.port}/b"
    # A name that nobody knows, or that is none, leads nowhere at all.
    with pytest.raises((InsecureUrl, NetworkUnavailable)):
        internet.fetch(internet.url(CDN))
    assert set(internet.asked) == {"93.184.216.35"}


@pytest.mark.parametrize("host", ["xn--localhost-", "xn--a.example", "xn--\u00e9.example"])
def test_address_whose_host_cannot_be_read_is_refused(internet: Internet, host: str) -> None:
    """An escape that stands for no name; `httpx` says so only when the host is asked for."""
    with pytest.raises(InsecureUrl):
        internet.fetch(f"https://{host}/a")
    assert internet.asked == []
