"""Do manifest.yaml, pyproject.toml and the source say the same about a plugin?

Operators decide by what the manifest says. What the source states is known as far as it stands in
it as text; what a plugin declares when it runs, `plugin build --check` and `plugin test` ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from aperio_cli.building.go_source import read_go
from aperio_cli.building.pyproject import FILE_NAME as PYPROJECT
from aperio_cli.building.pyproject import read_pyproject
from aperio_cli.building.python_source import read_python
from aperio_cli.errors.building import DeclarationsDiffer, EgressPlaceholder
from aperio_cli.models.egress import covers, is_reserved, split_rule
from aperio_cli.models.manifest import FILE_NAME as MANIFEST
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from aperio_cli.building.contents import ProjectFile
    from aperio_cli.building.facts import Facts, Stated
    from aperio_cli.building.pyproject import Pyproject
    from aperio_cli.models.manifest import Manifest

_PATCHES = (0, 99)


def check_python(project: Path, manifest: Manifest, files: Iterable[ProjectFile]) -> None:
    """Check what a project in Python states; its source has been compiled then.

    Args:
        project: its folder.
        manifest: what operators are shown.
        files: its files.

    Raises:
        SourceInvalid: a file is not Python of each declared version.
        ProjectInvalid: pyproject.toml cannot be read.
        DeclarationsDiffer, EgressPlaceholder: as `check_agreement`.
        FileNotRegular, OSError: a file may not be read, or is a link.
    """
    facts = read_python(project, files, manifest.runtime.tags)
    check_agreement(project, manifest, facts, read_pyproject(project))


def check_go(project: Path, manifest: Manifest, files: Iterable[ProjectFile]) -> None:
    """Check what a project in Go states.

    Args:
        project: its folder.
        manifest: what operators are shown.
        files: what its program is compiled from.

    Raises:
        DeclarationsDiffer, EgressPlaceholder: as `check_agreement`.
        FileNotRegular, OSError: a file may not be read, or is a link.
    """
    check_agreement(project, manifest, read_go(project, files))


def check_agreement(
    project: Path, manifest: Manifest, facts: Facts, pyproject: Pyproject | None = None
) -> None:
    """Check that a project says one thing about its plugin, wherever it says it.

    Args:
        project: its folder, for messages.
        manifest: what operators are shown.
        facts: what the source states.
        pyproject: what pyproject.toml states, of a Python project.

    Raises:
        DeclarationsDiffer: kind, provider, version, license or interpreters differ.
        EgressPlaceholder: the manifest names a host for examples, and the source leads elsewhere.
    """
    problems = [*_of_source(manifest, facts)]
    if pyproject:
        problems += _of_pyproject(manifest, pyproject)
    if problems:
        raise DeclarationsDiffer(
            f"`{project}` was not built: its files do not agree about the plugin",
            why="\n".join(problems),
            next=[f"make them say the same; {MANIFEST} is what operators are shown"],
        )
    _check_egress(project, manifest, facts)


def placeholders(manifest: Manifest) -> tuple[str, ...]:
    """Return what a manifest declares of hosts that stand for others in examples."""
    from_config = (
        f"{{{rule.field}}}{rule.suffix}:{rule.port}"
        for rule in manifest.egress_from_config
        if is_reserved(rule.suffix)
    )
    return (*(r for r in manifest.egress if is_reserved(split_rule(r)[0])), *from_config)


def _of_source(manifest: Manifest, facts: Facts) -> Iterator[str]:
    yield from _differing("kind", manifest.kind, facts.kinds)
    yield from _differing("provider", manifest.provider, facts.providers)
    for stated in facts.versions:
        if not _is_same_version(manifest.version, stated.value):
            yield from _differing("version", manifest.version, (stated,))


def _differing(what: str, declared: str, stated: tuple[Stated, ...]) -> Iterator[str]:
    """Yield what is stated otherwise; nothing when one of several places says the same."""
    if stated and all(each.value != declared for each in stated):
        said = clean(stated[0].value, limit=80)
        yield f"{what}: {MANIFEST} says {declared}, {stated[0].where} says {said}"


def _of_pyproject(manifest: Manifest, pyproject: Pyproject) -> Iterator[str]:
    stated = pyproject.version
    if stated and not _is_same_version(manifest.version, stated):
        said = clean(stated, limit=80)
        yield f"version: {MANIFEST} says {manifest.version}, {PYPROJECT} says {said}"
    if pyproject.license and pyproject.license.casefold() != manifest.license.casefold():
        yield f"license: {MANIFEST} says {manifest.license}, {PYPROJECT} says {pyproject.license}"
    for tag in manifest.runtime.tags:
        asked = pyproject.requires_python
        versions = [f"3.{tag.removeprefix('cp3')}.{patch}" for patch in _PATCHES]
        if asked is not None and not any(asked.contains(version) for version in versions):
            yield f"interpreters: {MANIFEST} says {tag}, {PYPROJECT} says requires-python {asked}"


def _is_same_version(declared: str, stated: str) -> bool:
    """Return whether a semantic version and one of Python's mean the same."""
    try:
        own = Version(stated)
    except InvalidVersion:
        return declared == stated
    try:
        return Version(declared) == own
    except InvalidVersion:  # a prerelease that Python has no form for
        return Version(declared.partition("-")[0]) == Version(own.base_version)


def _check_egress(project: Path, manifest: Manifest, facts: Facts) -> None:
    """Refuse hosts for examples, unless the source leads there, too, as in a new project.

    Raises:
        EgressPlaceholder: it leads elsewhere.
    """
    left = [
        rule
        for rule in placeholders(manifest)
        if not any(covers(rule, host) for host in facts.hosts)
    ]
    if left:
        raise EgressPlaceholder(
            f"`{project}` was not built: its manifest names hosts that are for examples only",
            why=f"permissions.egress: {', '.join(left)}",
            next=[f"put the hosts that the plugin connects to in their place, in {MANIFEST}"],
        )
