"""`make bench`: how quick aperio is, as ratios within one run.

    python bench/run.py [--rounds N] [--host] [--json]

Every figure is paired: what is measured and what it is compared with take turns, and the ratio is
that of their medians, so that a slow moment of the machine hits both. It prints a table and says
which figure misses its bound; the exit status is 1 then. `--host` measures a host with a hundred
plugins instead, which takes some minutes. Never part of the tests. Without Go the
figures of Go plugins (`go_figures.py`) are left out, and it says so.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import bridge_figures
import control_figures
import egress_figures
import go_figures
import host_figures
import registry_build_figures
import registry_figures
import sandbox_figures
import trust_figures
import unary
from clearance import clearing
from figures import TIMEOUT_S, Figure, in_ms, paired, processor_s, run

from aperio_cli.host.calls.envelopes import Origin, Stamper, lines_of
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import LaunchOptions, RunningPlugin, launch
from aperio_cli.host.sandbox.unconfined import Unconfined
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.paths import find_paths, runtime_base
from aperio_cli.store.installed import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aperio_cli.models.receipt import Receipt
    from aperio_cli.verifying import Cleared

HERE = Path(__file__).resolve().parent
APERIO = Path(sys.executable).with_name("aperio")
BARE_PYTHON = (sys.executable, "-S", "-E", "-c", "pass")
EVENTS = 100_000
PIPED_EVENTS = 1_000_000  # of some seven seconds, half of one is the start of aperio and the plugin
BENCH_PLUGIN = "bench/bench-connector"
INSTALLED = 100


# ── quick answers ─────────────────────────────────────────────────────────────────────────────────


def quick_answers(environment: dict[str, str], rounds: int) -> list[Figure]:
    """`--version` and `plugin list --json` against a bare interpreter."""
    home = Path(environment["APERIO_HOME"])
    _fill_store(home)
    figures = []
    for words, bound in ((("--version",), 4.0), (("plugin", "list", "--json"), 6.0)):
        ours, bare = paired(
            lambda words=words: run((str(APERIO), *words), environment),  # type: ignore[misc] # bound at once
            lambda: run(BARE_PYTHON, environment),
            rounds,
        )
        name = f"aperio {' '.join(words)}" + (
            f", {INSTALLED} installed" if words[0] == "plugin" else ""
        )
        detail = in_ms(ours, bare)
        figures.append(Figure(name=name, value=ours / bare, at_most=bound, detail=detail))
    return figures


def _fill_store(home: Path) -> None:
    """Copies one receipt under so many names; `list` reads nothing else."""
    receipt = json.loads(next((home / "plugins").rglob("receipt.json")).read_text())
    for number in range(INSTALLED - 1):
        name = f"bench-{number:03}"
        folder = home / "plugins" / "bench" / name / receipt["version"]
        folder.mkdir(parents=True)
        (folder / "receipt.json").write_text(json.dumps(receipt | {"id": f"bench/{name}"}))
        (folder.parent / "current.json").write_text(
            json.dumps({"schema": 1, "version": receipt["version"]})
        )


# ── launch ────────────────────────────────────────────────────────────────────────────────────────


async def launch_figure(
    clear: Callable[[], Cleared], options: LaunchOptions, receipt: Receipt, rounds: int
) -> Figure:
    """From launch to the first answered call, the check of all files included.

    Both sides start the interpreter that the receipt names, with the packages of the plugin. What
    it is compared with imports gRPC as any program does, after the `.pth` files of that
    interpreter, which an installed plugin is spared: where there are many the ratio is lower.
    """
    python, packages = receipt.interpreter, receipt.files / "lib"
    if python is None:
        raise RuntimeError("the plugin that is measured has no interpreter")
    load = f"import sys; sys.path.insert(0, {str(packages / python.tag)!r}); import grpc"
    arguments = (python.executable, "-I", "-B", "-c", load)
    ours, bare = [], []
    for _ in range(rounds + 1):
        began_s = time.perf_counter()
        async with launch(clear(), options, lambda _record: None) as plugin:
            await plugin.connector.schema(Invocation())
            ours.append(time.perf_counter() - began_s)
        bare.append(await asyncio.to_thread(run, arguments, {"PATH": os.environ["PATH"]}))
    first, second = statistics.median(ours[1:]), statistics.median(bare[1:])
    name = "launch to first answered call, to `import grpc`"
    detail = in_ms(first, second)
    return Figure(name=name, value=first / second, at_most=1.5, detail=detail)


# ── sync ──────────────────────────────────────────────────────────────────────────────────────────


async def sync_figures(
    clear: Callable[[], Cleared], options: LaunchOptions, rounds: int
) -> list[Figure]:
    """Events a second, against the same generator printing JSON lines into a pipe."""
    rates: dict[str, list[float]] = {"pipe": [], "api": [], "ndjson": [], "bytes": []}
    took: dict[str, list[float]] = {"plugin": [], "host": []}
    async with launch(clear(), options, lambda _record: None) as plugin:
        for _ in range(rounds + 1):
            rates["pipe"].append(await asyncio.to_thread(_pipe_rate, EVENTS))
            rates["api"].append(await _rate(_to_api, plugin, "dict"))
            before = processor_s(plugin.pid), time.process_time()
            rates["ndjson"].append(await _rate(_to_ndjson, plugin, "dict"))
            took["plugin"].append((processor_s(plugin.pid) - before[0]) / EVENTS)
            took["host"].append((time.process_time() - before[1]) / EVENTS)
            rates["bytes"].append(await _rate(_to_api, plugin, "bytes"))
        called = await unary.bare_figure(plugin, "Python plugin")
    median = {name: statistics.median(values[1:]) for name, values in rates.items()}

    def ratio(name: str, title: str, bound: float) -> Figure:
        detail = f"{median[name]:,.0f}/s to {median['pipe']:,.0f}/s"
        value = median[name] / median["pipe"]
        return Figure(name=title, value=value, at_least=bound, detail=detail)

    return [
        ratio("api", "sync of dicts to the host's API, to json.dumps into a pipe", 1.0),
        ratio("ndjson", "sync of dicts as NDJSON, to json.dumps into a pipe", 0.75),
        Figure(
            name="sync of bytes to the host's API",
            value=median["bytes"],
            unit="/s",
            at_least=120_000,
        ),
        *(
            Figure(
                name=f"processor time an event, dicts as NDJSON: the {side}",
                value=statistics.median(seconds[1:]) * 1e6,
                unit=" µs",
            )
            for side, seconds in took.items()
        ),
        called,
    ]


def whole_path_figure(environment: dict[str, str], rounds: int) -> Figure:
    """`plugin run … sync` into a pipe that we read, its start included."""
    command = (str(APERIO), "plugin", "run", BENCH_PLUGIN, "sync")
    settings = ("--set", f"count={PIPED_EVENTS}", "--set", "records=dict")
    ours, pipe = paired(
        lambda: _lines_rate((*command, *settings), PIPED_EVENTS, environment),
        lambda: _pipe_rate(PIPED_EVENTS),
        rounds,
    )
    return Figure(
        name=f"plugin run of {PIPED_EVENTS:,} dicts into a pipe, to json.dumps into one",
        value=ours / pipe,
        at_least=1.0,
        detail=f"{ours:,.0f}/s to {pipe:,.0f}/s",
    )


def _pipe_rate(count: int) -> float:
    """The generator of the plugin, printing `json.dumps` lines that we read."""
    return _lines_rate((sys.executable, "-B", str(HERE / "events.py"), str(count)), count)


def _lines_rate(
    command: tuple[str, ...], expected: int, environment: dict[str, str] | None = None
) -> float:
    """Lines a second that a program prints, from its start to its end."""
    began_s = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        count = sum(1 for _ in process.stdout or ())
    if count != expected or process.returncode:
        raise RuntimeError(f"{count} lines, exit status {process.returncode}")
    return count / (time.perf_counter() - began_s)


async def _rate(
    consume: Callable[[RunningPlugin, Invocation], Awaitable[int]],
    plugin: RunningPlugin,
    records: str,
) -> float:
    config = json.dumps({"count": EVENTS, "records": records}).encode()
    began_s = time.perf_counter()
    count = await consume(plugin, Invocation(config_json=config))
    if count != EVENTS:
        raise RuntimeError(f"{count} events")
    return EVENTS / (time.perf_counter() - began_s)


async def _to_api(plugin: RunningPlugin, invocation: Invocation) -> int:
    """Batches as the host's API gives them."""
    count = 0
    async for message in plugin.connector.sync(invocation):
        count += len(message.batch.events)
    return count


async def _to_ndjson(plugin: RunningPlugin, invocation: Invocation) -> int:
    """Checked, stamped and written as lines."""
    program = plugin.program
    stamper = Stamper(Origin(program.producer, "local", "local", program.provider))
    count = 0
    with open(os.devnull, "wb") as sink:  # noqa: ASYNC230, PTH123 - the null device does not block
        async for message in plugin.connector.sync(invocation):
            events, _ = stamper.stamp(message.batch)
            sink.write(lines_of(events))
            count += len(events)
    return count


def box_figure(rounds: int) -> Figure:
    """Seconds of processor time for Box's entries, which are passed on as they were written."""
    script = (sys.executable, str(HERE / "box.py"))
    with subprocess.Popen(
        [*script, "serve", str(EVENTS)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as simulator:
        place = simulator.stdout.readline().split() if simulator.stdout else []
        ours, rewritten = paired(
            lambda: _processor_s(*script, "connector", *place),
            lambda: _processor_s(*script, "rewritten", *place),
            rounds,
        )
        simulator.communicate()
    return Figure(
        name="Box's entries, to parsing its pages and writing each entry again",
        value=ours / rewritten,
        at_most=1.5,
        detail=f"{EVENTS / ours:,.0f}/s to {EVENTS / rewritten:,.0f}/s",
    )


def _processor_s(*arguments: str) -> float:
    done = subprocess.run(
        arguments, check=True, capture_output=True, text=True, timeout=TIMEOUT_S
    ).stdout.split()
    if int(done[0]) != EVENTS:
        raise RuntimeError(f"{done[0]} entries")
    return float(done[1])


# ── all of it ─────────────────────────────────────────────────────────────────────────────────────


def prepare(folder: Path, environment: dict[str, str]) -> None:
    """Scaffolds, builds, signs and installs the plugin of `bench/connector.py`."""

    def aperio(*words: str) -> None:
        subprocess.run(
            [str(APERIO), *words], cwd=folder, env=environment, check=True, timeout=TIMEOUT_S,
            capture_output=True,
        )  # fmt: skip

    aperio("plugin", "init", "github.com/bench/aperio-plugin-bench", "--output", "project")
    for name in ("connector.py", "events.py"):
        (folder / "project" / name).write_bytes((HERE / name).read_bytes())
    manifest = folder / "project" / "manifest.yaml"
    # The plugin connects to nothing; the scaffold's host is for examples, and refused as such.
    scaffolded = "egress:\n    - api.example.com:443"
    text = manifest.read_text().replace(scaffolded, "egress: []")
    # What is measured in the sandbox is its cost, not its limits.
    manifest.write_text(text.replace('cpu: "0.5"', "cpu: 8").replace("256MiB", "2GiB"))
    aperio("plugin", "build", "project", "--out", "dist")
    aperio("trust", "local", "init")
    aperio("plugin", "sign", "dist", "--trust", "local")
    artifact = next((folder / "dist").glob("*.tar.gz")).relative_to(folder)
    aperio("plugin", "install", "--yes", f"./{artifact}")


def measure(folder: Path, rounds: int, *, is_host: bool = False) -> list[Figure]:
    """Every figure, in the order of the table; or those of a host with many plugins."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "APERIO_HOME": str(folder / "home"),
        "APERIO_SANDBOX": "none",  # `sandbox_figures` has what it costs
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
    }
    prepare(folder, environment)
    if is_host:
        return host_figures.measure(folder / "go", environment)
    paths = find_paths(environment)
    store = Store(paths)
    receipt = store.get(PluginRef.parse(BENCH_PLUGIN))
    options = LaunchOptions(runtime_base(os.environ), store=store, sandbox=Unconfined())
    clear = functools.partial(clearing(environment), receipt)
    figures = asyncio.run(_plugin_figures(clear, options, receipt, rounds))
    # Before the store is filled: the host keeps all of it up.
    figures += control_figures.measure(clear, options, environment, rounds)
    figures = [*quick_answers(environment, rounds * 3), *figures]
    figures.append(whole_path_figure(environment, rounds))
    figures.append(box_figure(rounds))
    figures += host_figures.restart_figure(environment, rounds)
    figures += egress_figures.measure(rounds)
    figures += trust_figures.measure(folder / "trust", environment, rounds * 2)
    figures += registry_build_figures.measure(folder / "sources", environment)
    artifact = next((folder / "trust" / "dist").glob("*.tar.gz"))
    figures += registry_figures.measure(
        folder / "registries", artifact, trust_figures.PLUGIN_ID, environment, rounds * 2
    )
    if shutil.which("go"):
        figures += go_figures.measure(folder / "go", environment, rounds)
        return [*figures, *bridge_figures.measure(folder / "bridge", environment, rounds)]
    print("figures of Go plugins: left out: Go is not installed", file=sys.stderr)
    return figures


async def _plugin_figures(
    clear: Callable[[], Cleared], options: LaunchOptions, receipt: Receipt, rounds: int
) -> list[Figure]:
    first = await launch_figure(clear, options, receipt, rounds * 2)
    syncs = await sync_figures(clear, options, rounds)
    return [first, *syncs, *await sandbox_figures.measure(clear, options, rounds)]


def main() -> int:
    """Measure, print, and say by the exit status whether every bound is kept."""
    parser = argparse.ArgumentParser(description="Measure aperio, as ratios within one run.")
    parser.add_argument("--rounds", type=int, default=5, help="more rounds, steadier figures")
    parser.add_argument("--host", action="store_true", help="a host with a hundred plugins")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    chosen = parser.parse_args()
    # What a shell says to Python holds for a yardstick as well: unbuffered, `json.dumps` lines come
    # at four fifths of their rate, and all that is measured by them looks better than it is.
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="aperio-bench-") as folder:
        figures = measure(Path(folder), chosen.rounds, is_host=chosen.host)
    if chosen.json:
        print(json.dumps([{"name": f.name, "value": f.value, "bound": f.bound} for f in figures]))
        return 0 if all(figure.is_kept for figure in figures) else 1
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        print(figure.row(width))
    return 0 if all(figure.is_kept for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
