"""`aperio registry build`: the files that clients read."""

from __future__ import annotations

from typing import Annotated

from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Directory, option
from aperio_cli.context import Context
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report


@command(registry, "registry", "build", examples=["aperio registry build --dir registry"])
def registry_build(
    context: Context,  # noqa: ARG001 - every command takes it
    *,
    directory: Directory = ".",
    out: Annotated[
        str,
        option(help="Where to write (default: public in it).", metavar="DIR"),
    ] = "",
) -> Report:
    """Build the index and all that it names, for any web server."""
    from aperio_cli.publishing import build

    report = build(as_path(directory), as_path(out) if out else None)
    text = f"built {report.out}: {report.plugins} plugins, {report.versions} versions"
    notes = [
        f"{name} has no linux/amd64 artifact, so plugins.json leaves it out"
        for name in report.left_out
    ]
    return Report(report.to_json() | {"out": str(report.out.absolute())}, text, tuple(notes))
