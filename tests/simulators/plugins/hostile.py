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
    from collections.abc import Callable, Iterator

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


def connect(family: str | int, address: Any, kind: str = "SOCK_STREAM") -> str:
    number = getattr(socket, family) if isinstance(family, str) else family
    with socket.socket(number, getattr(socket, kind)) as client:
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
    """Reserve address space as runtimes do: nothing may be in it yet."""
    import mmap

    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
    with contextlib.closing(mmap.mmap(-1, gib * 1024 * MIB, flags=flags, prot=0)):
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
    # Its output has an end once the last of them has closed it: then that one is there to be found.
    command = [sys.executable, "-I", "-S", "-c", code, name]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
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


def flood(descriptor: int, mib: int, line: int) -> int:
    """Print so much, in lines of so many bytes; return how many bytes went."""
    text = (b"x" * (line - 1) + b"\n") * max(1, 65536 // line)
    left = mib * MIB
    while left > 0:
        left -= os.write(descriptor, text)
    return mib * MIB - left


def huge(mib: int) -> str:
    """Answer with more than a message may have."""
    return "x" * (mib * MIB)


def take_back_lifeline() -> str:
    """Have the kernel signal nobody when the host is gone, and close the end that would tell."""
    import fcntl

    lifeline = int(os.environ["APERIO_HOST_LIFELINE"])
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) & ~os.O_ASYNC)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, 0)
    os.close(lifeline)
    return "closed"


def kill_parents_group() -> str:
    """Kill whoever started this, with all that it has started."""
    os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
    return "sent"


def kill_all(host: str) -> str:
    """Kill every process that can be seen, but only in a sandbox."""
    if os.uname().nodename != host:
        raise OSError(errno.EPERM, "not here: it would be the machine's")
    os.kill(-1, signal.SIGKILL)
    return "sent"


def hold_pipes(mark: str = "any") -> int:
    """Leave a process behind, in a session of its own, that holds this one's pipes open."""
    code = (
        "import os, sys\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "os.execv('/bin/sleep', [sys.argv[1], '300'])\n"
    )
    name = f"aperio-left-behind-{mark}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, name], check=True)
    return os.getpid()


def trace_sibling() -> str:
    """Attach to another process of this one's user, to read what it has."""
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        LIBC.ptrace.argtypes = [ctypes.c_long] * 4
        if LIBC.ptrace(16, child.pid, 0, 0):  # PTRACE_ATTACH
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        os.waitpid(child.pid, 0x40000000)  # __WALL
        LIBC.ptrace(17, child.pid, 0, 0)  # PTRACE_DETACH
        return "attached"
    finally:
        child.kill()
        child.wait()


def read_memory_of_sibling() -> str:
    """Read another process's memory by its file."""
    child = subprocess.Popen(["/bin/sleep", "60"])
    try:
        maps = pathlib.Path(f"/proc/{child.pid}/maps").read_text()
        start = int(maps.split("-", 1)[0], 16)
        with pathlib.Path(f"/proc/{child.pid}/mem").open("rb") as memory:
            memory.seek(start)
            return memory.read(4).hex()
    finally:
        child.kill()
        child.wait()


def open_socket(family: int, kind: int = 1, protocol: int = 0) -> str:
    socket.socket(family, kind, protocol).close()
    return "opened"


def tamper(how: str, path: str) -> str:
    """Change a file, or what leads to it, in one of many ways."""
    file = pathlib.Path(path)
    ways: dict[str, Callable[[], Any]] = {
        "append": lambda: file.open("ab").close(),
        "truncate": lambda: os.truncate(path, 0),
        "remove": file.unlink,
        "rename": lambda: file.rename(f"{path}.old"),
        "chmod": lambda: file.chmod(0o777),
        "touch": lambda: os.utime(path),
        "link": lambda: os.link(path, f"{path}.link"),
        "symlink": lambda: pathlib.Path(f"{path}.symlink").symlink_to("/etc/passwd"),
        "folder": lambda: file.parent.joinpath("added").mkdir(),
        "attribute": lambda: os.setxattr(path, "user.a", b"b"),
        "bytecode": lambda: file.parent.joinpath("__pycache__").mkdir(),
        "remount": lambda: LIBC.mount(b"none", os.fsencode(file.parent), b"tmpfs", 0, b""),
    }
    answer = ways[how]()
    if how == "remount" and answer:
        raise OSError(ctypes.get_errno(), "mount")
    return "done"


def writable_places() -> list[str]:
    """Every folder that a file can be made in, of all that is not mounted for reading only."""
    found = []
    for _, mount, kind, options, *_ in map(str.split, read_lines("/proc/mounts")):
        if "ro" not in options.split(",") and kind != "proc":
            found += [folder for folder, _, _ in os.walk(mount) if _takes_a_file(folder)]
    return sorted(set(found))


def _takes_a_file(folder: str) -> bool:
    place = pathlib.Path(folder) / "aperio-probe"
    try:
        place.touch(exist_ok=False)
    except OSError:
        return False
    place.unlink()
    return True


def read_lines(path: str) -> list[str]:
    return pathlib.Path(path).read_text().splitlines()


def fill_everywhere(places: list[str], most_mib: int) -> int:
    """Return how many MiB fitted into all of them at the same time, as files of every kind."""
    fitted, made = 0, []
    for place in places:
        for number in range(1000):
            file = pathlib.Path(place) / f"filler-{number}"
            before = fitted
            made.append(file)
            try:
                with file.open("wb", buffering=0) as opened:
                    while fitted < most_mib * MIB:
                        fitted += opened.write(b"x" * 65536)
            except OSError:
                pass
            if fitted == before:
                break
    for file in made:
        with contextlib.suppress(OSError):
            file.unlink()
    return fitted // MIB


def many_names(folder: str, most: int) -> int:
    """Return how many empty files could be made: names are memory, too."""
    made = 0
    try:
        while made < most:
            os.symlink("x", f"{folder}/n{made}")  # noqa: PTH211 - a hundred thousand of them
            made += 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    return made


def share(how: str, mib: int) -> int:
    """Return how much memory could be used that no process has mapped."""
    import mmap

    name = ctypes.create_string_buffer(b"filler")  # some builds of Python have no such call
    number = {"x86_64": 319, "aarch64": 279}[os.uname().machine]  # memfd_create(2)
    descriptor = system_call(number, ctypes.addressof(name), 0) if how == "memfd" else -1
    for _ in range(mib):
        if how == "memfd":
            KEPT.append(os.write(descriptor, b"x" * MIB))
        elif how == "System V":
            segment = system_call(29, 0, MIB, 0o1600)  # IPC_PRIVATE
            LIBC.shmat.restype = ctypes.c_void_p
            place = LIBC.shmat(segment, None, 0)
            ctypes.memset(place, 1, MIB)
            LIBC.shmdt(ctypes.c_void_p(place))
            KEPT.append(segment)
        else:
            area = mmap.mmap(-1, MIB)
            area.write(b"x" * MIB)
            KEPT.append(area)
    held = len(KEPT)
    KEPT.clear()
    return held


def rights() -> dict[str, Any]:
    """What this process may become, and which mounts give rights or devices."""
    status = dict(line.split(":\t", 1) for line in read_lines("/proc/self/status") if ":\t" in line)
    mounts = [line.split() for line in read_lines("/proc/mounts")]
    return {
        "no_new_privileges": status["NoNewPrivs"],
        "capabilities": [int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Amb")],
        "groups": status["Groups"].split(),
        "suid": [words[1] for words in mounts if "nosuid" not in words[3].split(",")],
        "dev": [
            words[1]
            for words in mounts
            if "nodev" not in words[3].split(",") and not words[1].startswith("/dev/")
        ],
    }


def own() -> dict[str, Any]:
    return {"uid": os.getuid(), "host": os.uname().nodename, "cwd": os.getcwd()}  # noqa: PTH109


DEEDS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        read, listing, write, fill, environment_of, processes, connect, signal_process,
        make_device, set_user, set_user_by_program, open_files, threads, children, hog, reserve,
        burn, daemon, die_by, kill_group, own, run, raise_limit, system_call, flood, huge,
        take_back_lifeline, kill_parents_group, kill_all, hold_pipes, trace_sibling,
        read_memory_of_sibling, open_socket, tamper, writable_places, fill_everywhere, many_names,
        rights, share,
    )
}  # fmt: skip


def sync(request: Any, context: Any) -> Iterator[connector_pb2.SyncEvent]:
    """Sync as it is told to: without end, without a word, or with a message that is too large."""
    how = json.loads(request.context.config_json or b"{}").get("sync", "well")
    first = int(request.cursor or b"0")
    if how == "well":
        yield bare.batch(first, 2)
    while how == "endless" and context.is_active():
        yield bare.batch(first, 2)
        first += 2
        yield bare.checkpoint(b"%d" % first)
    while how == "drips" and context.is_active():
        progress = connector_pb2.Progress(message="soon")
        yield connector_pb2.SyncEvent(progress=progress)
        time.sleep(0.05)
    if how == "silent":
        time.sleep(300)
    if how == "huge":
        made = bare.batch(first, 1)
        made.batch.events[0].record_json = b'"' + b"x" * (8 * MIB) + b'"'
        yield made
    yield bare.checkpoint(b"%d" % (first + 2))


def answer(request: Any, _context: Any) -> Any:
    name, arguments = json.loads(request.context.config_json)["deed"]
    try:
        found: Any = DEEDS[name](*arguments)
    except OSError as error:
        found = errno.errorcode.get(error.errno or 0, str(error))
    return connector_pb2.TestResponse(ok=True, account={"found": json.dumps(found)})


def serve() -> None:
    methods = {
        "TestConnection": bare.unary(answer, connector_pb2.TestRequest),
        "Sync": bare.stream(sync, connector_pb2.SyncRequest),
    }
    bare.serve(methods)


if __name__ == "__main__":
    serve()
