"""`aperio host pause`: a plugin rests until somebody resumes it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import host
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument, option, tenant
from aperio_cli.context import Context
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.host.control.client import HostClient
    from aperio_cli.host.supervising.instances import InstanceKey, Status


@command(
    host,
    "host",
    "pause",
    examples=['aperio host pause acme/hello-connector --reason "its service is down"'],
)
def host_pause(
    context: Context,
    plugin: Annotated[str, argument(metavar="PLUGIN", help="Its id.", values=installed)],
    *,
    org: Annotated[str, tenant("--org", help="Only for this organization.")] = "",
    integration: Annotated[str, tenant("--integration", help="Only for this integration.")] = "",
    reason: Annotated[str, option("--reason", help="Why, for others.", metavar="TEXT")] = "",
) -> Report:
    """Have a plugin rest under the host until it is resumed.

    Calls in flight fail at once, and so does each that is made meanwhile. It rests after the host
    was started again, too; `host status` says who paused it, when and why.
    """
    from aperio_cli.commands.host.choosing import Chosen, on_each

    by = os.environ.get("SUDO_USER", "")

    async def pause(client: HostClient, key: InstanceKey) -> Status:
        return await client.pause(key, reason, by)

    return on_each(context, Chosen(plugin, org, integration), pause, "paused")
