"""`aperio registry serve`: a built registry on 127.0.0.1, to try it out."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from aperio_cli.commands import completing
from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Directory, argument, option
from aperio_cli.context import Context
from aperio_cli.errors.usage import UsageError
from aperio_cli.files.naming import as_path
from aperio_cli.text import one_line

_STDIN = 0


@command(registry, "registry", "serve", examples=["aperio registry serve --dir registry"])
def registry_serve(
    context: Context,
    place: Annotated[str, argument(metavar="DIR", help="The registry, as with `--dir`.")] = "",
    *,
    directory: Directory = ".",
    port: Annotated[
        int, typer.Option(help="TCP port; 0: a free one.", metavar="PORT", min=0, max=65535)
    ] = 0,
    fault: Annotated[
        str,
        option(
            help="Answer wrongly, to try a client: what goes wrong, and with which files.",
            metavar="FAULT",
            values=completing.faults,
        ),
    ] = "",
    other: Annotated[
        str,
        option(help="Another registry, for faults that mix two.", metavar="DIR"),
    ] = "",
) -> None:
    """Serve a built registry on 127.0.0.1 until Ctrl-C, or until a pipe on stdin is closed.

    The first line on stdout is its address; with --json, an object with the key `url`.

    Faults: slow, tamper, truncate, cut, endless, 404, 500 and 304 change answers; stale, mixed and
    fork give files of the registry that `--other` names. `tamper:plugins/*` spares other files.
    """
    if place and directory != ".":
        raise UsageError(
            f"nothing was served: `{one_line(place)}` and `--dir {one_line(directory)}` are two",
            next=["name one of them"],
        )
    from aperio_cli.publishing import serve
    from aperio_cli.publishing.serving import faults_of

    def announce(url: str) -> None:
        line = json.dumps({"url": url}) if context.settings.json else url
        context.output.lines([line.encode() + b"\n"])

    faults = faults_of(fault, as_path(other) if other else None)
    serve(as_path(place or directory), port, announce=announce, stdin=_STDIN, faults=faults)
