"""`aperio plugin init`: a new project that builds and whose tests pass at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import kinds, languages
from aperio_cli.commands.options import argument, option
from aperio_cli.context import Context
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.scaffolding.origin import Origin


_From = Annotated[
    str,
    option(
        help="Where CI gets aperio from: this version by name, #sha256= and its wheel's hash;"
        " an address of that wheel, likewise; or git+https://…@COMMIT. By name at first.",
        metavar="PLACE",
    ),
]


@command(
    plugin,
    "plugin",
    "init",
    examples=[
        "aperio plugin init github.com/acme/aperio-plugin-hello",
        "aperio plugin init github.com/acme/aperio-plugin-vault --kind destination --lang go",
    ],
)
def plugin_init(  # noqa: PLR0913 - one parameter for each option
    context: Context,
    module: Annotated[
        str,
        argument(
            metavar="REPOSITORY",
            help="Where the project will live, such as github.com/acme/aperio-plugin-box, or its"
            " address.",
        ),
    ],
    *,
    kind: Annotated[
        str,
        option(
            help="connector, remediation or destination",
            metavar="KIND",
            values=kinds,
            shows_default=True,
        ),
    ] = "connector",
    lang: Annotated[
        str, option(help="python or go", metavar="LANGUAGE", values=languages, shows_default=True)
    ] = "python",
    publisher: Annotated[
        str, option(help="Namespace of the plugin's id.", metavar="NAMESPACE")
    ] = "",
    output: Annotated[str, option(help="Folder to write.", metavar="DIR")] = "",
    aperio_from: _From = "",
    no_input: Annotated[bool, option("--no-input", help="Ask nothing.")] = False,  # noqa: ARG001 - accepted for scripts: aperio asks nothing here anyway
) -> Report:
    """Scaffold a plugin project that builds and whose tests pass at once."""
    from aperio_cli.scaffolding import ScaffoldRequest, origin, scaffold

    asked = ScaffoldRequest(
        module=module,
        kind=kind,
        language=lang,
        publisher=publisher,
        output=as_path(output) if output else None,
        aperio_from=aperio_from or origin.DEFAULT,
    )
    with context.output.working("setting up the project"):
        project = scaffold(asked)
    source = origin.parse_origin(aperio_from or origin.DEFAULT)
    data = {
        "path": str(project.path),
        "id": str(project.manifest.id),
        "files": _files_below(project.path),
        "aperio": {"from": source.stated, "is_locked": source.is_locked},
    }
    text = f"made `{project.manifest.id}` in {project.path}"
    notes = [f"next: `aperio plugin build {project.path}`"]
    if not source.is_locked:
        notes.append(_before_a_release(source))
    return Report(data, text, notes=tuple(notes))


def _files_below(folder: Path) -> list[str]:
    """Return the paths of all files, relative to the folder, in their order."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def _before_a_release(source: Origin) -> str:
    from aperio_cli.scaffolding import origin

    return (
        f"before a release: {source.stated} is on no package index until it is released; then add"
        f" its hash to {origin.FOLDER}/{origin.LOCK_NAME}, without which CI installs nothing"
    )
