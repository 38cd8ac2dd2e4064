"""The program: arguments in, exit status out."""

from __future__ import annotations

import errno
import gc
import os
import sys

from aperio_cli import quick

_NEW_OBJECTS_BEFORE_COLLECTION = 50_000
_EVERYWHERE_FLAGS = {"--json", "--quiet", "--verbose", "--offline", "--yes"}
_EVERYWHERE_VALUES = {"--home", "--config", "--registry"}
_GROUPS_OF_TRUST = {"domain", "exception", "local", "publisher"}
# What is about a place and its modes, and no sign of a bug.
_CLOSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}


def entry_point() -> None:
    """Run the program, as the installed `aperio` script does."""
    # The environment holds secrets of settings and of CI from the start on. Before all the rest is
    # imported, which takes as long as another process needs to find it.
    if not quick.may_answer(sys.argv[1:]):
        from aperio_cli.machine.hiding import hide_memory

        hide_memory()
    # A command makes much and little garbage, most of it while it imports. Looking for some after
    # every 700 new objects, and once more at the end, takes a sixth of a whole `plugin verify`.
    gc.set_threshold(_NEW_OBJECTS_BEFORE_COLLECTION)
    status = main(sys.argv[1:])
    gc.freeze()
    sys.exit(status)


def main(argv: list[str]) -> int:
    """Run one command line and give its exit status (docs/reference/commands.md).

    Args:
        argv: the arguments after the program's name.
    """
    try:
        status = quick.answer(argv)
        return _run(argv) if status is None else status
    except OSError as error:
        return _not_written(error)


def _not_written(error: OSError) -> int:
    """Stdout took no more: its reader closed it, which is no error, or a disk is full."""
    from aperio_cli.errors import DONE
    from aperio_cli.errors.files import DiskFull
    from aperio_cli.files.writing import disk_full_guard
    from aperio_cli.output import UNWRITTEN, Output, to_nowhere

    to_nowhere(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return DONE
    try:
        with disk_full_guard(UNWRITTEN):
            raise error
    except DiskFull as full:
        Output().fail([], full)
        return full.exit_status


def _run(argv: list[str]) -> int:
    import signal

    from aperio_cli.errors import INTERRUPTED

    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _dispatch(_leading_options_last(argv))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


def _terminate(number: int, _frame: object) -> None:
    """SIGTERM ends a command as an exception does, so that what it started is stopped."""
    sys.exit(128 + number)


def _dispatch(argv: list[str]) -> int:
    from typer.exceptions import TyperException

    from aperio_cli.commands.app import COMPLETION_VARIABLE, load
    from aperio_cli.commands.common import Exit
    from aperio_cli.errors import INTERRUPTED
    from aperio_cli.output import ReaderGone

    try:
        is_completing = COMPLETION_VARIABLE in os.environ
        if is_completing:
            from aperio_cli.commands.completion import know_shells

            know_shells()
        program = load(() if is_completing else argv)
        status = program(argv, prog_name="aperio", standalone_mode=False)
    except Exit as done:
        return done.status
    except TyperException as error:
        return _usage_error(argv, error)
    except ReaderGone as gone:
        raise BrokenPipeError from gone
    except SystemExit as end:
        # Whoever prints `--help` for us ends the process itself when nobody reads it.
        if isinstance(end.__context__, BrokenPipeError):
            raise BrokenPipeError from end
        raise
    except KeyboardInterrupt:
        raise
    except OSError as error:
        return _unusable(argv, error) if error.errno in _CLOSED else _bug(argv, error)
    except Exception as error:  # noqa: BLE001 - a bug is told in one line, with its traceback saved
        return _bug(argv, error)
    # Typer turns an interrupt into its own 130 and other ends into their status.
    return status if isinstance(status, int) else INTERRUPTED if status else 0


def _leading_options_last(argv: list[str]) -> list[str]:
    """`aperio --home X plugin list` as `aperio plugin list --home X`: accepted everywhere."""
    position = 0
    while position < len(argv):
        name, _, value = argv[position].partition("=")
        if argv[position] in _EVERYWHERE_FLAGS or (name in _EVERYWHERE_VALUES and value):
            position += 1
        elif argv[position] in _EVERYWHERE_VALUES and position + 1 < len(argv):
            position += 2
        else:
            break
    return [*argv[position:], *argv[:position]] if position < len(argv) else argv


def _words(argv: list[str]) -> list[str]:
    """Return the command's words, for the JSON envelope of a line that was not understood."""
    words = [word for word in argv[:3] if not word.startswith("-")]
    if words[:1] == ["trust"] and words[1:2] and words[1] in _GROUPS_OF_TRUST:
        return words
    return words[:2] if words and words[0] in {"plugin", "registry", "trust"} else words[:1]


def _usage_error(argv: list[str], error: Exception) -> int:
    from aperio_cli.errors.usage import UsageError
    from aperio_cli.output import Output

    message = getattr(error, "format_message", lambda: str(error))() or "a command is missing"
    where = getattr(error, "ctx", None)
    # The command, or the group in which no such command is: that is whose help is of use.
    words = where.command_path.split()[1:] if where else _words(argv)
    problem = UsageError(
        f"`{' '.join(['aperio', *words])}` was not run: {message}".rstrip("."),
        next=[f"`aperio {' '.join([*words, '--help'])}`"],
    )
    Output(json_mode="--json" in argv).fail(words, problem)
    return problem.exit_status


def _unusable(argv: list[str], error: OSError) -> int:
    from aperio_cli.errors.usage import PlaceUnusable
    from aperio_cli.output import Output

    words = _words(argv)
    place = f"`{os.fsdecode(error.filename)}`" if error.filename else "a file or folder"
    problem = PlaceUnusable(
        f"`{' '.join(['aperio', *words])}` stopped: {place} cannot be used",
        why=error.strerror or str(error),
        next=[
            "check that it is the place you meant",
            "see that this user may read and write it, and the folder that it is in",
        ],
    )
    Output(json_mode="--json" in argv).fail(words, problem)
    return problem.exit_status


def _bug(argv: list[str], error: Exception) -> int:
    import tempfile
    import traceback
    from pathlib import Path

    from aperio_cli.errors.usage import InternalError
    from aperio_cli.output import Output

    text = "".join(traceback.format_exception(error))
    descriptor, name = tempfile.mkstemp(prefix="aperio-crash-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    words = _words(argv)
    problem = InternalError(
        f"`{' '.join(['aperio', *words])}` stopped: this is a bug in aperio",
        why=f"{type(error).__name__}: {error}",
        next=[f"report it with the traceback saved in {Path(name)}"],
    )
    Output(json_mode="--json" in argv).fail(words, problem)
    return problem.exit_status


if __name__ == "__main__":
    entry_point()
