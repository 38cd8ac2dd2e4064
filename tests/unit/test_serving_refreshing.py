"""How often a host asks registries, and what it says of what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from aperio_cli.errors.registries import RegistryUnconfigured
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.registry.advisories import Advisory, Affected
from aperio_cli.serving.refreshing import Heard, Refreshing

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.store.installed import Store

BOX = PluginId("acme", "box")
KNOWN = Advisory(
    id="OSV-1",
    modified="2026-01-02T03:04:05Z",
    withdrawn="",
    summary="it leaks\x1b[31m",
    severity=(),
    aliases=(),
    references=(),
    affected=(Affected(BOX, frozenset({"1.0.0"}), ()),),
)


def made(open_registry: Callable[[], Any], hours: float = 1.0) -> tuple[Refreshing, list[str]]:
    """One that asks about a plugin, and what it has said."""
    said: list[str] = []
    store = SimpleNamespace(receipts=lambda: [SimpleNamespace(id=BOX, version="1.0.0")])
    refreshing = Refreshing(
        open_registry,
        lambda: cast("Store", store),
        lambda: hours,
        lambda level, words: said.append(f"{level}: {words}"),
    )
    return refreshing, said


def registry(*advisories: Advisory) -> Any:
    reader = SimpleNamespace(name="acme", advisories=lambda: advisories)
    return SimpleNamespace(
        ruled=[SimpleNamespace(reader=reader)],
        look_up=lambda _ref: None,
        hearing_together=contextlib.nullcontext,
    )


def test_a_known_fault_is_said_once_with_its_name() -> None:
    refreshing, said = made(lambda: registry(KNOWN))
    refreshing.ask()
    refreshing.ask()
    (line,) = said
    assert line.startswith("warn: `acme/box` 1.0.0 has a known fault: OSV-1 it leaks")
    assert "\x1b" not in line
    assert refreshing.heard.at


def test_what_cannot_be_read_is_said_once_until_it_can() -> None:
    answers: list[Any] = [OSError("gone"), OSError("gone"), registry(), OSError("gone again")]

    def opened() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    refreshing, said = made(opened)
    refreshing.ask()
    refreshing.ask()
    assert refreshing.heard == Heard("", "gone")
    assert len(said) == 2
    refreshing.ask()
    refreshing.ask()
    assert refreshing.heard.problem == "gone again"
    assert refreshing.heard.at
    assert [line.partition(" ")[0] for line in said] == [
        "warn:",
        "warn:",
        "info:",
        "warn:",
        "warn:",
    ]


def test_without_a_registry_nothing_is_said() -> None:
    def opened() -> Any:
        raise RegistryUnconfigured("no registry is configured")

    refreshing, said = made(opened)
    refreshing.ask()
    assert (refreshing.heard, said) == (Heard(), [])


def test_registries_are_asked_again_and_again_and_off_only_when_told() -> None:
    asked = threading.Semaphore(0)

    def opened() -> Any:
        asked.release()
        return registry()

    async def whole(hours: float, times: int, *, is_told: bool) -> None:
        refreshing, _ = made(opened, hours)
        async with refreshing.running():
            if is_told:
                refreshing.ask_now()
            for _ in range(times):
                assert await asyncio.to_thread(asked.acquire, timeout=10)

    asyncio.run(whole(0.01 / 3600, 3, is_told=False))
    while asked.acquire(blocking=False):
        pass
    asyncio.run(whole(0.0, 1, is_told=True))
    assert not asked.acquire(blocking=False)


def test_a_host_that_ends_does_not_wait_for_a_slow_registry() -> None:
    begun, never = threading.Event(), threading.Event()

    def opened() -> Any:
        begun.set()
        never.wait(60)
        return registry()

    async def whole() -> None:
        refreshing, _ = made(opened, 1e-9)
        async with refreshing.running():
            assert await asyncio.to_thread(begun.wait, 10)

    asyncio.run(asyncio.wait_for(whole(), 10))
    never.set()
