"""A Project becomes one Artifact for each platform."""

from __future__ import annotations

import contextlib
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.archive import writing
from aperio_cli.building import (
    contents,
    dependencies,
    go,
    go_environment,
    go_tool,
    lock,
    pip,
    python,
    report,
    sbom,
)
from aperio_cli.building.agreement import check_go, check_python
from aperio_cli.building.contents import ProjectFile
from aperio_cli.building.go_environment import module_cache
from aperio_cli.building.manifest_text import with_tags
from aperio_cli.building.project import DOCUMENTS, read_manifest_bytes
from aperio_cli.building.report import BuildResult
from aperio_cli.building.secret_files import refuse_secrets
from aperio_cli.building.view import make_view
from aperio_cli.errors.usage import UsageError
from aperio_cli.files.beneath import Beneath
from aperio_cli.files.temporary import temporary_folder
from aperio_cli.files.writing import disk_full_guard
from aperio_cli.models.artifact import Artifact, Project, artifact_name
from aperio_cli.models.manifest import FILE_NAME as MANIFEST
from aperio_cli.models.manifest import Manifest
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aperio_cli.building.contents import Selection
    from aperio_cli.building.report import LeftOut, Waived
    from aperio_cli.models.platform import Platform

EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
"""Environment variable with the time of every member (reproducible-builds.org specification)."""

_VERSION = re.compile(r"3\.(\d{1,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    Attributes:
        project: from `load_project`.
        platforms: one artifact each; one named twice counts once.
        out: folder for the artifacts; made when it is missing. Inside of the project no link leads
            to it.
        pythons: interpreter versions such as `3.11`, out of those the manifest declares; none
            means all of them.
        environment: the caller's: SOURCE_DATE_EPOCH, and what `pip.PASSED_ON` or
            `go_environment.PASSED_ON` names.
        download_cache: folder where downloads are kept between builds, or None.
        compile_cache: folder where compiled Go packages are kept between builds, or None.
    """

    project: Project
    platforms: tuple[Platform, ...]
    out: Path
    pythons: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    download_cache: Path | None = None
    compile_cache: Path | None = None


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What of a project goes into each of its artifacts.

    `made_with` is what decides the rest: the lock of a Python plugin, the Go of a Go plugin.

    Attributes:
        manifest, manifest_bytes: with the chosen interpreters.
        selection: what of the project is the plugin.
        view: the copy of that, and of the documents.
        waived: of what is packed whatever the platform.
        made_with: see above.
        mtime: of every member.
    """

    manifest: Manifest
    manifest_bytes: bytes
    selection: Selection
    view: Path
    waived: tuple[Waived, ...]
    made_with: lock.Lock | go_tool.Toolchain
    mtime: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one platform's artifact is made of.

    Attributes:
        members: all of them.
        taken: names of the project's files that are in it, as they are or compiled.
        left_out: what of its dependencies is not.
        waived: findings in what was compiled.
    """

    members: list[writing.Member]
    taken: frozenset[str]
    left_out: tuple[LeftOut, ...] = ()
    waived: tuple[Waived, ...] = ()


def build(request: BuildRequest) -> list[Artifact]:
    """Build the artifacts, in the order of the platforms, as `build_and_tell` does."""
    return list(build_and_tell(request).artifacts)


def build_and_tell(request: BuildRequest) -> BuildResult:
    """Build the artifacts, and tell what was left out of them.

    The bytes depend on the project's files and its lock only, of a Go plugin also on the version
    of Go; not on folder, umask, locale, time zone, clock or the order of directory entries.
    Nothing of the project is executed. An artifact of the same name is replaced, once all of
    them could be made.

    Raises:
        RuntimeUnsupported: Python plugins are not built for one of the platforms.
        UsageError: a Python version is malformed or not declared; SOURCE_DATE_EPOCH is no number.
        SecretInProject, SecretScanTooLong: a file looks like a credential, or nobody can tell.
        TreeNotPlain: a link or a device stands where code belongs.
        ProjectInvalid: there is more than an artifact can hold.
        IgnoreInvalid: `.aperioignore` cannot be used.
        ManifestInvalid, ManifestKindUnknown: the manifest changed since the project was loaded.
        SourceInvalid: the source does not compile.
        DeclarationsDiffer: manifest, pyproject.toml and source disagree.
        EgressPlaceholder: the manifest still names a host for examples.
        LockInvalid: requirements.lock is missing or has a line without hashes.
        LockInconsistent: requirements.lock lacks something that is needed.
        BuildDependencyUnavailable, DependencyDigestMismatch, NetworkUnavailable,
        BuildDependencyFailed: from installing the dependencies.
        GoToolchainMissing, GoModulesUnpinned, GoBuildFailed: from compiling a Go plugin.
        FileNotRegular: a link stands where one of the project's files or its output should be.
        MemberUnfit: a file's path or size does not fit into an artifact.
        DiskFull: there is no space; no artifact was replaced by half of one.
        OSError: a file may not be read or the folder cannot be written.
    """
    platforms = list(dict.fromkeys(request.platforms))
    with (
        disk_full_guard(f"`{request.project.path}` was not built"),
        temporary_folder("aperio-build-") as folder,
    ):
        inputs = _gather(request, Path(folder) / "view")
        parts = [
            _parts(request, inputs, platform, Path(folder) / platform.slug)
            for platform in platforms
        ]
        with _output(request) as out:
            artifacts = [
                _write(request, inputs, platform, each.members, out)
                for platform, each in zip(platforms, parts, strict=True)
            ]
    return _result(request, inputs, parts, artifacts)


def _gather(request: BuildRequest, view: Path) -> _Inputs:
    """Return everything that can refuse a project, before anything is downloaded or written."""
    project = request.project
    _check_output(request)
    manifest_bytes = read_manifest_bytes(project.path)
    manifest = Manifest.parse(manifest_bytes, where=str(project.path / MANIFEST))
    language = manifest.runtime.language
    selection = contents.select(project.path, language, out=request.out.absolute())
    always = (MANIFEST, *DOCUMENTS)
    make_view(project.path, dict.fromkeys((*always, *selection.names)), view)
    judged = dict.fromkeys((*always, *(selection.names if language == "python" else ())))
    files = [ProjectFile(name, view / name) for name in judged]
    waived = refuse_secrets(project.path, files, selection.ignore.waivers)
    tags = _chosen_tags(request.pythons, manifest)
    if tags != manifest.runtime.tags:
        manifest_bytes = with_tags(manifest_bytes, tags)
        manifest = Manifest.parse(manifest_bytes)
    if manifest.runtime.language == "python":
        check_python(project.path, manifest, files)
    made_with = _made_with(request, manifest)
    mtime = _source_time(request.environment)
    return _Inputs(manifest, manifest_bytes, selection, view, waived, made_with, mtime)


def _result(
    request: BuildRequest, inputs: _Inputs, parts: Sequence[_Parts], artifacts: Sequence[Artifact]
) -> BuildResult:
    """Return what was made, with what was left out or waived, each once."""
    chain = itertools.chain.from_iterable
    waived = dict.fromkeys((*inputs.waived, *chain(each.waived for each in parts)))
    taken = frozenset[str]().union(*(each.taken for each in parts))
    unneeded = [name for name in inputs.selection.names if go.is_unneeded(name, taken)]
    left_out = (
        *inputs.selection.left_out,
        *contents.collapsed([(name, "not compiled in, nor embedded") for name in unneeded]),
        *dict.fromkeys(chain(each.left_out for each in parts)),
    )
    used = {each.path for each in waived}
    unused = [each.path for each in inputs.selection.ignore.waivers if each.path not in used]
    tool = pip if inputs.manifest.runtime.language == "python" else go_environment
    not_counted = tool.not_counted(request.environment, request.project.path)
    return BuildResult(tuple(artifacts), left_out, tuple(waived), tuple(unused), not_counted)


def _check_output(request: BuildRequest) -> None:
    """Refuse an output folder inside of the project to which a link leads."""
    parts = _parts_inside(request)
    if parts:
        with Beneath(request.project.path) as files:
            files.mode(*parts)


@contextlib.contextmanager
def _output(request: BuildRequest) -> Iterator[Beneath]:
    """Give the output folder, made where it is missing: what is put in its place leads nowhere."""
    parts = _parts_inside(request)
    if parts:
        with Beneath(request.project.path) as files:
            files.make_folders(*parts)
            with files.below(*parts) as out:
                yield out
    else:
        request.out.mkdir(parents=True, exist_ok=True)
        with Beneath(request.out) as out:
            yield out


def _parts_inside(request: BuildRequest) -> tuple[str, ...]:
    """Return the way from the project to its output; empty when that is elsewhere."""
    out = request.out.absolute()
    if ".." in out.parts or not out.is_relative_to(request.project.path):
        return ()
    return out.relative_to(request.project.path).parts


def _made_with(request: BuildRequest, manifest: Manifest) -> lock.Lock | go_tool.Toolchain:
    if manifest.runtime.language == "python":
        return lock.read_lock(request.project.path)
    project = request.project.path
    return go_tool.find_toolchain(request.environment, project, f"`{project}` was not built")


def _chosen_tags(pythons: Sequence[str], manifest: Manifest) -> tuple[str, ...]:
    """Return the tags of the asked versions, in the manifest's order."""
    declared = manifest.runtime.tags
    if pythons and manifest.runtime.language != "python":
        raise UsageError(
            f"`{manifest.id}` carries no Python; nothing was built",
            why=f"{MANIFEST} says runtime.language: {manifest.runtime.language}",
            next=["leave out `--python`"],
        )
    asked = set()
    for version in pythons:
        match = _VERSION.fullmatch(version)
        tag = f"cp3{match[1]}" if match else ""
        if tag not in declared:
            raise UsageError(
                f"Python `{clean(version, limit=40)}` cannot be built for; nothing was built",
                why=f"{MANIFEST} declares runtime.tags: {', '.join(declared)}",
                next=["name one of these as X.Y, or add the tag to the manifest"],
            )
        asked.add(tag)
    return tuple(tag for tag in declared if tag in asked) if asked else declared


def _parts(request: BuildRequest, inputs: _Inputs, platform: Platform, folder: Path) -> _Parts:
    """Return the parts of one platform's artifact; what is made for it is made below `folder`."""
    folder.mkdir()
    made = inputs.made_with
    if isinstance(made, lock.Lock):
        parts = _python_parts(inputs, _installed(request, inputs, made, platform, folder), folder)
    else:
        parts = _go_parts(request, inputs, made, platform, folder)
    documents = [writing.Member(name, inputs.view / name) for name in DOCUMENTS]
    parts.members[:0] = [writing.Member(MANIFEST, inputs.manifest_bytes), *documents]
    return parts


def _installed(
    request: BuildRequest, inputs: _Inputs, locked: lock.Lock, platform: Platform, folder: Path
) -> dict[str, tuple[dependencies.InstalledWheel, ...]]:
    """Install the locked dependencies, one folder for each interpreter tag; return them by tag."""
    wheels = {}
    for tag in inputs.manifest.runtime.tags:
        wanted = dependencies.DependencyRequest(
            project=request.project.path,
            lock=locked,
            target=dependencies.Target(tag, platform),
            environment=request.environment,
            download_cache=request.download_cache,
        )
        wheels[tag] = dependencies.install_dependencies(wanted, folder / tag)
    return wheels


def _python_parts(
    inputs: _Inputs, wheels: Mapping[str, Sequence[dependencies.InstalledWheel]], folder: Path
) -> _Parts:
    manifest = inputs.manifest
    names = inputs.selection.names
    libraries = {tag: folder / tag for tag in wheels}
    members = [
        writing.Member(sbom.FILE_NAME, sbom.make_sbom(manifest, wheels)),
        *python.python_members(manifest.entrypoint, inputs.view, names, libraries),
    ]
    dropped = report.scripts_left_out(itertools.chain.from_iterable(wheels.values()))
    return _Parts(members, frozenset(names), tuple(dropped))


def _go_parts(
    request: BuildRequest,
    inputs: _Inputs,
    toolchain: go_tool.Toolchain,
    platform: Platform,
    folder: Path,
) -> _Parts:
    downloads = request.download_cache or folder
    run = go_tool.GoRun(
        toolchain=toolchain,
        project=request.project.path,
        source=inputs.view,
        scratch=folder,
        modules=module_cache(
            request.environment, request.project.path, downloads / go.MODULE_CACHE
        ),
        compiled=request.compile_cache or folder / "compiled",
        environment=request.environment,
        platform=platform,
    )
    files = go.compiled_files(run)
    waived = refuse_secrets(request.project.path, files, inputs.selection.ignore.waivers)
    members = list(go.go_members(run, inputs.manifest))
    check_go(request.project.path, inputs.manifest, files)
    return _Parts(members, frozenset(file.name for file in files), waived=waived)


def _write(
    request: BuildRequest,
    inputs: _Inputs,
    platform: Platform,
    members: list[writing.Member],
    out: Beneath,
) -> Artifact:
    path = request.out / artifact_name(inputs.manifest, platform)
    digest, size = writing.write(path, members, mtime=inputs.mtime, folder=out.descriptor)
    return Artifact(path, digest, size, inputs.manifest, platform)


def _source_time(environment: Mapping[str, str]) -> int:
    """Return seconds since 1970 for every member: SOURCE_DATE_EPOCH, else 0.

    Not the last commit's: git runs programs that a repository's own configuration names.

    Raises:
        UsageError: SOURCE_DATE_EPOCH is not a whole number of seconds that a member can hold.
    """
    stated = environment.get(EPOCH_VARIABLE, "")
    if not stated:
        return 0
    if not re.fullmatch(r"[0-9]{1,10}", stated):
        raise UsageError(
            f"{EPOCH_VARIABLE} is not usable; nothing was built",
            why=f"expected seconds since 1970\nreceived {clean(stated, limit=40)}",
            next=[
                f"`unset {EPOCH_VARIABLE}`: the time of every member is 0 then",
                "state it in seconds, as `date +%s` prints the present",
            ],
        )
    return int(stated)
