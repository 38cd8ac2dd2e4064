"""Bad callers of the control API: refused, served or bounded; and a host that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin.limits import MAX_BATCH
from aperio_plugin.wire import control_pb2

from aperio_cli.errors import AperioError
from aperio_cli.errors.controlling import CallInvalid, HostNotRunning, SocketPathTooLong
from aperio_cli.host.calls.stamping import MOST_ITEMS
from aperio_cli.host.control.client import HostClient, connect
from aperio_cli.host.control.delivering import MOST_ENVELOPES
from aperio_cli.host.control.gate import MOST_CONNECTIONS, Gate
from aperio_cli.host.control.server import MOST_STREAMS
from aperio_cli.models.plugin_id import PluginId

from .conftest import wait_until
from .test_control import (
    ROOT,
    TIMEOUT_S,
    Served,
    call_of,
    end,
    envelope,
    serving,
    short_folder,
    start,
    sync_request,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NOBODY = 65534
MOST_GROWTH_KIB = 48 * 1024
_DIAL = """
import os, socket, sys
os.setgroups([]) if sys.argv[2] != str(os.getuid()) else None
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as dialled:
    dialled.settimeout(10)
    dialled.connect(sys.argv[1])
    preface = b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n"
    try:
        dialled.sendall(preface + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        print(len(dialled.recv(9)))
    except ConnectionError:
        print(0)
"""
"""HTTP/2's preface and empty settings (RFC 9113, section 3.4); whoever is let in gets settings."""
_SYNC = """
import asyncio, sys
from pathlib import Path
from aperio_plugin.wire import control_pb2
from aperio_cli.host.control.client import connect

async def main():
    request = control_pb2.SyncRequest.FromString(bytes.fromhex(sys.argv[2]))
    async with connect(Path(sys.argv[1])) as host:
        async for item in host.stream("Sync", request):
            print(item.WhichOneof("item"), flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as made:
        yield made


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def dial(path: Path, uid: int | None = None) -> str:
    """How many bytes a program of some user got from the host that it dialled."""
    arguments = (str(path), str(os.getuid() if uid is None else uid))
    command = [sys.executable, "-I", "-S", "-c", _DIAL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return done.stdout.strip() or done.stderr.splitlines()[-1]


# ── who may call ──────────────────────────────────────────────────────────────────────────────────


def test_the_socket_is_the_users_alone(served: Served) -> None:
    status = served.socket.lstat()

    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert stat.S_IMODE((served.folder / "host" / ".in").stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_caller_of_another_user_is_refused_by_the_kernel_and_behind_it_by_the_host(
    served: Served,
) -> None:
    """The mode refuses; and where somebody opened it, the host asks who has come."""
    for folder in (served.folder, served.folder / "host"):
        folder.chmod(0o711)
    assert "Permission denied" in dial(served.socket, NOBODY)

    served.socket.chmod(0o666)
    try:
        assert dial(served.socket, NOBODY) == "0"
        assert dial(served.socket) == "9"
    finally:
        served.socket.chmod(0o600)
        for folder in (served.folder, served.folder / "host"):
            folder.chmod(0o700)
    assert "Permission denied" in dial(served.folder / "host" / ".in" / "s", NOBODY)


def test_only_so_many_are_connected_at_once(served: Served) -> None:
    with contextlib.ExitStack() as opened:
        dialled = []
        for _ in range(MOST_CONNECTIONS + 1):
            each = opened.enter_context(socket.socket(socket.AF_UNIX))
            each.settimeout(TIMEOUT_S)
            each.connect(str(served.socket))
            dialled.append(each)
        assert dial(served.socket) == "0"
    assert wait_until(lambda: dial(served.socket) == "9", within_s=TIMEOUT_S)


def test_a_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 101)

    async def enter() -> None:
        async with Gate(path, tmp_path / "s", print):
            pass

    with pytest.raises(SocketPathTooLong, match="the path is too long"):
        asyncio.run(enter())


def test_without_a_host_it_is_said_that_none_runs(tmp_path: Path) -> None:
    async def call() -> None:
        async with connect(tmp_path / "control.sock"):
            pass

    with pytest.raises(HostNotRunning) as caught:
        asyncio.run(call())
    assert caught.value.next == ("`aperio host run` starts one",)


# ── how much ──────────────────────────────────────────────────────────────────────────────────────


def test_a_message_that_is_too_large_is_refused_and_costs_no_memory(served: Served) -> None:
    import grpc

    before_kib = resident_kib(served.process.pid)
    call = call_of("bare")
    call.config_json = b"x" * 100_000_000
    request = control_pb2.SyncRequest(call=call).SerializeToString()

    async def send() -> grpc.StatusCode:
        options = [("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(f"unix:{served.socket}", options=options) as channel:
            method: Any = channel.unary_stream("/aperio.host.v1.HostService/Sync")
            answers = method(request, timeout=TIMEOUT_S)
            code: grpc.StatusCode = await answers.code()
            return code

    assert asyncio.run(send()) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert resident_kib(served.process.pid) - before_kib < MOST_GROWTH_KIB
    assert served.sync("bare").error is None


@contextlib.asynccontextmanager
async def asking(served: Served) -> AsyncIterator[list[int]]:
    """Ask the host who it is, again and again, for the length of a block: each time it answered."""
    answered: list[int] = []
    begun = asyncio.Event()

    async def ask() -> None:
        async with connect(served.socket) as other:
            while True:
                answered.append((await other.host()).pid)
                begun.set()

    task = asyncio.create_task(ask())
    try:
        await begun.wait()
        answered.clear()
        yield answered
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_plugin_whose_events_are_nothing_but_many_is_ended_and_holds_nobody_up(
    served: Served,
) -> None:
    served.sync("atoms")

    async def sync(host: HostClient, count: int) -> tuple[int, int, str]:
        request, letters, code = sync_request("atoms", cursor=b"%d" % count), 0, ""
        async with asking(served) as answered:
            try:
                async for item in host.stream("Sync", request):
                    letters += item.HasField("dead_letter")
            except AperioError as error:
                code = error.code
            return letters, len(answered), code

    letters, answered, code = served.call(lambda host: sync(host, 8_000))
    assert (letters, code) == (8_000, "")
    assert answered > 8_000 / MAX_BATCH / 4  # the host has looked at others in between
    letters, _, code = served.call(lambda host: sync(host, MOST_ITEMS + 1))
    assert (letters, code) == (0, "plugin-contract-broken")
    assert served.sync("bare").error is None


def test_an_answer_in_more_parts_than_can_be_looked_at_is_the_plugins_fault(
    served: Served,
) -> None:
    def asked(count: int) -> Any:
        call = call_of("atoms", organization_id=f"of-{count}")
        return served.unary("TestConnection", control_pb2.TestConnectionRequest(call=call))

    assert len(asked(500).answer.diagnostics) == 500
    with pytest.raises(AperioError) as caught:
        asked(70_000)
    assert caught.value.code == "plugin-contract-broken"


def test_envelopes_that_are_nothing_but_many_are_refused(served: Served) -> None:
    def deliver(count: int) -> Any:
        request = control_pb2.DeliverRequest(call=call_of("takes"))
        for _ in range(count):
            request.envelopes.add()
        return served.unary("Deliver", request)

    assert len(deliver(MOST_ENVELOPES).results) == MOST_ENVELOPES  # none of which is an envelope
    with pytest.raises(CallInvalid):
        deliver(MOST_ENVELOPES + 1)


def test_results_that_say_more_than_fits_into_a_message_all_come_to_the_caller(
    served: Served,
) -> None:
    """What each says of a foreign envelope names the call's organization, which is long here."""
    ours = "\u6f22" * 200
    request = control_pb2.DeliverRequest(call=call_of("takes", organization_id=ours))
    for number in range(8_000):
        request.envelopes.add(**envelope("accept", number, "theirs"))

    results = served.unary("Deliver", request).results

    assert len(results) == 8_000
    assert {(each.status, each.diagnostic.code) for each in results} == {
        (each.STATUS_REJECTED, "organization-foreign") for each in results[:1]
    }
    assert all(each.diagnostic.summary.startswith("it is of the") for each in results)
    (short,) = served.unary(
        "Deliver",
        control_pb2.DeliverRequest(call=request.call, envelopes=request.envelopes[:1]),
    ).results
    assert len(short.diagnostic.summary) > len(results[0].diagnostic.summary)


def test_settings_that_are_nothing_but_many_are_refused(served: Served) -> None:
    def tried(count: int) -> AperioError:
        call = call_of("tells", settings={f"k{number}": 1 for number in range(count)})
        with pytest.raises(AperioError) as caught:
            served.unary("TestConnection", control_pb2.TestConnectionRequest(call=call))
        return caught.value

    named = tried(9_000)
    assert named.code == "plugin-config-invalid"
    assert named.why.count("the plugin has no such key") <= 20
    assert tried(11_000).code == "call-invalid"


def test_a_caller_that_opens_thousands_of_streams_is_bounded_and_others_are_served(
    served: Served,
) -> None:
    before_kib = resident_kib(served.process.pid)

    async def use(host: HostClient) -> int:
        make: Any = host._channel.unary_stream("/aperio.host.v1.HostService/WatchInstances")
        calls = [make(b"") for _ in range(2_000)]
        reads = [asyncio.create_task(call.read()) for call in calls]
        await asyncio.wait(reads, timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        async with connect(served.socket) as other:
            assert (await other.host()).pid == served.process.pid
        done = sum(read.done() and not read.exception() for read in reads)
        for call in calls:
            call.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        return done

    served.sync("bare")  # so that there is something to watch

    assert 0 < served.call(use) <= MOST_STREAMS
    assert resident_kib(served.process.pid) - before_kib < MOST_GROWTH_KIB
    assert served.call(lambda host: host.host()).pid == served.process.pid


def test_a_caller_that_never_reads_makes_the_plugin_wait_and_costs_no_memory(
    served: Served, tmp_path: Path
) -> None:
    """The caller is stopped as a whole, so that nothing of it reads."""
    request = sync_request("pours", settings={"folder": str(tmp_path)})
    before_kib = resident_kib(served.process.pid)
    command = [sys.executable, "-c", _SYNC, str(served.socket), request.SerializeToString().hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as caller:
        try:
            assert caller.stdout
            assert caller.stdout.readline() == b"batch\n"
            caller.send_signal(signal.SIGSTOP)
            poured = tmp_path / "poured"
            assert wait_until(lambda: is_still(poured), within_s=TIMEOUT_S)
            assert resident_kib(served.process.pid) - before_kib < MOST_GROWTH_KIB
            assert served.sync("bare").error is None  # nobody else waits

            size = poured.stat().st_size
            caller.send_signal(signal.SIGCONT)
            assert wait_until(lambda: poured.stat().st_size > size + 3, within_s=TIMEOUT_S)
        finally:
            caller.kill()
    assert wait_until(lambda: is_still(poured), within_s=TIMEOUT_S)
    assert wait_until(lambda: newest(served, "pours") == ("FAILED", "interrupted"), within_s=30)


def is_still(file: Path, for_s: float = 0.5) -> bool:
    """Whether a file does not grow."""
    size = file.stat().st_size
    return not wait_until(lambda: file.stat().st_size > size, within_s=for_s)


def newest(served: Served, plugin: str) -> tuple[str, str]:
    """Status and code of the newest receipt of a plugin."""
    (found,) = served.call(lambda host: host.receipts(PluginId("acme", plugin), 1))
    return found.status, found.code


# ── versions ──────────────────────────────────────────────────────────────────────────────────────


def test_a_caller_of_a_newer_minor_is_served_and_its_new_methods_are_not(served: Served) -> None:
    import grpc

    async def use(host: HostClient) -> tuple[bytes, grpc.StatusCode]:
        path = "/aperio.host.v1.HostService/"
        newer = b"\xfa\x3f\x05newer"  # field 1023, bytes
        request = control_pb2.SyncRequest(call=call_of("bare")).SerializeToString() + newer
        method: Any = host._channel.unary_stream(path + "Sync")
        call = method(request, timeout=TIMEOUT_S)
        first = await call.read()
        call.cancel()
        unknown: Any = host._channel.unary_unary(path + "Rewind")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await unknown(newer, timeout=TIMEOUT_S)
        return first, caught.value.code()

    first, code = served.call(use)

    assert len(control_pb2.SyncResponse.FromString(first).batch.envelopes) == 2
    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_are_refused_and_the_host_goes_on(served: Served) -> None:
    import grpc

    async def use(host: HostClient) -> grpc.StatusCode:
        call: Any = host._channel.unary_unary("/aperio.host.v1.HostService/GetHost")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff", timeout=TIMEOUT_S)
        return caught.value.code()

    assert served.call(use) is not grpc.StatusCode.OK
    assert served.call(lambda host: host.host()).pid == served.process.pid


# ── nobody reads what it says ─────────────────────────────────────────────────────────────────────


def test_a_host_whose_output_nobody_reads_keeps_receipts_all_the_same() -> None:
    """A terminal that was stopped, say: not a line of it can be written."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(theirs, bytes(4096))
    os.set_blocking(theirs, True)
    with short_folder() as folder:
        served = start(folder, stdout=theirs)
        os.close(theirs)
        try:
            for _ in range(3):
                assert served.sync("bare").error is None
            assert wait_until(lambda: ended(served) == ["SUCCEEDED"] * 3, within_s=TIMEOUT_S)
        finally:
            os.close(ours)  # now it hears that nobody will read
            end(served)


def ended(served: Served) -> list[str]:
    """How the runs of a plugin have ended."""
    found = served.call(lambda host: host.receipts(PluginId("acme", "bare"), 10))
    return [each.status for each in found]


# ── killed ────────────────────────────────────────────────────────────────────────────────────────


async def ended_while_watched(host: HostClient, served: Served) -> None:
    """End a host that somebody watches: it waits for nobody, and the streams end."""
    async with contextlib.aclosing(host.watch()) as statuses:
        await anext(statuses)
        began_s = time.monotonic()
        served.process.terminate()
        with contextlib.suppress(HostNotRunning):
            async for _status in statuses:
                pass
    assert await asyncio.to_thread(served.process.wait, TIMEOUT_S) == 0, served.output
    assert time.monotonic() - began_s < TIMEOUT_S


def test_a_host_that_is_killed_in_the_middle_of_a_sync_loses_nothing() -> None:
    """The caller writes down what it gets with each checkpoint, and goes on from the last one."""
    kept: list[str] = []
    cursor = b""

    async def sync(folder: Path, until: int) -> None:
        nonlocal cursor
        pending: list[str] = []
        async with connect(folder / "host" / "control.sock") as host:
            items = host.stream("Sync", sync_request("drips", cursor=cursor))
            async with contextlib.aclosing(items):
                async for item in items:
                    pending += [json.loads(e.envelope_json)["id"] for e in item.batch.envelopes]
                    if item.HasField("checkpoint"):
                        kept.extend(pending)
                        pending, cursor = [], item.checkpoint.cursor
                        if len(kept) >= until:
                            return

    with short_folder() as folder:
        first = start(folder)
        asyncio.run(sync(folder, 20))
        end(first)
        with pytest.raises(HostNotRunning):
            asyncio.run(sync(folder, 40))
        second = start(folder)  # in the place of the socket that is left
        asyncio.run(asyncio.wait_for(sync(folder, 10_000), TIMEOUT_S))
        second.call(lambda host: ended_while_watched(host, second))

    assert len(kept) == len(set(kept)) == 160
