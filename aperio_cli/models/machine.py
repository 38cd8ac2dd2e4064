"""The machine that a plugin is to run on, as plain data that somebody else found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.models.protocol import INTERFACE

if TYPE_CHECKING:
    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.models.platform import Platform


@dataclass(frozen=True, slots=True)
class Machine:
    """What a clearance asks of a machine; what was not looked at counts as missing.

    Attributes:
        platform: its operating system and architecture.
        limits: names of the limits that are enforced on it.
        interpreters: those that were looked for, each with what is missing of it; empty when it
            is in place.
        interface: the version of the plugin interface that is spoken, (major, minor).
    """

    platform: Platform
    limits: frozenset[str] = frozenset()
    interpreters: tuple[tuple[Interpreter, str], ...] = ()
    interface: tuple[int, int] = INTERFACE

    def missing(self, interpreter: Interpreter) -> str:
        """Return what is missing of an interpreter; empty when it is in place."""
        unseen = f"{interpreter.executable} was not found"
        return dict(self.interpreters).get(interpreter, unseen)
