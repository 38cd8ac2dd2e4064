"""Processes of aperio, and of pip, each forked from one that has imported what they import.

    process = Forked(["plugin", "list"], cwd=folder, env=environment, stdout=subprocess.PIPE)

One differs from what `python -m aperio_cli` starts in one thing: it imports little, which is most
of what a command takes. It is a session of its own with the streams, the folder and the environment
that it was given, and the kernel shows that environment; it goes in by the same door,
`entry_point`. gRPC and what takes it is not imported before: no fork may inherit it. Starts
themselves have tests of their own, and the pages are typed into a shell.

Of what aperio itself starts, pip imports most: `forked_pip` has it forked, too.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
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

from aperio_cli.machine import children

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[1]
_SEARCHED: Final = (str(ROOT), str(ROOT / "sdk" / "python"))
_MOST_BYTES: Final = 128 * 1024
_RESERVED_BYTES: Final = 16 * 1024
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
    """The process that others are forked from."""

    def __init__(self, kind: str) -> None:
        self._lock = threading.Lock()
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        search = os.pathsep.join(_SEARCHED)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(its.fileno()), kind],
                cwd=ROOT,
                env={"PATH": os.defpath, "PYTHONPATH": search, "RESERVED": "x" * _RESERVED_BYTES},
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self.end)

    def fork(self, order: dict[str, Any], streams: list[int]) -> tuple[int, int]:
        """Have a process forked; give its number, and where its status can be read."""
        reading, writing = os.pipe()
        with self._lock, os.fdopen(writing, "wb"):
            socket.send_fds(self._socket, [json.dumps(order).encode()], [*streams, writing])
            pid = int.from_bytes(self._socket.recv(8), "little")
        assert pid, "the process that others are forked from has ended"
        return pid, reading

    def end(self) -> None:
        """End it; what was forked from it goes on."""
        self._socket.close()
        self._process.wait(10)


_sources: dict[str, _Source] = {}


class Forked(subprocess.Popen[bytes]):
    """A process of aperio that is told of as one that Popen started.

    Args:
        words: what is typed after `aperio`.
        at: when it sends itself a signal (`interrupter.py`); empty: never.
        most_bytes: of a file that it writes (setrlimit(2)); None: as many as it likes.
        options: of Popen: `cwd` and `env`, and the streams.
    """

    KIND: ClassVar[str] = "aperio"

    def __init__(
        self, words: list[str], at: str = "", most_bytes: int | None = None, **options: Any
    ) -> None:
        self._at, self._most_bytes, self._status = at, most_bytes, -1
        super().__init__(words, **options)

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        """Fork in the place of CPython's own `_execute_child`, whose arguments these are."""
        cwd, env, pipes = rest[4], rest[5], rest[9:15]
        order = {"words": args, "cwd": os.fspath(cwd), "env": env, "at": self._at}
        order["most_bytes"] = self._most_bytes
        given = [pipes[0], pipes[3], pipes[5]]
        streams = [own if one == -1 else one for own, one in enumerate(given)]
        try:
            if self.KIND not in _sources:
                _sources[self.KIND] = _Source(self.KIND)
            self.pid, self._status = _sources[self.KIND].fork(order, streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined] # private

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """Give what waitpid gives of a child."""
        if wait_flags & os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        with os.fdopen(self._status, "rb") as file:
            return self.pid, int.from_bytes(file.read(), "little")

    def _internal_poll(self, **_: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # type: ignore[attr-defined] # private
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined] # private
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined] # private
        return self.returncode


class ForkedPip(Forked):
    """A process of pip; its words are those after `pip`."""

    KIND = "pip"


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
        if command[: len(_PIP)] == _PIP:
            return ForkedPip(command[len(_PIP) :], **options)
        return subprocess.Popen(command, **options)


# ── the process that others are forked from ───────────────────────────────────────────────────────


def serve(orders: socket.socket, kind: str) -> None:
    """Fork as long as somebody wants it, and tell how each ended."""
    import_all() if kind == Forked.KIND else import_pip()
    become = _be_aperio if kind == Forked.KIND else _be_pip
    gc.freeze()
    waiting = selectors.DefaultSelector()
    waiting.register(orders, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.data:
                pid, status = key.data
                waiting.unregister(key.fd)
                os.close(key.fd)
                with os.fdopen(status, "wb") as file, contextlib.suppress(BrokenPipeError):
                    file.write(os.waitpid(pid, 0)[1].to_bytes(8, "little"))
                    file.flush()
                continue
            said, streams, _, _ = socket.recv_fds(orders, _MOST_BYTES, 4)
            if not said:
                return
            pid = os.fork()
            if pid == 0:
                become(json.loads(said), streams[:3])
            for stream in streams[:3]:
                os.close(stream)
            waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, streams[3]))
            orders.send(pid.to_bytes(8, "little"))


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


def _be_pip(order: dict[str, Any], streams: list[int]) -> NoReturn:
    """Be the pip that was asked for, to its end."""
    from pip._internal.cli.main import main

    try:
        os.setsid()
        _surround(order, streams)
        sys.path[:] = [each for each in sys.path if each not in _SEARCHED]
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
        sys.argv[0] = "pip"
        end_process(main())
    except SystemExit as end:
        end_process(end.code)
    except BaseException:  # noqa: BLE001 - as the interpreter would show it
        sys.excepthook(*sys.exc_info())
        end_process(1)


def _be_aperio(order: dict[str, Any], streams: list[int]) -> NoReturn:
    """Be the process that was asked for, to its end."""
    from aperio_cli.__main__ import entry_point, main

    try:
        os.setsid()
        _surround(order, streams)
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


def _surround(order: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 256)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    _show_environment()
    if (most := order["most_bytes"]) is not None:
        sys.dont_write_bytecode = True  # a part of it would be left behind
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    tempfile.tempdir = None
    sys.argv = ["aperio", *order["words"]]
    # As an interpreter makes them when it starts.
    sys.stdin = _text(0, "rb")
    sys.stdout = _text(1, "wb", line_buffering=os.isatty(1))
    sys.stderr = _text(2, "wb", errors="backslashreplace", line_buffering=True)


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
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
