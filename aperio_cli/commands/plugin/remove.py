"""`aperio plugin remove`: installed versions leave the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.parsing import complete_installed
from aperio_cli.context import Context
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.models.plugin_id import PluginId


@command(plugin, "plugin", "remove")
def plugin_remove(
    context: Context,
    plugins: Annotated[
        list[str],
        typer.Argument(
            metavar="PLUGIN...",
            help="An id removes every version, id@VERSION one.",
            autocompletion=complete_installed,
            show_default=False,
        ),
    ],
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Drop its checkpoints and stored values, too.")
    ] = False,
) -> Report:
    """Remove installed plugins; refused while one runs."""
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.removing import remove

    def drop_state(plugin_id: PluginId) -> None:
        from aperio_cli.data.state import State

        with State(context.paths.state_database) as state:
            state.forget(str(plugin_id))

    refs = [PluginRef.parse(text) for text in plugins]
    reports = [remove(context.store, ref, purge=drop_state if purge else None) for ref in refs]
    lines = [f"removed `{r.id}` {', '.join(r.versions)}" for r in reports]
    return Report({"removed": [report.to_json() for report in reports]}, "\n".join(lines))
