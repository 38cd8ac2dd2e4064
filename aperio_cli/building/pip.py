"""pip as a child process: an environment built from nothing, a deadline, errors with a cause."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.building import (
    BuildDependencyFailed,
    BuildDependencyUnavailable,
    DependencyDigestMismatch,
)
from aperio_cli.errors.files import NetworkUnavailable
from aperio_cli.files.writing import disk_full, size_limited
from aperio_cli.machine.children import WAY_OUT, read_end, run_child
from aperio_cli.machine.reach import import_path, leads_there, reach_of, say_not_counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aperio_cli.errors import AperioError

DEADLINE_S = 900.0
"""How long one run of pip may take, downloads included."""

# What pip is told about the way to packages, and nothing that changes which ones: those are
# pinned. Its configuration files are left out, unless PIP_CONFIG_FILE names one; none that the
# project reaches, for pip runs the interpreter that one names (`python`, as `pip --python`).
PASSED_ON = (
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CONFIG_FILE",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_RETRIES",
    "PIP_TIMEOUT",
    "PIP_TRUSTED_HOST",
    "REQUESTS_CA_BUNDLE",
    *WAY_OUT,
)
"""Environment variables that pip is given when the caller has them."""

_CONFIGURATION = "PIP_CONFIG_FILE"
_LAST_LINES = 12
_NOT_FOUND = re.compile(r"No matching distribution found for (\S+?)(?: |$)", re.MULTILINE)
_MISMATCH = re.compile(
    r"^\s+(?P<requirement>\S+)[^\n]*:\n"
    r"\s+Expected sha256 (?P<expected>[0-9a-f]{64})\n(?:\s+Expected\s+or [0-9a-f]{64}\n)*"
    r"\s+Got\s+(?P<received>[0-9a-f]{64})",
    re.MULTILINE,
)
_FULL = re.compile(r"\[Errno (?:28|122)\]")  # ENOSPC and EDQUOT on Linux
_TOO_LONG = re.compile(r"\[Errno 27\]")  # EFBIG
_UNREACHABLE = re.compile(r"Retrying \(Retry|ConnectionError|NewConnectionError")


@dataclass(frozen=True, slots=True)
class PipRun:
    """One run of pip.

    Attributes:
        arguments: what comes after `pip`.
        scratch: an empty folder of this run's own: its home, its temporary files, its output.
        environment: the caller's; only the variables in `PASSED_ON` are given on.
        project: the author's folder.
        purpose: what is being looked for, for messages: "cp311 on linux/amd64".
    """

    arguments: Sequence[str]
    scratch: Path
    environment: Mapping[str, str]
    project: Path
    purpose: str


def run_pip(run: PipRun, *, deadline_s: float = DEADLINE_S) -> None:
    """Run the pip of this interpreter to its end; afterwards no process of it is left.

    Raises:
        BuildDependencyUnavailable: no file of a pinned version fits what was asked for.
        DependencyDigestMismatch: a file that was found has another digest than the pinned ones.
        NetworkUnavailable: the index could not be reached.
        DiskFull, FileSizeLimited: there is no space for the dependencies, or one is too long.
        BuildDependencyFailed: pip failed for another reason, is missing, or took too long.
    """
    output = run.scratch / "pip.log"
    command = [sys.executable, "-P", "-m", "pip", *run.arguments]
    status = run_child(command, run.scratch, _environment(run), output, deadline_s)
    if status is None:
        raise _failed(run, f"pip was stopped after {deadline_s:g} s\n{_tail(output)}")
    if status:
        raise _explain(run, read_end(output))


def not_counted(environment: Mapping[str, str], project: Path) -> tuple[str, ...]:
    """Return the author's variables that have no effect, because the project reaches them.

    Args:
        environment: the caller's.
        project: the author's folder.
    """
    stated = environment.get(_CONFIGURATION, "")
    is_away = not stated or (os.path.isabs(stated) and not leads_there(stated, reach_of(project)))  # noqa: PTH117 - a text
    return (*(() if is_away else (_CONFIGURATION,)), *import_path(environment, project))


def counted(environment: Mapping[str, str], project: Path) -> dict[str, str]:
    """Return the author's environment without what does not count, for a copy elsewhere.

    Args:
        environment: the caller's.
        project: the author's folder.
    """
    dropped = not_counted(environment, project)
    return {name: value for name, value in environment.items() if name not in dropped}


def _environment(run: PipRun) -> dict[str, str]:
    stated = counted(run.environment, run.project)
    passed = {name: stated[name] for name in PASSED_ON if name in stated}
    return {
        # Wheels need no program; pip would ask those it finds what machine this is.
        "PATH": os.devnull,
        "HOME": str(run.scratch),
        "TMPDIR": str(run.scratch),
        "LC_ALL": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **passed,
        # Without a second try pip says of an index that does not answer what it says of one that
        # has no such package.
        **({"PIP_RETRIES": "1"} if passed.get("PIP_RETRIES", "").strip() == "0" else {}),
    }


def _tail(output: Path) -> str:
    return "\n".join(read_end(output).strip().splitlines()[-_LAST_LINES:])


def _uninstalled(run: PipRun) -> str:
    return f"nothing was built and the locked dependencies for {run.purpose} were not installed"


def _explain(run: PipRun, output: str) -> AperioError:
    """Return the error that pip's output stands for."""
    if mismatch := _MISMATCH.search(output):
        return DependencyDigestMismatch(
            f"{mismatch['requirement']} is not the file that requirements.lock names;"
            " it was thrown away and nothing was built",
            why=f"expected sha256:{mismatch['expected']}, or another of its hashes in the lock\n"
            f"received sha256:{mismatch['received']}",
            next=[
                "check where your packages come from: a mirror, a cache, `vendor/`",
                "if the change is wanted, lock the dependencies again and review the difference",
            ],
        )
    if _FULL.search(output):
        return disk_full(_uninstalled(run), "pip says: no space left on the device, or over quota")
    if _TOO_LONG.search(output):
        return size_limited(_uninstalled(run), "pip says: File too large")
    missing = _NOT_FOUND.search(output)
    unused = say_not_counted(not_counted(run.environment, run.project))
    if missing and _UNREACHABLE.search(output):
        return NetworkUnavailable(
            f"{missing[1]} could not be looked for; nothing was built",
            why=f"the package index did not answer\n{unused}".strip(),
            next=["check the network and the proxy settings, then run the same command again"],
        )
    if missing:
        return BuildDependencyUnavailable(
            f"{missing[1]} has no wheel for {run.purpose}; nothing was built",
            why=f"looked for a wheel that fits {run.purpose}, in vendor/ and in the package index"
            + (" (PIP_NO_INDEX is set: no index)" if run.environment.get("PIP_NO_INDEX") else "")
            + (f"\n{unused}" if unused else ""),
            next=[
                "lock a version that has one, or build for another interpreter or platform",
                "put a wheel of your own into vendor/ and its hash into requirements.lock",
            ],
        )
    last = "\n".join(output.strip().splitlines()[-_LAST_LINES:])
    return _failed(run, last)


def _failed(run: PipRun, why: str) -> BuildDependencyFailed:
    return BuildDependencyFailed(
        f"the locked dependencies for {run.purpose} could not be installed; nothing was built",
        why=why,
        next=["see pip's own words above", "`python -m pip --version` shows whether pip is there"],
    )
