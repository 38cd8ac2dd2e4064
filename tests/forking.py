"""Processes of aperio, and of pip, each forked from one that has imported what they import.

    process = Forked(["plugin", "list"], cwd=folder, env=environment, stdout=subprocess.PIPE)

One differs from what `python -m aperio_cli` starts in one thing: it imports little, which is most
of what a command takes. It is a session of its own with the streams, the folder and the environment
that it was given, and the kernel shows that environment; it goes in by the same door,
`entry_point`. gRPC and what takes it is not imported before: no fork may inherit it. Starts
themselves have tests of their own, and the pages are typed into a shell.

Of what aperio itself starts, pip imports most: `forked_pip` has it forked, too.

Where `$APERIO_STARTS` is set, as in `make test-all`, all that can be started is: forks are left to
what only they can do.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import select
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn
from unittest.mock import patch

from aperio_cli.machine import children, kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STARTS: Final = "APERIO_STARTS"
ROOT: Final = Path(__file__).resolve().parents[1]
_SEARCHED: Final = (str(ROOT), str(ROOT / "sdk" / "python"))
_MOST_BYTES: Final = 128 * 1024
_RESERVED_BYTES: Final = 16 * 1024
_MOST_DESCRIPTORS: Final = 16
_HEAVY: Final = ("cookiecutter.main", "rich.markdown", "sigstore.verify", "tomlkit", "yaml")
_PIP: Final = [sys.executable, "-P", "-m", "pip"]
_OF_PIP: Final = (
    "pip._internal.cli.main",
    "pip._internal.commands.install",
    "pip._internal.metadata.importlib",
    "pip._internal.operations.install.wheel",
    "pip._internal.resolution.resolvelib.resolver",
    "pip._vendor.rich.markup",
    "pip._vendor.truststore",
)
_ENV_START, _ENV_END = 47, 48  # of /proc/PID/stat after the name (proc_pid_stat(5))


# ── who wants a process ───────────────────────────────────────────────────────────────────────────


class _Source:
    """The process that others are forked from.

    Args:
        module: what it executes, which calls `serve`.
        kind: of what is forked from it.
    """

    def __init__(self, module: str, kind: str) -> None:
        self._lock = threading.Lock()
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        search = os.pathsep.join(_SEARCHED)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(its.fileno()), kind],
                cwd=ROOT,
                env={"PATH": os.defpath, "PYTHONPATH": search, "RESERVED": "x" * _RESERVED_BYTES},
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self.end)

    def fork(self, order: dict[str, Any], streams: list[int]) -> tuple[int, socket.socket]:
        """Have a process forked; give its number, and the socket at which its status is told."""
        asking, telling = socket.socketpair()
        given = [telling.fileno(), *streams]
        with self._lock, telling:
            socket.send_fds(self._socket, [json.dumps(order).encode()], given)
            pid = int.from_bytes(self._socket.recv(8), "little")
        assert pid, "the process that others are forked from has ended"
        return pid, asking

    def end(self) -> None:
        """End it; what was forked from it goes on."""
        self._socket.close()
        self._process.wait(10)


@functools.cache
def _source(module: str, kind: str) -> _Source:
    """Return the one that this process has, which begins when the first fork is wanted."""
    return _Source(module, kind)


class Forked(subprocess.Popen[bytes]):
    """A process of aperio that is told of as one that Popen started.

    Args:
        words: what is typed after `aperio`.
        at: when it sends itself a signal (`interrupter.py`); empty: never.
        most_bytes: of a file that it writes (setrlimit(2)); None: as many as it likes.
        options: of Popen: `cwd` and `env`, the streams, and `pass_fds`.
    """

    SOURCE: ClassVar = ("tests.forking", "aperio")

    def __init__(
        self, words: list[str], at: str = "", most_bytes: int | None = None, **options: Any
    ) -> None:
        self._at, self._most_bytes = at, most_bytes
        super().__init__(words, **options)

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        """Fork in the place of CPython's own `_execute_child`, whose arguments these are."""
        passed, cwd, env, pipes = list(rest[3]), rest[4], rest[5], rest[9:15]
        order = {"words": args, "cwd": os.fspath(cwd), "env": env, "at": self._at}
        order |= {"most_bytes": self._most_bytes, "passed": passed}
        given = [pipes[0], pipes[3], pipes[5]]
        streams = [own if one == -1 else one for own, one in enumerate(given)]
        try:
            self.pid, self._status = _source(*self.SOURCE).fork(order, [*streams, *passed])
            self._pidfd = kernel.pidfd_open(self.pid)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined] # private

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """Give what waitpid gives of a child: how it ended, as soon as it has."""
        if wait_flags & os.WNOHANG and not select.select([self._pidfd], [], [], 0)[0]:
            return 0, 0
        with self._status as asking:
            told = asking.recv(8)
            assert told, "the process that others are forked from has ended"
            asking.shutdown(socket.SHUT_WR)  # so that it is reaped, as a child is by waitpid
            asking.recv(1)
        os.close(self._pidfd)
        return self.pid, int.from_bytes(told, "little")

    def _internal_poll(self, **_: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # type: ignore[attr-defined] # private
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined] # private
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined] # private
        return self.returncode


def is_forking() -> bool:
    """Whether what could be started is forked."""
    return not os.environ.get(STARTS)


class ForkedPip(Forked):
    """A process of pip; its words are those after `pip`."""

    SOURCE = ("tests.forking", "pip")


@contextlib.contextmanager
def forked_pip() -> Iterator[None]:
    """Have the pip forked that this process starts to build plugins."""
    with patch.object(children, "subprocess", _Subprocess()):
        yield


class _Subprocess:
    """The module `subprocess`, whose Popen forks pip where it is started as aperio does that."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:  # noqa: N802 - that is its name
        if is_forking() and command[: len(_PIP)] == _PIP:
            return ForkedPip(command[len(_PIP) :], **options)
        return subprocess.Popen(command, **options)


# ── the process that others are forked from ───────────────────────────────────────────────────────


def serve(orders: socket.socket, be: Callable[[dict[str, Any]], NoReturn]) -> None:
    """Fork as long as somebody wants it, and tell how each ended.

    As a parent does, it lets a number be given again only once somebody has read that.

    Args:
        orders: where one is got, with the descriptors that belong to it.
        be: what a fork does, surrounded as its order says, to its end.
    """
    gc.freeze()
    waiting = selectors.DefaultSelector()
    waiting.register(orders, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.data:
                _go_on_with(waiting, key)
            elif not _fork(orders, waiting, be):
                return


def _fork(
    orders: socket.socket,
    waiting: selectors.BaseSelector,
    be: Callable[[dict[str, Any]], NoReturn],
) -> bool:
    """Carry out an order; tell whether there was one."""
    said, given, _, _ = socket.recv_fds(orders, _MOST_BYTES, _MOST_DESCRIPTORS)
    if not said:
        return False
    status, *streams = given
    pid = os.fork()
    if pid == 0:
        _begin(orders, json.loads(said), streams, be)
    for stream in streams:
        os.close(stream)
    waiting.register(kernel.pidfd_open(pid), selectors.EVENT_READ, (pid, status))
    return True


def _go_on_with(waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Tell how a fork has ended; or reap it, because that was read."""
    pid, status = key.data
    waiting.unregister(key.fd)
    if key.fd == status:
        os.waitpid(pid, 0)
        os.close(status)
        return
    os.close(key.fd)
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended
    word = ended.si_status << 8 if ended.si_code == os.CLD_EXITED else ended.si_status
    with contextlib.suppress(BrokenPipeError):
        os.write(status, word.to_bytes(8, "little"))
    waiting.register(status, selectors.EVENT_READ, (pid, status))  # its end, once that was read


def _begin(
    orders: socket.socket,
    order: dict[str, Any],
    streams: list[int],
    be: Callable[[dict[str, Any]], NoReturn],
) -> NoReturn:
    """Be the process that was asked for, to its end."""
    try:
        os.setsid()
        _place(streams, order["passed"], orders.detach())
        _surround(order)
        be(order)
    except BaseException:  # noqa: BLE001 - as the interpreter would show it
        sys.excepthook(*sys.exc_info())
    end_process(1)


def import_all() -> None:
    """Import what commands import, once for them all; but for gRPC, which no fork may inherit."""
    import aperio_cli
    from aperio_cli.commands.app import program

    program()
    for module in pkgutil.walk_packages(aperio_cli.__path__, "aperio_cli."):
        if not module.name.startswith(("aperio_cli.host", "aperio_cli.__main__")):
            importlib.import_module(module.name)
    for name in _HEAVY:
        importlib.import_module(name)
    assert "grpc" not in sys.modules


def import_pip() -> None:
    """Import what pip does to install, which it puts off in part."""
    for name in _OF_PIP:
        importlib.import_module(name)


def _be_pip(order: dict[str, Any]) -> NoReturn:
    """Do what pip does with these words."""
    from pip._internal.cli.main import main

    sys.argv = ["pip", *order["words"]]
    try:
        sys.path[:] = [each for each in sys.path if each not in _SEARCHED]
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
        end_process(main())
    except SystemExit as end:
        end_process(end.code)
    except BaseException:  # noqa: BLE001 - as the interpreter would show it
        sys.excepthook(*sys.exc_info())
        end_process(1)


def _be_aperio(order: dict[str, Any]) -> NoReturn:
    """Do a command, as an interpreter does it that was just started."""
    from aperio_cli.__main__ import entry_point, main

    sys.argv = ["aperio", *order["words"]]
    try:
        if order["at"]:
            from tests.lifecycle.interrupter import arm

            arm(order["at"])
            sys.exit(main(order["words"]))
        entry_point()
    except SystemExit as end:
        end_process(end.code)
    except BaseException:  # noqa: BLE001 - as the interpreter would show it
        sys.excepthook(*sys.exc_info())
        end_process(1)
    end_process(0)


def end_process(code: Any) -> NoReturn:
    """End a fork as an interpreter would end, without what that takes apart at its end."""
    status = code if isinstance(code, int) else int(code is not None)
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BaseException:  # noqa: BLE001 - a fork may not go on as what it was forked from
        sys.excepthook(*sys.exc_info())
        status = 120  # `Py_FinalizeEx` (docs.python.org/3/c-api)
    finally:
        os._exit(status)


def _surround(order: dict[str, Any]) -> None:
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    _show_environment()
    if (most := order["most_bytes"]) is not None:
        sys.dont_write_bytecode = True  # a part of it would be left behind
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    tempfile.tempdir = None
    # As an interpreter makes them when it starts.
    sys.stdin = _text(0, "rb")
    sys.stdout = _text(1, "wb", line_buffering=os.isatty(1))
    sys.stderr = _text(2, "wb", errors="backslashreplace", line_buffering=True)


def _place(streams: list[int], passed: list[int], orders: int) -> None:
    """Have the streams be 0 to 2, and what was passed have the numbers that it had; no others.

    Only then it tells its own number, as Popen returns only when a program is executed: whoever
    has that may signal its group, and limit its descriptors to fewer than these.
    """
    numbers = [0, 1, 2, *passed]
    beyond = max(numbers) + 1
    *held, telling = (fcntl.fcntl(each, fcntl.F_DUPFD, beyond) for each in (*streams, orders))
    for stream, number in zip(held, numbers, strict=True):
        os.dup2(stream, number)
    os.write(telling, os.getpid().to_bytes(8, "little"))
    first = 3
    for number in sorted(passed):
        os.closerange(first, number)
        first = number + 1
    os.closerange(first, max(256, telling) + 1)


def _text(number: int, mode: str, **options: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(os.fdopen(number, mode, closefd=False), encoding="utf-8", **options)


def _show_environment() -> None:
    """Have /proc/PID/environ show this environment, where a fork has that of its source."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
    shown = b"".join(os.fsencode(f"{name}={value}\0") for name, value in os.environ.items())
    size = end - start
    assert len(shown) <= size
    ctypes.memmove(start, shown.ljust(size, b"\0"), size)


if __name__ == "__main__":
    _IS_PIP: Final = sys.argv[2] == ForkedPip.SOURCE[1]
    import_pip() if _IS_PIP else import_all()
    serve(socket.socket(fileno=int(sys.argv[1])), _be_pip if _IS_PIP else _be_aperio)
