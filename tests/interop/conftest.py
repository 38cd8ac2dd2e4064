"""Stock Go programs, our host for them, and the record of what the conformance tests came to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.host.launch import LaunchOptions, RunningPlugin
from aperio_cli.host.lifecycle import Event, Patience
from aperio_cli.host.process.program import Program
from aperio_cli.host.run import Run
from tests.interop.conformance import RESULTS, RESULTS_VARIABLE, ROOT
from tests.process.conftest import forked_plugins, manifest, processes_below, wait_until
from tests.projects import make_project, write
from tests.sharing import linked_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from aperio_cli.host.process.logs import LogRecord

__all__ = ["forked_plugins"]

HERE = Path(__file__).resolve().parent
GO = HERE / "go"
SDK_PLUGIN = HERE / "connector_plugin.py"
# To the end only: a start may be slow on a busy machine, and who tests its deadline states one.
HURRIED = Patience(
    handshake_s=30, health_s=30, shutdown_s=1, exit_s=0.5, terminate_s=0.3, drain_s=0.5
)
PLAIN = "-ldflags=-s -w"  # without the tables of a debugger, half of what is linked
_BUILD_TIMEOUT_S = 110.0
_HOST_TIMEOUT_S = 60.0
_NO_NETWORK = ("dial tcp", "no such host", "module lookup disabled")


# ── stock programs ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Programs:
    """A stock host and a stock plugin, of one version of go-plugin."""

    host: Path
    plugin: Path


def check_go(done: subprocess.CompletedProcess[str]) -> None:
    """Skip when modules are neither in the module cache nor to be had; fail on anything else."""
    if done.returncode and any(sign in done.stderr for sign in _NO_NETWORK):
        pytest.skip("modules are missing from Go's module cache, and there is no network")
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, done.args))}: {done.stderr}")


def go_build(output: Path, *arguments: str, module: Path = GO) -> None:
    """Build programs of a module, `tests/interop/go`; a build that fails shows what Go says."""
    if not shutil.which("go"):
        pytest.skip("Go is not installed")
    done = subprocess.run(
        ["go", "build", "-buildvcs=false", "-trimpath", "-o", f"{output}", *arguments],
        cwd=module,
        env=os.environ | {"CGO_ENABLED": "0"},
        capture_output=True,
        timeout=_BUILD_TIMEOUT_S,
        check=False,
        text=True,
    )
    check_go(done)


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Host and plugin on the newest go-plugin that the module file names."""
    programs = (PLAIN, "./host", "./plugin")
    folder = linked_once(tmp_path_factory, "stock", lambda folder: go_build(folder, *programs))
    return Programs(folder / "host", folder / "plugin")


@pytest.fixture(scope="session")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The same on go-plugin 1.0.1."""
    programs = (PLAIN, "-modfile=legacy.mod", "-tags=legacy", "./host", "./plugin")
    folder = linked_once(tmp_path_factory, "legacy", lambda folder: go_build(folder, *programs))
    return Programs(folder / "host", folder / "plugin")


# ── P: a stock host with a plugin of ours ─────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Told:
    """What a stock host told: the steps in order, and the end."""

    steps: list[dict[str, Any]]
    stderr: str

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The last step of a name."""
        return next(step for step in reversed(self.steps) if step["step"] == name)

    def error(self, name: str) -> str:
        """The error of a step, or empty."""
        return str(self[name].get("error", ""))

    @property
    def end(self) -> dict[str, Any]:
        """What the host had collected."""
        value: dict[str, Any] = self["end"]["value"]
        return value

    def log(self, level: str) -> list[dict[str, Any]]:
        """The host's log records of one level."""
        return [record for record in self.end["log"] or () if record["@level"] == level]


@dataclass
class StockHost:
    """Runs a stock Go host with the Python plugin; sockets are made in `folder`."""

    program: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, steps: str, *options: str, plugin: tuple[str, ...] = ()) -> list[str]:
        """The argument vector of the host."""
        script = [sys.executable, "-B", str(SDK_PLUGIN), *plugin]
        return [str(self.program), f"-steps={steps}", *options, "--", *script]

    def full_environment(self) -> dict[str, str]:
        """What the host, and so the plugin, finds in its environment."""
        inherited = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder)}
        return inherited | {"PLUGIN_UNIX_SOCKET_DIR": str(self.folder)} | self.environment

    def run(self, steps: str, *options: str, plugin: tuple[str, ...] = ()) -> Told:
        """Do the steps and collect what the host tells."""
        done = subprocess.run(
            self.command(steps, *options, plugin=plugin),
            env=self.full_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_HOST_TIMEOUT_S,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return Told([json.loads(line) for line in done.stdout.splitlines()], done.stderr)


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder with a short path; nothing of a plugin may be left that names it."""
    folder = Path(tempfile.mkdtemp(prefix="io", dir="/tmp"))
    try:
        yield folder
        assert wait_until(lambda: not processes_below(folder), within_s=30)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def stock_host(stock: Programs, socket_folder: Path) -> StockHost:
    """The newest stock host."""
    return StockHost(stock.host, socket_folder)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder under development whose plugin is the Python one; it finds the SDK by path."""
    folder = make_project(tmp_path / "box")
    packages = [*site.getsitepackages(), str(ROOT / "sdk" / "python")]
    code = f"import runpy, sys; sys.path[:0] = {packages!r}\n"
    write(folder, "plugin.py", f"{code}runpy.run_path({str(SDK_PLUGIN)!r}, run_name='__main__')\n")
    return folder


# ── H: our host with a stock plugin ───────────────────────────────────────────────────────────────


@dataclass
class OurHost:
    """Runs a stock Go plugin with our host, and keeps what is logged."""

    plugin: Path
    runtime_base: Path
    logs: list[LogRecord] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def program(self, *arguments: str) -> Program:
        """The stock plugin with arguments."""
        return Program(
            subject="`acme/box` 1.2.0",
            plugin_id="acme/box",
            version="1.2.0",
            kind="connector",
            provider="BOX",
            arguments=(str(self.plugin), *arguments),
            binary=self.plugin,
            manifest=manifest(),
            state_owner="acme/box",
        )

    def start(self, *arguments: str) -> Run:
        """A run that has not begun."""
        options = LaunchOptions(self.runtime_base, **({"patience": HURRIED} | self.options))
        return Run(self.program(*arguments), options, self.logs.append)

    @contextlib.asynccontextmanager
    async def launched(self, *arguments: str) -> AsyncIterator[RunningPlugin]:
        """The running plugin, as `launch` gives it."""
        run = self.start(*arguments)
        try:
            await run.drive(Event.START)
            yield RunningPlugin(run)
        finally:
            await run.stop()

    def run(
        self,
        *arguments: str,
        use: Callable[[RunningPlugin], Coroutine[Any, Any, Any]] | None = None,
    ) -> Any:
        """Launch, use and stop."""

        async def main() -> Any:
            async with self.launched(*arguments) as plugin:
                return await use(plugin) if use else None

        return asyncio.run(main())

    def messages(self, stream: str = "") -> list[str]:
        """What was logged, in order, of one stream or of all."""
        return [record.message for record in self.logs if stream in {"", record.stream}]


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that other tasks of the loop bring about."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)


@pytest.fixture
def our_host(stock: Programs, monkeypatch: pytest.MonkeyPatch) -> Iterator[OurHost]:
    """Our host, with secrets in its own environment; nothing may be left of its plugins."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("PLUGIN_CLIENT_CERT", "inherited")
    monkeypatch.setenv("PLUGIN_MULTIPLEX_GRPC", "true")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    base = Path(tempfile.mkdtemp(prefix="io", dir="/tmp"))
    try:
        yield OurHost(stock.plugin, base)
        assert wait_until(lambda: not processes_below(base), within_s=30)
        assert not list(base.iterdir())
    finally:
        shutil.rmtree(base)


# ── the record ────────────────────────────────────────────────────────────────────────────────────

_WORST = ("", "passed", "skipped", "failed")
_outcomes: dict[str, dict[str, str]] = {}
_record = os.environ.get(RESULTS_VARIABLE) == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Notes the outcome of each test that covers an item."""
    report = yield
    for mark in item.iter_markers("conformance"):
        number, direction = mark.args
        tests = _outcomes.setdefault(f"{number}{direction}", {})
        if report.when == "call" or report.outcome != "passed":
            name = item.name.partition("[")[0]
            tests[name] = max(tests.get(name, ""), report.outcome, key=_WORST.index)
    return report


def pytest_sessionfinish() -> None:
    """Writes the record when it was asked for."""
    if not _record:
        return
    document = {
        "go_plugin": _version("go.mod"),
        "go_plugin_old": _version("legacy.mod"),
        "outcomes": {key: dict(sorted(_outcomes[key].items())) for key in sorted(_outcomes)},
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _version(name: str) -> str:
    lines = (GO / name).read_text(encoding="utf-8").splitlines()
    return next(line.split()[1] for line in lines if "hashicorp/go-plugin " in line).lstrip("v")
