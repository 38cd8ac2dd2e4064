"""The end of a run: ask, wait, terminate, kill, clean up; each an action of the lifecycle."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.running import PluginFault
from aperio_cli.host.lifecycle import Event
from aperio_cli.host.starting import first_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.host.held import Held
    from aperio_cli.host.process.spawning import Process
    from aperio_cli.host.wire.channel import Calls

_SHUTDOWN: Final = "/plugin.GRPCController/Shutdown"


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop.

    Attributes:
        held: what is let go.
        left_s: seconds until the step in progress is late.
    """

    held: Held
    left_s: Callable[[], float]

    async def ask(self, calls: Calls) -> Event:
        """Ask for shutdown; go-plugin answers from a server that is just closing.

        Every outcome is as good.
        """
        from google.protobuf.empty_pb2 import Empty

        with contextlib.suppress(PluginFault):
            await calls.unary(_SHUTDOWN, Empty(), Empty, timeout_s=self.left_s())
        return Event.DONE

    async def await_exit(self, process: Process) -> Event:
        """Wait for the process to end."""
        await first_of(self.left_s(), process.exited)
        return Event.EXITED if process.exited.done() else Event.LATE

    async def terminate(self, process: Process) -> Event:
        """Send SIGTERM to the whole group, and wait for the process to end."""
        process.terminate_group()
        return await self.await_exit(process)

    async def kill(self) -> Event:
        """Kill the whole group and reap the process, when there is one."""
        if self.held.process:
            await self.held.process.end_group()
        return Event.DONE

    async def clean_up(self) -> Event:
        """Drain the pipes, then close and remove everything."""
        held = self.held
        if held.process:
            await held.process.drain(self.left_s())
        if held.stdio:
            await asyncio.wait([held.stdio], timeout=self.left_s())
            held.stdio.cancel()
        await held.close_grpc()
        held.release()
        return Event.DONE
