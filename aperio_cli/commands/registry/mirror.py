"""`aperio registry mirror`: chosen plugins, for where the registry is out of reach."""

from __future__ import annotations

from typing import Annotated

import typer

from aperio_cli.commands import completing
from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import option
from aperio_cli.commands.registry.reading import rooted
from aperio_cli.context import Context
from aperio_cli.errors.usage import UsageError
from aperio_cli.files.naming import as_path, parse_ref
from aperio_cli.output import Report


@command(
    registry,
    "registry",
    "mirror",
    examples=["aperio registry mirror mirror acme/hello-connector --registry registry"],
)
def registry_mirror(
    context: Context,
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="A new folder, or an earlier mirror.")
    ],
    plugins: Annotated[
        list[str], typer.Argument(metavar="PLUGIN", help="Plugins: id or id@VERSION.")
    ],
    *,
    platform: Annotated[
        list[str],
        option(
            help="Only artifacts for this platform (repeatable; default: all).",
            metavar="PLATFORM",
            values=completing.platforms,
        ),
    ] = [],  # noqa: B006 - Typer makes a new one for each call
) -> Report:
    """Copy plugins of a registry with its signed root, its log and their bundles.

    A mirror is read by the rule for the registry that it mirrors, and trusted by that alone.
    """
    from aperio_cli.models.platform import Platform
    from aperio_cli.publishing.mirroring import MirrorRequest, mirror

    folder = as_path(destination)
    reader = rooted(context, "")
    try:
        platforms = list(map(Platform.parse, platform))
    except ValueError as error:
        raise UsageError(f"nothing was mirrored: {error}", next=["such as linux/amd64"]) from error
    wanted = MirrorRequest([parse_ref(each) for each in plugins], folder, platforms)
    copied = mirror(reader, wanted)
    text = "\n".join(f"{each.id} {each.version} {each.platform}" for each in copied)
    data = {
        "path": str(folder.absolute()),
        "registry": reader.documents.place,
        "serial": reader.root().serial,
        "mirrored": [each.to_json() for each in copied],
    }
    return Report(data, f"{text}\nmirrored into {folder}")
