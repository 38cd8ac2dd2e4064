"""Which files of a project go into its artifact.

Packed, below `lib/app/` with their paths kept:

* every `*.py` file, and
* every other file inside a Python package (a folder with `__init__.py`, or below one),

except, at any depth: what begins with a dot; folders `__pycache__`, `node_modules`, `tests` and
`*.egg-info`; virtual environments (folders with `pyvenv.cfg`); `test_*.py`, `*_test.py` and
`conftest.py`; bytecode. At the top of the project also the folders `build`, `dist` and `vendor`.
A link anywhere else is refused: what it leads to differs from machine to machine.

Of a Go project nothing is packed but the program; the same files are looked at.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.building import ProjectInvalid
from aperio_cli.errors.files import TreeNotPlain
from aperio_cli.files.reading import kind_of
from aperio_cli.text import show_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VENDOR = "vendor"
"""Folder of a project with wheels that no index has, such as the SDK's."""

_SKIPPED = frozenset({"__pycache__", "node_modules", "tests"})
_SKIPPED_AT_TOP = frozenset({"build", "dist", VENDOR})
_BYTECODE = (".pyc", ".pyo")
_MAX_FILES = 10_000
MAX_DEPTH = 100
"""How deep the folders of a project may be nested; an artifact's paths have 255 bytes."""


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """One file of a project.

    Attributes:
        name: its path in the project, parts joined by `/`.
        path: where it stands.
        is_packed: whether it goes into the artifact.
        is_test: whether it is test code, whose credentials are made up.
    """

    name: str
    path: Path
    is_packed: bool
    is_test: bool


def project_files(root: Path, *, without: Path | None = None) -> tuple[ProjectFile, ...]:
    """Return every file of a project outside of the skipped folders, in the order of their names.

    Args:
        root: the project's folder, absolute.
        without: a further folder to skip, such as the one that artifacts are written to.

    Raises:
        TreeNotPlain: there is a link, a pipe, a socket or a device.
        ProjectInvalid: there are more than 10,000 files, as when a wrong folder was named, or
            folders are nested more than 100 deep.
        OSError: a folder may not be read.
    """
    found: list[ProjectFile] = []
    for file in _walk(root, "", without, in_package=False):
        found.append(file)
        if len(found) > _MAX_FILES:
            raise ProjectInvalid(
                f"`{root}` has more than {_MAX_FILES} files; nothing was built",
                next=["move what is no part of the plugin out of its folder"],
            )
    return tuple(sorted(found, key=lambda file: file.name))


def is_skipped_folder(path: Path, *, is_at_top: bool) -> bool:
    """Return whether nothing in a folder of a project is packed or looked at."""
    return (
        path.name.startswith(".")
        or path.name in _SKIPPED
        or path.name.endswith(".egg-info")
        or (is_at_top and path.name in _SKIPPED_AT_TOP)
        or (path / "pyvenv.cfg").exists()
    )


def refuse_depth(project: Path, depth: int) -> None:
    """Refuse a project whose folders are nested without end, before walking them exhausts us.

    Raises:
        ProjectInvalid: the depth is more than 100.
    """
    if depth > MAX_DEPTH:
        raise ProjectInvalid(
            f"`{project}` was not used: its folders are nested more than {MAX_DEPTH} deep",
            next=["move what is no part of the plugin out of its folder"],
        )


def _walk(
    root: Path, prefix: str, without: Path | None, *, in_package: bool
) -> Iterator[ProjectFile]:
    folder = root / prefix
    is_package = in_package or (bool(prefix) and (folder / "__init__.py").is_file())
    for path in sorted(folder.iterdir()):
        mode = path.lstat().st_mode
        name = prefix + path.name
        if stat.S_ISREG(mode):
            yield _classified(path, name, is_package=is_package)
        elif path == without or is_skipped_folder(path, is_at_top=not prefix):
            continue
        elif stat.S_ISDIR(mode):
            refuse_depth(root, name.count("/") + 1)
            yield from _walk(root, f"{name}/", without, in_package=is_package)
        else:
            raise not_plain(root, name, mode)


def _classified(path: Path, name: str, *, is_package: bool) -> ProjectFile:
    is_python = path.suffix == ".py"
    is_content = is_python or (is_package and path.suffix not in _BYTECODE)
    is_test = _is_go_test(name) if not is_content else is_python and _is_python_test(path.name)
    is_packed = is_content and not is_test and not path.name.startswith(".")
    return ProjectFile(name, path, is_packed, is_test)


def _is_python_test(name: str) -> bool:
    return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"


def _is_go_test(name: str) -> bool:
    """Return whether the go command takes a file for a test or for what tests read."""
    return name.endswith("_test.go") or "testdata" in name.split("/")[:-1]


def not_plain(root: Path, name: str, mode: int) -> TreeNotPlain:
    """Return the error for something in a project that is neither a file nor a folder."""
    return TreeNotPlain(
        f"`{root}` holds what is neither a file nor a folder; nothing was built",
        why=f"{show_path(name)}  is {kind_of(mode)}",
        next=["put a regular file in its place, or move it out of the project"],
    )
