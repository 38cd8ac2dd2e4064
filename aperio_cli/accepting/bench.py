"""Where a plugin stands while it is examined: runs of it, its settings, everything it logged."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aperio_cli.accepting.verdicts import CheckFailed, CheckSkipped
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.calls.session import TOKEN, Session, SessionRequest, open_session
from aperio_cli.host.launch import RunningPlugin, started
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.process.masking import mark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from aperio_cli.errors.running import PluginFault
    from aperio_cli.host.options import LaunchOptions
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.process.program import Program
    from aperio_cli.host.run import Run
    from aperio_cli.verifying.clearing import Cleared

_Result = TypeVar("_Result")

CALL_S: Final = 30.0
"""The longest that one examined call may take."""
MOST_LOGS: Final = 50_000
"""How many log records are looked at."""

_PACKAGE: Final = "/aperio.plugin.v1."
_SERVICES: Final = {
    "connector": ("ConnectorPlugin", "Schema"),
    "remediation": ("RemediationPlugin", "Capabilities"),
    "destination": ("DestinationPlugin", "Capabilities"),
}


@dataclass(frozen=True, slots=True)
class AcceptanceRequest:
    """What the author gives, so that more than the start can be examined.

    Attributes:
        settings: the plugin's settings by key, resolved; may hold secrets.
        action: key of the action that a remediation is examined with; empty: none.
        target: what to do it on.
        parameters: of the action.
        target_type: one of the action's; empty: its first.
        facts: what the action asks for of a finding, by key.
        approved: whether the action may be done; else only a dry run is made.
    """

    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    action: str = ""
    target: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict, repr=False)
    approved: bool = False
    target_type: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


class Bench:
    """One plugin under examination.

    Attributes:
        clear: gives leave for one start; asked anew for each.
        program: what is executed.
        options: how the host launches it.
        request: what the author gave.
        declaration: the plugin's SchemaResponse or CapabilitiesResponse, once it was asked.
        logs: the records of all runs, at most `MOST_LOGS`.
        secrets: texts that must not be in the logs, by what they are; the host's mask, too.
    """

    def __init__(
        self,
        clear: Callable[[], Cleared],
        program: Program,
        options: LaunchOptions,
        request: AcceptanceRequest,
    ) -> None:
        self.clear = clear
        self.program = program
        self.options = options
        self.request = request
        self.declaration: Any = None
        self.logs: list[LogRecord] = []
        self.secrets: dict[str, tuple[str, ...]] = {}
        self._shared: Run | None = None
        self._held = contextlib.AsyncExitStack()
        self._session: Session | None = None

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[Run]:
        """Give a run of its own for a check, stopped at the end of the block.

        Raises:
            PluginFault: it did not start.
            AperioError: it may not be started any more, or its files have changed.
        """
        async with started(self.clear(), self.options, self._log) as run:
            yield run

    async def shared(self) -> Run:
        """Return the run that all checks of calls share; started anew when it has ended.

        Raises:
            PluginFault: it did not start.
        """
        run = self._shared
        if run and run.state.phase is Phase.READY and not run.process.exited.done():
            return run
        await self.close()
        self._shared = run = await self._held.enter_async_context(self.started())
        return run

    async def plugin(self) -> RunningPlugin:
        """Return the shared run with its typed calls.

        Raises:
            PluginFault: it did not start.
        """
        return RunningPlugin(await self.shared())

    async def session(self) -> Session:
        """Return the shared run with the author's settings.

        Raises:
            PluginConfigInvalid: the settings do not fit the plugin's fields.
            PluginFault: it did not start, or could not say what it declares.
        """
        plugin = await self.plugin()
        if self._session is None or self._session.plugin.pid != plugin.pid:
            request = SessionRequest(settings=self.request.settings)
            self._session = await open_session(plugin, request)
        return self._session

    async def invocation(self, *, may_write: bool = False) -> Invocation:
        """Return an invocation with the author's settings.

        Its token counts as a secret from now on.

        Raises:
            CheckSkipped: the token needs a person in a browser.
            AperioError: as `session` and `Session.invocation`.
        """
        session = await self.session()
        try:
            invocation = await session.invocation(may_write=may_write)
        except UsageError as error:
            raise CheckSkipped(f"{error.what}: {error.why}") from error
        if invocation.token:
            self.secrets["the access token"] = (invocation.token.value, mark(TOKEN))
        return invocation

    def _log(self, record: LogRecord) -> None:
        if len(self.logs) < MOST_LOGS:  # a plugin may flood its stderr
            self.logs.append(record)

    async def close(self) -> None:
        """Stop the shared run; harmless when repeated."""
        self._shared = None
        await self._held.aclose()

    # ── calls ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def service(self) -> str:
        """`/package.Service/` of the plugin's kind."""
        return f"{_PACKAGE}{_SERVICES[self.program.kind][0]}/"

    async def declare(self, run: Run, *, timeout_s: float = CALL_S) -> Any:
        """Return what the plugin declares, asked with empty settings and no token, unchecked.

        Raises:
            PluginFault: it could not say, or not in time.
        """
        from aperio_plugin.wire import capabilities_pb2, connector_pb2

        reply: Any = capabilities_pb2.CapabilitiesResponse
        asked: Any = capabilities_pb2.CapabilitiesRequest
        if self.program.kind == "connector":
            reply, asked = connector_pb2.SchemaResponse, connector_pb2.SchemaRequest
        with run.invocations.open(Invocation()) as context:
            method = self.service + _SERVICES[self.program.kind][1]
            return await run.calls.unary(method, asked(context=context), reply, timeout_s=timeout_s)


async def ended(run: Run, within_s: float) -> int | None:
    """Return the exit status of a run's process, or minus the signal's number.

    None: it still runs.
    """
    await asyncio.wait([run.process.exited], timeout=within_s)
    if not run.process.exited.done():
        return None
    await run.process.end_group()  # its grandchildren; and reaps it, for its status
    return run.process.returncode


async def in_time(work: Coroutine[Any, Any, _Result], timeout_s: float, late: str) -> _Result:
    """Return the result of some work.

    Raises:
        CheckFailed: it took longer; `late` is the evidence.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError as error:
        raise CheckFailed(late) from error


def status_of(error: PluginFault) -> tuple[str, bool]:
    """Return how a call failed.

    The name of its gRPC status, and whether diagnostics came with it.
    """
    cause: Any = error.__cause__
    if cause is None or not hasattr(cause, "trailing_metadata"):
        return type(error).__name__, False
    metadata = dict(cause.trailing_metadata() or ())
    return cause.code().name, bool(metadata.get("aperio-diagnostics-bin"))
