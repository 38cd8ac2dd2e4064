"""P: a plugin made with our Python SDK under a stock Go host."""

from __future__ import annotations

import grp
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.conftest import SDK_PLUGIN, StockHost, Told
from tests.process.conftest import is_alive, wait_until

if TYPE_CHECKING:
    from tests.interop.conftest import Programs

pytestmark = pytest.mark.go

BY_HAND = "This binary is a plugin. These are not meant to be executed directly."


def sockets(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_socket()]


def errors_of(told: Told) -> list[str]:
    """What a host logged at ERROR, or as forced; both are empty after a graceful end."""
    forced = [r["@message"] for r in told.log("warn") if "gracefully" in r["@message"]]
    return [record["@message"] for record in told.log("error")] + forced


# ── calls ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.conformance(5, "P")
@pytest.mark.conformance(31, "P")
def test_a_stock_host_starts_pings_calls_and_ends_a_python_plugin(stock_host: StockHost) -> None:
    told = stock_host.run("start,ping,ping,schema,kill")

    assert told["start"]["value"] | {"pid": 0, "address": ""} == {
        "version": 1,
        "network": "unix",
        "protocol": "grpc",
        "pid": 0,
        "address": "",
    }
    assert (told.error("ping"), told["schema"]["value"]) == ("", "Python SDK")
    assert told["kill"]["seconds"] < 2
    assert told["kill"]["value"] is True
    assert errors_of(told) == []


@pytest.mark.conformance(31, "P")
def test_a_ping_fails_once_the_server_has_stopped(stock_host: StockHost) -> None:
    told = stock_host.run("ping,shutdown,gone,ping")

    assert [bool(s.get("error")) for s in told.steps if s["step"] == "ping"] == [False, True]


@pytest.mark.conformance(33, "P")
def test_a_stream_arrives_in_order(stock_host: StockHost) -> None:
    assert stock_host.run("sync,kill")["sync"]["value"] == [f"e{n}" for n in range(500)]


@pytest.mark.conformance(32, "P")
@pytest.mark.parametrize("versions", ["1", "7,1,3"])
def test_the_shared_version_is_negotiated(stock_host: StockHost, versions: str) -> None:
    told = stock_host.run("start,schema,kill", f"-versions={versions}")

    assert told["start"]["value"]["version"] == 1
    assert told["schema"]["value"] == "Python SDK"


@pytest.mark.conformance(32, "P")
def test_a_host_of_other_versions_names_both_sides(stock_host: StockHost) -> None:
    told = stock_host.run("start", "-versions=8,9")

    assert "incompatible API version with plugin. Plugin version: 1" in told.error("start")


@pytest.mark.conformance(26, "P")
@pytest.mark.conformance(39, "P")
def test_a_host_that_asks_for_multiplexing_reads_the_named_error(stock_host: StockHost) -> None:
    told = stock_host.run("start", "-multiplex")

    assert "client requested gRPC broker multiplexing but plugin does not support" in told.error(
        "start"
    )


@pytest.mark.conformance(30, "P")
def test_a_broker_dial_times_out_and_hurts_nobody(stock_host: StockHost) -> None:
    told = stock_host.run("ping,broker,schema,kill")

    assert "timeout waiting for connection info" in told.error("broker")
    assert told["schema"]["value"] == "Python SDK"
    assert errors_of(told) == []


@pytest.mark.conformance(34, "P")
def test_a_plugin_starts_without_importing_reflection() -> None:
    code = "import aperio_plugin._server, sys; print('grpc_reflection' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(Path(SDK_PLUGIN).parents[2] / "sdk" / "python")},
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == b"False\n"


# ── what a plugin prints and logs ─────────────────────────────────────────────────────────────────


@pytest.mark.conformance(8, "P")
def test_prints_reach_the_host_in_order_and_unchanged(stock_host: StockHost) -> None:
    expected = "one\ntwo, no newline"
    told = stock_host.run(f"schema,stdout:{len(expected)},kill", plugin=("print",))

    assert told.end["stdout"] == expected
    assert told.end["stderr"] == "to stderr"


@pytest.mark.conformance(22, "P")
def test_structured_pairs_reach_the_hosts_log(stock_host: StockHost) -> None:
    told = stock_host.run("pending,collect,kill")

    (record,) = [r for r in told.log("warn") if r["@message"] == "structured"]
    assert (record["text"], record["number"]) == ("a b", 42)


@pytest.mark.conformance(23, "P")
def test_an_exception_reaches_the_hosts_log_at_error_with_its_traceback(
    stock_host: StockHost,
) -> None:
    told = stock_host.run("schema,ping,kill", plugin=("fail",))

    (record,) = told.log("error")
    assert told["schema"]["code"] == "Internal"
    assert told.error("ping") == ""
    assert "RuntimeError: it broke" in record["traceback"]
    assert record["traceback"].count("\n") >= 10


@pytest.mark.conformance(23, "P")
def test_a_native_crash_reaches_the_hosts_log_line_by_line(stock_host: StockHost) -> None:
    told = stock_host.run("schema,gone", plugin=("crash",))

    assert told["schema"]["code"] == "Unavailable"
    # A Go host takes "panic: " and "fatal error: " for ERROR; CPython writes "Fatal Python error".
    messages = [record["@message"] for record in told.log("debug")]
    assert any("Fatal Python error: Segmentation fault" in message for message in messages)
    assert any("in schema" in message for message in messages)


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.conformance(4, "P")
def test_a_kill_lets_the_plugin_clean_up(stock_host: StockHost, tmp_path: Path) -> None:
    told = stock_host.run("ping,kill", plugin=(f"cleanup={tmp_path / 'done'}",))

    assert (tmp_path / "done").read_text() == "cleaned up"
    assert errors_of(told) == []
    assert sockets(stock_host.folder) == []


@pytest.mark.conformance(6, "P")
def test_a_plugin_that_is_killed_fails_the_pending_call_at_once(stock_host: StockHost) -> None:
    told = stock_host.run("ping,pending,signal:KILL,gone,collect", plugin=("hang",))

    assert told["gone"]["seconds"] < 2
    assert told["collect"]["code"] == "Unavailable"


@pytest.mark.conformance(40, "P")
def test_shutdown_is_answered_at_once_although_a_handler_and_a_thread_hang(
    stock_host: StockHost,
) -> None:
    told = stock_host.run("ping,pending,shutdown,gone", plugin=("hang", "thread"))

    assert told["shutdown"]["seconds"] < 0.5
    assert told["gone"]["seconds"] < 2


@pytest.mark.conformance(41, "P")
def test_ctrl_c_is_left_to_the_host_and_sigterm_is_a_clean_end(
    stock_host: StockHost, tmp_path: Path
) -> None:
    told = stock_host.run(
        "ping,signal:INT,schema,signal:TERM,gone", plugin=(f"cleanup={tmp_path / 'done'}",)
    )

    assert told["schema"]["value"] == "Python SDK"
    assert told["gone"]["seconds"] < 2
    assert (tmp_path / "done").exists()
    assert sockets(stock_host.folder) == []


@pytest.mark.conformance(41, "P")
def test_a_plugin_ends_with_a_host_that_is_killed(stock_host: StockHost, tmp_path: Path) -> None:
    command = stock_host.command("ping,block", plugin=("hang", f"pid={tmp_path / 'pid'}"))
    with subprocess.Popen(
        command,
        env=stock_host.full_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as host:
        assert host.stdout
        assert b'"ping"' in host.stdout.readline()
        assert b'"blocking"' in host.stdout.readline()
        plugin = int((tmp_path / "pid").read_text())
        assert is_alive(plugin)

        host.kill()

        assert wait_until(lambda: not is_alive(plugin), within_s=30)
    assert sockets(stock_host.folder) == []


# ── the start ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.conformance(38, "P")
def test_a_wrong_cookie_is_refused_and_the_host_says_so(stock_host: StockHost) -> None:
    told = stock_host.run("start", "-cookie=other")

    assert "Failed to read any lines from plugin's stdout" in told.error("start")
    assert any(BY_HAND in record["@message"] for record in told.end["log"])


@pytest.mark.conformance(14, "P")
@pytest.mark.conformance(38, "P")
def test_without_a_cookie_nothing_is_on_stdout_and_the_status_is_1() -> None:
    done = subprocess.run(
        [sys.executable, str(SDK_PLUGIN)],
        env={},
        capture_output=True,
        timeout=30,
        check=False,
        text=True,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == BY_HAND
    assert len(done.stderr.splitlines()) == 3


@pytest.mark.conformance(39, "P")
@pytest.mark.parametrize(("asked", "line_end"), [("", "|grpc|\n"), ("true", "|grpc||false\n")])
def test_the_line_has_no_certificate_and_a_seventh_field_only_when_asked(
    stock_host: StockHost, asked: str, line_end: str
) -> None:
    environment = stock_host.full_environment() | {"APERIO_PLUGIN_MAGIC_COOKIE": "aperio-plugin-v1"}
    if asked:
        environment["PLUGIN_MULTIPLEX_GRPC"] = asked
    with subprocess.Popen(
        [sys.executable, "-B", str(SDK_PLUGIN)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as plugin:
        assert plugin.stdout
        line = plugin.stdout.readline()
        plugin.send_signal(signal.SIGTERM)

    assert line.endswith(line_end)


@pytest.mark.conformance(35, "P")
def test_the_socket_is_where_the_host_says(stock_host: StockHost) -> None:
    told = stock_host.run("start,kill")

    assert Path(told["start"]["value"]["address"]).parent == stock_host.folder


@pytest.mark.conformance(35, "P")
@pytest.mark.parametrize("by", ["name", "gid"])
def test_a_group_of_the_host_may_connect(stock_host: StockHost, by: str) -> None:
    mine = grp.getgrgid(os.getgid())
    group = mine.gr_name if by == "name" else str(mine.gr_gid)
    command = stock_host.command("start,block", f"-group={group}")
    with subprocess.Popen(
        command,
        env=stock_host.full_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as host:
        assert host.stdout
        host.stdout.readline()
        (socket,) = sockets(stock_host.folder)
        status = socket.stat()
        host.kill()

    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, mine.gr_gid)


@pytest.mark.conformance(46, "P")
@pytest.mark.parametrize(("length", "starts"), [(107, True), (108, False)])
def test_a_socket_path_may_have_107_bytes(
    stock_host: StockHost, length: int, *, starts: bool
) -> None:
    missing = length - len(str(stock_host.folder)) - len("/" + "/plugin12345678")
    folder = stock_host.folder / ("x" * missing)
    folder.mkdir()
    stock_host.environment["PLUGIN_UNIX_SOCKET_DIR"] = str(folder)

    told = stock_host.run("schema,kill")

    assert (told["schema"]["value"] == "Python SDK") is starts
    if not starts:
        assert any("108 bytes, 107 are the most" in r["@message"] for r in told.end["log"])


# ── an older go-plugin ────────────────────────────────────────────────────────────────────────────


@pytest.mark.conformance(48, "P")
def test_a_host_on_go_plugin_1_0_1_starts_calls_and_ends_a_python_plugin(
    legacy: Programs, socket_folder: Path, tmp_path: Path
) -> None:
    host = StockHost(legacy.host, socket_folder)
    began_s = time.monotonic()

    told = host.run("ping,schema,sync,kill", plugin=(f"cleanup={tmp_path / 'done'}",))

    assert told["schema"]["value"] == "Python SDK"
    assert len(told["sync"]["value"]) == 500
    assert (tmp_path / "done").exists()
    assert time.monotonic() - began_s < 60
