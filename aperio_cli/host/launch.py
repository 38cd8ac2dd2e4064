"""Launching: from what was cleared, once, to a running plugin.

    async with launch(cleared, options, log) as plugin:
        schema = await plugin.connector.schema(Invocation())

The block is entered once a health check has passed, and however it is left, by an error or by a
cancellation at any point, nothing of the plugin remains: no process of its group, no socket, no
folder. A grandchild that starts a session of its own leaves the group; to hold those takes the
process namespace of a sandbox.
`lifecycle.advance` decides what happens next; `Run` does it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.connector import Connector
from aperio_cli.host.calls.destination import Destination
from aperio_cli.host.calls.remediation import Remediation
from aperio_cli.host.lifecycle import Event, Phase
from aperio_cli.host.options import LaunchOptions
from aperio_cli.host.process.logs import LogRecord
from aperio_cli.host.process.program import Program, check_program
from aperio_cli.host.run import Run
from aperio_cli.models.artifact import DevelopmentBuild
from aperio_cli.verifying.clearing import Cleared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aperio_cli.data.state import StateDatabase
    from aperio_cli.errors.running import PluginContractBroken, PluginFault
    from aperio_cli.host.calls.invocation import OpenInvocations
    from aperio_cli.host.calls.session import Fitted
    from aperio_cli.host.process.checks import SharedChecks
    from aperio_cli.host.process.masking import Masks
    from aperio_cli.host.sandbox.interface import Counters
    from aperio_cli.host.wire.channel import Calls
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.store.installed import Store

__all__ = ["LaunchOptions", "RunningPlugin", "checked", "launch", "started"]


@contextlib.asynccontextmanager
async def launch(
    cleared: Cleared,
    options: LaunchOptions,
    log: Callable[[LogRecord], None],
) -> AsyncIterator[RunningPlugin]:
    """Give a running plugin for the length of an `async with` block.

    Args:
        cleared: leave to start an installed version, every file of which is checked first, or a
            folder under development; it is used up.
        options: how.
        log: takes every record that the plugin, or the host about it, has to say.

    Raises:
        TypeError: it is anything but a `Cleared`.
        ValueError: it was used before.
        FilesChanged: a file differs from the installed one; nothing was executed.
        ReceiptInvalid: the list of installed files is damaged.
        PluginInUse: it is just being removed.
        NotInstalled: it was removed meanwhile.
        PluginFault: it did not start; the subclass says in which way.
    """
    async with started(cleared, options, log) as run:
        yield RunningPlugin(run)


@contextlib.asynccontextmanager
async def started(
    cleared: Cleared,
    options: LaunchOptions,
    log: Callable[[LogRecord], None],
) -> AsyncIterator[Run]:
    """Give the run behind a `RunningPlugin`, for who examines how it runs.

    Raises:
        AperioError: as `launch`.
    """
    async with checked(cleared, options.store, options.checks) as program:
        for notice in cleared.notices:
            log(LogRecord("warn", notice, "host"))
        run = Run(program, options, log)
        try:
            await run.drive(Event.START)
            yield run
        finally:
            await run.stop()


@contextlib.asynccontextmanager
async def checked(
    cleared: Cleared, store: Store | None, shared: SharedChecks | None = None
) -> AsyncIterator[Program]:
    """Give the program of what was cleared, checked and kept from removal, for one start.

    Args:
        cleared: leave to start it; it is used up.
        store: where an installed version is.
        shared: with which other starts a check is shared; None: with none.

    Raises:
        AperioError: as `launch`, as far as nothing was executed.
    """
    target = _spent(cleared)
    with contextlib.ExitStack() as held:
        if isinstance(target, DevelopmentBuild):  # no file is read for that
            program = check_program(target, store)
        else:
            if store:
                held.enter_context(store.hold(target))
            if store and shared:
                program = await shared.program(target, store, check_program)
            else:
                program = await _in_thread(target, store)
        held.callback(program.close)
        yield program


async def _in_thread(target: Receipt, store: Store | None) -> Program:
    """Return the checked program; one that nobody waits for any more is closed when it comes."""
    checking = asyncio.ensure_future(asyncio.to_thread(check_program, target, store))
    try:
        return await asyncio.shield(checking)
    except asyncio.CancelledError:
        checking.add_done_callback(_let_go)
        raise


def _let_go(checking: asyncio.Future[Program]) -> None:
    if not checking.cancelled() and checking.exception() is None:
        checking.result().close()


def _spent(cleared: object) -> Receipt | DevelopmentBuild:
    """Return the target of a clearance, which is used up.

    Raises:
        TypeError: it is anything else, such as a receipt: nobody has asked the policy.
        ValueError: it was used before.
    """
    if type(cleared) is not Cleared:
        message = f"a {type(cleared).__name__} is not launched; expected what verifying.clear gives"
        raise TypeError(message)
    return cleared.spend()


class RunningPlugin:
    """A plugin whose health check has passed."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def program(self) -> Program:
        """What is running."""
        return self._run.program

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._run.process.pid

    @property
    def address(self) -> Path:
        """Its socket; other hosts can reach it there while it runs."""
        return self._run.socket

    @property
    def protocol_version(self) -> int:
        """The app protocol version in its handshake."""
        return self._run.accepted.version

    async def ended(self) -> None:
        """Wait until its process has ended, whoever brought that about.

        Raises:
            PluginCrashed: it was not with exit status 0.
        """
        await self._run.ended()

    def interrupt(self, error: PluginFault) -> None:
        """Kill it at once; calls in flight, and later ones, fail with this error."""
        self._run.interrupt(error)

    async def pulse(self, timeout_s: float) -> str:
        """Return why it is not healthy; empty when it answers that it is.

        Args:
            timeout_s: how long the answer may take.
        """
        return await self._run.pulse(timeout_s)

    def counters(self) -> Counters:
        """Return what was counted of it until now."""
        return self._run.counters()

    @property
    def egress_refused(self) -> int:
        """How many connections it was refused until now."""
        return self._run.egress_refused

    @property
    def kept(self) -> StateDatabase | None:
        """The open database of what is kept of it; None: nothing is."""
        return self._run.kept

    @property
    def masks(self) -> Masks:
        """The secrets that it was given; whoever gives it one adds it first."""
        return self._run.masks

    @property
    def declaration(self) -> Any:
        """What it declares, once somebody has asked; the same for as long as it runs."""
        return self._run.declaration

    @declaration.setter
    def declaration(self, declaration: Any) -> None:
        self._run.declaration = declaration

    @property
    def fitted(self) -> Fitted | None:
        """Settings of the host's own that were held against its declaration; None: none were."""
        return self._run.fitted

    @fitted.setter
    def fitted(self, fitted: Fitted) -> None:
        self._run.fitted = fitted

    @property
    def phase(self) -> Phase:
        """What state it is in."""
        return self._run.state.phase

    @property
    def connector(self) -> Connector:
        """Its calls as a connector.

        Raises:
            UsageError: it is of another kind.
        """
        calls, invocations, _ = self._collaborators("connector")
        return Connector(calls, invocations, self._run.program)

    @property
    def remediation(self) -> Remediation:
        """Its calls as a remediation.

        Raises:
            UsageError: it is of another kind.
        """
        return Remediation(*self._collaborators("remediation"))

    @property
    def destination(self) -> Destination:
        """Its calls as a destination.

        Raises:
            UsageError: it is of another kind.
        """
        return Destination(*self._collaborators("destination"))

    def broken(self, method: str, why: str) -> PluginContractBroken:
        """Return the error for an answer of its that the plugin interface does not allow."""
        return self._run.calls.broken(method, why)

    def _collaborators(self, kind: str) -> tuple[Calls, OpenInvocations, str]:
        program = self._run.program
        if program.kind != kind:
            raise UsageError(
                f"{program.subject} is a {program.kind}, not a {kind}",
                next=[f"name a {kind}"],
            )
        return self._run.calls, self._run.invocations, program.provider
