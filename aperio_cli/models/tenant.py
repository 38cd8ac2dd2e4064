"""The names of whom a plugin works for: an organization, and one of its integrations."""

from __future__ import annotations

from typing import Final

MOST_NAME_CHARACTERS: Final = 200


def why_no_name(text: str) -> str:
    """Return why a text cannot name an organization or an integration; empty: it can."""
    if not text.strip():
        return "it is blank"
    if not text.isprintable():
        return "expected printable characters on one line"
    if len(text) > MOST_NAME_CHARACTERS:
        return f"expected at most {MOST_NAME_CHARACTERS} characters, found {len(text)}"
    return ""
