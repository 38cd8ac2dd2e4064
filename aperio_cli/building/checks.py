"""`--check`: a project is built twice, in two folders, and the bytes are compared."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.archive import reading
from aperio_cli.building import go_environment, pip
from aperio_cli.building.contents import MAX_FILE_BYTES, VENDOR, select
from aperio_cli.building.pack import BuildRequest, build
from aperio_cli.building.view import make_view
from aperio_cli.errors.building import BuildNotReproducible
from aperio_cli.files.beneath import Beneath
from aperio_cli.files.temporary import temporary_folder
from aperio_cli.models.artifact import Project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.models.artifact import Artifact

_NAMED_AT_MOST = 5


def check_reproducible(request: BuildRequest, artifacts: Sequence[Artifact]) -> None:
    """Check that building once more, from a copy in another folder, gives the same bytes.

    Compiled Go packages of the first build are not used: they would hide what differs.

    Args:
        request: what was built.
        artifacts: what `build` gave for it; they are left in place either way.

    Raises:
        BuildNotReproducible: names the first members that differ.
        AperioError, OSError: whatever `build` raises.
    """
    with temporary_folder("aperio-check-") as folder:
        copy = Path(folder) / "project"
        _copy_project(request, copy)
        # What leads to the project does not lead to its copy, and counts for it as little.
        stated = go_environment.counted(request.environment, request.project.path)
        again = replace(
            request,
            project=Project(copy, request.project.manifest),
            out=Path(folder) / "out",
            environment=pip.counted(stated, request.project.path),
            compile_cache=None,
        )
        for one, other in zip(artifacts, build(again), strict=True):
            if one.digest != other.digest:
                raise _differs(one, other)


def _copy_project(request: BuildRequest, destination: Path) -> None:
    """Copy what a build reads: what is packed, the files at the top, the wheels in `vendor`."""
    project = request.project
    language = project.manifest.runtime.language
    names = set(select(project.path, language, out=request.out.absolute()).names)
    with Beneath(project.path) as files:
        places = ((), (VENDOR,)) if files.mode(VENDOR) else ((),)
        for place in places:
            for name in files.names(*place):
                status = files.path(*place, name).lstat()
                if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES:
                    names.add("/".join((*place, name)))
    make_view(project.path, sorted(names), destination)


def _differs(one: Artifact, other: Artifact) -> BuildNotReproducible:
    with one.path.open("rb") as first, other.path.open("rb") as second:
        before = {record.path: record for record in reading.walk(first)}
        after = {record.path: record for record in reading.walk(second)}
    paths = sorted(before.keys() | after.keys())
    members = [path for path in paths if before.get(path) != after.get(path)]
    shown = members[:_NAMED_AT_MOST] or ["the archive itself, in no member's contents"]
    if len(members) > _NAMED_AT_MOST:
        shown.append(f"and {len(members) - _NAMED_AT_MOST} more")
    return BuildNotReproducible(
        f"`{one.path}` was built, but a second build gave other bytes",
        why="\n".join([f"first  {one.digest}", f"second {other.digest}", "differing:", *shown]),
        next=["find what writes these members, and take time, paths and chance out of it"],
    )
