"""The source of a Go plugin: what it states, read without a parser of Go.

Whether it compiles, go says itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aperio_cli.building.facts import Facts, Stated, hosts_in
from aperio_cli.building.python_source import MAX_SOURCE_BYTES
from aperio_cli.files.beneath import Beneath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from aperio_cli.building.contents import ProjectFile

# The lexical elements (Go specification) that may hold what looks like code, and are none. One that
# does not end goes as far as it could; each byte is passed once, whatever somebody repeats.
_PARTS = re.compile(
    r"(?P<comment>//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?+)"
    r'|(?P<text>"(?:[^"\\\n]|\\.)*+"?+|`[^`]*+`?+)'
    r"|(?P<rune>'(?:[^'\\\n]|\\.)*+'?+)",
    re.DOTALL,
)
_IMPORT = re.compile(
    r"(?:(?<![\w.])import\s{1,64}+)?(?:(?<![\w.])(?P<name>[\w.]{1,200}+)\s{1,64}+)?"
    r'"[^"\n]*aperio-plugin-go/(?P<kind>connector|remediation|destination)"'
)
_SERVES = re.compile(r"\b(?P<name>\w+)\.Serve\s*\(")
_PROVIDER = re.compile(
    r'\bProvider\s*:\s*(?:"(?P<text>[^"\\\n]*)"|(?P<name>[A-Za-z_]\w*)\s*[,}\n])'
)
_CONSTANT = re.compile(
    r"^[ \t]*+(?:const[ \t]++|var[ \t]++)?(?P<name>[A-Za-z_]\w*+)(?:[ \t]++string\b)?[ \t]*+="
    r'[ \t]*+"(?P<text>[^"\\\n]*+)"',
    re.MULTILINE,
)


def read_go(project: Path, files: Iterable[ProjectFile]) -> Facts:
    """Return what the source of a plugin states.

    Args:
        project: the project's folder.
        files: what its program is compiled from; those of other modules, which stand in folders
            with a go.mod of their own, say nothing about it.

    Raises:
        FileTooLarge: a file is longer than any source.
        FileNotRegular, OSError: a file may not be read, or is a link.
    """
    own = _own_code(project, files)
    constants = {m["name"]: m["text"] for code in own.values() for m in _CONSTANT.finditer(code)}
    return Facts(
        kinds=tuple(stated for name, code in own.items() for stated in _kinds(name, code)),
        providers=tuple(
            Stated(text, _where(name, code, found))
            for name, code in own.items()
            for found in _PROVIDER.finditer(code)
            if (text := found["text"] or constants.get(found["name"] or "", ""))
        ),
        hosts=frozenset(host for code in own.values() for host in hosts_in(code)),
    )


def _is_own(project: Path, file: ProjectFile) -> bool:
    folder = (project / file.name).parent
    while folder != project and folder.is_relative_to(project):
        if (folder / "go.mod").exists():
            return False
        folder = folder.parent
    return True


def _own_code(project: Path, files: Iterable[ProjectFile]) -> dict[str, str]:
    """Return the plugin's own files without comments, by name; lines keep their numbers."""
    found = {}
    with Beneath(project) as opened:
        for file in files:
            if file.name.endswith(".go") and _is_own(project, file):
                data = opened.read(*file.name.split("/"), limit_bytes=MAX_SOURCE_BYTES)
                found[file.name] = _PARTS.sub(_without_comment, data.decode("utf-8", "replace"))
    return found


def _without_comment(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n") or " " if found["comment"] else found[0]


def _kinds(name: str, code: str) -> Iterator[Stated]:
    imported = {
        (found["name"] or found["kind"]).strip(): found["kind"] for found in _IMPORT.finditer(code)
    }
    for found in _SERVES.finditer(code):
        if found["name"] in imported:
            yield Stated(imported[found["name"]], _where(name, code, found))


def _where(name: str, code: str, found: re.Match[str]) -> str:
    return f"{name}:{code.count(chr(10), 0, found.start()) + 1}"
