"""`aperio registry serve`: a built registry on 127.0.0.1, to try it out."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.files.naming import as_path

_STDIN = 0


@command(registry, "registry", "serve", examples=["aperio registry serve registry"])
def registry_serve(
    context: Context,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The registry.")] = ".",
    *,
    port: Annotated[
        int, typer.Option(help="TCP port; 0: a free one.", metavar="PORT", min=0, max=65535)
    ] = 0,
) -> None:
    """Serve a built registry on 127.0.0.1 until Ctrl-C, or until a pipe on stdin is closed.

    The first line on stdout is its address; with --json, an object with the key `url`.
    """
    from aperio_cli.publishing import serve

    def announce(url: str) -> None:
        line = json.dumps({"url": url}) if context.settings.json else url
        context.output.lines([line.encode() + b"\n"])

    serve(as_path(directory), port, announce=announce, stdin=_STDIN)
