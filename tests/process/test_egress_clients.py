"""Clients of plugins go by the proxy when the environment names it, and by nothing else."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate

from aperio_cli.host.egress import plan_door
from tests.certificates import make_certificate
from tests.egress import Elsewhere, Server, answer_http, opened, rule

SCRIPT = Path(__file__).parents[1] / "egress_clients.py"
HTTP = ("urllib", "httpx", "requests", "aiohttp", "curl")


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        del details
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: b"said " + request)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each client printed, of a host that is granted and of one that is not."""
    folder = tmp_path_factory.mktemp("clients")
    pem = make_certificate(folder / "ca.pem", "api.box.com", "rpc.box.com", "evil.io")
    calls = grpc.server(ThreadPoolExecutor(2), handlers=[_Echo()])
    port = calls.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([_key_pair(pem)]))
    calls.start()
    outside = Elsewhere()
    rules = (rule("api.box.com:443"), rule("rpc.box.com:443"))
    try:
        with Server(answer_http, pem) as server, opened(rules, outside) as door:
            outside.serve("api.box.com", 443, server.port)
            outside.serve("evil.io", 443, server.port)
            outside.serve("rpc.box.com", 443, port, "93.184.216.35")
            asked = [*HTTP, "grpc@rpc.box.com", *(f"{each}@evil.io" for each in HTTP)]
            asked.append("grpc@evil.io")
            done = subprocess.run(
                [sys.executable, str(SCRIPT), str(folder), *asked],
                env=_environment(door.port),
                capture_output=True,
                text=True,
                check=True,
                timeout=110,
            )
    finally:
        calls.stop(None)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def _environment(port: int) -> dict[str, str]:
    """The plugin's, with the port at which the door really listens here."""
    planned = plan_door(()).environment
    named = {k: v.replace(":3128", f":{port}") for k, v in planned.items()}
    return {"PATH": "/usr/bin:/bin", "GRPC_VERBOSITY": "NONE"} | named


def _key_pair(pem: Path) -> tuple[bytes, bytes]:
    data = pem.read_bytes()
    key = serialization.load_pem_private_key(data, None)
    certificate = load_pem_x509_certificate(data)
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )


@pytest.mark.parametrize("client", HTTP)
def test_http_client_reaches_a_granted_host(said: dict[str, str], client: str) -> None:
    assert said[client] == "GET /a HTTP/1.1|Host: api.box.com|"


@pytest.mark.parametrize("client", HTTP)
def test_http_client_reaches_no_other(said: dict[str, str], client: str) -> None:
    assert "403" in said[f"{client}@evil.io"]
    if client != "curl":  # it shows the number only
        assert "Refused by aperio: not-granted" in said[f"{client}@evil.io"]


def test_grpc_reaches_a_granted_host_and_no_other(said: dict[str, str]) -> None:
    assert said["grpc@rpc.box.com"] == "said /a"
    assert "UNAVAILABLE" in said["grpc@evil.io"]
