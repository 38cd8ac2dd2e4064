"""What a sandbox costs: a start in it against one without, calls, and a sync.

The plugin has a door of the host's, as one that declares hosts has. Left out, and said so, where
this machine offers no sandbox.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from figures import Figure, in_ms

from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import LaunchOptions, launch
from aperio_cli.host.sandbox.choosing import choose_sandbox
from aperio_cli.host.way_out import Egress, stubs_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.verifying import Cleared

EVENTS: Final = 100_000
CALLS: Final = 500
SETTINGS: Final = {"base_url": "http://127.0.0.1:9"}  # a host that it may reach: so it has a door


@dataclass
class _Seen:
    """What was measured of one way to start it, once a round.

    Attributes:
        starts: seconds to the first answered call.
        calls: median seconds of a call.
        rates: events a second.
    """

    starts: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


async def measure(
    clear: Callable[[], Cleared], options: LaunchOptions, rounds: int
) -> list[Figure]:
    """All figures; the two ways take turns, and the first round only warms up.

    Args:
        clear: gives leave to start the plugin once.
        options: how it is started without a sandbox.
        rounds: how often each is measured.
    """
    sandbox = choose_sandbox()
    if sandbox.name == "none":
        print("figures of the sandbox: left out: this machine offers none", file=sys.stderr)
        return []
    egress = Egress("", SETTINGS, stubs_of(SETTINGS))
    inside, outside = _Seen(), _Seen()
    ways = {"in": (replace(options, sandbox=sandbox, egress=egress), inside)}
    ways["out"] = (options, outside)
    for _ in range(rounds + 1):
        for way, seen in ways.values():
            await _once(clear, way, seen)
    return _figures(inside, outside)


async def _once(clear: Callable[[], Cleared], way: LaunchOptions, seen: _Seen) -> None:
    began_s = time.perf_counter()
    async with launch(clear(), way, lambda _record: None) as plugin:
        await plugin.connector.schema(Invocation())
        seen.starts.append(time.perf_counter() - began_s)
        seen.calls.append(await _call_s(plugin))
        seen.rates.append(await _rate(plugin))


def _figures(inside: _Seen, outside: _Seen) -> list[Figure]:
    starts = statistics.median(inside.starts[1:]), statistics.median(outside.starts[1:])
    calls = statistics.median(inside.calls[1:]), statistics.median(outside.calls[1:])
    rates = statistics.median(inside.rates[1:]), statistics.median(outside.rates[1:])
    return [
        Figure(
            name="launch in the sandbox, with its door, beyond one without either",
            value=(starts[0] - starts[1]) * 1000,
            unit=" ms",
            at_most=60,
            detail=in_ms(*starts),
        ),
        Figure(
            name=f"p50 of {CALLS:,} calls of Schema in the sandbox, to those without",
            value=calls[0] / calls[1],
            at_most=1.1,
            detail=in_ms(*calls),
        ),
        Figure(
            name="sync of bytes in the sandbox, to one without",
            value=rates[0] / rates[1],
            at_least=0.95,
            detail=f"{rates[0]:,.0f}/s to {rates[1]:,.0f}/s",
        ),
    ]


async def _call_s(plugin: RunningPlugin) -> float:
    taken = []
    for _ in range(CALLS):
        began_s = time.perf_counter()
        await plugin.connector.schema(Invocation())
        taken.append(time.perf_counter() - began_s)
    return statistics.median(taken)


async def _rate(plugin: RunningPlugin) -> float:
    config = json.dumps({"count": EVENTS, "records": "bytes"}).encode()
    began_s, count = time.perf_counter(), 0
    async for message in plugin.connector.sync(Invocation(config_json=config)):
        count += len(message.batch.events)
    if count != EVENTS:
        raise RuntimeError(f"{count} events")
    return EVENTS / (time.perf_counter() - began_s)
