"""`aperio trust exception remove`: end an exception before its date."""

from __future__ import annotations

from typing import Annotated

from aperio_cli.commands.app import exception
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import excepted
from aperio_cli.commands.options import Rule, argument
from aperio_cli.commands.trust.stopping import say_stops, stops
from aperio_cli.context import Context
from aperio_cli.errors.usage import NotFound
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.output import Report


@command(
    exception,
    "trust",
    "exception",
    "remove",
    examples=["aperio trust exception remove acme/hello-connector --rule unverified"],
)
def trust_exception_remove(
    context: Context,
    plugin: Annotated[
        str,
        argument(metavar="PLUGIN", help="Its id, or id@VERSION.", values=excepted),
    ],
    *,
    rule: Rule,
) -> Report:
    """Take an exception back; from now on the plugin has to keep the rule again.

    What that stops is said first.
    """
    from aperio_cli.config import changes, managed

    reference = PluginRef.parse(plugin)
    planned = changes.without_exceptions(context.config, reference, rule)
    removed = len(context.config.managed.exceptions) - len(planned.exceptions)
    if not removed:
        raise _missing(context, reference, rule)
    stopped = stops(context, planned)
    say_stops(context, stopped)
    managed.change(
        context.paths, lambda config: changes.without_exceptions(config, reference, rule)
    )
    data = {
        "config_file": str(context.paths.managed_file),
        "plugin": str(reference),
        "rule": rule,
        "removed": removed,
        "stops": stopped,
    }
    return Report(data, f"`{reference}` has to keep the rule `{rule}` again")


def _missing(context: Context, reference: PluginRef, rule: str) -> NotFound:
    """Return the error that nothing is to be taken back; names what was perhaps meant."""
    config = context.config
    stated = (*config.user.exceptions, *config.site.exceptions)
    similar = [each for each in stated if each.plugin == reference.id]
    lines = [f"{each.name} {each.rule} in {each.stated_in}" for each in similar]
    return NotFound(
        f"`{reference}` has no exception from `{rule}` that a command made; nothing was changed",
        why="\n".join(["there are:", *lines]) if lines else "",
        next=["`aperio trust show` lists all of them"],
    )
