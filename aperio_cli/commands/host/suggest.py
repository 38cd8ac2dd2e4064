"""`aperio host suggest`: permissions for a plugin, from what was seen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import host
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument
from aperio_cli.context import Context
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.models.plugin_id import PluginId, PluginRef

_MOST_RECORDS = 10_000
_MOST_RECEIPTS = 1000


@command(
    host,
    "host",
    "suggest",
    examples=[
        "aperio host suggest acme/hello-connector",
        "aperio host suggest acme/hello-connector --json",
    ],
)
def host_suggest(
    context: Context,
    plugin: Annotated[str, argument(metavar="PLUGIN", help="Its id.", values=installed)],
) -> Report:
    """Propose permissions and limits for a plugin, from what the host has seen of it at work.

    It goes by the connections that the host has noted, those that were refused included, and by its
    memory. What a plugin asks for and does not use is said, too. Nothing is changed: what you
    agree with you grant by the commands that it prints.
    """
    from aperio_cli.commands.loop import on_loop
    from aperio_cli.files.naming import parse_ref
    from aperio_cli.running.suggesting import suggest

    reference: PluginRef = parse_ref(plugin)
    receipt = context.store.get(reference)
    records, peak_bytes = on_loop(_seen(context, receipt.id))
    proposal, refused = suggest(receipt.grant.granted, records, peak_bytes)
    grants = [f"aperio plugin grant {receipt.id} --own {place}" for place in refused]
    lines = ["for manifest.yaml:", *proposal.lines()]
    if grants:
        lines += ["", "it was refused connections; to open those that it needs:"]
        lines += [f"  {grant}" for grant in grants]
    data = {"plugin": str(receipt.id), "version": receipt.version, **proposal.to_json()}
    return Report(data | {"grants": grants}, "\n".join(lines))


async def _seen(context: Context, plugin: PluginId) -> tuple[list[LogRecord], int | None]:
    """Return what was decided about its connections, and the most memory that it had.

    The host's file is read, not its log, of whose lines a plugin that writes many has the most.
    """
    from aperio_cli.commands.host.reaching import reached
    from aperio_cli.serving.logs import PluginLogs

    logs = PluginLogs(context.paths.plugin_logs, lambda _level, _words: None)
    async with reached(context) as client:
        records = [entry.record for entry in logs.decisions(plugin, _MOST_RECORDS)]
        receipts = await client.receipts(plugin, _MOST_RECEIPTS)
        instances = [each for about, found in await client.plugins() for each in found]
    peaks = [receipt.peak_memory_bytes for receipt in receipts]
    peaks += [each.peak_memory_bytes for each in instances if each.key.plugin == plugin]
    return records, max((peak for peak in peaks if peak is not None), default=None)
