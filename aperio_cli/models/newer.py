"""Records of a newer aperio: one rule for every file that aperio keeps.

A schema has a number, alone (`1`) or behind a name (`aperio.receipt/v1`), and rises when earlier
versions would misread what is written. A record with a higher number is neither read nor changed:
it is not damaged, and whoever repaired it would destroy what the newer version needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aperio_cli.errors.files import RecordNewer
from aperio_cli.text import clean

if TYPE_CHECKING:
    from pathlib import Path

NEXT: Final = ("use that aperio, or a newer one",)
_MOST_DIGITS: Final = 9
_SHOWN: Final = 80


def is_newer(found: object, known: int | str) -> bool:
    """Return whether a schema is a later one of the same kind.

    Args:
        found: what stands in the record, of any type.
        known: the highest that this version reads.
    """
    if isinstance(known, int):
        return isinstance(found, int) and not isinstance(found, bool) and found > known
    if not isinstance(found, str):
        return False
    kind, _, number = known.rpartition("/v")
    found_kind, _, found_number = found.rpartition("/v")
    is_number = found_number.isascii() and found_number.isdecimal()
    return (
        found_kind == kind
        and is_number
        and len(found_number) <= _MOST_DIGITS
        and int(found_number) > int(number)
    )


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
