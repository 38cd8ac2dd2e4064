"""What a sandbox costs: a start in it against one without, and a sync.

Left out, and said so, where this machine offers no sandbox.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from figures import Figure, in_ms

from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import LaunchOptions, launch
from aperio_cli.host.sandbox.choosing import choose_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.verifying import Cleared

EVENTS = 100_000


async def measure(
    clear: Callable[[], Cleared], options: LaunchOptions, rounds: int
) -> list[Figure]:
    """Both figures; the two ways take turns.

    Args:
        clear: gives leave to start the plugin once.
        options: how it is started without a sandbox.
        rounds: how often each is measured.
    """
    sandbox = choose_sandbox()
    if sandbox.name == "none":
        print("figures of the sandbox: left out: this machine offers none", file=sys.stderr)
        return []
    ways = {"outside": options, "inside": replace(options, sandbox=sandbox)}
    starts: dict[str, list[float]] = {"outside": [], "inside": []}
    rates: dict[str, list[float]] = {"outside": [], "inside": []}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            began_s = time.perf_counter()
            async with launch(clear(), way, lambda _record: None) as plugin:
                await plugin.connector.schema(Invocation())
                starts[name].append(time.perf_counter() - began_s)
                rates[name].append(await _rate(plugin))
    start = {name: statistics.median(found[1:]) for name, found in starts.items()}
    rate = {name: statistics.median(found[1:]) for name, found in rates.items()}
    return [
        Figure(
            # 60 ms more, where one without takes 100.
            name="launch in the sandbox to first answered call, to one without",
            value=start["inside"] / start["outside"],
            at_most=1.6,
            detail=in_ms(start["inside"], start["outside"]),
        ),
        Figure(
            name="sync of bytes in the sandbox, to one without",
            value=rate["inside"] / rate["outside"],
            at_least=0.95,
            detail=f"{rate['inside']:,.0f}/s to {rate['outside']:,.0f}/s",
        ),
    ]


async def _rate(plugin: RunningPlugin) -> float:
    config = json.dumps({"count": EVENTS, "records": "bytes"}).encode()
    began_s, count = time.perf_counter(), 0
    async for message in plugin.connector.sync(Invocation(config_json=config)):
        count += len(message.batch.events)
    if count != EVENTS:
        raise RuntimeError(f"{count} events")
    return EVENTS / (time.perf_counter() - began_s)
