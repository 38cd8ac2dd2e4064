"""One run of a plugin: what `lifecycle` decides, done to a real process."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.running import (
    HandshakeTimeout,
    PluginCrashed,
    PluginExitedEarly,
    PluginFault,
    PluginNotExecutable,
    PluginNotHealthy,
)
from aperio_cli.host import lifecycle
from aperio_cli.host.calls.invocation import OpenInvocations
from aperio_cli.host.lifecycle import Action, Event, Patience, Phase
from aperio_cli.host.process import diagnosis
from aperio_cli.host.process.logs import LogRecord, StderrReader, TextReader
from aperio_cli.host.process.spawning import Command, PipeReader, Process, spawn
from aperio_cli.host.process.surroundings import (
    LOG_LEVEL_VARIABLE,
    PrivateFolder,
    build_environment,
)
from aperio_cli.host.services import keyvalue
from aperio_cli.host.wire import handshake, mtls
from aperio_cli.host.wire.channel import Calls, Pinned, grpc_options, import_grpc, pin_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aperio_plugin._mtls import KeyPair
    from grpc.aio import Channel, Server

    from aperio_cli.data.state import State
    from aperio_cli.host.process.program import Program
    from aperio_cli.store.installed import Store

NOT_ENFORCED: Final = ("cpu", "memory", "egress", "processes", "tmp")
"""What a manifest can ask for and this host does not enforce yet; said at every start."""

_HEALTH: Final = "/grpc.health.v1.Health/Check"
_SHUTDOWN: Final = "/plugin.GRPCController/Shutdown"
_STDIO: Final = "/plugin.GRPCStdio/StreamStdio"
_HEALTH_SERVICE: Final = "plugin"
_LAST_WORDS_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How to launch.

    Attributes:
        runtime_base: where the private folder is made (`paths.runtime_base`).
        store: where an installed version is; a folder under development needs none.
        state: the open database for plugins whose manifest says `state: true`.
        patience: how long each step may take.
        log_level: what the SDK of a plugin need not log below: `debug` or `info`.
        mtls: demand AutoMTLS; otherwise plaintext in a private folder, as most plugins speak.
    """

    runtime_base: Path
    store: Store | None = None
    state: State | None = None
    patience: Patience = field(default_factory=Patience)
    log_level: str = "info"
    mtls: bool = False


class _FirstLine:
    """Takes stdout up to its first line feed; what comes after goes to a reader of text."""

    def __init__(self, subject: str, rest: TextReader) -> None:
        self._subject = subject
        self._rest = rest
        self._buffer = b""
        self.line: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def feed(self, data: bytes) -> None:
        if self.line.done():
            self._rest.feed(data)
            return
        self._buffer += data
        line, newline, rest = self._buffer.partition(b"\n")
        if newline or len(line) > handshake.MAX_BYTES:
            self._buffer = b""
            self.line.set_result(line)  # `handshake.parse` refuses one that is too long
            self._rest.feed(rest)

    def end(self) -> None:
        """Text without a line feed counts as a line once the plugin is gone."""
        if not self.line.done():
            self.line.set_result(self._buffer)
        self._rest.end()


class Run:
    """The effects of one run; `state` is where it is."""

    process: Process
    calls: Calls
    accepted: handshake.Handshake
    socket: Path

    def __init__(
        self,
        program: Program,
        options: LaunchOptions,
        log: Callable[[LogRecord], None],
    ) -> None:
        self.program = program
        self.state = lifecycle.State()
        self.invocations = OpenInvocations(program.state_owner)
        self._options = options
        self._log_sink = log
        self._stderr = StderrReader(self._log)
        self._folder: PrivateFolder | None = None
        self._process: Process | None = None
        self._pinned: Pinned | None = None
        self._channel: Channel | None = None
        self._pair: KeyPair | None = None
        self._secure: mtls.SecureConnection | None = None
        self._server: Server | None = None
        self._stdio: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._error: AperioError | None = None
        self._ended_by_itself = False

    # ── driving ───────────────────────────────────────────────────────────────────────────────────

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
            self._abandon()
            raise
        if self.state.phase is Phase.FAILED and self._error:
            raise self._with_evidence(self._error)

    async def stop(self) -> None:
        """End the run, within a bound, whatever state it is in; harmless when repeated.

        It goes on to the end when it is cancelled, and at once.
        """
        self._stopping = self._stopping or asyncio.create_task(self._stop())
        cancelled: asyncio.CancelledError | None = None
        while not self._stopping.done():
            try:
                await asyncio.shield(self._stopping)
            except asyncio.CancelledError as error:
                cancelled = error
                if self._process:
                    self._process.kill_group()
        if cancelled:
            raise cancelled

    async def _stop(self) -> None:
        if self.state.phase is Phase.READY:
            gone = self._process is None or self._process.exited.done()
            with contextlib.suppress(AperioError):  # what failed was told to whoever was calling
                await self.drive(Event.EXITED if gone else Event.STOP)
        await self._close_grpc()

    def _advance(self, event: Event) -> tuple[Action, ...]:
        self.state, actions = lifecycle.advance(
            self.state, event, clock.monotonic_s(), self._options.patience
        )
        return actions

    async def _perform(self, action: Action) -> Event:
        """Do one thing; its outcome."""
        deed = {
            Action.SPAWN: self._spawn,
            Action.READ_HANDSHAKE: self._read_handshake,
            Action.CHECK_HEALTH: self._check_health,
            Action.ASK_SHUTDOWN: self._ask_shutdown,
            Action.AWAIT_EXIT: self._await_exit,
            Action.TERMINATE: self._terminate,
            Action.KILL: self._kill,
            Action.CLEAN_UP: self._clean_up,
        }[action]
        try:
            return await deed()
        except AperioError as error:
            self._error = error
            self._ended_by_itself = self._process is None or self._process.exited.done()
            return Event.BROKEN

    @property
    def _time_left_s(self) -> float:
        deadline_s = self.state.deadline_s
        return max(0.0, deadline_s - clock.monotonic_s()) if deadline_s else 0.0

    # ── starting ──────────────────────────────────────────────────────────────────────────────────

    async def _spawn(self) -> Event:
        self._announce()
        base = self._options.runtime_base
        self._folder = folder = PrivateFolder.make(base, subject=self.program.subject)
        host_socket = ""
        if self.program.needs_state and self._options.state:
            await asyncio.to_thread(import_grpc)
            host_socket = str(folder.host_socket)
            self._server = await keyvalue.serve(host_socket, self._options.state, self.invocations)
        certificate = ""
        if self._options.mtls:
            self._pair = await asyncio.to_thread(mtls.new_pair)
            certificate = self._pair.certificate.decode()
        dialect = self.program.dialect
        environment = build_environment(folder.own, host_socket, certificate, dialect)
        environment[LOG_LEVEL_VARIABLE] = self._options.log_level
        try:
            self.process = self._process = spawn(self._command(environment, folder.own))
        except OSError as error:
            raise PluginNotExecutable(
                f"{self.program.subject} could not be executed",
                why="\n".join([_reason(error), *diagnosis.file_problems(self.program.binary)]),
                next=["install it again for this machine"],
            ) from error
        return Event.DONE

    def _command(self, environment: Mapping[str, str], folder: Path) -> Command:
        program, sealed = self.program, self.program.sealed
        inherited = (sealed.descriptor,) if sealed else ()
        arguments = (sealed.path, *program.arguments[1:]) if sealed else program.arguments
        return Command(arguments, environment, folder, program.open_files, inherited)

    def _announce(self) -> None:
        """What an operator has to know at every start."""
        if self.program.is_development:
            self._say(
                "warn", f"development: `{self.program.plugin_id}` runs unsigned and unchecked"
            )
        self._say("warn", f"not enforced: {' '.join(NOT_ENFORCED)}")
        if self.program.is_single_binary and not self.program.sealed:
            self._say("warn", "not sealed: no executable memfd here; the checked file itself runs")

    async def _read_handshake(self) -> Event:
        printed = TextReader(self._log, "stdout", "info")
        first = _FirstLine(self.program.subject, printed)
        await self.process.read(
            {
                "stdout": PipeReader(first.feed, first.end),
                "stderr": PipeReader(self._stderr.feed, self._stderr.end),
            }
        )
        pinned = await self._prepare_channel()
        await self._first_of(first.line, self.process.exited)
        if not first.line.done() and self.process.exited.done():
            await asyncio.wait([first.line], timeout=_LAST_WORDS_S)
        if not first.line.done() and not self.process.exited.done():
            raise self._handshake_late()
        line = first.line.result() if first.line.done() else b""
        if not line.strip():
            await self._first_of(self.process.exited)  # for its status; stdout ended first
            raise self._exited_early()
        assert self._folder  # noqa: S101 - made before the process
        own, subject = self._folder.own, self.program.subject
        found = handshake.parse(
            line,
            folder=str(own),
            subject=subject,
            dialect=self.program.dialect,
            mtls=bool(self._pair),
        )
        if self._pair:
            self._secure = mtls.SecureConnection(self._pair, found.certificate, subject)
        self.accepted, self.socket = found, own / found.socket_name
        pinned.take(pin_socket(self.socket, subject))
        if self._channel:
            self._channel.get_state(try_to_connect=True)
        return Event.DONE

    async def _prepare_channel(self) -> Pinned:
        """What the channel will dial; the channel too, while there is time: the plugin starts."""
        # The plugin is importing the same at this moment, on another core.
        await asyncio.to_thread(import_grpc)
        import grpc.aio

        self._pinned = pinned = Pinned.reserve()
        if not self._pair:
            self._channel = grpc.aio.insecure_channel(pinned.target, options=grpc_options())
        return pinned

    async def _first_of(self, *futures: asyncio.Future[Any]) -> None:
        """Wait until one of them is done, or the action's deadline."""
        await asyncio.wait(futures, timeout=self._time_left_s, return_when=asyncio.FIRST_COMPLETED)

    def _handshake_late(self) -> HandshakeTimeout:
        return HandshakeTimeout(
            f"{self.program.subject} was stopped: it printed no handshake",
            why="timeout while waiting for plugin to start"
            f": {self._options.patience.handshake_s:g} s",
            next=[
                "run it again with `--verbose` to see all that it logs",
                "if you wrote the plugin: do slow things after `serve`, not while importing",
            ],
        )

    def _exited_early(self) -> PluginExitedEarly:
        return PluginExitedEarly(
            f"{self.program.subject} did not start: plugin exited before we could connect",
            why="Failed to read any lines from plugin's stdout",
            next=[
                "its last lines on stderr say most; `--verbose` shows them all",
                "install it again if they name a file or a library that is missing",
            ],
        )

    async def _check_health(self) -> Event:
        from aperio_plugin._generated.goplugin.goplugin_pb2 import (
            HealthCheckRequest,
            HealthCheckResponse,
        )

        channel = self._channel = self._channel or await self._open_secure_channel()
        self.calls = Calls(channel, self.program.subject, self.crash)
        request = HealthCheckRequest(service=_HEALTH_SERVICE)
        answer = asyncio.ensure_future(
            self.calls.unary(
                _HEALTH,
                request,
                HealthCheckResponse,
                timeout_s=self._time_left_s,
                wait_for_ready=True,  # it may listen a moment after it has said so
            )
        )
        await self._first_of(answer, self.process.exited)
        answer.cancel()
        why = await _outcome(answer)
        if why:
            raise PluginNotHealthy(
                f"{self.program.subject} did not pass its health check",
                why=why,
                next=["run it again; if it happens again, tell the plugin's publisher"],
            )
        self._stdio = asyncio.create_task(self._read_stdio())
        return Event.DONE

    async def _open_secure_channel(self) -> Channel:
        assert self._pinned  # noqa: S101 - set by the action before
        assert self._secure  # noqa: S101 - otherwise there is a channel already
        assert self._folder  # noqa: S101 - made before the process
        return await self._secure.open(self._pinned, self._folder.relay_socket)

    async def _read_stdio(self) -> None:
        """go-plugin's stream of what the plugin prints; a plugin may lack it."""
        import grpc.aio
        from aperio_plugin._generated.goplugin.goplugin_pb2 import StdioData
        from google.protobuf.empty_pb2 import Empty

        stream = self.calls.stream(_STDIO, Empty())
        reader = TextReader(self._log, "stdio", "info")
        try:
            async for data in stream:
                reader.feed(self.calls.parse(StdioData, data, _STDIO).data)
        except (grpc.aio.AioRpcError, PluginFault):
            pass
        finally:
            reader.end()

    # ── stopping ──────────────────────────────────────────────────────────────────────────────────

    async def _ask_shutdown(self) -> Event:
        """go-plugin answers from a server that is just closing: every outcome is as good."""
        from google.protobuf.empty_pb2 import Empty

        with contextlib.suppress(PluginFault):
            await self.calls.unary(_SHUTDOWN, Empty(), Empty, timeout_s=self._time_left_s)
        return Event.DONE

    async def _await_exit(self) -> Event:
        await self._first_of(self.process.exited)
        return Event.EXITED if self.process.exited.done() else Event.LATE

    async def _terminate(self) -> Event:
        self.process.terminate_group()
        return await self._await_exit()

    async def _kill(self) -> Event:
        if self._process:
            self._process.kill_group()
        return Event.DONE

    async def _clean_up(self) -> Event:
        if self._process:
            await self._process.drain(self._time_left_s)
        if self._stdio:
            await asyncio.wait([self._stdio], timeout=self._time_left_s)
            self._stdio.cancel()
        await self._close_grpc()
        self._release()
        return Event.DONE

    async def _close_grpc(self) -> None:
        if self._channel:
            await self._channel.close()
        if self._secure:
            await self._secure.close()
        if self._server:
            await self._server.stop(None)
        self._channel = self._secure = self._server = None

    def _abandon(self) -> None:
        """Leave nothing behind, without waiting for anybody."""
        if self._stdio:
            self._stdio.cancel()
        if self._process:
            self._process.kill_group()
        self._release()
        self.state = lifecycle.State(Phase.FAILED, failed=True)

    def _release(self) -> None:
        if self._process:
            self._process.close()
        if self._pinned:
            self._pinned.close()
            self._pinned = None
        if self._folder:
            self._folder.remove()
            self._folder = None

    # ── what went wrong ───────────────────────────────────────────────────────────────────────────

    async def crash(self) -> PluginCrashed | None:
        """The error for a process that has ended; None while it lives."""
        await asyncio.wait([self.process.exited], timeout=_LAST_WORDS_S)
        if not self.process.exited.done():
            return None
        self.process.kill_group()  # its grandchildren; and reaps it, for its status
        await self.process.drain(_LAST_WORDS_S)
        return PluginCrashed(
            f"{self.program.subject} ended while it was at work",
            why=self._evidence(self.process.returncode),
            next=["run it again; if it happens again, tell the plugin's publisher"],
        )

    async def ended(self) -> None:
        """Wait until the process has ended.

        Raises:
            PluginCrashed: it was not with exit status 0.
        """
        await self.process.exited
        error = await self.crash()
        if error and self.process.returncode:
            raise error

    def _evidence(self, returncode: int | None) -> str:
        lines = self._stderr.tail.last_lines(diagnosis.SHOWN_LINES)
        return diagnosis.explain(returncode, lines, self.program.binary)

    def _with_evidence(self, error: AperioError) -> AperioError:
        """The error of a failed start, with what could be seen of the process."""
        if not isinstance(error, PluginFault):
            return error
        returncode = self._process.returncode if self._process and self._ended_by_itself else None
        why = f"{error.why}\n{self._evidence(returncode)}" if self._process else error.why
        complete = type(error)(error.what, why=why, next=error.next)
        complete.__cause__ = error.__cause__
        return complete

    def _say(self, level: str, message: str) -> None:
        self._log(LogRecord(level, message, "host"))

    def _log(self, record: LogRecord) -> None:
        """A sink that fails, a closed terminal say, must not stop the draining of pipes."""
        with contextlib.suppress(OSError, ValueError):
            self._log_sink(record)


def _reason(error: OSError) -> str:
    """What the kernel says, without the name of a sealed copy's descriptor."""
    return error.strerror or str(error)


async def _outcome(answer: asyncio.Future[Any]) -> str:
    """Empty when a health check was passed, else why it was not."""
    from aperio_plugin._generated.goplugin.goplugin_pb2 import HealthCheckResponse

    await asyncio.wait([answer])
    if answer.cancelled():
        return "its process ended, or it was silent for too long"
    error = answer.exception()
    if isinstance(error, PluginFault):
        return error.why
    status = answer.result().status
    if status == HealthCheckResponse.SERVING:
        return ""
    return f"expected SERVING\nreceived status {status}"
