"""`aperio host resume`: what was paused, or given up, goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import host
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument, tenant
from aperio_cli.context import Context
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.host.control.client import HostClient
    from aperio_cli.host.supervising.instances import InstanceKey, Status


@command(host, "host", "resume", examples=["aperio host resume acme/hello-connector"])
def host_resume(
    context: Context,
    plugin: Annotated[str, argument(metavar="PLUGIN", help="Its id.", values=installed)],
    *,
    org: Annotated[str, tenant("--org", help="Only for this organization.")] = "",
    integration: Annotated[str, tenant("--integration", help="Only for this integration.")] = "",
) -> Report:
    """Have a plugin go on under the host: one that was paused, or that it has given up."""
    from aperio_cli.commands.host.choosing import Chosen, on_each

    async def resume(client: HostClient, key: InstanceKey) -> Status:
        return await client.resume(key)

    return on_each(context, Chosen(plugin, org, integration), resume, "resumed")
