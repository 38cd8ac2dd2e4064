"""Which Python runs a plugin: candidates are run once and say what they are.

A plugin carries libraries for interpreter tags (`cp311`): CPython with a GIL, and on Linux glibc
2.28 or newer, because that is what its wheels were resolved for (docs/reference/artifact.md).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.errors.installing import InterpreterMissing
from aperio_cli.machine.children import ChildFailed, ask_child
from aperio_cli.models.artifact import Interpreter
from aperio_cli.models.reading import Bounds, read_json
from aperio_cli.paths import find_program
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROBE_TIMEOUT_S = 20.0
_MAX_ANSWER_BYTES = 64 * 1024  # as much as `ask_child` keeps
OLDEST_GLIBC = (2, 28)

_MINORS = range(25, 8, -1)
_SYSTEM = "/usr/bin"
_PROBE = """
import json, os, sys
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION")
except (AttributeError, OSError, ValueError):
    libc = None
print(json.dumps({
    "executable": os.path.realpath(sys.executable),
    "version": "%d.%d.%d" % sys.version_info[:3],
    "implementation": sys.implementation.name,
    "abiflags": getattr(sys, "abiflags", ""),
    "base_prefix": sys.base_prefix,
    "system": sys.platform,
    "libc": libc,
}))
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that was asked what it is.

    Attributes:
        command: how it was found: a path.
        interpreter: what it is, when plugins can run on it.
        problem: why they cannot; empty when they can.
    """

    command: str
    interpreter: Interpreter | None
    problem: str = ""

    def __str__(self) -> str:
        what = self.interpreter.tag if self.interpreter else self.problem
        return f"{self.command}: {what}"


def find_interpreters(configured: Sequence[str] = ()) -> list[Interpreter]:
    """Return the interpreters here that plugins can run on, each once, in order of choice.

    Args:
        configured: `[python] interpreters` of the configuration; when there are any, no other
            is looked for.
    """
    from concurrent.futures import ThreadPoolExecutor

    commands = list(dict.fromkeys(_commands(configured, tags=None)))
    # All at once: what a version manager puts on PATH are scripts that take a second to find one.
    with ThreadPoolExecutor(max_workers=len(commands) or 1) as pool:
        candidates = list(pool.map(probe, commands))
    found: dict[str, Interpreter] = {}
    for candidate in candidates:
        if candidate.interpreter:
            found.setdefault(candidate.interpreter.executable, candidate.interpreter)
    return list(found.values())


def fits_all(_interpreter: Interpreter) -> str:
    """Return that nothing keeps plugins from running on an interpreter."""
    return ""


def choose_interpreter(
    tags: Sequence[str],
    configured: Sequence[str],
    *,
    subject: str,
    unfit: Callable[[Interpreter], str] = fits_all,
) -> Interpreter:
    """Return the interpreter that a plugin will run on.

    The configured ones are asked in their order; without any, the interpreter behind this aperio,
    then `pythonX.Y` on PATH and in /usr/bin for each tag, the newest first.

    Args:
        tags: what the plugin carries libraries for, such as `cp311`.
        configured: `[python] interpreters` of the configuration.
        subject: what to call the plugin: "`acme/box` 1.2.0".
        unfit: says why plugins cannot run on one that fits otherwise; empty: they can.

    Raises:
        InterpreterMissing: none fits; names the tags and what was found.
    """
    candidates, is_closed = [], False
    for command in _commands(configured, tags):
        candidate = probe(command)
        if candidate.interpreter and candidate.interpreter.tag in tags:
            problem = unfit(candidate.interpreter)
            if not problem:
                return candidate.interpreter
            candidate, is_closed = replace(candidate, interpreter=None, problem=problem), True
        candidates.append(candidate)
    names = [f"python3.{tag.removeprefix('cp3')}" for tag in tags]
    found = "\n".join(f"  {candidate}" for candidate in candidates) or "  none"
    raise InterpreterMissing(
        f"{subject} was not installed: no Python on this machine fits it",
        why=f"it carries libraries for {', '.join(tags)}\nfound:\n{found}",
        next=[
            f"install {' or '.join(names)}" + (" for every user of the machine" * is_closed),
            f'name one in config.toml: `[python] interpreters = ["/path/to/{names[0]}"]`',
        ],
    )


def probe(command: str) -> Candidate:
    """Return what a program says it is, run once in isolation, with nothing of our environment."""
    try:
        output = ask_child([command, "-I", "-S", "-c", _PROBE], PROBE_TIMEOUT_S)
        answer = read_json(output, Bounds(_MAX_ANSWER_BYTES))
        fields = {key: str(answer[key]) for key in ("executable", "version", "base_prefix")}
        major, minor = fields["version"].split(".")[:2]
        interpreter = Interpreter(**fields, tag=f"cp{major}{minor}")
        problem = _problem(answer)
    except (OSError, ChildFailed, ValueError, LookupError, TypeError) as error:
        return Candidate(command, None, f"does not run: {clean(error, limit=160)}")
    return Candidate(command, None if problem else interpreter, problem)


def missing_part(interpreter: Interpreter) -> str:
    """Return what is missing of an interpreter that was found earlier; empty: it is in place.

    It is not run for that. A minor version lives under a name of its own everywhere: its standard
    library in `<prefix>/lib/pythonX.Y`; without that folder the file in its place is another one.
    """
    major, minor, *_ = interpreter.version.split(".")
    landmark = Path(interpreter.base_prefix, "lib", f"python{major}.{minor}", "os.py")
    if not os.access(interpreter.executable, os.X_OK):
        return f"{interpreter.executable} is not there, or may not be executed"
    return "" if landmark.is_file() else f"{landmark} is not there"


def _problem(answer: dict[str, str | None]) -> str:
    """Return why plugins cannot run on an interpreter; empty when they can."""
    if answer["implementation"] != "cpython":
        return f"is {clean(answer['implementation'], limit=40)}, expected CPython"
    if "t" in (answer["abiflags"] or ""):
        return "is a build without GIL"
    if answer["system"] != "linux":
        return ""
    name, _, version = (answer["libc"] or "").partition(" ")
    if name != "glibc":
        return "is not built for glibc (musl is not supported)"
    numbers = tuple(int(part) for part in version.split(".")[:2])
    oldest = f"{OLDEST_GLIBC[0]}.{OLDEST_GLIBC[1]}"
    return "" if numbers >= OLDEST_GLIBC else f"runs on glibc {version}, expected {oldest} or newer"


def _commands(configured: Sequence[str], tags: Sequence[str] | None) -> Iterator[str]:
    """Yield paths to try, in order; with `tags` only those that may fit."""
    if configured:
        for command in configured:
            expanded = os.path.expanduser(command)  # noqa: PTH111 - a command, not always a path
            yield find_program(expanded) or expanded
        return
    own = getattr(sys, "_base_executable", "") or sys.executable
    if tags is None or f"cp{sys.version_info[0]}{sys.version_info[1]}" in tags:
        yield own
    for minor in _MINORS:
        if tags is None or f"cp3{minor}" in tags:
            name = f"python3.{minor}"
            # The system's beside that of PATH: a user of its own may be able to read that alone.
            system = f"{_SYSTEM}/{name}"
            found = (find_program(name), system if os.access(system, os.X_OK) else None)
            yield from (each for each in dict.fromkeys(found) if each and each != own)
