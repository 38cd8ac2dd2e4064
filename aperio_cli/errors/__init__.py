"""Every error that aperio reports: its code, what happened, why, what to do next, exit status.

One class per cause, in the module of its domain. `docs/reference/errors.md` is generated from
these: the class docstring is what the catalogue says, written for the person who meets the error.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, ClassVar

from aperio_cli.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


DONE = 0
NOT_DONE = 1
USAGE = 2
REFUSED = 3
UNAVAILABLE = 4
PLUGIN_FAILED = 5
INCOMPATIBLE = 6
INTERRUPTED = 130

_LONGEST_WHY = 8000
_DOMAINS = (
    "usage",
    "building",
    "files",
    "trust",
    "registries",
    "installing",
    "running",
    "controlling",
)


class AperioError(Exception):
    """The base of every error that aperio reports to people.

    Attributes:
        code: stable kebab-case name of the cause.
        exit_status: what the process ends with (docs/reference/commands.md).
        what: starts with the thing the user named and says what state it was left in.
        why: evidence; expected and received; may have several lines.
        next: what to do, easiest first; a command stands in backticks.
    """

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = NOT_DONE

    def __init__(self, what: str, *, why: str = "", next: Sequence[str] = ()) -> None:  # noqa: A002 - the field's name in the JSON contract
        super().__init__(what)
        self.what = one_line(what, limit=2000)
        self.why = clean(why, limit=_LONGEST_WHY)
        self.next = tuple(clean(step, limit=2000) for step in next)

    def add_evidence(self, lines: str) -> None:
        """Add to `why` what was found out after the error was raised."""
        self.why = clean(f"{self.why}\n{lines}", limit=_LONGEST_WHY)

    def to_json(self) -> dict[str, object]:
        """Return the error as the `errors` entry of the JSON envelope: code, what, why, next."""
        return {"code": self.code, "what": self.what, "why": self.why, "next": list(self.next)}


class Refusal(AperioError):
    """A refusal for safety: what was asked for was not done because it could not be shown safe."""

    code = "refused"
    exit_status = REFUSED


def catalogue() -> Iterator[type[AperioError]]:
    """Yield every concrete error class, in the order of its code.

    A class that defines its own `code` is concrete; a class without one only groups others.
    """
    for domain in _DOMAINS:
        importlib.import_module(f"{__name__}.{domain}")
    found: dict[str, type[AperioError]] = {}
    pending: list[type[AperioError]] = [AperioError]
    while pending:
        current = pending.pop()
        pending.extend(current.__subclasses__())
        if "code" in vars(current) and current not in {AperioError, Refusal}:
            found[current.code] = current
    return iter(found[code] for code in sorted(found))
