"""The host: plugins under supervision, and what else belongs to a service."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.host.process.surroundings import sweep
from aperio_cli.host.supervising.rules import Rules
from aperio_cli.host.supervising.supervisor import Supervisor
from aperio_cli.paths import runtime_base
from aperio_cli.serving.launching import Launching
from aperio_cli.serving.pausing import Pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.supervising.instances import InstanceKey, Pause, Wanted
    from aperio_cli.running import Collaborators

_RULES: Final = Rules()


def _ignore(*_heard: object) -> None:
    """Do nothing about it."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """Who hears of a host; none of them may block.

    Attributes:
        log: takes what plugins, or the host about them, have to say.
        say: takes what there is to say of the host itself: a level and words.
        beat: called after each reconciliation, to feed a watchdog.
    """

    log: Callable[[InstanceKey, LogRecord], None] = _ignore
    say: Callable[[str, str], object] = _ignore
    beat: Callable[[], None] = _ignore


_NOBODY: Final = Hearing()


class Host:
    """Keeps an operator's plugins up.

    Args:
        collaborate: makes the operator's collaborators, with nothing that was read before: called
            whenever a file that they depend on has changed.
        wanted_of: gives what is to be up by them; called in a thread.
        rules: how patient supervision is.
        hearing: who hears what happens.
        parts: what is up as long as the host is, such as a control server: entered with the host
            before any plugin starts, in this order, and left once all have ended.

    Attributes:
        supervisor: its plugins.
        launching: what they are cleared and launched by.
    """

    def __init__(
        self,
        collaborate: Callable[[], Collaborators],
        wanted_of: Callable[[Collaborators], Iterable[Wanted]],
        rules: Rules = _RULES,
        hearing: Hearing = _NOBODY,
        parts: Sequence[Callable[[Host], AbstractAsyncContextManager[object]]] = (),
    ) -> None:
        self.launching = Launching(collaborate, wanted_of, hearing.say, rules.doubt_s)
        self.supervisor = Supervisor(self.launching, rules, log=hearing.log, beat=hearing.beat)
        self._say = hearing.say
        self._parts = parts

    async def serve(self) -> None:
        """Keep everything up until the host is drained; nothing of a plugin is left then.

        Raises:
            AperioError: the configuration cannot be read at the start.
        """
        _raise_descriptors()
        wanted = await asyncio.to_thread(self.launching.read)
        self.supervisor.paused |= await asyncio.to_thread(self._pauses.read)
        self.launching.retries.append(self._pauses.retry)
        self.supervisor.want(wanted)
        base = runtime_base(self.launching.collaborators.environment)
        await asyncio.to_thread(sweep, base)  # a host before may have been killed
        async with contextlib.AsyncExitStack() as held:
            held.callback(self.launching.close)
            for part in self._parts:
                await held.enter_async_context(part(self))
            await self.supervisor.run()

    def reload(self) -> None:
        """Read everything anew, and begin again with what was given up."""
        self.launching.doubt()
        self.supervisor.retry()

    @functools.cached_property
    def _pauses(self) -> Pauses:
        return Pauses(self.launching.collaborators.paths.host_pauses, self._say)

    async def pause(self, key: InstanceKey, pause: Pause) -> None:
        """Have an instance rest until it is resumed, however often the host is started.

        Raises:
            NotFound: there is no such instance.
        """
        await self.supervisor.pause(key, pause)
        await asyncio.to_thread(self._pauses.write, self.supervisor.paused)

    async def resume(self, key: InstanceKey) -> None:
        """Have an instance go on.

        Raises:
            NotFound: there is no such instance.
        """
        was_paused = key in self.supervisor.paused
        await self.supervisor.resume(key)
        if was_paused:
            await asyncio.to_thread(self._pauses.write, self.supervisor.paused)

    async def drain(self) -> None:
        """End every plugin, and with them the host."""
        await self.supervisor.drain()


def _raise_descriptors() -> None:
    """Allow this process all the descriptors that it may have: each plugin takes a dozen.

    Plugins are given a limit of their own.
    """
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
