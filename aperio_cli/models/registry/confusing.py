"""Ids that people would take for one another; once logged, such a pair could never be parted.

Ids are lower case and ASCII, so letters of other scripts and capitals never get here. What is left
are the lookalikes within ASCII of Unicode Technical Standard 39 (confusables.txt): 0 and o, 1 and
l, rn and m; with a hyphen, which is easily overlooked, counted as one however often it stands.
"""

from __future__ import annotations

import re

_LOOKALIKES = str.maketrans({"0": "o", "1": "l", "m": "rn"})
_HYPHENS = re.compile("-+")


def skeleton(name: str) -> str:
    """Return what a name looks like: two that look alike have one skeleton."""
    return _HYPHENS.sub("-", name).translate(_LOOKALIKES)


class Looks:
    """Names that were taken, by what they look like."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def take(self, name: str) -> str | None:
        """Take a name; return the other one that it looks like, which then keeps its place."""
        other = self._names.setdefault(skeleton(name), name)
        return None if other == name else other
