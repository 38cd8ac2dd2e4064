"""One hostile plugin that does as it is told, in a sandbox and without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import LaunchOptions, RunningPlugin, launch
from aperio_cli.host.lifecycle import Patience
from aperio_cli.host.sandbox import groups
from aperio_cli.host.sandbox.choosing import choose_sandbox
from aperio_cli.host.sandbox.unconfined import Unconfined
from aperio_cli.models.artifact import DevelopmentBuild, Interpreter, Project
from aperio_cli.models.limits import Limits
from tests.clearances import cleared
from tests.process.conftest import LIBRARY, PLUGINS, THIS_PYTHON, is_alive, manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.sandbox.interface import Sandbox

DEBIAN_PYTHON = Path("/usr/bin/python3.11")
MIB = 1024**2
PATIENT = Patience(
    handshake_s=60, health_s=30, shutdown_s=1, exit_s=0.3, terminate_s=0.3, drain_s=0.3
)
LIMITS = Limits(memory_bytes=256 * MIB, cpu=2.0, processes=48, open_files=96, tmp_bytes=8 * MIB)


def own_groups() -> set[Path]:
    """The control groups that this process has made and not removed, of version 1."""
    places = groups.look().folders.values()
    return {group for place in places for group in place.glob(f"aperio-{os.getpid()}-*")}


ORDINARY = 65534
"""Nobody, in the words of the system: a user without any right."""

ROOT = Path(__file__).resolve().parents[2]
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


def left_behind(mark: str) -> list[int]:
    """Living processes that a plugin left under a name of its own."""
    name, found = f"aperio-left-behind-{mark}".encode(), []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and name in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return [pid for pid in found if is_alive(pid)]


_HOST = """
import asyncio, json, sys
sys.path[:0] = json.loads(sys.argv[1])
from pathlib import Path
from tests.sandbox import ordinary
asyncio.run(ordinary.main(json.loads(sys.argv[2])))
"""


def host_process(
    stage: Stage, base: Path, deeds: list[Any], *, uid: int, **told: Any
) -> subprocess.Popen[str]:
    """A host in a process and a session of its own, as some user, that has the plugin do something.

    Args:
        stage: where the plugin is.
        base: where the host makes its folders; that user may write there.
        deeds: what the plugin is told, one after the other.
        uid: the user.
        told: more for `ordinary.main`.
    """
    packages = Path(grpc.__file__).resolve().parents[1]
    path = [str(ROOT), str(ROOT / "sdk" / "python"), str(packages)]
    words = {"folder": str(stage.folder), "base": str(base), "deeds": deeds} | told
    program = interpreter().executable
    command = [program, "-B", "-c", _HOST, json.dumps(path), json.dumps(words)]
    if uid != os.geteuid():
        command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"HOME": "/nonexistent", "PATH": os.environ["PATH"]},
        start_new_session=True,
    )


def interpreter() -> Interpreter:
    """An interpreter that every user of the machine can reach; else this one."""
    if DEBIAN_PYTHON.exists() and THIS_PYTHON.tag == "cp311":
        return Interpreter(str(DEBIAN_PYTHON), "3.11.2", "cp311", "/usr")
    return THIS_PYTHON


@dataclass
class Stage:
    """A folder that everybody may read, with the hostile plugin in it.

    Attributes:
        folder: where.
    """

    folder: Path

    def build(self, **changes: Any) -> DevelopmentBuild:
        """The plugin as a folder under development; no host is declared unless a change says so."""
        script = self.folder / "project" / "hostile.py"
        found = manifest(**({"egress": (), "limits": LIMITS} | changes))
        packages = Path(grpc.__file__).resolve().parents[1]
        return DevelopmentBuild(Project(script.parent, found), script, interpreter(), packages)


@pytest.fixture(scope="package")
def stage() -> Iterator[Stage]:
    """A folder below /tmp, as pytest's own are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="aperio-stage-", dir="/tmp"))
    folder.chmod(0o755)
    project = folder / "project"
    project.mkdir()
    for name in ("hostile", "bare", "remembers", "mortal", "stubborn", "slow_loris", "garbage"):
        shutil.copy(PLUGINS / f"{name}.py", project)
    shutil.copytree(LIBRARY / "aperio_plugin", project / "aperio_plugin")
    yield Stage(folder)
    shutil.rmtree(folder)


@dataclass
class Actor:
    """The hostile plugin, running."""

    runner: asyncio.Runner
    plugin: RunningPlugin
    logs: list[LogRecord] = field(default_factory=list)

    def do(self, deed: str, *arguments: Any) -> Any:
        """Have it do something, and return what came of it."""
        return self.runner.run(self.tell(deed, *arguments))

    async def tell(self, deed: str, *arguments: Any) -> Any:
        """As `do`, on the loop."""
        asked = Invocation(config_json=json.dumps({"deed": [deed, arguments]}).encode())
        answer = await self.plugin.connector.test_connection(asked)
        return json.loads(answer.account["found"])


@contextlib.contextmanager
def acting(target: DevelopmentBuild, sandbox: Sandbox, **options: Any) -> Iterator[Actor]:
    """Give the plugin, running; it is stopped at the end."""
    base = Path(tempfile.mkdtemp(prefix="aperio-run-", dir="/tmp"))
    logs: list[LogRecord] = []
    stated = LaunchOptions(base, sandbox=sandbox, **({"patience": PATIENT} | options))
    try:
        with asyncio.Runner() as runner:
            block = launch(cleared(target), stated, logs.append)
            plugin = runner.run(block.__aenter__())
            try:
                yield Actor(runner, plugin, logs)
            finally:
                runner.run(block.__aexit__(None, None, None))
        assert not list(base.iterdir()), "the plugin's folder was left"
    finally:
        shutil.rmtree(base)


@pytest.fixture(scope="package")
def sandbox() -> Sandbox:
    """What this machine offers; where it offers nothing a skip, and in CI a failure."""
    found = choose_sandbox("auto")
    if found.name == "none":
        missing = f"no sandbox here: {getattr(found, 'remedy', '')}"
        # By the fixture, so that no file of tests has to remember a mark for it.
        (pytest.fail if os.environ.get("APERIO_CI") else pytest.skip)(missing)
    return found


@pytest.fixture(scope="package")
def confined(stage: Stage, sandbox: Sandbox) -> Iterator[Actor]:
    """The plugin in a sandbox; it declares no hosts."""
    with acting(stage.build(), sandbox) as actor:
        yield actor


@pytest.fixture(scope="package")
def free(stage: Stage) -> Iterator[Actor]:
    """The same plugin without a sandbox: what it can do there shows that a deed is one."""
    with acting(stage.build(), Unconfined()) as actor:
        yield actor


@dataclass
class Target:
    """What a hostile plugin is after.

    Attributes:
        folder: of somebody else's.
        port: of a service on this machine.
        path: a unix socket that somebody listens on.
        name: an abstract one, likewise.
    """

    folder: Path
    port: int
    path: str
    name: str


@pytest.fixture(scope="package")
def prey() -> Iterator[Target]:
    """Secrets and services of this machine."""
    folder = Path(tempfile.mkdtemp(prefix="aperio-prey-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / ".ssh").mkdir()
    (folder / ".ssh" / "id_ed25519").write_text("a private key")
    with contextlib.ExitStack() as opened:
        sockets = [
            opened.enter_context(socket.socket(family))
            for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX)
        ]
        name = f"\0aperio-prey-{os.getpid()}"
        sockets[0].bind(("127.0.0.1", 0))
        sockets[1].bind(str(folder / "socket"))
        sockets[2].bind(name)
        for listener in sockets:
            listener.listen(16)
        (folder / "socket").chmod(0o777)
        port = sockets[0].getsockname()[1]
        yield Target(folder, port, str(folder / "socket"), name)
    shutil.rmtree(folder)


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every user may write to."""
    folder = Path(tempfile.mkdtemp(prefix="aperio-base-", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
