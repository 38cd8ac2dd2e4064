"""The control API's messages: errors and nouns there and back, and how envelopes are parted."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aperio_plugin.wire import control_pb2

from aperio_cli.errors import AperioError, catalogue
from aperio_cli.errors.controlling import HostBusy, HostFailed, HostNotRunning
from aperio_cli.errors.files import FolderNotPrivate
from aperio_cli.errors.installing import NotInstalled
from aperio_cli.errors.running import (
    ApprovalMismatch,
    PluginContractBroken,
    PluginCrashed,
    PluginDeadlineExceeded,
    PluginNotReady,
    PluginRateLimited,
    PluginReportedError,
    PluginUnauthenticated,
    TokenRefused,
)
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.envelopes import Outbound
from aperio_cli.host.control import encoding, telling
from aperio_cli.host.control.controlled import InstalledPlugin, LogEntry
from aperio_cli.host.control.failures import DETAILS_KEY, details_of, error_of, status_of
from aperio_cli.host.control.server import serve
from aperio_cli.host.control.syncing import MOST_BATCH_BYTES, Outlet
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.process.logs import LogRecord
from aperio_cli.host.supervising.instances import Fallback, InstanceKey, Pause, Status
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.run_receipt import FAILED, RunReceipt
from tests.rows import each_row, for_each, for_rows

BOX = PluginId("acme", "box")
KEY = InstanceKey(BOX, "org", "one")
AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def failed(code: grpc.StatusCode, details: str, trailer: bytes = b"") -> grpc.aio.AioRpcError:
    """What a call raises that failed."""
    metadata = grpc.aio.Metadata(*([(DETAILS_KEY, trailer)] if trailer else []))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details=details)


# ── errors ────────────────────────────────────────────────────────────────────────────────────────


@for_rows(
    [
        (UsageError, "INVALID_ARGUMENT"),
        (NotInstalled, "NOT_FOUND"),
        (ApprovalMismatch, "PERMISSION_DENIED"),
        (PluginCrashed, "UNAVAILABLE"),
        (PluginNotReady, "UNAVAILABLE"),
        (PluginUnauthenticated, "UNAUTHENTICATED"),
        (PluginRateLimited, "RESOURCE_EXHAUSTED"),
        (PluginDeadlineExceeded, "DEADLINE_EXCEEDED"),
        (PluginContractBroken, "INTERNAL"),
        (TokenRefused, "FAILED_PRECONDITION"),
        (HostFailed, "INTERNAL"),
        (HostBusy, "RESOURCE_EXHAUSTED"),
    ]
)
def test_an_error_has_the_status_of_its_kind(kind: type[AperioError], status: str) -> None:
    assert status_of(kind("it failed")).name == status


def test_what_a_plugin_reports_keeps_its_status() -> None:
    error = PluginReportedError("it failed")
    error.status = "ALREADY_EXISTS"

    assert status_of(error) is grpc.StatusCode.ALREADY_EXISTS


@for_each(list(catalogue()))
def test_every_error_comes_to_the_caller_as_it_was(kind: type[AperioError]) -> None:
    error = kind("it failed", why="expected a\nreceived b", next=["try `this`", "try that"])

    found = error_of(failed(status_of(error), error.what, details_of(error)))

    assert type(found) is kind
    assert found.to_json() == error.to_json()


def test_a_wait_comes_with_its_error() -> None:
    error = PluginRateLimited("slow down")
    error.retry_after_s = 7

    found = error_of(failed(status_of(error), error.what, details_of(error)))

    assert getattr(found, "retry_after_s", None) == 7


def test_long_errors_fit_into_a_trailer() -> None:
    error = UsageError("x" * 5000, why="ä" * 8000, next=["y" * 5000] * 20)

    assert len(details_of(error)) < 8192


def test_an_error_of_a_newer_host_keeps_its_words_and_its_code() -> None:
    newer = control_pb2.Error(code="sky-fell", what="the sky fell", next=["run"])

    found = error_of(failed(grpc.StatusCode.INTERNAL, "the sky fell", _details(newer)))

    assert isinstance(found, HostFailed)
    assert (found.what, found.why, found.next) == ("the sky fell", "sky-fell\n", ("run",))


def _details(message: control_pb2.Error) -> bytes:
    """A google.rpc.Status with one detail, as another implementation writes it."""
    from google.protobuf.any_pb2 import Any as AnyMessage

    detail = AnyMessage()
    detail.Pack(message)
    packed = detail.SerializeToString()
    return b"\x08\x0d\x1a" + bytes([len(packed)]) + packed


@each_row(
    ("code", "trailer", "kind"),
    [
        ("UNAVAILABLE", b"", HostNotRunning),
        ("RESOURCE_EXHAUSTED", b"", HostBusy),
        ("INTERNAL", b"", HostFailed),
        ("INTERNAL", b"\xff\xff", HostFailed),
        ("INTERNAL", b"\x18\x01", HostFailed),
        ("UNIMPLEMENTED", b"", HostFailed),
    ],
)
def test_a_call_that_fails_on_its_way_is_told_too(
    code: str, trailer: bytes, kind: type[AperioError]
) -> None:
    assert type(error_of(failed(grpc.StatusCode[code], "lost", trailer))) is kind


# ── there and back ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "status",
    [
        Status(KEY, Phase.STOPPED),
        Status(
            KEY,
            Phase.BACKOFF,
            version="1.2.3",
            kind="connector",
            badge="verified",
            signer="https://github.com/acme",
            code="plugin-crashed",
            reason="killed by SIGSEGV",
            until=AT,
            restarts=7,
            last_healthy_at=AT,
            started_at=AT,
            pid=4711,
            not_enforced=("cpu", "memory"),
            exceptions=("unsigned until 2026-12-31",),
            peak_memory_bytes=0,
            breaker="HALF_OPEN",
            is_on_demand=True,
            calls=2,
            newcomer="1.3.0: not healthy",
            pause=Pause("alice", "2026-01-02T03:04:05Z", "its service is down"),
            fallback=Fallback("1.2.4", "plugin-exited-early", "it ended", "2026-01-02T03:04:05Z"),
        ),
    ],
)
def test_an_instance_comes_to_the_caller_as_it_is(status: Status) -> None:
    assert telling.status_of(telling.instance_message(status)) == status


def test_a_thousand_instances_that_failed_at_length_go_into_one_message() -> None:
    """A plugin has a say in the reason; `host status` would else say nothing of any."""
    plugin = InstalledPlugin(BOX, "1.2.3", "connector", "BOX")
    failed = Status(KEY, Phase.FAILED, reason="漢" * 8000, newcomer="漢" * 8000)
    short = Status(KEY, Phase.FAILED, reason="it ended\nkilled by SIGKILL")
    message = telling.plugin_message(plugin, [failed] * 900 + [short])
    assert message.ByteSize() < 4 * 1024 * 1024
    _, (long, *_, last) = telling.plugin_of(message)
    assert long.reason.startswith("漢漢漢")
    assert last.reason == short.reason


def test_a_state_of_a_newer_host_counts_as_failed() -> None:
    message = telling.instance_message(Status(KEY, Phase.READY))
    message.state = 99  # type: ignore[assignment]

    assert telling.status_of(message).phase is Phase.FAILED


def test_a_plugin_comes_with_its_own_instances_only() -> None:
    plugin = InstalledPlugin(BOX, "1.2.3", "connector", "BOX", "local", "me", "", ("unsigned",))
    own = Status(KEY, Phase.READY)
    other = Status(InstanceKey(PluginId("acme", "other"), "org", "one"), Phase.READY)

    assert telling.plugin_of(telling.plugin_message(plugin, [own, other])) == (plugin, (own,))


@each_row(
    "receipt",
    [
        RunReceipt("run_1", BOX, "1", "org", "one", "sync", "2026-01-02T03:04:05.678Z"),
        RunReceipt("run_1", BOX, "1", "org", "one", "sync", "1970-01-01T00:00:00Z", duration_ms=0),
        RunReceipt("run_1", BOX, "1", "org", "one", "sync", "1969-12-31T23:59:59.999Z"),
        RunReceipt(
            run_id="run_2",
            plugin=BOX,
            version="1.2.3",
            organization="org",
            integration="one",
            operation="sync",
            started_at="2026-01-02T03:04:05.678Z",
            status=FAILED,
            ended_at="2026-01-02T03:04:06Z",
            duration_ms=1234,
            seen=4,
            sent=1,
            filtered=1,
            dead_letters=2,
            checkpoint_sha256="0" * 64,
            covers_until="2026-01-01T00:00:00Z",
            tokens=2,
            egress_refused=3,
            peak_memory_bytes=0,
            code="plugin-crashed",
            error_message="it ended",
            instead_of="1.2.4",
            traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01",
        ),
    ],
)
def test_a_receipt_comes_to_the_caller_as_it_was_kept(receipt: RunReceipt) -> None:
    assert telling.receipt_of(telling.receipt_message(receipt)) == receipt


def test_a_log_record_comes_to_the_caller_as_it_was_said() -> None:
    record = LogRecord("warn", "careful", "stderr", (("a", "1"), ("b", "2")), "http", "12:00")

    assert telling.log_of(telling.log_message(LogEntry(KEY, AT, record))) == LogEntry(
        KEY, AT, record
    )


# ── envelopes ─────────────────────────────────────────────────────────────────────────────────────


@each_row(
    ("sizes", "parts"),
    [
        ((1, 1, 1), [3]),
        ((MOST_BATCH_BYTES, 1), [1, 1]),
        ((MOST_BATCH_BYTES // 2,) * 5, [2, 2, 1]),
        ((MOST_BATCH_BYTES + 1, MOST_BATCH_BYTES + 1), [1, 1]),
        ((1, MOST_BATCH_BYTES + 1, 1), [1, 1, 1]),
    ],
)
def test_envelopes_are_parted_into_messages_that_can_be_sent(
    sizes: tuple[int, ...], parts: list[int]
) -> None:
    written: list[Any] = []

    async def write(response: Any) -> None:
        written.append(control_pb2.SyncResponse.FromString(response))

    envelopes = [Outbound(str(n), "event", b"x" * size, "org") for n, size in enumerate(sizes)]
    asyncio.run(Outlet(write, b"").accept(envelopes))

    assert [len(response.batch.envelopes) for response in written] == parts
    ids = [each.id for response in written for each in response.batch.envelopes]
    assert ids == [each.id for each in envelopes]
    assert all(response.ByteSize() < 4 * 1024 * 1024 for response in written)


@each_row("kind", ["event", "finding", "audit_log"])
@each_row("count", [0, 1, 3, 256])
def test_a_batch_has_the_bytes_that_protobuf_gives_it(kind: str, count: int) -> None:
    """Lengths on both sides of where they take a byte more: 128, 16384, 2097152."""
    sizes = [0, 1, 107, 110, 127, 128, 16_300, 16_384, 2_097_151, 2_097_152]
    envelopes = [
        Outbound("f" * (n % 65), kind, b"x" * sizes[n % (10 if count == 3 else 8)], "org")
        for n in range(count)
    ]
    message = control_pb2.SyncResponse(batch=control_pb2.SyncResponse.Batch())
    for each in envelopes:
        message.batch.envelopes.add(id=each.id, kind=each.kind, envelope_json=each.json)

    data = encoding.batch(envelopes)

    assert control_pb2.SyncResponse.FromString(data) == message
    if all(each.id and each.json for each in envelopes):  # else protobuf leaves the field out
        assert data == message.SerializeToString()


@each_row("size", [2_097_151, 2_097_152, 5_000_000])
def test_one_long_envelope_is_encoded_as_protobuf_does(size: int) -> None:
    envelope = Outbound("f" * 64, "event", b"x" * size, "org")
    message = control_pb2.SyncResponse()
    message.batch.envelopes.add(id=envelope.id, kind="event", envelope_json=envelope.json)

    assert encoding.batch([envelope]) == message.SerializeToString()


def test_whoever_finds_the_socket_can_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, found = Path.rename, []

    def put(aside: Path, path: Path) -> Path:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(aside))  # as it will be found, from the next moment on
        found.append(path)
        return rename(aside, path)

    monkeypatch.setattr(Path, "rename", put)

    async def enter() -> None:
        async with serve(tmp_path / "s", None, lambda _level, _text: None):  # type: ignore[arg-type]
            assert (tmp_path / "s") in found

    asyncio.run(enter())


def test_the_folder_inside_must_be_this_users_alone(tmp_path: Path) -> None:
    (tmp_path / ".in").mkdir(mode=0o755)
    (tmp_path / ".in").chmod(0o755)

    async def enter() -> None:
        async with serve(tmp_path / "s", None, lambda _level, _text: None):  # type: ignore[arg-type]
            pass

    with pytest.raises(FolderNotPrivate, match="may be entered by others"):
        asyncio.run(enter())
