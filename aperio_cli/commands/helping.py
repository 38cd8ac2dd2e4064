"""What `--help` shows: every value as a word, examples at the end; and what no value may be.

Typer shows the types of its own parser (`<bool>`, `<list[str]>`) beside and in place of our words.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from typer.core import TyperArgument, TyperCommand, TyperGroup

from aperio_cli.commands.converting import spare
from aperio_cli.errors.usage import UsageError
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FLAG = ""
_UNSHOWN = "TOKEN"  # the word for a value that no message shows
_SHOWN = 80


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
        """Read a line, and refuse a value that was given and is empty, and two where one is meant.

        An option that is left out is empty, too, and means something: no destination, every
        organization. A script whose variable is not set must not say that. And of two homes, two
        destinations or two identities the last one is not what everybody expects to count.

        Raises:
            UsageError: one is.
        """
        given = list(args)
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            for parameter in self.get_params(ctx):
                _refuse_empty(ctx, parameter)
            if sum(word.startswith("-") for word in given) > 1:  # one alone is no two values
                _refuse_two(ctx, self._values(ctx, given))
        return rest

    def _values(self, ctx: Any, args: list[str]) -> dict[Any, list[str]]:
        """Return every value that a line has for each option that takes one."""
        parser = type(self.make_parser(ctx))(ctx)
        collecting: Any = _Collecting(parser)
        for parameter in self.get_params(ctx):
            parameter.add_to_parser(collecting, ctx)
        found, _, _ = parser.parse_args(args=args)
        return {option: found.get(name, []) for name, option in collecting.options.items()}

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


class _Collecting:
    """Makes options known to a parser so that it keeps every value of them, not the last one.

    Attributes:
        options: those that take one value, by the name of their parameter.
    """

    def __init__(self, parser: Any) -> None:
        self.options: dict[str, Any] = {}
        self._parser = parser

    def add_option(self, *, obj: Any, dest: str, action: str = "store", **settings: Any) -> None:
        """Make an option known, as the parser's own method does."""
        if action == "store":
            self.options[dest] = obj
            action = "append"
        self._parser.add_option(obj=obj, dest=dest, action=action, **settings)

    def add_argument(self, **settings: Any) -> None:
        """Make an argument known, as the parser's own method does."""
        self._parser.add_argument(**settings)


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


def _refuse_two(ctx: Any, values: Mapping[Any, Sequence[str]]) -> None:
    for option, given in values.items():
        different = list(dict.fromkeys(given))
        if len(different) > 1:
            shown = [f"`{one_line(value, limit=_SHOWN)}`" for value in different]
            is_secret = option.metavar == _UNSHOWN
            raise UsageError(
                f"`{ctx.command_path}` was not run: `{option.opts[0]}` was given"
                f" {len(given)} times, with different values",
                why="they are not shown: they may be secrets" if is_secret else " and ".join(shown),
                next=["give it once"],
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
