"""The go command as a child process: which one, and what comes of a run.

`go_environment` holds the environment that it is given, `go_failures` the meaning of its errors.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.building.go_environment import count_nothing, go_environment, search_path
from aperio_cli.building.go_failures import OLDEST, explain, failed, no_toolchain, too_old
from aperio_cli.files.temporary import temporary_folder
from aperio_cli.machine.children import read_end, run_child
from aperio_cli.paths import find_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_cli.models.platform import Platform

DEADLINE_S = 900.0
"""How long one run of go may take, downloads included."""

_VERSION_DEADLINE_S = 20.0
_VERSION = re.compile(r"go version (?P<name>go(?P<major>\d+)\.(?P<minor>\d+)\S*) ")
_USUAL_PLACE = "/usr/local/go/bin"  # where Go's own archive is unpacked to (go.dev/doc/install)
_MAX_ANSWER_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Go installation that was asked for its version.

    Attributes:
        executable: the go command, absolute.
        version: as it names itself, such as `go1.26.8`.
    """

    executable: Path
    version: str


@dataclass(frozen=True, slots=True)
class GoRun:
    """Runs of go for one project.

    Attributes:
        toolchain: from `find_toolchain`.
        project: the author's folder, by which messages call it.
        source: the copy of it that go reads, with go.mod; without links, repository and artifacts.
        scratch: an empty folder of these runs' own: temporary files, output.
        modules: the module cache; made when it is missing.
        compiled: the cache of compiled packages; made when it is missing.
        environment: the caller's; see `go_environment.PASSED_ON`.
        platform: what is built for.
    """

    toolchain: Toolchain
    project: Path
    source: Path
    scratch: Path
    modules: Path
    compiled: Path
    environment: Mapping[str, str]
    platform: Platform


def find_toolchain(environment: Mapping[str, str], project: Path, subject: str) -> Toolchain:
    """Return the Go on the caller's PATH, else the one in Go's usual place.

    Args:
        environment: the caller's.
        project: the author's folder; no Go that it reaches is started.
        subject: what wants it, with its state: "`box` was not built".

    Raises:
        GoToolchainMissing: there is none, it does not start, or it is older than `OLDEST`.
    """
    path = search_path(environment, project)
    found = find_program("go", f"{path}{os.pathsep}{_USUAL_PLACE}")
    if not found:
        why = f"no `go` on PATH, nor in {_USUAL_PLACE}"
        if other := find_program("go", environment.get("PATH", "")):
            why += f"\n{other} does not count: what the project is a part of has put it there"
        raise no_toolchain(subject, why)
    executable = Path(found)
    answer = _ask_version(executable)
    match = _VERSION.match(answer)
    if not match:
        raise no_toolchain(
            subject, f"`{executable} version` answered: {answer.strip() or 'nothing'}"
        )
    if (int(match["major"]), int(match["minor"])) < OLDEST:
        raise too_old(subject, f"{OLDEST[0]}.{OLDEST[1]}", f"{match['name']} in {executable}")
    return Toolchain(executable, match["name"])


def _ask_version(executable: Path) -> str:
    """Return what `go version` prints; when it cannot, what went wrong."""
    with temporary_folder("aperio-go-") as folder:
        scratch = Path(folder)
        environment = {"GOTOOLCHAIN": "local", "GOENV": "off", "PATH": os.defpath}
        output = scratch / "version"
        command = [str(executable), "version"]
        try:
            status = run_child(command, scratch, environment, output, _VERSION_DEADLINE_S)
        except OSError as error:
            return str(error)
        return f"nothing in {_VERSION_DEADLINE_S:g} s" if status is None else read_end(output)


def run_go(run: GoRun, arguments: Sequence[str], *, deadline_s: float = DEADLINE_S) -> str:
    """Run go in the project to its end and give what it printed; no process of it is left.

    Args:
        run: where and with what.
        arguments: what comes after `go`.
        deadline_s: after so many seconds it is stopped.

    Raises:
        GoToolchainMissing: go.mod asks for a newer Go.
        GoModulesUnpinned: go.mod and go.sum do not name everything that is imported.
        DependencyDigestMismatch: a module is not the one that go.sum names.
        NetworkUnavailable: where a module is could not be reached, or could not answer.
        GoModuleDenied: where a module is, go has to say who asks, and could not.
        GoModuleMissing: where a module was looked for, it is not.
        GoTransportRefused: a module is where aperio lets go fetch nothing from.
        DiskFull: there is no space.
        GoBuildFailed: the compiler refuses the source, or go failed or took too long.
        OSError: go cannot be started.
    """
    output = run.scratch / "go.log"
    command = [str(run.toolchain.executable), *arguments]
    environment = go_environment(run)
    count_nothing(environment)
    status = run_child(command, run.source, environment, output, deadline_s)
    if status is None:
        why = f"go {arguments[0]} was stopped after {deadline_s:g} s\n{read_end(output)}"
        raise failed(run, why)
    if status:
        raise explain(run, read_end(output))
    return read_end(output, _MAX_ANSWER_BYTES)
