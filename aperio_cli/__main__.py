"""The program: arguments in, exit status out."""

from __future__ import annotations

import errno
import gc
import os
import sys

from aperio_cli import quick

TYPE_CHECKING = False  # `typing` takes as long to import as `--version` does
if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.errors import AperioError

_NEW_OBJECTS_BEFORE_COLLECTION = 100_000
# What is about a place, its modes and what this process may open, and no sign of a bug.
_CLOSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EMFILE,
    errno.ENFILE,
}
# The same where a file is named; of a connection they would be something else: a disk that fails,
# a share or a mount whose server is gone, a file system that lacks what files are kept by.
_FAILING = {
    errno.EIO,
    errno.ESTALE,
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOTCONN,
    errno.EOPNOTSUPP,
    errno.EHOSTDOWN,
    errno.ETIMEDOUT,
}


def entry_point() -> None:
    """Run the program, as the installed `aperio` script does."""
    imported_from = _own_imports()
    # The environment holds secrets of settings and of CI from the start on. Before all the rest is
    # imported, which takes as long as another process needs to find it.
    if not quick.may_answer(sys.argv[1:]):
        from aperio_cli.machine.hiding import hide_memory

        hide_memory()
    if imported_from:
        _import_from(imported_from, sys.argv[1:])
    from aperio_cli.machine import start

    if not start.make_fit():
        sys.exit(_nothing_to_write_to())
    # A command makes much and little garbage, most of it while it imports. Looking for some after
    # every 700 new objects, and once more at the end, takes a sixth of a whole `plugin verify`.
    gc.set_threshold(_NEW_OBJECTS_BEFORE_COLLECTION)
    status = main(sys.argv[1:])
    gc.freeze()
    sys.exit(status)


def _own_imports() -> list[str]:
    """Import from no folder of PYTHONPATH for now; return where was imported from, if that differs.

    What stands in one may be somebody else's project, with what it likes under the names of what
    is imported here.
    """
    stated = os.environ.get("PYTHONPATH")
    if not stated or sys.flags.ignore_environment:
        return []
    absolute, above = os.path.abspath, os.path.dirname  # not pathlib, which may stand there, too
    before, own = list(sys.path), above(above(absolute(__file__)))
    try:
        named = {absolute(part) for part in stated.split(os.pathsep)}
        named -= {own, f"{own}/sdk/python"}  # the second in a checkout of aperio, which is its own
    except OSError:  # the folder is gone
        return []
    sys.path[:] = [folder for folder in before if folder not in named]
    return before if len(before) > len(sys.path) else []


def _import_from(folders: Sequence[str], argv: Sequence[str]) -> None:
    """Import from these folders again, but for those that a project reaches.

    Projects are the folder that the command is typed in, and each that it names.
    """
    from aperio_cli.machine.reach import reached

    here = [os.curdir] if _has_working_folder() else []
    projects = [*here, *filter(os.path.isdir, argv)]
    kept = {*sys.path, *(folder for folder in folders if not reached(folder, projects))}
    sys.path[:] = [folder for folder in folders if folder in kept]


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


def _nothing_to_write_to() -> int:
    """Refuse before anything is done: what came of it could not be told."""
    from aperio_cli.commands.words import words_of
    from aperio_cli.errors.usage import OutputUnwritten
    from aperio_cli.output import Output

    problem = OutputUnwritten(
        f"`{_typed(words_of(sys.argv[1:]))}` was not run: its stdout is closed",
        next=["redirect it to /dev/null, where nobody is to read it"],
    )
    Output().fail([], problem)
    return problem.exit_status


def _not_written(error: OSError) -> int:
    """Stdout took no more: its reader closed it, which is no error, or the system refused."""
    from aperio_cli.errors import DONE, AperioError
    from aperio_cli.output import Output, to_nowhere, unwritten

    to_nowhere(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return DONE
    try:
        raise unwritten(error)
    except AperioError as problem:
        Output().fail([], problem)
        return problem.exit_status


def _run(argv: list[str]) -> int:
    import signal

    from aperio_cli.errors import INTERRUPTED

    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _dispatch(argv)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


def _terminate(number: int, _frame: object) -> None:
    """SIGTERM ends a command as an exception does, so that what it started is stopped."""
    sys.exit(128 + number)


def _dispatch(argv: list[str]) -> int:
    from typer.exceptions import TyperException

    from aperio_cli.commands.common import Exit
    from aperio_cli.errors import INTERRUPTED
    from aperio_cli.errors.usage import UsageError
    from aperio_cli.output import ReaderGone

    try:
        status = _call(argv)
    except UsageError as error:
        return _fail(argv, error)
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
        return _of_system(argv, error)
    except Exception as error:  # noqa: BLE001 - a bug is told in one line, with its traceback saved
        return _bug(argv, error)
    # Typer turns an interrupt into its own 130 and other ends into their status.
    return status if isinstance(status, int) else INTERRUPTED if status else 0


def _call(argv: list[str]) -> object:
    """Have the command done that a line names, or the shell answered that asks for completions."""
    from aperio_cli.commands.app import COMPLETION_VARIABLE, program
    from aperio_cli.commands.words import read_line

    if COMPLETION_VARIABLE in os.environ:
        from aperio_cli.commands.completion import know_shells

        know_shells()
        return program()(argv, prog_name="aperio", standalone_mode=False)
    line = read_line(argv)
    return program(line.words)(line.argv, prog_name="aperio", standalone_mode=False)


def _fail(argv: list[str], error: AperioError, words: Sequence[str] | None = None) -> int:
    """Show an error about a whole line, and return its status."""
    from aperio_cli.commands.words import asks_for_json, words_of
    from aperio_cli.output import Output

    named = words_of(argv) if words is None else words
    Output(json_mode=asks_for_json(argv)).fail(named, error)
    return error.exit_status


def _typed(words: Sequence[str]) -> str:
    return " ".join(["aperio", *words])


def _usage_error(argv: list[str], error: Exception) -> int:
    from aperio_cli.commands.words import words_of
    from aperio_cli.errors.usage import UsageError

    message = getattr(error, "format_message", lambda: str(error))() or "a command is missing"
    message = message.replace(": Value error, ", ": ")  # the parser's word for its own exception
    message = " ".join(message.split())  # it lists choices with tabs and line ends
    where = getattr(error, "ctx", None)
    # The command, or the group in which no such command is: that is whose help is of use.
    words = where.command_path.split()[1:] if where else words_of(argv)
    problem = UsageError(
        f"`{_typed(words)}` was not run: {message}".rstrip("."),
        next=[f"`{_typed([*words, '--help'])}`"],
    )
    return _fail(argv, problem, words)


def _unusable(argv: list[str], error: OSError) -> int:
    from aperio_cli.commands.words import words_of
    from aperio_cli.errors.usage import PlaceUnusable

    place = "a file or folder"
    if error.filename:
        place = f"`{os.fsdecode(error.filename)}`"
    elif not _has_working_folder():
        place = "the folder that it was typed in"
    problem = PlaceUnusable(
        f"`{_typed(words_of(argv))}` stopped: {place} cannot be used",
        why=error.strerror or str(error),
        next=[
            "check that it is the place you meant",
            "see that this user may read and write it, and the folder that it is in",
        ],
    )
    return _fail(argv, problem)


def _of_system(argv: list[str], error: OSError) -> int:
    """Show what the system refused and nobody below has told; return its status.

    Raises:
        OSError: the same, where it is stdout that takes no more.
    """
    if _is_of_stdout():
        raise error
    return _unusable(argv, error) if _is_of_place(error) else _bug(argv, error)


def _is_of_stdout() -> bool:
    """Return whether what is left to be written to stdout cannot be: of `--help`, say."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _is_of_place(error: OSError) -> bool:
    """Return whether an error is about a place that people have named, and not about our code."""
    if error.errno in _CLOSED or not _has_working_folder():
        return True
    if error.filename is None:
        return False
    if error.errno in _FAILING:
        return True
    return error.errno == errno.ENOENT and _makes_no_files(os.fspath(error.filename))


def _makes_no_files(path: str | bytes | int) -> bool:
    """Return whether a path lies where the kernel shows what it likes, as in /proc.

    Such a file system has no blocks, and answers that a file is not there to whoever makes it.
    """
    if isinstance(path, int) or not hasattr(os, "statvfs"):
        return False
    try:
        return os.statvfs(os.path.dirname(path) or os.curdir).f_blocks == 0  # noqa: PTH120 - a text
    except OSError:
        return False


def _has_working_folder() -> bool:
    try:
        return bool(os.getcwd())  # noqa: PTH109 - a text
    except OSError:
        return False


def _bug(argv: list[str], error: Exception) -> int:
    import tempfile
    import traceback
    from pathlib import Path

    from aperio_cli.commands.words import words_of
    from aperio_cli.errors.usage import InternalError

    try:
        descriptor, name = tempfile.mkstemp(prefix="aperio-crash-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
        report = f"report it with the traceback saved in {Path(name)}"
    except OSError as unsaved:
        report = f"report it; its traceback could not be saved: {unsaved}"
    problem = InternalError(
        f"`{_typed(words_of(argv))}` stopped: this is a bug in aperio",
        why=f"{type(error).__name__}: {error}",
        next=[report],
    )
    return _fail(argv, problem)


if __name__ == "__main__":
    entry_point()
