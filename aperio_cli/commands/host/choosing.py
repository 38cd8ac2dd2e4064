"""Which instances of a plugin a command means, and doing something with each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.usage import NotFound
from aperio_cli.output import Report
from aperio_cli.text import nearest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aperio_cli.context import Context
    from aperio_cli.host.control.client import HostClient
    from aperio_cli.host.supervising.instances import InstanceKey, Status
    from aperio_cli.models.plugin_id import PluginId


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which instances are meant.

    Attributes:
        plugin: whose, as it was typed.
        organization: only this one's; empty: those of all.
        integration: only this one's; empty: those of all.
    """

    plugin: str
    organization: str
    integration: str


def on_each(
    context: Context,
    chosen: Chosen,
    do: Callable[[HostClient, InstanceKey], Awaitable[Status]],
    done: str,
) -> Report:
    """Do something with each of the instances, and report how they are then.

    Args:
        context: gives the home.
        chosen: which.
        do: with a client of the host, and an instance.
        done: what was done, in a word.

    Raises:
        HostNotRunning: there is no host.
        NotFound: it has no such instance.
    """
    from aperio_cli.commands.loop import on_loop

    statuses = on_loop(_on_each(context, chosen, do))
    plugin = statuses[0].key.plugin
    lines = [
        f"{done} `{plugin}` for {each.key.organization} {each.key.integration}" for each in statuses
    ]
    keys = ("organization", "integration", "state", "pause")
    instances = [{key: each.to_json()[key] for key in keys} for each in statuses]
    return Report({"plugin": str(plugin), "instances": instances}, "\n".join(lines))


async def _on_each(
    context: Context, chosen: Chosen, do: Callable[[HostClient, InstanceKey], Awaitable[Status]]
) -> Sequence[Status]:
    from aperio_cli.commands.host.reaching import reached
    from aperio_cli.files.naming import parse_ref

    plugin = parse_ref(chosen.plugin).id
    async with reached(context) as client:
        supervised = [each.key for _, found in await client.plugins() for each in found]
        keys = {
            key
            for key in supervised
            if key.plugin == plugin
            and chosen.organization in {"", key.organization}
            and chosen.integration in {"", key.integration}
        }
        if not keys:
            raise NotFound(
                f"`{plugin}` is not supervised"
                f"{f' for {chosen.organization}' if chosen.organization else ''}"
                f"{f' {chosen.integration}' if chosen.integration else ''}",
                next=[*_others(plugin, supervised), "`aperio host status` shows what is"],
            )
        return [await do(client, key) for key in sorted(keys)]


def _others(plugin: PluginId, supervised: Sequence[InstanceKey]) -> list[str]:
    """Return the supervised plugin that was probably meant; none, when this one is there."""
    known = {str(key.plugin) for key in supervised}
    return [] if str(plugin) in known else nearest(str(plugin), sorted(known))
