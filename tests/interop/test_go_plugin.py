"""H: a stock Go plugin, made without any SDK of ours, under our host."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from aperio_cli.errors.installing import ProtocolIncompatible
from aperio_cli.errors.running import (
    HandshakeAddressRefused,
    HandshakeMalformed,
    HandshakeTimeout,
    PluginCrashed,
    PluginDeadlineExceeded,
    PluginNotHealthy,
    PluginReportedError,
)
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import RunningPlugin, launch
from aperio_cli.host.lifecycle import Event, Patience, Phase
from aperio_cli.host.wire import handshake
from tests.interop.conftest import eventually
from tests.process.conftest import is_alive, wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import OurHost, Programs

pytestmark = pytest.mark.go

NASTY = (
    b'{"@message": 5}',
    b'{"@message": {"a": 1}, "@level": 7, "@timestamp": []}',
    b'{"@message": ' + b"[" * 20_000,
    b"a NUL: \x00, invalid UTF-8: \xff\xfe, a control: \x1b[2J",
)


async def schema(plugin: RunningPlugin) -> str:
    return (await plugin.connector.schema(Invocation())).name


async def report(plugin: RunningPlugin) -> Any:
    return json.loads((await plugin.connector.schema(Invocation())).description)


async def went(plugin: RunningPlugin) -> float:
    """Calls it, and gives the time at which its end begins."""
    await schema(plugin)
    return time.monotonic()


def raw(*lines: bytes) -> list[str]:
    """Arguments that make the plugin write lines to its descriptor 2."""
    return [f"raw={line.hex()}" for line in lines]


def errors_of(host: OurHost) -> list[str]:
    return [record.message for record in host.logs if record.level == "error"]


# ── calls ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.conformance(1, "H")
@pytest.mark.conformance(5, "H")
def test_our_host_starts_calls_and_ends_a_stock_plugin(our_host: OurHost) -> None:
    async def use(plugin: RunningPlugin) -> tuple[int, str, list[str], float]:
        assert plugin.phase is Phase.READY
        messages = [m async for m in plugin.connector.sync(Invocation(), b"200")]
        ids = [event.source_event_id for m in messages for event in m.batch.events]
        return plugin.pid, await schema(plugin), ids, time.monotonic()

    our_host.options["patience"] = Patience(60, 60, 60, 60, 60, 60)  # an end that waits for nothing
    pid, name, ids, began_s = our_host.run(use=use)

    assert (name, ids) == ("Stock Go", [f"e{n}" for n in range(200)])
    assert not is_alive(pid)
    assert time.monotonic() - began_s < 30
    assert errors_of(our_host) == []


@pytest.mark.conformance(1, "H")
def test_an_address_over_tcp_is_refused() -> None:
    with pytest.raises(HandshakeAddressRefused):
        handshake.parse(b"1|1|tcp|127.0.0.1:12345|grpc|\n", folder="/private", subject="it")


@pytest.mark.conformance(31, "H")
def test_health_is_serving_twice_and_fails_after_the_end(our_host: OurHost) -> None:
    from aperio_plugin._generated.goplugin.goplugin_pb2 import (
        HealthCheckRequest,
        HealthCheckResponse,
    )

    path, request = "/grpc.health.v1.Health/Check", HealthCheckRequest(service="plugin")

    async def use(plugin: RunningPlugin) -> list[int]:
        calls = plugin._run.calls
        statuses = [
            (await calls.unary(path, request, HealthCheckResponse, timeout_s=5)).status
            for _ in range(2)
        ]
        os.kill(plugin.pid, signal.SIGKILL)
        with pytest.raises(PluginCrashed):
            await calls.unary(path, request, HealthCheckResponse, timeout_s=5)
        return statuses

    assert our_host.run(use=use) == [1, 1]


@pytest.mark.conformance(33, "H")
def test_a_bidirectional_stream_echoes_in_order(our_host: OurHost) -> None:
    sent = [f"\x0a\x04{n:04d}".encode() for n in range(300)]

    async def use(plugin: RunningPlugin) -> list[bytes]:
        assert plugin._run.held.channel
        method: Any = plugin._run.held.channel.stream_stream("/interop.Echo/Echo")
        call = method(iter(sent))
        return [message async for message in call]

    assert our_host.run(use=use) == sent


@pytest.mark.conformance(34, "H")
def test_reflection_of_a_plugin_can_be_read(our_host: OurHost) -> None:
    list_services = b"\x3a\x01*"  # ServerReflectionRequest.list_services = "*"

    async def use(plugin: RunningPlugin) -> bytes:
        assert plugin._run.held.channel
        path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        method: Any = plugin._run.held.channel.stream_stream(path)
        call = method(iter([list_services]))
        return b"".join([message async for message in call])

    answer = our_host.run(use=use)

    assert b"aperio.plugin.v1.ConnectorPlugin" in answer
    assert b"plugin.GRPCController" in answer


@pytest.mark.conformance(45, "H")
def test_an_answer_over_4_mib_is_an_error_and_no_crash(our_host: OurHost) -> None:
    async def use(plugin: RunningPlugin) -> Phase:
        with pytest.raises(PluginReportedError, match="larger than max") as caught:
            await schema(plugin)
        assert "RESOURCE_EXHAUSTED" in caught.value.why
        assert is_alive(plugin.pid)
        return plugin.phase

    assert our_host.run(f"big={5 * 1024 * 1024}", use=use) is Phase.READY


@pytest.mark.conformance(30, "H")
def test_a_plugin_that_dials_the_broker_is_told_that_there_is_none(our_host: OurHost) -> None:
    async def use(plugin: RunningPlugin) -> Any:
        return (await report(plugin))["broker"]

    assert "timeout waiting for connection info" in our_host.run("broker", use=use)


# ── what a plugin prints and logs ─────────────────────────────────────────────────────────────────


@pytest.mark.conformance(8, "H")
def test_prints_of_a_plugin_arrive_in_order(our_host: OurHost) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await schema(plugin)
        # A stock plugin cuts the stream when it is told to end: wait for what is on its way.
        await eventually(lambda: len(our_host.messages("stdio")) == 3)

    our_host.run("out=one\n", "out=two, ", "out=no newline", "out=\n \t3\n", use=use)

    assert our_host.messages("stdio") == ["one", "two, no newline", " \t3"]


@pytest.mark.conformance(42, "H")
def test_a_mebibyte_of_prints_does_not_block_a_call(our_host: OurHost) -> None:
    async def use(plugin: RunningPlugin) -> list[str]:
        await schema(plugin)
        await eventually(lambda: len(our_host.messages("stdio")) == 1024)
        return [line[:8] for line in our_host.messages("stdio")]

    assert our_host.run(f"print={1024 * 1024}", use=use) == [f"{n:08d}" for n in range(1024)]


@pytest.mark.conformance(18, "H")
def test_raw_stderr_is_kept_byte_for_byte(our_host: OurHost) -> None:
    lines = [b"first \xff\x00", b"z" * 40_000, b"[WARN] third"]

    async def use(plugin: RunningPlugin) -> bytes:
        await schema(plugin)
        tail = plugin._run._post_mortem.stderr.tail
        await eventually(lambda: b"third" in tail.bytes())
        return tail.bytes()

    assert our_host.run(*raw(*lines), use=use).endswith(b"\n".join(lines) + b"\n")


@pytest.mark.conformance(19, "H")
def test_json_that_is_no_record_is_kept_verbatim(our_host: OurHost) -> None:
    our_host.run(*raw(b'["HELLO"]', b"12345", b'{"no": "message"}'), use=schema)

    records = [record for record in our_host.logs if record.stream == "stderr"]
    assert [r.message for r in records][-3:] == ['["HELLO"]', "12345", '{"no": "message"}']
    assert {r.level for r in records[-3:]} == {"debug"}


@pytest.mark.conformance(20, "H")
def test_a_prefix_sets_the_level(our_host: OurHost) -> None:
    our_host.run(*raw(b"[WARN] careful", b"[ERROR] broken", b"plain"), use=schema)

    levels = {r.message: r.level for r in our_host.logs if r.stream == "stderr"}
    assert (levels["careful"], levels["broken"], levels["plain"]) == ("warn", "error", "debug")


@pytest.mark.conformance(21, "H")
def test_an_over_long_line_comes_out_in_pieces(our_host: OurHost) -> None:
    line = b'{"@message": "' + b"x" * 60_000 + b'", "key": "'  # raw= is limited; see `flood`
    our_host.run(*raw(line), f"flood={150_000}", use=schema)

    pieces = [r for r in our_host.logs if r.stream == "stderr" and r.message.startswith("yyy")]
    assert len(pieces) == 3
    assert {r.level for r in pieces} == {"debug"}


@pytest.mark.conformance(22, "H")
def test_structured_pairs_of_hclog_are_fields(our_host: OurHost) -> None:
    our_host.run("log", use=schema)

    (record,) = [r for r in our_host.logs if r.message == "structured"]
    assert (record.level, record.module) == ("warn", "stock")
    assert dict(record.fields) == {"text": "a b", "number": "42"}


@pytest.mark.conformance(37, "H")
def test_a_slow_reader_loses_no_last_lines(our_host: OurHost) -> None:
    append = our_host.logs.append

    class Slow(list[Any]):
        def append(self, record: Any) -> None:
            threading.Event().wait(0.002)  # a terminal that takes its time
            append(record)

    our_host.logs, kept = Slow(), our_host.logs
    our_host.run(*raw(*(b"line %d" % n for n in range(60))), "last-words", use=schema)
    our_host.logs = kept

    expected = [*(f"line {n}" for n in range(60)), "the very last words"]
    assert our_host.messages("stderr")[-61:] == expected
    assert errors_of(our_host) == []


@pytest.mark.conformance(44, "H")
@pytest.mark.parametrize("line", [*NASTY, b""], ids=["number", "object", "deep", "bytes", "1 MiB"])
def test_nasty_lines_on_stderr_hurt_nobody(our_host: OurHost, line: bytes) -> None:
    arguments = raw(line) if line else [f"flood={1024 * 1024}"]

    assert our_host.run(*arguments, *raw(b"[INFO] after it"), use=schema) == "Stock Go"

    assert wait_until(lambda: bool(our_host.messages("stderr")), within_s=30)
    assert all("\x00" not in text and "\x1b" not in text for text in our_host.messages())


# ── the start ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.conformance(7, "H")
def test_netrpc_is_refused(our_host: OurHost) -> None:
    with pytest.raises(HandshakeMalformed) as caught:
        our_host.run("netrpc")

    assert 'unsupported plugin protocol "netrpc". Supported: [grpc]' in caught.value.why


@pytest.mark.conformance(15, "H")
@pytest.mark.conformance(16, "H")
def test_a_version_that_is_not_shared_is_refused_and_both_are_named(our_host: OurHost) -> None:
    with pytest.raises(ProtocolIncompatible) as caught:
        our_host.run("version=7")

    assert "Plugin version: 7, Client versions: [1]" in caught.value.why


@pytest.mark.conformance(15, "H")
def test_a_line_that_is_no_handshake_is_refused_and_shown(our_host: OurHost) -> None:
    with pytest.raises(HandshakeMalformed) as caught:
        our_host.run("stray=1|x|loading")

    assert "Unrecognized remote plugin message: 1|x|loading" in caught.value.why


@pytest.mark.conformance(17, "H")
def test_a_plugin_that_prints_nothing_is_killed_at_the_deadline(our_host: OurHost) -> None:
    our_host.options["patience"] = Patience(handshake_s=0.5, drain_s=0.3)

    with pytest.raises(HandshakeTimeout) as caught:
        our_host.run("mute")

    assert "timeout while waiting for plugin to start" in caught.value.why


@pytest.mark.conformance(3, "H")
def test_a_stop_after_a_failed_start_starts_nothing(our_host: OurHost, tmp_path: Path) -> None:
    run = our_host.start("netrpc", f"started={tmp_path / 'started'}")

    async def main() -> None:
        with pytest.raises(HandshakeMalformed):
            await run.drive(Event.START)
        await run.stop()
        await run.stop()

    asyncio.run(main())

    assert (tmp_path / "started").read_text() == "x"


@pytest.mark.conformance(2, "H")
def test_a_stop_before_any_connection_and_a_second_one_are_harmless(our_host: OurHost) -> None:
    run = our_host.start("mute")

    async def main() -> int:
        starting = asyncio.ensure_future(run.drive(Event.START))
        await eventually(lambda: run.held.process is not None)
        pid = run.process.pid
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await run.stop()
        await run.stop()
        return pid

    assert not is_alive(asyncio.run(main()))


@pytest.mark.conformance(9, "H")
@pytest.mark.conformance(10, "H")
@pytest.mark.conformance(11, "H")
@pytest.mark.conformance(12, "H")
def test_a_launch_takes_one_target_and_no_record_of_a_process() -> None:
    parameters = inspect.signature(launch).parameters

    assert list(parameters) == ["cleared", "options", "log"]
    assert parameters["cleared"].annotation == "Cleared"


@pytest.mark.conformance(28, "H")
def test_tls_with_a_certificate_of_the_authors_own_is_no_start(our_host: OurHost) -> None:
    our_host.options["patience"] = Patience(health_s=1, drain_s=0.3, shutdown_s=0.2, exit_s=0.2)

    with pytest.raises(PluginNotHealthy):
        our_host.run("tls")


# ── what a plugin finds around itself ─────────────────────────────────────────────────────────────


@pytest.mark.conformance(24, "H")
@pytest.mark.conformance(25, "H")
@pytest.mark.conformance(26, "H")
@pytest.mark.conformance(47, "H")
def test_nothing_of_the_host_reaches_a_plugin(our_host: OurHost) -> None:
    found = our_host.run(use=report)

    environment = dict(text.split("=", 1) for text in found["environment"])
    assert set(environment) == {
        "APERIO_HOST_LIFELINE",
        "APERIO_PLUGIN_LOG_LEVEL",
        "APERIO_PLUGIN_MAGIC_COOKIE",
        "HOME",
        "LANG",
        "PATH",
        "PLUGIN_MAX_PORT",
        "PLUGIN_MIN_PORT",
        "PLUGIN_PROTOCOL_VERSIONS",
        "PLUGIN_UNIX_SOCKET_DIR",
        "TMPDIR",
    }
    assert found["stdin"] == "/dev/null"


@pytest.mark.conformance(36, "H")
def test_the_folder_of_the_socket_is_private_and_below_the_base(our_host: OurHost) -> None:
    async def use(plugin: RunningPlugin) -> tuple[Path, int]:
        variables = dict(text.split("=", 1) for text in (await report(plugin))["environment"])
        folder = Path(variables["PLUGIN_UNIX_SOCKET_DIR"])
        return folder, stat.S_IMODE(folder.parent.stat().st_mode)

    folder, mode = our_host.run(use=use)

    assert (folder.parent.parent, mode) == (our_host.runtime_base, 0o700)
    assert not folder.exists()


@pytest.mark.conformance(46, "H")
def test_a_base_that_leaves_no_room_for_a_socket_is_named(our_host: OurHost) -> None:
    # The folder may have 80 bytes; go-plugin adds at most 17, and a slash, of a socket's 107.
    longest = 80 - len("/aperio-12345678") - len(str(our_host.runtime_base)) - 1
    shallow = our_host.runtime_base
    for length in (longest, longest + 1):
        our_host.runtime_base = shallow / ("d" * length)
        our_host.runtime_base.mkdir()
        if length == longest:
            assert our_host.run(use=schema) == "Stock Go"
        else:
            with pytest.raises(UsageError, match="too long for unix sockets") as caught:
                our_host.run(use=schema)
            assert "at most 107 bytes" in caught.value.why
        our_host.runtime_base.rmdir()
    our_host.runtime_base = shallow


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.conformance(4, "H")
def test_a_stop_lets_a_plugin_clean_up(our_host: OurHost, tmp_path: Path) -> None:
    our_host.run(f"cleanup={tmp_path / 'done'}", use=schema)

    assert (tmp_path / "done").read_text() == "cleaned up"
    assert errors_of(our_host) == []


@pytest.mark.conformance(6, "H")
def test_a_plugin_killed_in_a_call_is_noticed_at_once(our_host: OurHost) -> None:
    async def use(plugin: RunningPlugin) -> float:
        pending = asyncio.ensure_future(schema(plugin))
        await asyncio.sleep(0)
        began_s = time.monotonic()
        os.kill(plugin.pid, signal.SIGKILL)
        with pytest.raises(PluginCrashed) as caught:
            await pending
        assert "killed by SIGKILL" in caught.value.why
        assert isinstance(caught.value.__cause__, grpc.RpcError)
        return time.monotonic() - began_s

    assert our_host.run("hang", use=use) < 10


def test_a_panic_is_told_with_gos_own_words_at_error(our_host: OurHost) -> None:
    with pytest.raises(PluginCrashed) as caught:
        our_host.run("panic", use=schema)

    assert "exit status 2" in caught.value.why
    assert "panic: it broke" in errors_of(our_host)


def test_a_call_has_a_deadline_although_the_plugin_hangs(our_host: OurHost) -> None:
    from aperio_plugin._generated.aperio.plugin.v1.connector_pb2 import (
        SchemaRequest,
        SchemaResponse,
    )

    async def use(plugin: RunningPlugin) -> None:
        path = "/aperio.plugin.v1.ConnectorPlugin/Schema"
        with pytest.raises(PluginDeadlineExceeded):
            await plugin._run.calls.unary(path, SchemaRequest(), SchemaResponse, timeout_s=0.2)

    our_host.run("hang", use=use)


def test_a_plugin_that_ignores_sigterm_is_killed_within_the_bound(our_host: OurHost) -> None:
    began_s = our_host.run("stubborn", use=went)

    assert time.monotonic() - began_s < 30


@pytest.mark.conformance(43, "H")
def test_a_grandchild_that_holds_the_pipes_dies_with_its_group(our_host: OurHost) -> None:
    began_s = our_host.run("grandchild", use=went)
    taken_s = time.monotonic() - began_s

    line = next(text for text in our_host.messages("stderr") if text.startswith("grandchild"))
    assert taken_s < 30
    assert wait_until(lambda: not is_alive(int(line.split()[1])), within_s=30)


_OTHER_HOST = """
import asyncio, sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.interop.conftest import OurHost
async def use(plugin):
    print(plugin.pid, flush=True)
    await asyncio.sleep(60)
OurHost(Path({plugin!r}), Path({base!r})).run(*{arguments!r}, use=use)
"""


@pytest.mark.conformance(13, "H")
@pytest.mark.parametrize("arguments", [[], ["stubborn"]], ids=["polite", "stubborn"])
def test_a_stock_plugin_dies_with_a_host_that_is_killed(
    our_host: OurHost, arguments: list[str]
) -> None:
    root = Path(__file__).resolve().parents[2]
    code = _OTHER_HOST.format(
        path=[str(root), str(root / "sdk" / "python")],
        plugin=str(our_host.plugin),
        base=str(our_host.runtime_base),
        arguments=arguments,
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout
        pid = int(other.stdout.readline())
        assert os.getsid(pid) == pid

        other.kill()

        assert wait_until(lambda: not is_alive(pid), within_s=30)
    for left in our_host.runtime_base.iterdir():  # a killed host cannot tidy up
        for path in sorted(left.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        left.rmdir()


# ── an older go-plugin ────────────────────────────────────────────────────────────────────────────


@pytest.mark.conformance(48, "H")
def test_a_plugin_on_go_plugin_1_0_1_starts_answers_and_ends(
    legacy: Programs, our_host: OurHost, tmp_path: Path
) -> None:
    our_host.plugin = legacy.plugin

    name = our_host.run(f"cleanup={tmp_path / 'done'}", use=schema)

    assert name == "Stock Go"
    assert (tmp_path / "done").exists()
    assert errors_of(our_host) == []
