"""The key-value store beside another process that holds the database's lock."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from aperio_plugin.wire import host_pb2

from aperio_cli.data.state import Slice, StateDatabase
from aperio_cli.host.calls.invocation import Invocation, OpenInvocations
from aperio_cli.host.process.surroundings import PrivateFolder
from aperio_cli.host.services import keyvalue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

WITHIN_S = 10.0
SLICE = Slice("owner", "local", "local")


@pytest.fixture
def folder() -> Iterator[PrivateFolder]:
    with tempfile.TemporaryDirectory(prefix="kv-", dir="/tmp") as base:  # a short path
        made = PrivateFolder.make(Path(base), subject="`acme/box`")
        yield made
        made.remove()


class Stage:
    """A store as it is served, and another connection to its database."""

    def __init__(self, folder: PrivateFolder, database: Path) -> None:
        self.folder = folder
        self.database = database
        self.invocation = Invocation()
        self.invocations = OpenInvocations("owner")

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[grpc.aio.Channel]:
        with StateDatabase(self.database) as self.state:
            other = sqlite3.connect(self.database, isolation_level=None)
            with contextlib.closing(other) as self.other:
                server = await keyvalue.serve(self.folder, self.state, self.invocations)
                async with grpc.aio.insecure_channel(f"unix:{self.folder.host_socket}") as channel:
                    yield channel
                await server.stop()

    def when_put(self) -> asyncio.Event:
        """Return what is set when a `Put` is about to be executed."""
        begun, loop, put = asyncio.Event(), asyncio.get_running_loop(), self.state.put

        def noted(*arguments: Any, **options: Any) -> int:
            loop.call_soon_threadsafe(begun.set)
            return put(*arguments, **options)

        self.state.put = noted  # type: ignore[method-assign]
        return begun

    def when_asked(self) -> asyncio.Event:
        """Return what is set when the next call has come to the store."""
        arrived, loop, find = asyncio.Event(), asyncio.get_running_loop(), self.invocations.find

        def noted(invocation_id: str) -> Slice | None:
            loop.call_soon_threadsafe(arrived.set)
            return find(invocation_id)

        self.invocations.find = noted  # type: ignore[method-assign]
        return arrived

    def given_to_thread(self) -> list[object]:
        """Return where the thread's work is noted from now on."""
        given: list[object] = []
        submit = self.state.submit

        def noted(work: Callable[[], Any]) -> Any:
            given.append(work)
            return submit(work)

        self.state.submit = noted  # type: ignore[method-assign]
        return given

    def put(self, channel: grpc.aio.Channel, key: str, value: bytes) -> Any:
        call: Callable[..., Any] = channel.unary_unary(
            "/aperio.plugin.v1.KeyValueStore/Put",
            request_serializer=host_pb2.PutRequest.SerializeToString,
            response_deserializer=host_pb2.PutResponse.FromString,
        )
        return call(
            host_pb2.PutRequest(key=key, value=value),
            metadata=[(keyvalue.INVOCATION_KEY, self.invocation.invocation_id)],
            timeout=WITHIN_S,
        )


@pytest.fixture
def stage(folder: PrivateFolder, tmp_path: Path) -> Stage:
    return Stage(folder, tmp_path / "state.db")


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 3 * WITHIN_S))


def test_the_loop_goes_on_while_another_process_holds_the_lock(stage: Stage) -> None:
    async def main() -> list[int]:
        async with stage.served() as channel:
            with stage.invocations.open(stage.invocation):
                begun = stage.when_put()
                stage.other.execute("BEGIN IMMEDIATE")
                calls = [stage.put(channel, "a", b"%d" % number) for number in range(3)]
                await begun.wait()
                stage.other.execute("COMMIT")  # by the loop, which would wait for itself else
                return [(await call).revision for call in calls]

    assert sorted(run(main())) == [1, 2, 3]


def test_a_call_that_waited_longer_than_its_invocation_changes_nothing(stage: Stage) -> None:
    async def main() -> None:
        async with stage.served() as channel:
            with stage.invocations.open(stage.invocation):
                begun = stage.when_put()
                stage.other.execute("BEGIN IMMEDIATE")
                first = stage.put(channel, "first", b"1")
                await begun.wait()
                arrived = stage.when_asked()
                second = stage.put(channel, "second", b"2")
                await arrived.wait()
            stage.other.execute("COMMIT")
            assert (await first).revision == 1
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await second
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert stage.state.list_keys(SLICE) == (["first"], False)

    run(main())


def test_a_caller_that_gives_up_keeps_its_turn_until_the_work_has_ended(stage: Stage) -> None:
    """Else a plugin could fill the queue of the thread while that waits."""

    async def main() -> None:
        async with stage.served() as channel:
            with stage.invocations.open(stage.invocation):
                begun = stage.when_put()
                stage.other.execute("BEGIN IMMEDIATE")
                given_up = stage.put(channel, "a", b"1")
                await begun.wait()
                given_up.cancel()
                arrived, given = stage.when_asked(), stage.given_to_thread()
                second = stage.put(channel, "a", b"2")
                await arrived.wait()
                assert given == []
                stage.other.execute("COMMIT")
                assert (await second).revision == 2
                item = stage.state.get(SLICE, "a")
                assert item
                assert item.value == b"2"

    run(main())
