"""The service: one host of a home, from its lock to its last word.

Everything that is up beside plugins is put together here: the lock, the control API, logs,
receipts, metrics, traces, and what the service manager hears.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.host.control.server import serve
from aperio_cli.host.lifecycle import Phase
from aperio_cli.serving.host import Hearing, Host
from aperio_cli.serving.logs import PluginLogs
from aperio_cli.serving.notify import Notifier
from aperio_cli.serving.refreshing import Refreshing
from aperio_cli.serving.served import Served
from aperio_cli.serving.single import single
from aperio_cli.serving.telling import in_words, not_enforced, summary_of
from aperio_cli.serving.voice import Voice
from aperio_cli.serving.wanted import all_installed, stated
from aperio_cli.serving.wide_events import wide_event
from aperio_cli.text import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from aperio_cli.host.supervising.instances import InstanceKey
    from aperio_cli.models.run_receipt import RunReceipt
    from aperio_cli.registry import Registry
    from aperio_cli.running import Collaborators
    from aperio_cli.serving.metrics import Metrics
    from aperio_cli.serving.single import RunningHost
    from aperio_cli.serving.traces import Traces

_TELLING: Final = frozenset({Phase.READY, Phase.BACKOFF, Phase.FAILED, Phase.PAUSED})
"""States that people are told of as they come."""


@dataclass(frozen=True, slots=True)
class Speaking:
    """What is said by a host, and where; called in one thread, and may block there.

    Attributes:
        say: takes words for people, with their level: debug, info, warn or error.
        line: takes an object that is one line of the host's output.
    """

    say: Callable[[str, str], object]
    line: Callable[[dict[str, Any]], object]


@dataclass(slots=True)
class _Watching:
    """What those who watch from outside have been given.

    Attributes:
        metrics: None: nobody wants them.
        traces: None: nobody wants them.
    """

    metrics: Metrics | None = None
    traces: Traces | None = None


@dataclass(slots=True)
class Service:
    """One host, once.

    Attributes:
        collaborate: makes the operator's collaborators anew, with nothing that was read before.
        speaking: where it says what.
        is_all: whether every installed plugin is kept up, or only what `[[run]]` tables state.
        has_changes: whether a change of an instance is a line of its output, too.
        was_interrupted: whether somebody pressed Ctrl-C to end it.
        open_registry: gives the registries as they are stated; None: there is no network.
    """

    collaborate: Callable[[], Collaborators]
    speaking: Speaking
    is_all: bool = False
    has_changes: bool = False
    was_interrupted: bool = False
    open_registry: Callable[[], Registry] | None = None
    _watching: _Watching = field(default_factory=_Watching)
    _voice: Voice = field(init=False)
    _keeper: Voice = field(init=False)
    _notifier: Notifier = field(init=False)
    _host: Host = field(init=False)
    _logs: PluginLogs = field(init=False)
    _refreshing: Refreshing | None = None
    _ending: asyncio.Task[None] | None = None
    _is_announced: bool = False

    async def run(self) -> None:
        """Keep plugins up until SIGTERM or SIGINT; a second one ends it at once.

        Raises:
            HostRunning: there is a host on this home.
            ExtraMissing, PlaceUnusable: something that the configuration asks for cannot be had.
            AperioError: the configuration cannot be read, or the home not be written.
        """
        collaborators = self.collaborate()
        paths, environment = collaborators.paths, collaborators.environment
        collaborators.config()
        started_at = clock.now()
        self._notifier = Notifier(environment)
        self._voice = Voice(self._left_out)
        self._keeper = Voice(self._not_kept)
        self._logs = PluginLogs(paths.plugin_logs, self._say)
        with (
            single(paths, environment, clock.format_timestamp(started_at)) as me,
            self._voice.speaking(),
            self._keeper.speaking(),  # apart: whoever reads what is said may stop reading
            contextlib.closing(self._logs),
        ):
            self._host = self._made(me, started_at, collaborators)
            self._hear_signals()
            watcher = asyncio.create_task(self._watch())
            try:
                await self._host.serve()
            finally:
                self._notifier.stopping("ended")
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)

    def _made(self, me: RunningHost, started_at: datetime, first: Collaborators) -> Host:
        """Return the host with what is up beside it."""

        @contextlib.asynccontextmanager
        async def controlled(host: Host) -> AsyncIterator[None]:
            served = Served(host, started_at, self._logs, self._keeper.do, self._ended)
            served.say = self._say
            served.heard_of = lambda: self._refreshing.heard if self._refreshing else None
            try:
                async with serve(me.socket, served, self._say):
                    yield
            finally:
                served.write()

        def seen(host: Host) -> contextlib.AbstractAsyncContextManager[None]:
            return self._seen(host, started_at, first)

        @contextlib.asynccontextmanager
        async def refreshed(host: Host) -> AsyncIterator[None]:
            if self.open_registry is None:
                yield
                return
            launching = host.launching
            self._refreshing = Refreshing(
                self.open_registry,
                lambda: launching.collaborators.store,
                lambda: launching.collaborators.config().refresh_hours,
                self._say,
            )
            async with self._refreshing.running():
                yield

        return Host(
            self.collaborate,
            all_installed if self.is_all else stated,
            hearing=Hearing(self._logs.take, self._say, self._beat),
            parts=(seen, refreshed, controlled),
        )

    @contextlib.asynccontextmanager
    async def _seen(
        self, host: Host, started_at: datetime, first: Collaborators
    ) -> AsyncIterator[None]:
        """Have metrics and traces, as the configuration wants them, for the length of a block."""
        config, watching = first.config(), self._watching
        with contextlib.ExitStack() as held:
            if config.metrics:
                from aperio_cli.serving.metrics import Metrics

                watching.metrics = Metrics(host.supervisor.statuses, started_at)
                address, _, port = config.metrics.rpartition(":")
                served = watching.metrics.served(address.strip("[]"), int(port))
                self._say("info", f"metrics: port {held.enter_context(served)} of {address}")
            if config.traces:
                from aperio_cli.serving.traces import Traces

                watching.traces = Traces(config.traces)
            yield
            if watching.traces:
                await asyncio.to_thread(watching.traces.close)
                watching.traces = None

    # ── what is said ──────────────────────────────────────────────────────────────────────────────

    def _say(self, level: str, words: str) -> None:
        # Further lines are indented: what a plugin said may stand in them, and is no line of ours.
        text = words.replace("\n", "\n    ")
        self._voice.do(lambda: self.speaking.say(level, text))

    def _left_out(self, count: int) -> None:
        self.speaking.say("warn", f"{counted(count, 'line')} left out: nobody read in time")

    def _not_kept(self, count: int) -> None:
        self._say("warn", f"{counted(count, 'receipt')} not kept: the disk did not keep up")

    def _ended(self, receipt: RunReceipt) -> None:
        """Tell those who watch of a run that has ended; called in the keeper's thread."""
        self._voice.do(lambda: self.speaking.line(wide_event(receipt)))
        if self._watching.metrics:
            self._watching.metrics.ended(receipt)
        if self._watching.traces:
            self._watching.traces.ended(receipt)

    def _beat(self) -> None:
        """Feed the watchdog; only reconciliation does. What was begun is done by then."""
        self._notifier.beat()
        summary = summary_of(self._host.supervisor.statuses())
        if self._is_announced:
            self._notifier.status(summary)
        else:
            self._is_announced = True
            self._notifier.ready(summary)
            if not self._host.supervisor.statuses():
                self._say("info", f"{summary}: {_NONE_INSTALLED if self.is_all else _NONE_STATED}")

    async def _watch(self) -> None:
        """Tell people, and with `has_changes` programs, of each change of an instance."""
        before: dict[tuple[InstanceKey, bool], tuple[Phase, str]] = {}
        unlimited: set[tuple[str, ...]] = set()
        async for status in self._host.supervisor.watch():
            which, now = (status.key, status.is_on_demand), (status.phase, status.reason)
            if self.has_changes:
                line = {"type": "instance", **status.to_json()}
                self._voice.do(lambda line=line: self.speaking.line(line))  # type: ignore[misc] # a default argument
            if status.phase in _TELLING and before.get(which) != now:
                level = "info" if status.phase is Phase.READY else "warn"
                self._say(level, in_words(status))
            if status.not_enforced and status.not_enforced not in unlimited:
                unlimited.add(status.not_enforced)
                self._say("warn", not_enforced(status))
            before[which] = now
            if status.phase is Phase.STOPPED:  # gone, perhaps: callers have many names
                del before[which]

    # ── signals ───────────────────────────────────────────────────────────────────────────────────

    def _hear_signals(self) -> None:
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        assert me  # noqa: S101 - a coroutine on a loop has one

        def end(number: int) -> None:
            self.was_interrupted = number == signal.SIGINT
            if self._ending:  # somebody will not wait
                me.cancel()
                return
            up = sum(each.phase is Phase.READY for each in self._host.supervisor.statuses())
            ending = f"ending {counted(up, 'plugin')}"
            self._say("info", ending)
            self._notifier.stopping(ending)
            self._ending = asyncio.create_task(self._host.drain())

        def reload() -> None:
            self._notifier.reloading()
            self._is_announced = False
            self._say("info", "reading the configuration anew")
            self._host.reload()
            if self._refreshing:
                self._refreshing.ask_now()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, number)
        loop.add_signal_handler(signal.SIGHUP, reload)


_NONE_INSTALLED = "nothing is installed here, `aperio plugin install` does that"
_NONE_STATED = (
    "config.toml has no [[run]] table, and `--all` runs what is installed; each is started for a"
    " call that a program makes"
)


def as_line(document: dict[str, Any]) -> bytes:
    """Return an object as a line of the host's output."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
