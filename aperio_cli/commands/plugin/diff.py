"""`aperio plugin diff`: how one version differs from another."""

from __future__ import annotations

from typing import Annotated

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument
from aperio_cli.context import Context
from aperio_cli.output import Report

_METAVAR = "PLUGIN|ARTIFACT|URL"


@command(
    plugin,
    "plugin",
    "diff",
    examples=[
        "aperio plugin diff acme/hello-connector@0.1.0 acme/hello-connector@0.2.0",
    ],
)
def plugin_diff(
    context: Context,
    before: Annotated[
        str,
        argument(
            metavar=_METAVAR,
            help="A version: installed, an artifact, or of a registry.",
            values=installed,
        ),
    ],
    after: Annotated[str, argument(metavar=_METAVAR, help="Another one.", values=installed)],
) -> Report:
    """Show how a version differs from another: what it may do, who signed it, what is in it.

    Permissions, limits, signer, provenance, dependencies by the bills of materials, size and files.
    Nothing is installed.
    """
    from aperio_cli.commands.plugin.looking import look, told
    from aperio_cli.comparing import compare

    with context.output.working(f"looking at `{before}` and `{after}`"):
        difference = compare(look(context, before), look(context, after))
    return Report(difference.to_json(), "\n".join(told(difference)))
