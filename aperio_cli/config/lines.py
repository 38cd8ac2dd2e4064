"""Where in the text of a TOML file something stands: for messages, and for taking entries out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER = re.compile(r"\s*\[")
_NOTHING = re.compile(r"\s*(?:#.*)?")


@dataclass(frozen=True, slots=True)
class Span:
    """Lines of a file: from `start` to before `end`, counted from 0."""

    start: int
    end: int


def find_entry(lines: Sequence[str], section: str, number: int = 0) -> Span | None:
    """The lines of a table, or of the n-th of an array of tables, with its header.

    They end where the next header stands; comments and blank lines before that are not its own.
    None for tables in another form, such as `publishers = [{...}]`.

    Args:
        lines: the file.
        section: name of the table, such as `publishers` or `policy.organizations`.
        number: which of the tables of that name, from 0.
    """
    starts = [index for index, line in enumerate(lines) if _opens(section, line)]
    if number >= len(starts):
        return None
    start = starts[number]
    rest = range(start + 1, len(lines))
    end = next((index for index in rest if _HEADER.match(lines[index])), len(lines))
    while end > start + 1 and _NOTHING.fullmatch(lines[end - 1]):
        end -= 1
    return Span(start, end)


def line_of(lines: Sequence[str], section: str, number: int, key: str) -> int | None:
    """The line, counted from 1, that sets a key of a table; else its header; else any such line.

    Args:
        lines: the file.
        section: as for `find_entry`; empty for keys outside of any table.
        number: as for `find_entry`.
        key: the key, or the name of a table.
    """
    span = find_entry(lines, section, number) if section else None
    if span:
        rest = range(span.start + 1, span.end)
        return next((n + 1 for n in rest if _sets(key, lines[n])), span.start + 1)
    return next((n for n, line in enumerate(lines, 1) if _sets(key, line)), None)


def _opens(section: str, line: str) -> bool:
    name = r"\s*\.\s*".join(_quoted(part) for part in section.split("."))
    return bool(re.match(rf"\s*\[\[?\s*{name}\s*\]", line))


def _sets(key: str, line: str) -> bool:
    name = _quoted(key)
    return bool(re.match(rf"\s*(?:{name}\s*[=.]|\[\[?\s*{name}\s*[\].])", line))


def _quoted(key: str) -> str:
    return rf"[\"']?{re.escape(key)}[\"']?"
