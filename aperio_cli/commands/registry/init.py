"""`aperio registry init`: the source of a new, empty registry."""

from __future__ import annotations

from typing import Annotated

import typer

from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import option
from aperio_cli.context import Context
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report


@command(registry, "registry", "init", examples=["aperio registry init registry"])
def registry_init(
    context: Context,  # noqa: ARG001 - every command takes it
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A new or empty folder.")] = ".",
    *,
    name: Annotated[
        str,
        option(
            help="Which of its signer's registries it is (default: the only one).", metavar="NAME"
        ),
    ] = "",
) -> Report:
    """Make the source of a new registry.

    Who signs several registries gives each a name, which its clients state, too.
    """
    from aperio_cli.publishing import init
    from aperio_cli.publishing.source import typed

    path = as_path(directory)
    init(path, name=name)
    return Report(
        {"path": str(path.absolute()), "name": name or None},
        f"made a registry in {path}",
        notes=(f"next: {typed('add ARTIFACT', path)}",),
    )
