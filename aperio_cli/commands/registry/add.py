"""`aperio registry add`: signed artifacts become part of a registry."""

from __future__ import annotations

from typing import Annotated

import typer

from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Directory, argument
from aperio_cli.context import Context
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report


@command(
    registry,
    "registry",
    "add",
    examples=["aperio registry add aperio-plugin-hello/dist --dir registry"],
)
def registry_add(
    context: Context,
    what: Annotated[
        str,
        argument(metavar="ARTIFACT|DIST|URL", help="A file, a folder, an address."),
    ],
    *,
    directory: Directory = ".",
    by_url: Annotated[
        bool,
        typer.Option("--by-url", help="Leave the artifact at its address, and record that."),
    ] = False,
) -> Report:
    """Verify artifacts as `install` does, and copy them in.

    With --by-url an artifact is downloaded and verified, too; what is copied in is its bundle, and
    its address, digest and size are recorded.
    """
    from aperio_cli.publishing import AddRequest, add
    from aperio_cli.publishing.source import typed

    folder = as_path(directory)
    added = add(
        AddRequest(
            directory=folder,
            what=what,
            policy=context.policy,
            roots=lambda: context.trusted_roots,
            machine=context.platform,
            offline=context.settings.offline,
            is_left=by_url,
        )
    )
    lines = [
        f"`{item.id}` {item.version} {item.artifact.platform} "
        + ("was there already" if item.was_there else "added")
        for item in added
    ]
    is_news = not all(item.was_there for item in added)
    notes = (f"next: {typed('build', folder)}",) if is_news else ()
    return Report({"added": [item.to_json() for item in added]}, "\n".join(lines), notes)
