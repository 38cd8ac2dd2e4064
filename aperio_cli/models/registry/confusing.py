"""Ids that people would take for one another; once logged, such a pair could never be parted.

Ids are lower case and ASCII, so letters of other scripts and capitals never get here. What is left
are the lookalikes within ASCII of Unicode Technical Standard 39 (confusables.txt): 0 and o, 1 and
l, rn and m; with a hyphen, which is easily overlooked, counted as one however often it stands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOKALIKES = str.maketrans({"0": "o", "1": "l", "m": "rn"})
_HYPHENS = re.compile("-+")


def skeleton(name: str) -> str:
    """Return what a name looks like: two that look alike have one skeleton."""
    return _HYPHENS.sub("-", name).translate(_LOOKALIKES)


def find_confusing(names: Iterable[str], known: Iterable[str]) -> tuple[str, str] | None:
    """Return the first of the names that looks like another one of them, or of those known.

    Returns:
        The name and the other one, which was there before; None when all are told apart.
    """
    seen = {skeleton(name): name for name in known}
    for name in names:
        other = seen.setdefault(skeleton(name), name)
        if other != name:
            return name, other
    return None
