"""Artifacts that a command line names: files, or folders of them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from aperio_cli.archive.loading import load_artifact
from aperio_cli.errors.usage import NotFound
from aperio_cli.files.beneath import require_files
from aperio_cli.files.naming import as_path
from aperio_cli.models.address import is_address, shown
from aperio_cli.models.artifact import SUFFIX
from aperio_cli.models.manifest import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aperio_cli.models.artifact import Artifact


def find_artifacts(arguments: Sequence[str]) -> list[Artifact]:
    """Return the artifacts that are named, in their order; a folder gives all of its own, sorted.

    What is named may be a link; what is found in a folder may not, for nobody named that.

    What their manifests say is a claim, good enough to sign or to file them under a name.

    Raises:
        NotFound: nothing is there, or a folder has no artifact, or a name does not say a platform.
        ArchiveRefused: the file is not an artifact.
        ManifestInvalid: its manifest cannot be read.
        FileNotRegular: a link, a folder, a pipe or a device has the name of an artifact.
    """
    return [load_artifact(path) for argument in arguments for path in _files(argument)]


def _files(argument: str) -> list[Path]:
    if is_address(argument):
        raise NotFound(
            f"`{shown(argument)}` was not signed: it is an address",
            why="who signs has to have what is signed, as a file",
            next=["download it, then name the file"],
        )
    path = as_path(argument)
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise NotFound(f"`{path}` has no artifact: no file ends in {SUFFIX}", next=_steps(path))
    require_files(path, [each.name for each in found])
    return found


def _steps(folder: Path) -> list[str]:
    """Return where the artifacts of a project are, or how they are made."""
    named = shlex.quote(str(folder))
    if any((folder / "dist").glob(f"*{SUFFIX}")):
        return [f"those that were built of it: {shlex.quote(str(folder / 'dist'))}"]
    if (folder / FILE_NAME).is_file():
        return [f"`aperio plugin build {named}`"]
    return ["`aperio plugin build`"]
