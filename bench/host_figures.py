"""What the host that stays up costs, and how soon its plugins are there.

The host is a process of its own, so that nothing else is measured with it: this file, run with
`serve`. It is asked in lines of JSON and answers in the same way. Its plugins run in the sandbox of
this machine; without one the figures are left out, as they are about it, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import go_figures
from figures import TIMEOUT_S, Figure

from aperio_cli import clock
from aperio_cli.config import load_config
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.sandbox.choosing import choose_sandbox
from aperio_cli.host.supervising.instances import InstanceKey, Pause, Wanted
from aperio_cli.host.supervising.rules import Rules
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.paths import find_paths
from aperio_cli.running import Collaborators
from aperio_cli.serving.host import Host
from aperio_cli.store.installed import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from aperio_cli.host.supervising.instances import Status

PYTHON_PLUGIN: Final = "bench/bench-connector"
EACH: Final = 50
IDLE_S: Final = 60.0
# Without jitter, so that what a restart waits is known.
RULES: Final = Rules(jitter=0.0, heartbeat_s=10.0)
MOST_HOST_PERCENT: Final = 3.0
MOST_HOST_MIB: Final = 150.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PROCESS_CLOCK: Final = 2  # CPUCLOCK_SCHED of linux/posix-timers.h: what the scheduler has counted


# ── the host ──────────────────────────────────────────────────────────────────────────────────────


class Served:
    """A host, and what it is asked."""

    def __init__(self, home: str, plugins: Mapping[str, int]) -> None:
        wanted = [
            Wanted(InstanceKey(PluginId.parse(name), "bench", str(number)), is_configured=False)
            for name, count in plugins.items()
            for number in range(count)
        ]
        self.wanted = wanted
        self.host = Host(lambda: _collaborators(home), lambda _collaborators: wanted, RULES)

    async def all_ready(self) -> float:
        """Seconds until every instance was READY."""
        began_s, up = time.perf_counter(), set()
        async for status in self.host.supervisor.watch():
            if status.phase is Phase.FAILED:
                raise RuntimeError(status.reason)
            if status.phase is Phase.READY:
                up.add(status.key)
            if len(up) == len(self.wanted):
                break
        return time.perf_counter() - began_s

    async def start(self, index: int) -> float:
        """Seconds that a normal start takes."""
        key = self.wanted[index].key
        await self.host.supervisor.pause(key, Pause("bench", clock.timestamp()))
        await self._in(key, Phase.PAUSED)
        began_s = time.perf_counter()
        await self.host.supervisor.resume(key)
        await self._in(key, Phase.READY)
        return time.perf_counter() - began_s

    async def restart(self, index: int) -> float:
        """Seconds from SIGKILL to READY, without those that were waited in between."""
        key = self.wanted[index].key
        status = await self._in(key, Phase.READY)
        began_s = time.perf_counter()
        os.kill(status.pid or 0, signal.SIGKILL)
        await self._in(key, Phase.BACKOFF)
        await self._in(key, Phase.READY)
        return time.perf_counter() - began_s - RULES.first_delay_s  # it was resumed just before

    async def _in(self, key: InstanceKey, phase: Phase) -> Status:
        async for status in self.host.supervisor.watch():
            if status.key == key and status.phase is phase:
                return status
        raise RuntimeError("the host has ended")


def _collaborators(home: str) -> Collaborators:
    environment = {"APERIO_HOME": home, "PATH": os.environ["PATH"]}
    paths = find_paths(environment)
    config = load_config(paths)
    return Collaborators(
        store=Store(paths),
        paths=paths,
        config=lambda: config,
        policy=lambda: config.policy,
        platform=Platform.of_machine(platform.system(), platform.machine()),
        environment=environment,
    )


async def serve(home: str, plugins: Mapping[str, int]) -> None:
    """Answer what is asked until there is nothing more."""
    served = Served(home, plugins)
    async with _running(served.host):
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked: dict[str, Any] = json.loads(line)
            answer = await getattr(served, asked.pop("do"))(**asked)
            print(json.dumps(answer), flush=True)


@contextlib.asynccontextmanager
async def _running(host: Host) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(host.serve())
        yield
        await host.drain()
        await running


# ── what asks it ──────────────────────────────────────────────────────────────────────────────────


class Asked:
    """The running host, from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **arguments: int) -> float:
        """Return what it answers.

        Raises:
            RuntimeError: it has ended; why stands on its stderr.
        """
        assert self._process.stdin  # noqa: S101 - as it was started
        assert self._process.stdout  # noqa: S101
        self._process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the host ended when it was asked to {do}")
        return float(json.loads(answer))

    def processor_s(self) -> float:
        """Seconds of processor time that the host itself has used."""
        return _processor_s(self._process.pid)

    def children_s(self) -> float:
        """Seconds of processor time of all that it has started, helpers that ended included."""
        seconds = _reaped_s(self._process.pid)
        for pid in _descendants(self._process.pid):
            with contextlib.suppress(OSError):
                seconds += _processor_s(pid) + _reaped_s(pid)
        return seconds

    def resident_mib(self) -> float:
        """MiB of memory that the host itself has."""
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        found = next(line for line in text.splitlines() if line.startswith("VmRSS:"))
        return int(found.split()[1]) / 1024


def _stat(pid: int) -> list[str]:
    """Fields of proc(5)'s stat behind the name: state is the first."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def _processor_s(pid: int) -> float:
    """Seconds of processor time of a living process, to the nanosecond.

    proc(5) rounds down to ticks of 10 ms, twice for each process: half a second of a hundred
    plugins, of which each has three. The number of the clock is that of clock_getcpuclockid(3).
    """
    return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)


def _reaped_s(pid: int) -> float:
    """Seconds of processor time of those children of a process that have ended."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) / _TICKS


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                parents.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


@contextmanager
def hosting(home: str, plugins: Mapping[str, int]) -> Iterator[Asked]:
    """The host for the length of a block."""
    command = [sys.executable, __file__, "serve", home, json.dumps(plugins)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Asked(process)
            assert process.stdin  # noqa: S101 - as it was started
            process.stdin.close()
            process.wait(TIMEOUT_S)
        finally:
            process.kill()


# ── the figures ───────────────────────────────────────────────────────────────────────────────────


def restart_figure(environment: Mapping[str, str], rounds: int) -> list[Figure]:
    """From SIGKILL to READY, without the backoff, to a normal start; they take turns."""
    if choose_sandbox().name == "none":
        return _left_out()
    with hosting(environment["APERIO_HOME"], {PYTHON_PLUGIN: 1}) as host:
        host.ask("all_ready")
        starts, restarts = [], []
        for _ in range(rounds + 1):
            starts.append(host.ask("start", index=0))
            restarts.append(host.ask("restart", index=0))
    start, restart = statistics.median(starts[1:]), statistics.median(restarts[1:])
    return [
        Figure(
            name="SIGKILL of a plugin to READY again, without the backoff, to a normal start",
            value=restart / start,
            at_most=1.5,
            detail=f"{restart * 1000:.0f} ms to {start * 1000:.0f} ms",
        )
    ]


def measure(folder: Path, environment: Mapping[str, str]) -> list[Figure]:
    """Every figure of a host with a hundred plugins; it takes some minutes.

    Args:
        folder: for the Go plugin.
        environment: of the `aperio` whose home has a local trust domain, and the Python plugin.
    """
    if choose_sandbox().name == "none":
        return _left_out()
    go_figures.build(folder)
    go_figures.install(folder, Manifest.parse(go_figures.MANIFEST.encode()), environment)
    with hosting(
        environment["APERIO_HOME"], {go_figures.PLUGIN_ID: EACH, PYTHON_PLUGIN: EACH}
    ) as host:
        ready_s = host.ask("all_ready")
        shared_s = host.children_s() / (os.cpu_count() or 1)
        time.sleep(2 * RULES.heartbeat_s)
        before_s = host.processor_s()
        time.sleep(IDLE_S)
        percent = (host.processor_s() - before_s) / IDLE_S * 100
        resident = host.resident_mib()
    plugins = f"{2 * EACH} plugins"
    return [
        Figure(
            name=f"{plugins} ready, to their processor time divided by the processors",
            value=ready_s / shared_s,
            at_most=1.3,
            detail=f"{ready_s:.1f} s to {shared_s:.1f} s",
        ),
        Figure(
            name=f"host of {plugins} that are idle: processor",
            value=percent,
            unit=" %",
            at_most=MOST_HOST_PERCENT,
            detail=f"mean of {IDLE_S:.0f} s, a heartbeat every {RULES.heartbeat_s:.0f} s",
        ),
        Figure(
            name=f"host of {plugins} that are idle: memory",
            value=resident,
            unit=" MiB",
            at_most=MOST_HOST_MIB,
        ),
    ]


def _left_out() -> list[Figure]:
    print("figures of the host: left out: this machine offers no sandbox", file=sys.stderr)
    return []


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[2], json.loads(sys.argv[3])))
