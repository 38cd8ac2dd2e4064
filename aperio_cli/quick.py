"""`aperio version`, plain `aperio plugin list` and `aperio plugin search`, quickly answered.

Typer and rich cost more than these commands do. Whatever is not exactly one of the forms below
takes the ordinary path, which must answer with the same bytes; a contract test compares them.
"""

from __future__ import annotations

import os
import sys

from aperio_cli import __version__

_VERSION = (["--version"], ["-V"], ["version"])
_LIST = ["plugin", "list"]
_SEARCH = ["plugin", "search"]


def may_answer(argv: list[str]) -> bool:
    """Return whether a command line is one of those that never need a secret, quick or not.

    A search does, where it has to ask a registry by way of a proxy.
    """
    return (argv[:2] == _LIST and argv[2:] in ([], ["--json"])) or argv in _VERSION


def answer(argv: list[str]) -> int | None:
    """Answer on stdout and give the exit status, or None when this is not a quick question.

    Raises:
        OSError: when stdout cannot be written; the caller treats it as for every command.
    """
    text: str | None = None
    if argv in _VERSION:
        text = f"aperio {__version__}\n"
    elif may_answer(argv):
        from aperio_cli.store import answering

        text = answering.listed(os.environ, is_json=bool(argv[2:]))
    elif argv[:2] == _SEARCH:
        from aperio_cli.store import answering

        text = answering.found(os.environ, argv[2:])
    if text is None:
        return None
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.flush()
    return 0
