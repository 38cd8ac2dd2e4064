"""How many events a second the bridge writes into a PostgreSQL on this machine.

The server is one of Debian's, with its tables as `plugins/aperio-postgres/testdata` has them, and
waits for its disk at every commit.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clearance import clearing
from figures import TIMEOUT_S, Figure
from go_figures import BUILD

from aperio_cli.host.calls.envelopes import Outbound
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import LaunchOptions, launch
from aperio_cli.host.sandbox.unconfined import Unconfined
from aperio_cli.models.artifact import DevelopmentBuild, Project
from aperio_cli.models.manifest import Manifest
from aperio_cli.paths import find_paths, runtime_base
from aperio_cli.store.installed import Store

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.postgres_server import Database, find_postgres, postgres  # noqa: E402 - after the path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.host.launch import RunningPlugin

PROJECT: Final = ROOT / "plugins" / "aperio-postgres"
EVENTS: Final = 20_480
BATCH: Final = 256
MAPPINGS: Final = [{"event_type": "slack.mfa_disabled", "product_event_type": "MFA_DISABLED"}]


def measure(folder: Path, environment: Mapping[str, str], rounds: int) -> list[Figure]:
    """The figure of the bridge; without PostgreSQL none, and stderr says so.

    Args:
        folder: none yet, for the program.
        environment: of the `aperio` whose home has a local trust domain.
        rounds: how often it is measured.

    Raises:
        subprocess.CalledProcessError: the plugin does not build.
        RuntimeError: an event was not accepted.
    """
    programs = find_postgres()
    if programs is None:
        print("the figure of the bridge: left out: PostgreSQL is not installed", file=sys.stderr)
        return []
    folder.mkdir()
    binary = folder / "aperio-postgres"
    subprocess.run(
        ["go", *BUILD, "-o", str(binary), "."], cwd=PROJECT, check=True, timeout=TIMEOUT_S,
        env=os.environ | {"CGO_ENABLED": "0"},
    )  # fmt: skip
    manifest = Manifest.parse((PROJECT / "manifest.yaml").read_bytes())
    cleared = clearing(environment)(DevelopmentBuild(Project(PROJECT, manifest), binary))
    # In a sandbox the way to a private server is the operator's to grant; it is not measured here.
    store = Store(find_paths(environment))
    options = LaunchOptions(runtime_base(os.environ), store=store, sandbox=Unconfined())
    with postgres(programs, is_durable=True) as server:

        async def rates() -> list[float]:
            async with launch(cleared, options, lambda _record: None) as plugin:
                return [await _rate(plugin, server.new_database()) for _ in range(rounds + 1)]

        value = statistics.median(asyncio.run(rates())[1:])
    name = f"the bridge: events into a local PostgreSQL, {BATCH} in a transaction"
    return [Figure(name=name, value=value, unit="/s", at_least=5_000)]


async def _rate(plugin: RunningPlugin, database: Database) -> float:
    """Events a second into an empty table, from our API to the last commit."""
    config: dict[str, Any] = dict(each.split("=", 1) for each in database.settings)
    config |= {"port": int(config["port"]), "event_mappings": json.dumps(MAPPINGS)}
    call = Invocation(config_json=json.dumps(config).encode())
    envelopes = [_envelope(number) for number in range(EVENTS)]
    began_s, accepted = time.perf_counter(), 0
    for first in range(0, EVENTS, BATCH):
        answer = await plugin.destination.deliver(call, envelopes[first : first + BATCH])
        accepted += sum(item.status == item.STATUS_ACCEPTED for item in answer.results)
    took_s = time.perf_counter() - began_s
    if accepted != EVENTS or database.count() != EVENTS:
        raise RuntimeError(f"{accepted} events were accepted, {database.count()} are there")
    return EVENTS / took_s


def _envelope(number: int) -> Outbound:
    identity = f"{number:064x}"
    record = {"id": f"e{number}", "user": {"id": "u1", "name": "A user"}, "text": "x" * 300}
    document = {
        "id": identity, "schema_version": "aperio.event.v1", "source": "aperio",
        "producer": "bench/bench-connector@0.1.0", "organization_id": "local",
        "integration_id": "local", "provider": "SLACK", "kind": "event",
        "event_type": "slack.mfa_disabled", "actor": {"email": "a@example.com"},
        "occurred_at": "2026-01-05T09:00:00.123456Z", "source_event_id": f"e{number}",
        "record": record, "origin": "audit",
    }  # fmt: skip
    data = json.dumps(document).encode()
    return Outbound(identity, "event", data, "local", key=identity)
