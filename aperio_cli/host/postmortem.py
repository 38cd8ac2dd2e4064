"""What can be said of a process that ended, or that did not start as it should."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.running import PluginCrashed, PluginLimitReached
from aperio_cli.host.process import diagnosis
from aperio_cli.host.sandbox.reaching import limits_reached

if TYPE_CHECKING:
    from aperio_cli.errors.running import PluginFault
    from aperio_cli.host.process.logs import StderrReader
    from aperio_cli.host.process.program import Program
    from aperio_cli.host.process.spawning import Process

LAST_WORDS_S: Final = 0.5
_DYING_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class PostMortem:
    """Looks at the process of one program.

    Attributes:
        program: what was started.
        stderr: what it wrote on its standard error.
    """

    program: Program
    stderr: StderrReader

    async def crash(self, process: Process) -> PluginFault | None:
        """Return the error for a process that has ended; None while it lives."""
        await asyncio.wait([process.exited], timeout=LAST_WORDS_S)
        if not process.exited.done() and self.at_limit(process):
            # The kernel takes its memory apart before its end is seen, which may take a while.
            await asyncio.wait([process.exited], timeout=_DYING_S)
        if not process.exited.done():
            return None
        await process.end_group()  # its grandchildren; and reaps it, for its status
        await process.drain(LAST_WORDS_S)
        return self.at_limit(process) or PluginCrashed(
            f"{self.program.subject} ended while it was at work",
            why=self.evidence(process.returncode),
            next=[self.program.advice.failed],
        )

    def at_limit(self, process: Process) -> PluginLimitReached | None:
        """Return the error for a process that was killed for what it used; None: it was not."""
        reached = limits_reached(self.program.manifest.limits, process.counters())
        if not reached or not reached[0].was_fatal:
            return None
        limit = reached[0].limit
        return PluginLimitReached(
            f"{self.program.subject} was stopped: it reached its limit of {limit}",
            why="\n".join([*map(str, reached), self.evidence(process.returncode)]),
            next=[
                self.program.advice.at_limit.format(plugin=self.program.plugin_id, limit=limit),
            ],
        )

    def evidence(self, returncode: int | None) -> str:
        """Return how it ended, what it said last, and what is odd about its file, in lines."""
        lines = self.stderr.tail.last_lines(diagnosis.SHOWN_LINES)
        return diagnosis.explain(returncode, lines, self.program.binary)
