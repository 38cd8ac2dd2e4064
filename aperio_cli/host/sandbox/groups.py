"""Control groups: memory, processor and processes of one plugin, kept and counted by the kernel.

Either version will do. Of version 1 each controller has a tree of its own, and a folder that may be
written is enough. In version 2 a folder that has processes cannot divide what it has: the host
moves itself into a leaf (`aperio-host`) and makes the plugins' groups beside it. It may do that in
a group that was delegated to it (a unit with `Delegate=yes`); otherwise it asks systemd once, over
D-Bus, to be moved into a delegated scope of its own, which an ordinary user with a user manager may
(systemd.io/CGROUP_DELEGATION).

Sources: cgroup-v1/memory.rst, cgroup-v1/pids.rst, scheduler/sched-bwc.rst, cgroup-v2.rst in the
kernel's documentation.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.host.sandbox.interface import Counters
from aperio_cli.paths import find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aperio_cli.models.limits import Limits

CONTROLLERS: Final = {"memory": "memory", "cpu": "cpu", "pids": "processes"}
"""The limit that each controller keeps."""

LEAF: Final = "aperio-host"
_SYSTEMD: Final = Path("/run/systemd/system")
"""There while systemd is the init system (sd_booted(3))."""

_PREFIX: Final = "aperio-"
_PERIOD_US: Final = 100_000
_DELEGATION_S: Final = 5.0
_REMOVAL_S: Final = 0.5
_LEAST_QUOTA_US: Final = 1000
_SWEPT_AGAIN_S: Final = 60.0
_PIECE_BYTES: Final = 64 * 1024
_swept_s: dict[Path, float] = {}
_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class Offer:
    """What a machine offers, seen without changing anything.

    Attributes:
        version: 1 or 2; 0: nothing.
        controllers: names of those that can be used.
        by_systemd: whether systemd has to be asked first.
        remedy: what would bring those that are missing.
    """

    version: int = 0
    controllers: frozenset[str] = frozenset()
    by_systemd: bool = False
    remedy: str = ""

    @property
    def mechanism(self) -> str:
        """How messages call it."""
        return f"cgroup v{self.version}" + (", delegated by systemd" if self.by_systemd else "")


NOTHING: Final = Offer()


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where this process is in the trees of control groups.

    Attributes:
        version: 1 or 2; 0: there are none.
        folders: its own folder by controller.
    """

    version: int
    folders: Mapping[str, Path]


def look(proc: Path = Path("/proc")) -> Hierarchy:
    """Return where this process is; version 1 is preferred where its controllers are mounted.

    Args:
        proc: where the kernel says it.
    """
    own = dict(_own_paths(proc))
    mounts = tuple(_mounts(proc))
    first = {
        name: _below(place, root, own[name])
        for kind, root, place, options in mounts
        for name in CONTROLLERS
        if kind == "cgroup" and name in options and name in own
    }
    if first:
        return Hierarchy(1, first)
    for kind, root, place, _ in mounts:
        if kind == "cgroup2" and "" in own:
            folder = _below(place, root, own[""])
            names = _words(folder / "cgroup.controllers")
            return Hierarchy(2, {name: folder for name in CONTROLLERS if name in names})
    return Hierarchy(0, {})


def survey(proc: Path = Path("/proc")) -> Offer:
    """Return what can be had, without changing anything.

    Args:
        proc: where the kernel says it.
    """
    found = look(proc)
    if found.version == 1:
        usable = frozenset(name for name, folder in found.folders.items() if _is_ours(folder))
        return Offer(1, usable, remedy="" if usable else "run it as root, or under systemd")
    if found.version == 2:  # noqa: PLR2004 - the version
        folder = next(iter(found.folders.values()), None)
        names = frozenset(found.folders)
        if folder and (_is_leaf(folder) or _is_delegated(folder)):
            return Offer(2, names)
        names = _managers_controllers(proc)
        if names and _systemd_command():
            return Offer(2, names, by_systemd=True)
        return Offer(2, remedy="`Delegate=yes` in its unit, or `loginctl enable-linger`")
    return Offer(remedy="a kernel with control groups, mounted at /sys/fs/cgroup")


class Group:
    """The group of one plugin; empty until `add`."""

    def __init__(self, version: int, folders: Mapping[str, Path]) -> None:
        self._version = version
        self._folders = folders

    def add(self, pid: int) -> None:
        """Move a process in; what it starts from then on is in there, too.

        Raises:
            OSError: the kernel does not move it.
        """
        for folder in dict.fromkeys(self._folders.values()):
            _write(folder / "cgroup.procs", str(pid))

    def limit(self, limits: Limits) -> None:
        """Set the limits but that of the processor, which would only stretch a start.

        Raises:
            OSError: the kernel does not take one.
        """
        if memory := self._folders.get("memory"):
            self._limit_memory(memory, limits.memory_bytes)
        if pids := self._folders.get("pids"):
            _write(pids / "pids.max", str(limits.processes))

    def limit_cpu(self, cores: float) -> None:
        """Set the limit of the processor.

        Raises:
            OSError: the kernel does not take it.
        """
        quota = max(_LEAST_QUOTA_US, round(cores * _PERIOD_US))
        folder = self._folders.get("cpu")
        if folder and self._version == 1:
            _write(folder / "cpu.cfs_period_us", str(_PERIOD_US))
            _write(folder / "cpu.cfs_quota_us", str(quota))
        elif folder:
            _write(folder / "cpu.max", f"{quota} {_PERIOD_US}")

    def counters(self) -> Counters:
        """Return what the kernel has counted; None of what it does not tell."""
        # Texts instead of paths: it is asked for with every health check, too.
        memory, pids, cpu_folder = (
            str(self._folders.get(name, "/nonexistent")) for name in ("memory", "pids", "cpu")
        )
        cpu = _pairs(f"{cpu_folder}/cpu.stat")
        throttled_us = cpu.get("throttled_usec")
        if throttled_us is None and "throttled_time" in cpu:  # version 1: nanoseconds
            throttled_us = cpu["throttled_time"] // 1000
        is_first = self._version == 1
        events = _pairs(f"{memory}/{'memory.oom_control' if is_first else 'memory.events'}")
        peak = f"{memory}/{'memory.max_usage_in_bytes' if is_first else 'memory.peak'}"
        kills = events.get("oom_kill")
        if not is_first and kills:  # each process of it counts there, and all of them die at once
            kills = events.get("oom_group_kill") or 1
        return Counters(
            memory_peak_bytes=_number(peak),
            memory_kills=kills,
            throttled=cpu.get("nr_throttled"),
            throttled_s=None if throttled_us is None else throttled_us / 1e6,
            refused_processes=_pairs(f"{pids}/pids.events").get("max"),
        )

    def remove(self) -> None:
        """Remove it, once its processes are dead; harmless when repeated."""
        deadline_s = clock.monotonic_s() + _REMOVAL_S
        for folder in dict.fromkeys(self._folders.values()):
            while not _remove(folder) and clock.monotonic_s() < deadline_s:
                time.sleep(0.005)  # the kernel is still taking the last of them apart

    def _limit_memory(self, folder: Path, size_bytes: int) -> None:
        if self._version == 1:
            _write(folder / "memory.limit_in_bytes", str(size_bytes))
            with contextlib.suppress(OSError):  # a kernel that does not account for swap
                _write(folder / "memory.memsw.limit_in_bytes", str(size_bytes))
            return
        _write(folder / "memory.max", str(size_bytes))
        _write(folder / "memory.oom.group", "1")
        with contextlib.suppress(OSError):  # as above
            _write(folder / "memory.swap.max", "0")


def make_group(offer: Offer, proc: Path = Path("/proc")) -> Group | None:
    """Return a new group by what a machine offers; None when it offers nothing.

    Raises:
        OSError: it offered what it does not give.
    """
    if not offer.controllers:
        return None
    with _making:  # several are started at once, and this process moves once
        return _made(offer, proc)


def _made(offer: Offer, proc: Path) -> Group:
    if offer.by_systemd and not _is_in_leaf(proc):
        _ask_systemd()
    found = look(proc)
    folders = {name: found.folders[name] for name in offer.controllers if name in found.folders}
    if set(folders) != offer.controllers:
        raise OSError(0, f"{', '.join(sorted(offer.controllers - set(folders)))} went away")
    name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    if found.version == 2:  # noqa: PLR2004 - the version
        base = _ensure_divided(next(iter(folders.values())), offer.controllers)
        folders = dict.fromkeys(folders, base)
    made = {}
    for controller, folder in folders.items():
        _sweep(folder, proc)
        made[controller] = folder / name
        made[controller].mkdir(exist_ok=True)
    return Group(found.version, made)


# ── version 2: a group of one's own ───────────────────────────────────────────────────────────────


def _is_leaf(folder: Path) -> bool:
    return folder.name == LEAF and _is_ours(folder.parent)


def _is_in_leaf(proc: Path) -> bool:
    return any(_is_leaf(folder) for folder in look(proc).folders.values())


def _is_delegated(folder: Path) -> bool:
    """Return whether the folder may be divided: it is ours, and nobody else is in it.

    Root may write to every one: of systemd's it is given those that say so.
    """
    if not _is_ours(folder) or not os.access(folder / "cgroup.procs", os.W_OK):
        return False
    if os.geteuid() == 0 and _SYSTEMD.exists() and not _says_delegated(folder):
        return False
    return set(_words(folder / "cgroup.procs")) <= {str(os.getpid())}


def _says_delegated(folder: Path) -> bool:
    """Return whether systemd has marked a folder as delegated, as its CGROUP_DELEGATION says."""
    for name in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


def _managers_controllers(proc: Path) -> frozenset[str]:
    """Return what systemd can delegate: what its manager has, which its other units may lack."""
    place = next((mount for kind, _, mount, _ in _mounts(proc) if kind == "cgroup2"), None)
    if place is None:
        return frozenset()
    uid = os.geteuid()
    if uid:
        place = place / "user.slice" / f"user-{uid}.slice" / f"user@{uid}.service"
    return frozenset(CONTROLLERS) & set(_words(place / "cgroup.controllers"))


def _ensure_divided(folder: Path, controllers: frozenset[str]) -> Path:
    """Return the folder to make groups in: this process is moved to a leaf of it first."""
    base = folder.parent if folder.name == LEAF else folder
    leaf = base / LEAF
    if folder.name != LEAF:
        leaf.mkdir(exist_ok=True)
        _write(leaf / "cgroup.procs", str(os.getpid()))
    missing = controllers - set(_words(base / "cgroup.subtree_control"))
    if missing:
        _write(base / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(missing)))
    return base


def _systemd_command() -> list[str]:
    """Return the beginning of a call of the manager that this user has; empty: there is none."""
    program = find_program("busctl")
    uid = os.geteuid()
    bus = Path("/run/systemd/private") if uid == 0 else Path(f"/run/user/{uid}/bus")
    if not program or not bus.exists():
        return []
    return [program, "--system" if uid == 0 else "--user", f"--timeout={_DELEGATION_S:g}"]


def _ask_systemd(run: Callable[..., object] = subprocess.run, proc: Path = Path("/proc")) -> None:
    """Have systemd move this process into a delegated scope, and wait until it has.

    Raises:
        OSError: it does not.
    """
    before = dict(_own_paths(proc))
    manager = "org.freedesktop.systemd1"
    call = [manager, f"/{manager.replace('.', '/')}", f"{manager}.Manager", "StartTransientUnit"]
    unit = f"{_PREFIX}{os.getpid()}.scope"
    properties = ["2", "PIDs", "au", "1", str(os.getpid()), "Delegate", "b", "true", "0"]
    bus = "" if os.geteuid() == 0 else f"unix:path=/run/user/{os.geteuid()}/bus"
    try:
        run(
            [*_systemd_command(), "call", *call, "ssa(sv)a(sa(sv))", unit, "fail", *properties],
            check=True,
            capture_output=True,
            timeout=_DELEGATION_S,
            env={"DBUS_SESSION_BUS_ADDRESS": bus} if bus else {},
        )
    except subprocess.SubprocessError as error:
        raise OSError(0, f"systemd delegated no group: {error}") from error
    deadline_s = clock.monotonic_s() + _DELEGATION_S
    while dict(_own_paths(proc)) == before:
        if clock.monotonic_s() > deadline_s:
            raise OSError(0, "systemd did not move this process in time")
        time.sleep(0.005)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def _own_paths(proc: Path) -> Iterator[tuple[str, str]]:
    """Yield controller and path of this process (cgroups(7)); version 2 has no name."""
    for line in _lines(proc / "self" / "cgroup"):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in names.split(","):
            yield name, path


def _mounts(proc: Path) -> tuple[tuple[str, str, Path, list[str]], ...]:
    """Return kind, root, place and options of each mount of control groups (proc(5))."""
    lines = _lines(proc / "self" / "mountinfo")
    return _parsed(tuple(line for line in lines if "cgroup" in line))  # of hundreds, at times


@functools.lru_cache(maxsize=8)
def _parsed(lines: tuple[str, ...]) -> tuple[tuple[str, str, Path, list[str]], ...]:
    """Return what `_mounts` does; the lines are the same at each start."""
    found = []
    for line in lines:
        fields, _, rest = line.partition(" - ")
        kind, *_, options = rest.split() or [""]
        if kind in {"cgroup", "cgroup2"}:
            words = fields.split()
            found.append((kind, words[3], Path(words[4]), options.split(",")))
    return tuple(found)


def _below(place: Path, root: str, own: str) -> Path:
    """Return the folder of a path, in a mount that may show a part of the tree only."""
    if root != "/" and (own == root or own.startswith(f"{root}/")):
        own = own[len(root) :]
    return place / own.lstrip("/")


def _is_ours(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _sweep(folder: Path, proc: Path) -> None:
    """Remove groups that hosts left when they were killed; of each folder once in a while."""
    now_s = clock.monotonic_s()
    if now_s - _swept_s.get(folder, float("-inf")) < _SWEPT_AGAIN_S:
        return
    _swept_s[folder] = now_s
    for found in folder.glob(f"{_PREFIX}*-*"):
        pid = found.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not (proc / pid).exists():
            _remove(found)


def _remove(folder: Path) -> bool:
    """Return whether a group is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"{file}: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _lines(file: Path | str) -> list[str]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)  # several are read for each call
    except OSError:
        return []
    try:
        pieces = []
        while piece := os.read(descriptor, _PIECE_BYTES):
            pieces.append(piece)
    except OSError:
        return []
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode("utf-8", "surrogateescape").splitlines()


def _words(file: Path | str) -> list[str]:
    return " ".join(_lines(file)).split()


def _number(file: Path | str) -> int | None:
    words = _words(file)
    return int(words[0]) if words and words[0].isdigit() else None


def _pairs(file: Path | str) -> dict[str, int]:
    """Return a file of lines of a name and a number."""
    found = (line.split() for line in _lines(file))
    return {words[0]: int(words[1]) for words in found if len(words) > 1 and words[1].isdigit()}
