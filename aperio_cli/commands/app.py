"""The command line, put together."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from aperio_cli import __version__

app = typer.Typer(
    name="aperio",
    help="Carry a plugin through its whole life: scaffold, build, sign, verify, install, run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
plugin = typer.Typer(help="Make, check, install and run plugins.", no_args_is_help=True)
registry = typer.Typer(help="Keep a registry (for its maintainers).", no_args_is_help=True)
trust = typer.Typer(help="Say whom this machine trusts.", no_args_is_help=True)
local = typer.Typer(help="The trust domain of this machine alone.", no_args_is_help=True)
app.add_typer(plugin, name="plugin")
app.add_typer(registry, name="registry")
app.add_typer(trust, name="trust")
trust.add_typer(local, name="local")


def _print_version(value: bool) -> None:  # noqa: FBT001 - Typer's callback signature
    if value:
        typer.echo(f"aperio {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options that stand alone."""


# Each module registers its command on import; `--help` shows them in this order, which is that of
# a plugin's life.
for _module in (
    "plugin_init",
    "plugin_build",
    "plugin_test",
    "plugin_sign",
    "plugin_verify",
    "plugin_install",
    "plugin_list",
    "plugin_run",
    "plugin_remove",
    "registry_init",
    "registry_add",
    "registry_build",
    "registry_serve",
    "trust_show",
    "trust_local_init",
    "doctor",
    "completion",
):
    importlib.import_module(f"aperio_cli.commands.{_module}")
