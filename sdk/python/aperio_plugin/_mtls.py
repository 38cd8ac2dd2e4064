"""AutoMTLS: throw-away certificates, each side trusting exactly the other's.

Source of the rules: hashicorp/go-plugin, `mtls.go`, `client.go` and `server.go`. Go makes P-521
certificates, and BoringSSL, which is inside grpcio, verifies no P-521 signature in TLS 1.3
(grpc/grpc issue 41089). So gRPC does TLS itself only with a peer whose certificate it can verify;
for another one a relay of the standard library's `ssl`, which is OpenSSL, stands in front of it.
Whoever connects must show the peer's certificate in both cases.

aperio's host makes the plugin's certificate, too, so that a plugin needs nothing for it. With
another host the plugin makes its own: only that imports `cryptography`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import socket
import ssl
import tempfile
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

SERVER_NAME: Final = "localhost"
"""Whom every certificate is for, whatever the address."""

_BEGIN = "-----BEGIN "
_END_OF_CERTIFICATE = "-----END CERTIFICATE-----\n"
_CHUNK_BYTES = 64 * 1024
_CLOCK_SKEW = timedelta(minutes=5)
_LIFETIME = timedelta(days=365 * 30)  # a plugin may run as long as it likes
_VERIFIABLE_CURVES = ("secp256r1", "secp384r1")
_SMALLEST_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate of one's own, for one start.

    Attributes:
        certificate: PEM.
        key: PEM, PKCS 8, not encrypted.
    """

    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def from_pem(cls, text: str) -> KeyPair:
        """Give the pair that a host has sent: the certificate, then its key.

        Raises:
            ValueError: it is none.
        """
        certificate, end, key = text.partition(_END_OF_CERTIFICATE)
        if not end or not certificate.startswith(_BEGIN) or not key.strip().startswith(_BEGIN):
            raise ValueError("expected a certificate and its key, PEM")
        return cls((certificate + end).encode(), key.strip().encode() + b"\n")

    @property
    def handshake_field(self) -> str:
        """Give the sixth field of a handshake line: DER, base64, no padding."""
        der = ssl.PEM_cert_to_DER_cert(self.certificate.decode("ascii").strip())
        return base64.b64encode(der).decode().rstrip("=")


def new_pair() -> KeyPair:
    """Give a new P-256 certificate in the shape of go-plugin's, good for both sides of TLS."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "aperio"),
            x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME),
        ]
    )
    now = datetime.now(UTC)
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def to_pem(der: bytes) -> bytes:
    """Give a certificate as PEM.

    Raises:
        ValueError: the bytes are no certificate.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def grpc_can_verify(peer: bytes) -> bool:
    """Tell whether gRPC's TLS verifies a signature by the key of a certificate (PEM).

    Raises:
        ValueError: the bytes are no certificate.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = x509.load_pem_x509_certificate(peer).public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name in _VERIFIABLE_CURVES
    return isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA_BITS


def tls_context(pair: KeyPair, peer: bytes, *, server_side: bool) -> ssl.SSLContext:
    """Give a context that shows `pair` and accepts the one certificate `peer` (PEM)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the peer's is a leaf and the anchor
    context.load_verify_locations(cadata=peer.decode("ascii"))
    context.set_alpn_protocols(["h2"])
    # `ssl` takes keys from files only. This one is its owner's alone, and gone in a moment.
    with tempfile.NamedTemporaryFile() as file:
        file.write(pair.certificate + pair.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


class Relay:
    """Carries the connections that come in to where `dial` leads.

    Args:
        dial: opens a connection to the other end.
    """

    def __init__(self, dial: Callable[[], Awaitable[Streams]]) -> None:
        self._dial = dial
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, listener: socket.socket, context: ssl.SSLContext | None = None) -> None:
        """Take connections of a bound socket, over TLS if there is a context."""
        self._server = await asyncio.start_unix_server(self._carry, sock=listener, ssl=context)

    async def close(self) -> None:
        """Take no more connections and end those that there are."""
        if self._server:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101 - a server starts one for each connection
        self._connections.add(task)
        writers = [writer]
        try:
            there, back = await self._dial()
            writers.append(back)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        except OSError:  # the other end is gone, or does not accept our certificate
            pass
        finally:
            self._connections.discard(task)
            for each in writers:
                each.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction to its end, and say there that it has ended."""
    with contextlib.suppress(OSError):  # a lost connection is an end, too
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


def bound_socket(path: str) -> socket.socket:
    """Give a unix socket that is bound to a path.

    Raises:
        OSError: that is not possible.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    return listener


class Server(Protocol):
    """A server that listens in plaintext or with TLS, as `_server.Server` does."""

    def start(
        self, path: str, key: bytes = b"", certificate: bytes = b"", client: bytes = b""
    ) -> None:
        """Listen on a unix socket.

        Raises:
            RuntimeError: that is not possible.
        """


class PluginSide:
    """How a plugin listens for a host that has sent its certificate.

    Args:
        host: the host's certificate, PEM.
        given: what the host has made for the plugin; only aperio's does, whose own is one that gRPC
            can verify. None: the plugin makes its own.

    Raises:
        ModuleNotFoundError: it has to make its own, and `cryptography` is not there.
        ValueError: it is none.
    """

    def __init__(self, host: bytes, given: KeyPair | None = None) -> None:
        self._host = host
        self._native = given is not None or grpc_can_verify(host)
        self._pair = given or new_pair()
        self._folder = ""

    @property
    def handshake_field(self) -> str:
        """Give what the handshake line says of the plugin's certificate."""
        return self._pair.handshake_field

    def start(self, server: Server, path: str) -> None:
        """Listen with gRPC's own TLS, or with a relay in front of it.

        Raises:
            OSError: that is not possible.
            RuntimeError: as OSError, said by gRPC.
        """
        if self._native:
            server.start(path, self._pair.key, self._pair.certificate, self._host)
            return
        self._folder = tempfile.mkdtemp(prefix="p", dir=os.path.dirname(path))  # noqa: PTH120 - see _launch.socket_path
        os.chmod(self._folder, 0o700)  # noqa: PTH101 - see _launch.socket_path; whatever the umask
        inner = f"{self._folder}/s"  # shorter than `path`, which has been found short enough
        server.start(inner)
        listener = bound_socket(path)
        listener.listen()
        context = tls_context(self._pair, self._host, server_side=True)
        relaying = _relay_for_ever(inner, listener, context)
        threading.Thread(target=asyncio.run, args=(relaying,), name="relay", daemon=True).start()

    def remove(self) -> None:
        """Remove the folder of the inner socket, if there is one."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


async def _relay_for_ever(inner: str, listener: socket.socket, context: ssl.SSLContext) -> None:
    await Relay(lambda: asyncio.open_unix_connection(inner)).listen(listener, context)
    await asyncio.Event().wait()
