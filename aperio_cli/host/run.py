"""One run of a plugin: what `lifecycle` decides, done to a real process."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.running import PluginFault
from aperio_cli.host import lifecycle
from aperio_cli.host.calls.invocation import OpenInvocations
from aperio_cli.host.held import Held
from aperio_cli.host.lifecycle import Action, Event, Phase
from aperio_cli.host.postmortem import PostMortem
from aperio_cli.host.process.floods import Allowance
from aperio_cli.host.process.logs import StderrReader
from aperio_cli.host.process.masking import Masks
from aperio_cli.host.sandbox.reaching import limits_reached
from aperio_cli.host.speech import Speech
from aperio_cli.host.starting import Start
from aperio_cli.host.stopping import Stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.data.state import StateDatabase
    from aperio_cli.host.calls.session import Fitted
    from aperio_cli.host.options import LaunchOptions
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.process.program import Program
    from aperio_cli.host.process.spawning import Process
    from aperio_cli.host.sandbox.interface import Counters
    from aperio_cli.host.wire.channel import Calls
    from aperio_cli.host.wire.handshake import Handshake


class Run:
    """The effects of one run.

    Attributes:
        program: what is run.
        state: where it is.
        invocations: those that its host services answer for.
        masks: the secrets that it was given, for all that it says.
        held: what it holds open.
        process: its process, once it was spawned.
        accepted: its handshake, once it was read.
        socket: where it listens, once that is known.
        calls: its calls, once it is healthy.
        declaration: its SchemaResponse or CapabilitiesResponse, once somebody has asked.
        fitted: settings of the host's own that were held against that; None: none were yet.
    """

    process: Process
    accepted: Handshake
    socket: Path
    calls: Calls

    def __init__(
        self, program: Program, options: LaunchOptions, log: Callable[[LogRecord], None]
    ) -> None:
        self.program = program
        self.state = lifecycle.RunState()
        self.invocations = OpenInvocations(program.state_owner)
        self.masks = Masks()
        self.held = Held()
        self.declaration: Any = None
        self.fitted: Fitted | None = None
        self._options = options
        self._speech = speech = Speech(log)
        allowance = Allowance(options.chatter)
        stderr = StderrReader(speech.take, self.masks, allowance)
        self._post_mortem = PostMortem(program, stderr)
        self._start = Start(
            program=program,
            options=options,
            held=self.held,
            invocations=self.invocations,
            speech=speech,
            masks=self.masks,
            allowance=allowance,
            stderr=stderr,
            crash=self.crash,
            is_killed=self._is_killed,
            left_s=self._left_s,
        )
        self._stop = Stop(self.held, self._left_s)
        self._stopping: asyncio.Task[None] | None = None
        self._error: AperioError | None = None
        self._interrupted: PluginFault | None = None
        self._ended_by_itself = False

    async def drive(self, event: Event) -> None:
        """Do what the lifecycle says until it wants nothing more.

        Raises:
            AperioError: the run failed; everything has been cleaned up.
        """
        try:
            actions = self._advance(event)
            while actions:
                actions = self._advance(await self._perform(actions[0]))
        except BaseException:  # cancelled, or a bug: no time for manners
            self.state = lifecycle.RunState(Phase.FAILED, failed=True)
            await self.held.abandon()
            raise
        if self.state.phase is Phase.FAILED and self._error:
            process = self.held.process
            if at_limit := process and self._post_mortem.at_limit(process):
                raise at_limit from self._error
            self._add_evidence(self._error)
            raise self._error

    async def stop(self) -> None:
        """End the run, within a bound, whatever state it is in; harmless when repeated.

        It goes on to the end when it is cancelled, and at once.
        """
        self._stopping = self._stopping or asyncio.create_task(self._to_the_end())
        cancelled: asyncio.CancelledError | None = None
        while not self._stopping.done():
            try:
                await asyncio.shield(self._stopping)
            except asyncio.CancelledError as error:
                cancelled = error
                if self.held.process:
                    self.held.process.kill_group()
        if cancelled:
            raise cancelled

    async def _to_the_end(self) -> None:
        if self.state.phase is Phase.READY:
            gone = self.held.process is None or self.held.process.exited.done()
            with contextlib.suppress(AperioError):  # what failed was told to whoever was calling
                await self.drive(Event.EXITED if gone else Event.STOP)
        await self.held.close_grpc()

    async def crash(self) -> PluginFault | None:
        """Return the error for a process that has ended; None while it lives."""
        if self._interrupted:
            return copy.copy(self._interrupted)  # each call in flight raises one of its own
        return await self._post_mortem.crash(self.process)

    async def _is_killed(self) -> bool:
        await self.process.look()
        return self._post_mortem.at_limit(self.process) is not None

    def interrupt(self, error: PluginFault) -> None:
        """Kill the process; what waits for it fails with this error, at once."""
        self._interrupted = error
        self.process.kill_group()

    async def pulse(self, timeout_s: float) -> str:
        """Return why the plugin is not healthy; empty when it is."""
        return await self._start.pulse(self.calls, timeout_s)

    @property
    def kept(self) -> StateDatabase | None:
        """The open database of what is kept of the plugin; None: nothing is."""
        return self._options.state

    @property
    def egress_refused(self) -> int:
        """How many connections it was refused until now."""
        return self._start.way.refused if self._start.way else 0

    def counters(self) -> Counters:
        """Return what was counted of the process until now."""
        return self.process.counters()

    async def ended(self) -> None:
        """Wait until the process has ended.

        Raises:
            PluginCrashed: it was not with exit status 0.
        """
        await asyncio.wait([self.process.exited])  # who gives up waiting must not end it
        error = await self.crash()
        if error and self.process.returncode != 0:  # None: it does not die
            raise error

    # ── one action after the other ────────────────────────────────────────────────────────────────

    def _advance(self, event: Event) -> tuple[Action, ...]:
        self.state, actions = lifecycle.advance(
            self.state, event, clock.monotonic_s(), self._options.patience
        )
        return actions

    async def _perform(self, action: Action) -> Event:
        """Do one thing, and return its outcome."""
        try:
            return await self._deed(action)
        except AperioError as error:
            self._error = error
            self._ended_by_itself = self.held.process is None or self.held.process.exited.done()
            return Event.BROKEN

    async def _deed(self, action: Action) -> Event:
        match action:
            case Action.SPAWN:
                self.process = await self._start.spawn()
            case Action.READ_HANDSHAKE:
                self.accepted, self.socket = await self._start.read_handshake(self.process)
            case Action.CHECK_HEALTH:
                self.calls = await self._start.check_health(self.process)
            case Action.ASK_SHUTDOWN:
                return await self._stop.ask(self.calls)
            case Action.AWAIT_EXIT:
                return await self._stop.await_exit(self.process)
            case Action.TERMINATE:
                return await self._stop.terminate(self.process)
            case Action.KILL:
                return await self._stop.kill()
            case Action.CLEAN_UP:
                self._tell_limits()
                return await self._stop.clean_up()
        return Event.DONE

    def _tell_limits(self) -> None:
        """Say which limits it has reached and lived on, now that all is counted."""
        if self.held.process:
            counted = self.held.process.counters()
            if self._options.count:
                self._options.count(counted)
            for reached in limits_reached(self.program.manifest.limits, counted):
                if not reached.was_fatal:  # that is an error of its own
                    self._speech.say("warn", f"limit reached: {reached}")

    def _left_s(self) -> float:
        deadline_s = self.state.deadline_s
        return max(0.0, deadline_s - clock.monotonic_s()) if deadline_s else 0.0

    def _add_evidence(self, error: AperioError) -> None:
        """Add to the error of a failed start what could be seen of the process."""
        if isinstance(error, PluginFault) and self.held.process:
            returncode = self.held.process.returncode if self._ended_by_itself else None
            error.add_evidence(self._post_mortem.evidence(returncode))
