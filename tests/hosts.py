"""A home with installed plugins, and a host for it; made of records, so that it costs nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aperio_plugin
import grpc

from aperio_cli.config import load_config
from aperio_cli.files import tree
from aperio_cli.host.supervising.instances import InstanceKey
from aperio_cli.host.supervising.rules import Rules
from aperio_cli.models.artifact import Interpreter
from aperio_cli.models.grant import Grant
from aperio_cli.models.manifest import Manifest, Runtime
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.paths import find_paths
from aperio_cli.running import Collaborators
from aperio_cli.serving.host import Hearing, Host
from aperio_cli.serving.wanted import all_installed
from aperio_cli.store.installed import Store
from aperio_cli.trust.known_versions import load_known
from tests.builders import manifest, receipt, rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aperio_cli.host.lifecycle import Phase
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.supervising.instances import Status

PLUGINS = Path(__file__).resolve().parent / "simulators" / "plugins"
LIBRARY = Path(aperio_plugin.__file__).resolve().parents[1]
PACKAGES = Path(grpc.__file__).resolve().parents[1]
PYTHON = Interpreter(
    executable=sys.executable,
    version="{}.{}.{}".format(*sys.version_info[:3]),
    tag=f"cp{sys.version_info[0]}{sys.version_info[1]}",
    base_prefix=sys.base_prefix,
)
ALLOWED = '[[publishers]]\nnamespace = "*"\ndomain = "local"\nidentity = "{}"\n'
WITHIN_S = 40.0
QUICK = Rules(
    first_delay_s=0.05,
    longest_delay_s=0.2,
    healthy_s=0.3,
    heartbeat_s=0.2,
    heartbeat_timeout_s=2.0,
    drain_s=0.3,
    reconcile_s=0.05,
)


@dataclass
class Place:
    """An operator's home.

    Attributes:
        home: it.
        environment: of the host.
        brings_all: whether plugins bring what they import, as those of a sandbox have to.
    """

    home: Path
    environment: dict[str, str] = field(default_factory=lambda: {"APERIO_SANDBOX": "none"})
    brings_all: bool = False

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if not (self.home / "config.toml").exists():
            self.allow()

    def allow(self, more: str = "") -> None:
        """State a rule by which everything here may run, and whatever else."""
        identity = rule().identity
        self.state(ALLOWED.format(identity) + more)

    def state(self, text: str) -> None:
        """Write config.toml anew."""
        aside = self.home / "config.new"
        aside.write_text(text)
        aside.replace(self.home / "config.toml")

    def put(
        self,
        name: str = "acme/box",
        simulator: str = "bare",
        version: str = "1.0.0",
        code: str = "",
        **changes: Any,
    ) -> PluginId:
        """Install a version of a plugin, which becomes the current one.

        Args:
            name: its id.
            simulator: the plugin that it is.
            version: of it.
            code: what it executes before.
            changes: of its manifest.
        """
        plugin = PluginId.parse(name)
        declared: Manifest = manifest()
        stated: dict[str, Any] = {
            "id": plugin,
            "version": version,
            "runtime": Runtime("python", (PYTHON.tag,)),
            "entrypoint": "box",
            "egress": (),
            "scopes": (),
        }
        made = Manifest(
            **{
                **{key: getattr(declared, key) for key in declared.__dataclass_fields__},
                **stated,
                **changes,
            }
        )
        folder = self.home / "plugins" / plugin.namespace / plugin.name
        start = folder / version / "files" / "bin" / "box.py"
        start.parent.mkdir(parents=True)
        start.write_text(
            f"import sys; sys.path[:0] = {self._found_at(start)!r}\n{code}\n"
            f"import runpy; runpy.run_module({simulator!r}, run_name='__main__')\n"
        )
        start.chmod(0o644)
        listed = tree.format_tree(tree.list_tree(folder / version / "files"))
        (folder / version / "files.sha256").write_bytes(listed)
        record = receipt(
            manifest=made,
            grant=Grant(made),
            tree_digest=tree.tree_digest(listed),
            interpreter=PYTHON,
            folder=folder / version,
            state_owner=f"{plugin} who signs it",
        )
        (folder / version / "receipt.json").write_bytes(record.to_bytes())
        self.use(plugin, version)
        return plugin

    def _found_at(self, start: Path) -> list[str]:
        """Where the plugin finds SDK and simulators: in its own files when it is to be confined."""
        if not self.brings_all:
            return [str(LIBRARY), str(PLUGINS), str(PACKAGES)]
        lib = start.parents[1] / "lib"
        shutil.copytree(PLUGINS, lib, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(
            LIBRARY / "aperio_plugin",
            lib / "aperio_plugin",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for path in (lib, *lib.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return [str(lib), str(PACKAGES)]

    def use(self, plugin: PluginId, version: str) -> None:
        """Make a version the current one, as an installation does."""
        folder = self.home / "plugins" / plugin.namespace / plugin.name
        aside = folder / "current.new"
        aside.write_text(json.dumps({"schema": 1, "version": version}))
        aside.replace(folder / "current.json")

    def drop(self, plugin: PluginId) -> None:
        """Remove a plugin as if nothing of it ran."""
        shutil.rmtree(self.home / "plugins" / plugin.namespace / plugin.name)

    def collaborate(self) -> Collaborators:
        """The operator's collaborators, read anew."""
        paths = find_paths({}, home=str(self.home))
        config = load_config(paths, site_file=self.home / "no-site.toml")
        return Collaborators(
            store=Store(paths),
            paths=paths,
            config=lambda: config,
            policy=lambda: replace(config.policy, known=load_known(paths)),
            platform=Platform("linux", "amd64"),
            environment=self.environment,
        )


@dataclass
class Served:
    """A host that serves, and what was said.

    Attributes:
        host: it.
        logs: of plugins.
        said: of the host.
        beats: when it has fed its watchdog.
        beat: set at each of these.
    """

    host: Host
    logs: list[tuple[InstanceKey, LogRecord]]
    said: list[str]
    beats: list[float]
    beat: asyncio.Event = field(default_factory=asyncio.Event)

    async def next_beat(self) -> None:
        """Wait until the host has reconciled once more."""
        self.beat.clear()
        await self.beat.wait()

    def key(self, name: str = "acme/box") -> InstanceKey:
        """The instance of a plugin as `--all` runs it."""
        return InstanceKey(PluginId.parse(name), "local", "local")

    async def until(self, condition: Callable[[Status], bool], name: str = "acme/box") -> Status:
        """How an instance is, as soon as it is as expected."""
        return await until(self.host, condition, name)

    async def ready(self, name: str = "acme/box", *, restarts: int = 0) -> Status:
        """How an instance is once it is READY, and was restarted so often."""
        return await self.until(
            lambda status: status.phase.value == "READY" and status.restarts >= restarts, name
        )

    async def in_phase(self, phase: Phase, name: str = "acme/box") -> Status:
        """How an instance is once it is in a phase."""
        return await self.until(lambda status: status.phase is phase, name)


async def until(host: Host, condition: Callable[[Status], bool], name: str) -> Status:
    """How an instance is, as soon as it is as expected."""
    last: Status | None = None
    try:
        async with asyncio.timeout(WITHIN_S):
            async for status in host.supervisor.watch():
                if str(status.key.plugin) == name:
                    last = status
                    if condition(status):
                        return status
    except TimeoutError:
        raise AssertionError(f"last seen: {last}") from None
    raise AssertionError("the host has ended")


@asynccontextmanager
async def serving(
    place: Place, rules: Rules = QUICK, wanted_of: Any = all_installed, parts: Any = ()
) -> AsyncIterator[Served]:
    """A host for the length of a block; it is drained in the end."""
    logs: list[tuple[InstanceKey, LogRecord]] = []
    said: list[str] = []
    beats: list[float] = []
    loop, beat = asyncio.get_running_loop(), asyncio.Event()

    def take_beat() -> None:
        beats.append(loop.time())
        beat.set()

    hearing = Hearing(
        lambda key, record: logs.append((key, record)),
        lambda level, text: said.append(f"{level}: {text}"),
        take_beat,
    )
    host = Host(place.collaborate, wanted_of, rules, hearing, parts)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(host.serve())
        yield Served(host, logs, said, beats, beat)
        await host.drain()
        await running
