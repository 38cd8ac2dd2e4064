"""Is the lock all that a plugin needs, and does it fit together: `pip check`, for a target.

pip answers for the interpreter and the machine that it runs on; a lock has to hold for those that
are built for. Requirements are those of pyproject.toml and of the installed packages' metadata
(core metadata, "Requires-Dist"; PEP 508).
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from aperio_cli.building.lock import FILE_NAME, compile_command
from aperio_cli.building.pyproject import FILE_NAME as PYPROJECT
from aperio_cli.errors.building import LockInconsistent
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from aperio_cli.building.dependencies import Target
    from aperio_cli.building.lock import Lock

_SYSTEMS = {"linux": "Linux", "darwin": "Darwin"}
_MACHINES = {
    ("linux", "amd64"): "x86_64",
    ("linux", "arm64"): "aarch64",
    ("darwin", "amd64"): "x86_64",
    ("darwin", "arm64"): "arm64",
}
# A tag says nothing of the third number: what only some of them need is not missed.
_PATCHES = (0, 99)
_SHOWN = 20


def check_roots(project: Path, lock: Lock, wanted: Iterable[Requirement], target: Target) -> None:
    """Check that the lock has what the project itself asks for, before anything is downloaded.

    Args:
        project: the project's folder.
        lock: its lock.
        wanted: the dependencies that pyproject.toml states.
        target: what is built for.

    Raises:
        LockInconsistent: something is not locked, or in a version that is not wanted.
    """
    versions = {pin.name: pin.version for pin in lock.pins}
    _refuse(project, [*_problems(PYPROJECT, wanted, versions, target, frozenset())])


def check_closure(
    project: Path, lock: Lock, wanted: Iterable[Requirement], target: Target, library: Path
) -> None:
    """Check that the installed packages have all that they need, in versions that they take.

    Args:
        project: the project's folder.
        lock: what was installed.
        wanted: the dependencies that pyproject.toml states; their extras count.
        target: what is built for.
        library: the folder that they were installed into.

    Raises:
        LockInconsistent: something that one of them needs is not locked, or in another version.
    """
    versions = {pin.name: pin.version for pin in lock.pins}
    needs = dict.fromkeys(versions, ()) | dict(_needs(library))
    extras = _extras(lock, wanted, needs, target)
    problems: list[str] = []
    for name, version in versions.items():
        asking = f"{name} {version}"
        problems += _problems(asking, needs[name], versions, target, extras.get(name, frozenset()))
    _refuse(project, problems)


def _extras(
    lock: Lock,
    wanted: Iterable[Requirement],
    needs: Mapping[str, Sequence[Requirement]],
    target: Target,
) -> dict[str, frozenset[str]]:
    """Return which extras of which package are wanted, by whomever."""
    found = {pin.name: frozenset(pin.extras) for pin in lock.pins}
    waiting = [requirement for requirement in wanted if _applies(requirement, target, frozenset())]
    done: dict[str, frozenset[str]] = {}
    while True:
        for requirement in waiting:
            name = canonicalize_name(requirement.name)
            more = frozenset(map(canonicalize_name, requirement.extras))
            found[name] = found.get(name, frozenset()) | more
        changed = [name for name in found.keys() & needs.keys() if done.get(name) != found[name]]
        if not changed:
            return found
        done |= {name: found[name] for name in changed}
        waiting = [r for n in changed for r in needs[n] if _applies(r, target, found[n])]


def _needs(library: Path) -> Iterator[tuple[str, tuple[Requirement, ...]]]:
    """Yield what each installed package says that it needs, by name."""
    for distribution in metadata.distributions(path=[str(library)]):
        stated = distribution.requires or ()
        yield canonicalize_name(str(distribution.name)), tuple(_readable(stated))


def _readable(stated: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements; a line that is none tells nobody anything, neither pip."""
    for text in stated:
        try:
            yield Requirement(text)
        except InvalidRequirement:
            continue


def _problems(
    asking: str,
    wanted: Iterable[Requirement],
    versions: Mapping[str, str],
    target: Target,
    extras: frozenset[str],
) -> Iterator[str]:
    for requirement in wanted:
        if not _applies(requirement, target, extras):
            continue
        locked = versions.get(canonicalize_name(requirement.name))
        asked = f"{requirement.name}{requirement.specifier}"
        if locked is None:
            yield f"{asking} needs {asked}, which is not there"
        elif not requirement.specifier.contains(Version(locked), prereleases=True):
            yield f"{asking} needs {asked}, and {locked} is there"


def _applies(requirement: Requirement, target: Target, extras: frozenset[str]) -> bool:
    """Return whether a requirement counts for the target, whatever its interpreter's patch."""
    marker = requirement.marker
    if marker is None:
        return True
    environments = [_environment(target, patch) for patch in _PATCHES]
    try:
        return all(
            any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))
            for environment in environments
        )
    except (UndefinedComparison, UndefinedEnvironmentName):
        return False  # pip cannot tell either


def _environment(target: Target, patch: int) -> dict[str, str]:
    """Return what markers are evaluated for (PEP 508, "Environment Markers")."""
    platform = target.platform
    full = f"{target.python_version}.{patch}"
    return {
        "implementation_name": "cpython",
        "implementation_version": full,
        "os_name": "posix",
        "platform_machine": _MACHINES[platform.os, platform.arch],
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": _SYSTEMS[platform.os],
        "platform_version": "",
        "python_full_version": full,
        "python_version": target.python_version,
        "sys_platform": platform.os,
    }


def _refuse(project: Path, problems: Sequence[str]) -> None:
    if not problems:
        return
    shown = [clean(problem, limit=200) for problem in problems[:_SHOWN]]
    raise LockInconsistent(
        f"`{project / FILE_NAME}` does not have all that the plugin needs; nothing was built",
        why="\n".join(shown),
        next=[f"lock the dependencies again: {compile_command(project)}"],
    )
