"""A project becomes a DevelopmentBuild.

A Python project is run from a copy of what would be packed, with its dependencies, both in a
cache; a Go project is compiled into the cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform as machine
import secrets
from typing import TYPE_CHECKING

from aperio_cli.archive import unpacking
from aperio_cli.building import go_environment, pip
from aperio_cli.building.closure import check_roots
from aperio_cli.building.contents import select
from aperio_cli.building.dependencies import DependencyRequest, Target, install_dependencies
from aperio_cli.building.go import develop_program, prune
from aperio_cli.building.lock import read_lock
from aperio_cli.building.project import load_project
from aperio_cli.building.pyproject import read_pyproject
from aperio_cli.building.python import VIEW_APP, development_script
from aperio_cli.building.view import content_digest, make_view
from aperio_cli.errors import AperioError
from aperio_cli.errors.building import InterpreterNotDeclared
from aperio_cli.files import tree
from aperio_cli.files.reading import read_capped
from aperio_cli.files.removing import remove_tree
from aperio_cli.files.trimming import note_use
from aperio_cli.files.writing import ASIDE_PREFIX, disk_full_guard, ensure_own, write_atomic
from aperio_cli.machine.children import ChildFailed, ask_child
from aperio_cli.models.artifact import DevelopmentBuild, Interpreter, Project
from aperio_cli.models.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aperio_cli.models.artifact import Artifact

_COMPILE_DEADLINE_S = 120.0
_KEY_DIGITS = 32
_START = "bin"
_MAX_SCRIPT_BYTES = 64 * 1024


def develop(
    project_path: Path,
    cache: Path,
    interpreter: Interpreter | None,
    environment: Mapping[str, str],
) -> DevelopmentBuild:
    """Make a project runnable without packing it: exactly what would be packed, and no more.

    The locked dependencies are installed once for each lock, interpreter tag and platform, in
    `cache/development/`; a later call with the same ones takes no download and no pip. A Go
    project is compiled there once for the same contents. Downloads are kept in
    `cache/downloads/`.

    Args:
        project_path: the project's folder.
        cache: where things that can be made again are kept.
        interpreter: what will execute the plugin; a Go project needs none.
        environment: the caller's; see `pip.PASSED_ON` and `go_environment.PASSED_ON`.

    Raises:
        ProjectInvalid, ManifestInvalid, ManifestKindUnknown: as `load_project`.
        InterpreterNotDeclared: the manifest does not declare the interpreter's tag.
        LockInvalid: requirements.lock is missing or has a line without hashes.
        LockInconsistent: requirements.lock lacks something that is needed.
        BuildDependencyUnavailable, DependencyDigestMismatch, NetworkUnavailable,
        BuildDependencyFailed: from installing the dependencies.
        TreeNotPlain, MemberUnfit, IgnoreInvalid: as `select`.
        GoToolchainMissing, GoModulesUnpinned, GoBuildFailed: from compiling a Go project.
        DiskFull: there is no space; what was half written has been removed.
        FolderNotPrivate: the cache is somebody else's folder.
        OSError: a folder cannot be written.
    """
    project = load_project(project_path)
    root = cache / "development"
    if project.manifest.runtime.language == "go":
        ensure_own(root)
        with disk_full_guard(f"`{project.path}` was not started"):
            program, left_out = develop_program(project, root, environment, _here())
        unused = go_environment.not_counted(environment, project.path)
        return DevelopmentBuild(project, program, left_out=left_out, not_counted=unused)
    chosen = _declared(project, interpreter)
    selection = select(project.path, "python")
    ensure_own(root)
    library = _library(project, root, chosen, environment)
    with disk_full_guard(f"`{project.path}` was not started"):
        script = _view(project, selection.names, root, library) / _START / _script_name(project)
    unused = pip.not_counted(environment, project.path)
    return DevelopmentBuild(project, script, chosen, library, selection.paths_left_out, unused)


def develop_artifact(
    artifact: Artifact, folder: Path, interpreter: Interpreter | None
) -> DevelopmentBuild:
    """Make an artifact that was just built runnable, to see whether it starts.

    Args:
        artifact: for this machine's platform.
        folder: where it is unpacked to; it must not exist.
        interpreter: of a tag that the artifact carries; a Go plugin needs none.

    Raises:
        ArchiveRefused: the file is not an artifact any more.
        OSError: the folder cannot be written.
    """
    with artifact.path.open("rb") as file:
        unpacking.unpack(file, folder)
    project = Project(folder, artifact.manifest)
    start = folder / "bin" / artifact.manifest.entrypoint
    if interpreter is None:
        return DevelopmentBuild(project, start)
    script = start.with_name(f"{start.name}.py")
    return DevelopmentBuild(project, script, interpreter, folder / "lib" / interpreter.tag)


def _here() -> Platform:
    return Platform.of_machine(machine.system(), machine.machine())


def _declared(project: Project, interpreter: Interpreter | None) -> Interpreter:
    """Return the interpreter, when the manifest declares it."""
    if interpreter is None:
        raise ValueError("a Python project is run by an interpreter")
    declared = project.manifest.runtime.tags
    if interpreter.tag not in declared:
        raise InterpreterNotDeclared(
            f"`{project.path}` was not started: it does not declare {interpreter.tag}",
            why=f"interpreter {interpreter.executable} is {interpreter.tag}\n"
            f"manifest.yaml declares {', '.join(declared)}",
            next=[f"add {interpreter.tag} to runtime.tags, or use another interpreter"],
        )
    return interpreter


def _library(
    project: Project, root: Path, interpreter: Interpreter, environment: Mapping[str, str]
) -> Path:
    """Return the folder with the locked dependencies, from the cache or made now."""
    lock = read_lock(project.path)
    target = Target(interpreter.tag, _here())
    check_roots(project.path, lock, read_pyproject(project.path).dependencies, target)
    name = f"{target.tag}-{target.platform.slug}-{lock.digest.hex[:_KEY_DIGITS]}"
    library = root / name
    if library.is_dir():
        note_use(library)
        return library
    aside = root / (ASIDE_PREFIX + secrets.token_hex(8))
    request = DependencyRequest(project.path, lock, target, environment, root.parent / "downloads")
    try:
        with disk_full_guard(f"`{project.path}` was not started"):
            install_dependencies(request, aside)
            _compile(interpreter, aside)
            _take_place(aside, library)
    finally:
        remove_tree(aside)
    return library


def _take_place(aside: Path, library: Path) -> None:
    try:
        aside.rename(library)
    except OSError:
        # Another process was faster; its folder was made from the same lock.
        if not library.is_dir():
            raise


def _compile(interpreter: Interpreter, library: Path) -> None:
    """Write bytecode, which the host's `-B` keeps a plugin from writing; only speed is lost."""
    command = [interpreter.executable, "-I", "-m", "compileall", "-q", str(library)]
    with contextlib.suppress(ChildFailed):
        ask_child(command, _COMPILE_DEADLINE_S)


def _script_name(project: Project) -> str:
    return f"{project.manifest.entrypoint}.py"


def _view(project: Project, names: Sequence[str], root: Path, library: Path) -> Path:
    """Return a copy of what would be packed, with a starting script; made when anything changed."""
    start = development_script(library)
    place = root / f"view-{hashlib.sha256(os.fsencode(project.path)).hexdigest()[:_KEY_DIGITS]}"
    ensure_own(place)
    note_use(place)
    view = place / content_digest(project.path, names, _script_name(project), start)
    if _is_intact(view, start, project):
        view.touch()
        return view
    aside = place / (ASIDE_PREFIX + secrets.token_hex(8))
    aside.mkdir()
    try:
        make_view(project.path, names, aside / VIEW_APP)
        (aside / _START).mkdir()
        write_atomic(aside / _START / _script_name(project), start.encode())
        # Of the copy: the project may have been changed since.
        view = place / content_digest(aside / VIEW_APP, names, _script_name(project), start)
        if not _is_intact(view, start, project):
            remove_tree(view)
            _take_place(aside, view)
    finally:
        remove_tree(aside)
    prune(place)
    return view


def _is_intact(view: Path, start: str, project: Project) -> bool:
    """Return whether a view is there and nothing in it was changed, as a plugin could."""
    try:
        names = sorted(tree.file_names(view / VIEW_APP))
        scripts = {
            name: read_capped(view / _START / name, _MAX_SCRIPT_BYTES)
            for name in tree.file_names(view / _START)
        }
        found = content_digest(view / VIEW_APP, names, _script_name(project), start)
    except (OSError, AperioError):
        return False
    return found == view.name and scripts == {_script_name(project): start.encode()}
