"""Texts that fit, and that UTF-8 has."""

from __future__ import annotations


def mended(text: str) -> str:
    """Return a text with U+FFFD in the place of every half of a surrogate pair."""
    return str.encode(text, "utf-16", "surrogatepass").decode("utf-16", "replace")


def cut(text: str, most: int) -> str:
    """Return at most so many bytes of a text, whole characters only."""
    return mended(str(text)).encode()[:most].decode(errors="ignore")
