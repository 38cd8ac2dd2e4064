"""Tries what it is told to, and tells what came of it: a deed and its arguments as JSON.

A deed answers with what it got; an error of the system is answered by its name, such as `EPERM`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import bare
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
MIB = 1024**2
KEPT: list[Any] = []


def system_call(number: int, *arguments: int) -> int:
    """Return what a system call gives.

    Raises:
        OSError: it is refused.
    """
    answer: int = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments))
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def read(path: str) -> str:
    return pathlib.Path(path).read_bytes()[:1000].decode("utf-8", "replace")


def listing(path: str) -> list[str]:
    return sorted(os.listdir(path))  # noqa: PTH208 - as text


def write(path: str, text: str = "x") -> str:
    pathlib.Path(path).write_text(text)
    return "written"


def fill(folder: str, most_mib: int) -> int:
    """Return how many MiB fitted, and let go of them."""
    place, fitted = pathlib.Path(folder) / "filler", 0
    with place.open("wb", buffering=0) as file:
        try:
            while fitted < most_mib * MIB:
                fitted += file.write(b"x" * MIB)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    place.unlink()
    return fitted // MIB


def environment_of(pid: str) -> dict[str, str]:
    pairs = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(pair.decode().split("=", 1) for pair in pairs if b"=" in pair)


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - as text


def connect(family: str, address: Any, kind: str = "SOCK_STREAM") -> str:
    with socket.socket(getattr(socket, family), getattr(socket, kind)) as client:
        client.settimeout(2)
        client.connect(tuple(address) if isinstance(address, list) else address)
    return "connected"


def signal_process(pid: int, number: int = 0) -> str:
    os.kill(pid, number)
    return "sent"


def make_device(path: str) -> str:
    os.mknod(path, 0o020666, os.makedev(1, 1))
    return "made"


def set_user(uid: int) -> int:
    os.setuid(uid)
    return os.getuid()


def set_user_by_program(path: str) -> str:
    """Make a set-user-ID copy of a program, and say whose rights it has."""
    copy = pathlib.Path(path)
    copy.write_bytes(pathlib.Path("/usr/bin/id").read_bytes())
    copy.chmod(0o4755)
    return subprocess.run([copy, "-u"], capture_output=True, check=True, text=True).stdout.strip()


def open_files(most: int) -> int:
    """Return how many could be opened."""
    opened = []
    try:
        for _ in range(most):
            opened.append(os.open("/dev/null", os.O_RDONLY))  # noqa: PERF401 - until it fails
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return len(opened)


def threads(most: int) -> int:
    """Return how many could be started."""
    stop = threading.Event()
    started = []
    try:
        for _ in range(most):
            thread = threading.Thread(target=stop.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:  # can't start new thread
        pass
    finally:
        stop.set()
        for thread in started:
            thread.join()
    return len(started)


def children(most: int) -> int:
    """Return how many could be started."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(most):
            started.append(subprocess.Popen(["/bin/sleep", "60"], close_fds=False))  # noqa: PERF401
    except OSError as error:
        if error.errno != errno.EAGAIN:
            raise
    finally:
        for child in started:
            child.kill()
            child.wait()
    return len(started)


def hog(mib: int) -> int:
    """Return how much memory could be used."""
    for _ in range(mib):
        KEPT.append(bytearray(os.urandom(4096) * 256))  # noqa: PERF401 - until it is stopped
    held = len(KEPT)
    KEPT.clear()
    return held


def reserve(gib: int) -> str:
    import mmap

    with contextlib.closing(mmap.mmap(-1, gib * 1024 * MIB)):
        return "reserved"


def burn(seconds: float) -> float:
    """Return how much processor time two busy processes got in so many seconds."""
    code = "while True: pass"
    busy = [subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) for _ in range(2)]
    time.sleep(seconds)
    for child in busy:
        child.kill()
        child.wait()
    times = os.times()
    return times.children_user + times.children_system


def daemon(mark: str = "any") -> int:
    """Leave a process behind in a session of its own, not a child of this one; return its pid."""
    code = (
        "import os, sys\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "os.close(1); os.execv('/bin/sleep', [sys.argv[1], '300'])\n"
    )
    name = f"aperio-left-behind-{mark}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, name], check=True)
    return os.getpid()


def die_by(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


def kill_group() -> str:
    os.kill(0, signal.SIGTERM)
    return "sent"


def run(arguments: list[str], seconds: float) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(arguments, timeout=seconds, check=False, stderr=subprocess.DEVNULL)
    return "ended"


def raise_limit() -> str:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1000))
    except ValueError:
        return "ValueError"
    return "raised"


def own() -> dict[str, Any]:
    return {"uid": os.getuid(), "host": os.uname().nodename, "cwd": os.getcwd()}  # noqa: PTH109


DEEDS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        read, listing, write, fill, environment_of, processes, connect, signal_process,
        make_device, set_user, set_user_by_program, open_files, threads, children, hog, reserve,
        burn, daemon, die_by, kill_group, own, run, raise_limit, system_call,
    )
}  # fmt: skip


def answer(request: Any, _context: Any) -> Any:
    name, arguments = json.loads(request.context.config_json)["deed"]
    try:
        found: Any = DEEDS[name](*arguments)
    except OSError as error:
        found = errno.errorcode.get(error.errno or 0, str(error))
    return connector_pb2.TestResponse(ok=True, account={"found": json.dumps(found)})


def serve() -> None:
    bare.serve({"TestConnection": bare.unary(answer, connector_pb2.TestRequest)})


if __name__ == "__main__":
    serve()
