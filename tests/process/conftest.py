"""A host for real plugin processes, and the check that every test leaves nothing of them behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aperio_plugin
import grpc
import pytest

from aperio_cli.host.launch import LaunchOptions, RunningPlugin, launch
from aperio_cli.host.lifecycle import Patience
from aperio_cli.host.sandbox import unconfined
from aperio_cli.models.artifact import DevelopmentBuild, Interpreter, Project
from aperio_cli.models.manifest import Manifest, Runtime
from aperio_cli.models.plugin_id import PluginId
from tests.clearances import cleared
from tests.forked_plugins import Forking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.models.receipt import Receipt

PLUGINS = Path(__file__).resolve().parents[1] / "simulators" / "plugins"
LIBRARY = Path(aperio_plugin.__file__).resolve().parents[1]
PACKAGES = Path(grpc.__file__).resolve().parents[1]
# To the end only: a start may be slow on a busy machine, and who tests its deadline states one.
HURRIED = Patience(
    handshake_s=30, health_s=30, shutdown_s=1, exit_s=0.3, terminate_s=0.3, drain_s=0.3
)
THIS_PYTHON = Interpreter(
    executable=sys.executable,
    version="{}.{}.{}".format(*sys.version_info[:3]),
    tag=f"cp{sys.version_info[0]}{sys.version_info[1]}",
    base_prefix=sys.base_prefix,
)


def manifest(**changes: Any) -> Manifest:
    """A connector's manifest."""
    document: dict[str, Any] = {
        "id": PluginId("acme", "box"),
        "version": "1.2.0",
        "kind": "connector",
        "provider": "BOX",
        "name": "Box",
        "description": "for tests",
        "license": "MIT",
        "protocol": (1, 0),
        "runtime": Runtime("python", (THIS_PYTHON.tag,)),
        "entrypoint": "box",
        "egress": ("api.box.com:443",),
    }
    return Manifest(**(document | changes))


def development(script: Path, **changes: Any) -> DevelopmentBuild:
    """A script as a project under development; it finds `bare` and the SDK."""
    project = Project(script.parent, manifest(**changes))
    return DevelopmentBuild(project, script, THIS_PYTHON, LIBRARY)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def processes_below(folder: Path) -> list[int]:
    """Living processes whose environment names the folder: the plugins launched in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in environment and is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], *, within_s: float) -> bool:
    """Whether a condition became true in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


@dataclass
class Host:
    """Launches plugins in a folder of its own and keeps what they log."""

    runtime_base: Path
    logs: list[LogRecord] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def launch_options(self) -> LaunchOptions:
        """How this host launches."""
        return LaunchOptions(self.runtime_base, **({"patience": HURRIED} | self.options))

    async def use(self, target: Receipt | DevelopmentBuild, use: Callable[..., Any]) -> Any:
        """Launch, use and stop, on a loop that runs already."""
        async with launch(cleared(target), self.launch_options(), self.logs.append) as plugin:
            return await use(plugin)

    def run(
        self, target: str | Path | Receipt | DevelopmentBuild, use: Callable[..., Any] | None = None
    ) -> Any:
        """Launch, use and stop; a name is a simulator's, a path any script's.

        Args:
            target: what to launch.
            use: gets the running plugin; its result is the result.
        """
        if isinstance(target, str):
            target = PLUGINS / f"{target}.py"
        if isinstance(target, Path):
            target = development(target)
        return asyncio.run(self.use(target, use or nothing))

    def messages(self) -> list[str]:
        """What was logged, in order."""
        return [record.message for record in self.logs]

    def leftovers(self) -> list[str]:
        """Processes and files that a plugin left."""
        files = [str(path) for path in self.runtime_base.rglob("*")]
        return [f"process {pid}" for pid in processes_below(self.runtime_base)] + files


async def nothing(_plugin: RunningPlugin) -> None:
    """What a test does that is only about the launch."""


@contextlib.contextmanager
def descriptors_from_1024_on() -> Iterator[None]:
    """Have what is opened meanwhile be beyond what select(2) knows, as a large host has it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"this process may have {hard} descriptors only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    held = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while held[-1] < 1024:
            held.append(os.dup(held[0]))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def forked_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have plugins in Python be forked, for tests that are not about how one is executed."""
    monkeypatch.setattr(unconfined, "subprocess", Forking)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host, with secrets in its own environment; nothing may be left of its plugins."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("PLUGIN_CLIENT_CERT", "inherited")
    monkeypatch.setenv("PLUGIN_MULTIPLEX_GRPC", "true")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    base = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))  # short: sockets are made below it
    made = Host(base)
    try:
        yield made
        assert wait_until(lambda: not made.leftovers(), within_s=30), made.leftovers()
    finally:
        shutil.rmtree(base)
