"""A folder becomes a Project: its manifest is read, and what every build needs is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.building.contents import VENDOR
from aperio_cli.errors.building import ProjectInvalid
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.artifact import SUFFIX, Project
from aperio_cli.models.manifest import FILE_NAME, MAX_BYTES, Manifest

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "plugin.py"
"""The author's file that serves a Python plugin."""

GO_MODULE = "go.mod"
"""The author's file that makes a folder a Go module; the main package stands beside it."""

_GO_SUMS = "go.sum"

_STARTS = {"python": SCRIPT, "go": GO_MODULE}

DOCUMENTS = ("LICENSE", "README.md")
"""Files that every artifact carries beside its manifest."""

_EXAMPLE = "`aperio plugin init github.com/acme/aperio-plugin-box` makes a new project"


def load_project(path: Path) -> Project:
    """Return the project in a folder, its path absolute.

    The folder may be a link, being what was named; in it no link is followed.

    Args:
        path: the folder that holds manifest.yaml.

    Raises:
        ProjectInvalid: it is not a folder, has no manifest.yaml, or lacks plugin.py or go.mod,
            LICENSE or README.md.
        ManifestInvalid: the manifest is too large, not YAML, or says something wrong.
        ManifestKindUnknown: the manifest's kind is none of the three.
        FileNotRegular: one of these files is a link, a folder, a pipe or a device, or go.sum or
            vendor is a link.
    """
    folder = path.absolute()
    if not folder.is_dir():
        raise _not_a_folder(path)
    with Beneath(folder) as files:
        if files.mode(FILE_NAME) is None:
            raise ProjectInvalid(
                f"`{path}` is not a plugin project: it has no {FILE_NAME}",
                why=_nearby(path),
                next=["name the folder that holds it", _EXAMPLE],
            )
        manifest = Manifest.parse(_read_manifest(files), where=str(path / FILE_NAME))
        wanted = (*DOCUMENTS, _STARTS[manifest.runtime.language])
        missing = [name for name in wanted if not files.has_file(name)]
        for name in (_GO_SUMS, VENDOR):  # a link refuses: go and pip would follow it
            files.mode(name)
    if missing:
        raise ProjectInvalid(
            f"`{path}` is not a complete plugin project: {', '.join(missing)} missing",
            why=f"expected beside {FILE_NAME}: {', '.join(wanted)}",
            next=[f"add {' and '.join(missing)} to the folder"],
        )
    return Project(folder, manifest)


def read_manifest_bytes(folder: Path) -> bytes:
    """Return the contents of a project's manifest.yaml.

    Of one that is too long, a byte more than is allowed: the parser's message names the limit.

    Raises:
        FileNotRegular: it is a link, a folder, a pipe or a device.
        OSError: it may not be read.
    """
    with Beneath(folder) as files:
        return _read_manifest(files)


def _read_manifest(files: Beneath) -> bytes:
    with files.open_file(FILE_NAME) as file:
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
    """Return where a manifest stands one level up or down, which is what was meant most often."""
    found = [child.parent for child in sorted(path.glob(f"*/{FILE_NAME}"))[:3]]
    if (path.absolute().parent / FILE_NAME).is_file():
        found.append(path.absolute().parent)
    return "\n".join(f"there is one in `{folder}`" for folder in found)
