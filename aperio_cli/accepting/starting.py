"""Checks of the process: how it starts, what it writes where, and every way in which it ends.

They are the plugin's side of go-plugin's conformance list (docs/reference/go-plugin.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.accepting.bench import ended
from aperio_cli.accepting.checks import Check
from aperio_cli.accepting.verdicts import CheckFailed, expect
from aperio_cli.errors.running import PluginDeadlineExceeded, PluginFault
from aperio_cli.host.launch import checked
from aperio_cli.host.process.spawning import PipeReader, spawn
from aperio_cli.host.process.surroundings import PrivateFolder, build_environment
from aperio_cli.host.sandbox.interface import Command, Confinement
from aperio_cli.machine import kernel

if TYPE_CHECKING:
    from aperio_cli.accepting.bench import Bench
    from aperio_cli.host.process.program import Program
    from aperio_cli.host.run import Run

END_S: Final = 2.0
"""How long a plugin may take to end; a go-plugin host kills it then."""
ORPHAN_S: Final = 3.0
"""How long a plugin may outlive its host."""

_BY_HAND_S: Final = 5.0
_SHUTDOWN: Final = "/plugin.GRPCController/Shutdown"
_MOST_SHOWN: Final = 3


async def _start(bench: Bench) -> str:
    began_s = clock.monotonic_s()
    run = await bench.shared()
    took_s = clock.monotonic_s() - began_s
    return f"handshake of version {run.accepted.version} and a health check in {took_s:.2f} s"


async def _start_twice(bench: Bench) -> str:
    first = await bench.shared()
    try:
        async with bench.started() as second:
            await bench.declare(second)
            await bench.declare(first)
        await bench.declare(first)
    finally:
        await bench.close()  # what comes next is about one alone
    return "two ran side by side, and one went on when the other had ended"


async def _by_hand(bench: Bench) -> str:
    """Start it without the cookie, as a person in a shell would."""
    async with checked(bench.clear(), bench.options.store) as program:
        late, status, written = await _without_cookie(bench, program)
    expect(not late, f"it still ran after {_by_hand_s(bench):g} s")
    expect(status == 1, f"expected exit status 1, received {status}")
    expect(not written["stdout"], f"on stdout: {bytes(written['stdout'][:200])!r}")
    expect(written["stderr"].strip(), "it said nothing on stderr")
    return "exit status 1, nothing on stdout, a reason on stderr"


def _by_hand_s(bench: Bench) -> float:
    """Return how long it may take to refuse: what it imports first takes it as long as a start."""
    return max(_BY_HAND_S, bench.options.patience.handshake_s)


async def _without_cookie(
    bench: Bench, program: Program
) -> tuple[bool, int | None, dict[str, bytearray]]:
    """Return whether it had to be killed, its exit status, and what it wrote by stream."""
    folder = PrivateFolder.make(bench.options.runtime_base, subject=program.subject)
    own = bench.options.sandbox.folder(folder.own)
    environment = build_environment(own, dialect=program.dialect)
    del environment[program.dialect.cookie[0]]
    sealed = program.sealed
    arguments = (sealed.path, *program.arguments[1:]) if sealed else program.arguments
    inherited = (sealed.descriptor,) if sealed else ()
    written: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    try:
        command = Command(arguments, environment, folder.own, program.open_files, inherited)
        process = await spawn(command, bench.options.sandbox, Confinement(readable=program.places))
    except OSError as error:
        folder.remove()
        raise CheckFailed(f"the system cannot execute it: {error.strerror}") from error
    try:
        await process.read(
            {name: PipeReader(text.extend, lambda: None) for name, text in written.items()}
        )
        await asyncio.wait([process.exited], timeout=_by_hand_s(bench))
        late = not process.exited.done()
        await process.end_group()
        await process.drain(1.0)
    finally:
        await process.end_group()
        process.close()
        folder.remove()
    return late, process.returncode, written


async def _shut_down(bench: Bench) -> str:
    from google.protobuf import empty_pb2

    async with bench.started() as run:
        began_s = clock.monotonic_s()
        with contextlib.suppress(PluginFault):  # a server that is just closing may fail the call
            try:
                await run.calls.unary(
                    _SHUTDOWN, empty_pb2.Empty(), empty_pb2.Empty, timeout_s=END_S
                )
            except PluginDeadlineExceeded as error:
                raise CheckFailed(f"Shutdown had no answer within {END_S:g} s") from error
        answered_s = clock.monotonic_s() - began_s
        _check_end(await ended(run, END_S), "Shutdown")
    took_s = clock.monotonic_s() - began_s
    return f"answered after {answered_s:.2f} s, gone after {took_s:.2f} s with status 0"


async def _terminate(bench: Bench) -> str:
    async with bench.started() as run:
        folder = os.open(run.socket.parent, os.O_PATH | os.O_DIRECTORY)  # outlives its sandbox
        try:
            run.process.terminate_group()
            _check_end(await ended(run, END_S), "SIGTERM")
            expect(not _is_there(run.socket.name, folder), "its socket was left behind")
        finally:
            os.close(folder)
    return "gone with status 0, its socket removed"


def _is_there(name: str, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _check_end(status: int | None, cause: str) -> None:
    expect(status is not None, f"it still ran {END_S:g} s after {cause}")
    expect(status == 0, f"expected exit status 0 after {cause}, received {status}")


async def _host_gone(bench: Bench) -> str:
    """Let go of everything that the host holds of it, as if the host had been killed."""
    async with bench.started() as run:
        is_gone = await _ends_without_host(run)
        await run.process.end_group()
    expect(is_gone, f"it still ran {ORPHAN_S:g} s after its host had let go of it")
    return f"it ended within {ORPHAN_S:g} s"


async def _ends_without_host(run: Run) -> bool:
    loop = asyncio.get_running_loop()
    descriptor = kernel.pidfd_open(run.process.pid)
    gone: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _tell, gone)
    try:
        run.process.close()
        await asyncio.wait([gone], timeout=ORPHAN_S)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return gone.done()


def _tell(gone: asyncio.Future[None]) -> None:
    if not gone.done():
        gone.set_result(None)


# ── what was written, looked at when all runs are over ────────────────────────────────────────────


async def _stdout(bench: Bench) -> str:
    written = [record.message for record in bench.logs if record.stream == "stdout"]
    expect(not written, f"{len(written)} further lines on stdout, such as {written[:1]}")
    printed = sum(record.stream == "stdio" for record in bench.logs)
    return f"only the handshake; {printed} printed lines came by go-plugin's stream"


async def _structured(bench: Bench) -> str:
    lines = [record for record in bench.logs if record.stream == "stderr"]
    bare = [record.message for record in lines if not record.timestamp]
    shown = "\n".join(bare[:_MOST_SHOWN])
    expect(
        not bare, f"{len(bare)} of {len(lines)} lines have no @timestamp or are no JSON:\n{shown}"
    )
    return f"{len(lines)} lines, each one JSON object"


async def _secrets(bench: Bench) -> str:
    texts = [
        text
        for record in bench.logs
        for text in (record.message, *(part for pair in record.fields for part in pair))
    ]
    told = [
        name
        for name, forms in bench.secrets.items()
        if any(form in text for form in forms for text in texts)
    ]
    expect(not told, f"the logs have {', '.join(told)}")
    return f"{len(bench.secrets)} secrets were given, none of them is in {len(texts)} texts"


_SERVE = "call the SDK's `serve` in the main program, and nothing that ends or blocks before it"

STARTING: Final = (
    Check(
        "start",
        "starts: handshake, then health",
        "the evidence says what was missing; " + _SERVE,
        _start,
    ),
    Check(
        "by-hand",
        "refuses to be started by hand",
        "without the magic cookie: a sentence on stderr, exit status 1; the SDK's `serve` does it",
        _by_hand,
        after="",
    ),
    Check(
        "start-twice",
        "runs twice at once",
        "share nothing between two processes: no fixed port, file or lock",
        _start_twice,
    ),
    Check(
        "shutdown",
        "answers Shutdown and is gone within 2 s",
        "end the process on Shutdown whatever is in progress; leave no thread that keeps it alive",
        _shut_down,
    ),
    Check(
        "sigterm",
        "ends cleanly on SIGTERM",
        "handle SIGTERM as Shutdown: remove the socket, exit status 0, within 2 s",
        _terminate,
    ),
    Check(
        "host-gone",
        "ends when its host is gone",
        "end when the pipe that APERIO_HOST_LIFELINE names ends; the SDK's `serve` does it",
        _host_gone,
    ),
)
"""Before any call."""

WRITING: Final = (
    Check(
        "stdout",
        "keeps stdout for the handshake",
        "serve go-plugin's GRPCStdio and send prints there, as the SDK's `serve` does",
        _stdout,
    ),
    Check(
        "logs",
        "logs in structured lines",
        "one JSON object a line on stderr with @level, @message, @timestamp: use the SDK's logger",
        _structured,
    ),
    Check(
        "secrets",
        "tells no secret to its logs",
        "log neither settings, tokens nor requests as they are",
        _secrets,
    ),
)
"""After all calls."""
