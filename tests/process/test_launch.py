"""Starting and stopping real plugin processes."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.installing import ProtocolIncompatible
from aperio_cli.errors.running import (
    HandshakeAddressRefused,
    HandshakeMalformed,
    HandshakeTimeout,
    HandshakeTooLong,
    PluginCrashed,
    PluginExitedEarly,
    PluginNotHealthy,
)
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import RunningPlugin, launch
from aperio_cli.host.lifecycle import Action, Patience, Phase
from aperio_cli.host.process.floods import Chatter
from aperio_cli.host.run import Run
from tests.clearances import cleared

from .conftest import (
    LIBRARY,
    PLUGINS,
    Host,
    descriptors_from_1024_on,
    development,
    is_alive,
    processes_below,
    wait_until,
)

if TYPE_CHECKING:
    from aperio_cli.host.lifecycle import Event
    from aperio_cli.models.artifact import DevelopmentBuild


FORKED = pytest.mark.usefixtures("forked_plugins")
"""For what is about a plugin that was started already; all else here starts one."""


async def read_all(plugin: RunningPlugin, cursor: bytes = b"") -> list[Any]:
    return [message async for message in plugin.connector.sync(Invocation(), cursor)]


# ── a plugin that behaves ─────────────────────────────────────────────────────────────────────────


def test_a_plugin_answers_calls_and_is_gone_afterwards(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> tuple[int, str, int]:
        assert plugin.phase is Phase.READY
        schema = await plugin.connector.schema(Invocation())
        return plugin.pid, schema.name, len(await read_all(plugin, b"5"))

    pid, name, messages = host.run("bare", use)

    assert (name, messages) == ("Bare", 2)
    assert not is_alive(pid)


@pytest.mark.parametrize("simulator", ["bare", "with_sdk"])
def test_a_host_with_more_descriptors_than_select_knows_starts_plugins(
    host: Host, simulator: str
) -> None:
    async def use(plugin: RunningPlugin) -> str:
        return str((await plugin.connector.schema(Invocation())).name)

    with descriptors_from_1024_on():
        assert host.run(simulator, use)

    assert [record.message for record in host.logs if record.level == "error"] == []


def test_every_start_says_what_is_not_enforced_and_that_it_is_under_development(host: Host) -> None:
    host.run("bare")

    assert host.messages()[:2] == [
        "development: `acme/box` runs unsigned and unchecked",
        "not enforced: cpu memory egress processes tmp isolation",
    ]


# No step of an end has to be waited for in vain, however long that would be.
UNHURRIED = Patience(
    handshake_s=60, health_s=60, shutdown_s=60, exit_s=60, terminate_s=60, drain_s=60
)


@FORKED
def test_a_stop_lets_the_plugin_clean_up_and_takes_no_time(host: Host) -> None:
    host.options["patience"] = UNHURRIED

    async def use(_plugin: RunningPlugin) -> float:
        return time.monotonic()

    began_s = host.run("bare", use)

    assert time.monotonic() - began_s < 30
    assert all(record.level != "error" for record in host.logs)


@FORKED
def test_a_plugin_of_another_kind_is_not_called_as_a_connector(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await plugin.connector.schema(Invocation())

    with pytest.raises(UsageError, match="is a destination, not a connector"):
        host.run(development(PLUGINS / "bare.py", kind="destination"), use)


@FORKED
def test_a_plugin_with_a_newer_minor_version_runs(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> tuple[int, list[str | None]]:
        schema = await plugin.connector.schema(Invocation())
        items = [message.WhichOneof("item") for message in await read_all(plugin)]
        return schema.interface.minor, items

    assert host.run("newer_minor", use) == (99, [None, "batch"])


# ── what a plugin finds around itself ─────────────────────────────────────────────────────────────


def reported(host: Host, **changes: Any) -> dict[str, Any]:
    async def use(plugin: RunningPlugin) -> Any:
        return json.loads((await plugin.connector.schema(Invocation())).description)

    found = host.run(development(PLUGINS / "reports.py", **changes), use)
    assert isinstance(found, dict)
    return found


def test_nothing_of_the_hosts_environment_reaches_a_plugin(host: Host) -> None:
    found = reported(host)

    assert set(found["environment"]) - {"LC_CTYPE"} == {
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
    assert "hunter2" not in json.dumps(found)


def test_a_plugin_lives_in_a_private_folder_and_a_session_of_its_own(host: Host) -> None:
    found = reported(host)

    assert Path(found["folder"]).parent.parent == host.runtime_base
    assert found["environment"]["HOME"] == found["folder"]
    assert found["is_session_leader"]


def test_open_files_are_limited_and_core_dumps_are_off(host: Host) -> None:
    found = reported(host)

    assert (found["open_files"], found["core"]) == (256, 0)


def test_a_plugin_gains_no_privileges_and_the_host_keeps_its_own(host: Host) -> None:
    status = Path("/proc/self/status")
    before = status.read_text().partition("NoNewPrivs:")[2].split()[0]

    found = reported(host)

    assert found["no_new_privileges"]
    assert status.read_text().partition("NoNewPrivs:")[2].split()[0] == before


def test_a_plugin_inherits_no_descriptor_but_the_lifeline(host: Host) -> None:
    found = reported(host)

    assert found["descriptors"] == 5  # 0, 1, 2, the lifeline, and the folder it lists them in


# ── a plugin that does not start ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "error", "code", "evidence"),
    [
        ("noise_first", HandshakeMalformed, "handshake-malformed", "loading 3 rules"),
        ("exits_at_once", PluginExitedEarly, "plugin-exited-early", "exit status 1"),
        ("floods_stdout", HandshakeTooLong, "handshake-too-long", "at most 65536 bytes"),
        ("unhealthy", PluginNotHealthy, "plugin-not-healthy", "expected SERVING"),
    ],
)
def test_a_plugin_that_does_not_start_is_told_apart(
    host: Host, name: str, error: type[Any], code: str, evidence: str
) -> None:
    with pytest.raises(error) as caught:
        host.run(name)

    assert (caught.value.code, caught.value.exit_status) == (code, 5)
    assert evidence in caught.value.why
    assert caught.value.what.startswith("`acme/box` 1.2.0")
    assert caught.value.next


def test_an_early_exit_shows_the_last_lines_of_stderr_without_control_characters(
    host: Host,
) -> None:
    with pytest.raises(PluginExitedEarly) as caught:
        host.run("exits_at_once")

    assert "cannot find the rules: /etc/rules" in caught.value.why
    assert "\x1b" not in caught.value.why


def test_a_plugin_that_hangs_is_stopped_at_the_deadline(host: Host) -> None:
    # Long enough for what it writes first, on a busy machine too.
    host.options["patience"] = Patience(handshake_s=3, drain_s=0.3)

    with pytest.raises(HandshakeTimeout) as caught:
        host.run("hangs")

    assert (caught.value.code, caught.value.exit_status) == ("handshake-timeout", 5)
    assert "it is still running" in caught.value.why
    assert "waiting for a lock" in caught.value.why


def prints(folder: Path, script: str) -> DevelopmentBuild:
    """A plugin that does something else with its standard output first."""
    path = folder / "prints.py"
    path.write_text(f"import os, sys, time\nsys.path.insert(0, {str(PLUGINS)!r})\n{script}\n")
    return development(path)


def test_a_plugin_that_begins_its_line_and_does_not_end_it_is_quoted(
    host: Host, tmp_path: Path
) -> None:
    host.options["patience"] = Patience(handshake_s=3, drain_s=0.3)

    with pytest.raises(HandshakeTimeout) as caught:
        host.run(prints(tmp_path, "os.write(1, b'1|1|un\\x1bix'); time.sleep(60)"))

    assert "without an end of the line: 1|1|un" in caught.value.why
    assert "\x1b" not in caught.value.why
    assert "`[host] handshake_timeout_s = 60`" in caught.value.next[-1]


@pytest.mark.parametrize("listens", ["s.listen()", "pass"])
def test_a_plugin_that_answers_nothing_after_its_handshake_is_told_as_that(
    host: Host, tmp_path: Path, listens: str
) -> None:
    host.options["patience"] = Patience(handshake_s=30, health_s=0.5, drain_s=0.3)
    script = f"""
import socket
place = os.environ["PLUGIN_UNIX_SOCKET_DIR"] + "/p"
s = socket.socket(socket.AF_UNIX); s.bind(place); {listens}
os.write(1, f"1|1|unix|{{place}}|grpc|\\n".encode())
time.sleep(600)
"""
    with pytest.raises(PluginNotHealthy) as caught:
        host.run(prints(tmp_path, script))

    assert "no answer within 0.5 s of its handshake" in caught.value.why
    assert "it is still running" in caught.value.why


def test_a_handshake_may_come_byte_by_byte(host: Host, tmp_path: Path) -> None:
    drip = "lambda line, flush: [os.write(1, b'%c' % byte) for byte in line.encode() + b'\\n']"
    host.run(prints(tmp_path, f"import bare; bare.print = {drip}; bare.serve()"))


def test_a_plugin_that_prints_an_empty_line_first_did_not_end(host: Host, tmp_path: Path) -> None:
    """It lives: that it had exited is no cause, nor is there a reason to wait for its time."""
    host.options["patience"] = Patience(handshake_s=30, drain_s=0.3)

    with pytest.raises(HandshakeMalformed, match="is not a handshake") as caught:
        host.run(prints(tmp_path, "print(flush=True); time.sleep(600)"))

    assert "(empty)" in caught.value.why
    assert "it is still running" in caught.value.why


@pytest.mark.parametrize(
    ("limit_s", "advice"), [(0.2, "60`"), (70, "140`"), (400, "600`"), (600, "")]
)
def test_advice_about_a_slow_start_is_more_than_it_had(
    host: Host, monkeypatch: pytest.MonkeyPatch, limit_s: float, advice: str
) -> None:
    host.options["patience"] = Patience(handshake_s=limit_s, drain_s=0.3)
    monkeypatch.setattr(Run, "_left_s", lambda _: 0.2)

    with pytest.raises(HandshakeTimeout) as caught:
        host.run("hangs")

    assert f"start: {limit_s:g} s" in caught.value.why
    assert ("handshake_timeout_s" in caught.value.next[-1]) is bool(advice)
    assert advice in caught.value.next[-1]


def test_another_major_version_is_incompatible_and_names_both(host: Host) -> None:
    with pytest.raises(ProtocolIncompatible) as caught:
        host.run("other_major")

    assert (caught.value.code, caught.value.exit_status) == ("protocol-incompatible", 6)
    assert "Plugin version: 2, Client versions: [1]" in caught.value.why


def test_another_major_version_in_the_manifest_is_incompatible_before_anything_runs(
    host: Host, tmp_path: Path
) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    with pytest.raises(ProtocolIncompatible) as caught:
        host.run(development(script, protocol=(2, 3)))

    assert "2.3" in caught.value.why
    assert "1.0" in caught.value.why
    assert not (tmp_path / "ran").exists()


def test_a_base_folder_too_long_for_sockets_is_named(host: Host) -> None:
    deep = host.runtime_base / ("d" * 60)
    deep.mkdir()
    shallow, host.runtime_base = host.runtime_base, deep

    with pytest.raises(UsageError, match="too long for unix sockets"):
        host.run("bare")

    host.runtime_base = shallow
    assert not list(deep.iterdir())
    deep.rmdir()


@FORKED
@pytest.mark.parametrize("check", ["garbage", "silence", "exit", "unknown"])
def test_a_health_check_that_is_not_passed_is_no_start(
    host: Host, tmp_path: Path, check: str
) -> None:
    host.options["patience"] = Patience(health_s=0.4, drain_s=0.3)
    answer = {
        "garbage": "return b'\\xff'",
        "silence": "threading.Event().wait()",
        "exit": "os._exit(3)",
        "unknown": "context.abort(grpc.StatusCode.NOT_FOUND, 'unknown service')",
    }[check]
    script = tmp_path / "plugin.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare, grpc, os, threading\n"
        "def check(request, context):\n"
        f"    {answer}\n"
        "handler = grpc.unary_unary_rpc_method_handler(check)\n"
        "unary = bare.unary\n"
        "bare.unary = lambda f, r: handler if f is bare.health else unary(f, r)\n"
        "bare.serve()\n"
    )

    with pytest.raises(PluginNotHealthy) as caught:
        host.run(script)

    assert caught.value.why


# ── hostile handshakes ────────────────────────────────────────────────────────────────────────────

_ADDRESSES = {
    "a symbolic link": "os.symlink(OUTSIDE, F + '/x'); a = F + '/x'",
    "a regular file": "open(F + '/x', 'w').close(); a = F + '/x'",
    "a folder": "os.mkdir(F + '/x'); a = F + '/x'",
    "nothing": "a = F + '/x'",
    "another folder": "a = OUTSIDE",
    "a sub-folder": "os.mkdir(F + '/d'); a = F + '/d/x'",
    "a climb": "a = F + '/../plugin/x'",
    "the host's own folder": "a = F + '/../host/kv'",
    "tcp": "network = 'tcp'; a = '127.0.0.1:5432'",
    "tcp with a path": "network = 'tcp'; a = F + '/x'",
    "an abstract name": "a = '@x'",
    "a relative name": "a = 'x'",
}


@pytest.mark.parametrize("how", _ADDRESSES)
def test_a_handshake_that_names_anothers_address_is_refused(
    host: Host, tmp_path: Path, how: str
) -> None:
    outside = host.runtime_base.with_name(f"{host.runtime_base.name}-outside")
    script = tmp_path / "plugin.py"
    script.write_text(
        "import os, threading\n"
        f"OUTSIDE, F, network = {str(outside)!r}, os.environ['PLUGIN_UNIX_SOCKET_DIR'], 'unix'\n"
        f"{_ADDRESSES[how]}\n"
        "os.write(1, f'1|1|{network}|{a}|grpc|\\n'.encode())\n"
        "threading.Event().wait()\n"
    )
    with socket.socket(socket.AF_UNIX) as victim:
        victim.bind(str(outside))
        victim.listen()
        victim.settimeout(0)
        try:
            with pytest.raises(HandshakeAddressRefused) as caught:
                host.run(script)
            with pytest.raises(BlockingIOError):
                victim.accept()
        finally:
            outside.unlink()

    assert (caught.value.code, caught.value.exit_status) == ("handshake-address-refused", 5)


@FORKED
@pytest.mark.parametrize("is_left", [True, False], ids=["link", "nothing"])
def test_a_plugin_that_moves_its_home_is_dialled_nowhere_else(
    host: Host, tmp_path: Path, *, is_left: bool
) -> None:
    """The link that it leaves leads to somebody else's socket of the same name."""
    outside = Path(f"{host.runtime_base}-outside")
    outside.mkdir()
    script = tmp_path / "plugin.py"
    script.write_text(
        "import os, threading\n"
        "F = os.environ['PLUGIN_UNIX_SOCKET_DIR']\n"
        "os.rename(F, F + '-moved')\n"
        + (f"os.symlink({str(outside)!r}, F)\n" if is_left else "")
        + "os.write(1, f'1|1|unix|{F}/x|grpc|\\n'.encode())\n"
        "threading.Event().wait()\n"
    )
    with socket.socket(socket.AF_UNIX) as victim:
        victim.bind(str(outside / "x"))
        victim.listen()
        victim.settimeout(0)
        try:
            with pytest.raises(HandshakeAddressRefused):
                host.run(script)
            with pytest.raises(BlockingIOError):
                victim.accept()
            assert (outside / "x").exists()
        finally:
            shutil.rmtree(outside)

    assert not host.leftovers()


# ── hostile output ────────────────────────────────────────────────────────────────────────────────


@FORKED
def test_whatever_is_on_stderr_does_not_hurt_the_host(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> int:
        return len(await read_all(plugin))

    assert host.run("hostile_stderr", use) == 2

    stderr = [record for record in host.logs if record.stream == "stderr"]
    levels = {record.message: record.level for record in stderr}
    assert levels["5"] == "debug"
    assert levels["by prefix"] == "warn"
    assert levels["goroutine 1 [running]:"] == "error"
    assert sum(record.message.startswith("yyyy") for record in stderr) == 16
    assert all(character not in record.message for record in stderr for character in "\x00\x1b")


@FORKED
def test_streams_that_a_plugin_makes_up_get_it_no_more_lines_in_the_log(host: Host) -> None:
    """Each would else be held in memory, with lines of its own to spare."""
    few = host.options["chatter"] = Chatter(at_once=3_000, a_second=100)

    host.run("many_channels")  # whose stream is read to its end

    printed = [record.message for record in host.logs if record.stream == "stdio"]
    assert printed[0] == "of standard output"
    assert few.at_once - 1_000 < len(printed) < 2 * few.at_once
    assert any(message.startswith("too much was printed: ") for message in host.messages())


@FORKED
def test_what_is_printed_after_the_handshake_is_drained_and_logged(
    host: Host, tmp_path: Path
) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare, os, threading\n"
        "announce = bare.announce\n"
        "def loud(address):\n"
        "    announce(address)\n"
        "    for n in range(64):\n"
        "        os.write(1, b'.' * 16383 + b'\\n')\n"
        "    os.write(1, b'all printed\\n')\n"
        "bare.announce = loud\n"
        "bare.serve()\n"
    )

    async def all_printed(_plugin: RunningPlugin) -> None:
        is_there = functools.partial(wait_until, lambda: "all printed" in host.messages())
        assert await asyncio.to_thread(is_there, within_s=30)

    host.run(script, all_printed)

    printed = [record.message for record in host.logs if record.stream == "stdout"]
    assert len(printed) == 65
    assert printed[-1] == "all printed"


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def test_a_plugin_that_ignores_every_request_is_killed_within_the_bound(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> tuple[int, float]:
        return plugin.pid, time.monotonic()

    pid, began_s = host.run("stubborn", use)

    assert time.monotonic() - began_s < 30
    assert not is_alive(pid)


def test_a_grandchild_that_holds_the_pipes_is_killed_too(host: Host) -> None:
    async def use(_plugin: RunningPlugin) -> float:
        return time.monotonic()

    began_s = host.run("grandchild", use)

    grandchild = next(int(text.split()[1]) for text in host.messages() if "grandchild" in text)
    assert time.monotonic() - began_s < 30
    assert wait_until(lambda: not is_alive(grandchild), within_s=30)


def test_a_grandchild_in_a_session_of_its_own_cannot_hold_up_the_stop(
    host: Host, tmp_path: Path
) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare, subprocess\n"
        "child = subprocess.Popen(['/bin/sleep', '300'], start_new_session=True, env={})\n"
        "print('grandchild', child.pid, file=sys.stderr, flush=True)\n"
        "bare.serve()\n"
    )

    async def use(_plugin: RunningPlugin) -> float:
        return time.monotonic()

    began_s = host.run(script, use)
    taken_s = time.monotonic() - began_s
    os.kill(next(int(text.split()[1]) for text in host.messages() if "child" in text), 9)

    assert taken_s < 30


@FORKED
def test_a_folder_without_permissions_is_removed_all_the_same(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare, os\n"
        "os.makedirs('a/b'); open('a/b/c', 'w').close(); os.symlink('/', 'a/root')\n"
        "os.chmod('a/b', 0); os.chmod('a', 0)\n"
        "bare.serve()\n"
    )

    host.run(script)

    assert not list(host.runtime_base.iterdir())


@FORKED
def test_a_crash_in_a_call_is_told_with_signal_and_last_words(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await read_all(plugin)

    with pytest.raises(PluginCrashed) as caught:
        host.run("crashes", use)

    assert (caught.value.code, caught.value.exit_status) == ("plugin-crashed", 5)
    assert "killed by SIGSEGV" in caught.value.why
    assert "out of rules" in caught.value.why


@FORKED
def test_a_plugin_killed_from_outside_fails_the_call_in_progress(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> float:
        os.kill(plugin.pid, signal.SIGKILL)
        began_s = time.monotonic()
        with pytest.raises(PluginCrashed, match="ended while it was at work"):
            await plugin.connector.schema(Invocation())
        return time.monotonic() - began_s

    assert host.run("bare", use) < 10


@FORKED
def test_an_error_in_the_block_passes_through_and_stops_the_plugin(host: Host) -> None:
    async def use(_plugin: RunningPlugin) -> None:
        raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        host.run("bare", use)


@pytest.mark.parametrize("step", list(Action), ids=lambda step: step.name)
def test_a_cancellation_at_any_step_leaves_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, step: Action
) -> None:
    perform = Run._perform
    tasks: list[asyncio.Task[Any]] = []

    async def interrupting(run: Run, action: Action) -> Event:
        if action is step:
            tasks[0].cancel()
        return await perform(run, action)

    async def main() -> None:
        tasks.append(asyncio.ensure_future(host.use(development(PLUGINS / "stubborn.py"), sleep)))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(tasks[0]), timeout=30)

    async def sleep(_plugin: RunningPlugin) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(Run, "_perform", interrupting)
    began_s = time.monotonic()

    asyncio.run(main())

    assert time.monotonic() - began_s < 30
    assert not host.leftovers()


@FORKED
def test_ctrl_c_in_the_middle_of_a_call_leaves_nothing(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> None:
        async for _message in plugin.connector.sync(Invocation()):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        host.run("bare", use)


_HOST_SCRIPT = """
import asyncio, sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.process.conftest import Host, PLUGINS, development
async def use(plugin):
    print(plugin.pid, flush=True)
    await asyncio.sleep(60)
Host(Path({base!r})).run({name!r}, use)
"""


@pytest.mark.parametrize("name", ["bare", "stubborn", "grandchild"])
def test_a_plugin_dies_with_a_host_that_is_killed(host: Host, name: str) -> None:
    root = Path(__file__).resolve().parents[2]
    code = _HOST_SCRIPT.format(
        path=[str(root), str(LIBRARY)], base=str(host.runtime_base), name=name
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout
        pid = int(other.stdout.readline())
        assert is_alive(pid)

        other.kill()

        assert wait_until(lambda: not is_alive(pid), within_s=30)
    assert wait_until(lambda: not processes_below(host.runtime_base), within_s=30)
    for left in host.runtime_base.iterdir():  # a killed host cannot tidy up
        for path in sorted(left.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        left.rmdir()


@FORKED
def test_two_plugins_run_at_once_and_do_not_mix(host: Host) -> None:
    async def both() -> tuple[int, int]:
        options, log = host.launch_options(), host.logs.append
        old, new = (cleared(development(PLUGINS / f"{n}.py")) for n in ("bare", "newer_minor"))
        async with launch(old, options, log) as first, launch(new, options, log) as second:
            schemas = await asyncio.gather(
                first.connector.schema(Invocation()), second.connector.schema(Invocation())
            )
            return schemas[0].interface.minor, schemas[1].interface.minor

    assert asyncio.run(both()) == (0, 99)


@FORKED
def test_a_descriptor_used_again_does_not_reach_the_former_plugin(host: Host) -> None:
    async def main() -> list[int]:
        minors = []
        for name in ("bare", "newer_minor", "bare"):

            async def use(plugin: RunningPlugin) -> int:
                return (await plugin.connector.schema(Invocation())).interface.minor

            minors.append(await host.use(development(PLUGINS / f"{name}.py"), use))
        return minors

    assert asyncio.run(main()) == [0, 99, 0]
