"""`aperio version`: which aperio this is, as `--version` says it, and as JSON."""

from __future__ import annotations

from aperio_cli import __version__
from aperio_cli.commands.app import app
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report


@command(app, "version", examples=["aperio version"])
def version(context: Context) -> Report:  # noqa: ARG001 - every command takes it
    """Show the version, as `--version` does."""
    return Report({"version": __version__}, f"aperio {__version__}")
