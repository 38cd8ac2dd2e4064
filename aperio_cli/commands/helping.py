"""What `--help` shows: every value as a word, examples at the end; and what no value may be.

Typer shows the types of its own parser (`<bool>`, `<list[str]>`) beside and in place of our words.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from typer.core import TyperArgument, TyperCommand, TyperGroup

from aperio_cli.commands.converting import spare
from aperio_cli.errors.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_FLAG = ""


class _Argument(TyperArgument):
    """An argument whose name says all."""

    def display_type_rich(self, ctx: Any) -> str | None:  # noqa: ARG002 - Typer's signature
        """Return no type."""
        return None


class Command(TyperCommand):
    """A command whose values are shown as words."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        for parameter in self.params:
            _fit(parameter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read a line, and refuse a value that was given and is empty.

        An option that is left out is empty, too, and means something: no destination, every
        organization. A script whose variable is not set must not say that.

        Raises:
            UsageError: one is.
        """
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            for parameter in self.get_params(ctx):
                _refuse_empty(ctx, parameter)
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, in lines as long as the terminal's and not as the source's."""
        paragraphs = inspect.cleandoc(self.help or "").split("\n\n")
        self.help = "\n\n".join(" ".join(each.split("\n")) for each in paragraphs)
        super().format_help(ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words behind the command's in the usage line."""
        return ["[OPTIONS]", *map(usage_word, filter(is_argument, self.get_params(ctx)))]

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option that asks for help, which takes no value."""
        return _fit(super().get_help_option(ctx))


class Group(TyperGroup):
    """A group whose own options are shown as those of a command."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        for parameter in self.params:
            _fit(parameter)

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option that asks for help, which takes no value."""
        return _fit(super().get_help_option(ctx))


def is_argument(parameter: Any) -> bool:
    """Return whether a parameter is an argument, and not an option."""
    return bool(parameter.param_type_name == "argument")


def usage_word(argument: Any) -> str:
    """Return how usage shows an argument: in brackets when it may be left out, `...` for many."""
    word = argument.metavar if argument.required else f"[{argument.metavar}]"
    return word if argument.nargs == 1 else f"{word}..."


def epilog(examples: Sequence[str]) -> str:
    """Return the end of a help: examples, one a line."""
    return "\n\n".join(["Examples:", *(f"$ {line}" for line in examples)])


def _refuse_empty(ctx: Any, parameter: Any) -> None:
    value = ctx.params.get(parameter.name)
    is_empty = value == "" or (isinstance(value, list | tuple) and "" in value)
    source = ctx.get_parameter_source(parameter.name)
    if not is_empty or source is None or source.name != "COMMANDLINE":
        return
    name = parameter.metavar if is_argument(parameter) else parameter.opts[0]
    raise UsageError(
        f"`{ctx.command_path}` was not run: `{name}` was given, and is empty",
        why="that is what a shell makes of a variable that is not set",
        next=["give it a value, or leave it out"],
    )


def _fit(parameter: Any) -> Any:
    """Give a parameter the word that is shown for its value; a flag has none. Repeating is nothing.

    Its value is converted only where it has to be.
    """
    if parameter is None:
        return None
    spare(parameter)
    if is_argument(parameter):
        # Typer makes its arguments itself, and asks for no class of them.
        parameter.__class__ = _Argument
        parameter.metavar = parameter.metavar or parameter.name.upper()
    elif parameter.is_flag:
        parameter.metavar = _FLAG
    return parameter
