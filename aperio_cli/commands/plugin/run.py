"""`aperio plugin run`: start a plugin, do one thing with it, stop it."""

from __future__ import annotations

from typing import Annotated

import typer

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed, operations
from aperio_cli.commands.options import (
    Action,
    Approval,
    ApprovalHash,
    Facts,
    Parameters,
    PluginConfig,
    Settings,
    Target,
    TargetType,
    argument,
    option,
    tenant,
)
from aperio_cli.context import Context
from aperio_cli.output import Report

_Target = Annotated[
    str,
    argument(
        metavar="PLUGIN|PROJECT",
        help="An installed plugin, or a project's folder (unsigned, for development).",
        values=installed,
    ),
]
_Operation = Annotated[
    str,
    argument(
        help="connector: sync schema test connect; remediation: capabilities execute;"
        " destination: deliver capabilities",
        metavar="OPERATION",
        values=operations,
    ),
]
_Strict = Annotated[bool, option("--strict", help="sync: stop at the first dead letter.")]
_From = Annotated[
    str,
    option("--from", help="sync: leave out what occurred before.", metavar="DATE"),
]
_Streams = Annotated[
    list[str] | None, option("--stream", help="sync: this stream only.", metavar="NAME")
]
_EventTypes = Annotated[
    list[str] | None, option("--event-type", help="sync: events of this type only.", metavar="TYPE")
]
_To = Annotated[
    str,
    option(help="sync: a destination takes the events.", metavar="PLUGIN", values=installed),
]
_ToConfig = Annotated[
    str, option(help="Settings of `--to` in a .toml or .json file.", metavar="FILE")
]
_Rejects = Annotated[str, option(help="Keep in FILE what a destination rejects.", metavar="FILE")]
_ToSettings = Annotated[
    list[str] | None,
    option("--to-set", help="A setting of `--to`.", metavar="KEY=VALUE"),
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
    option("--debug", help="PROJECT: keep it running, print how other go-plugin hosts reach it."),
]
_Org = Annotated[str, tenant(help="Organization.", shows_default=True)]
_Integration = Annotated[str, tenant(help="Integration.", shows_default=True)]
_Full = Annotated[bool, option("--full", help="sync: read everything again.")]
_Key = Annotated[str, option(help="execute: repeats do not act twice.", metavar="KEY")]
_DryRun = Annotated[bool, option("--dry-run", help="execute: say what would change.")]
_Approve = Annotated[bool, option("--approve", help="execute: consent to it.")]
_Catalog = Annotated[
    bool, option("--catalog", help="schema, capabilities: as Aperio's catalogue has it.")
]


_Learn = Annotated[
    bool,
    option("--learn", help="Let it connect to public hosts; propose permissions and limits."),
]


@command(
    plugin,
    "plugin",
    "run",
    examples=[
        "aperio plugin run aperio-plugin-hello schema",
        "aperio plugin run acme/hello-connector schema --json",
    ],
    is_for_linux=True,
)
def plugin_run(  # noqa: PLR0913 - one parameter for each option
    context: Context,
    target: _Target,
    operation: _Operation = "",
    *,
    org: _Org = "local",
    integration: _Integration = "local",
    settings: Settings = None,
    plugin_config: PluginConfig = "",
    full: _Full = False,
    strict: _Strict = False,
    since: _From = "",
    stream: _Streams = None,
    event_type: _EventTypes = None,
    to: _To = "",
    to_set: _ToSettings = None,
    to_config: _ToConfig = "",
    retry_for: _RetryFor = None,
    rejects: _Rejects = "",
    action: Action = "",
    target_id: Target = "",
    target_type: TargetType = "",
    parameter: Parameters = None,
    facts: Facts = None,
    idempotency_key: _Key = "",
    dry_run: _DryRun = False,
    approve: _Approve = False,
    approval: Approval = "",
    approval_sha256: ApprovalHash = "",
    catalog: _Catalog = False,
    learn: _Learn = False,
    debug: _Debug = False,
) -> Report | None:
    """Run an installed plugin, or a project's folder, for one operation.

    `sync` prints one event a line and stores a checkpoint after each part that was written and
    flushed; a shell pipe behind it is best effort. With `--to PLUGIN` a destination takes the
    events, and the checkpoint follows what it has answered for. What cannot be passed on is a dead
    letter: told, counted, and left behind. `--from`, `--stream` and `--event-type` go with
    connectors that declare it; what is chosen has a checkpoint of its own. `deliver` reads such
    lines on stdin.
    """
    from aperio_cli.commands.plugin.forwarding import Delivery
    from aperio_cli.commands.plugin.running import Manner, run
    from aperio_cli.commands.plugin.scope import read_scope
    from aperio_cli.commands.plugin.settings import read_settings
    from aperio_cli.host.calls.executing import Execute
    from aperio_cli.running.operations import RunRequest

    execute = Execute(
        action, target_id, read_settings(parameter or (), "", option="--parameter"),
        idempotency_key, dry_run, approve, target_type,
        read_settings(facts or (), "", option="--context"), approval, approval_sha256,
    )  # fmt: skip
    stated = read_settings(settings or (), plugin_config)
    scope = read_scope(since, stream or (), event_type or ())
    request = RunRequest(operation, org, integration, stated, full, strict, scope, execute)
    delivery = Delivery(to, to_set or (), to_config, retry_for, rejects)
    manner = Manner(is_debug=debug, is_catalog=catalog, is_learning=learn)
    return run(context, target, request, delivery, manner)
