"""One instance: the life that takes its calls, and while another version comes up, that one too."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors.running import PluginNotReady
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising.changeover import Turn, turn
from aperio_cli.host.supervising.instances import Status
from aperio_cli.host.supervising.life import Event, Goal
from aperio_cli.host.supervising.living import Living, Surroundings, reason_of
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from aperio_cli.errors import AperioError
    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.supervising.instances import InstanceKey, Name, Pause, Wanted
    from aperio_cli.host.supervising.launcher import Leave
    from aperio_cli.models.plugin_id import PluginId

_COMING: Final = frozenset({Phase.STARTING, Phase.STOPPING})


class Instance:
    """One plugin for one integration, with one reach.

    Attributes:
        name: by which its supervisor knows it.
        wanted: what is wanted of it.
        current: the life that takes its calls.
    """

    _serial = itertools.count(1)

    def __init__(
        self,
        name: Name,
        wanted: Wanted,
        surroundings: Surroundings,
        changed: Callable[[Instance], None],
    ) -> None:
        self.name = name
        self.wanted = wanted
        self._surroundings = surroundings
        self._changed = changed
        self._newcomer: Living | None = None
        self._leaving: set[Living] = set()
        self._claims = 0
        self._problem = ""
        self._pause: Pause | None = None
        self.current = self._life(wanted)

    def _life(self, wanted: Wanted) -> Living:
        who = f"{wanted.key} #{next(self._serial)}"
        return Living(who, wanted, self._surroundings, self._note)

    @property
    def key(self) -> InstanceKey:
        """Which it is."""
        return self.wanted.key

    @property
    def is_on_demand(self) -> bool:
        """Whether only calls keep it up."""
        return self.wanted.is_on_demand

    @property
    def is_gone(self) -> bool:
        """Whether nobody wants it, and nothing of it is left."""
        return all(life.phase is Phase.STOPPED for life in self.lives)

    @property
    def lives(self) -> tuple[Living, ...]:
        """Those that take its calls, are to take them, or have just done so."""
        return tuple(filter(None, (self.current, self._newcomer, *self._leaving)))

    @property
    def given_up(self) -> Living | None:
        """The life of which there was no use in starting what is wanted; None: there is none."""
        life = self._newcomer or self.current
        return life if life.is_given_up else None

    @property
    def _is_holding(self) -> bool:
        """Whether it stays the version that it is, since the one that is used does not start."""
        newcomer, current = self._newcomer, self.current
        if newcomer is None or current.leave is None or self.wanted.version:
            return False
        return newcomer.is_given_up and newcomer.version != current.version

    @property
    def is_ending(self) -> bool:
        """Whether it is just being ended, and is not to come again."""
        return self.current.life.goal is Goal.STOP

    @property
    def is_queued(self) -> bool:
        """Whether it waits for its start, before which what is wanted now is cleared anyhow."""
        current = self.current
        return self._newcomer is None and current.is_queued and current.wanted == self.wanted

    @property
    def is_idle(self) -> bool:
        """Whether no call uses it or waits for it, and the operator does not keep it."""
        return not self._claims and self.current.life.goal is Goal.RUN

    # ── what is wanted of it ──────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Have it up."""
        self.current.tell(Event.WANT)

    def stop(self) -> None:
        """Have it end."""
        self._drop_newcomer()
        self.current.tell(Event.STOP)

    def runs(self, plugin: PluginId, version: str) -> bool:
        """Return whether there is a process of a plugin's version; empty: of any version."""
        return self.key.plugin == plugin and any(
            life.life.has_process and version in {"", life.version} for life in self.lives
        )

    def let_go(self, version: str) -> bool:
        """End what runs of a version, empty: of any; return whether that is what takes calls."""
        if self._newcomer and version in {"", self._newcomer.version}:
            self._drop_newcomer()
        if not self.current.life.has_process or version not in {"", self.current.version}:
            return False
        self.stop()
        return True

    def pause(self, pause: Pause) -> None:
        """Have it rest until it is resumed.

        Args:
            pause: who wants that, and why.
        """
        self._drop_newcomer()
        self._pause = pause
        self.current.say("warn", clean(str(pause)))
        self.current.tell(Event.PAUSE)

    def resume(self) -> None:
        """Have it go on, whatever was before."""
        self._pause = None
        self.current.tell(Event.RESUME)

    def retry(self) -> None:
        """Begin again where it was given up."""
        for life in filter(None, (self.current, self._newcomer)):
            if life.phase in {Phase.FAILED, Phase.BACKOFF}:
                life.tell(Event.RESUME)

    def want(self, wanted: Wanted) -> None:
        """Take in what is wanted now; `judge` makes something of it."""
        is_other, self.wanted = wanted != self.wanted, wanted
        if not self.current.life.has_process and (is_other or not self._is_holding):
            self.current.wanted = wanted
            if is_other:
                self.current.tell(Event.RENEW)

    # ── whether it may be that ────────────────────────────────────────────────────────────────────

    def allowed(self, leave: Leave) -> None:
        """Take in that what is wanted may be started."""
        self._problem = ""
        current, newcomer = self.current, self._newcomer
        step = turn(
            current.phase,
            newcomer.phase if newcomer else None,
            wants_current=_is_as(current, leave),
            wants_newcomer=newcomer is not None and _is_as(newcomer, leave),
            is_holding=self._is_holding,
        )
        match step:
            case Turn.BEGIN:
                self._newcomer = self._life(self.wanted)
                self._newcomer.tell(Event.WANT)
            case Turn.RENEW:
                renewed = newcomer or current
                renewed.wanted = self.wanted
                renewed.tell(Event.RENEW)
            case Turn.DROP:
                self._drop_newcomer()
                self._stay(leave)
            case Turn.KEEP if not newcomer:
                self._stay(leave)
        for life in filter(None, (current, newcomer)):
            if _is_as(life, leave):
                life.tell(Event.ALLOWED)

    def _stay(self, leave: Leave) -> None:
        """Have what runs be what is wanted, as it is allowed now."""
        before = self.status()
        self.current.wanted = self.wanted
        if not self.current.is_clearing:
            self.current.leave = leave
        if self.status() != before:
            self._changed(self)

    def refused(self, error: AperioError) -> None:
        """Take in that it may not be run, neither as it is wanted nor as it is."""
        self._drop_newcomer()
        self._problem = ""
        self.current.tell(Event.WITHDRAWN, reason_of(error))

    def unknown(self, error: Exception) -> None:
        """Take in that what is wanted cannot be had: what runs, and may, goes on."""
        self._problem = reason_of(error).text
        if self._newcomer:
            self._newcomer.tell(Event.WITHDRAWN, reason_of(error))
        if self.current.phase is not Phase.READY:
            self.current.tell(Event.WITHDRAWN, reason_of(error))
        self._changed(self)

    # ── its lives ─────────────────────────────────────────────────────────────────────────────────

    def _note(self, life: Living) -> None:
        """Called after each change of a life."""
        if life.phase is Phase.STOPPED:
            self._leaving.discard(life)
        newcomer, current = self._newcomer, self.current
        if self._is_holding:  # when it dies it comes again as what it is
            current.wanted = replace(current.wanted, version=current.version)
        elif newcomer and (newcomer.phase is Phase.READY or current.phase is not Phase.READY):
            self._take_over(newcomer)
        self._changed(self)

    def _take_over(self, newcomer: Living) -> None:
        old, self.current, self._newcomer = self.current, newcomer, None
        self._let_go(old)

    def _drop_newcomer(self) -> None:
        if newcomer := self._newcomer:
            self._newcomer = None
            self._let_go(newcomer)

    def _let_go(self, life: Living) -> None:
        self._leaving.add(life)
        life.tell(Event.STOP)
        if life.phase is Phase.STOPPED:
            self._leaving.discard(life)

    # ── its calls ─────────────────────────────────────────────────────────────────────────────────

    @contextlib.asynccontextmanager
    async def call(self) -> AsyncIterator[RunningPlugin]:
        """Give the running plugin for the length of a block; wait for one that is on demand.

        Raises:
            PluginNotReady: it does not run now.
        """
        self._claims += 1
        try:
            while self.is_on_demand and self.current.phase in _COMING:
                await self.current.phase_changes()
            life = self.current
            if life.phase is not Phase.READY or life.plugin is None:
                raise self.not_ready()
            with life.call(life.plugin) as plugin:
                yield plugin
        finally:
            self._claims -= 1

    def not_ready(self) -> PluginNotReady:
        """Return the error for a call that cannot be made now."""
        status = self.status()
        if self._pause:
            return paused(self.key, self._pause)
        why = [f"state {status.phase.value}", status.reason]
        if status.until:
            why.append(f"it is started again at {status.until:%H:%M:%S} UTC")
        return PluginNotReady(
            f"`{self.key.plugin}` does not run for {self.key.organization} now",
            why="\n".join(filter(None, why)),
            next=["`aperio host status` says how it is, and what to do"],
        )

    # ── how it is ─────────────────────────────────────────────────────────────────────────────────

    def status(self) -> Status:
        """Return how it is now."""
        living, life = self.current, self.current.life
        leave, plugin = living.leave, living.plugin
        is_up = life.phase is Phase.READY
        return Status(
            key=self.key,
            phase=life.phase,
            version=leave.version if leave else self.wanted.version,
            kind=leave.manifest.kind if leave else "",
            badge=leave.badge if leave else "",
            signer=leave.signer if leave else "",
            code=life.reason.code if life.reason else "",
            reason=life.reason.text if life.reason else "",
            until=_on_the_wall(life.until_s) if life.phase is Phase.BACKOFF else None,
            restarts=max(0, life.starts - 1),
            last_healthy_at=living.healthy_at,
            started_at=living.started_at if life.has_process else None,
            pid=plugin.pid if plugin and is_up else None,
            not_enforced=leave.not_enforced if leave else (),
            exceptions=leave.exceptions if leave else (),
            peak_memory_bytes=plugin.counters().memory_peak_bytes if plugin else None,
            breaker=living.breaker.position.value,
            is_on_demand=self.is_on_demand,
            calls=living.in_flight,
            newcomer=self._of_newcomer(),
            fallback=leave.fallback if leave else None,
            pause=self._pause,
        )

    def _of_newcomer(self) -> str:
        if newcomer := self._newcomer:
            version = newcomer.leave.version if newcomer.leave else newcomer.wanted.version
            reason = newcomer.life.reason
            return f"{version} {newcomer.phase.value}{f': {reason.text}' if reason else ''}".strip()
        return self._problem


def paused(key: InstanceKey, pause: Pause) -> PluginNotReady:
    """Return the error for a call to what is paused."""
    return PluginNotReady(
        f"`{key.plugin}` does not run for {key.organization} now: it is paused",
        why=clean(str(pause)),
        next=[f"`aperio host resume {key.plugin}`, once that is over"],
    )


def _is_as(life: Living, leave: Leave) -> bool:
    """Return whether a life was started, or is just being, as what there is leave for."""
    return life.is_clearing or life.leave is None or life.leave.likeness == leave.likeness


def _on_the_wall(until_s: float | None) -> datetime | None:
    """Return when that is by the time of day, as it is set now."""
    from datetime import timedelta

    if until_s is None:
        return None
    return clock.now() + timedelta(seconds=max(0.0, until_s - clock.monotonic_s()))
