"""What can be said of a process that ended, or that did not start as it should."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.running import PluginCrashed
from aperio_cli.host.process import diagnosis

if TYPE_CHECKING:
    from aperio_cli.host.process.logs import StderrReader
    from aperio_cli.host.process.program import Program
    from aperio_cli.host.process.spawning import Process

LAST_WORDS_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class PostMortem:
    """Looks at the process of one program.

    Attributes:
        program: what was started.
        stderr: what it wrote on its standard error.
    """

    program: Program
    stderr: StderrReader

    async def crash(self, process: Process) -> PluginCrashed | None:
        """Return the error for a process that has ended; None while it lives."""
        await asyncio.wait([process.exited], timeout=LAST_WORDS_S)
        if not process.exited.done():
            return None
        process.kill_group()  # its grandchildren; and reaps it, for its status
        await process.drain(LAST_WORDS_S)
        return PluginCrashed(
            f"{self.program.subject} ended while it was at work",
            why=self.evidence(process.returncode),
            next=[self.program.advice.failed],
        )

    def evidence(self, returncode: int | None) -> str:
        """Return how it ended, what it said last, and what is odd about its file, in lines."""
        lines = self.stderr.tail.last_lines(diagnosis.SHOWN_LINES)
        return diagnosis.explain(returncode, lines, self.program.binary)
