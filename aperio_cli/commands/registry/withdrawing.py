"""What `registry yank`, `deprecate` and `revoke` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.options import argument, option
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.publishing import Withdrawn

Version = Annotated[str, argument(metavar="PLUGIN", help="With its version: acme/box@1.2.3.")]
Reason = Annotated[str, option(help="What is wrong with it, in one line.", metavar="TEXT")]
Replacement = Annotated[str, option(help="The version to use instead.", metavar="VERSION")]


def withdraw_version(
    directory: str, plugin: str, state: str, reason: str, replacement: str
) -> Report:
    """Return the report of a version that was withdrawn.

    Raises:
        AperioError: as `publishing.withdraw`.
    """
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.publishing import WithdrawRequest, withdraw
    from aperio_cli.publishing.source import typed

    ref, folder = PluginRef.parse(plugin), as_path(directory)
    found = withdraw(WithdrawRequest(folder, ref, state, reason, replacement))
    step = f"next: {typed('build', folder)} and {typed('sign', folder)}"
    return Report(found.to_json(), _text(found), () if found.was_there else (step,))


def _text(found: Withdrawn) -> str:
    status = found.status
    said = f"`{found.ref}` is {status.state}: {status.reason}"
    return f"{said}; use {status.replacement}" if status.replacement else said
