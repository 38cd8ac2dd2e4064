"""Records of a newer aperio: one rule for every file that aperio keeps.

A schema has a number, alone (`1`) or behind a name (`aperio.receipt/v1`), and rises when earlier
versions would misread what is written. A record with a higher number is neither read nor changed:
it is not damaged, and whoever repaired it would destroy what the newer version needs. One whose
schema is neither that nor the one known here is damaged: no aperio writes `"1"`, `true` or `1.0`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.files import RecordNewer
from aperio_cli.text import clean

if TYPE_CHECKING:
    from pathlib import Path

NEXT: Final = ("use that aperio, or a newer one",)
_NUMBER: Final = re.compile("[1-9][0-9]*", re.ASCII)
_SHOWN: Final = 80


def is_newer(found: object, known: int | str) -> bool:
    """Return whether a schema is a later one of the same kind.

    Args:
        found: what stands in the record, of any type.
        known: the highest that this version reads.
    """
    if isinstance(known, int):
        return type(found) is int and found > known
    if not isinstance(found, str):
        return False
    kind, _, number = known.rpartition("/v")
    found_kind, _, found_number = found.rpartition("/v")
    # Compared as text: a number may be longer than Python cares to convert.
    return (
        found_kind == kind
        and _NUMBER.fullmatch(found_number) is not None
        and (len(found_number), found_number) > (len(number), number)
    )


def is_ours(found: object, known: int | str) -> bool:
    """Return whether a schema is the one known here, of its type too: `true` and `1.0` are not 1.

    Args:
        found: what stands in the record, of any type.
        known: the one that this version reads.
    """
    return type(found) is type(known) and found == known


def evidence(found: object, known: int | str) -> str:
    """Return what is known of a record that is newer, for messages."""
    shown = clean(found, limit=_SHOWN)
    return f"a newer aperio made it\nexpected schema {known}\nfound    schema {shown}"


def refuse_newer(path: Path, found: object, known: int | str, *, deed: str = "") -> None:
    """Refuse a record that a newer aperio made.

    Args:
        path: the record.
        found: its schema.
        known: the highest that this version reads.
        deed: what cannot be done without it: "`acme/box` was not removed"; empty when whoever
            asks says so.

    Raises:
        RecordNewer: it is one.
    """
    if is_newer(found, known):
        began = f"{deed}: " if deed else ""
        what = f"{began}`{path}` was left as it is: a newer aperio made it"
        raise RecordNewer(what, why=evidence(found, known), next=list(NEXT))
