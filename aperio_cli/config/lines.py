"""Where in the text of a TOML file something stands, for messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER = re.compile(r"\s*\[")


def line_of(lines: Sequence[str], section: str, number: int, key: str) -> int | None:
    """Return the line, from 1, that sets a key of a table; else its header; else any such line.

    None for tables in another form, such as `publishers = [{...}]`.

    Args:
        lines: the file.
        section: name of the table, such as `publishers` or `policy.organizations`; empty for keys
            outside of any table.
        number: which of the tables of that name, from 0.
        key: the key, or the name of a table.
    """
    starts = [index for index, line in enumerate(lines) if section and _opens(section, line)]
    if number < len(starts):
        start = starts[number]
        rest = range(start + 1, len(lines))
        end = next((index for index in rest if _HEADER.match(lines[index])), len(lines))
        return next((n + 1 for n in range(start + 1, end) if _sets(key, lines[n])), start + 1)
    return next((n for n, line in enumerate(lines, 1) if _sets(key, line)), None)


def _opens(section: str, line: str) -> bool:
    name = r"\s*\.\s*".join(_quoted(part) for part in section.split("."))
    return bool(re.match(rf"\s*\[\[?\s*{name}\s*\]", line))


def _sets(key: str, line: str) -> bool:
    name = _quoted(key)
    return bool(re.match(rf"\s*(?:{name}\s*[=.]|\[\[?\s*{name}\s*[\].])", line))


def _quoted(key: str) -> str:
    return rf"[\"']?{re.escape(key)}[\"']?"
