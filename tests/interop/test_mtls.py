"""AutoMTLS in every pairing: gRPC's own TLS between our peers, a relay for stock Go's P-521."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from aperio_plugin import _mtls
from aperio_plugin._generated.goplugin.goplugin_pb2 import HealthCheckRequest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from aperio_cli.__main__ import main
from aperio_cli.errors.running import HandshakeMalformed, PluginCrashed, PluginNotHealthy
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.lifecycle import Action, Event, Patience
from aperio_cli.host.run import Run
from aperio_cli.host.wire.mtls import SecureConnection
from tests.commands import typed
from tests.descriptors import open_descriptors
from tests.forking import forked_pip
from tests.interop.conformance import ROOT
from tests.interop.conftest import SDK_PLUGIN, StockHost, eventually
from tests.process.conftest import Host, development, wait_until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from aperio_cli.host.launch import RunningPlugin
    from tests.interop.conftest import OurHost, Programs

pytestmark = pytest.mark.usefixtures("forked_plugins")
LIBRARY = Path(_mtls.__file__).resolve().parents[1]
TIMEOUT_S = 15.0


async def schema(plugin: RunningPlugin) -> str:
    return (await plugin.connector.schema(Invocation())).name


async def how(plugin: RunningPlugin) -> tuple[str, bool]:
    """The plugin's name, and whether there is a relay."""
    assert plugin._run.held.secure
    return await schema(plugin), plugin._run.held.secure._relay is not None


# ── H: our host demands it ────────────────────────────────────────────────────────────────────────


@pytest.mark.go
@pytest.mark.conformance(29, "H")
def test_our_host_speaks_mtls_with_a_stock_plugin_through_a_relay(our_host: OurHost) -> None:
    our_host.options["mtls"] = True

    assert our_host.run(use=how) == ("Stock Go", True)
    assert not [record for record in our_host.logs if record.level == "error"]


@pytest.mark.go
@pytest.mark.conformance(48, "H")
def test_our_host_speaks_mtls_with_a_plugin_on_go_plugin_1_0_1(
    our_host: OurHost, legacy: Programs
) -> None:
    our_host.options["mtls"] = True
    our_host.plugin = legacy.plugin

    assert our_host.run(use=how) == ("Stock Go", True)


@pytest.mark.go
@pytest.mark.conformance(29, "H")
def test_streams_and_prints_go_through_the_relay(our_host: OurHost) -> None:
    our_host.options["mtls"] = True

    async def use(plugin: RunningPlugin) -> int:
        await schema(plugin)
        await eventually(lambda: bool(our_host.messages("stdio")))
        return len([m async for m in plugin.connector.sync(Invocation(), b"5000")])

    assert our_host.run("out=printed\n", use=use) == 5000


@pytest.mark.go
@pytest.mark.conformance(29, "H")
def test_a_plugin_killed_behind_the_relay_is_noticed_at_once(our_host: OurHost) -> None:
    our_host.options["mtls"] = True

    async def use(plugin: RunningPlugin) -> float:
        pending = asyncio.ensure_future(schema(plugin))
        await asyncio.sleep(0)
        began_s = time.monotonic()
        os.kill(plugin.pid, signal.SIGKILL)
        with pytest.raises(PluginCrashed):
            await pending
        return time.monotonic() - began_s

    assert our_host.run("hang", use=use) < 10


@pytest.mark.go
def test_a_cancelled_start_ends_the_relay(
    our_host: OurHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    our_host.options["mtls"] = True
    run = our_host.start()
    perform = Run._perform

    async def interrupting(self: Run, action: Action) -> Event:
        outcome = await perform(self, action)
        if action is Action.CHECK_HEALTH:
            raise asyncio.CancelledError
        return outcome

    monkeypatch.setattr(Run, "_perform", interrupting)

    async def main() -> bool:
        with pytest.raises(asyncio.CancelledError):
            await run.drive(Event.START)
        await run.stop()
        return run.held.secure is None

    before = open_descriptors()
    assert asyncio.run(main())
    assert wait_until(lambda: not open_descriptors() - before, within_s=30)


@pytest.mark.go
@pytest.mark.conformance(28, "H")
def test_a_stock_plugin_refuses_whoever_has_no_certificate(our_host: OurHost) -> None:
    our_host.options["mtls"] = True

    async def use(plugin: RunningPlugin) -> list[bool]:
        assert plugin._run.held.pinned
        address = plugin._run.held.pinned.target
        stranger = _mtls.new_pair()
        secure = plugin._run.held.secure
        assert secure
        context = _mtls.tls_context(stranger, secure._peer, server_side=False)
        return [
            await asyncio.to_thread(answers, address),
            await asyncio.to_thread(accepts, address.removeprefix("unix:"), context),
            await schema(plugin) == "Stock Go",
        ]

    assert our_host.run(use=use) == [False, False, True]


def answers(address: str) -> bool:
    """Whether a health check in plaintext is answered."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            call(HealthCheckRequest(service="plugin").SerializeToString(), timeout=2)
        except grpc.RpcError:
            return False
        return True


def accepts(address: str, context: ssl.SSLContext) -> bool:
    """Whether TLS with a context is accepted: in 1.3 the first read tells."""
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(TIMEOUT_S)
        plain.connect(address)
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                return bool(connection.recv(1))
        except OSError:
            return False


@pytest.mark.go
@pytest.mark.conformance(28, "H")
def test_a_plugin_without_a_certificate_is_not_started_when_mtls_is_demanded(
    our_host: OurHost,
) -> None:
    our_host.options["mtls"] = True

    with pytest.raises(HandshakeMalformed) as caught:
        our_host.run("tls")  # its author set TLS up, so go-plugin leaves the field empty

    assert "AutoMTLS is required here" in caught.value.why


# ── P: a stock host asks for it ───────────────────────────────────────────────────────────────────


@pytest.mark.go
@pytest.mark.conformance(29, "P")
def test_a_stock_host_speaks_mtls_with_a_python_plugin(
    stock_host: StockHost, tmp_path: Path
) -> None:
    told = stock_host.run(
        "start,ping,ping,schema,sync,kill",
        "-automtls",
        plugin=(f"cleanup={tmp_path / 'done'}",),
    )

    assert (told.error("start"), told.error("ping")) == ("", "")
    assert told["schema"]["value"] == "Python SDK"
    assert told["sync"]["value"] == [f"e{n}" for n in range(500)]
    assert told["kill"]["seconds"] < 2
    assert (tmp_path / "done").exists()
    assert list(stock_host.folder.iterdir()) == []


@pytest.mark.go
@pytest.mark.conformance(28, "P")
def test_a_python_plugin_refuses_whoever_has_no_certificate(stock_host: StockHost) -> None:
    told = stock_host.run("ping,plain,stranger,schema,kill", "-automtls")

    assert told["plain"]["code"] in {"Unavailable", "DeadlineExceeded"}
    assert told["stranger"]["code"] in {"Unavailable", "DeadlineExceeded"}
    assert told["schema"]["value"] == "Python SDK"


@pytest.mark.go
@pytest.mark.conformance(48, "P")
def test_a_host_on_go_plugin_1_0_1_speaks_mtls_with_a_python_plugin(
    legacy: Programs, socket_folder: Path
) -> None:
    told = StockHost(legacy.host, socket_folder).run("ping,schema,kill", "-automtls")

    assert told["schema"]["value"] == "Python SDK"


@pytest.mark.go
@pytest.mark.conformance(39, "P")
def test_a_host_that_asks_for_both_reads_certificate_and_false(stock_host: StockHost) -> None:
    told = stock_host.run("start", "-automtls", "-multiplex")

    assert "plugin does not support the feature" in told.error("start")


# ── our peers, without Go ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def plain_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    base = Path(tmp_path_factory.mktemp("m"))
    yield Host(base, options={"mtls": True, "patience": Patience()})
    assert not list(base.iterdir())


@pytest.mark.conformance(29, "H")
@pytest.mark.conformance(29, "P")
def test_our_peers_speak_mtls_natively(plain_host: Host) -> None:
    assert plain_host.run(development(SDK_PLUGIN), how) == ("Python SDK", False)


def test_a_plugin_that_ignores_the_demand_is_not_started(plain_host: Host) -> None:
    with pytest.raises(HandshakeMalformed) as caught:
        plain_host.run("bare", how)

    assert "it gave no certificate" in caught.value.why


def test_a_plugin_without_the_key_of_its_certificate_is_not_started(
    plain_host: Host, tmp_path: Path
) -> None:
    field = _mtls.new_pair().handshake_field
    script = tmp_path / "plugin.py"
    script.write_text(
        f"import sys; sys.path[:0] = [{str(LIBRARY)!r}]\n"
        "from aperio_plugin import _mtls\n"
        f"_mtls.PluginSide.handshake_field = {field!r}\n"
        "import runpy; sys.argv = ['x']\n"
        f"runpy.run_path({str(SDK_PLUGIN)!r}, run_name='__main__')\n"
    )
    plain_host.options["patience"] = Patience(health_s=1.5)

    with pytest.raises(PluginNotHealthy):
        plain_host.run(script, how)


@pytest.mark.parametrize("certificate", [b"no certificate", b"\x30\x03\x02\x01\x00" * 20])
def test_garbage_for_a_certificate_is_told(certificate: bytes) -> None:
    with pytest.raises(HandshakeMalformed, match="cannot be understood") as caught:
        SecureConnection(_mtls.new_pair(), certificate, "it")

    assert "error parsing server cert" in caught.value.why


def test_a_run_speaks_mtls_when_the_policy_demands_it(project: Path, socket_folder: Path) -> None:
    home = Path(os.environ["APERIO_HOME"])
    home.mkdir()
    (home / "config.toml").write_text("[host]\nmtls = true\n")
    check = (
        "import os, sys; assert 'BEGIN CERTIFICATE' in os.environ['PLUGIN_CLIENT_CERT']\n"
        "sys.modules['cryptography'] = None\n"  # the host makes its certificate
    )
    (project / "plugin.py").write_text(check + (project / "plugin.py").read_text())

    done = run_schema(project, socket_folder)

    assert done.returncode == 0, done.stderr
    assert "Python SDK" in done.stdout


def run_schema(project: Path, socket_folder: Path) -> subprocess.CompletedProcess[str]:
    with forked_pip():
        return typed(
            ["plugin", "run", str(project), "schema"],
            {**os.environ, "XDG_RUNTIME_DIR": str(socket_folder)},
        )


@pytest.mark.parametrize("name", ["Box", "Lantern"])
def test_the_reference_plugin_and_a_new_one_run_when_the_policy_demands_mtls(
    name: str, tmp_path: Path, socket_folder: Path
) -> None:
    """As they are locked: without anything that makes certificates."""
    home = Path(os.environ["APERIO_HOME"])
    home.mkdir()
    (home / "config.toml").write_text("[host]\nmtls = true\n")
    project = ROOT / "plugins" / "box"
    if name == "Lantern":
        project = tmp_path / "new"
        words = ["plugin", "init", "github.com/acme/aperio-plugin-lantern", "--output", project]
        assert main([str(word) for word in words]) == 0
    assert "cryptography" not in (project / "requirements.lock").read_text()

    done = run_schema(project, socket_folder)

    assert done.returncode == 0, done.stderr
    assert name in done.stdout


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAA\n"])
def test_a_pair_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a certificate and its key"):
        _mtls.KeyPair.from_pem(text)
    pair = _mtls.new_pair()
    assert _mtls.KeyPair.from_pem((pair.certificate + pair.key).decode()) == pair


# ── what the SDK needs for it ─────────────────────────────────────────────────────────────────────


def start_plugin(folder: Path, certificate: str, *options: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, *options],
        env={
            "APERIO_PLUGIN_MAGIC_COOKIE": "aperio-plugin-v1",
            "PLUGIN_UNIX_SOCKET_DIR": str(folder),
            "PLUGIN_CLIENT_CERT": certificate,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_without_cryptography_the_plugin_ends_and_names_the_extra(tmp_path: Path) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(
        "import runpy, sys; sys.modules['cryptography'] = None\n"
        f"sys.argv = ['x']; runpy.run_path({str(SDK_PLUGIN)!r}, run_name='__main__')\n"
    )

    status, out, err = start_plugin(tmp_path, "-----BEGIN CERTIFICATE-----", str(script))

    assert (status, out) == (1, "")
    assert "depend on aperio-plugin-sdk[mtls]" in err
    assert err.count("\n") == 1


def test_a_certificate_that_is_none_ends_the_plugin_and_is_told(tmp_path: Path) -> None:
    status, out, err = start_plugin(tmp_path, "nonsense", str(SDK_PLUGIN))

    assert (status, out) == (1, "")
    assert err.startswith("PLUGIN_CLIENT_CERT is not a certificate")


def test_cryptography_is_not_imported_unless_a_host_asks(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(LIBRARY)!r}]\n"
        "import aperio_plugin.connector, aperio_plugin._serve, aperio_plugin._server\n"
        "print('cryptography' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=30, check=True
    )

    assert done.stdout == b"False\n"


@pytest.mark.conformance(39, "P")
def test_the_handshake_field_is_the_certificate_without_padding() -> None:
    for _ in range(5):
        pair = _mtls.new_pair()
        field = pair.handshake_field
        padded = field + "=" * (-len(field) % 4)
        certificate = x509.load_der_x509_certificate(base64.b64decode(padded))
        key = certificate.public_key()
        assert "=" not in field
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"


@pytest.mark.parametrize(
    ("curve", "native"),
    [(ec.SECP256R1(), True), (ec.SECP384R1(), True), (ec.SECP521R1(), False)],
)
def test_what_grpc_can_verify_is_known(
    curve: ec.EllipticCurve, *, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ec, "SECP256R1", lambda: curve)

    assert _mtls.grpc_can_verify(_mtls.new_pair().certificate) is native


def test_the_relay_leaves_no_descriptor_open(tmp_path: Path) -> None:
    server, client = _mtls.new_pair(), _mtls.new_pair()
    inside, outside = str(tmp_path / "in"), str(tmp_path / "out")

    async def main() -> bytes:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(5))
            writer.close()

        echoing = await asyncio.start_unix_server(echo, inside)
        relay = _mtls.Relay(lambda: asyncio.open_unix_connection(inside))
        context = _mtls.tls_context(server, client.certificate, server_side=True)
        await relay.listen(_mtls.bound_socket(outside), context)
        own = _mtls.tls_context(client, server.certificate, server_side=False)
        reader, writer = await asyncio.open_unix_connection(
            outside, ssl=own, server_hostname="localhost"
        )
        writer.write(b"hello")
        answer = await asyncio.wait_for(reader.read(), TIMEOUT_S)
        writer.close()
        await relay.close()
        echoing.close()
        return answer

    before = open_descriptors()
    assert asyncio.run(main()) == b"hello"
    assert wait_until(lambda: not open_descriptors() - before, within_s=30)
