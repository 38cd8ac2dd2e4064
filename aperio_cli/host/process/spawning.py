"""One child process: spawned with nothing inherited, watched, ended with its whole group.

No `preexec_fn` and no fork of our own, because gRPC has threads; `subprocess` uses vfork then. The
child leads a session and a process group of its own. Its exit is seen through a pidfd and it is
reaped only after the group was killed, so its process group id cannot mean anybody else.

It does not outlive its host: an orderly host stops it, and of any other the kernel sees the end and
kills the group (`lifeline`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.host.process.lifeline import Lifeline
from aperio_cli.host.sandbox.interface import Counters
from aperio_cli.host.sandbox.unconfined import put_down
from aperio_cli.machine import kernel
from aperio_cli.machine.hiding import hide_memory

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aperio_cli.host.sandbox.interface import Command, Confined, Confinement, Sandbox

_REAP_TIMEOUT_S: Final = 5.0
_SPAWNERS: Final = 4  # each waits for bubblewrap most of its time
_PR_SET_NO_NEW_PRIVS: Final = 38


class PipeReader(asyncio.Protocol):
    """Hands every piece that comes out of a pipe to a consumer, at once and on the loop."""

    def __init__(self, consume: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self._consume = consume
        self._end = end
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what was read."""
        self._consume(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the pipe ended or was closed."""
        del exc
        if not self.ended.done():
            self.ended.set_result(None)
            self._end()


class Process:
    """A running child; use `spawn` to make one.

    Attributes:
        exited: done when the process has ended, or was killed; it may not have been reaped yet.
    """

    def __init__(self, confined: Confined, lifeline: Lifeline) -> None:
        self._confined = confined
        self._popen = popen = confined.popen
        self._lifeline = lifeline
        self._counted = Counters()
        self._is_closed = False
        self._is_killed = False
        self._transports: list[asyncio.BaseTransport] = []
        self._readers: list[PipeReader] = []
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = self._loop.create_future()
        self._is_dead: asyncio.Future[None] = self._loop.create_future()
        self._pidfd = kernel.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._note_death)

    @property
    def pid(self) -> int:
        """The process id of the plugin, or of the sandbox around it: with it all of it ends."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the signal's number; None until it was reaped."""
        found = self._popen.returncode
        return None if found is None else self._confined.status_of(found)

    @property
    def home(self) -> Path | None:
        """Where the plugin's own folder is, seen from here; None: where it was made."""
        return self._confined.home

    @property
    def owner(self) -> int | None:
        """The user id that the plugin has; None: this process's."""
        return self._confined.owner

    def counters(self) -> Counters:
        """Return what was counted of the plugin until now; nothing more after `close`."""
        if not self._is_closed:
            self._counted = self._confined.counters()
        return self._counted

    async def look(self) -> None:
        """Count now what is else counted from time to time."""
        if self._confined.is_looked_at:
            await asyncio.to_thread(self._confined.look_since, clock.monotonic_s())

    def settle(self) -> None:
        """Begin with the limits that a start is spared."""
        self._confined.settle()

    async def read(self, consumers: Mapping[str, PipeReader]) -> None:
        """Begin to read `stdout` and `stderr`, each with its reader, and never stop."""
        for name, reader in consumers.items():
            pipe = getattr(self._popen, name)
            self._readers.append(reader)
            transport, _ = await self._loop.connect_read_pipe(
                functools.partial(_same, reader), pipe
            )
            self._transports.append(transport)

    def terminate_group(self) -> None:
        """SIGTERM to every process of the plugin's group."""
        self._confined.terminate()

    def kill_group(self) -> None:
        """SIGKILL to every process of the plugin, grandchildren too; `end_group` waits for that."""
        self._is_killed = True
        self._confined.kill()
        self._note_exit()

    async def end_group(self) -> None:
        """SIGKILL to every process of the plugin, grandchildren too, then reap it.

        A process that the kernel does not let die, in a dead file system say, is left after 5 s.
        """
        self.kill_group()
        if self._popen.poll() is None:
            if self._pidfd >= 0:
                await asyncio.wait([self._is_dead], timeout=_REAP_TIMEOUT_S)
            else:  # `close` came first
                await asyncio.to_thread(_reap, self._popen)
            self._popen.poll()

    async def drain(self, timeout_s: float) -> None:
        """Wait until both pipes ended, but no longer: somebody else may hold them open."""
        pending = [reader.ended for reader in self._readers if not reader.ended.done()]
        if pending:
            await asyncio.wait(pending, timeout=timeout_s)

    def close(self) -> None:
        """Close every descriptor; harmless when repeated."""
        for transport in self._transports:
            transport.close()
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe:
                pipe.close()
        for reader in self._readers:
            reader.connection_lost(None)
        if self._pidfd >= 0:
            self._note_death()
            os.close(self._pidfd)
            self._pidfd = -1
        self._lifeline.let_go()
        self.counters()
        if not self._is_killed or self._popen.poll() is not None:
            self._confined.close()
        elif not self._is_closed:  # it may have died meanwhile, or may not for long
            threading.Thread(target=_outlast, args=(self._confined,), daemon=True).start()
        self._is_closed = True

    def _note_death(self) -> None:
        self._loop.remove_reader(self._pidfd)
        if not self._is_dead.done():
            self._is_dead.set_result(None)
        self._note_exit()

    def _note_exit(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)


def _reap(popen: subprocess.Popen[bytes]) -> None:
    """Wait for the end of what was killed, within a bound. Blocks."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        popen.wait(_REAP_TIMEOUT_S)


def _outlast(confined: Confined) -> None:
    """Reap what was left alive once it dies, and let go of its sandbox then. Blocks."""
    confined.popen.wait()
    confined.close()


async def spawn(command: Command, sandbox: Sandbox, wanted: Confinement) -> Process:
    """Return a new process running the command, confined.

    When it is cancelled it waits for what it has begun, some milliseconds, and ends that: nobody
    else could.

    Raises:
        OSError: the command cannot be executed.
        AperioError: as `Sandbox.start`.
    """
    hide_memory()
    lifeline = Lifeline.make()
    try:
        confined = await _to_the_end(
            _spawner().submit(_execute, command, sandbox, wanted, lifeline)
        )
    except BaseException:
        lifeline.cut()
        raise
    try:
        return Process(confined, lifeline)
    except BaseException:
        _put_away(confined)
        lifeline.cut()
        raise


async def _to_the_end(submitted: concurrent.futures.Future[Confined]) -> Confined:
    """Return what a spawner made; what nobody waits for any more is ended."""
    made = asyncio.wrap_future(submitted)
    cancelled = await _outwait(made)
    if cancelled is None:
        return made.result()
    if made.exception() is None:
        await _outwait(asyncio.wrap_future(_spawner().submit(_put_away, made.result())))
    raise cancelled


async def _outwait(done: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait for it however often this is cancelled; return the last time that it was."""
    cancelled: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


def _put_away(confined: Confined) -> None:
    """End what was started in vain. Blocks briefly."""
    put_down(confined.popen)
    confined.close()


@functools.cache
def _spawner() -> ThreadPoolExecutor:
    """Return threads for `_execute` alone: what they give up, they cannot get back."""
    return ThreadPoolExecutor(_SPAWNERS, "aperio-spawner")


os.register_at_fork(after_in_child=_spawner.cache_clear)  # a copy of this process lacks the thread


def _execute(
    command: Command, sandbox: Sandbox, wanted: Confinement, lifeline: Lifeline
) -> Confined:
    """Return the started command, confined, and killed by the kernel when the lifeline is cut."""
    _give_up_privileges()
    confined = sandbox.start(command, wanted, lifeline.plugin_end)
    try:
        lifeline.arm(confined.popen.pid)
    except BaseException:
        _put_away(confined)
        raise
    return confined


def _same(reader: PipeReader) -> PipeReader:
    """Return what the loop calls to get a protocol."""
    return reader


def _give_up_privileges() -> None:
    """Set-user-ID programs give nothing to what this thread executes, nor to its descendants.

    Raises:
        OSError: the kernel refuses, which it never does.
    """
    import ctypes

    with contextlib.suppress(AttributeError):  # not Linux
        if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


@functools.cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)
