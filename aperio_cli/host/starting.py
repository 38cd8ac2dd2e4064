"""The start of a run: spawn the process, read its handshake, check its health."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.config.reading import LONGEST_HANDSHAKE_S
from aperio_cli.errors.running import (
    HandshakeTimeout,
    PluginExitedEarly,
    PluginFault,
    PluginNotExecutable,
    PluginNotHealthy,
    SandboxFailed,
)
from aperio_cli.host.beside import beside
from aperio_cli.host.process import diagnosis
from aperio_cli.host.process.logs import TextReader
from aperio_cli.host.process.spawning import PipeReader, Process, spawn
from aperio_cli.host.process.surroundings import (
    KEY_PAIR_VARIABLE,
    LOG_LEVEL_VARIABLE,
    PrivateFolder,
    build_environment,
)
from aperio_cli.host.sandbox import telling
from aperio_cli.host.sandbox.interface import Command, Confinement
from aperio_cli.host.sandbox.trying import unreadable
from aperio_cli.host.services import keyvalue
from aperio_cli.host.way_out import WayOut, rules_for
from aperio_cli.host.wire import handshake, mtls
from aperio_cli.host.wire.channel import (
    Calls,
    Pinned,
    grpc_options,
    has_grpc,
    import_grpc,
    pin_socket,
)
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from grpc.aio import Channel

    from aperio_cli.host.calls.invocation import OpenInvocations
    from aperio_cli.host.held import Held
    from aperio_cli.host.options import LaunchOptions
    from aperio_cli.host.process.floods import Allowance
    from aperio_cli.host.process.logs import StderrReader
    from aperio_cli.host.process.masking import Masks
    from aperio_cli.host.process.program import Program
    from aperio_cli.host.sandbox.interface import Doorway
    from aperio_cli.host.speech import Speech

_HEALTH: Final = "/grpc.health.v1.Health/Check"
_STDIO: Final = "/plugin.GRPCStdio/StreamStdio"
_HEALTH_SERVICE: Final = "plugin"
_LAST_WORDS_S: Final = 0.5


class _FirstLine:
    """Takes stdout up to its first line feed; what comes after goes to a reader of text.

    Attributes:
        line: what stands before that line feed.
        part: what came so far of a line that has not ended.
        has_ended: whether stdout was closed.
    """

    def __init__(self, subject: str, rest: TextReader) -> None:
        self._subject = subject
        self._rest = rest
        self.part = b""
        self.has_ended = False
        self.line: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def feed(self, data: bytes) -> None:
        if self.line.done():
            self._rest.feed(data)
            return
        self.part += data
        line, newline, rest = self.part.partition(b"\n")
        if newline or len(line) > handshake.MAX_BYTES:
            self.part = b""
            self.line.set_result(line)  # `handshake.parse` refuses one that is too long
            self._rest.feed(rest)

    def end(self) -> None:
        """Take text without a line feed for a line, once the plugin is gone."""
        self.has_ended = True
        if not self.line.done():
            self.line.set_result(self.part)
        self._rest.end()


@dataclass(slots=True)
class Start:
    """One start; each step is one action of the lifecycle.

    Attributes:
        program: what is started.
        options: how.
        held: takes each part as it is made.
        invocations: those that the host's services answer for.
        speech: takes what the plugin prints, and what an operator has to know.
        masks: the secrets that the plugin will be given.
        allowance: how many lines it may print.
        stderr: reads the plugin's standard error.
        crash: makes the error for a process that has ended.
        is_killed: says whether it was killed for what it used, before it is seen to end.
        left_s: seconds until the step in progress is late.
        way: out of the plugin's network, once it was made; None: it has none of the host's.
    """

    program: Program
    options: LaunchOptions
    held: Held
    invocations: OpenInvocations
    speech: Speech
    masks: Masks
    allowance: Allowance
    stderr: StderrReader
    crash: Callable[[], Any]
    is_killed: Callable[[], Awaitable[bool]]
    left_s: Callable[[], float]
    way: WayOut | None = None

    async def spawn(self) -> Process:
        """Make the private folder and the host's services, and start the process in it.

        Raises:
            PluginNotExecutable: the system could not execute it.
        """
        sandbox, wanted = self.options.sandbox, self._confinement()
        if sandbox.name != "none":
            wanted = replace(wanted, door=self._way_out())
        self._announce(wanted)
        self.held.folder = folder = PrivateFolder.make(
            self.options.runtime_base, subject=self.program.subject
        )
        host_socket = await self._serve(folder)
        certificate = given = ""
        if self.options.mtls:
            own, plugins = await asyncio.to_thread(mtls.new_pairs)
            self.held.pair, certificate = own, own.certificate.decode()
            given = (plugins.certificate + plugins.key).decode()
        dialect = self.program.dialect
        home = sandbox.folder(folder.own)
        environment = build_environment(home, host_socket, certificate, dialect)
        environment[LOG_LEVEL_VARIABLE] = self.options.log_level
        if given and dialect is handshake.APERIO:
            environment[KEY_PAIR_VARIABLE] = given
        if host_socket:
            wanted = replace(wanted, readable=(*wanted.readable, folder.host_socket.parent))
        if wanted.door:
            environment |= wanted.door.environment
        return await self._spawn(self._command(environment, folder.own), wanted)

    async def _spawn(self, command: Command, wanted: Confinement) -> Process:
        """Start the process.

        Raises:
            PluginNotExecutable: the system could not execute it.
            SandboxFailed: it could not be confined as it has to be.
        """
        sandbox, binary = self.options.sandbox, self.program.binary
        # In a sandbox it is executed by another program, which knows less of what is wrong.
        problems = diagnosis.file_problems(binary) if sandbox.name != "none" else []
        closed = unreadable(wanted.readable, sandbox.owner)
        if closed:
            raise self._unreadable(closed)
        try:
            if problems and not self.program.sealed:
                raise PermissionError(0, "it was not tried")
            self.held.process = process = await spawn(command, sandbox, wanted)
            self._require_door()
        except OSError as error:
            raise PluginNotExecutable(
                f"{self.program.subject} could not be executed",
                why="\n".join([_reason(error), *diagnosis.file_problems(binary)]),
                next=[_remedy(error) or self.program.advice.not_executable],
            ) from error
        except SandboxFailed as error:
            raise telling.not_confined(self.program.subject, error) from error
        return process

    def _unreadable(self, place: Path) -> SandboxFailed:
        owner = self.options.sandbox.owner
        return SandboxFailed(
            f"{self.program.subject} was not started: it could not read {place}",
            why=f"plugins of root run as user {owner}, who may not read it",
            next=[
                f"`chmod -R o+rX {place}`; the folders above it need nothing",
                "an interpreter: install it again with `[python] interpreters` naming another",
            ],
        )

    def _confinement(self) -> Confinement:
        program, options = self.program, self.options
        return replace(
            telling.confinement(program.manifest),
            readable=program.places,
            writable=options.writable,
        )

    def _way_out(self) -> Doorway | None:
        """Make the plugin's door, when it may connect to anybody; it ends when the door fails."""
        program, egress = self.program, self.options.egress
        if self.options.door or not (rules_for(program, egress) or egress.is_learning):
            return self.options.door
        self.way = way = WayOut(program, egress, self.speech, self.masks)
        self.held.door = way.door
        way.door.failed.add_done_callback(self._note_failed_door)
        return way.doorway()

    def _note_failed_door(self, failed: asyncio.Future[None]) -> None:
        if failed.cancelled() or failed.exception() is None:
            return
        kind = type(failed.exception()).__name__
        self.speech.say("error", f"the plugin's door failed, so it was stopped: {kind}")
        self._require_door()

    def _require_door(self) -> None:
        """Kill the process when its door has failed, be it while it was just being started."""
        door, process = self.held.door, self.held.process
        if door and process and door.has_failed:
            process.kill_group()

    async def _serve(self, folder: PrivateFolder) -> str:
        """Return the socket of the host's services; empty when the plugin needs none."""
        if not (self.program.needs_state and self.options.state):
            return ""
        await asyncio.to_thread(import_grpc)
        self.held.server = await keyvalue.serve(
            folder,
            self.options.state,
            self.invocations,
            lambda text: self.speech.say("warn", f"its key-value store: {text}"),
            self.options.sandbox.owner,
        )
        return str(folder.host_socket)

    def _command(self, environment: Mapping[str, str], folder: Path) -> Command:
        program, sealed = self.program, self.program.sealed
        inherited = (sealed.descriptor,) if sealed else ()
        arguments = (sealed.path, *program.arguments[1:]) if sealed else program.arguments
        return Command(arguments, environment, folder, program.open_files, inherited)

    def _announce(self, wanted: Confinement) -> None:
        """Say what an operator has to know at every start."""
        say = self.speech.say
        if self.program.is_development:
            say("warn", f"development: `{self.program.plugin_id}` runs unsigned and unchecked")
        for level, words in telling.announcements(self.options.sandbox, wanted):
            say(level, words)
        if self.options.egress.is_learning and self.options.sandbox.name != "none":
            say("warn", "egress is only reported: what no rule covers is let through if public")
        if self.program.is_single_binary and not self.program.sealed:
            say("warn", "not sealed: no executable memfd here; the checked file itself runs")

    # ── the handshake ─────────────────────────────────────────────────────────────────────────────

    async def read_handshake(self, process: Process) -> tuple[handshake.Handshake, Path]:
        """Return what the first line says, and the socket it names, opened and ready to dial.

        Raises:
            HandshakeTimeout: there was no line in time.
            PluginExitedEarly: it ended before it printed one.
            PluginFault: the line is not one that go-plugin prints, or its address is not its own.
        """
        printed = self._reader("stdout")
        first = _FirstLine(self.program.subject, printed)
        await process.read(
            {
                "stdout": PipeReader(first.feed, first.end),
                "stderr": PipeReader(self.stderr.feed, self.stderr.end),
            }
        )
        pinned = await self._prepare_channel()
        line = await self._line(process, first)
        held = self.held
        assert held.folder  # noqa: S101 - made before the process
        subject = self.program.subject
        found = handshake.parse(
            line,
            folder=str(self.options.sandbox.folder(held.folder.own)),
            subject=subject,
            dialect=self.program.dialect,
            mtls=bool(held.pair),
        )
        if held.pair:
            held.secure = mtls.SecureConnection(held.pair, found.certificate, subject)
        socket = (process.home or held.folder.own) / found.socket_name
        pinned.take(self._pin(process, held.folder, socket))
        if held.channel:
            held.channel.get_state(try_to_connect=True)
        return found, socket

    def _pin(self, process: Process, folder: PrivateFolder, socket: Path) -> Pinned:
        """Return the socket held open, found in the plugin's own folder as it was made."""
        subject, owner = self.program.subject, process.owner
        if process.home is None:
            return pin_socket(socket, subject, folder=folder.own_descriptor, owner=owner)
        try:
            inside = os.open(process.home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:  # it has just ended
            raise self._exited_early() from None
        try:
            return pin_socket(socket, subject, folder=inside, owner=owner)
        finally:
            os.close(inside)

    async def _prepare_channel(self) -> Pinned:
        """Return what the channel will dial; make the channel too, while the plugin starts."""
        if not has_grpc():  # the plugin is importing the same at this moment, on another core
            await asyncio.to_thread(import_grpc)
        import grpc.aio

        self.held.pinned = pinned = Pinned.reserve()
        if not self.held.pair:
            self.held.channel = grpc.aio.insecure_channel(pinned.target, options=grpc_options())
        return pinned

    async def _line(self, process: Process, first: _FirstLine) -> bytes:
        line = first.line
        await first_of(self.left_s(), line, process.exited)
        if not line.done() and process.exited.done():
            await asyncio.wait([line], timeout=_LAST_WORDS_S)
        if not line.done() and not process.exited.done():
            raise self._late(first.part)
        printed = line.result() if line.done() else b""
        if not printed.strip():
            # For its status, where stdout ended first. One that lives has printed an empty line.
            left_s = self.left_s() if first.has_ended else min(self.left_s(), _LAST_WORDS_S)
            await first_of(left_s, process.exited)
            if process.exited.done() or first.has_ended:
                raise self._exited_early()
        return printed

    def _late(self, part: bytes) -> HandshakeTimeout:
        limit_s = self.options.patience.handshake_s
        why = f"timeout while waiting for plugin to start: {limit_s:g} s"
        if part:
            why += f"\nit printed this, without an end of the line: {clean(part, limit=200)}"
        steps = [
            "run it again with `--verbose` to see all that it logs",
            "if you wrote the plugin: do slow things after `serve`, not while importing",
        ]
        if limit_s < LONGEST_HANDSHAKE_S:
            longer = min(max(60, int(limit_s) * 2), LONGEST_HANDSHAKE_S)
            steps.append(
                f"if it needs longer: `[host] handshake_timeout_s = {longer}` in config.toml"
            )
        what = f"{self.program.subject} was stopped: it printed no handshake"
        return HandshakeTimeout(what, why=why, next=steps)

    def _exited_early(self) -> PluginExitedEarly:
        return PluginExitedEarly(
            f"{self.program.subject} did not start: plugin exited before we could connect",
            why="Failed to read any lines from plugin's stdout",
            next=[
                "its last lines on stderr say most; `--verbose` shows them all",
                self.program.advice.file_missing,
            ],
        )

    # ── its health ────────────────────────────────────────────────────────────────────────────────

    async def check_health(self, process: Process) -> Calls:
        """Return the calls of a plugin that says it is serving.

        Raises:
            PluginNotHealthy: it does not, or not in time.
        """
        self.held.channel = channel = self.held.channel or await self._open_secure_channel()
        subject, advice = self.program.subject, self.program.advice
        calls = Calls(channel, subject, self.crash, self.masks, advice, self.is_killed)
        # It may listen a moment after it has said so.
        asked = self._ask_health(calls, self.left_s(), wait_for_ready=True)
        async with beside(asked) as answer:
            await first_of(self.left_s(), answer, process.exited)
            answer.cancel()
            why = await _outcome(answer)
            if answer.cancelled() and not process.exited.done():
                why = f"no answer within {self.options.patience.health_s:g} s of its handshake"
        if why:
            raise PluginNotHealthy(
                f"{self.program.subject} did not pass its health check",
                why=why,
                next=[self.program.advice.failed],
            )
        process.settle()
        self.held.stdio = asyncio.create_task(self._read_stdio(calls))
        return calls

    async def pulse(self, calls: Calls, timeout_s: float) -> str:
        """Return why a running plugin is not healthy; empty when it is."""
        async with beside(self._ask_health(calls, timeout_s, wait_for_ready=False)) as answer:
            return await _outcome(answer)

    async def _ask_health(self, calls: Calls, timeout_s: float, *, wait_for_ready: bool) -> Any:
        from aperio_plugin.wire import goplugin_pb2

        request = goplugin_pb2.HealthCheckRequest(service=_HEALTH_SERVICE)
        reply = goplugin_pb2.HealthCheckResponse
        return await calls.unary(
            _HEALTH, request, reply, timeout_s=timeout_s, wait_for_ready=wait_for_ready
        )

    async def _open_secure_channel(self) -> Channel:
        held = self.held
        assert held.pinned  # noqa: S101 - set by the action before
        assert held.secure  # noqa: S101 - otherwise there is a channel already
        assert held.folder  # noqa: S101 - made before the process
        return await held.secure.open(held.pinned, held.folder.relay_socket)

    def _reader(self, stream: str) -> TextReader:
        """Return what takes text that the plugin prints."""
        return TextReader(self.speech.take, stream, "info", self.masks, self.allowance)

    async def _read_stdio(self, calls: Calls) -> None:
        """Read go-plugin's stream of what the plugin prints; a plugin may lack it."""
        import grpc.aio
        from aperio_plugin.wire import goplugin_pb2
        from google.protobuf.empty_pb2 import Empty

        stream = calls.stream(_STDIO, Empty())
        # One a channel: a line is of one of them. An enum of proto3 has any number of values.
        channels = goplugin_pb2.StdioData.Channel.values()
        readers = {channel: self._reader("stdio") for channel in channels}
        try:
            async for data in stream:
                piece = calls.parse(goplugin_pb2.StdioData, data, _STDIO)
                channel = piece.channel if piece.channel in readers else channels[0]
                readers[channel].feed(piece.data)
        except (grpc.aio.AioRpcError, PluginFault):
            pass
        finally:
            for reader in readers.values():
                reader.end()


async def first_of(left_s: float, *futures: asyncio.Future[Any]) -> None:
    """Wait until one of them is done, or for so many seconds."""
    await asyncio.wait(futures, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)


def _remedy(error: OSError) -> str:
    """Return what helps against a limit of this machine; empty: it is about the file."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return "let more files be open at once (`ulimit -n`), then try again"
    if error.errno in {errno.EAGAIN, errno.ENOMEM}:
        return "end something else, or raise the limit of processes or memory, then try again"
    return ""


def _reason(error: OSError) -> str:
    """Return what the kernel says, without the name of a sealed copy's descriptor."""
    return error.strerror or str(error)


async def _outcome(answer: asyncio.Future[Any]) -> str:
    """Return why a health check was not passed; empty when it was."""
    from aperio_plugin.wire import goplugin_pb2

    await asyncio.wait([answer])
    if answer.cancelled():
        return "its process ended, or it was silent for too long"
    error = answer.exception()
    if isinstance(error, PluginFault):
        return error.why
    status = answer.result().status
    if status == goplugin_pb2.HealthCheckResponse.SERVING:
        return ""
    return f"expected SERVING\nreceived status {status}"
