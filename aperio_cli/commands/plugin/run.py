"""`aperio plugin run`: start a plugin, do one thing with it, stop it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.parsing import complete_installed
from aperio_cli.context import Context
from aperio_cli.output import Report

_Target = Annotated[
    str,
    typer.Argument(
        metavar="PLUGIN|PROJECT",
        help="An installed plugin, or a project's folder (unsigned, for development).",
        autocompletion=complete_installed,
        show_default=False,
    ),
]
_Operation = Annotated[
    str,
    typer.Argument(
        help="connector: sync schema test connect; remediation: capabilities execute;"
        " destination: deliver capabilities",
        show_default=False,
    ),
]
_Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting; VALUE may be env:NAME, file:PATH or keyring:NAME.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]
_Parameters = Annotated[
    list[str] | None,
    typer.Option(
        help="execute: a parameter of the action.", metavar="KEY=VALUE", show_default=False
    ),
]


def _text(*names: str, help: str, metavar: str) -> Any:  # noqa: A002 - Typer's own word
    return typer.Option(*names, help=help, metavar=metavar, show_default=False)


_Strict = Annotated[bool, typer.Option("--strict", help="sync: stop at the first dead letter.")]
_To = Annotated[str, _text(help="sync: a destination takes the events.", metavar="PLUGIN")]
_ToConfig = Annotated[str, _text(help="Settings of `--to` in a .toml or .json file.", metavar="F")]
_Rejects = Annotated[str, _text(help="Keep in FILE what a destination rejects.", metavar="FILE")]
_ToSettings = Annotated[
    list[str] | None,
    typer.Option("--to-set", help="A setting of `--to`.", metavar="KEY=VALUE", show_default=False),
]
_RetryFor = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=7 * 24 * 3600,
        help="Deliver again while nothing is taken; 300 with `--to`, else 0.",
        metavar="SECONDS",
        show_default=False,
    ),
]
_Debug = Annotated[
    bool,
    typer.Option(
        "--debug", help="PROJECT: keep it running, print how other go-plugin hosts reach it."
    ),
]


@command(plugin, "plugin", "run", is_for_linux=True)
def plugin_run(  # noqa: PLR0913 - one parameter for each option
    context: Context,
    target: _Target,
    operation: _Operation = "",
    *,
    org: Annotated[str, typer.Option(help="Organization.", metavar="ID")] = "local",
    integration: Annotated[str, typer.Option(help="Integration.", metavar="ID")] = "local",
    settings: _Settings = None,
    plugin_config: Annotated[
        str, _text(help="Settings in a .toml or .json file.", metavar="F")
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="Read everything again.")] = False,
    strict: _Strict = False,
    to: _To = "",
    to_set: _ToSettings = None,
    to_config: _ToConfig = "",
    retry_for: _RetryFor = None,
    rejects: _Rejects = "",
    action: Annotated[str, _text(help="execute: which action.", metavar="A")] = "",
    target_id: Annotated[str, _text("--target", help="execute: on what.", metavar="T")] = "",
    parameter: _Parameters = None,
    idempotency_key: Annotated[
        str, _text(help="execute: repeats do not act twice.", metavar="KEY")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="execute: say what would change.")
    ] = False,
    approve: Annotated[bool, typer.Option("--approve", help="execute: consent to it.")] = False,
    debug: _Debug = False,
) -> Report | None:
    """Run an installed plugin, or a project's folder, for one operation.

    `sync` prints one event a line and stores a checkpoint after each part that was written and
    flushed; a shell pipe behind it is best effort. With `--to PLUGIN` a destination takes the
    events, and the checkpoint follows what it has answered for. What cannot be passed on is a dead
    letter: told, counted, and left behind. `deliver` reads such lines on stdin.
    """
    from aperio_cli.commands.plugin.forwarding import Delivery
    from aperio_cli.commands.plugin.running import run
    from aperio_cli.commands.plugin.settings import read_settings
    from aperio_cli.running.operations import Execute, RunRequest

    request = RunRequest(
        operation=operation,
        organization=org,
        integration=integration,
        settings=read_settings(settings or (), plugin_config),
        full=full,
        strict=strict,
        execute=Execute(
            action=action,
            target=target_id,
            parameters=read_settings(parameter or (), ""),
            idempotency_key=idempotency_key,
            dry_run=dry_run,
            approved=approve,
        ),
    )
    delivery = Delivery(to, to_set or (), to_config, retry_for, rejects)
    return run(context, target, request, delivery, is_debug=debug)
