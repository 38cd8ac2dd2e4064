"""Callers that would have a host do nothing else: how much of it they get, whatever they do."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin.wire import control_pb2

from aperio_cli.errors.controlling import CallInvalid, HostBusy
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.control import server, service
from aperio_cli.host.control.client import HostClient, connect
from aperio_cli.host.control.controlled import HostFacts
from aperio_cli.host.supervising.instances import InstanceKey
from aperio_cli.models.plugin_id import PluginId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from aperio_cli.errors import AperioError

KEY = InstanceKey(PluginId("acme", "box"), "org", "one")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113, 3.4
WITHIN_S = 20.0


class Controlled:
    """A host that does what a test says, and has nothing."""

    facts = HostFacts(Path("/home"), datetime(2026, 1, 2, tzinfo=UTC))

    def __init__(self) -> None:
        self.failure: AperioError | None = None
        self.may_read = threading.Event()
        self.read = 0
        self.begun: asyncio.Queue[None] = asyncio.Queue()
        self.may_end = asyncio.Event()
        self.has_none = True

    def statuses(self) -> tuple[()]:
        return ()

    def configured(self, _key: Any) -> None:
        return None

    def installed(self) -> tuple[()]:
        assert self.may_read.wait(WITHIN_S)
        self.read += 1
        return ()

    async def pause(self, _key: Any, _by: str, _reason: str) -> None:
        if self.failure:
            raise self.failure

    @contextlib.asynccontextmanager
    async def use(self, _key: Any, _settings: Any) -> AsyncIterator[Any]:
        self.begun.put_nowait(None)
        await self.may_end.wait()
        if self.has_none:
            raise UsageError("there is no plugin")
        yield


@pytest.fixture
def folder() -> Iterator[Path]:
    """One in which a socket can be made."""
    made = Path(tempfile.mkdtemp(prefix="cc", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def play(folder: Path, scene: Callable[[Controlled, HostClient], Awaitable[None]]) -> None:
    """Serve for as long as the scene takes."""

    async def whole() -> None:
        controlled: Any = Controlled()
        async with (
            asyncio.timeout(3 * WITHIN_S),
            server.serve(folder / "s", controlled, lambda _level, _text: None),
        ):
            try:
                async with connect(folder / "s") as client:
                    await scene(controlled, client)
            finally:
                controlled.may_read.set()
                controlled.may_end.set()

    asyncio.run(whole())


def test_what_reads_files_for_callers_leaves_threads_to_the_supervisor(folder: Path) -> None:
    """Whose watchdog would otherwise end the host: it clears plugins in the same threads."""

    async def scene(controlled: Controlled, client: HostClient) -> None:
        request = control_pb2.ListPluginsRequest()
        calls = [asyncio.ensure_future(client.unary("ListPlugins", request)) for _ in range(60)]
        async with asyncio.timeout(WITHIN_S):
            assert (await client.host()).pid
            assert await asyncio.to_thread(int, "7") == 7
        controlled.may_read.set()
        await asyncio.gather(*calls)
        assert controlled.read == 60

    play(folder, scene)


def test_actions_that_callers_leave_are_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each goes on to its end, so that it counts until then."""
    monkeypatch.setattr(service, "_MOST_ACTIONS", 3)
    call = control_pb2.Call(plugin="acme/box", organization_id="org", integration_id="one")
    request = control_pb2.ExecuteRequest(
        call=call, action="box.note", target="t", idempotency_key="k"
    )

    async def scene(controlled: Controlled, client: HostClient) -> None:
        for _ in range(3):
            left = asyncio.ensure_future(client.unary("Execute", request))
            await controlled.begun.get()
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
        with pytest.raises(HostBusy, match=r"box\.note") as caught:
            await client.unary("Execute", request)
        assert caught.value.next == ("call it again later, with the same idempotency key",)
        controlled.may_end.set()
        with pytest.raises(UsageError, match="there is no plugin"):  # there is room again
            await _once_it_is_taken(lambda: client.unary("Execute", request))

    play(folder, scene)


async def _once_it_is_taken(call: Callable[[], Awaitable[Any]]) -> None:
    """Call until there is room."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(HostBusy):
                await call()


@pytest.mark.parametrize("organization", ["\x1b[2J", "a\nb", "x" * 257])
def test_an_organization_that_is_no_name_is_refused_wherever_it_stands(
    folder: Path, organization: str
) -> None:
    """`host status` shows it to whoever looks."""

    async def scene(_controlled: Controlled, client: HostClient) -> None:
        with pytest.raises(CallInvalid, match="organization_id"):
            await client.describe(KEY.plugin, organization)

    play(folder, scene)


@pytest.mark.parametrize("letter", ["x", "é", "漢", "\N{SLICE OF PIZZA}"])
def test_a_long_error_comes_to_its_caller_in_whatever_script(folder: Path, letter: str) -> None:
    """A trailer of more than 8 KiB is thrown away by chance, one of 16 always, with the error."""

    async def scene(controlled: Controlled, client: HostClient) -> None:
        controlled.failure = UsageError(letter * 2000, why=letter * 8000, next=[letter * 2000] * 9)
        for _ in range(10):
            with pytest.raises(UsageError) as caught:
                await client.pause(KEY)
            assert caught.value.what.strip("…") in letter * 2000
            assert len(caught.value.what) > 200

    play(folder, scene)


def test_who_only_holds_a_connection_loses_it_and_who_calls_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are 64 for all callers, `host status` among them."""
    monkeypatch.setattr(server, "IDLE_MS", 300)
    monkeypatch.setattr(server, "HELLO_MS", 300)

    def ends(first: bytes) -> bool:
        with socket.socket(socket.AF_UNIX) as dialled:
            dialled.connect(str(folder / "s"))
            dialled.settimeout(WITHIN_S)
            dialled.sendall(first)
            while dialled.recv(4096):
                pass
        return True

    async def scene(controlled: Controlled, client: HostClient) -> None:
        request = control_pb2.ListPluginsRequest()
        waiting = asyncio.ensure_future(client.unary("ListPlugins", request))
        for first in (b"", PREFACE):
            assert await asyncio.to_thread(ends, first)
        controlled.may_read.set()
        await waiting
        assert (await client.host()).pid

    play(folder, scene)
