"""`aperio registry yank`: a version of a plugin becomes yanked."""

from __future__ import annotations

from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Directory
from aperio_cli.commands.registry.withdrawing import (
    Reason,
    Replacement,
    Version,
    withdraw_version,
)
from aperio_cli.context import Context
from aperio_cli.output import Report


@command(
    registry,
    "registry",
    "yank",
    examples=[
        "aperio registry yank acme/hello-connector@0.1.0 --reason 'loses events' --dir registry",
    ],
)
def registry_yank(
    context: Context,
    plugin: Version,
    *,
    reason: Reason = "",
    replacement: Replacement = "",
    directory: Directory = ".",
) -> Report:
    """Offer a version to nobody who has not locked it.

    It can be started where it is installed, and installed by a lock file. What is wrong goes into
    the record; build and sign the registry afterwards.
    """
    return withdraw_version(context, directory, plugin, ("yanked", reason, replacement))
