"""How quick plugins made with the Go SDK are under our host, against a stock Go host.

The programs are in `go/`: the plugin, a host that measures in the same way, and a plugin without
the SDK. Both hosts live through all rounds and take turns.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import unary
from clearance import clearing
from figures import TIMEOUT_S, Figure, in_ms

from aperio_cli.archive import writing
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import LaunchOptions, RunningPlugin, launch
from aperio_cli.host.sandbox.unconfined import Unconfined
from aperio_cli.models.artifact import DevelopmentBuild, Project, artifact_name
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.paths import find_paths, runtime_base
from aperio_cli.store.installed import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aperio_cli.models.receipt import Receipt
    from aperio_cli.verifying import Cleared

PROGRAMS: Final = Path(__file__).resolve().parent / "go"
APERIO: Final = Path(sys.executable).with_name("aperio")
PLUGIN_ID: Final = "bench/go-bench"
EVENTS: Final = 1_000_000
PLAIN_EVENTS: Final = 200_000  # it is only reported, and slower
# As `plugin build` compiles a Go plugin.
BUILD: Final = ("build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=")
MANIFEST: Final = f"""\
schema: aperio.plugin.manifest/v1
id: {PLUGIN_ID}
version: 0.1.0
kind: connector
provider: BENCH
name: Bench
description: Makes events up
license: MIT
protocol: "1.0"
runtime:
  language: go
entrypoint: plugin
"""


def measure(folder: Path, environment: Mapping[str, str], rounds: int) -> list[Figure]:
    """The figures of Go plugins.

    Args:
        folder: an empty one, or none yet, for the programs and the artifact.
        environment: of the `aperio` whose home has a local trust domain.
        rounds: how often each sync is measured; a launch four times as often.

    Raises:
        subprocess.CalledProcessError: a program does not build or install.
        RuntimeError: a host answered with something else than it should.
    """
    build(folder)
    manifest = Manifest.parse(MANIFEST.encode())
    install(folder, manifest, environment)
    store = Store(find_paths(environment))
    receipt = store.get(PluginRef.parse(PLUGIN_ID))
    development = DevelopmentBuild(Project(folder, manifest), folder / "plugin")
    options = LaunchOptions(runtime_base(os.environ), store=store, sandbox=Unconfined())
    with go_host(folder) as host:
        return asyncio.run(
            _all(Bench(host, clearing(environment), options, rounds), development, receipt)
        )


async def _all(bench: Bench, development: DevelopmentBuild, receipt: Receipt) -> list[Figure]:
    plain = development.script.with_name("plain")
    return [
        await launch_figure(bench, development),
        await sealed_figure(bench, receipt),
        *await unary_figures(bench, receipt),
        *await sync_figures(bench, receipt, plain),
    ]


# ── what is measured, and with what ───────────────────────────────────────────────────────────────


def build(folder: Path) -> None:
    """The host, the plugin and the plain plugin, in a folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["go", *BUILD, "-o", str(folder), "./host", "./plugin", "./plain"],
        cwd=PROGRAMS,
        env=os.environ | {"CGO_ENABLED": "0"},
        check=True,
        timeout=TIMEOUT_S,
    )


def install(folder: Path, manifest: Manifest, environment: Mapping[str, str]) -> None:
    """Packs, signs and installs the plugin."""
    here = Platform.of_machine(platform.system(), platform.machine())
    artifact = folder / "dist" / artifact_name(manifest, here)
    artifact.parent.mkdir()
    members = [
        writing.Member("manifest.yaml", MANIFEST.encode()),
        writing.Member("LICENSE", b"MIT\n"),
        writing.Member("bin/plugin", folder / "plugin", executable=True),
    ]
    writing.write(artifact, members, mtime=0)
    installing = ("install", "-y", f"./dist/{artifact.name}")
    for words in (("sign", "dist", "--trust", "local"), installing):
        subprocess.run(
            [str(APERIO), "plugin", *words], cwd=folder, env=environment, check=True,
            timeout=TIMEOUT_S, capture_output=True,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class GoHost:
    """The running host of `go/host`: a command a line, nanoseconds a line."""

    process: subprocess.Popen[str]

    def ask(self, *words: str | Path) -> float:
        """Seconds that a command took.

        Raises:
            RuntimeError: the host has ended; why stands on its stderr.
        """
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the Go host has no pipes")
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the Go host ended at {words}")
        return int(answer) / 1e9

    async def ask_aside(self, *words: str | Path) -> float:
        """The same, beside a running event loop."""
        async with asyncio.timeout(TIMEOUT_S):
            return await asyncio.to_thread(self.ask, *words)


@contextmanager
def go_host(folder: Path) -> Iterator[GoHost]:
    """The host for the length of a `with` block."""
    with subprocess.Popen(
        [folder / "host"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield GoHost(process)
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class Bench:
    """What every figure needs.

    Attributes:
        host: what is compared with.
        clear: gives leave for one start.
        options: how our host launches.
        rounds: how often a sync is measured.
    """

    host: GoHost
    clear: Callable[[Receipt | DevelopmentBuild], Cleared]
    options: LaunchOptions
    rounds: int

    async def launched(self, target: Receipt | DevelopmentBuild) -> float:
        """Seconds from launch to the first answered call, under our host."""
        began_s = time.perf_counter()
        async with launch(self.clear(target), self.options, lambda _record: None) as plugin:
            await plugin.connector.schema(Invocation())
            return time.perf_counter() - began_s

    async def paired_launches(
        self, target: Receipt | DevelopmentBuild, *compared: str | Path
    ) -> tuple[float, float]:
        """The medians of our launches and the Go host's; the first of each only warms up."""
        pairs = [
            (await self.launched(target), await self.host.ask_aside(*compared))
            for _ in range(self.rounds * 4 + 1)
        ][1:]
        return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


# ── the figures ───────────────────────────────────────────────────────────────────────────────────


async def launch_figure(bench: Bench, development: DevelopmentBuild) -> Figure:
    """The file as it is, under both hosts."""
    ours, theirs = await bench.paired_launches(development, "launch", development.script)
    return Figure(
        name="Go plugin: launch to first answered call, to a Go host",
        value=ours / theirs,
        at_most=1.8,
        detail=in_ms(ours, theirs),
    )


async def sealed_figure(bench: Bench, receipt: Receipt) -> Figure:
    """The installed file: all files checked and a sealed copy run, against SecureConfig."""
    binary = receipt.files / "bin" / receipt.entrypoint
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()
    ours, theirs = await bench.paired_launches(receipt, "secure", binary, digest)
    return Figure(
        name="Go plugin: the same from the sealed copy, to SecureConfig",
        value=ours / theirs,
        at_most=2.0,
        detail=in_ms(ours, theirs),
    )


async def unary_figures(bench: Bench, receipt: Receipt) -> list[Figure]:
    """The median of many calls of Schema, one after the other: by a Go host, by gRPC alone."""
    binary = receipt.files / "bin" / receipt.entrypoint
    ours, theirs = [], []
    async with launch(bench.clear(receipt), bench.options, lambda _record: None) as plugin:
        for _ in range(bench.rounds + 1):
            ours.append(await _unary_p50(plugin))
            theirs.append(await bench.host.ask_aside("unary", binary, str(unary.CALLS)))
        to_bare = await unary.bare_figure(plugin, "Go plugin")
    first, second = statistics.median(ours[1:]), statistics.median(theirs[1:])
    to_host = Figure(
        name=f"Go plugin: p50 of {unary.CALLS:,} calls of Schema, to a Go host",
        value=first / second,
        at_most=3.0,
        detail=f"{first * 1e6:.0f} µs to {second * 1e6:.0f} µs",
    )
    return [to_host, to_bare]


async def _unary_p50(plugin: RunningPlugin) -> float:
    connector, took = plugin.connector, []
    for _ in range(unary.CALLS):
        began_s = time.perf_counter()
        await connector.schema(Invocation())
        took.append(time.perf_counter() - began_s)
    return statistics.median(took)


async def sync_figures(bench: Bench, receipt: Receipt, plain: Path) -> list[Figure]:
    """Events a second to our host's API; beside it a Go host that is sent one event a message."""
    ours, theirs = [], []
    async with launch(bench.clear(receipt), bench.options, lambda _record: None) as plugin:
        for _ in range(bench.rounds + 1):
            ours.append(await _sync_rate(plugin))
            took_s = await bench.host.ask_aside("sync", plain, str(PLAIN_EVENTS))
            theirs.append(PLAIN_EVENTS / took_s)
    return [
        Figure(
            name=f"Go plugin: sync of {EVENTS:,} events of 500 bytes to our API",
            value=statistics.median(ours[1:]),
            unit="/s",
            at_least=300_000,
        ),
        Figure(
            name="Go plugin: the same under a Go host, one event a message",
            value=statistics.median(theirs[1:]),
            unit="/s",
        ),
    ]


async def _sync_rate(plugin: RunningPlugin) -> float:
    config = f'{{"count": {EVENTS}}}'.encode()
    began_s, count = time.perf_counter(), 0
    async for message in plugin.connector.sync(Invocation(config_json=config)):
        count += len(message.batch.events)
    if count != EVENTS:
        raise RuntimeError(f"{count} events")
    return EVENTS / (time.perf_counter() - began_s)
