"""`aperio host logs`: what a plugin under the host has to say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aperio_cli.commands.app import host
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument, option
from aperio_cli.context import Context
from aperio_cli.text import counted

if TYPE_CHECKING:
    from aperio_cli.host.control.controlled import LogEntry
    from aperio_cli.models.plugin_id import PluginId

_MOST = 10_000


@command(
    host,
    "host",
    "logs",
    examples=[
        "aperio host logs acme/hello-connector",
        "aperio host logs acme/hello-connector --last 20 --json",
    ],
)
def host_logs(
    context: Context,
    plugin: Annotated[str, argument(metavar="PLUGIN", help="Its id.", values=installed)],
    *,
    follow: Annotated[
        bool, option("--follow", "-f", help="Go on with what is logged from now on.")
    ] = False,
    last: Annotated[
        int,
        typer.Option(
            "--last", "-n", min=0, max=_MOST, metavar="NUMBER", help="So many of the newest lines."
        ),
    ] = 100,
) -> None:
    """Show what a plugin logged under the host, the oldest line first; secrets are masked.

    The host keeps at most 5 MiB of each plugin, and as much about its connections, as lines of JSON
    below `host/logs` of the home.
    With --json each line is an object.
    """
    from aperio_cli.commands.loop import on_loop
    from aperio_cli.files.naming import parse_ref

    on_loop(_show(context, parse_ref(plugin).id, last, follow=follow))


async def _show(context: Context, plugin: PluginId, last: int, *, follow: bool) -> None:
    from aperio_cli.commands.host.reaching import reached
    from aperio_cli.models.plugin_id import PluginRef

    is_empty = True
    kept = context.paths.plugin_logs / plugin.namespace / f"{plugin.name}.jsonl"
    steps = [f"what it kept of this plugin is in {kept}"] if kept.exists() else []
    if not steps:
        context.store.get(PluginRef(plugin))  # or it is a name that was mistyped
    async with reached(context, *steps) as client:
        async for entry in client.logs(plugin, last, follow=follow):
            is_empty = False
            line = _line(entry) if context.settings.json else _words(entry)
            context.output.lines([line.encode("utf-8", "replace") + b"\n"])
    if is_empty:
        context.output.note(f"`{plugin}` has logged nothing under this host")


def _line(entry: LogEntry | int) -> str:
    from aperio_cli.serving.logs import entry_json

    document: dict[str, Any] = {"type": "left_out", "count": entry}
    if not isinstance(entry, int):
        document = {"type": "log", **entry_json(entry)}
    return json.dumps(document, ensure_ascii=False)


def _words(entry: LogEntry | int) -> str:
    if isinstance(entry, int):
        return f"... {counted(entry, 'line')} left out: too fast for whoever reads"
    record, key = entry.record, entry.key
    fields = "".join(f" {name}={value}" for name, value in record.fields)
    whose = "" if key.organization == key.integration == "local" else f"{_whose(entry)} "
    # Further lines are indented, so that none can pass for one of another time.
    text = f"{record.message}{fields}".replace("\n", "\n    ")
    by = "host: " if record.stream == "host" else ""
    return f"{entry.at:%Y-%m-%dT%H:%M:%S}Z {record.level:<5} {whose}{by}{text}"


def _whose(entry: LogEntry) -> str:
    return f"{entry.key.organization} {entry.key.integration}"
