"""`aperio plugin init`: a new project that builds and whose tests pass at once."""

from __future__ import annotations

from typing import Annotated

import typer

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report


@command(plugin, "plugin", "init")
def plugin_init(  # noqa: PLR0913 - one parameter for each option
    context: Context,  # noqa: ARG001 - every command takes it
    module: Annotated[
        str,
        typer.Argument(
            help="Where the project will live, such as github.com/acme/aperio-plugin-box.",
            show_default=False,
        ),
    ],
    *,
    kind: Annotated[str, typer.Option(help="connector, remediation or destination")] = "connector",
    lang: Annotated[str, typer.Option(help="python or go")] = "python",
    publisher: Annotated[
        str, typer.Option(help="Namespace of the plugin's id.", metavar="NS", show_default=False)
    ] = "",
    output: Annotated[
        str, typer.Option(help="Folder to write.", metavar="DIR", show_default=False)
    ] = "",
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,  # noqa: ARG001 - accepted for scripts: aperio asks nothing here anyway
) -> Report:
    """Scaffold a plugin project that builds and whose tests pass at once."""
    from pathlib import Path

    from aperio_cli.scaffolding import ScaffoldRequest, scaffold

    project = scaffold(
        ScaffoldRequest(
            module=module,
            kind=kind,
            language=lang,
            publisher=publisher,
            output=Path(output).expanduser() if output else None,
        )
    )
    files = sorted(
        path.relative_to(project.path).as_posix()
        for path in project.path.rglob("*")
        if path.is_file()
    )
    data = {"path": str(project.path), "id": str(project.manifest.id), "files": files}
    text = f"made `{project.manifest.id}` in {project.path}"
    return Report(data, text, notes=(f"next: `aperio plugin build {project.path}`",))
