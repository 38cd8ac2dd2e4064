"""A host of a few simulators behind the real control API, as a program that tests can kill.

    python -m tests.process.small_host FOLDER

It serves FOLDER/control.sock until its stdin ends, and keeps its receipts in memory. `acme/bare` is
the simulator bare.py, `acme/box` the Box connector. Whatever a plugin logs stands in FOLDER/log.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.errors.installing import NotInstalled
from aperio_cli.errors.running import PluginNotReady
from aperio_cli.errors.usage import NotFound
from aperio_cli.host.control.controlled import HostFacts, InstalledPlugin, LogEntry
from aperio_cli.host.control.server import serve
from aperio_cli.host.launch import LaunchOptions, RunningPlugin, launch
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising.instances import InstanceKey, Status
from aperio_cli.models.plugin_id import PluginId
from tests.clearances import cleared

from .conftest import HURRIED, PLUGINS, development, is_alive

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.models.run_receipt import RunReceipt

BOX = Path(__file__).resolve().parents[2] / "plugins" / "box" / "plugin.py"
KINDS = {"acts": "remediation", "takes": "destination"}
VERSION = "1.2.0"
CONFIGURED = {"mode": "configured", "account": "me", "api_key": "configured-key"}
"""The settings that the host itself has for the integration `configured`."""


class SmallHost:
    """Starts each simulator when it is first called, and again when it has ended."""

    def __init__(self, folder: Path) -> None:
        self.facts = HostFacts(folder, clock.now())
        self._log = (folder / "log").open("a", buffering=1)
        self._open = contextlib.AsyncExitStack()
        self._up: dict[InstanceKey, RunningPlugin] = {}
        self._paused: set[InstanceKey] = set()
        self._starting = asyncio.Lock()
        self._watching: set[asyncio.Queue[InstanceKey]] = set()
        self._kept: dict[str, RunReceipt] = {}
        self._entries: list[LogEntry] = []

    async def close(self) -> None:
        await self._open.aclose()

    def installed(self) -> Sequence[InstalledPlugin]:
        names = ("acts", "bare", "takes")
        return [
            InstalledPlugin(
                PluginId("acme", name), VERSION, KINDS.get(name, "connector"), "BOX", "unsigned"
            )
            for name in names
        ]

    def statuses(self) -> Sequence[Status]:
        return [self._status(key) for key in sorted({*self._up, *self._paused})]

    def _status(self, key: InstanceKey) -> Status:
        phase = Phase.PAUSED if key in self._paused else Phase.READY
        up = self._up.get(key)
        return Status(key, phase, VERSION, pid=up.pid if up else None, started_at=clock.now())

    async def watch(self) -> AsyncGenerator[Status, None]:
        changed: asyncio.Queue[InstanceKey] = asyncio.Queue()
        self._watching.add(changed)
        try:
            for status in self.statuses():
                yield status
            while True:
                yield self._status(await changed.get())
        finally:
            self._watching.discard(changed)

    def _tell(self, key: InstanceKey) -> None:
        for changed in self._watching:
            changed.put_nowait(key)

    def configured(self, key: InstanceKey) -> Mapping[str, object] | None:
        return CONFIGURED if key.integration == "configured" else None

    @contextlib.asynccontextmanager
    async def use(
        self, key: InstanceKey, _settings: Mapping[str, object]
    ) -> AsyncIterator[RunningPlugin]:
        if key in self._paused:
            raise PluginNotReady(f"`{key.plugin}` was not called: it is paused")
        async with self._starting:
            up = self._up.get(key)
            if up is None or not is_alive(up.pid):
                up = self._up[key] = await self._start(key)
        yield up

    async def _start(self, key: InstanceKey) -> RunningPlugin:
        script = BOX if key.plugin.name == "box" else PLUGINS / f"{key.plugin.name}.py"
        if not script.exists():
            raise NotInstalled(f"`{key.plugin}` is not installed")
        kind = KINDS.get(key.plugin.name, "connector")
        target = development(script, kind=kind, id=key.plugin)
        options = LaunchOptions(self.facts.home / "run", patience=HURRIED)
        plugin = await self._open.enter_async_context(
            launch(cleared(target), options, lambda record: self._hear(key, record))
        )
        self._tell(key)
        return plugin

    def _hear(self, key: InstanceKey, record: LogRecord) -> None:
        self._log.write(f"{record.level} {record.message} {record.fields}\n")
        self._entries.append(LogEntry(key, clock.now(), record))

    async def pause(self, key: InstanceKey, reason: str) -> None:
        if key not in self._up:
            raise NotFound(f"there is no instance {key}")
        self._paused.add(key)
        self._log.write(f"paused: {reason}\n")
        self._tell(key)

    async def resume(self, key: InstanceKey) -> None:
        self._paused.discard(key)
        self._tell(key)

    def keep(self, receipt: RunReceipt) -> None:
        self._kept.pop(receipt.run_id, None)
        self._kept[receipt.run_id] = receipt

    def receipts(self, plugin: PluginId | None, most: int) -> Sequence[RunReceipt]:
        newest = list(self._kept.values())[::-1]
        return [each for each in newest if plugin in {None, each.plugin}][:most]

    async def logs(
        self, plugin: PluginId | None, last: int, *, follow: bool
    ) -> AsyncGenerator[LogEntry | int, None]:
        del follow
        found = [each for each in self._entries if plugin in {None, each.key.plugin}]
        for entry in found[len(found) - last :]:
            yield entry


async def main(folder: Path) -> None:
    """Serve until stdin ends."""
    (folder / "run").mkdir(exist_ok=True)
    host = SmallHost(folder)

    def tell(level: str, text: str) -> None:
        sys.stderr.write(f"{level} {text}\n")

    async with serve(folder / "control.sock", host, tell):
        os.write(1, b"ready\n")
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(0, lambda: None if os.read(0, 1) else ended.set())
        await ended.wait()
        loop.remove_reader(0)
    await host.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
