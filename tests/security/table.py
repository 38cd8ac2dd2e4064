"""The attack table: what an attacker holds, what is tried, which check stops it, with which code.

Rows are functions under `@attack`; `test_attacks` carries them out, and docs/generate.py writes
them into docs/explanation/security.md, in the order in which they are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.security.world import World


@dataclass(frozen=True)
class Attack:
    """One row.

    Attributes:
        holds: what the attacker holds.
        tries: what is tried.
        stopped_by: the check that stops it.
        code: the refusal's code.
        attempt: carries it out.
    """

    holds: str
    tries: str
    stopped_by: str
    code: str
    attempt: Callable[[World], object]

    @property
    def name(self) -> str:
        """The row's name in test reports."""
        return self.attempt.__name__.removeprefix("_")


ATTACKS: list[Attack] = []


def attack(
    *, holds: str, tries: str, stopped_by: str, code: str
) -> Callable[[Callable[[World], object]], Callable[[World], object]]:
    """Adds a row; the function has to end in the refusal."""

    def add(attempt: Callable[[World], object]) -> Callable[[World], object]:
        ATTACKS.append(Attack(holds, tries, stopped_by, code, attempt))
        return attempt

    return add
