"""What a line's values become, with Typer's conversions spared and without."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from aperio_cli.commands.helping import Command
from tests.rows import each_row

Text = Annotated[str, typer.Option()]
Texts = Annotated[list[str], typer.Option()]
Words = Annotated[list[str] | None, typer.Argument()]
Number = Annotated[int, typer.Option(min=0)]
Flag = Annotated[bool, typer.Option("--flag/--no-flag")]


def taken(line: list[str], cls: type[Command] | None) -> Any:
    """What a command is given for a line, or the words of its refusal."""
    given: list[Any] = []
    app = typer.Typer(add_completion=False)

    @app.command(cls=cls)
    def run(
        words: Words = None,
        text: Text = "",
        many: Texts = [],  # noqa: B006 - as commands of ours have it
        number: Number = 3,
        maybe: Annotated[str | None, typer.Option()] = None,
        *,
        flag: Flag = False,
    ) -> None:
        given.extend([words, text, many, number, maybe, flag])

    try:
        get_command(app).main(line, "run", standalone_mode=False)
    except TyperException as error:
        return str(error)
    return given


@each_row(
    "line",
    [
        [],
        ["--text", "x", "--flag"],
        ["--many", "a", "--many", "b", "--no-flag"],
        ["one", "two", "--maybe", "m"],
        ["--number", "7"],
        ["--number", "-1"],
        ["--number", "many"],
        ["--text"],
    ],
)
def test_a_line_means_what_it_means_to_typer(line: list[str]) -> None:
    expected = taken(line, None)
    assert taken(line, Command) == expected
    if isinstance(expected, list):
        assert [type(value) for value in taken(line, Command)] == [type(v) for v in expected]
