"""What callers of the control API see of a host: its plugins, receipts and logs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.data.run_receipts import RunReceipts
from aperio_cli.errors import AperioError
from aperio_cli.errors.installing import NotInstalled
from aperio_cli.host.control.controlled import HostFacts, InstalledPlugin
from aperio_cli.host.supervising.instances import Pause
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.run_receipt import RUNNING
from aperio_cli.running import clear_target
from aperio_cli.serving.launching import exceptions_of, signer_of
from aperio_cli.serving.pausing import user_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from aperio_cli.host.control.controlled import LogEntry
    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.supervising.instances import InstanceKey, Status
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.run_receipt import RunReceipt
    from aperio_cli.running import Collaborators
    from aperio_cli.serving.host import Host
    from aperio_cli.serving.logs import PluginLogs
    from aperio_cli.serving.refreshing import Heard

    Later = Callable[[Callable[[], object]], None]

_WAIT_S: Final = 0.05


class Served:
    """A host, as `host.control` serves it.

    Args:
        host: what is served.
        started_at: since when it runs.
        logs: of its plugins.
        later: has something done in a thread, in turn: receipts are written while calls go on.
        ended: hears of each run that has ended; called in that thread.

    Attributes:
        heard_of: gives what the host has heard from registries; None: it does not ask them.
        say: is told, once, that receipts are not kept, and that they are again.
    """

    def __init__(
        self,
        host: Host,
        started_at: datetime,
        logs: PluginLogs,
        later: Later,
        ended: Callable[[RunReceipt], None],
    ) -> None:
        self._host = host
        self._started_at = started_at
        self._logs = logs
        self._later = later
        self._ended = ended
        self._waiting: list[RunReceipt] = []
        self._unkept = 0
        self.heard_of: Callable[[], Heard | None] = lambda: None
        self.say: Callable[[str, str], object] = lambda _level, _words: None

    @property
    def _collaborators(self) -> Collaborators:
        return self._host.launching.collaborators

    @property
    def _receipts(self) -> RunReceipts:
        return RunReceipts(self._collaborators.paths.run_receipts)

    @property
    def facts(self) -> HostFacts:
        """What it says of itself."""
        heard = self.heard_of()
        return HostFacts(
            self._collaborators.paths.home,
            self._started_at,
            registries_heard_at=heard.at if heard else "",
            registries_problem=heard.problem if heard else "",
        )

    def installed(self) -> Sequence[InstalledPlugin]:
        """Return what is installed, and what `[[run]]` tables name beside it, by id. Blocks."""
        collaborators = self._collaborators
        plugins = {plugin for plugin, _ in collaborators.store.installed()}
        stated = {run.plugin.id for run in collaborators.config().runs}
        found = [_installed(collaborators, plugin) for plugin in sorted(plugins)]
        found += [
            InstalledPlugin(plugin, "", "", "", refusal=NotInstalled.code)
            for plugin in sorted(stated - plugins)
        ]
        return [each for each in found if each]

    def statuses(self) -> Sequence[Status]:
        """Return how each instance is."""
        return self._host.supervisor.statuses()

    def watch(self) -> AsyncGenerator[Status, None]:
        """Give how each instance is, then each change; to a slow reader the newest of each."""
        return self._host.supervisor.watch()

    def configured(self, key: InstanceKey) -> Mapping[str, object] | None:
        """Return the settings that the host's own configuration has for an instance, or None."""
        return self._host.supervisor.configured(key)

    def left(self, plugin: PluginId) -> str:
        """Return the version that was left for the last healthy one; empty: none was."""
        return self._host.launching.versions.left(plugin)

    def use(
        self, key: InstanceKey, settings: Mapping[str, object]
    ) -> AbstractAsyncContextManager[RunningPlugin]:
        """Give the running plugin for a call in flight; it is started where it does not run.

        Raises:
            AperioError: as `Supervisor.use`.
        """
        return self._host.supervisor.use(key, settings)

    async def pause(self, key: InstanceKey, by: str, reason: str) -> None:
        """Have an instance rest until it is resumed, however often the host is started.

        Raises:
            NotFound: there is no such instance.
        """
        await self._host.pause(key, Pause(by or user_name(), clock.timestamp(), reason))

    async def resume(self, key: InstanceKey) -> None:
        """Have an instance go on.

        Raises:
            NotFound: there is no such instance.
        """
        await self._host.resume(key)

    def release(
        self, plugin: PluginId, version: str
    ) -> AbstractAsyncContextManager[Sequence[InstanceKey]]:
        """Have nothing of a plugin run for the length of a block; give those that were ended."""
        return self._host.supervisor.release(plugin, version)

    def keep(self, receipt: RunReceipt) -> None:
        """Keep a receipt, soon; a later one of the same run takes its place.

        One that says that something has begun is written at once, before it can be killed. The rest
        waits for a moment, and is written together: a thread at work holds up the next call.
        """
        self._waiting.append(receipt)
        if receipt.status == RUNNING:
            self.write()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(_WAIT_S, self.write)

    def write(self) -> None:
        """Have written what waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._later(functools.partial(self._write, self._receipts, waiting))

    def _write(self, receipts: RunReceipts, waiting: Sequence[RunReceipt]) -> None:
        """Keep receipts and tell of runs that have ended; called in the thread of `later`."""
        with receipts.keeping() as keep:
            for receipt in waiting:
                self._attempt(functools.partial(keep, receipt))
                with contextlib.suppress(Exception):  # what fails of one leaves out no other
                    if receipt.status != RUNNING:
                        self._ended(receipt)

    def _attempt(self, keep: Callable[[], object]) -> None:
        """Keep one, unless that cannot be done now: who watches hears of the run all the same."""
        try:
            keep()
        except (AperioError, OSError) as error:
            if not self._unkept:
                self.say("warn", f"receipts of runs are not kept: {error}")
            self._unkept += 1
        else:
            if self._unkept:
                self.say("info", f"receipts of runs are kept again; {self._unkept} were not")
            self._unkept = 0

    def receipts(self, plugin: PluginId | None, most: int) -> Sequence[RunReceipt]:
        """Return the newest receipts, of one plugin or of all, the newest first. Blocks."""
        if plugin:
            return self._receipts.newest(plugin, most=most)
        return self._receipts.newest_of_all(most=most)

    def logs(
        self, plugin: PluginId | None, last: int, *, follow: bool
    ) -> AsyncGenerator[LogEntry | int, None]:
        """Give log records, as `PluginLogs.read`."""
        return self._logs.read(plugin, last, follow=follow)


def _installed(collaborators: Collaborators, plugin: PluginId) -> InstalledPlugin | None:
    """Return what is known of an installed plugin; None: it has no current version."""
    try:
        receipt = collaborators.store.find(PluginRef(plugin))
    except AperioError as error:
        return InstalledPlugin(plugin, "", "", "", refusal=error.code)
    if receipt is None:
        return None
    manifest = receipt.manifest
    about = (plugin, receipt.version, receipt.kind, manifest.provider)
    try:
        cleared = clear_target(collaborators, receipt)
    except AperioError as error:
        return InstalledPlugin(*about, badge=receipt.badge, refusal=error.code)
    return InstalledPlugin(
        *about,
        badge=cleared.judgement.badge if cleared.judgement else "",
        signer=signer_of(cleared),
        exceptions=tuple(exceptions_of(cleared)),
    )
