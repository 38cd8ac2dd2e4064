"""`aperio host catalog`: what the host's plugins offer, as the product's catalogue has it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.commands.app import host
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.errors import AperioError
from aperio_cli.host.catalogue import define
from aperio_cli.output import Report, table
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.host.control.client import HostClient
    from aperio_cli.host.control.controlled import InstalledPlugin

_KINDS: Final = {
    "connector": "connectors",
    "remediation": "remediations",
    "destination": "destinations",
}
_BUILT_IN: Final = "official"
"""The badge of the product's own plugins; all others are the community's."""
_AT_ONCE: Final = 4
_MOST_LINES: Final = 5
_COLUMNS: Final = ("plugin", "version", "badge", "kind", "provider", "name", "category")


@command(host, "host", "catalog", examples=["aperio host catalog", "aperio host catalog --json"])
def host_catalog(context: Context) -> Report:
    """Show connectors, remediations and destinations with their badges, built-ins apart.

    Each is asked what it declares, and started for that where it does not run. With --json each has
    its definition with the keys of the product's own catalogue; one that cannot be asked says why.
    """
    from aperio_cli.commands.loop import on_loop

    rows = on_loop(_rows(context))
    document: dict[str, Any] = {
        group: {plural: [] for plural in _KINDS.values()} for group in ("built_in", "community")
    }
    document["unknown"] = []
    for row in rows:
        group = document["built_in" if row["badge"] == _BUILT_IN else "community"]
        kind = _KINDS.get(row["kind"])
        (group[kind] if kind and row["definition"] else document["unknown"]).append(row)
    return Report(document, _text(rows))


async def _rows(context: Context) -> list[dict[str, Any]]:
    from aperio_cli.commands.host.reaching import reached

    async with reached(context) as client:
        plugins = [plugin for plugin, _ in await client.plugins() if plugin.version]
        turn = asyncio.Semaphore(_AT_ONCE)
        return list(await asyncio.gather(*(_row(client, each, turn) for each in plugins)))


async def _row(
    client: HostClient, plugin: InstalledPlugin, turn: asyncio.Semaphore
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "plugin": str(plugin.id),
        "version": plugin.version or None,
        "kind": plugin.kind or None,
        "badge": plugin.badge or None,
        "signer": plugin.signer or None,
        "definition": None,
        "becomes": [],
        "problem": None,
    }
    if plugin.refusal:
        what = "it may not be started"
        return row | {"problem": {"code": plugin.refusal, "what": what, "why": ""}}
    async with turn:
        try:
            answer = await client.describe(plugin.id)
        except AperioError as error:
            problem = {"code": error.code, "what": error.what, "why": error.why}
            return row | {"problem": problem}
    declared = answer.connector if answer.HasField("connector") else answer.capabilities
    return row | {
        "version": answer.version,
        "definition": json.loads(answer.definition_json),
        "becomes": [each.to_json() for each in define(declared).becomes],
    }


def _text(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "no plugin is installed"
    groups = {
        "built in": [row for row in rows if row["badge"] == _BUILT_IN],
        "community": [row for row in rows if row["badge"] != _BUILT_IN],
    }
    parts = []
    for name, found in groups.items():
        if found:
            cells = table(_COLUMNS, [_cells(row) for row in found])
            parts.append(f"{name}\n{cells}")
    problems = [_problem(row["plugin"], row["problem"]) for row in rows if row["problem"]]
    return "\n\n".join([*parts, *(["\n".join(problems)] if problems else [])])


def _problem(plugin: str, problem: dict[str, str]) -> str:
    """Return why a plugin cannot be asked; what stands behind it is indented, so that it is its."""
    evidence = [f"  {one_line(line)}" for line in problem["why"].splitlines()[:_MOST_LINES]]
    return "\n".join([f"{plugin}: {problem['what']} ({problem['code']})", *evidence])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    definition = row["definition"] or {}
    of_plugin = [row["plugin"], row["version"], row["badge"], row["kind"]]
    # A destination's provider is its `kind` in the product's catalogue.
    provider = definition.get("provider", definition.get("kind"))
    offered = [provider, definition.get("name"), definition.get("category")]
    return tuple(str(value or "") for value in [*of_plugin, *offered])
