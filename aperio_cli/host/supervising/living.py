"""One life and its process: what `life` decides, done."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import traceback
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.installing import PluginInUse
from aperio_cli.errors.running import (
    HandshakeTimeout,
    PluginConfigInvalid,
    PluginDeadlineExceeded,
    PluginFault,
    PluginHung,
    PluginInterrupted,
)
from aperio_cli.errors.usage import InternalError
from aperio_cli.host.beside import beside
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.process.logs import LogRecord
from aperio_cli.host.supervising.breaker import Breaker
from aperio_cli.host.supervising.life import Action, Event, Goal, Life, Moment, Reason, advance
from aperio_cli.host.supervising.pulse import Beat, Pulse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.supervising.instances import InstanceKey, Wanted
    from aperio_cli.host.supervising.launcher import Launcher, Leave
    from aperio_cli.host.supervising.rules import Rules
    from aperio_cli.models.plugin_id import PluginId

_NUMBERS: Final = re.compile(r"0x[0-9a-f]+|\d+")
_THROTTLED_PART: Final = 0.25
_FAILING_S: Final = 1.0
_TRYING: Final = frozenset({Phase.STARTING, Phase.BACKOFF})
_Outcome = tuple[Event, Reason | None]


@dataclass(slots=True)
class Surroundings:
    """What all lives under one supervisor share.

    Attributes:
        launcher: clears and launches.
        rules: how patient to be.
        log: takes what a plugin, or the host about it, has to say.
        starts: lets so many start at once.
        group: what processes are watched in; set while the supervisor runs.
        breakers: of plugins, each made when it is first asked for.
        is_ending: whether the supervisor itself is ending, so that nothing more is started.
        released: plugins, each with a version or an empty text for all of them, of which nothing
            is started now: somebody changes their files.
    """

    launcher: Launcher
    rules: Rules
    log: Callable[[InstanceKey, LogRecord], None]
    starts: asyncio.Semaphore
    group: asyncio.TaskGroup | None = None
    breakers: dict[PluginId, Breaker] = field(default_factory=dict)
    is_ending: bool = False
    released: list[tuple[PluginId, str]] = field(default_factory=list)

    def is_released(self, plugin: PluginId, version: str) -> bool:
        """Return whether nothing of a version may be started now."""
        return not {(plugin, ""), (plugin, version)}.isdisjoint(self.released)

    async def clear(self, wanted: Wanted) -> Leave:
        """Return leave to start an instance, as `Launcher.clear`; nothing blocks.

        Raises:
            PluginInUse: somebody changes its files.
            AperioError: it may not be started.
        """
        leave = await asyncio.to_thread(self.launcher.clear, wanted)
        plugin = wanted.key.plugin
        if self.is_released(plugin, leave.version):
            raise PluginInUse(
                f"`{plugin}` {leave.version} was not started: it is being changed or removed",
                next=["wait: the host starts what is there afterwards"],
            )
        return leave


def reason_of(error: BaseException) -> Reason:
    """Return why something is not running, from an error.

    Two deaths are alike when code and first line of evidence are, whatever numbers stand in it.
    """
    if isinstance(error, AperioError):
        text = "\n".join(filter(None, [error.what, error.why]))
        if isinstance(error, HandshakeTimeout | PluginDeadlineExceeded):  # the machine is busy
            return Reason(error.code, text)
        first = error.why.partition("\n")[0]
        return Reason(error.code, text, f"{error.code} {_NUMBERS.sub('0', first)}")
    if isinstance(error, OSError):  # of this machine, not of the plugin
        what = error.strerror or str(error)
        return Reason("place-unusable", f"{what}: {error.filename}" if error.filename else what)
    return Reason(InternalError.code, f"a mistake in aperio: {type(error).__name__}")


def trace_of(error: BaseException) -> str:
    """Return where an unforeseen error was raised; nothing of its text, which may hold a secret."""
    lines = traceback.format_tb(error.__traceback__)
    return "".join([f"a mistake in aperio: {type(error).__name__}\n", *lines]).rstrip()


class Living:
    """One life; everything happens on the supervisor's loop.

    Attributes:
        wanted: what is started next.
        life: where it is.
        leave: of what was started last; None: nothing was yet.
        plugin: the running plugin, while it is healthy or just ending.
        is_clearing: whether it is just being asked what is to be started, or will be.
        in_flight: calls that are being made.
        healthy_at: when it last answered a health check.
        started_at: when its process was last started.
        used_s: when a call last ended, on the monotonic clock.
    """

    def __init__(
        self,
        who: str,
        wanted: Wanted,
        surroundings: Surroundings,
        changed: Callable[[Living], None],
    ) -> None:
        self.wanted = wanted
        self.life = Life(who)
        self.leave: Leave | None = None
        self.plugin: RunningPlugin | None = None
        self.is_clearing = False
        self.in_flight = 0
        self.healthy_at: datetime | None = None
        self.started_at: datetime | None = None
        self.used_s = clock.monotonic_s()
        self._surroundings = surroundings
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = self._is_queued = self._has_begun = False
        self._to_end = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._waiting: set[asyncio.Future[None]] = set()

    # ── what happens to it ────────────────────────────────────────────────────────────────────────

    @property
    def breaker(self) -> Breaker:
        """The breaker of its plugin."""
        return self._surroundings.breakers.setdefault(self.wanted.key.plugin, Breaker())

    @property
    def phase(self) -> Phase:
        """What people see."""
        return self.life.phase

    @property
    def version(self) -> str:
        """The version that was started last; empty: none was cleared yet."""
        return self.leave.version if self.leave else ""

    @property
    def is_given_up(self) -> bool:
        """Whether what was started is of no use: only something else would help.

        It is FAILED by itself; or it has died so often in a row that the machine, busy or not,
        would have been in time for one that can be healthy.
        """
        life = self.life
        if life.phase in _TRYING:
            return life.deaths >= self._surroundings.rules.deaths_to_open
        return life.phase is Phase.FAILED and not life.is_refused

    @property
    def is_settled(self) -> bool:
        """Whether it is up, and has been for long enough that its deaths before are forgotten."""
        return self.life.phase is Phase.READY and self.life.until_s is None

    @property
    def is_queued(self) -> bool:
        """Whether others start before it, so that nothing was cleared for it yet."""
        return self._is_queued and self.phase is Phase.STARTING

    def tell(self, event: Event, reason: Reason | None = None) -> None:
        """Take in what happened, and begin what is to be done about it."""
        if self._surroundings.is_ending:
            return
        moment = Moment(clock.monotonic_s(), self._surroundings.rules, random.random())  # noqa: S311 - jitter
        before = self.life
        step = advance(before, self.breaker, event, moment, reason)
        self.life = step.life
        self._surroundings.breakers[self.wanted.key.plugin] = step.breaker
        for action in step.actions:
            self._do(action)
        self._wind_up()
        if self.life != before:
            self._tell_others(before)

    def _do(self, action: Action) -> None:
        match action:
            case Action.START:
                group = self._surroundings.group
                assert group  # noqa: S101 - a supervisor that does not run wants nothing
                self._is_ending, self.is_clearing, self._is_queued = False, True, True
                self._has_begun = False
                self._to_end.clear()
                self._task = group.create_task(self._run(), name=self.life.who)
            case Action.END:
                self._is_ending = True
                self._to_end.set()
                # A task that is cancelled before its first step takes none, and would tell nothing.
                if self.plugin is None and self._task and self._has_begun:
                    self._task.cancel()
            case Action.GIVE_UP:
                reason = self.life.reason
                why = f": {reason.text}" if reason else ""
                self.say("error", f"given up until something about it changes{why}")
            case Action.RELAPSED:
                self._say_relapses()

    def _say_relapses(self) -> None:
        """Say what the operator alone can decide: it has been at work, and may not be the cause."""
        rules, plugin = self._surroundings.rules, self.wanted.key.plugin
        self.say(
            "error",
            f"{self.version} has died {rules.relapses} times in a row although it had been healthy,"
            f" each time within {rules.lasting_s:g} s, and is started again;"
            f" if that came with an update: `aperio plugin rollback {plugin}`",
        )

    def _wind_up(self) -> None:
        """Have it told when its time comes."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self.life.until_s is not None:
            left_s = max(0.0, self.life.until_s - clock.monotonic_s())
            self._timer = asyncio.get_running_loop().call_later(left_s, self.tell, Event.TICK)

    def _tell_others(self, before: Life) -> None:
        if self.life.phase is not before.phase:
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_result(None)
            self._waiting.clear()
        self._changed(self)

    def say(self, level: str, message: str) -> None:
        """Say something about it, in its log."""
        with contextlib.suppress(OSError, ValueError):
            self._surroundings.log(self.wanted.key, LogRecord(level, message, "host"))

    async def phase_changes(self) -> None:
        """Wait until it is in another phase."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    # ── its calls ─────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def call(self, plugin: RunningPlugin) -> Iterator[RunningPlugin]:
        """Give the plugin for the length of a block, which holds up a stop for some time."""
        self.in_flight += 1
        self._idle.clear()
        try:
            yield plugin
        finally:
            self.in_flight -= 1
            self.used_s = clock.monotonic_s()
            if not self.in_flight:
                self._idle.set()

    # ── its process ───────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        """Clear it, launch it, watch it; tell how that came out."""
        self._has_begun = True
        event: Event
        reason: Reason | None
        try:
            event, reason = (Event.ENDED, None) if self._is_ending else await self._attempt()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._is_ending or (task and task.uncancel() > 0):
                raise  # the supervisor itself is ending
            event, reason = Event.ENDED, None
        except AperioError as error:
            event, reason = _failed(error), reason_of(error)
        except OSError as error:
            event, reason = Event.REFUSED, reason_of(error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one plugin ends no other
            self.say("error", trace_of(error))
            event, reason = Event.DIED, reason_of(error)
        self._task = self.plugin = None
        if reason and event is not Event.UNFIT:
            self.say("error", reason.text)
        self.tell(event, reason)

    async def _attempt(self) -> _Outcome:
        surroundings, asked_s = self._surroundings, clock.monotonic_s()
        async with contextlib.AsyncExitStack() as starting:
            await starting.enter_async_context(surroundings.starts)
            self._is_queued = False
            leave, wanted = None, None
            while leave is None or wanted != self.wanted:  # it may become another meanwhile
                wanted = self.wanted
                leave = await surroundings.clear(wanted)
            self.leave = leave = replace(leave, asked_s=asked_s)
            self.is_clearing = False
            self.started_at = clock.now()
            async with surroundings.launcher.launch(leave, wanted, self._log) as plugin:
                await starting.aclose()
                self.plugin = plugin
                self.healthy_at = clock.now()
                self.tell(Event.READY)
                return await self._watch(plugin)

    def _log(self, record: LogRecord) -> None:
        self._surroundings.log(self.wanted.key, record)

    async def _watch(self, plugin: RunningPlugin) -> _Outcome:
        """Wait until it has ended, or is to end."""
        async with contextlib.AsyncExitStack() as watching:
            ended = await watching.enter_async_context(beside(plugin.ended()))
            beating = await watching.enter_async_context(beside(self._beat(plugin)))
            asked = await watching.enter_async_context(beside(self._to_end.wait()))
            await asyncio.wait({ended, beating, asked}, return_when=asyncio.FIRST_COMPLETED)
            if beating.done() and not asked.done():
                beating.result()  # it hangs, and was killed; else it raises what went wrong with us
                await asyncio.wait([ended])
            if not ended.done():
                await self._quieten(plugin, ended)
            elif not asked.done():
                await self._let_fail()
                return Event.DIED, _death(ended)
        return Event.ENDED, None

    async def _quieten(self, plugin: RunningPlugin, ended: asyncio.Task[Any]) -> None:
        """Let calls in flight end, for a while; then fail those that are left."""
        patience_s = self._surroundings.rules.drain_s
        if self.life.pending or self.life.goal is Goal.PAUSE:
            patience_s = 0.0
        async with beside(self._idle.wait()) as idle:
            await asyncio.wait(
                {idle, ended}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
        if self.in_flight:
            plugin.interrupt(
                PluginInterrupted(
                    f"{plugin.program.subject} was stopped by its host while it was at work",
                    why=self._why_stopped(),
                    next=["ask again once it is ready"],
                )
            )
            await self._let_fail()

    async def _let_fail(self) -> None:
        """Let calls in flight see that the process is gone, before their channel is closed."""
        async with beside(self._idle.wait()) as idle:
            await asyncio.wait({idle}, timeout=_FAILING_S)

    def _why_stopped(self) -> str:
        if self.life.pending:
            return self.life.pending.text
        if self.life.goal is Goal.PAUSE:
            return "it was paused"
        waited = f"calls in flight were given {self._surroundings.rules.drain_s:g} s to end"
        return f"it is not wanted any more, or not as it was; {waited}"

    async def _beat(self, plugin: RunningPlugin) -> None:
        """Check its health again and again; return once it hung and was killed."""
        rules, pulse = self._surroundings.rules, Pulse()
        while True:
            await asyncio.sleep(pulse.wait_s(rules, random.random()))  # noqa: S311 - jitter
            beat = await _checked(plugin, rules.heartbeat_timeout_s)
            pulse = pulse.after(beat, rules)
            if not beat.why:
                self.healthy_at = clock.now()
            elif pulse.hangs(rules):
                break
        by = "it was at the limit of its processor meanwhile" if pulse.throttled else ""
        plugin.interrupt(
            PluginHung(
                f"{plugin.program.subject} did not answer its health checks, and was killed",
                why="\n".join(filter(None, [beat.why, by])),
                next=[plugin.program.advice.failed],
            )
        )


async def _checked(plugin: RunningPlugin, timeout_s: float) -> Beat:
    """Return how one health check came out."""
    before = plugin.counters().throttled_s or 0.0
    began_s = clock.monotonic_s()
    try:
        why = await plugin.pulse(timeout_s)
    except PluginFault as fault:
        why = fault.why or fault.what
    took_s = clock.monotonic_s() - began_s
    held_s = (plugin.counters().throttled_s or 0.0) - before if why else 0.0
    return Beat(why, took_s, was_throttled=held_s > _THROTTLED_PART * took_s > 0)


def _failed(error: AperioError) -> Event:
    """Return what an error of a start comes to."""
    if isinstance(error, PluginConfigInvalid):
        return Event.UNFIT
    return Event.DIED if isinstance(error, PluginFault) else Event.REFUSED


def _death(ended: asyncio.Task[Any]) -> Reason:
    error = ended.exception()
    if error is None:
        return Reason("plugin-crashed", "it ended by itself, with exit status 0")
    return reason_of(error)
