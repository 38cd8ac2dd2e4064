"""The command line, put together."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.main import get_command

from aperio_cli import __version__
from aperio_cli.commands.helping import Group
from aperio_cli.commands.words import MODULES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typer.models import CommandInfo

COMPLETION_VARIABLE = "_APERIO_COMPLETE"
"""Set by a shell that asks for completions."""

app = typer.Typer(
    name="aperio",
    cls=Group,
    help="Carry a plugin through its whole life: scaffold, build, sign, verify, install, run.",
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
plugin = typer.Typer(help="Make, check, install and run plugins.", cls=Group)
host = typer.Typer(help="Keep plugins running, and see how they are.", cls=Group)
registry = typer.Typer(help="Keep a registry (for its maintainers).", cls=Group)
trust = typer.Typer(help="Say whom this machine trusts.", cls=Group)
local = typer.Typer(help="The trust domain of this machine alone.", cls=Group)
app.add_typer(plugin, name="plugin")
app.add_typer(host, name="host")
app.add_typer(registry, name="registry")
app.add_typer(trust, name="trust")
trust.add_typer(local, name="local")
publisher = typer.Typer(help="State who may sign for a namespace.", cls=Group)
exception = typer.Typer(help="Lift one rule from one plugin, for a time.", cls=Group)
domain = typer.Typer(help="State further trust domains.", cls=Group)
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
            "--version",
            "-V",
            callback=_print_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Take the options that stand alone."""


_COMMANDS = "aperio_cli.commands"
_RANKS = {module: rank for rank, module in enumerate(MODULES.values())}
_GROUPS = (app, plugin, host, registry, trust, local, publisher, exception, domain)


def load(words: Sequence[str] = ()) -> typer.Typer:
    """Return the program, with the command that the words name.

    With every command when they name none.

    All of them take longer to make ready than most take to do their work.

    Args:
        words: of the command, as `words.read_line` gives them.
    """
    named = MODULES.get(" ".join(words))
    for module in [named] if named else MODULES.values():
        importlib.import_module(f"{_COMMANDS}.{module}")
    for group in _GROUPS:
        group.registered_commands.sort(key=_rank)
    return app


def program(words: Sequence[str] = ()) -> Any:
    """Return what parses and does a line, of Typer's own parser: `load`, made ready.

    Once for as many commands as there are: who types a second line has all that were typed before
    in the program, and each takes about as long as a short command.

    Args:
        words: as for `load`.
    """
    load(words)
    return _made_ready(sum(len(group.registered_commands) for group in _GROUPS))


@functools.lru_cache(maxsize=1)
def _made_ready(_count: int) -> Any:
    return get_command(app)


def _rank(command: CommandInfo) -> int:
    assert command.callback  # noqa: S101 - `command` gives every one its function
    return _RANKS[command.callback.__module__.removeprefix(f"{_COMMANDS}.")]
