"""The source of a Python plugin: does it compile, and what does it state.

Nothing of it is executed: it is parsed and compiled by this interpreter. Where that is older than
every interpreter that the plugin is for, its complaints about syntax prove nothing.
"""

from __future__ import annotations

import ast
import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aperio_cli.building.facts import Facts, Stated, hosts_in
from aperio_cli.errors.building import SourceInvalid
from aperio_cli.files.beneath import Beneath
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from aperio_cli.building.contents import ProjectFile

SDK = "aperio_plugin"
_KINDS = ("connector", "remediation", "destination")
_DECLARATIONS = ("Schema", "Capabilities")
_VERSION = "__version__"
MAX_SOURCE_BYTES = 16 * 1024 * 1024
"""The longest source file that is read."""

_HERE = sys.version_info[1]
_SHOWN = 5


def read_python(project: Path, files: Iterable[ProjectFile], tags: Sequence[str]) -> Facts:
    """Return what the packed source of a plugin states; it has been compiled then.

    Args:
        project: the project's folder, for messages.
        files: what is packed; the ones ending in `.py` are read.
        tags: the interpreters that it is for, such as `cp311`.

    Raises:
        SourceInvalid: a file is not Python of each of these versions.
        FileTooLarge: a file is longer than any source.
        FileNotRegular, OSError: a file may not be read, or is a link.
    """
    minors = [int(tag.removeprefix("cp3")) for tag in tags]
    found = _Found()
    problems: list[str] = []
    with Beneath(project) as opened:
        for file in files:
            if file.name.endswith(".py"):
                data = opened.read(*file.name.split("/"), limit_bytes=MAX_SOURCE_BYTES)
                try:
                    tree = _compiled(file.name, data, min(minors))
                except _NotPython as error:
                    problems.append(str(error))
                else:
                    found.read(file.name, tree)
    if problems and min(minors) <= _HERE:
        raise _invalid(project, problems)
    return found.facts()


class _NotPython(Exception):
    """A file does not compile; the text says where and why."""


def _compiled(name: str, data: bytes, oldest: int) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the author's linter says those
            tree = ast.parse(data, name, feature_version=(3, min(oldest, _HERE)))
            compile(data, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f"\n    {clean(error.text.strip(), limit=120)}" if error.text else ""
        raise _NotPython(f"{name}:{error.lineno or 1}: {error.msg}{line}") from error
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise _NotPython(f"{name}:1: {str(error) or type(error).__name__}") from error
    return tree


def _invalid(project: Path, problems: Sequence[str]) -> SourceInvalid:
    shown = list(problems[:_SHOWN])
    if len(problems) > _SHOWN:
        shown.append(f"and {len(problems) - _SHOWN} more")
    return SourceInvalid(
        f"`{project}` was not built: its source does not compile",
        why="\n".join(shown),
        next=[
            "correct it, then build again",
            "a file that is no Python, such as a template, needs another suffix than .py",
        ],
    )


# ── what it states ────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Found:
    kinds: list[Stated] = field(default_factory=list)
    providers: list[Stated] = field(default_factory=list)
    versions: list[Stated] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def read(self, name: str, tree: ast.Module) -> None:
        """Add what one file states."""
        names = _names_of_sdk(tree)
        constants = dict(_constants(tree))
        for call, (kind, called) in _calls(tree, names):
            where = f"{name}:{call.lineno}"
            if called == "serve":
                self.kinds.append(Stated(kind, where))
            elif called in _DECLARATIONS and (text := _keyword(call, "provider", constants)):
                self.providers.append(Stated(text, where))
        if names and (stated := constants.get(_VERSION)):
            self.versions.append(Stated(stated, name))
        for text in _texts(tree):
            self.hosts |= hosts_in(text)

    def facts(self) -> Facts:
        """Return all of it."""
        found = (tuple(self.kinds), tuple(self.providers), tuple(self.versions))
        return Facts(*found, frozenset(self.hosts))


def _names_of_sdk(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Return what names of a module mean: a kind's module, or something in it.

    `{"connector": ("connector", ""), "serve": ("connector", "serve")}`
    """
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            kind = (node.module or "").removeprefix(f"{SDK}.")
            for alias in node.names:
                if node.module == SDK and alias.name in _KINDS:
                    found[alias.asname or alias.name] = (alias.name, "")
                elif node.module == f"{SDK}.{kind}" and kind in _KINDS:
                    found[alias.asname or alias.name] = (kind, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                kind = alias.name.removeprefix(f"{SDK}.")
                if alias.name == f"{SDK}.{kind}" and kind in _KINDS:
                    found[alias.asname or alias.name] = (kind, "")
    return found


def _calls(
    tree: ast.Module, names: dict[str, tuple[str, str]]
) -> Iterator[tuple[ast.Call, tuple[str, str]]]:
    """Yield the calls of the SDK, each with its kind and the name that is called."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(name) if names.get(name, ("", ""))[1]:
                yield node, names[name]
            case ast.Attribute(ast.Name(name), last) if names.get(name, ("", "?"))[1] == "":
                yield node, (names[name][0], last)
            case ast.Attribute(ast.Attribute(ast.Name(first), second), last):
                whole = f"{first}.{second}"
                if whole in names:
                    yield node, (names[whole][0], last)
            case _:
                continue


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the texts that names of a module are set to, once and for all."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, value.value


def _keyword(call: ast.Call, name: str, constants: dict[str, str]) -> str:
    """Return the text that a call gives for a keyword; empty when nobody can tell."""
    for keyword in call.keywords:
        if keyword.arg == name:
            value = keyword.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
            if isinstance(value, ast.Name):
                return constants.get(value.id, "")
    return ""


def _texts(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module, its documentation left out."""
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            yield from [node.value] if isinstance(node.value, str) else []
