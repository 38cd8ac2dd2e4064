"""An artifact file as it is found: what it is, and what it claims to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.archive import reading
from aperio_cli.errors.usage import NotFound
from aperio_cli.files import reading as files_reading
from aperio_cli.models.artifact import Artifact, platform_of_name
from aperio_cli.models.manifest import Manifest

if TYPE_CHECKING:
    from pathlib import Path


def load_artifact(path: Path, *, named: str = "") -> Artifact:
    """Load one artifact file: its digest, its platform by its name, what its manifest claims.

    The claim is good enough to sign the file or to file it under a name.

    Args:
        path: the file.
        named: what to call it in messages, when it was fetched from elsewhere.

    Raises:
        NotFound: nothing is there, or its name does not say a platform.
        ArchiveRefused: the file is not an artifact.
        ManifestInvalid: its manifest cannot be read.
    """
    named = named or str(path)
    subject = f"`{named}`"
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
            reading.read_manifest(content, subject=subject),
            where=f"manifest.yaml in {named}",
        )
        content.seek(0)
        digest = files_reading.hash_file(content)
        size_bytes = content.tell()
    return Artifact(path.absolute(), digest, size_bytes, manifest, platform)
