"""A project becomes a DevelopmentBuild: its own source in place, its dependencies from a cache."""

from __future__ import annotations

import hashlib
import platform as machine
import secrets
import subprocess
from typing import TYPE_CHECKING

from aperio_cli.building.dependencies import DependencyRequest, Target, install_dependencies
from aperio_cli.building.lock import read_lock
from aperio_cli.building.project import load_project
from aperio_cli.building.python import development_script
from aperio_cli.errors import InterpreterNotDeclared, RuntimeUnsupported
from aperio_cli.files import (
    ASIDE_PREFIX,
    disk_full_guard,
    make_private,
    read_capped,
    remove_tree,
    write_atomic,
)
from aperio_cli.models.artifact import DevelopmentBuild, Interpreter, Project
from aperio_cli.models.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_COMPILE_DEADLINE_S = 120.0
_KEY_DIGITS = 32
_MAX_SCRIPT_BYTES = 64 * 1024


def develop(
    project_path: Path, cache: Path, interpreter: Interpreter, environment: Mapping[str, str]
) -> DevelopmentBuild:
    """Makes a project runnable without packing it.

    The locked dependencies are installed once for each lock, interpreter tag and platform, in
    `cache/development/`; a later call with the same ones takes no download and no pip. Downloads
    are kept in `cache/downloads/`.

    Args:
        project_path: the project's folder.
        cache: where things that can be made again are kept.
        interpreter: what will execute the plugin.
        environment: the caller's; see `pip.PASSED_ON`.

    Raises:
        ProjectInvalid, ManifestInvalid, ManifestKindUnknown: as `load_project`.
        RuntimeUnsupported: this version cannot run the manifest's runtime.
        InterpreterNotDeclared: the manifest does not declare the interpreter's tag.
        LockInvalid: requirements.lock is missing or has a line without hashes.
        BuildDependencyUnavailable, DependencyDigestMismatch, NetworkUnavailable,
        BuildDependencyFailed: from installing the dependencies.
        DiskFull: there is no space; what was half written has been removed.
        FolderNotPrivate: the cache is somebody else's folder.
        OSError: a folder cannot be written.
    """
    project = load_project(project_path)
    _check_runtime(project, interpreter)
    root = cache / "development"
    make_private(root)
    library = _library(project, root, interpreter, environment)
    return DevelopmentBuild(project, _script(project, root, library), interpreter, library)


def _check_runtime(project: Project, interpreter: Interpreter) -> None:
    runtime = project.manifest.runtime
    if runtime.language != "python":
        raise RuntimeUnsupported(
            f"`{project.path}` was not started: its runtime is {runtime.language}",
            why="this version of aperio runs folders with `language: python`",
        )
    if interpreter.tag not in runtime.tags:
        raise InterpreterNotDeclared(
            f"`{project.path}` was not started: it does not declare {interpreter.tag}",
            why=f"interpreter {interpreter.executable} is {interpreter.tag}\n"
            f"manifest.yaml declares {', '.join(runtime.tags)}",
            next=[f"add {interpreter.tag} to runtime.tags, or use another interpreter"],
        )


def _library(
    project: Project, root: Path, interpreter: Interpreter, environment: Mapping[str, str]
) -> Path:
    """The folder with the locked dependencies, from the cache or made now."""
    lock = read_lock(project.path)
    target = Target(interpreter.tag, Platform.of_machine(machine.system(), machine.machine()))
    name = f"{target.tag}-{target.platform.slug}-{lock.digest.hex[:_KEY_DIGITS]}"
    library = root / name
    if library.is_dir():
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
    """Writes bytecode, which the host's `-B` keeps a plugin from writing; only speed is lost."""
    command = [interpreter.executable, "-I", "-m", "compileall", "-q", str(library)]
    try:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMPILE_DEADLINE_S,
            check=False,
            env={},
        )
    except subprocess.TimeoutExpired:
        return


def _script(project: Project, root: Path, library: Path) -> Path:
    """The starting script of this project with these dependencies."""
    text = development_script(project.path, library).encode()
    folder = root / f"script-{hashlib.sha256(text).hexdigest()[:_KEY_DIGITS]}"
    make_private(folder)
    script = folder / f"{project.manifest.entrypoint}.py"
    if not script.exists() or read_capped(script, _MAX_SCRIPT_BYTES) != text:
        write_atomic(script, text)
    return script
