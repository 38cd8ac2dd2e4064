"""Runs commands as processes in odd surroundings, each forked from one that has imported them all.

    python forker.py < ORDERS > OUTCOMES

An order is a line of JSON: `line`, what is typed; `cwd`, `env`, `umask`, `closed` (streams), `lost`
(whether the working folder is removed) and `stranger` (whether the system does not know the user).
An outcome is a line with `status`, `out` and `err`. A fork begins where an interpreter that was
just started would: with streams, umask and environment as they are, and `entry_point` to call.
"""

from __future__ import annotations

import gc
import json
import os
import pwd
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from aperio_cli.__main__ import entry_point
from tests.forking import end_process, import_all

DEADLINE_S = 60
STREAMS = ("stdin", "stdout", "stderr")


def main() -> None:
    """Carry out the orders."""
    import_all()
    gc.freeze()
    for order in map(json.loads, sys.stdin):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status = _forked(order, out, err)
            said = [_contents(file) for file in (out, err)]
        sys.stdout.write(json.dumps({"status": status, "out": said[0], "err": said[1]}) + "\n")
        sys.stdout.flush()


def _contents(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _forked(order: dict[str, Any], out: BinaryIO, err: BinaryIO) -> int:
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            signal.alarm(DEADLINE_S)  # a thread that watched would be in the way of the next fork
            _surround(order, out, err)
            entry_point()
        except SystemExit as end:
            end_process(end.code)
        except BaseException:  # noqa: BLE001 - as the interpreter would show it
            sys.excepthook(*sys.exc_info())
            end_process(1)
        end_process(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _surround(order: dict[str, Any], out: BinaryIO, err: BinaryIO) -> None:
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    tempfile.tempdir = None
    sys.argv = ["aperio", *order["line"]]
    null = os.open(os.devnull, os.O_RDONLY)
    for number, source in enumerate((null, out.fileno(), err.fileno())):
        if STREAMS[number] in order["closed"]:
            os.close(number)
            setattr(sys, STREAMS[number], None)  # as Python does when it starts
        else:
            os.dup2(source, number)
    os.closerange(3, 64)
    home = order["stranger"]
    entry = None if home is None else pwd.struct_passwd(("me", "x", 0, 0, "", home, "/bin/sh"))
    pwd.getpwuid = lambda number: _known(entry, number)  # the system's
    if order["lost"]:
        Path.cwd().rmdir()
    os.umask(order["umask"])


def _known(entry: pwd.struct_passwd | None, number: int) -> pwd.struct_passwd:
    if entry is None:
        raise KeyError(number)
    return entry


if __name__ == "__main__":
    main()
