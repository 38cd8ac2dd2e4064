"""Text from outside, made safe to show."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEPT_CONTROLS = frozenset("\n\t")
_LONGEST_WORD = 200
_C1_CONTROL = re.compile("[\x80-\x9f]")


def clean(text: object, *, limit: int = 400) -> str:
    """Outside text made safe to show: no control, format or bidirectional characters, bounded.

    Args:
        text: anything; bytes are decoded as UTF-8 with replacement.
        limit: the longest result in characters; a longer text ends in an ellipsis.
    """
    raw = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    if len(raw) <= limit and raw.isascii() and raw.isprintable():
        return raw
    raw = raw[: limit * 4]
    safe = "".join(
        character
        if character in _KEPT_CONTROLS or unicodedata.category(character)[0] != "C"
        else "\N{REPLACEMENT CHARACTER}"
        for character in raw
    )
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def one_line(text: object, *, limit: int = 400) -> str:
    """Outside text as `clean` gives it, and without a line end by which it could look like ours."""
    return clean(text, limit=limit).replace("\n", " ")


def page(path: str) -> str:
    """Return where a page of aperio's documentation is, for whoever has no clone of it."""
    return f"https://github.com/writer/aperio/blob/main/{path}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with what it counts: "1 plugin", "2 plugins".

    Args:
        count: how many.
        noun: for one of them.
        plural: for all other numbers; by default with an `s`.
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Return the step that names the known word nearest to another; none where nothing is near."""
    import difflib  # every start reads this module, and few need it

    close = difflib.get_close_matches(word[:_LONGEST_WORD], list(known), n=1)
    return [f"did you mean `{one_line(found)}`?" for found in close]


def escape_unshown(json_text: str) -> str:
    """Valid JSON text of the same value, for people: what `clean` would take out is escaped."""
    if json_text.isascii():
        return json_text
    import json  # every start reads this module, and few need it

    return "".join(
        character
        if character in _KEPT_CONTROLS or unicodedata.category(character)[0] != "C"
        else json.dumps(character)[1:-1]
        for character in json_text
    )


def escape_controls(json_text: str) -> str:
    """Valid JSON text of the same value, without control characters that a terminal may obey.

    Those are U+0080 to U+009F, which only strings can hold; below U+0020 JSON (RFC 8259, section 7)
    has no raw ones.
    """
    if json_text.isascii():
        return json_text
    return _C1_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)


def show_path(path: str | bytes) -> str:
    """Return a path from outside, safe to show within one line: bounded, without controls."""
    return clean(path).replace("\n", "\N{REPLACEMENT CHARACTER}").replace("\t", " ")
