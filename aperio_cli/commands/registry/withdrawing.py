"""What `registry yank`, `deprecate` and `revoke` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.options import argument, option
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.context import Context
    from aperio_cli.publishing import Withdrawn

Version = Annotated[str, argument(metavar="PLUGIN", help="With its version: acme/box@1.2.3.")]
Reason = Annotated[str, option(help="What is wrong with it, in one line.", metavar="TEXT")]
Replacement = Annotated[str, option(help="The version to use instead.", metavar="VERSION")]


def withdraw_version(
    context: Context, directory: str, plugin: str, status: tuple[str, str, str]
) -> Report:
    """Return the report of a version that was withdrawn.

    Args:
        context: gives the trusted roots, by which is told how the registry is signed.
        directory: its source, as it was typed.
        plugin: with its version.
        status: one of `STATES`, the reason, and the version to use instead or nothing.

    Raises:
        AperioError: as `publishing.withdraw`.
    """
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.publishing import WithdrawRequest, withdraw
    from aperio_cli.publishing.source import typed
    from aperio_cli.publishing.steps import sign_step

    ref, folder = PluginRef.parse(plugin), as_path(directory)
    found = withdraw(WithdrawRequest(folder, ref, *status))
    signing = sign_step(folder, lambda: context.trusted_roots)
    step = f"next: {typed('build', folder)} and {signing}"
    return Report(found.to_json(), _text(found), () if found.was_there else (step,))


def _text(found: Withdrawn) -> str:
    status = found.status
    said = f"`{found.ref}` is {status.state}: {status.reason}"
    return f"{said}; use {status.replacement}" if status.replacement else said
