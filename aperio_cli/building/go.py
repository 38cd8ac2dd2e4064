"""What a Go plugin is made of: one static program, the same bytes wherever it is built.

In an artifact (docs/reference/artifact.md): `bin/<entrypoint>`, for windows `bin/<entrypoint>.exe`.

The main package stands at the top of the project, beside go.mod. Everything that is compiled in
is pinned by go.mod and go.sum, or is part of the project; so a `replace` that leads out of the
project's folder is refused. Not in the program: paths of the machine that built it, version
control, build ids, symbol tables.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperio_cli.archive.writing import Member
from aperio_cli.building import sbom
from aperio_cli.building.contents import ProjectFile, select
from aperio_cli.building.go_environment import module_cache
from aperio_cli.building.go_modules import parse_build_info
from aperio_cli.building.go_tool import GoRun, find_toolchain, run_go
from aperio_cli.building.project import DOCUMENTS
from aperio_cli.building.view import content_digest, make_view
from aperio_cli.errors.building import GoBuildFailed, ProjectInvalid
from aperio_cli.files.removing import remove_tree
from aperio_cli.files.temporary import temporary_folder
from aperio_cli.files.trimming import note_use
from aperio_cli.files.writing import ASIDE_PREFIX, ensure_own
from aperio_cli.models.manifest import FILE_NAME as MANIFEST_FILE

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from aperio_cli.models.artifact import Project
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.models.platform import Platform

MODULE_CACHE = "go"
"""Folder of the module cache, in the folder where downloads are kept."""

# Linked by Go's own linker: a project's object files (*.syso) would have it start a C compiler.
_REPRODUCIBLE = ("-trimpath", "-ldflags=-s -w -buildid= -linkmode=internal")
_ARCHIVE = b"!<arch>\n"
_KEY_DIGITS = 32
_KEPT = 3
# Of `go list`: what is compiled without cgo, and what is embedded.
_COMPILED = ("GoFiles", "SFiles", "HFiles", "SysoFiles", "EmbedFiles")
_SOURCES = (".go", ".s", ".S", ".h", ".syso", "go.mod", "go.sum", "vendor/modules.txt")
_NOT_TOLD = frozenset({MANIFEST_FILE, *DOCUMENTS})


def compile_program(run: GoRun, output: Path) -> None:
    """Compile the project's main package into a static program.

    Raises:
        GoBuildFailed: the compiler refuses it, or it is no main package.
        AperioError, OSError: as `run_go`.
    """
    run_go(run, ["build", *_REPRODUCIBLE, "-o", str(output), "."])
    if not output.is_file() or _is_library(output):
        raise GoBuildFailed(
            f"`{run.project}` was not built: there is no program at the top of the project",
            why="expected `package main` beside go.mod",
            next=["put plugin.go with `package main` and `func main()` beside go.mod"],
        )


def _is_library(output: Path) -> bool:
    """Return whether go wrote the object archive of a package that is not main."""
    with output.open("rb") as file:
        return file.read(len(_ARCHIVE)) == _ARCHIVE


def go_members(run: GoRun, manifest: Manifest) -> Iterator[Member]:
    """Yield the members of a Go plugin's artifact that are made.

    Its program and its bill of materials.

    Args:
        run: its platform is the artifact's; the program is left in its scratch folder.
        manifest: the project's.

    Raises:
        AperioError, OSError: as `compile_program`.
    """
    suffix = ".exe" if run.platform.os == "windows" else ""
    program = run.scratch / f"{manifest.entrypoint}{suffix}"
    compile_program(run, program)
    linked = parse_build_info(run_go(run, ["version", "-m", str(program)]))
    yield Member(sbom.FILE_NAME, sbom.make_go_sbom(manifest, linked))
    yield Member(f"bin/{program.name}", program, executable=True)


def compiled_files(run: GoRun) -> tuple[ProjectFile, ...]:
    """Return the files of the project that end up in the program, wherever they stand.

    Raises:
        ProjectInvalid: a `replace` in go.mod leads out of the project's folder.
        AperioError, OSError: as `run_go`.
    """
    _refuse_replacement_outside(run)
    fields = f"-json=Dir,Module,{','.join(_COMPILED)}"
    # -e: what is wrong with a package is said better by the compiler.
    text = run_go(run, ["list", "-e", "-deps", fields, "."])
    found: dict[str, ProjectFile] = {}
    for package in _json_values(text):
        if not _is_own(package) or not package.get("Dir"):
            continue
        for kind in _COMPILED:
            for name in package.get(kind, ()):
                path = Path(package["Dir"], name)
                shown = path.relative_to(os.path.realpath(run.source)).as_posix()
                found[shown] = ProjectFile(shown, run.source / shown)
    return tuple(found[name] for name in sorted(found))


def _refuse_replacement_outside(run: GoRun) -> None:
    """Refuse a required module that go.mod replaces by a folder outside of the project."""
    for document in _json_values(run_go(run, ["mod", "edit", "-json"])):
        required = {each["Path"] for each in document.get("Require") or ()}
        for replaced in document.get("Replace") or ():
            path = replaced["New"]["Path"]
            is_folder = not replaced["New"].get("Version")
            outside = os.path.normpath(path).startswith(("/", ".."))
            if is_folder and outside and replaced["Old"]["Path"] in required:
                raise _leads_out(run.project, replaced["Old"]["Path"], path)


def is_unneeded(name: str, taken: Container[str]) -> bool:
    """Return whether a file of a project stays out of its program, and people should know.

    Args:
        name: its path.
        taken: names of those that were compiled or embedded.
    """
    is_known = name in _NOT_TOLD or name.endswith(_SOURCES) or "testdata" in name.split("/")[:-1]
    return name not in taken and not is_known


def _is_own(package: Mapping[str, Any]) -> bool:
    """Return whether a package is the project's.

    Of its module, or of a folder that replaces one.
    """
    module = package.get("Module", {})
    replaced = module.get("Replace")
    return bool(module.get("Main") or (replaced and not replaced.get("Version")))


def _json_values(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that stand one after the other in a text.

    What precedes them is dropped.
    """
    decoder = json.JSONDecoder()
    position = text.find("{\n")
    while position >= 0:
        value, end = decoder.raw_decode(text, position)
        yield value
        position = text.find("{\n", end)


def _leads_out(project: Path, module: str, path: str) -> ProjectInvalid:
    return ProjectInvalid(
        f"`{project}` was not built: a `replace` in go.mod leads out of its folder",
        why=f"{module} => {path}",
        next=[
            "copy that module into the project's folder, such as below third_party/",
            f"require a published version: `go mod edit -dropreplace={module}`",
        ],
    )


# ── development ───────────────────────────────────────────────────────────────────────────────────


def develop_program(
    project: Project, root: Path, environment: Mapping[str, str], platform: Platform
) -> tuple[Path, tuple[str, ...]]:
    """Return a project's program, compiled when anything changed, and what was left out of it.

    Args:
        project: from `load_project`.
        root: folder of everything under development in the cache; the module cache and the
            compiled packages stand beside it.
        environment: the caller's.
        platform: this machine's.

    Raises:
        AperioError, OSError: as `find_toolchain` and `compile_program`.
    """
    toolchain = find_toolchain(environment, project.path, f"`{project.path}` was not started")
    place = root / f"go-{hashlib.sha256(os.fsencode(project.path)).hexdigest()[:_KEY_DIGITS]}"
    ensure_own(place)
    note_use(place)
    selection = select(project.path, "go")
    names = selection.names
    circumstances = (project.manifest.entrypoint, toolchain.version, str(platform))
    program = place / content_digest(project.path, names, *circumstances) / circumstances[0]
    if program.is_file():
        program.parent.touch()
        return program, selection.paths_left_out
    with temporary_folder("aperio-go-") as folder:
        run = GoRun(
            toolchain=toolchain,
            project=project.path,
            source=Path(folder, "source"),
            scratch=Path(folder, "scratch"),
            modules=module_cache(
                environment, project.path, root.parent / "downloads" / MODULE_CACHE
            ),
            compiled=root.parent / "go-build",
            environment=environment,
            platform=platform,
        )
        run.scratch.mkdir()
        make_view(project.path, names, run.source)
        # Of the copy: the project may have been changed since.
        program = place / content_digest(run.source, names, *circumstances) / circumstances[0]
        _refuse_replacement_outside(run)
        _compile_aside(run, place, program)
    note_use(root.parent / "downloads" / MODULE_CACHE)
    prune(place)
    return program, selection.paths_left_out


def _compile_aside(run: GoRun, place: Path, program: Path) -> None:
    aside = place / (ASIDE_PREFIX + secrets.token_hex(8))
    aside.mkdir()
    try:
        compile_program(run, aside / program.name)
        aside.rename(program.parent)
    except OSError:
        # Another process was faster; it compiled the same contents.
        if not program.is_file():
            raise
    finally:
        remove_tree(aside)


def prune(place: Path) -> None:
    """Keep the latest of what was made of a project; another run may be about to start it."""
    made = [path for path in place.iterdir() if not path.name.startswith(ASIDE_PREFIX)]
    for path in sorted(made, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        remove_tree(path)
