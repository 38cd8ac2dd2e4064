"""What stands between a project and an installed plugin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.models.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.digest import Digest
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.reading import Table

BUNDLE_SUFFIX = ".sigstore.json"
ATTESTATIONS_SUFFIX = ".intoto.jsonl"
"""Behind an artifact's name: further statements about it, one Sigstore bundle a line."""
SUFFIX = ".tar.gz"
MAX_BUNDLE_BYTES = 1024 * 1024
MAX_ATTESTATIONS_BYTES = 16 * 1024 * 1024
_PYTHON_VERSION = re.compile(r"\d{1,3}\.\d{1,3}(?:\.\S{1,40})?", re.ASCII)


def artifact_name(manifest: Manifest, platform: Platform) -> str:
    """Return the file name of an artifact: `<name>_<version>_<os>_<arch>.tar.gz`."""
    return published_name(manifest.id, manifest.version, platform)


def published_name(plugin: PluginId, version: str, platform: Platform) -> str:
    """Return the file name of an artifact, for whoever has no manifest of it."""
    return f"{plugin.name}_{version}_{platform.slug}{SUFFIX}"


def platform_of_name(file_name: str) -> Platform | None:
    """Return the platform that an artifact's file name ends in; None when it states none."""
    stem = file_name.removesuffix(SUFFIX)
    parts = stem.rsplit("_", 2)
    if stem == file_name or len(parts) != 3:  # noqa: PLR2004 - name, system, architecture
        return None
    try:
        return Platform.parse(f"{parts[1]}/{parts[2]}")
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Project:
    """A plugin under development: a folder whose manifest was read."""

    path: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Artifact:
    """A packed plugin for one platform.

    Attributes:
        path: the `.tar.gz` file.
        digest: digest of the whole file.
        size: length of the file in bytes.
        manifest: what its first member says; a claim until `verifying` has decided.
        platform: the platform it was built for.
    """

    path: Path
    digest: Digest
    size: int
    manifest: Manifest
    platform: Platform


@dataclass(frozen=True, slots=True)
class SignedArtifact:
    """An artifact with a Sigstore bundle beside it, and signed statements about it.

    Attributes:
        artifact: what was signed.
        bundle_path: its Sigstore bundle.
        attestations_path: the statements, one Sigstore bundle a line.
        statements: their predicate types, in that order.
        signer: who signed all of it.
    """

    artifact: Artifact
    bundle_path: Path
    attestations_path: Path
    statements: tuple[str, ...]
    signer: Signer


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python interpreter that was run once and said what it is.

    Attributes:
        executable: its resolved `sys.executable`.
        version: `X.Y.Z`.
        tag: `cpXY`.
        base_prefix: its `sys.base_prefix`.
    """

    executable: str
    version: str
    tag: str
    base_prefix: str

    def to_json(self) -> dict[str, object]:
        """Return the interpreter as receipts and reports carry it."""
        return {
            "executable": self.executable,
            "version": self.version,
            "tag": self.tag,
            "base_prefix": self.base_prefix,
        }

    @classmethod
    def from_json(cls, table: Table) -> Interpreter:
        """Return the interpreter that a record carries."""
        version = table.recorded("version")
        if not _PYTHON_VERSION.fullmatch(version):
            table.fail("version", "expected a version of Python")
        return cls(
            executable=table.recorded("executable"),
            version=version,
            tag=table.recorded("tag"),
            base_prefix=table.recorded("base_prefix"),
        )


@dataclass(frozen=True, slots=True)
class DevelopmentBuild:
    """A project made runnable without packing it.

    A Python project is a copy of what would be packed plus locked dependencies, both in a cache; a
    Go project is a program compiled into the cache.

    Nothing is packed or stored; only `building.develop` makes one, and the host marks it
    `development` at every start.

    Attributes:
        project: the folder and its manifest.
        script: the Python file that the interpreter executes; or the program itself.
        interpreter: what executes the script; None when it is a program.
        dependencies: folder with the locked ones, put first on the import path; None when it is
            a program.
        left_out: what of the project's folder is not there when it runs; a folder ends in `/`.
        not_counted: the author's variables that had no effect, because the project reaches where
            they lead.
    """

    project: Project
    script: Path
    interpreter: Interpreter | None = None
    dependencies: Path | None = None
    left_out: tuple[str, ...] = ()
    not_counted: tuple[str, ...] = ()
