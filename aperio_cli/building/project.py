"""A folder becomes a Project: its manifest is read, and what every build needs is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.errors.building import ProjectInvalid
from aperio_cli.files.reading import open_regular
from aperio_cli.models.artifact import SUFFIX, Project
from aperio_cli.models.manifest import FILE_NAME, MAX_BYTES, Manifest

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "plugin.py"
"""The author's file that serves a Python plugin."""

GO_MODULE = "go.mod"
"""The author's file that makes a folder a Go module; the main package stands beside it."""

_STARTS = {"python": SCRIPT, "go": GO_MODULE}

DOCUMENTS = ("LICENSE", "README.md")
"""Files that every artifact carries beside its manifest."""

_EXAMPLE = "`aperio plugin init github.com/acme/aperio-plugin-box` makes a new project"


def load_project(path: Path) -> Project:
    """The project in a folder, its path absolute.

    Args:
        path: the folder that holds manifest.yaml.

    Raises:
        ProjectInvalid: it is not a folder, has no manifest.yaml, or lacks plugin.py or go.mod,
            LICENSE or README.md.
        ManifestInvalid: the manifest is too large, not YAML, or says something wrong.
        ManifestKindUnknown: the manifest's kind is none of the three.
        FileNotRegular: manifest.yaml is a folder, a pipe or a device.
    """
    folder = path.absolute()
    if not folder.is_dir():
        raise _not_a_folder(path)
    if not (folder / FILE_NAME).exists():
        raise ProjectInvalid(
            f"`{path}` is not a plugin project: it has no {FILE_NAME}",
            why=_nearby(path),
            next=["name the folder that holds it", _EXAMPLE],
        )
    manifest = Manifest.parse(read_manifest_bytes(folder), where=str(path / FILE_NAME))
    wanted = (*DOCUMENTS, _STARTS[manifest.runtime.language])
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise ProjectInvalid(
            f"`{path}` is not a complete plugin project: {', '.join(missing)} missing",
            why=f"expected beside {FILE_NAME}: {', '.join(wanted)}",
            next=[f"add {' and '.join(missing)} to the folder"],
        )
    return Project(folder, manifest)


def read_manifest_bytes(folder: Path) -> bytes:
    """The contents of a project's manifest.yaml.

    Of one that is too long, a byte more than is allowed: the parser's message names the limit.

    Raises:
        FileNotRegular: it is a folder, a pipe or a device.
        OSError: it may not be read.
    """
    with open_regular(folder / FILE_NAME, follow_links=True) as file:
        return file.read(MAX_BYTES + 1)


def _not_a_folder(path: Path) -> ProjectInvalid:
    if path.name.endswith(SUFFIX):
        return ProjectInvalid(
            f"`{path}` is not a plugin project: it is an artifact",
            next=[
                "name the project's folder",
                f"to use the artifact: `aperio plugin install {path}`",
            ],
        )
    found = "it is a file" if path.exists() else "there is no such folder"
    return ProjectInvalid(
        f"`{path}` is not a plugin project: {found}",
        next=["name the folder that holds manifest.yaml", _EXAMPLE],
    )


def _nearby(path: Path) -> str:
    """Where a manifest stands one level up or down, which is what was meant most often."""
    found = [child.parent for child in sorted(path.glob(f"*/{FILE_NAME}"))[:3]]
    if (path.absolute().parent / FILE_NAME).is_file():
        found.append(path.absolute().parent)
    return "\n".join(f"there is one in `{folder}`" for folder in found)
