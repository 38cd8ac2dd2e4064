"""The Go SDK: its own tests, its plugins under our host, and its host package with our plugins."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.archive import writing
from aperio_cli.data.state import StateDatabase
from aperio_cli.errors.running import PluginCrashed, PluginReportedError, PluginUnauthenticated
from aperio_cli.host.calls.invocation import Invocation
from tests.builders import Machine, manifest_bytes, new_machine, write_artifact
from tests.process.conftest import Host, host, is_alive, processes_below, wait_until
from tests.projects import ROOT
from tests.sharing import linked_once

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.models.receipt import Receipt

pytestmark = [pytest.mark.go, pytest.mark.timeout(1800)]

__all__ = ["host"]

SDK_GO = ROOT / "sdk" / "go"
PROGRAMS = ROOT / "tests" / "interop" / "go" / "sdk"
NUMBERS = "acme/numbers"
_GO_TIMEOUT_S = 1500.0
# As it was before each test's environment is made: Go's caches are found by these.
_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name in {"PATH", "HOME"} or (name.startswith("GO") and name not in {"GOOS", "GOARCH"})
}


def go(folder: Path, *arguments: str, cgo: bool = False) -> str:
    """Run a Go command; gives its output, fails with it."""
    if not shutil.which("go", path=_ENVIRONMENT["PATH"]):
        pytest.skip("Go is not installed")
    done = subprocess.run(
        ["go", *arguments],
        cwd=folder,
        env=_ENVIRONMENT | {"CGO_ENABLED": "1" if cgo else "0"},
        capture_output=True,
        text=True,
        timeout=_GO_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ── the SDK's own tests ───────────────────────────────────────────────────────────────────────────


def test_the_plugin_that_the_readme_shows_compiles(tmp_path: Path) -> None:
    text = (SDK_GO / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```go\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "main.go").write_text(shown)
    go(SDK_GO, "vet", str(tmp_path / "main.go"))


def test_go_sdk_passes_its_tests() -> None:
    go(SDK_GO, "test", "./...")


@pytest.mark.slow
def test_go_sdk_passes_its_tests_under_the_race_detector() -> None:
    if not shutil.which("gcc"):
        pytest.skip("the race detector needs a C compiler")
    go(SDK_GO, "test", "-race", "-count=1", "./...", cgo=True)


@pytest.mark.slow  # Go compiles its own library for each of them first
@pytest.mark.parametrize("system", ["darwin", "windows"])
def test_go_sdk_compiles_for_other_systems(system: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_ENVIRONMENT, "GOOS", system)
        go(SDK_GO, "build", "./...")


def test_every_file_of_the_host_package_is_small_enough_to_be_read_at_one_sitting() -> None:
    paths = [path for path in (SDK_GO / "host").glob("*.go") if not path.name.endswith("_test.go")]
    assert paths
    assert max(len(path.read_text().splitlines()) for path in paths) <= 320


def test_go_protobuf_code_is_what_the_protos_generate(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_go", ROOT / "proto" / "generate_go.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = generator  # its dataclass looks there
    spec.loader.exec_module(generator)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        try:
            for code in generator.ALL:
                generator.generate(code, tmp_path / code.output.name)
        except generator.GeneratorMissing as missing:
            pytest.skip(str(missing))
    for code in generator.ALL:
        fresh, kept = (
            {path.relative_to(folder): path.read_text() for path in folder.rglob("*.go")}
            for folder in (tmp_path / code.output.name, code.output)
        )
        assert fresh == kept
        assert kept


# ── its plugins under our host ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Programs:
    """The programs of `tests/interop/go/sdk`."""

    host: Path
    plugin: Path


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Without the tables of a debugger: they are half of what is linked, packed and hashed."""

    def compile_both(folder: Path) -> None:
        flags = ("-trimpath", "-ldflags=-s -w")
        go(PROGRAMS, "build", *flags, "-o", str(folder), "./host", "./plugin")

    folder = linked_once(tmp_path_factory, "go-sdk", compile_both)
    return Programs(folder / "host", folder / "plugin")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Of them all: none of the tests changes what is installed."""
    return new_machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def numbers(machine: Machine, programs: Programs) -> Receipt:
    """The connector made with the Go SDK, signed and installed."""
    return install_numbers(machine, programs)


def install_numbers(machine: Machine, programs: Programs) -> Receipt:
    """Sign and install the connector made with the Go SDK."""
    manifest = manifest_bytes(
        id=NUMBERS, provider="NUMBERS", name="Numbers", entrypoint="numbers", state="true"
    )
    members = [
        writing.Member("manifest.yaml", manifest),
        writing.Member("LICENSE", b"MIT\n"),
        writing.Member("bin/numbers", programs.plugin.read_bytes(), executable=True),
    ]
    artifact = write_artifact(machine.root / "dist", members)
    return machine.install(machine.attest(machine.sign(artifact))).receipt


@pytest.fixture
def go_host(host: Host, machine: Machine, tmp_path: Path) -> Iterator[Host]:
    """Our host, for what the machine has installed, with a state of its own."""
    host.options["store"] = machine.store
    with StateDatabase(tmp_path / "state.db") as state:
        host.options["state"] = state
        yield host


def settings(**values: Any) -> Invocation:
    return Invocation(config_json=json.dumps(values).encode())


async def sync(plugin: RunningPlugin, cursor: bytes = b"", **values: Any) -> list[str]:
    """What came, in order: events one by one, checkpoints with their cursor."""
    came: list[str] = []
    async for message in plugin.connector.sync(settings(**values), cursor):
        came += [event.source_event_id for event in message.batch.events]
        if message.HasField("checkpoint"):
            came.append(f"checkpoint {message.checkpoint.cursor.decode()}")
    return came


def wanted(first: int, count: int) -> list[str]:
    """What a sync of `count` numbers gives from the number `first` on."""
    came: list[str] = []
    for number in range(first, count):
        came.append(f"number-{number}")
        if number % 100 == 99:
            came.append(f"checkpoint {number + 1}")
    return came


def test_a_go_plugin_declares_tests_and_syncs_from_any_checkpoint(
    go_host: Host, numbers: Receipt
) -> None:
    async def use(plugin: RunningPlugin) -> None:
        assert (await plugin.connector.schema(Invocation())).name == "Numbers"
        assert (await plugin.connector.test_connection(settings())).ok
        assert await sync(plugin, count=1000) == wanted(0, 1000)
        assert await sync(plugin, b"700", count=1000) == wanted(700, 1000)

    go_host.run(numbers, use)


def test_a_go_plugin_says_no_as_data(go_host: Host, numbers: Receipt) -> None:
    async def use(plugin: RunningPlugin) -> None:
        answer = await plugin.connector.test_connection(settings(mode="refuse"))
        assert not answer.ok
        assert [(item.code, item.summary) for item in answer.diagnostics] == [
            ("permission-denied", "no")
        ]
        with pytest.raises(PluginUnauthenticated):
            await sync(plugin, mode="unauthenticated", count=3)

    go_host.run(numbers, use)


@pytest.mark.parametrize("mode", ["panic", "error"])
def test_a_bug_in_a_go_plugin_is_internal_and_one_error_record(
    go_host: Host, numbers: Receipt, mode: str
) -> None:
    async def use(plugin: RunningPlugin) -> str:
        with pytest.raises(PluginReportedError) as caught:
            await plugin.connector.test_connection(settings(mode=mode))
        assert (await plugin.connector.test_connection(settings())).ok
        return str(caught.value) + caught.value.why

    told = go_host.run(numbers, use)
    assert "s3cret" not in told
    (record,) = [record for record in go_host.logs if record.level == "error"]
    assert record.message == "the plugin failed"
    assert ("main.go" in str(dict(record.fields).get("traceback", ""))) == (mode == "panic")


def test_a_panic_in_mid_sync_keeps_the_events_before_it(go_host: Host, numbers: Receipt) -> None:
    async def use(plugin: RunningPlugin) -> None:
        came: list[str] = []

        async def take() -> None:
            async for message in plugin.connector.sync(settings(mode="panic", count=150)):
                came.extend(event.source_event_id for event in message.batch.events)

        with pytest.raises(PluginReportedError):
            await take()
        assert len(came) == 150

    go_host.run(numbers, use)


def test_what_a_go_plugin_prints_and_logs_arrives(go_host: Host, numbers: Receipt) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await plugin.connector.test_connection(settings(mode="print"))

    go_host.run(numbers, use)
    told = {record.message: record for record in go_host.logs}
    assert {"printed", "without an end", "logged", "hclogged"} <= set(told)
    assert (told["logged"].level, told["hclogged"].level) == ("warn", "error")
    assert dict(told["logged"].fields)["n"] == "7"
    assert dict(told["logged"].fields)["organization_id"] == "local"


def test_the_last_of_many_prints_of_a_go_plugin_arrives_though_it_is_stopped_at_once(
    go_host: Host, numbers: Receipt
) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await plugin.connector.test_connection(settings(mode="print", count=5000))

    go_host.run(numbers, use)
    told = [record.message for record in go_host.logs if record.message.startswith("line ")]
    assert told == [f"line {number}" for number in range(5000)]
    assert "without an end" in {record.message for record in go_host.logs}


def test_a_go_plugin_sees_no_variable_of_the_handshake_or_the_host(
    go_host: Host, numbers: Receipt
) -> None:
    async def use(plugin: RunningPlugin) -> set[str]:
        answer = await plugin.connector.test_connection(settings(mode="environment"))
        return {line.partition("=")[0] for line in answer.account}

    assert go_host.run(numbers, use) <= {
        "PATH",
        "LANG",
        "HOME",
        "TMPDIR",
        "APERIO_HOST_SOCKET",
        "APERIO_PLUGIN_LOG_LEVEL",
    }


def test_a_go_plugin_uses_the_key_value_store(go_host: Host, numbers: Receipt) -> None:
    async def use(plugin: RunningPlugin) -> dict[str, str]:
        answer = await plugin.connector.test_connection(settings(mode="state"))
        assert answer.ok, answer
        return dict(answer.account)

    assert go_host.run(numbers, use) == {"stored": "v 0", "conflict": "true"}


def test_a_cancelled_sync_ends_in_the_go_plugin(
    go_host: Host, numbers: Receipt, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"

    async def use(plugin: RunningPlugin) -> None:
        request = settings(count=10_000_000, path=str(mark))
        messages = plugin.connector.sync(request)
        async for _ in messages:
            break
        await messages.aclose()
        assert await asyncio.to_thread(wait_until, mark.exists, within_s=10)
        assert (await plugin.connector.test_connection(settings())).ok

    go_host.run(numbers, use)
    assert not [record for record in go_host.logs if record.level == "error"]


@pytest.mark.parametrize("mode", ["wait", "stuck"])
def test_a_go_plugin_stops_in_the_middle_of_a_sync(
    go_host: Host, numbers: Receipt, mode: str
) -> None:
    async def use(plugin: RunningPlugin) -> int:
        messages = plugin.connector.sync(settings(mode=mode, count=1))
        async for _ in messages:
            break
        with contextlib.suppress(PluginCrashed):
            await messages.aclose()
        return plugin.pid

    pid = go_host.run(numbers, use)
    assert not is_alive(pid)
    assert not [record for record in go_host.logs if "killed" in record.message]


# ── the SDK's processes without a host of ours ────────────────────────────────────────────────────


COOKIE = {"APERIO_PLUGIN_MAGIC_COOKIE": "aperio-plugin-v1", "PLUGIN_PROTOCOL_VERSIONS": "1"}


def start(
    program: Sequence[str | Path], folder: Path, **more: Any
) -> tuple[subprocess.Popen[bytes], str]:
    """A plugin's process, and the line of its handshake."""
    process = subprocess.Popen(
        program,
        env=COOKIE | {"TMPDIR": str(folder), "PLUGIN_UNIX_SOCKET_DIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **more,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().decode()


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="io", dir="/tmp"))
    try:
        yield made
        assert wait_until(lambda: not processes_below(made), within_s=30)
    finally:
        shutil.rmtree(made)


def test_a_go_plugin_ends_cleanly_at_sigterm_and_ignores_sigint(
    programs: Programs, folder: Path
) -> None:
    process, line = start([programs.plugin], folder)
    with process:
        assert line.split("|")[:3] == ["1", "1", "unix"]
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not list(folder.iterdir())


def test_a_go_plugin_dies_with_its_host(programs: Programs, folder: Path) -> None:
    relay = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([{str(programs.plugin)!r}]);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process, line = start([sys.executable, "-c", relay], folder)
    with process:
        assert process.stdout is not None
        lines = [line, process.stdout.readline().decode()]
        (pid,) = [int(text) for text in lines if text.strip().isdigit()]
        process.kill()
        process.wait(30)
        assert wait_until(lambda: not is_alive(pid), within_s=30)
    assert not list(folder.iterdir())


def test_a_go_plugin_ends_when_its_lifeline_does(programs: Programs, folder: Path) -> None:
    read, write = os.pipe()
    script = f'APERIO_HOST_LIFELINE={read} exec "$0"'
    program = ["/bin/sh", "-c", script, str(programs.plugin)]
    process, _line = start(program, folder, pass_fds=(read,))
    with process:
        os.close(read)
        os.close(write)
        assert process.wait(30) == 0


def test_a_go_plugin_started_by_hand_says_what_it_is(programs: Programs) -> None:
    done = subprocess.run(
        [programs.plugin], env={}, capture_output=True, timeout=10, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "This binary is a plugin" in done.stderr
