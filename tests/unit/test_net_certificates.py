"""Whose certificates count, and what is said of one that does not, or of a proxy in the way."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.files import (
    CertificatesUnusable,
    CertificateUntrusted,
    NetworkUnavailable,
    ProxyUnavailable,
)
from aperio_cli.net.fetch import FetchRequest, fetch_bytes
from aperio_cli.signing import client_environment, failures
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOST = "registry.example"
WAIT_S = 20.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@dataclass
class Site:
    """Something that listens on 127.0.0.1 and does the same to each connection."""

    serve: Callable[[socket.socket], None]
    connections: int = 0
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __post_init__(self) -> None:
        """Note where it listens, which cannot be asked once it is closed."""
        self.port: int = self.listener.getsockname()[1]

    def start(self) -> None:
        """Serve, each connection in a thread."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.settimeout(WAIT_S)
                self.connections += 1
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.serve(connection)


@contextlib.contextmanager
def site(serve: Callable[[socket.socket], None]) -> Iterator[Site]:
    made = Site(serve)
    made.start()
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            made.listener.shutdown(socket.SHUT_RDWR)
        made.listener.close()


@dataclass(frozen=True)
class Authority:
    """A company's own authority, and the certificate that it gave to HOST."""

    file: Path
    chain: Path

    def answer(self, connection: socket.socket) -> None:
        """Serve one request over TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain)
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(ANSWER)


def made_authority(folder: Path, *, begins: timedelta = timedelta(hours=-1)) -> Authority:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    start = datetime.now(tz=UTC) + begins
    # From 3.13 on a certificate has to name its key and the one that signed it, and to say its use.
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())

    def usage(*, is_ca: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=True, key_cert_sign=is_ca, crl_sign=False, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip

    authority, leaf = (
        x509.CertificateBuilder(
            named("The Company"), named(name), key.public_key(), x509.random_serial_number()
        )
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(hours=2))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(issuer, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage(is_ca=is_ca), critical=True)
        .sign(keys[0], hashes.SHA256())
        for name, key, is_ca, begin in (
            ("The Company", keys[0], True, datetime.now(tz=UTC) - timedelta(hours=1)),
            (HOST, keys[1], False, start),
        )
    )
    encoding = serialization.Encoding.PEM
    key_bytes = keys[1].private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = Authority(folder / "company.pem", folder / "chain.pem")
    made.file.write_bytes(authority.public_bytes(encoding))
    made.chain.write_bytes(leaf.public_bytes(encoding) + key_bytes)
    return made


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return made_authority(tmp_path)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name leads to this machine, as if HOST were another."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, port, *a, **n: resolve("127.0.0.1", port, *a, **n)
    )


def tunnel(connection: socket.socket, port: int) -> None:
    """Do what a proxy does for CONNECT, whatever host was named."""
    connection.recv(65536)
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as other:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        back = threading.Thread(target=_pump, args=(other, connection), daemon=True)
        back.start()
        _pump(connection, other)
        back.join(WAIT_S)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def get(port: int = 443) -> bytes:
    waits: list[float] = []
    try:
        return fetch_bytes(FetchRequest(f"https://{HOST}:{port}/x", 1000), sleep=waits.append)[0]
    finally:
        assert waits == [], "it was tried again"


def ask_requests(port: int) -> bytes:
    """Ask as sigstore's clients do."""
    import requests

    with client_environment.of_clients():
        return requests.get(f"https://{HOST}:{port}/x", timeout=WAIT_S).content


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("ask", [get, ask_requests])
def test_authority_that_the_variable_names_counts_for_every_client(
    authority: Authority, ask: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("SSLKEYLOGFILE", "/nonexistent/keys")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/bundle.pem")

    with site(authority.answer) as server:
        assert ask(server.port) == b"ok"

    assert os.environ["REQUESTS_CA_BUNDLE"] == "/nonexistent/bundle.pem"
    assert not ssl.SSLContext.__module__.startswith("truststore")


@pytest.mark.usefixtures("here")
def test_certificate_that_nobody_trusts_is_named_and_not_asked_again(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))

    with site(authority.answer) as server, pytest.raises(CertificateUntrusted) as caught:
        get(server.port)

    error = caught.value
    assert (error.code, error.exit_status) == ("certificate-untrusted", 4)
    assert f"the certificate of {HOST}:{server.port} is not trusted" in error.what
    assert f"CN={HOST}" in error.why
    assert "issued by CN=The Company" in error.why
    assert "REQUESTS_CA_BUNDLE is not read here" in error.next[0]
    assert server.connections == 2  # one of them to look at the certificate


@pytest.mark.usefixtures("here")
def test_certificate_of_a_clients_connection_is_named_too(authority: Authority) -> None:
    with site(authority.answer) as server:
        with pytest.raises(OSError) as raised:  # noqa: PT011 - requests' own
            ask_requests(server.port)
        error = failures.of_service("a service", raised.value)

    assert isinstance(error, CertificateUntrusted)
    assert error.what.startswith("nothing was signed: a service cannot be reached: the certificate")
    assert "issued by CN=The Company" in error.why


@pytest.mark.usefixtures("here")
def test_certificate_of_another_time_names_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = made_authority(tmp_path, begins=timedelta(days=3650))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    with site(authority.answer) as server, pytest.raises(CertificateUntrusted) as caught:
        get(server.port)

    assert "this machine's clock" in caught.value.next[0]
    assert f"SSL_CERT_FILE={authority.file}" in caught.value.why


def test_certificate_behind_a_proxy_is_named_with_the_proxy(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(authority.answer) as server, site(lambda c: tunnel(c, server.port)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")
        with pytest.raises(CertificateUntrusted) as caught:
            get()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert get() == b"ok"

    told = f"{caught.value.what}\n{caught.value.why}"
    assert f"proxy     http://127.0.0.1:{proxy.port}, stated by HTTPS_PROXY" in told
    assert "issued by CN=The Company" in told
    assert "secret" not in told


def test_proxy_that_is_dead_is_named_and_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{port}")

    with pytest.raises(ProxyUnavailable) as caught:
        get()
    with pytest.raises(OSError) as raised:  # noqa: PT011 - requests' own
        ask_requests(443)
    signing = failures.of_service("a service", raised.value)

    for error in (caught.value, signing):
        assert (error.code, error.exit_status) == ("proxy-unavailable", 4)
        assert f"http://127.0.0.1:{port}" in error.what
        assert "stated by https_proxy" in error.why
        assert f"NO_PROXY={HOST}" in error.next[1]
        assert "secret" not in f"{error.what}{error.why}{error.next}"


@each_row(
    ("stated", "shown"),
    [
        ("http://me:secret@127.0.0.1:bad", "http://127.0.0.1:bad"),
        ("http://me:secret@[::1", "http://[::1"), ("http://me:sec/ret@", "http://"),
        ("http://me:secret@127.0.0.1:99999", "http://127.0.0.1:99999"),
        ("http://me:secret@127.0.0.1:0", "http://127.0.0.1:0"),
        ("socks5://me:secret@127.0.0.1:9", "socks5://127.0.0.1:9"),
        ("ftp://me:secret@127.0.0.1:9/x", "ftp://127.0.0.1:9"),
        ("me:secret@", "http://"), ("://me:secret@x", "://x"),
    ],
)  # fmt: skip
def test_proxy_that_is_misstated_is_named_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, stated: str, shown: str
) -> None:
    monkeypatch.setenv("https_proxy", stated)
    slept: list[float] = []
    with pytest.raises(ProxyUnavailable) as caught:
        fetch_bytes(FetchRequest(f"https://{HOST}/x", 1000), sleep=slept.append)

    assert not slept
    told = f"{caught.value.what}\n{caught.value.why}\n{caught.value.next}"
    assert f"the proxy {shown} did not lead to it" in told
    assert "stated by https_proxy" in told
    assert "sec" not in told


@pytest.mark.parametrize(("status", "is_asked_once"), [(407, True), (502, False)])
def test_proxys_refusal_is_told_and_asked_again_only_when_it_may_pass(
    status: int, monkeypatch: pytest.MonkeyPatch, *, is_asked_once: bool
) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)

    with site(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(NetworkUnavailable) as caught:
            fetch_bytes(FetchRequest(f"https://{HOST}/x", 1000), sleep=lambda _: None)

    assert str(status) in caught.value.why
    assert isinstance(caught.value, ProxyUnavailable) == is_asked_once
    assert (proxy.connections == 1) == is_asked_once


def test_host_that_is_not_known_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(NetworkUnavailable, match=f"no host is known as {HOST}"):
        get()


@each_row("ask", [get, ask_requests])
@each_row(
    ("variable", "contents", "said"),
    [
        ("SSL_CERT_FILE", None, "No such file"),
        ("SSL_CERT_FILE", "no certificate", "it holds no certificate"),
        ("SSL_CERT_DIR", None, "there is no such folder"),
    ],
)
def test_variable_that_names_no_certificates_is_said(
    tmp_path: Path,
    ask: Callable[[int], bytes],
    variable: str,
    contents: str | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = tmp_path / "named"
    if contents:
        named.write_text(contents)
    monkeypatch.setenv(variable, str(named))

    with pytest.raises(CertificatesUnusable) as caught:
        ask(443)

    assert (caught.value.code, caught.value.exit_status) == ("certificates-unusable", 4)
    assert variable in caught.value.what
    assert said in caught.value.why


def test_systems_certificates_count_without_a_variable() -> None:
    """They are read from where OpenSSL has them, not from a package of certificates."""
    with warnings.catch_warnings(), client_environment.of_clients():
        stated = ssl.get_default_verify_paths()
        named = os.environ.get("REQUESTS_CA_BUNDLE")

    assert named == (stated.cafile or stated.capath)
