"""`aperio registry deprecate`: a version of a plugin becomes deprecated."""

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
    "deprecate",
    examples=[
        "aperio registry deprecate acme/hello-connector@0.1.0 --reason 'old API' --dir registry",
    ],
)
def registry_deprecate(
    context: Context,
    plugin: Version,
    *,
    reason: Reason = "",
    replacement: Replacement = "",
    directory: Directory = ".",
) -> Report:
    """Warn everybody who installs a version.

    It can be installed and started all the same. What is wrong goes into the
    record; build and sign the registry afterwards.
    """
    return withdraw_version(context, directory, plugin, ("deprecated", reason, replacement))
