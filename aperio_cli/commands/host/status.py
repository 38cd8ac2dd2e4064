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
from aperio_cli.commands.options import option
from aperio_cli.context import Context
from aperio_cli.output import Report
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from aperio_cli.commands.host.showing import LastRuns
    from aperio_cli.host.control.client import HostClient
    from aperio_cli.host.supervising.instances import Status

_CLEAR = "\x1b[H\x1b[2J\x1b[3J"
_MOST_RECEIPTS = 1000
_REFRESH_S = 2.0


@command(host, "host", "status", examples=["aperio host status", "aperio host status --json"])
def host_status(
    context: Context,
    *,
    watch: Annotated[bool, option("--watch", "-w", help="Go on, with every change.")] = False,
) -> Report | None:
    """Say how the host and each of its plugins are: state, why, until when, what to do.

    Without a running host it says so, and how to start one. With --watch a terminal is kept up to
    date; elsewhere each change is a line, with --json an object.
    """
    from aperio_cli.commands.loop import on_loop

    return on_loop(_watch(context) if watch else _report(context))


async def _report(context: Context) -> Report:
    from aperio_cli.commands.host import showing
    from aperio_cli.commands.host.reaching import reached

    async with reached(context) as client:
        about, statuses, runs, idle = await _gathered(context, client)
    document = {
        "host": about,
        "instances": [
            showing.of_instance(each, runs.get(showing.key_of(each.key))) for each in statuses
        ],
        "idle": idle,
    }
    return Report(document, showing.overview(about, statuses, runs))


async def _gathered(
    context: Context, client: HostClient
) -> tuple[dict[str, Any], list[Status], LastRuns, list[dict[str, Any]]]:
    """Return what the host says of itself, its instances, their last runs, and what is idle."""
    from aperio_cli.commands.host import showing
    from aperio_cli.serving.single import get_host
    from aperio_cli.serving.telling import summary_of

    plugins = await client.plugins()
    statuses = sorted((each for _, found in plugins for each in found), key=lambda it: it.key)
    runs = showing.last_runs(await client.receipts(most=_MOST_RECEIPTS))
    answer = await client.host()
    about = {
        "pid": answer.pid,
        "version": answer.version,
        "started_at": _time(answer, "started_at"),
        "home": answer.home,
        "socket": str(get_host(context.paths).socket),
        "registries_heard_at": _time(answer, "registries_heard_at"),
        "registries_problem": answer.registries_problem or None,
        "summary": summary_of(tuple(statuses)),
    }
    idle = [showing.of_plugin(plugin) for plugin, found in plugins if not found]
    return about, statuses, runs, idle


def _time(answer: Any, name: str) -> str | None:
    if not answer.HasField(name):
        return None
    return clock.format_timestamp(getattr(answer, name).ToDatetime(UTC))


async def _watch(context: Context) -> None:
    from aperio_cli.commands.host.reaching import reached

    async with reached(context) as client:
        if context.settings.json:
            async for status in client.watch():
                _line(context, {"type": "instance", **status.to_json()})
        elif context.output.stdout.isatty():
            await _keep_up_to_date(context, client)
        else:
            await _tell_changes(context, client)
    context.output.note("the host has ended")


async def _keep_up_to_date(context: Context, client: HostClient) -> None:
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
            about, statuses, runs, _ = await _gathered(context, client)
            text = _CLEAR + showing.overview(about, statuses, runs)
            context.output.lines([text.encode("utf-8", "replace") + b"\n"])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REFRESH_S):
                    await has_changed.wait()
        following.result()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _tell_changes(context: Context, client: HostClient) -> None:
    from aperio_cli.serving.telling import in_words

    async for status in client.watch():
        line = f"{clock.timestamp()} {one_line(in_words(status), limit=1000)}"
        context.output.lines([line.encode("utf-8", "replace") + b"\n"])


def _line(context: Context, document: dict[str, Any]) -> None:
    context.output.lines([json.dumps(document, ensure_ascii=False).encode() + b"\n"])
