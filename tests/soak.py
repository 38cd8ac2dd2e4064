"""`make soak`: plugins that crash at random, under load, for long; nothing of them may pile up.

    python -m tests.soak [--seconds 600] [--plugins 30]

In the sandbox that this machine offers, otherwise without one. Each plugin dies after a while: it
exits, crashes, is killed, reaches its limit of memory, hangs with the interpreter's lock held, or
does not even start. Meanwhile calls are made, which may fail with an error of ours and no other.
What the host holds is counted when every plugin is READY and no call is in flight: early, and in
the end, the plugins keep calm for so long; the monotonic clock is one for all processes.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import gc
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors import AperioError
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.sandbox import groups
from aperio_cli.host.sandbox.choosing import choose_sandbox
from aperio_cli.host.supervising.rules import Rules
from aperio_cli.models.limits import Limits
from tests.hosts import Place, Served, serving

if TYPE_CHECKING:
    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.supervising.instances import InstanceKey

MIB: Final = 1024**2
CALLERS: Final = 6
RULES: Final = Rules(
    first_delay_s=0.1,
    longest_delay_s=1.0,
    healthy_s=2.0,
    heartbeat_s=2.0,
    heartbeat_timeout_s=2.0,
    drain_s=1.0,
    parallel_starts=3,
)
LIMITS: Final = Limits(memory_bytes=160 * MIB, cpu=2.0, processes=64)
DEATHS: Final = """
import ctypes, os, random, signal, sys, threading, time
def is_calm():
    return any(begin <= time.monotonic() < end for begin, end in {calms})
def die():
    time.sleep(random.expovariate(1 / {mean_s}))
    while is_calm():
        time.sleep(0.1)
    random.choice([
        lambda: os._exit(3),
        lambda: os._exit(0),
        lambda: os.abort(),
        lambda: os.kill(os.getpid(), signal.SIGKILL),
        lambda: ctypes.string_at(0),
        lambda: ctypes.PyDLL(None).pause(),
        {memory},
    ])()
if random.random() < 0.05 and not is_calm():
    sys.exit("not today")
threading.Thread(target=die, daemon=True).start()
"""


@dataclass(frozen=True)
class Held:
    """What this process holds.

    Attributes:
        processes: children, those that nobody has reaped among them.
        descriptors: open files.
        sockets: those among them that are sockets.
        threads: of this process.
        tasks: of its loop.
        groups: control groups that it has made.
        folders: private folders of plugins.
        memory_bytes: resident.
    """

    processes: int
    descriptors: int
    sockets: int
    threads: int
    tasks: int
    groups: int
    folders: int
    memory_bytes: int


def held(base: Path) -> Held:
    """Count it."""
    gc.collect()
    links = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all there is
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115 - as above
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if line
    )
    try:
        tasks = len(asyncio.all_tasks())
    except RuntimeError:
        tasks = 0
    return Held(
        processes=len(children()),
        descriptors=len(links),
        sockets=sum(link.startswith("socket:") for link in links),
        threads=int(status["Threads"]),
        tasks=tasks,
        groups=len(own_groups()),
        folders=len(list(base.iterdir())),
        memory_bytes=int(status["VmRSS"].split()[0]) * 1024,
    )


def children() -> list[int]:
    """Process ids of this process's children, dead ones that were not reaped too."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                parent = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                found += [int(path.name)] if int(parent) == os.getpid() else []
    return found


def own_groups() -> list[Path]:
    """Control groups that this process has made, and that are still there."""
    hierarchy = groups.look()
    places = set(hierarchy.folders.values())
    places |= {place.parent for place in places if place.name == groups.LEAF}
    return [found for place in places for found in place.glob(f"aperio-{os.getpid()}-*")]


@dataclass
class Outcome:
    """What a soak has come to.

    Attributes:
        deaths: by code, of plugins.
        calls: by outcome.
        before: what was held before the host began.
        early: what was held once everything had been up for a while.
        late: what was held in the end.
        after: what was held when the host had ended.
        slowest_s: the longest time that a call took.
    """

    deaths: collections.Counter[str]
    calls: collections.Counter[str]
    before: Held
    early: Held
    late: Held
    after: Held
    slowest_s: float

    def leaks(self) -> list[str]:
        """What has grown and should not have."""
        found = []
        for field in fields(Held):
            early, late = getattr(self.early, field.name), getattr(self.late, field.name)
            slack = 16 * MIB + early // 10 if field.name == "memory_bytes" else _SLACK[field.name]
            if late > early + slack:
                found.append(f"{field.name}: {early} early, {late} late")
        left = {
            name: getattr(self.after, name) - getattr(self.before, name)
            for name in ("processes", "groups", "folders")
        }
        found += [f"{name}: {n} left when the host had ended" for name, n in left.items() if n]
        if self.after.descriptors > self.before.descriptors + _LASTING:
            found.append(f"descriptors: {self.before.descriptors} before, {self.after} after")
        return found


# A pool of threads grows to its size, whenever that is; a call that has just ended closes a socket
# a moment later.
_SLACK: Final = {
    "processes": 0, "descriptors": 4, "sockets": 4, "threads": 8, "tasks": 4, "groups": 0,
    "folders": 0,
}  # fmt: skip
_LASTING: Final = 8
"""Descriptors that gRPC, the loop and the log keep for the life of a process."""


async def soak(place: Place, base: Path, plugins: int, seconds: float) -> Outcome:
    """Let so many plugins die and come for so long, beside the time that counting takes."""
    names = [f"soak/plugin-{number:02}" for number in range(plugins)]
    deaths: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    slowest: list[float] = [0.0]
    before = held(base)
    calms = _calms(plugins, seconds)
    _have_die(place, names, calms, seconds)
    async with serving(place, RULES) as served:
        counting = asyncio.create_task(_count_deaths(served, deaths))
        calling = [
            asyncio.create_task(_call(served, names, calls, slowest))
            for _ in range(min(CALLERS, plugins))
        ]
        counted = []
        for begins_s, ends_s in calms:
            await asyncio.sleep(max(0.0, begins_s - time.monotonic()))
            counted.append(await _quiet(served, base, plugins, ends_s))
        for task in (*calling, counting):
            task.cancel()
        for ended in await asyncio.gather(*calling, counting, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise ended or AssertionError("the host ended while it was soaked")
    await asyncio.sleep(0.1)
    early, late = counted
    return Outcome(deaths, calls, before, early, late, held(base), slowest[0])


def _calms(plugins: int, seconds: float) -> list[tuple[float, float]]:
    """When plugins keep calm: a first time after a third, and in the end.

    For so long that one which began to hang just before is killed for it, and is back.
    """
    told_s = RULES.missed_beats * (RULES.heartbeat_s + RULES.heartbeat_timeout_s)
    long_s = told_s + 3.0 + plugins / 2
    first_s = time.monotonic() + 2.0 + plugins / 2 + seconds / 3
    last_s = first_s + long_s + seconds * 2 / 3
    return [(first_s, first_s + long_s), (last_s, last_s + long_s)]


def _have_die(
    place: Place, names: list[str], calms: list[tuple[float, float]], seconds: float
) -> None:
    """Install plugins that die."""
    is_confined = choose_sandbox(place.environment.get("APERIO_SANDBOX", "auto")).name != "none"
    hog = f'lambda: [b"x" * {2 * LIMITS.memory_bytes}]'
    memory = hog if is_confined else "lambda: os._exit(4)"
    mean_s = max(2.0, min(40.0, seconds / 4))
    code = DEATHS.format(mean_s=mean_s, memory=memory, calms=calms)
    for name in names:
        place.put(name, code=code, limits=LIMITS)


async def _count_deaths(served: Served, deaths: collections.Counter[str]) -> None:
    async for status in served.host.supervisor.watch():
        del served.logs[:-1000]
        if status.phase in {Phase.BACKOFF, Phase.FAILED}:
            deaths[status.code] += 1


async def _quiet(served: Served, base: Path, plugins: int, until_s: float) -> Held:
    """Count at a moment at which all is as it should be."""
    async with asyncio.timeout(until_s - time.monotonic()):
        while True:
            statuses = served.host.supervisor.statuses()
            is_up = all(status.phase is Phase.READY and not status.calls for status in statuses)
            if len(statuses) == plugins and is_up:
                found = held(base)
                if found.processes == plugins:  # none has died at this very moment
                    return found
            await asyncio.sleep(0.02)


async def _call(
    served: Served, names: list[str], calls: collections.Counter[str], slowest: list[float]
) -> None:
    """Call plugins, one after the other, whatever becomes of them."""
    while True:
        key: InstanceKey = served.key(random.choice(names))  # noqa: S311 - which one does not matter
        began_s = time.monotonic()
        try:
            async with served.host.supervisor.use(key, {}) as plugin:
                await _work(plugin)
            calls["answered"] += 1
        except AperioError as error:
            calls[error.code] += 1
        slowest[0] = max(slowest[0], time.monotonic() - began_s)
        await asyncio.sleep(random.uniform(0.0, 0.1))  # noqa: S311 - as above


async def _work(plugin: RunningPlugin) -> None:
    await plugin.connector.schema(Invocation())
    async for _message in plugin.connector.sync(Invocation()):
        pass


def run(plugins: int, seconds: float, sandbox: str = "auto") -> Outcome:
    """Soak in folders of its own."""
    folder = Path(tempfile.mkdtemp(prefix="soak", dir="/tmp"))
    base = folder / "run"
    base.mkdir(mode=0o700)
    folder.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(base)}
    environment |= {"APERIO_SANDBOX": sandbox} if sandbox == "none" else {}
    try:
        place = Place(folder / "home", environment, brings_all=True)
        return asyncio.run(soak(place, base, plugins, seconds))
    finally:
        shutil.rmtree(folder)


def main(arguments: list[str] | None = None) -> int:
    """Soak, say what became of it, and by the exit status whether anything piled up."""
    parser = argparse.ArgumentParser(description="Let plugins crash at random, under load.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--plugins", type=int, default=30)
    parser.add_argument("--sandbox", choices=("auto", "none"), default="auto")
    chosen = parser.parse_args(arguments)
    outcome = run(chosen.plugins, chosen.seconds, chosen.sandbox)
    say: Any = print
    say(f"deaths   {sum(outcome.deaths.values())}: {dict(outcome.deaths)}")
    say(f"calls    {sum(outcome.calls.values())}: {dict(outcome.calls)}")
    say(f"slowest  {outcome.slowest_s:.2f} s")
    for name in ("before", "early", "late", "after"):
        say(f"{name:8} {getattr(outcome, name)}")
    leaks = outcome.leaks()
    for leak in leaks:
        say(f"LEAK     {leak}")
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
