"""Which files of a project are the plugin: one selection for building, running and testing.

Everything is, code and data alike, but for what is left out by a pattern (below, and those of
`.aperioignore`) and

* a virtual environment (a folder with `pyvenv.cfg`);
* the folder for artifacts and, at the top of a Python project, `dist`, unless it is a package;
  `build` and `vendor` there, unless they hold code: a module, or a package;
* files over 64 MiB, which could not be looked through for secrets;
* links, pipes and the like, which are followed nowhere. Where code belongs they are refused: what
  they lead to differs from machine to machine, and without it the plugin would not be complete.

Of a Go project this is what the go command sees; packed is the program alone.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.archive.rules import DEFAULT_LIMITS, fault_in_path
from aperio_cli.building.ignoring import FILE_NAME as IGNORE_FILE
from aperio_cli.building.ignoring import Ignore, Pattern, read_ignore
from aperio_cli.building.report import LeftOut
from aperio_cli.errors.building import ProjectInvalid
from aperio_cli.errors.files import MemberUnfit, TreeNotPlain
from aperio_cli.files.reading import kind_of
from aperio_cli.text import show_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

VENDOR = "vendor"
"""Folder of a project with wheels that no index has, such as the SDK's."""

APP = "lib/app"
"""Folder of the author's source in the artifact of a Python plugin."""

MAX_FILE_BYTES = 64 * 1024 * 1024
"""The longest file that is packed: the longest that is looked through for secrets."""

MAX_DEPTH = 100
"""How deep the folders of a project may be nested; an artifact's paths have 255 bytes."""

_MAX_SEEN = 250_000
_NAMED_AT_MOST = 20
_OUTPUT = "what a build makes or takes, without code"
_ELSEWHERE = ""  # why: it is in the artifact, but not as a part of the source
_ARTIFACTS = "dist"
_OUTPUTS = {"python": frozenset({"build", _ARTIFACTS, VENDOR}), "go": frozenset[str]()}
_SYSTEMS = ("darwin", "linux", "windows")
_PROCESSORS = ("amd64", "arm64")

_ALWAYS = (
    Pattern("__pycache__/", "bytecode"),
    Pattern("*.py[co]", "bytecode"),
    Pattern("node_modules/", "packages of JavaScript"),
    *(
        Pattern(f"*_{system}_{processor}.tar.gz*", "an artifact")
        for system, processor in itertools.product(_SYSTEMS, _PROCESSORS)
    ),
)
_PATTERNS = {
    "python": (
        Pattern(".*", "hidden"),
        *_ALWAYS,
        Pattern("*.egg-info/", "records of an installation"),
        Pattern("tests/", "test code"),
        Pattern("test_*.py", "test code"),
        Pattern("conftest.py", "test code"),
        Pattern("/manifest.yaml", _ELSEWHERE),
        Pattern("/LICENSE", _ELSEWHERE),
        Pattern("/README.md", _ELSEWHERE),
        Pattern("/requirements.lock", _ELSEWHERE),
        Pattern("/pyproject.toml", "what the project is made with"),
        Pattern(f"/{VENDOR}/*.whl", _ELSEWHERE),
    ),
    "go": (*(Pattern(f"{name}/", "hidden") for name in (".git", ".hg", ".svn")), *_ALWAYS),
}
_CODE = {"python": (".py",), "go": (".go", ".s", ".S", ".h", ".syso", "go.mod", "go.sum")}
_PACKAGE = "__init__.py"


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """One file of a project.

    Attributes:
        name: its path in the project, parts joined by `/`.
        path: where it stands: in the project, or in a copy of it.
    """

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a project is the plugin.

    Attributes:
        names: of the files, in their order, parts joined by `/`.
        left_out: what is none, the folders and files that people know; not what is packed in
            another place.
        ignore: the patterns by which it was selected, and the waivers beside them.
    """

    names: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    ignore: Ignore

    @property
    def paths_left_out(self) -> tuple[str, ...]:
        """Paths of what is left out."""
        return tuple(each.path for each in self.left_out)


def select(root: Path, language: str, *, out: Path | None = None) -> Selection:
    """Select the files of a project that are the plugin.

    Args:
        root: the project's folder, absolute.
        language: the manifest's.
        out: the folder that artifacts are written to.

    Raises:
        TreeNotPlain: a link, a pipe, a socket or a device stands where code belongs.
        ProjectInvalid: there are more files, or more bytes, than an artifact can have; or folders
            are nested more than 100 deep.
        MemberUnfit: an artifact cannot have a file of that name.
        IgnoreInvalid, FileNotRegular: as `read_ignore`.
        OSError: a folder may not be read.
    """
    walk = _Walk(root, language, out, read_ignore(root, _PATTERNS[language]))
    found = sorted(walk.files())
    _refuse_excess(root, found)
    names = tuple(name for name, _ in found)
    if language == "python":
        _refuse_names(names)
    return Selection(names, collapsed(walk.left_out), walk.ignore)


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


class _Walk:
    """One walk through a project.

    Attributes:
        ignore: the patterns in use.
        left_out: path and reason of what was met and left out; a folder ends in `/`.
    """

    def __init__(self, root: Path, language: str, out: Path | None, ignore: Ignore) -> None:
        self.ignore = ignore
        self.left_out: list[tuple[str, str]] = []
        self._root = root
        self._language = language
        self._out = out
        self._seen = 0

    def files(self, prefix: str = "", *, in_package: bool = False) -> Iterator[tuple[str, int]]:
        """Yield name and size of each file below a folder that is part of the plugin."""
        folder = self._root / prefix
        is_package = in_package or (bool(prefix) and (folder / _PACKAGE).is_file())
        for path in sorted(folder.iterdir()):
            self._count()
            name, status = prefix + path.name, path.lstat()
            is_folder = stat.S_ISDIR(status.st_mode)
            pattern = self.ignore.decisive(name, is_folder=is_folder)
            if pattern and not pattern.packs:
                self._leave_out(name, pattern.why, is_folder=is_folder)
            elif not is_folder and not stat.S_ISREG(status.st_mode):
                self._leave_out_link(name, status.st_mode, is_package=is_package)
            elif not pattern and (why := self._why_left_out(path, status, is_at_top=not prefix)):
                self._leave_out(name, why, is_folder=is_folder)
            elif is_folder:
                refuse_depth(self._root, name.count("/") + 1)
                yield from self.files(f"{name}/", in_package=is_package)
            else:
                yield name, status.st_size

    def _why_left_out(self, path: Path, status: os.stat_result, *, is_at_top: bool) -> str:
        """Return why what no pattern fits is left out; empty: it is packed."""
        if stat.S_ISREG(status.st_mode):
            return "over 64 MiB" if status.st_size > MAX_FILE_BYTES else ""
        if (path / "pyvenv.cfg").exists():
            return "a virtual environment"
        if path == self._out or (is_at_top and path.name in _OUTPUTS[self._language]):
            is_package = (path / _PACKAGE).is_file()
            is_made = path == self._out or path.name == _ARTIFACTS
            return "" if is_package or (not is_made and self._holds_code(path)) else _OUTPUT
        return ""

    def _holds_code(self, folder: Path) -> bool:
        """Return whether a folder has a module in it, or a package."""
        for path in folder.iterdir():
            if path.is_symlink():
                continue
            if path.is_file() and path.suffix == ".py":
                return True
            if path.is_dir() and (path / _PACKAGE).is_file():
                return True
        return False

    def _leave_out(self, name: str, why: str, *, is_folder: bool = False) -> None:
        if why != _ELSEWHERE:
            self.left_out.append((f"{name}/" if is_folder else name, why))

    def _leave_out_link(self, name: str, mode: int, *, is_package: bool) -> None:
        """Leave out what is neither a file nor a folder, or refuse it where code belongs."""
        if is_package or name.endswith(_CODE[self._language]):
            raise TreeNotPlain(
                f"`{self._root}` was not used: it holds what is neither a file nor a folder",
                why=f"{show_path(name)}  is {kind_of(mode)}",
                next=[
                    "put a regular file in its place",
                    f"if the plugin does not need it, name it in {IGNORE_FILE}",
                ],
            )
        self._leave_out(name, kind_of(mode))

    def _count(self) -> None:
        self._seen += 1
        if self._seen > _MAX_SEEN:
            raise ProjectInvalid(
                f"`{self._root}` was not used: it has more than {_MAX_SEEN} files",
                next=[
                    f"name folders that are no part of the plugin in {IGNORE_FILE}",
                    "move them out of its folder",
                ],
            )


def _refuse_excess(root: Path, found: Sequence[tuple[str, int]]) -> None:
    """Refuse more than an artifact can hold, before anything is copied or downloaded."""
    size = sum(size for _, size in found)
    limits = DEFAULT_LIMITS
    if len(found) <= limits.members and size <= limits.total_bytes:
        return
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for name, each in found:
        place = f"{name.partition('/')[0]}/" if "/" in name else name
        files[place] += 1
        sizes[place] += each
    by = files if len(found) > limits.members else sizes
    largest = [
        f"{show_path(place)}  {files[place]:,} files, {sizes[place]:,} bytes"
        for place, _ in by.most_common(_NAMED_AT_MOST // 4)
    ]
    raise ProjectInvalid(
        f"`{root}` was not used: it has more than an artifact can hold",
        why=f"at most {limits.members:,} files and {limits.total_bytes:,} bytes\n"
        f"found {len(found):,} files and {size:,} bytes, most of it in\n" + "\n".join(largest),
        next=[f"name what is no part of the plugin in {IGNORE_FILE}, as in .gitignore"],
    )


def _refuse_names(names: Sequence[str]) -> None:
    for name in names:
        if fault := fault_in_path(os.fsencode(f"{APP}/{name}")):
            raise MemberUnfit(
                f"`{show_path(name)}` cannot be packed; the project was not used",
                why=fault.why,
                next=["rename the file", f"name it in {IGNORE_FILE}, as in .gitignore"],
            )


def collapsed(left_out: Sequence[tuple[str, str]]) -> tuple[LeftOut, ...]:
    """Return what was left out; many files of one folder as their number."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path, why in left_out:
        parent = "" if path.endswith("/") else path.rpartition("/")[0]
        groups.setdefault((parent, why), []).append(path)
    told = []
    for (parent, why), paths in groups.items():
        if parent and len(paths) > _NAMED_AT_MOST:
            told.append(LeftOut(f"{parent}/", f"{len(paths):,} files in it: {why}"))
        else:
            told += [LeftOut(path, why) for path in paths]
    return tuple(sorted(told, key=lambda each: each.path))
