"""`aperio completion SHELL`: print a script that completes commands, options and plugin ids."""

from __future__ import annotations

import enum
from typing import Annotated

from aperio_cli.commands.app import COMPLETION_VARIABLE, app
from aperio_cli.commands.common import command
from aperio_cli.commands.options import argument
from aperio_cli.context import Context
from aperio_cli.output import Report

# As a file `_aperio` in $fpath it is the completing function itself. Sourced, it may stand before
# `compinit` in .zshrc, where `compdef` is not there yet: then it registers at the first prompt.
_ZSH = f"""\
#compdef aperio

_aperio_completion() {{
  eval $(env _TYPER_COMPLETE_ARGS="${{words[1,$CURRENT]}}" \\
    {COMPLETION_VARIABLE}=complete_zsh aperio)
}}

_aperio_register() {{
  (( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -i }}
  compdef _aperio_completion aperio
  (( $+functions[add-zsh-hook] )) && add-zsh-hook -d precmd _aperio_register
  return 0
}}

if [[ "${{funcstack[1]}}" == _aperio ]]; then
  _aperio_completion "$@"
elif (( $+functions[compdef] )); then
  compdef _aperio_completion aperio
else
  autoload -Uz add-zsh-hook && add-zsh-hook precmd _aperio_register
fi"""


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

    if shell is Shell.ZSH:
        return _ZSH
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


@command(app, "completion", examples=["aperio completion bash"])
def completion(
    context: Context,  # noqa: ARG001 - every command takes it
    shell: Annotated[Shell, argument(help="bash, zsh, fish or powershell.", metavar="SHELL")],
) -> Report:
    """Print the completion script of a shell."""
    text = script(shell)
    return Report({"shell": shell.value, "script": text}, text)
