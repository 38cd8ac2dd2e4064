"""`aperio host run`: keep plugins running, in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any

from aperio_cli.commands.app import host
from aperio_cli.commands.common import Exit, command
from aperio_cli.commands.options import option
from aperio_cli.context import Context
from aperio_cli.errors import INTERRUPTED, AperioError
from aperio_cli.output import ReaderGone

if TYPE_CHECKING:
    from aperio_cli.serving.service import Speaking


@command(
    host,
    "host",
    "run",
    examples=["aperio host run", "aperio host run --all --json"],
    is_for_linux=True,
)
def host_run(
    context: Context,
    *,
    all_: Annotated[
        bool,
        option("--all", help="Every installed plugin, not only those that config.toml states."),
    ] = False,
) -> None:
    """Keep plugins running until Ctrl-C or SIGTERM: those that config.toml states.

    Each has a process of its own, and is started again when it dies; plugins that are installed,
    updated or removed are taken up as they are. SIGHUP reads the configuration anew. Other programs
    of this user call the plugins by the control API, `aperio host status` says how they are, and
    `aperio host unit` prints a service for systemd. Stdout has a line of JSON for each run of a
    plugin, and with --json for each change of one, too.
    """
    from aperio_cli.serving.service import Service

    service = Service(
        lambda: Context(context.settings).collaborators,
        _speaking(context),
        is_all=all_,
        has_changes=context.settings.json,
        open_registry=None
        if context.settings.offline
        else lambda: Context(context.settings).registry,
    )
    with contextlib.suppress(asyncio.CancelledError):  # somebody did not wait for the end
        asyncio.run(service.run())
    if service.was_interrupted:
        raise Exit(INTERRUPTED)


def _speaking(context: Context) -> Speaking:
    from aperio_cli.serving.service import Speaking, as_line

    def say(level: str, words: str) -> None:
        if level == "debug":
            context.output.detail(words)
        elif level == "info":
            context.output.note(words)
        else:
            context.output.warn(f"{level}: {words}")

    def line(document: dict[str, Any]) -> None:
        with contextlib.suppress(ReaderGone, AperioError):  # nobody reads: plugins run all the same
            context.output.lines([as_line(document)])

    return Speaking(say, line)
