"""The command line, put together."""

from __future__ import annotations

import importlib
import itertools
from typing import TYPE_CHECKING, Annotated

import typer

from aperio_cli import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typer.models import CommandInfo

COMPLETION_VARIABLE = "_APERIO_COMPLETE"
"""Set by a shell that asks for completions."""

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
publisher = typer.Typer(help="State who may sign for a namespace.", no_args_is_help=True)
exception = typer.Typer(help="Lift one rule from one plugin, for a time.", no_args_is_help=True)
domain = typer.Typer(help="State further trust domains.", no_args_is_help=True)
trust.add_typer(publisher, name="publisher")
trust.add_typer(exception, name="exception")
trust.add_typer(domain, name="domain")


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
    """Take the options that stand alone."""


_COMMANDS = "aperio_cli.commands"
# Each module registers its command on import; `--help` shows them in this order, which is that of
# a plugin's life.
_MODULES = (
    "plugin.init",
    "plugin.build",
    "plugin.test",
    "plugin.sign",
    "plugin.verify",
    "plugin.install",
    "plugin.list",
    "plugin.why",
    "plugin.run",
    "plugin.remove",
    "registry.init",
    "registry.add",
    "registry.build",
    "registry.serve",
    "trust.show",
    "trust.local_init",
    "trust.publisher_add",
    "trust.publisher_list",
    "trust.publisher_remove",
    "trust.require",
    "trust.exception_add",
    "trust.exception_remove",
    "trust.domain_add",
    "trust.domain_list",
    "trust.domain_remove",
    "trust.sign_publishers",
    "trust.refresh",
    "doctor",
    "completion",
)
_GROUPS = (app, plugin, registry, trust, local, publisher, exception, domain)


def load(argv: Sequence[str] = ()) -> typer.Typer:
    """Return the program, with the command that a line names.

    With every command when it names none.

    All of them take longer to make ready than most take to do their work.

    Args:
        argv: the arguments after the program's name.
    """
    words = list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
    modules = {module.replace(".", "_"): module for module in _MODULES}
    possible = ("_".join(words[:count]).replace("-", "_") for count in (3, 2, 1))
    named = next((modules[name] for name in possible if name in modules), None)
    for module in [named] if named else _MODULES:
        importlib.import_module(f"{_COMMANDS}.{module}")
    for group in _GROUPS:
        group.registered_commands.sort(key=_rank)
    return app


def _rank(command: CommandInfo) -> int:
    assert command.callback  # noqa: S101 - `command` gives every one its function
    return _MODULES.index(command.callback.__module__.removeprefix(f"{_COMMANDS}."))
