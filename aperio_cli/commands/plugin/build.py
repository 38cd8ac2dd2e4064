"""`aperio plugin build`: a project becomes artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import platforms
from aperio_cli.commands.options import option
from aperio_cli.context import Context
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.building.report import BuildResult
    from aperio_cli.models.artifact import Artifact
    from aperio_cli.models.manifest import Manifest

_NAMED_AT_MOST = 20


_Platforms = Annotated[
    list[str] | None,
    option(
        help="Build for it, such as linux/arm64; may be repeated.",
        metavar="PLATFORM",
        values=platforms,
    ),
]
_Pythons = Annotated[
    list[str] | None,
    option(help="Carry it in a Python plugin, such as 3.12; may be repeated.", metavar="VERSION"),
]


@command(plugin, "plugin", "build", examples=["aperio plugin build aperio-plugin-hello"])
def plugin_build(
    context: Context,
    project: Annotated[str, typer.Argument(help="The project's folder.")] = ".",
    *,
    platform: _Platforms = None,
    python: _Pythons = None,
    out: Annotated[
        str, option(help="Folder for artifacts (default: dist in the project).", metavar="DIR")
    ] = "",
    check: Annotated[
        bool, option("--check", help="Build twice and compare; start it once.")
    ] = False,
) -> Report:
    """Build artifacts: deterministic, from locked dependencies, without secrets."""
    import os

    from aperio_cli.building import BuildRequest, build_and_tell, check_reproducible, load_project
    from aperio_cli.commands.parsing import parse_platform
    from aperio_cli.commands.plugin.cleaning import clean_builds
    from aperio_cli.commands.plugin.trying import try_start
    from aperio_cli.files.naming import as_path

    loaded = load_project(as_path(project))
    request = BuildRequest(
        project=loaded,
        platforms=tuple(map(parse_platform, platform or [str(context.platform)])),
        out=as_path(out) if out else loaded.path / "dist",
        pythons=tuple(python or ()),
        environment=dict(os.environ),
        download_cache=context.paths.cache / "downloads",
        compile_cache=context.paths.cache / "go-build",
    )
    output, subject = context.output, f"`{loaded.manifest.id}` {loaded.manifest.version}"
    with output.working(f"building {subject}"):
        built = build_and_tell(request)
    artifacts = built.artifacts
    not_started = ""
    if check:
        with output.working(f"building {subject} again, to compare"):
            check_reproducible(request, artifacts)
        with output.working(f"starting {subject} once"):
            not_started = try_start(context, artifacts)
    clean_builds(context, language=loaded.manifest.runtime.language)
    data = _data(loaded.manifest, built) | {
        "reproducible": True if check else None,
        "started": not not_started if check else None,
    }
    lines = [f"{artifact.path}\n  {artifact.digest}" for artifact in artifacts]
    notes = _told(built)
    if check:
        notes += ["built twice, the same bytes", _said_of_start(not_started)]
    if examples := data["placeholders"]:
        notes.append(f"egress is for examples only, put your service's in: {', '.join(examples)}")
    return Report(data, "\n".join(lines), tuple(notes))


def _data(manifest: Manifest, built: BuildResult) -> dict[str, Any]:
    from aperio_cli.building import placeholders

    return {
        "artifacts": [_described(artifact) for artifact in built.artifacts],
        "id": str(manifest.id),
        "version": manifest.version,
        "placeholders": list(placeholders(manifest)),
        "left_out": [each.to_json() for each in built.left_out],
        "waived": [each.to_json() for each in built.waived],
        "not_counted": list(built.not_counted),
    }


def _said_of_start(not_started: str) -> str:
    return f"not started: {not_started}" if not_started else "started once, as its manifest says"


def _told(built: BuildResult) -> list[str]:
    """Return the notes on what the artifacts do not hold."""
    from aperio_cli.machine.reach import say_not_counted
    from aperio_cli.text import clean, show_path

    shown = [show_path(each.path) for each in built.left_out if not each.dependency]
    if len(shown) > _NAMED_AT_MOST:
        shown[_NAMED_AT_MOST:] = [f"and {len(shown) - _NAMED_AT_MOST} more (`--json` has them all)"]
    notes = [f"left out: {', '.join(shown)}"] if shown else []
    notes += [
        f"left out of {each.dependency}: {show_path(each.path)}, {each.why}"
        for each in built.left_out
        if each.dependency
    ]
    for found in built.waived:
        line = f", line {found.line}" * bool(found.line)
        notes.append(f"waived: {show_path(found.path)}{line}, {found.what}: {clean(found.reason)}")
    notes += [f"waived, but not found: {show_path(path)}" for path in built.unused]
    return notes + [say_not_counted(built.not_counted)] * bool(built.not_counted)


def _described(artifact: Artifact) -> dict[str, object]:
    return {
        "path": str(artifact.path),
        "sha256": artifact.digest.hex,
        "size": artifact.size,
        "platform": str(artifact.platform),
    }
