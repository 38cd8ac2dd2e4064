"""`--check`: a project is built twice, in two folders, and the bytes are compared."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.archive import reading
from aperio_cli.building.contents import VENDOR, is_skipped_folder, refuse_depth
from aperio_cli.building.pack import BuildRequest, build
from aperio_cli.errors.building import BuildNotReproducible
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
        _copy_project(request.project.path, copy, without=request.out.absolute())
        again = replace(
            request,
            project=Project(copy, request.project.manifest),
            out=Path(folder) / "out",
            compile_cache=None,
        )
        for one, other in zip(artifacts, build(again), strict=True):
            if one.digest != other.digest:
                raise _differs(one, other)


def _copy_project(source: Path, destination: Path, *, without: Path) -> None:
    """Copy what a build reads: not repositories, caches, environments and earlier artifacts."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        place = Path(folder)
        refuse_depth(source, len(place.relative_to(source).parts))
        is_at_top = place == source
        return {
            name
            for name in names
            if (place / name).is_dir()
            and not (is_at_top and name == VENDOR)
            and (place / name == without or is_skipped_folder(place / name, is_at_top=is_at_top))
        }

    shutil.copytree(source, destination, symlinks=True, ignore=left_out)


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
