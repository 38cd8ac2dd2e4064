"""`aperio completion SHELL`: print a script that completes commands, options and plugin ids."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from aperio_cli.commands.app import COMPLETION_VARIABLE, app
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report


class Shell(enum.StrEnum):
    """The shells that aperio completes in."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


def script(shell: Shell) -> str:
    """Return the completion script of a shell.

    It asks `aperio` itself, so it is never out of date.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined] # not in its __all__

    text = get_completion_script(
        prog_name="aperio", complete_var=COMPLETION_VARIABLE, shell=shell.value
    )
    return "\n".join(line.rstrip() for line in text.splitlines())


def know_shells() -> None:
    """Make Typer know the shells, which one that asks for completions needs.

    It does so itself only for programs that take its `--install-completion`.
    """
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()


@command(app, "completion")
def completion(
    context: Context,  # noqa: ARG001 - every command takes it
    shell: Annotated[Shell, typer.Argument(help="The shell.", show_default=False)],
) -> Report:
    """Print the completion script of a shell."""
    text = script(shell)
    return Report({"shell": shell.value, "script": text}, text)
