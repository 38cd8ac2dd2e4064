"""`aperio registry revoke`: a version of a plugin becomes revoked."""

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
    "revoke",
    examples=[
        "aperio registry revoke acme/hello-connector@0.1.0 --reason 'leaks tokens' --dir registry",
    ],
)
def registry_revoke(
    context: Context,
    plugin: Version,
    *,
    reason: Reason = "",
    replacement: Replacement = "",
    directory: Directory = ".",
) -> Report:
    """Have a version neither installed nor started any more.

    For versions that do harm. What is wrong goes into the
    record; build and sign the registry afterwards.
    """
    return withdraw_version(context, directory, plugin, ("revoked", reason, replacement))
