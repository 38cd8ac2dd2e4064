"""Artifacts that a command line names: files, or folders of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.archive import reading
from aperio_cli.errors.usage import NotFound
from aperio_cli.files import reading as files_reading
from aperio_cli.models.artifact import SUFFIX, Artifact, platform_of_name
from aperio_cli.models.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence


def find_artifacts(arguments: Sequence[str]) -> list[Artifact]:
    """The artifacts that the arguments name, in their order; a folder gives all of its own, sorted.

    What their manifests say is a claim, good enough to sign or to file them under a name.

    Raises:
        NotFound: nothing is there, or a folder has no artifact, or a name does not say a platform.
        ArchiveRefused: the file is not an artifact.
        ManifestInvalid: its manifest cannot be read.
    """
    return [load_artifact(path) for argument in arguments for path in _files(Path(argument))]


def _files(path: Path) -> list[Path]:
    path = path.expanduser()
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise NotFound(
            f"`{path}` has no artifact: no file ends in {SUFFIX}", next=["`aperio plugin build`"]
        )
    return found


def load_artifact(path: Path) -> Artifact:
    """One artifact file: its digest, its platform by its name, and what its manifest claims.

    Raises:
        NotFound, ArchiveRefused, ManifestInvalid: as `find_artifacts`.
    """
    subject = f"`{path}`"
    try:
        content = files_reading.open_regular(path, follow_links=True)
    except OSError as error:
        raise NotFound(
            f"{subject} cannot be read", why=str(error.strerror), next=["`aperio plugin build`"]
        ) from error
    platform = platform_of_name(path.name)
    with content:
        if platform is None:
            raise NotFound(
                f"{subject} is not an artifact: its name does not say its platform",
                why="expected <name>_<version>_<os>_<arch>.tar.gz",
                next=["`aperio plugin build`"],
            )
        manifest = Manifest.parse(
            reading.read_manifest(content, subject=subject), where=f"manifest.yaml in {path}"
        )
        content.seek(0)
        digest = files_reading.hash_file(content)
        size_bytes = content.tell()
    return Artifact(path.absolute(), digest, size_bytes, manifest, platform)
