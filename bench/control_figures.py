"""What the control API of a host costs: a call against a bare one, a sync against `plugin run`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from figures import TIMEOUT_S, Figure, paired

from aperio_cli.errors import AperioError
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.control.client import connect
from aperio_cli.host.launch import LaunchOptions, launch
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.wire.channel import grpc_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aperio_cli.verifying import Cleared

CALLS: Final = 1_000
EVENTS: Final = 400_000

_HERE: Final = Path(__file__).resolve().parent
_APERIO: Final = Path(sys.executable).with_name("aperio")
_PLUGIN: Final = "bench/bench-connector"
_START_S: Final = 60.0


def measure(
    clear: Callable[[], Cleared], options: LaunchOptions, environment: dict[str, str], rounds: int
) -> list[Figure]:
    """Every figure, of a real host of its own process.

    Args:
        clear: leave to start the plugin here, for calls without the API.
        options: how.
        environment: of the home that the plugin is installed in.
        rounds: how often a sync is measured.
    """
    with _hosting(environment) as socket:
        with _bare_server() as bare:
            calls = asyncio.run(_calls(clear, options, socket, bare))
        return [*calls, _sync(socket, environment, rounds)]


@contextlib.contextmanager
def _hosting(environment: dict[str, str]) -> Iterator[Path]:
    """Give the socket of a host that keeps the plugin up."""
    record = Path(environment["APERIO_HOME"]) / "host" / "host.json"
    command = [str(_APERIO), "host", "run", "--all"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as host:
        try:
            yield _answering(record, host)
        finally:
            host.terminate()
            host.wait(TIMEOUT_S)


def _answering(record: Path, host: subprocess.Popen[bytes]) -> Path:
    """Wait until a host answers, and its plugin is up; return its socket."""
    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s and host.poll() is None:
        with contextlib.suppress(OSError, ValueError, AperioError):  # it is just starting
            socket = Path(json.loads(record.read_text())["socket"])
            if asyncio.run(_is_up(socket)):
                return socket
        time.sleep(0.1)
    raise RuntimeError(f"the host does not answer; exit status {host.returncode}")


async def _is_up(socket: Path) -> bool:
    async with connect(socket) as client:
        found = [status for _, statuses in await client.plugins() for status in statuses]
    return any(status.phase is Phase.READY for status in found)


# ── calls ─────────────────────────────────────────────────────────────────────────────────────────


async def _calls(
    clear: Callable[[], Cleared], options: LaunchOptions, socket: Path, bare: str
) -> list[Figure]:
    import grpc.aio
    from aperio_plugin.wire import control_pb2

    call = control_pb2.Call(plugin=_PLUGIN, organization_id="local", integration_id="local")
    tested = control_pb2.TestConnectionRequest(call=call)
    async with (
        connect(socket) as host,
        grpc.aio.insecure_channel(f"unix:{bare}") as channel,
        launch(clear(), options, lambda _record: None) as plugin,
    ):
        method: Any = channel.unary_unary("/bare.Bare/Call")
        took = await _taking_turns(
            lambda: method(b"", timeout=30),
            host.host,
            lambda: plugin.connector.test_connection(Invocation()),
            lambda: host.unary("TestConnection", tested),
        )
    alone, asked, direct, through = took
    words = f"{alone * 1e6:.0f} µs bare"
    return [
        Figure(
            name=f"control API: p50 of {CALLS:,} calls of GetHost, to bare ones of grpc.aio",
            value=asked / alone,
            at_most=1.5,
            detail=f"{asked * 1e6:.0f} µs to {words}",
        ),
        Figure(
            name="control API: what a call to a plugin takes beyond the two calls that it is",
            value=(through - direct - alone) / alone,
            at_most=0.5,
            detail=f"{through * 1e6:.0f} µs, {direct * 1e6:.0f} µs without it, {words}",
        ),
    ]


async def _taking_turns(*calls: Callable[[], Awaitable[object]]) -> list[float]:
    """Return the median seconds of each call; they take turns."""
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(CALLS):
        for call, seconds in zip(calls, took, strict=True):
            began_s = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - began_s)
    return [statistics.median(seconds) for seconds in took]


@contextlib.contextmanager
def _bare_server() -> Iterator[str]:
    """Give the socket of a bare server of its own process."""
    with tempfile.TemporaryDirectory(prefix="bare", dir="/tmp") as folder:
        command = [sys.executable, str(_HERE / "bare_server.py"), f"{folder}/s"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            if server.stdout and server.stdout.readline() != "ready\n":
                raise RuntimeError("the bare server does not start")
            yield f"{folder}/s"
            server.communicate(timeout=TIMEOUT_S)


# ── sync ──────────────────────────────────────────────────────────────────────────────────────────


def _sync(socket: Path, environment: dict[str, str], rounds: int) -> Figure:
    """Events a second through the API, against the lines of `plugin run … sync` in a pipe.

    The readers of both only count: one of them lines, the other reads the receipt.
    """
    ours, piped = paired(lambda: asyncio.run(_through(socket)), lambda: _piped(environment), rounds)
    return Figure(
        name=f"control API: a sync of {EVENTS:,} dicts, to `plugin run` into a pipe",
        value=ours / piped,
        at_least=0.9,
        detail=f"{ours:,.0f}/s to {piped:,.0f}/s",
    )


async def _through(socket: Path) -> float:
    import grpc.aio
    from aperio_plugin.wire import control_pb2

    settings = json.dumps({"count": EVENTS, "records": "dict"}).encode()
    call = control_pb2.Call(
        plugin=_PLUGIN, organization_id="local", integration_id="local", config_json=settings
    )
    request = control_pb2.SyncRequest(call=call).SerializeToString()
    last = b""
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=grpc_options()) as channel:
        method: Any = channel.unary_stream("/aperio.host.v1.HostService/Sync")
        began_s = time.perf_counter()
        async for message in method(request):
            last = message
        took_s = time.perf_counter() - began_s
    sent = control_pb2.SyncResponse.FromString(last).receipt.sent
    if sent != EVENTS:
        raise RuntimeError(f"{sent} events")
    return EVENTS / took_s


def _piped(environment: dict[str, str]) -> float:
    """Lines a second, from the start of the program to its end."""
    command = [str(_APERIO), "plugin", "run", _PLUGIN, "sync"]
    settings = ["--set", f"count={EVENTS}", "--set", "records=dict"]
    began_s = time.perf_counter()
    with subprocess.Popen(
        [*command, *settings],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        count = sum(1 for _ in process.stdout or ())
    if count != EVENTS or process.returncode:
        raise RuntimeError(f"{count} lines, exit status {process.returncode}")
    return count / (time.perf_counter() - began_s)
