"""Artifacts to sign: real archives with a manifest and a bill of materials."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aperio_cli.archive import writing
from aperio_cli.models.artifact import Artifact
from tests.builders import LINUX, manifest, manifest_bytes

if TYPE_CHECKING:
    from pathlib import Path

NAME = "box-connector_1.2.3_linux_amd64.tar.gz"
SBOM: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "components": [{"type": "library", "name": "dependency", "version": "1.0"}],
}


def artifact_at(
    path: Path, contents: bytes = b"the artifact", *, sbom: bytes | None = b""
) -> Artifact:
    """An artifact file with its description.

    Args:
        path: the file.
        contents: of its program, to tell artifacts apart.
        sbom: other contents of sbom.cdx.json; None for an artifact without one.
    """
    members = [
        writing.Member("manifest.yaml", manifest_bytes()),
        writing.Member("bin/box-connector", contents, executable=True),
    ]
    if sbom is not None:
        members.append(writing.Member("sbom.cdx.json", sbom or json.dumps(SBOM).encode()))
    digest, size_bytes = writing.write(path, members, mtime=0)
    return Artifact(path, digest, size_bytes, manifest(), LINUX)
