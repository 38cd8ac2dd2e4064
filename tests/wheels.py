"""A folder of wheels that stands in for a package index."""

from __future__ import annotations

import zipfile
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def repack(name: str, folder: Path) -> Path:
    """Write the wheel of a distribution of this environment anew, without its scripts.

    The wheel cache has what aperio and its plugins need; this is for the tools of their tests.
    """
    found = metadata.distribution(name)
    path = folder / f"{name.replace('-', '_')}-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in found.files or ():
            if ".." not in file.parts and file.suffix != ".pyc" and file.name != "RECORD":
                archive.writestr(file.as_posix(), file.read_binary())
        info = next(file.parent.as_posix() for file in found.files or () if file.name == "METADATA")
        archive.writestr(f"{info}/RECORD", "")
    return path
