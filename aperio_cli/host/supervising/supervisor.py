"""All instances of one host: what is wanted of them, may they be it, who uses them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.errors import INCOMPATIBLE, AperioError, Refusal
from aperio_cli.errors.installing import NotInstalled
from aperio_cli.errors.running import PluginNotReady, TooManyPaused, TooManyPlugins
from aperio_cli.errors.usage import NotFound
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising.instance import Instance, paused
from aperio_cli.host.supervising.instances import Wanted
from aperio_cli.host.supervising.life import Event
from aperio_cli.host.supervising.living import Surroundings, reason_of, trace_of
from aperio_cli.host.supervising.reach import reach_of
from aperio_cli.host.supervising.rules import Rules
from aperio_cli.host.supervising.watchers import Watcher

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Coroutine,
        Iterable,
        Mapping,
    )

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.supervising.instances import InstanceKey, Name, Pause, Status
    from aperio_cli.host.supervising.launcher import Launcher, Leave
    from aperio_cli.host.supervising.life import Reason
    from aperio_cli.host.supervising.living import Living
    from aperio_cli.models.plugin_id import PluginId

MOST_PAUSED: Final = 1024
"""All of them are written down, and read again, whatever callers named them for."""
_RULES: Final = Rules()
_TRYING: Final = frozenset({Phase.STARTING, Phase.READY, Phase.BACKOFF})
_NOT_JUDGED: Final = frozenset({Phase.PAUSED, Phase.STOPPED, Phase.STOPPING})


def _ignore(*_heard: object) -> None:
    """Do nothing about it."""


class Supervisor:
    """Keeps instances of plugins as they are wanted; everything happens on one loop.

    Args:
        launcher: says what is wanted, clears and launches.
        rules: how patient to be.
        log: takes what plugins, or the host about them, have to say.
        beat: called after each reconciliation: a watchdog that is fed by it sees a dead loop.

    Attributes:
        paused: what is to rest; given before `run`, it rests from the beginning.
    """

    def __init__(
        self,
        launcher: Launcher,
        rules: Rules = _RULES,
        *,
        log: Callable[[InstanceKey, LogRecord], None] = _ignore,
        beat: Callable[[], None] = _ignore,
    ) -> None:
        self._launcher = launcher
        self._rules = rules
        starts = asyncio.Semaphore(rules.parallel_starts or 4 * (os.cpu_count() or 1))
        self._surroundings = Surroundings(launcher, rules, log, starts)
        self._beat = beat
        self._instances: dict[Name, Instance] = {}
        self._watchers: set[Watcher] = set()
        self._wanted: dict[Name, Wanted] = {}
        self.paused: dict[InstanceKey, Pause] = {}
        self._left: dict[PluginId, str] = {}
        self._settled: dict[PluginId, str] = {}
        self._is_due = asyncio.Event()
        self._is_doubted = True
        self._is_draining = False
        self._changed = asyncio.Event()
        self._is_over = asyncio.Event()

    async def run(self) -> None:
        """Keep the instances up until they have been drained.

        However it is left, no process of theirs remains.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._surroundings.group = group
                reconciling = group.create_task(self._reconcile(), name="reconcile")
                try:
                    await self._is_over.wait()
                finally:
                    self._surroundings.is_ending = True
                    reconciling.cancel()
        finally:
            self._is_draining = True
            self._is_over.set()
            for watcher in self._watchers:
                watcher.end()

    # ── what is wanted ────────────────────────────────────────────────────────────────────────────

    def want(self, wanted: Iterable[Wanted]) -> None:
        """Have exactly these instances up, beside those that only calls keep up."""
        if not self._is_draining:
            self._wanted = {(each.key, ""): each for each in wanted}
            self.doubt()

    def configured(self, key: InstanceKey) -> Mapping[str, object] | None:
        """Return the settings with which an instance is wanted; None: it is not, or has none."""
        wanted = self._wanted.get((key, ""))
        return wanted.settings if wanted and wanted.problem is None else None

    def doubt(self) -> None:
        """Have everything cleared anew, soon."""
        self._is_doubted = True
        self._is_due.set()

    def retry(self) -> None:
        """Begin again with what was given up, and have everything cleared anew."""
        self._left.clear()
        for instance in tuple(self._instances.values()):
            instance.retry()
        self.doubt()

    async def pause(self, key: InstanceKey, pause: Pause) -> None:
        """Have an instance rest until it is resumed; calls in flight fail at once.

        Args:
            key: which.
            pause: who wants that, and why.

        Raises:
            NotFound: there is no such instance.
            TooManyPaused: there are as many pauses as may be.
        """
        instances = self._of(key)
        if key not in self.paused and len(self.paused) >= MOST_PAUSED:
            raise TooManyPaused(
                f"`{key.plugin}` was not paused for {key.organization} {key.integration}",
                why=f"{len(self.paused)} instances are, and {MOST_PAUSED} may be",
                next=["`aperio host resume` ends a pause", "take what is to rest out of [[run]]"],
            )
        for instance in instances:
            instance.pause(pause)
        self.paused[key] = pause

    async def resume(self, key: InstanceKey) -> None:
        """Have an instance go on: one that was paused, or given up.

        Raises:
            NotFound: there is no such instance.
        """
        if self.paused.pop(key, None) and not any(each.key == key for each in self._all()):
            return  # it is not wanted now, and is not paused when it is again
        for instance in self._of(key):
            instance.resume()

    def _all(self) -> tuple[Instance, ...]:
        return tuple(self._instances.values())

    def _of(self, key: InstanceKey) -> list[Instance]:
        found = [each for each in self._instances.values() if each.key == key]
        if not found:
            raise NotFound(
                f"`{key.plugin}` is not supervised for {key.organization} {key.integration}",
                next=["`aperio host status` shows what is"],
            )
        return found

    @contextlib.asynccontextmanager
    async def release(
        self, plugin: PluginId, version: str = ""
    ) -> AsyncIterator[tuple[InstanceKey, ...]]:
        """Have nothing of a plugin run for the length of a block; then what is there by then.

        Calls in flight may end, for a while.

        Args:
            plugin: which.
            version: what runs of this one only; empty: of each.

        Returns:
            The instances that were ended for it.
        """
        released, hold = self._surroundings.released, (plugin, version)
        released.append(hold)
        try:
            ended = set()
            for instance in self._instances.values():
                if instance.key.plugin == plugin and instance.let_go(version):
                    ended.add(instance.key)
            while any(each.runs(plugin, version) for each in self._instances.values()):
                self._changed.clear()
                await self._changed.wait()
            yield tuple(sorted(ended))
        finally:
            released.remove(hold)
            self.doubt()

    async def drain(self) -> None:
        """End every instance: calls in flight may end, for a while, and no new ones are made."""
        self._is_draining = True
        for name, instance in tuple(self._instances.items()):
            instance.stop()
            if instance.is_gone:  # it was released, say, and there is no change to hear of
                self._instances.pop(name, None)
        while self._instances:
            self._changed.clear()
            await self._changed.wait()
        self._is_over.set()

    # ── how it is ─────────────────────────────────────────────────────────────────────────────────

    def statuses(self) -> tuple[Status, ...]:
        """Return how each instance is now, by plugin, organization and integration."""
        found = (instance.status() for instance in self._instances.values())
        return tuple(sorted(found, key=lambda status: (status.key, status.is_on_demand)))

    async def watch(self) -> AsyncGenerator[Status, None]:
        """Give how each instance is, then each change, until the supervisor ends.

        A slow reader gets the newest state of each. An instance that is gone was STOPPED last.
        """
        watcher = Watcher()
        for name, instance in self._instances.items():
            watcher.put(name, instance.status)
        self._watchers.add(watcher)
        if self._is_over.is_set():
            watcher.end()
        try:
            while news := await watcher.take():
                for status in news:
                    yield status
        finally:
            self._watchers.discard(watcher)

    def _note(self, instance: Instance) -> None:
        """Called after each change of an instance."""
        name = instance.name
        if self._instances.get(name) is not instance:
            return
        if self._watchers:
            told = _kept(instance.status()) if instance.is_gone else instance.status
            for watcher in self._watchers:
                watcher.put(name, told)
        if instance.is_gone and (self._is_draining or name not in self._wanted):
            del self._instances[name]
        self._changed.set()
        self._settle(instance)
        self._look_back(instance)

    # ── the last healthy version ──────────────────────────────────────────────────────────────────

    def _settle(self, instance: Instance) -> None:
        """Have it noted when the version that is used has proved to be healthy."""
        life, plugin = instance.current, instance.key.plugin
        is_used = not life.wanted.version and not instance.wanted.version
        if is_used and life.is_settled and self._settled.get(plugin) != life.version:
            self._settled[plugin] = life.version
            self._aside(instance, asyncio.to_thread(self._launcher.settled, plugin, life.version))

    def _look_back(self, instance: Instance) -> None:
        """Leave a version that no instance of a plugin could start for the last healthy one."""
        failed, plugin = instance.given_up, instance.key.plugin
        if failed is None or failed.leave is None or failed.life.reason is None:
            return
        if instance.wanted.version or self._left.get(plugin) == failed.version:
            return
        lives = [
            life
            for each in self._instances.values()
            if each.key.plugin == plugin
            for life in each.lives
            if life.version == failed.version and life.phase in _TRYING
        ]
        if all(life.is_given_up for life in lives):  # else it works, for somebody
            self._left[plugin] = failed.version  # it is asked once
            self._aside(instance, self._fall_back(instance, failed.leave, failed.life.reason))

    async def _fall_back(self, instance: Instance, failed: Leave, reason: Reason) -> None:
        wanted = instance.wanted
        if await asyncio.to_thread(self._launcher.fall_back, wanted, failed, reason):
            self._left.pop(wanted.key.plugin, None)  # who uses that version again means it
            self.doubt()

    def _aside(self, instance: Instance, work: Coroutine[Any, Any, None]) -> None:
        """Have something done beside reconciliation; a mistake of ours in it ends nothing."""

        async def attempt() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - as the docstring says
                instance.current.say("error", "".join(traceback.format_exception(error)))

        group = self._surroundings.group
        if group and not self._surroundings.is_ending:
            group.create_task(attempt(), name=f"aside {instance.name}")
        else:
            work.close()

    # ── reconciling ───────────────────────────────────────────────────────────────────────────────

    async def _reconcile(self) -> None:
        """Make what is there into what is wanted, again and again."""
        while True:
            await self._look()
            self._beat()
            # Not `wait_for`, which loses a cancellation that comes together with the event (3.11).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rules.reconcile_s):
                    await self._is_due.wait()
            self._is_due.clear()

    async def _look(self) -> None:
        survey = await asyncio.to_thread(self._launcher.survey)
        if survey.wanted is not None:
            self.want(survey.wanted)
        if self._is_draining:
            return
        self._accept()
        self._end_idle()
        if self._is_doubted or survey.is_changed:
            self._is_doubted = False
            for instance in tuple(self._instances.values()):
                await self._judge(instance)

    def _accept(self) -> None:
        """Begin with what is wanted newly, end what is not any more."""
        for name, wanted in self._wanted.items():
            if there := self._instances.get(name):
                there.want(wanted)
                there.start()
            else:
                self._begin(name, wanted)
        for name, instance in tuple(self._instances.items()):
            if not instance.is_on_demand and name not in self._wanted:
                instance.stop()

    def _begin(self, name: Name, wanted: Wanted) -> Instance:
        made = self._instances[name] = Instance(name, wanted, self._surroundings, self._note)
        if pause := self.paused.get(wanted.key):
            made.pause(pause)
        made.start()
        return made

    async def _judge(self, instance: Instance) -> None:
        """Ask anew whether an instance may be what it is to be."""
        if instance.current.phase in _NOT_JUDGED or instance.is_queued:
            return
        try:
            await self._ask(instance)
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one plugin ends no other
            instance.current.say("error", trace_of(error))
            instance.unknown(error)

    async def _ask(self, instance: Instance) -> None:
        try:
            leave = await self._clear(instance.wanted)
        except (AperioError, OSError) as error:
            await self._refused(instance, error)
        else:
            instance.allowed(leave)
            await self._judge_old(instance.current, leave)

    async def _judge_old(self, life: Living, wanted: Leave) -> None:
        """Ask whether what takes calls may go on while something else is wanted."""
        leave = life.leave
        if leave is None or leave.likeness == wanted.likeness or life.phase in _NOT_JUDGED:
            return
        if life.is_clearing:  # it is just becoming what is wanted
            return
        event, reason = Event.ALLOWED, None
        try:
            await self._clear(replace(life.wanted, version=leave.version))
        except (AperioError, OSError) as error:
            event, reason = Event.WITHDRAWN, reason_of(error)
            if not _is_final(error):
                return
        if life.leave is leave and not life.is_clearing:
            life.tell(event, reason)

    async def _refused(self, instance: Instance, error: AperioError | OSError) -> None:
        """Take in a refusal of what is wanted; what runs may go on, if it is something else."""
        running = instance.current.leave
        if running and not instance.wanted.version and _is_final(error):
            try:
                leave = await self._clear(replace(instance.wanted, version=running.version))
            except (AperioError, OSError) as own:
                error = own
            else:
                if leave.likeness == running.likeness:
                    instance.unknown(error)
                    return
        if isinstance(error, AperioError) and _is_final(error):
            instance.refused(error)
        else:
            instance.unknown(error)

    async def _clear(self, wanted: Wanted) -> Leave:
        return await self._surroundings.clear(wanted)

    def _end_idle(self) -> None:
        since_s = clock.monotonic_s() - self._rules.idle_s
        for instance in tuple(self._instances.values()):
            if instance.is_on_demand and instance.is_idle and instance.current.used_s < since_s:
                instance.stop()

    # ── calls ─────────────────────────────────────────────────────────────────────────────────────

    @contextlib.asynccontextmanager
    async def use(
        self, key: InstanceKey, settings: Mapping[str, object]
    ) -> AsyncIterator[RunningPlugin]:
        """Give the plugin of an instance for the length of a block, in which calls are made.

        When there is none that settings like these get along with, one is started for the call,
        and ended when nobody has used it for a while. A call in flight fails at once when the
        plugin dies, is paused or may not be run any more.

        Args:
            key: which.
            settings: values by key, already resolved; a process is given what they name of hosts
                and folders.

        Raises:
            PluginNotReady: it does not run now; nothing was asked of it.
            TooManyPlugins: there are as many as may be of those that only calls keep up.
            AperioError: it may not be started.
        """
        self._require_up(key)
        if pause := self.paused.get(key):  # nor is another process started for it
            raise paused(key, pause)
        instance = self._found(key, settings) or await self._on_demand(key, settings)
        if instance.is_on_demand and instance.is_ending:  # it was idle for too long, just now
            self._make_room()
            instance.start()
        async with instance.call() as plugin:
            yield plugin

    def _found(self, key: InstanceKey, settings: Mapping[str, object]) -> Instance | None:
        """Return the instance that is, or will be, up for such a call; None: there is none."""
        name = (key, "")
        standing = self._instances.get(name)
        if standing is None and name in self._wanted:  # nobody has looked since
            standing = self._begin(name, self._wanted[name])
        if standing and (standing.current.leave is None or _gets_along(standing, settings)):
            return standing
        for instance in self._instances.values():
            if instance.key == key and _gets_along(instance, settings):
                return instance
        return None

    async def _on_demand(self, key: InstanceKey, settings: Mapping[str, object]) -> Instance:
        wanted = Wanted(key, "", settings, is_configured=False, is_on_demand=True)
        leave = await self._clear(wanted)
        self._require_up(key)
        name = (key, reach_of(leave.manifest, settings))
        found = self._found(key, settings) or self._instances.get(name)
        if found:  # another call was quicker
            return found
        self._make_room()
        return self._begin(name, wanted)

    def _require_up(self, key: InstanceKey) -> None:
        """Require that plugins can be started, and are not just being ended.

        Raises:
            PluginNotReady: they cannot, or are.
        """
        if self._is_draining or not self._surroundings.group:
            raise PluginNotReady(
                f"`{key.plugin}` does not run: the host is not up, or just stopping",
                next=["ask again when it is up"],
            )

    def _make_room(self) -> None:
        """End the instance that was not used for longest when there are as many as may be.

        Raises:
            TooManyPlugins: all of them are in use.
        """
        rules = self._rules
        there = [each for each in self._instances.values() if each.is_on_demand]
        staying = [each for each in there if not each.is_ending]
        if len(staying) < rules.most_on_demand:
            return
        idle = [each for each in staying if each.is_idle]
        if not idle:
            raise TooManyPlugins(
                "the plugin was not started: too many run for the sake of single calls",
                why=f"{len(staying)} are in use, and {rules.most_on_demand} may be",
                next=["wait until one of their calls has ended", "state plugins with `[[run]]`"],
            )
        min(idle, key=lambda each: each.current.used_s).stop()


def _kept(status: Status) -> Callable[[], Status]:
    """Return what gives the last status of what is gone, and keeps no more of it."""
    return lambda: status


def _gets_along(instance: Instance, settings: Mapping[str, object]) -> bool:
    """Return whether a call with such settings can be made of what an instance runs as."""
    leave = instance.current.leave
    given = instance.current.wanted.settings
    if given == settings:
        return True
    if leave is None:
        return False
    return reach_of(leave.manifest, given) == reach_of(leave.manifest, settings)


def _is_final(error: AperioError | OSError) -> bool:
    """Return whether an error says that something may not run, or is not there.

    Any other says that nobody knows: a configuration that cannot be read at the moment, say.
    """
    if isinstance(error, Refusal | NotInstalled):
        return True
    return isinstance(error, AperioError) and error.exit_status == INCOMPATIBLE
