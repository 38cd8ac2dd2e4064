"""What can be installed, as rows: searched with the standard library only, so that it is quick.

The rows of all catalogues are kept beside the verdicts, together with the state of everything that
they depend on, and hold as long as none of it changes. Nothing is decided by them: whoever installs
a plugin asks its registry anew.

Format of `checks/search.rows`: a line of JSON, `{"schema": 1, "aperio": VERSION, "place": TEXT,
"registry": TEXT, "at": MOMENT, "depends": {PATH: STATE}, "online_until": MOMENT or "", "until":
MOMENT or "", "registries": [[NAME, IS_SIGNED], ...]}`, then one line for each plugin: its texts
between tabs, in the order of `COLUMNS`.
"""

from __future__ import annotations

import json
import os
import time

from aperio_cli import __version__
from aperio_cli.store import listing, verdicts

TYPE_CHECKING = False  # importing `typing` takes longer than the answer; dataclasses, even more
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

_SCHEMA = 1
_MAX_BYTES = 256 * 1024 * 1024
_SHOWN = 50
_WIDEST = 60
_KINDS = ("connector", "remediation", "destination")
COLUMNS = (
    "id", "kind", "latest", "status", "publisher", "verified", "platforms", "registry",
    "description",
)  # fmt: skip
"""What stands in a line; `registry` is a number in `registries`, `verified` 1 or 0."""
_HEADINGS = ("plugin", "latest", "kind", "publisher", "description")


class Asked:
    """What is searched for.

    Attributes:
        term: words that all have to be in the id or the description; empty for every plugin.
        kind: only of this kind; empty for every one.
        verified: only of publishers whom the registry says it knows.
    """

    __slots__ = ("kind", "term", "verified")

    def __init__(self, term: str = "", kind: str = "", *, verified: bool = False) -> None:
        self.term, self.kind, self.verified = term, kind, verified


class Rows:
    """Rows of catalogues.

    Attributes:
        registries: whose they are: name, and whether somebody signed for it.
        lines: one for each plugin, sorted by id.
    """

    __slots__ = ("lines", "registries")

    def __init__(self, registries: Sequence[tuple[str, bool]], lines: Sequence[str]) -> None:
        self.registries, self.lines = registries, lines


class Kept:
    """What rows depend on.

    Attributes:
        depends: states of files and folders, by path.
        online_until: until when the registries need not be asked again; empty: always.
        until: the moment from which they do not count any more; empty: none.
    """

    __slots__ = ("depends", "online_until", "until")

    def __init__(
        self, depends: dict[str, list[int] | None], online_until: str = "", until: str = ""
    ) -> None:
        self.depends, self.online_until, self.until = depends, online_until, until


def parse(words: Sequence[str]) -> tuple[Asked, bool, bool] | None:
    """Return what is asked for, whether as JSON, and whether offline; None for other words."""
    term, kind, flags = "", "", set()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in {"--json", "-j", "--offline", "--verified"}:
            flags.add(word)
        elif word == "--kind" and not kind and rest and rest[0] in _KINDS:
            kind = rest.pop(0)
        elif word.startswith("-") or term or not word:
            return None
        else:
            term = word
    is_json = bool(flags & {"--json", "-j"})
    return Asked(term, kind, verified="--verified" in flags), is_json, "--offline" in flags


def recall(environment: Mapping[str, str], home: str, *, offline: bool) -> Rows | None:
    """Return the rows that are kept; None when they do not hold any more."""
    try:
        with open(path_of(home), encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - quick
            head = json.loads(file.readline())
            if not _holds(head, environment, home, offline=offline):
                return None
            lines = file.read(_MAX_BYTES).split("\n")
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    return Rows([(name, signed) for name, signed in head["registries"]], lines[:-1])


def document(environment: Mapping[str, str], rows: Rows, kept: Kept) -> bytes:
    """Return what to keep of rows."""
    head = {
        **_key(environment),
        "at": _now(),
        "depends": kept.depends,
        "online_until": kept.online_until,
        "until": kept.until,
        "registries": [list(each) for each in rows.registries],
    }
    return "".join(f"{line}\n" for line in (json.dumps(head), *rows.lines)).encode()


def path_of(home: str) -> str:
    """Return where rows of a home are kept."""
    return f"{home}/checks/search.rows"


def line_of(row: Mapping[str, str]) -> str:
    """Return the line of a row, whose texts have neither tabs nor line ends."""
    return "\t".join(" ".join(row[column].split()) for column in COLUMNS)


def found(rows: Rows, asked: Asked) -> list[dict[str, Any]]:
    """Return the rows that were asked for: those whose id has every word first, then by id."""
    words = asked.term.casefold().split()
    hits = [line for line in rows.lines if _is_hit(line, words)] if words else rows.lines
    listed = [_row(line, rows.registries) for line in hits]
    wanted = [
        row
        for row in listed
        if row["kind"] == (asked.kind or row["kind"])
        and (row["is_verified"] or not asked.verified)
        and _is_about(row, words)
    ]
    return sorted(wanted, key=lambda row: (not all(w in row["id"] for w in words), row["id"]))


def render(listed: Sequence[dict[str, Any]]) -> str:
    """Return rows for people, ending in a newline; the first of them when there are many."""
    if not listed:
        return "nothing was found\n"
    table = [_HEADINGS, *(_cells(row) for row in listed[:_SHOWN])]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    if len(listed) > _SHOWN:
        lines.append(f"and {len(listed) - _SHOWN} more: name another word, or `--json` for all")
    return "\n".join(lines) + "\n"


def envelope(listed: list[dict[str, Any]]) -> str:
    """Return the JSON document of `plugin search --json`, ending in a newline."""
    data = {
        "schema": 1,
        "command": ["plugin", "search"],
        "status": "ok",
        "exit_status": 0,
        "data": {"plugins": listed, "older": []},
        "errors": [],
    }
    return json.dumps(data, ensure_ascii=False) + "\n"


def _is_hit(line: str, words: Iterable[str]) -> bool:
    low = line.casefold()
    return all(word in low for word in words)


def _is_about(row: dict[str, Any], words: Iterable[str]) -> bool:
    """Return whether the words are in what people search in, and not in another column."""
    text = f"{row['id']}\t{row['description']}\t{row['publisher']}".casefold()
    return all(word in text for word in words)


def _row(line: str, registries: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    texts = dict(zip(COLUMNS, line.split("\t"), strict=True))
    name, is_signed = registries[int(texts["registry"])]
    return {
        "id": texts["id"],
        "kind": texts["kind"],
        "description": texts["description"],
        "latest": texts["latest"] or None,
        "platforms": texts["platforms"].split(),
        "publisher": texts["publisher"],
        "is_verified": texts["verified"] == "1",
        "status": texts["status"],
        "registry": name,
        "is_signed": is_signed,
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    remark = "" if row["status"] == "active" else f" ({row['status']})"
    description = row["description"]
    if len(description) > _WIDEST:
        description = f"{description[: _WIDEST - 1]}…"
    publisher = f"{row['publisher']}{' (verified)' if row['is_verified'] else ''}"
    return row["id"], (row["latest"] or "-") + remark, row["kind"], publisher, description


def _holds(
    head: dict[str, Any], environment: Mapping[str, str], home: str, *, offline: bool
) -> bool:
    if {key: head.get(key) for key in _key(environment)} != _key(environment):
        return False
    now, ends = _now(), [head["until"], "" if offline else head["online_until"]]
    # Rows of a time yet to come: by a clock that was set back they would never end.
    if now < head["at"] or any(end and now > end for end in ends):
        return False
    depends = head["depends"]
    watched = listing.config_files(environment, home)
    return all(path in depends for path in watched) and all(
        verdicts.state_of(path) == state for path, state in depends.items()
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _key(environment: Mapping[str, str]) -> dict[str, object]:
    """Return what has to be the same for rows to hold, beside the state of files."""
    return {
        "schema": _SCHEMA,
        "aperio": __version__,
        "place": "APERIO_HOME" if environment.get("APERIO_HOME") else "",
        "registry": environment.get("APERIO_REGISTRY", ""),
        "folder": os.getcwd() if environment.get("APERIO_REGISTRY") else "",  # noqa: PTH109 - quick
    }
