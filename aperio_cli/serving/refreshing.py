"""A host asks registries by itself what they say against what is installed.

What it hears is remembered as after any command, and stops what is revoked (`serving.noticing`).
That a registry cannot be read stops nothing: it is said once, and asked again the next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.registries import RegistryUnconfigured
from aperio_cli.registry.refreshing import Finding, find_faults, refresh
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aperio_cli.registry import Registry
    from aperio_cli.store.installed import Store

_HOUR_S: Final = 3600.0
_FIRST_S: Final = 300.0
_JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Heard:
    """What a host has heard from registries.

    Attributes:
        at: when all of them were last read, RFC 3339 in UTC; empty: not since it runs.
        problem: why they could not be read since; empty: nothing is wrong.
    """

    at: str = ""
    problem: str = ""


class Refreshing:
    """Asks registries again and again.

    Args:
        open_registry: gives the registries as they are stated now; called in a thread.
        store_of: gives what is installed, by then; likewise.
        hours_of: gives after how many hours to ask again; 0: not by itself.
        say: is told what an operator has to know.

    Attributes:
        heard: what it has heard.
    """

    def __init__(
        self,
        open_registry: Callable[[], Registry],
        store_of: Callable[[], Store],
        hours_of: Callable[[], float],
        say: Callable[[str, str], object],
    ) -> None:
        self.heard = Heard()
        self._open_registry = open_registry
        self._store_of = store_of
        self._hours_of = hours_of
        self._say = say
        self._told: set[tuple[str, str, str]] = set()
        self._is_due = asyncio.Event()

    def ask_now(self) -> None:
        """Ask at once, and not only when it is time."""
        self._is_due.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask for the length of a block."""
        task = asyncio.create_task(self._keep(), name="refresh")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _keep(self) -> None:
        # Machines that start together do not ask together.
        wait_s = random.random() * min(_FIRST_S, self._hours_of() * _HOUR_S)  # noqa: S311 - jitter
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s if self._hours_of() else None):
                    await self._is_due.wait()
            self._is_due.clear()
            await self._in_background()
            jitter = 1.0 + _JITTER * (2.0 * random.random() - 1.0)  # noqa: S311 - as above
            wait_s = self._hours_of() * _HOUR_S * jitter

    async def _in_background(self) -> None:
        """Ask in a thread of its own: a host that ends does not wait for a slow registry."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def work() -> None:
            try:
                self.ask()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(done.set)

        threading.Thread(target=work, name="refresh", daemon=True).start()
        await done.wait()

    def ask(self) -> None:
        """Ask once, and tell what is known against what is installed. Blocks."""
        try:
            receipts = self._store_of().receipts()
            registry = self._open_registry()
            refresh(registry, dict.fromkeys(receipt.id for receipt in receipts))
            versions = [(receipt.id, receipt.version) for receipt in receipts]
            found = find_faults(registry, versions)
        except RegistryUnconfigured:  # nobody to ask
            self.heard = Heard()
            return
        except Exception as problem:  # noqa: BLE001 - whatever it is, plugins go on
            self._failed(problem)
            return
        if self.heard.problem:
            self._say("info", "the registries can be read again")
        self.heard = Heard(clock.timestamp())
        self._tell(found)

    def _failed(self, problem: Exception) -> None:
        why = problem.why if isinstance(problem, AperioError) else ""
        text = " ".join(filter(None, [str(problem), why.partition("\n")[0]]))
        if not self.heard.problem:
            self._say("warn", f"what registries say against versions was not heard: {text}")
            self._say("warn", "what runs goes on; they are asked again the next time")
        self.heard = Heard(self.heard.at, text)

    def _tell(self, found: list[Finding]) -> None:
        for finding in found:
            told = (str(finding.id), finding.version, finding.advisory.id)
            if told in self._told:
                continue
            self._told.add(told)
            fixed = ", ".join(finding.advisory.fixed_in(finding.id))
            then = f"; fixed in {fixed}: `aperio plugin update {finding.id}`" if fixed else ""
            self._say(
                "warn",
                f"`{finding.id}` {finding.version} has a known fault:"
                f" {one_line(f'{finding.advisory.id} {finding.advisory.summary}')}{one_line(then)}",
            )
