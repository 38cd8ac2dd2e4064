"""A plugin's process while it serves, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from aperio_plugin import _output
from sdk_host import COOKIE, PRELUDE, TIMEOUT_S, Launch, stop_by_signal

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP_LIMIT_S = 30.0
"""Half of what it would take when nobody ended it."""

ORPHAN_LIMIT_S = 30.0


def _printed(pieces: Iterator[Any]) -> tuple[bytes, bytes]:
    """Both channels of a stdio stream, read to its end."""
    out, err = b"", b""
    for piece in pieces:
        if piece.channel == _output.STDOUT:
            out += piece.data
        else:
            err += piece.data
    return out, err


# ── print ─────────────────────────────────────────────────────────────────────────────────────────


def test_prints_arrive_in_order_and_unchanged_on_their_channels(launch: Launch) -> None:
    plugin = launch(
        """
        class Printing(Plain):
            def schema(self):
                print("one")
                sys.stdout.write("two, no newline")
                print("three", file=sys.stderr)
                sys.stdout.buffer.write(b"\\xff\\x00raw")
                print("\\udc80 \\N{SNOWMAN}")
                return super().schema()
        connector.serve(Printing())
        """
    )
    pieces = plugin.stdio()
    assert plugin.schema().provider == "X"
    plugin.shut_down()
    out, err = _printed(pieces)
    assert out == b"one\ntwo, no newline\xff\x00raw\\udc80 \xe2\x98\x83\n"
    assert err == b"three\n"


def test_prints_before_the_host_reads_are_kept(launch: Launch) -> None:
    plugin = launch(
        """
        class Printing(Plain):
            def schema(self):
                print("early")
                return super().schema()
        connector.serve(Printing())
        """
    )
    plugin.schema()
    assert next(iter(plugin.stdio())).data == b"early\n"


def test_a_megabyte_of_prints_without_a_reader_blocks_nothing_and_is_counted(
    launch: Launch,
) -> None:
    plugin = launch(
        """
        class Printing(Plain):
            def schema(self):
                for number in range(1500):
                    print("x" * 1023)
                print("the end")
                return super().schema()
        connector.serve(Printing())
        """
    )
    assert plugin.schema().provider == "X"
    pieces = plugin.stdio()
    plugin.health()
    plugin.shut_down()
    out, err = _printed(pieces)
    assert b"bytes of earlier output were dropped" in err
    assert out.endswith(b"the end\n")
    assert len(out) <= _output.KEPT_BYTES


def test_many_small_prints_share_few_messages_and_keep_their_order() -> None:
    printed = _output.Printed()
    for number in range(10_000):
        printed.put(_output.STDOUT, b"%04d\n" % number)
    printed.put(_output.STDERR, b"between")
    printed.put(_output.STDOUT, b"after")
    printed.close()
    pieces = list(printed.read(threading.Event()))
    *lines, between, after = pieces
    assert b"".join(data for _, data in lines) == b"".join(b"%04d\n" % n for n in range(10_000))
    assert len(lines) == 2
    assert all(len(data) <= _output.CHUNK_BYTES for _, data in lines)
    assert between == (_output.STDERR, b"between")
    assert after == (_output.STDOUT, b"after")


def test_a_single_write_beyond_the_limit_keeps_its_end() -> None:
    printed = _output.Printed()
    printed.put(_output.STDOUT, b"a" * _output.KEPT_BYTES + b"end")
    printed.close()
    pieces = list(printed.read(threading.Event()))
    assert pieces[0][0] == _output.STDERR
    assert b"".join(data for channel, data in pieces if channel == _output.STDOUT)[-3:] == b"end"


def test_writing_to_descriptor_1_while_serving_reaches_the_host_as_stderr(launch: Launch) -> None:
    plugin = launch(
        """
        class Printing(Plain):
            def schema(self):
                os.write(1, b"straight\\n")
                ctypes.CDLL(None).puts(b"from C")
                ctypes.CDLL(None).fflush(None)
                import subprocess
                subprocess.run(["/bin/echo", "from a child"], check=True)
                subprocess.run(["/bin/echo", "by fileno"], stdout=sys.stdout, check=True)
                return super().schema()
        connector.serve(Printing())
        """
    )
    assert plugin.schema().provider == "X"
    assert stop_by_signal(plugin) == 0
    for text in (b"straight\n", b"from C\n", b"from a child\n", b"by fileno\n"):
        assert text in plugin.stderr()


def test_a_second_reader_of_stdio_takes_over_when_the_first_is_gone(launch: Launch) -> None:
    plugin = launch(
        """
        class Printing(Plain):
            def schema(self):
                sys.stdout.write("hello\\n")
                return super().schema()
        connector.serve(Printing())
        """
    )
    first = plugin.stdio()
    plugin.schema()
    assert next(iter(first)).data == b"hello\n"
    first.cancel()
    plugin.health()
    second = plugin.stdio()
    for _ in range(2):  # the first may take one more piece before it goes
        plugin.schema()
    assert next(iter(second)).data.startswith(b"hello\n")


# ── many calls ────────────────────────────────────────────────────────────────────────────────────


SLOW = """
class Slow(Plain):
    def sync(self, context, cursor):
        yield event(1)
        context.cancelled.wait(60)
connector.serve(Slow())
"""


def test_health_is_answered_while_the_most_syncs_are_under_way(launch: Launch) -> None:
    plugin = launch(SLOW)
    stdio = plugin.stdio()
    calls = [plugin.sync() for _ in range(64)]
    for call in calls:
        assert len(next(call).batch.events) == 1
    assert plugin.health(timeout_s=2.0) == 1
    one_more = plugin.sync()
    with pytest.raises(grpc.RpcError) as caught:
        next(one_more)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    started = time.monotonic()
    plugin.shut_down()
    assert plugin.wait() == 0
    assert time.monotonic() - started < STOP_LIMIT_S
    stdio.cancel()


def test_health_is_answered_while_author_code_is_busy(launch: Launch) -> None:
    plugin = launch(
        """
        class Busy(Plain):
            def sync(self, context, cursor):
                yield event(1)
                while not context.cancelled.is_set():
                    pass
        connector.serve(Busy())
        """
    )
    call = plugin.sync()
    next(call)
    assert plugin.health(timeout_s=2.0) == 1
    call.cancel()


def test_health_watch_says_serving(launch: Launch) -> None:
    from aperio_plugin._generated.goplugin import goplugin_pb2

    plugin = launch()
    request = goplugin_pb2.HealthCheckRequest(service="plugin")
    answers = plugin.stream(
        "/grpc.health.v1.Health/Watch", request, goplugin_pb2.HealthCheckResponse
    )
    assert next(answers).status == goplugin_pb2.HealthCheckResponse.SERVING
    answers.cancel()


def test_a_watch_of_health_does_not_hold_up_the_end(launch: Launch) -> None:
    from aperio_plugin._generated.goplugin import goplugin_pb2

    plugin = launch()
    request = goplugin_pb2.HealthCheckRequest(service="plugin")
    path, answer = "/grpc.health.v1.Health/Watch", goplugin_pb2.HealthCheckResponse
    answers = plugin.stream(path, request, answer)
    next(answers)
    plugin.shut_down()
    assert list(answers) == []  # an end, not a connection that was cut
    assert plugin.wait(STOP_LIMIT_S) == 0


def test_an_unknown_method_is_unimplemented(launch: Launch) -> None:
    from google.protobuf.empty_pb2 import Empty

    plugin = launch()
    with pytest.raises(grpc.RpcError) as caught:
        plugin.unary("/plugin.GRPCBroker/StartStream", Empty(), Empty)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_request_over_4_mib_is_refused_and_the_plugin_lives(launch: Launch) -> None:
    plugin = launch()
    with pytest.raises(grpc.RpcError) as caught:
        list(plugin.sync(cursor=b"x" * (4 * 1024 * 1024 + 1)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert plugin.health() == 1


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def test_shutdown_answers_and_ends_the_process_without_a_socket(launch: Launch) -> None:
    plugin = launch()
    plugin.health()
    plugin.shut_down()
    assert plugin.wait(STOP_LIMIT_S) == 0
    assert not plugin.socket.exists()


STUCK = """
class Stuck(Plain):
    def schema(self):
        threading.Thread(target=time.sleep, args=(60,)).start()
        print("stuck", flush=True)
        time.sleep(60)
class Swallowing(Stuck):
    def sync(self, context, cursor):
        threading.Thread(target=time.sleep, args=(60,)).start()
        while True:
            try:
                yield event(1)
            except GeneratorExit:
                time.sleep(60)
connector.serve(Swallowing())
"""


def test_shutdown_ends_a_plugin_with_a_stuck_call_and_live_threads(launch: Launch) -> None:
    plugin = launch(STUCK)
    stdio = plugin.stdio()
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(plugin.schema)
        assert next(stdio).data.startswith(b"stuck")
        started = time.monotonic()
        plugin.shut_down()
        assert time.monotonic() - started < STOP_LIMIT_S
        assert plugin.wait() == 0
        assert time.monotonic() - started < STOP_LIMIT_S
        assert stuck.exception(TIMEOUT_S) is not None
    assert not plugin.socket.exists()


def test_sigterm_ends_a_plugin_whose_generator_does_not_let_go(launch: Launch) -> None:
    plugin = launch(STUCK)
    next(plugin.sync())
    started = time.monotonic()
    assert stop_by_signal(plugin) == 0
    assert time.monotonic() - started < STOP_LIMIT_S
    assert not plugin.socket.exists()


def test_sigint_is_left_to_the_host(launch: Launch) -> None:
    plugin = launch()
    plugin.process.send_signal(signal.SIGINT)
    assert plugin.health() == 1
    assert stop_by_signal(plugin) == 0


@pytest.mark.parametrize("by", ["shutdown", "sigterm"])
def test_the_authors_own_cleaning_up_runs(launch: Launch, tmp_path: Path, by: str) -> None:
    plugin = launch(
        f"""
        import atexit, pathlib
        folder = pathlib.Path({str(tmp_path)!r})
        atexit.register(lambda: (folder / "atexit").write_text("done"))
        class Tidy(Plain):
            def sync(self, context, cursor):
                try:
                    while True:
                        yield event(1)
                        context.cancelled.wait(0.01)
                finally:
                    (folder / "finally").write_text(str(context.cancelled.is_set()))
        connector.serve(Tidy())
        """
    )
    next(plugin.sync())
    if by == "shutdown":
        plugin.shut_down()
        assert plugin.wait() == 0
    else:
        assert stop_by_signal(plugin) == 0
    assert (tmp_path / "atexit").read_text() == "done"
    assert (tmp_path / "finally").read_text() == "True"


HOST = """
import json, os, subprocess, sys, time
read, write = os.pipe()
environment = json.loads(sys.argv[2])
fds = ()
if sys.argv[3] == "lifeline":
    environment["APERIO_HOST_LIFELINE"] = str(read)
    fds = (read,)
child = subprocess.Popen(
    [sys.executable, "-I", "-B", sys.argv[1]], env=environment, stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL, pass_fds=fds, start_new_session=True,
)
os.close(read)
print(child.pid, child.stdout.readline().decode(), end="", flush=True)
time.sleep(60)
"""


def _gone(pid: int, within_s: float) -> bool:
    """Whether a process that is nobody's child here ends in time."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        try:  # its state stands behind its name: one that nobody has reaped is gone, too
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state.split()[0] in "ZX":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("lifeline", "limit_s"), [("none", ORPHAN_LIMIT_S), ("lifeline", ORPHAN_LIMIT_S)]
)
def test_a_plugin_dies_with_its_killed_host(
    tmp_path: Path, socket_folder: Path, lifeline: str, limit_s: float
) -> None:
    script = tmp_path / "plugin.py"
    body = textwrap.dedent("connector.serve(Plain())")
    script.write_text(PRELUDE.format(before="") + body, encoding="utf-8")
    environment = json.dumps({**COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(socket_folder)})
    with subprocess.Popen(
        [sys.executable, "-c", HOST, str(script), environment, lifeline], stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline().split()[0])
        assert len(list(socket_folder.iterdir())) == 1
        host.kill()
        assert _gone(pid, limit_s)
    assert not list(socket_folder.iterdir())


def test_the_end_of_the_lifeline_alone_ends_a_plugin(launch: Launch, socket_folder: Path) -> None:
    read, write = os.pipe()
    plugin = launch(
        environment={
            **COOKIE,
            "PLUGIN_UNIX_SOCKET_DIR": str(socket_folder),
            "APERIO_HOST_LIFELINE": str(read),
        },
        pass_fds=(read,),
    )
    os.close(read)
    assert plugin.health() == 1
    os.close(write)
    assert plugin.wait(ORPHAN_LIMIT_S) == 0
    assert not plugin.socket.exists()


@pytest.mark.parametrize("value", ["", "x", "-1", "0", "999", "99999999999999999999"])
def test_a_lifeline_that_is_no_pipe_is_ignored(
    launch: Launch, socket_folder: Path, value: str
) -> None:
    plugin = launch(
        environment={
            **COOKIE,
            "PLUGIN_UNIX_SOCKET_DIR": str(socket_folder),
            "APERIO_HOST_LIFELINE": value,
        }
    )
    assert plugin.health() == 1


def test_a_closed_stderr_neither_kills_nor_loops_the_plugin(launch: Launch) -> None:
    plugin = launch(
        """
        class Logging(Plain):
            def schema(self):
                logging.getLogger("x").error("nobody reads this")
                return super().schema()
        connector.serve(Logging())
        """
    )
    assert plugin.health() == 1
    assert plugin.process.stderr is not None
    os.dup2(os.open(os.devnull, os.O_RDONLY), plugin.process.stderr.fileno())
    for _ in range(3):
        assert plugin.schema().provider == "X"
    assert stop_by_signal(plugin) == 0


@pytest.mark.parametrize("wrong", ["object()", "Plain", "None"])
def test_serving_something_else_is_an_error_before_the_handshake(
    launch: Launch, wrong: str
) -> None:
    plugin = launch(f"connector.serve({wrong})")
    assert plugin.wait() == 1
    assert b"TypeError: serve takes an instance of a Connector" in plugin.stderr()
    assert plugin.handshake == ""


# ── forks ─────────────────────────────────────────────────────────────────────────────────────────

_FORKS = {
    "os.fork": """
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        os.kill(pid, signal.SIGTERM)
        yield event(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """,
    "os.fork and Ctrl-C": """
        pid = os.fork()
        if pid == 0:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)
            except KeyboardInterrupt:
                os._exit(42)
            os._exit(0)
        yield event(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) - 57)
    """,
    "a pool": """
        with context.Pool(2) as pool:
            total = sum(pool.map(abs, range(-5, 1)))
        yield event(-total)
    """,
    "terminate": """
        process = context.Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(10)
        yield event(process.exitcode)
    """,
}


def test_ending_a_fork_does_not_end_the_plugin(launch: Launch) -> None:
    ways = "".join(
        f"def way_{number}(context):\n{textwrap.indent(textwrap.dedent(code), ' ' * 4)}\n"
        for number, code in enumerate(_FORKS.values())
    )
    plugin = launch(
        "import multiprocessing, signal\n"
        f"{ways}\n"
        "class Forking(Plain):\n"
        "    def sync(self, context, cursor):\n"
        "        way = globals()[context.config['way']]\n"
        "        yield from way(multiprocessing.get_context('fork'))\n"
        "connector.serve(Forking())\n",
        anew=True,  # what gRPC makes of forks depends on what it finds when it is imported
    )
    for number, way in enumerate(_FORKS):
        (message,) = plugin.sync(config={"way": f"way_{number}"})
        assert message.batch.events[0].source_event_id == f"e{-signal.SIGTERM}", way
        assert plugin.health() == 1, way
    assert plugin.process.poll() is None
    assert stop_by_signal(plugin) == 0


def test_grpc_leaves_forks_alone_unless_the_host_says_otherwise(launch: Launch) -> None:
    asking = """
        class Asking(Plain):
            def schema(self):
                return connector.Schema(provider=os.environ["GRPC_ENABLE_FORK_SUPPORT"], name="X")
        connector.serve(Asking())
        """

    stated = COOKIE | {"GRPC_ENABLE_FORK_SUPPORT": "1"}
    assert launch(asking, anew=True).schema().provider == "0"
    assert launch(asking, anew=True, environment=stated).schema().provider == "1"


# ── threads that are not the system's ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("patched", ["queue", "socket"])
@pytest.mark.parametrize("then", ["yield event(1)", "yield Checkpoint(b'1')", "return"])
def test_a_sync_in_which_a_library_patches_threads_ends_with_the_reason(
    launch: Launch, patched: str, then: str
) -> None:
    """As one that is first imported there; the host would wait for ever. A socket is no matter."""
    plugin = launch(
        f"""
        class Patching(Plain):
            def sync(self, context, cursor):
                from types import SimpleNamespace
                made = SimpleNamespace(is_module_patched=lambda name: name == {patched!r})
                sys.modules["gevent.monkey"] = made
                {then}
                yield Checkpoint(b"2")
        connector.serve(Patching())
        """
    )
    if patched == "socket":
        assert len(list(plugin.sync())) == (0 if then == "return" else 2)
        return
    with pytest.raises(grpc.RpcError):
        list(plugin.sync())
    assert plugin.wait() == 1
    assert b"gevent has patched `queue` in this process" in plugin.stderr()
