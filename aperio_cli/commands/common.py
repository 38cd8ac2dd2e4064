"""What every command shares: its registration, and how its report or its error is shown.

A command is a function `(context, ...its own parameters) -> Report | None`. `command` gives Typer
the function with the shared options added, so that they stand in each `--help` and each completion.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from aperio_cli.commands.helping import Command, epilog
from aperio_cli.commands.options import EVERYWHERE
from aperio_cli.context import Context, Settings
from aperio_cli.errors import AperioError
from aperio_cli.errors.usage import Interrupted, SystemUnsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import typer

    from aperio_cli.output import Report

_Function = TypeVar("_Function", bound="Callable[..., Report | None]")
_DEFAULTS = Settings()


class Exit(Exception):
    """Ends the process with a status; everything has been said."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def command(
    app: typer.Typer, *path: str, examples: Sequence[str] = (), is_for_linux: bool = False
) -> Callable[[_Function], _Function]:
    """Register a function as the command with this path, such as `("plugin", "install")`.

    Args:
        app: the Typer group that the command belongs to; its name is the last part of the path.
        path: the words a person types; they are the `command` of the JSON envelope.
        examples: lines that `--help` shows at its end; a test executes them, in the order of
            commands and beginning with what those before have left.
        is_for_linux: whether it installs or starts plugins, which takes what only Linux has.
    """

    def register(function: _Function) -> _Function:
        hints = get_type_hints(function, include_extras=True)
        own = list(inspect.signature(function).parameters.values())[1:]

        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            settings = Settings(**{name: arguments.pop(name) for name in EVERYWHERE})
            deed = functools.partial(function, **arguments)
            _run(_on_linux(deed, path) if is_for_linux else deed, Context(settings), path)

        shared = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=getattr(_DEFAULTS, name),
                annotation=annotation,
            )
            for name, annotation in EVERYWHERE.items()
        ]
        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[parameter.name])
            for parameter in own
        ]
        run.__signature__ = inspect.Signature([*parameters, *shared])  # type: ignore[attr-defined] # the documented way to give a signature
        run.__annotations__ = {p.name: p.annotation for p in (*parameters, *shared)}
        app.command(path[-1], cls=Command, epilog=epilog(examples))(run)
        return function

    return register


def _on_linux(
    function: Callable[[Context], Report | None], path: tuple[str, ...]
) -> Callable[[Context], Report | None]:
    """Return the function, or on another system one that refuses before anything is imported."""

    def refuse(_: Context) -> Report | None:
        raise SystemUnsupported(
            f"`aperio {' '.join(path)}` was not run: plugins are installed and run on Linux only",
            why=f"this system is {sys.platform}",
            next=["run it on Linux, in a virtual machine or a container, say"],
        )

    return function if sys.platform == "linux" else refuse


def _run(
    function: Callable[[Context], Report | None], context: Context, path: tuple[str, ...]
) -> None:
    """Run a command; show its report or its error.

    Raises:
        Exit: with the status, when it is not 0.
    """
    try:
        report = _report(function, context, path)
        if report is not None:
            context.output.show(path, report)
    except AperioError as error:
        context.output.fail(path, error)
        raise Exit(error.exit_status) from error
    if report is not None and report.exit_status:
        raise Exit(report.exit_status)


def _report(
    function: Callable[[Context], Report | None], context: Context, path: tuple[str, ...]
) -> Report | None:
    """Return what the command gives.

    Typer would take these two ends for its own, and say nothing.
    """
    try:
        context.require_config_file()
        return function(context)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(f"`aperio {' '.join(path)}` was interrupted") from interrupt
    except BrokenPipeError as error:  # of a connection: our stdout's is a `ReaderGone`
        raise ConnectionError(str(error)) from error
