"""`aperio host status`: how the host and its plugins are."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any

from aperio_cli import clock
from aperio_cli.commands.app import host
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument, option
from aperio_cli.context import Context
from aperio_cli.errors.usage import NotFound
from aperio_cli.output import Report
from aperio_cli.text import nearest, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.commands.host.showing import LastRuns
    from aperio_cli.host.control.client import HostClient
    from aperio_cli.host.control.controlled import InstalledPlugin
    from aperio_cli.host.supervising.instances import Status
    from aperio_cli.models.plugin_id import PluginRef

_CLEAR = "\x1b[H\x1b[2J\x1b[3J"
_MOST_RECEIPTS = 1000
_REFRESH_S = 2.0


@command(
    host,
    "host",
    "status",
    examples=[
        "aperio host status",
        "aperio host status --json",
        "aperio host status acme/hello-connector",
    ],
)
def host_status(
    context: Context,
    plugin: Annotated[
        str,
        argument(
            metavar="PLUGIN",
            help="Only this one: its id, or id@VERSION (default: all).",
            values=installed,
        ),
    ] = "",
    *,
    watch: Annotated[bool, option("--watch", "-w", help="Go on, with every change.")] = False,
) -> Report | None:
    """Say how the host and its plugins are, each or one: state, why, until when, what to do.

    Without a running host it says so, and how to start one. With --watch a terminal is kept up to
    date; elsewhere each change is a line, with --json an object.
    """
    from aperio_cli.commands.loop import on_loop
    from aperio_cli.files.naming import parse_ref

    wanted = parse_ref(plugin) if plugin else None
    return on_loop(_watch(context, wanted) if watch else _report(context, wanted))


async def _report(context: Context, wanted: PluginRef | None) -> Report:
    from aperio_cli.commands.host import showing
    from aperio_cli.commands.host.reaching import reached

    async with reached(context) as client:
        about, statuses, runs, idle = await _gathered(context, client, wanted)
    document = {
        "host": about,
        "instances": [
            showing.of_instance(each, runs.get(showing.key_of(each.key))) for each in statuses
        ],
        "idle": idle,
    }
    return Report(document, showing.overview(about, statuses, runs, idle if wanted else ()))


async def _gathered(
    context: Context, client: HostClient, wanted: PluginRef | None = None
) -> tuple[dict[str, Any], list[Status], LastRuns, list[dict[str, Any]]]:
    """Return what the host says of itself, its instances, their last runs, and what is idle.

    Raises:
        NotFound: one plugin is wanted, and the host knows nothing of it.
    """
    from aperio_cli.commands.host import showing
    from aperio_cli.serving.single import get_host
    from aperio_cli.serving.telling import summary_of

    plugins = await client.plugins()
    everything = [each for _, found in plugins for each in found]
    chosen = _chosen(wanted, plugins)
    statuses = sorted(
        (each for _, found in chosen for each in found if _fits(wanted, each)),
        key=lambda it: it.key,
    )
    one = wanted.id if wanted else None
    runs = showing.last_runs(await client.receipts(one, most=_MOST_RECEIPTS))
    answer = await client.host()
    about = {
        "pid": answer.pid,
        "version": answer.version,
        "started_at": _time(answer, "started_at"),
        "home": answer.home,
        "socket": str(get_host(context.paths).socket),
        "registries_heard_at": _time(answer, "registries_heard_at"),
        "registries_problem": answer.registries_problem or None,
        "summary": summary_of(tuple(everything)),
    }
    idle = [showing.of_plugin(plugin) for plugin, found in chosen if not found]
    return about, statuses, runs, idle


def _chosen(
    wanted: PluginRef | None, plugins: Sequence[tuple[InstalledPlugin, tuple[Status, ...]]]
) -> list[tuple[InstalledPlugin, tuple[Status, ...]]]:
    """Return the plugins that are meant: all, or the one that is named.

    Raises:
        NotFound: the host neither runs it nor sees it installed, or not in the version named.
    """
    if wanted is None:
        return list(plugins)
    of_id = [each for each in plugins if each[0].id == wanted.id]
    chosen = [
        (plugin, found)
        for plugin, found in of_id
        if any(_fits(wanted, each) for each in found)
        or (not found and wanted.version in {None, plugin.version})
    ]
    if chosen:
        return chosen
    known = {each.version for _, found in of_id for each in found}
    known |= {plugin.version for plugin, _ in of_id}
    raise NotFound(
        f"the host knows no `{wanted}`",
        why=f"it has {', '.join(sorted(filter(None, known)))} of it" if of_id else "",
        next=[
            *([] if of_id else nearest(str(wanted.id), [str(plugin.id) for plugin, _ in plugins])),
            "`aperio host status` shows what it knows",
        ],
    )


def _fits(wanted: PluginRef | None, status: Status) -> bool:
    return wanted is None or (
        status.key.plugin == wanted.id and wanted.version in {None, status.version}
    )


def _time(answer: Any, name: str) -> str | None:
    if not answer.HasField(name):
        return None
    return clock.format_timestamp(getattr(answer, name).ToDatetime(UTC))


async def _watch(context: Context, wanted: PluginRef | None) -> None:
    from aperio_cli.commands.host.reaching import reached

    async with reached(context) as client:
        if wanted:
            _chosen(wanted, await client.plugins())  # a name that was mistyped never changes
        if context.settings.json:
            async for status in client.watch():
                if _fits(wanted, status):
                    _line(context, {"type": "instance", **status.to_json()})
        elif context.output.stdout.isatty():
            await _keep_up_to_date(context, client, wanted)
        else:
            await _tell_changes(context, client, wanted)
    context.output.note("the host has ended")


async def _keep_up_to_date(context: Context, client: HostClient, wanted: PluginRef | None) -> None:
    """Show the whole status again after changes, and every other second."""
    from aperio_cli.commands.host import showing

    has_changed = asyncio.Event()

    async def follow() -> None:
        try:
            async for _ in client.watch():
                has_changed.set()
        finally:
            has_changed.set()

    following = asyncio.create_task(follow())
    try:
        while not following.done():
            has_changed.clear()
            about, statuses, runs, idle = await _gathered(context, client, wanted)
            text = _CLEAR + showing.overview(about, statuses, runs, idle if wanted else ())
            context.output.lines([text.encode("utf-8", "replace") + b"\n"])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_S):
                    await has_changed.wait()
        following.result()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _tell_changes(context: Context, client: HostClient, wanted: PluginRef | None) -> None:
    from aperio_cli.serving.telling import in_words

    async for status in client.watch():
        if not _fits(wanted, status):
            continue
        line = f"{clock.timestamp()} {one_line(in_words(status), limit=1000)}"
        context.output.lines([line.encode("utf-8", "replace") + b"\n"])


def _line(context: Context, document: dict[str, Any]) -> None:
    context.output.lines([json.dumps(document, ensure_ascii=False).encode() + b"\n"])
