"""Confinement by bubblewrap: namespaces, a view of its own, a filter of system calls.

`bwrap` is run as a process of its own. It makes the namespaces and waits (`--block-fd`) while the
host, from outside, sets limits on what waits, and opens the sockets of the plugin's only door; then
it executes the plugin. Two processes of bubblewrap stay: one outside, whose end ends everything,
and pid 1 of the plugin's process namespace, whose end is the end of every process in it, whatever
session it is in.

An ordinary user's plugin keeps that user's id in a user namespace. A host that is root would be
root on every mount even in there: its plugins get a user id of their own (`[sandbox] plugin_uid`),
and a user namespace that knows root and this id, so that bubblewrap can show the plugin files from
folders which that id cannot enter.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import signal
import subprocess
from dataclasses import dataclass, field, fields, replace
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors.running import SandboxFailed
from aperio_cli.host.sandbox import network, seccomp, unconfined, view
from aperio_cli.host.sandbox.groups import NOTHING, Group, Offer, make_group
from aperio_cli.host.sandbox.interface import Counters, Enforcement, Level
from aperio_cli.host.sandbox.watching import Watched
from aperio_cli.machine import kernel
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.host.sandbox.interface import Command, Confinement
    from aperio_cli.models.limits import Limits

PLUGIN_UID: Final = 61001
"""Whose id the plugins of a host that is root have, unless the configuration says another."""

_SETUP_TIMEOUT_S: Final = 10.0
_MAX_SHM_BYTES: Final = 64 * 1024
_UNMAPPED_BYTES: Final = 256 * 1024**2  # what runtimes reserve and do not use
_COUNTED_SINCE: Final = (5, 14)  # RLIMIT_NPROC is counted in a user namespace, by user
_LARGEST_INFO_BYTES: Final = 64 * 1024
_WORDS_KEPT: Final = 4096
_SIGNALLED: Final = (
    128  # bwrap exits with that plus the number of the signal that ended the command
)
_LOCALHOST: Final = (("127.0.0.1", "localhost"), ("::1", "localhost"))


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that confine.

    Attributes:
        bwrap: bubblewrap.
        setpriv: of util-linux; only root's plugins need it and the next.
        unshare: of util-linux.
    """

    bwrap: str
    setpriv: str = ""
    unshare: str = ""


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """Starts commands confined by bubblewrap.

    Attributes:
        tools: the programs.
        owner: whose id plugins have when the host is root; None: the host is not.
        offer: control groups; what they do not limit is watched.
    """

    tools: Tools
    owner: int | None = None
    offer: Offer = NOTHING

    @property
    def name(self) -> str:
        """How the operator calls it."""
        return "bubblewrap"

    def enforcements(self, wanted: Confinement) -> tuple[Enforcement, ...]:
        """Return how each limit is kept of such a plugin."""
        kernel = Level.KERNEL
        egress = Enforcement("egress", kernel, "a network namespace without a way out")
        if wanted.door:
            egress = Enforcement("egress", kernel, "a network namespace with the host's door")
        return (
            self._by_group("cpu", "stopped (SIGSTOP) while it is over its share"),
            self._by_group("memory", "looked at 10 times a second, RLIMIT_DATA of each process"),
            egress,
            self._processes(),
            Enforcement("tmp", kernel, "a tmpfs of that size"),
            Enforcement("open_files", kernel, "RLIMIT_NOFILE of each process"),
            Enforcement("isolation", kernel, "namespaces, own view of files, seccomp"),
        )

    def _by_group(self, limit: str, otherwise: str) -> Enforcement:
        if limit in self.offer.controllers:
            return Enforcement(limit, Level.KERNEL, self.offer.mechanism)
        return Enforcement(limit, Level.POLLED, otherwise, self.offer.remedy)

    def _processes(self) -> Enforcement:
        if "pids" in self.offer.controllers:
            return Enforcement("processes", Level.KERNEL, self.offer.mechanism)
        if counts_by_namespace():
            mechanism = "RLIMIT_NPROC in its own user namespace"
            return Enforcement("processes", Level.KERNEL, mechanism)
        return Enforcement("processes", Level.NONE, "not limited", "a kernel of 5.14 or newer")

    def folder(self, own: Path) -> Path:
        """Return where the plugin finds its own folder."""
        del own
        return view.HOME

    def start(self, command: Command, wanted: Confinement, lifeline: int) -> Held:
        """Return the started command, confined.

        Raises:
            SandboxFailed: bubblewrap does not confine it, and says why.
            OSError: bubblewrap itself cannot be executed.
        """
        with contextlib.ExitStack() as opened:
            setup = _Setup(self, command, wanted, opened)
            group = setup.make_group()
            try:
                held = setup.begin(lifeline)
            except BaseException:
                if group:
                    group.remove()
                raise
            held.group = group
            try:
                setup.limit(held)
                setup.release()
            except BaseException:
                unconfined.put_down(held.popen)
                held.close()
                raise
        return held


@dataclass(slots=True)
class Held:
    """A command in its sandbox.

    Attributes:
        popen: bubblewrap outside of it.
        init: pid, seen from here, of the first process inside.
        limits: what it may use.
        owner: the user id that the command has; None: this process's.
        group: its control group; None: there is none.
        watched: who looks after what the group does not limit; None: nobody has to.
    """

    popen: subprocess.Popen[bytes]
    init: int
    limits: Limits
    owner: int | None = None
    group: Group | None = None
    watched: Watched | None = None
    _space: int = -1

    @property
    def home(self) -> Path | None:
        """Where its own folder is, seen from here."""
        return Path(f"/proc/{self.init}/root") / view.HOME.relative_to("/")

    def terminate(self) -> None:
        """Send SIGTERM to the command's group; bubblewrap's pid 1 takes no notice of it."""
        if self.popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.init, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to everything in the sandbox, and to bubblewrap outside of it."""
        unconfined.signal_group(self.popen, signal.SIGKILL)  # the kernel kills pid 1 in there then

    def settle(self) -> None:
        """Begin with the limit of the processor: it would stretch a start, and limit nothing."""
        if self.home and self._space < 0:
            with contextlib.suppress(OSError):  # it has just ended
                self._space = os.open(self.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if self.group:
            with contextlib.suppress(OSError):  # as above
                self.group.limit_cpu(self.limits.cpu)
        if self.watched:
            self.watched.settle()

    def status_of(self, returncode: int) -> int:
        """Return minus the signal that ended the command, where bubblewrap says 128 more."""
        number = returncode - _SIGNALLED
        return -number if number in signal.valid_signals() else returncode

    @property
    def is_looked_at(self) -> bool:
        """Whether no control group counts its memory."""
        return self.watched is not None and self.watched.watches_memory

    def look_since(self, moment_s: float) -> None:
        """Look at its memory, if nobody has since; a control group needs nobody."""
        if self.watched:
            self.watched.look_since(moment_s)

    def counters(self) -> Counters:
        """Return what was counted."""
        found = self.group.counters() if self.group else Counters()
        seen = self.watched.counters() if self.watched else Counters()
        if self._space >= 0:
            space = os.fstatvfs(self._space)
            used = (space.f_blocks - space.f_bfree) * space.f_frsize
            found = replace(found, tmp_used_bytes=used)
        names = (each.name for each in fields(Counters))
        return replace(found, **{n: getattr(seen, n) for n in names if getattr(found, n) is None})

    def close(self) -> None:
        """Let go of everything, once it is dead; harmless when repeated."""
        if self.watched:
            self.watched.end()
        if self._space >= 0:
            os.close(self._space)
            self._space = -1
        if self.group:
            self.group.remove()


@dataclass(slots=True)
class _Setup:
    """One start: what bubblewrap is told, and what is done while it waits."""

    sandbox: Bubblewrap
    command: Command
    wanted: Confinement
    opened: contextlib.ExitStack
    _block: FileIO | None = None
    _passed: list[int] = field(default_factory=list)

    def make_group(self) -> Group | None:
        """Make its control group, before there is anything to put into it.

        Version 2 divides a group only while nobody is in it: this process moves to a leaf first,
        and what it starts from then on is there, too.

        Raises:
            SandboxFailed: the kernel gives none.
        """
        try:
            return make_group(self.sandbox.offer)
        except OSError as error:
            raise _limit_failed(error) from error

    def begin(self, lifeline: int) -> Held:
        """Start bubblewrap, and return what waits in the sandbox.

        Raises:
            SandboxFailed: nothing waits there.
            OSError: bubblewrap cannot be executed.
        """
        info, info_inside = self._pipe()
        block_inside, self._block = self._pipe()
        inside = (info_inside, block_inside)
        self._passed += [end.fileno() for end in inside]
        told = self._arguments()
        told += ["--info-fd", str(info_inside.fileno())]
        told += ["--block-fd", str(block_inside.fileno())]
        arguments = self._memory("\0".join(told).encode())
        popen = unconfined.execute(
            (self.sandbox.tools.bwrap, "--args", str(arguments), "--", *self._executed()),
            self.command,
            lifeline,
            more=tuple(self._passed),
        )
        for end in inside:
            end.close()
        try:
            init = _read_init(info.fileno(), popen)
            return Held(popen, init, self.wanted.limits, self.sandbox.owner)
        except BaseException:
            unconfined.put_down(popen)
            raise

    def limit(self, held: Held) -> None:
        """Limit what waits, and open the door; all of it is inherited by what is executed.

        Raises:
            SandboxFailed: the kernel does not set a limit that this machine can keep.
        """
        try:
            self._limit(held)
        except OSError as error:
            raise _limit_failed(error) from error
        if self.wanted.door:
            sockets = network.open_in_namespace(held.init, self.wanted.door.addresses)
            self.wanted.door.serve(sockets)

    def _limit(self, held: Held) -> None:
        limits, offered = self.wanted.limits, self.sandbox.offer.controllers
        unconfined.limit(held.init, self.command.open_files)
        resource.prlimit(held.init, resource.RLIMIT_MSGQUEUE, (0, 0))
        if held.group:
            held.group.limit(limits)
            held.group.add(held.init)
        if "pids" not in offered and counts_by_namespace():
            count = limits.processes
            resource.prlimit(held.init, resource.RLIMIT_NPROC, (count, count))
        if "memory" not in offered:
            most = limits.memory_bytes + _UNMAPPED_BYTES
            resource.prlimit(held.init, resource.RLIMIT_DATA, (most, most))
        if not {"memory", "cpu"} <= offered:
            held.watched = Watched(held.init, limits, "memory" not in offered, "cpu" not in offered)
            held.watched.begin()

    def release(self) -> None:
        """Have bubblewrap execute the command."""
        assert self._block  # noqa: S101 - `begin` has made it
        self._block.write(b"\0")

    # ── what bubblewrap is told ───────────────────────────────────────────────────────────────────

    def _arguments(self) -> list[str]:
        """Return what to make; the order of mounts matters: what comes later covers."""
        told = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        told.append("--unshare-net")
        told += ["--hostname", "plugin", "--die-with-parent", "--new-session"]
        told += self._identity()
        told += ["--proc", "/proc", "--dev", "/dev"]
        told += _tmpfs("/dev/shm", _MAX_SHM_BYTES)  # noqa: S108 - in the sandbox
        told += _tmpfs(str(view.HOME), self.wanted.limits.tmp_bytes)
        told += self._view()
        for path, text in self._generated().items():
            told += ["--perms", "0444", "--file", str(self._memory(text.encode())), path]
        told += ["--remount-ro", "/", "--remount-ro", "/dev", "--chdir", str(view.HOME)]
        is_watched = "memory" not in self.sandbox.offer.controllers
        rules = seccomp.build_filter(is_memory_watched=is_watched)
        told += ["--seccomp", str(self._memory(rules))]
        return told

    def _identity(self) -> list[str]:
        if self.sandbox.owner is None:
            return ["--unshare-user"]
        namespace = _user_namespace(self.sandbox.tools.unshare, self.sandbox.owner)
        self.opened.callback(os.close, namespace)
        self._passed.append(namespace)
        kept = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")  # for setpriv, which gives them up
        added = [word for name in kept for word in ("--cap-add", name)]
        return ["--userns", str(namespace), "--cap-drop", "ALL", *added]

    def _executed(self) -> tuple[str, ...]:
        uid = self.sandbox.owner
        if uid is None:
            return self.command.arguments
        setpriv = (self.sandbox.tools.setpriv, f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
        nothing = ("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--")
        return (*setpriv, *nothing, *self.command.arguments)

    def _view(self) -> list[str]:
        seen = view.View()
        seen.add_system()
        for path in self.wanted.readable:
            seen.add(path)
        for path in self.wanted.writable:
            seen.add(path, is_writable=True)
        return seen.arguments()

    def _generated(self) -> Mapping[str, str]:
        """Return small files by path: who one is, and which names need no name server."""
        uid, gid = self.sandbox.owner, self.sandbox.owner
        if uid is None or gid is None:
            uid, gid = os.getuid(), os.getgid()
        files = {
            "/etc/passwd": f"plugin:x:{uid}:{gid}:plugin:{view.HOME}:/usr/sbin/nologin\n",
            "/etc/group": f"plugin:x:{gid}:\n",
        }
        door = self.wanted.door
        pairs = (*_LOCALHOST, *(door.hosts if door else ()))
        files["/etc/hosts"] = "".join(f"{address}\t{name}\n" for address, name in pairs)
        return files

    # ── descriptors ───────────────────────────────────────────────────────────────────────────────

    def _pipe(self) -> tuple[FileIO, FileIO]:
        """Return both ends; a number is never closed twice: it may be another thread's by then."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        ends = (FileIO(reading, "rb"), FileIO(writing, "wb"))
        for end in ends:
            self.opened.enter_context(end)
        return ends

    def _memory(self, content: bytes) -> int:
        """Return a descriptor that bubblewrap reads the content from."""
        descriptor = kernel.memfd_create("bwrap", kernel.MFD_CLOEXEC)
        self.opened.callback(os.close, descriptor)
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._passed.append(descriptor)
        return descriptor


def counts_by_namespace(release: str = "") -> bool:
    """Return whether RLIMIT_NPROC means the processes of one user namespace; before, a user's all.

    Args:
        release: as `uname -r` says; empty: this kernel's.
    """
    numbers = re.findall(r"\d+", release or os.uname().release)[:2]
    return tuple(map(int, numbers)) >= _COUNTED_SINCE


def _tmpfs(path: str, size_bytes: int) -> list[str]:
    return ["--size", str(size_bytes), "--perms", "1777", "--tmpfs", path]


def _user_namespace(unshare: str, uid: int) -> int:
    """Return a descriptor of a new user namespace, in which only root and one id are known.

    A process of its own makes it: one with threads cannot.

    Raises:
        SandboxFailed: the kernel does not let it be made.
    """
    maker = subprocess.Popen(
        (unshare, "--user", "/bin/cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
        bufsize=0,
    )
    with maker:
        assert maker.stdin and maker.stdout and maker.stderr  # noqa: S101, PT018 - they are pipes
        with contextlib.suppress(BrokenPipeError):
            maker.stdin.write(b"\n")
        if not maker.stdout.read(1):
            raise _failed(maker.stderr.read(_WORDS_KEPT))
        for kind in ("uid", "gid"):
            known = f"0 0 1\n{uid} {uid} 1\n"
            Path(f"/proc/{maker.pid}/{kind}_map").write_text(known, encoding="ascii")
        return os.open(f"/proc/{maker.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _read_init(info: int, popen: subprocess.Popen[bytes]) -> int:
    """Return the pid of the first process inside, once bubblewrap says it.

    Raises:
        SandboxFailed: it ends without, or says nothing in time.
    """
    said, deadline_s = b"", clock.monotonic_s() + _SETUP_TIMEOUT_S
    saying = select.poll()  # select(2) knows no descriptors from 1024 on
    saying.register(info, select.POLLIN)
    while len(said) < _LARGEST_INFO_BYTES:
        left_s = deadline_s - clock.monotonic_s()
        if left_s <= 0 or not saying.poll(left_s * 1000):
            raise _failed(b"it says nothing")
        piece = os.read(info, _LARGEST_INFO_BYTES)
        said += piece
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return int(json.loads(said)["child-pid"])
        if not piece:
            break
    assert popen.stderr  # noqa: S101 - it is a pipe
    raise _failed(popen.stderr.read(_WORDS_KEPT))


def _limit_failed(error: OSError) -> SandboxFailed:
    return _failed(f"a limit could not be set: {error.strerror}".encode())


def _failed(said: bytes | None) -> SandboxFailed:
    words = clean((said or b"").decode("utf-8", "replace").strip(), limit=400)
    return SandboxFailed("the sandbox could not be made; nothing was executed", why=words)
