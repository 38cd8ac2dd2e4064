"""`aperio version` and plain `aperio plugin list`, answered from the standard library.

Typer and rich cost more than these commands do. Whatever is not exactly one of the forms below
takes the ordinary path, which must answer with the same bytes; a contract test compares them.
"""

from __future__ import annotations

import os
import sys

from aperio_cli import __version__

_VERSION = (["--version"], ["-V"], ["version"])


def may_answer(argv: list[str]) -> bool:
    """Return whether a command line is one of the quick questions, which need no secret."""
    is_list = argv[:2] == ["plugin", "list"] and argv[2:] in ([], ["--json"])
    return is_list or argv in _VERSION


def answer(argv: list[str]) -> int | None:
    """Answer on stdout and give the exit status, or None when this is not a quick question.

    Raises:
        OSError: when stdout cannot be written; the caller treats it as for every command.
    """
    is_list = argv not in _VERSION and may_answer(argv)
    text = _listed(argv) if is_list else f"aperio {__version__}\n"
    if text is None or not may_answer(argv):
        return None
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.flush()
    return 0


def _listed(argv: list[str]) -> str | None:
    """Return what `plugin list` shows; None when the ordinary path has to look or to explain."""
    from aperio_cli.store import listing, verdicts

    try:
        home, is_pinned = _home(), os.path.lexists("aperio.lock")
        is_odd = is_pinned or home[:1] == "~" or listing.may_state_exceptions(os.environ, home)
        if is_odd or listing.may_be_shared(home):
            return None
        listed = listing.rows(home)
        if not verdicts.tell(verdicts.question(os.environ, home), listed):
            return None
    except OSError:
        return None
    return listing.envelope(listed) if argv[2:] else listing.render(listed)


def _home() -> str:
    """`$APERIO_HOME`, else `~/.aperio`; the same answer as `paths.find_paths`, where it has one."""
    stated = os.environ.get("APERIO_HOME", "")
    home = os.path.expanduser(stated or "~/.aperio")  # noqa: PTH111 - as below
    return home if home.startswith("~") else os.path.abspath(home)  # noqa: PTH100 - pathlib costs a tenth of the whole command
