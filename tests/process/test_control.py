"""The control API over real plugins: a host in a process of its own, and callers in Python."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from aperio_plugin.wire import control_pb2

import aperio_cli
from aperio_cli.errors import AperioError
from aperio_cli.errors.controlling import (
    CallInvalid,
    VersionNotRunning,
)
from aperio_cli.errors.installing import NotInstalled
from aperio_cli.errors.running import (
    ApprovalMismatch,
    EventNotPassedOn,
    PluginConfigInvalid,
    PluginCrashed,
    PluginNotReady,
    PluginRateLimited,
    PluginReportedError,
    PluginUnauthenticated,
)
from aperio_cli.errors.usage import ConsentMissing, UsageError
from aperio_cli.host.calls.envelopes import Origin, envelope_id
from aperio_cli.host.control.client import HostClient, connect
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising.instances import InstanceKey
from aperio_cli.models.plugin_id import PluginId
from tests.forking import is_forking
from tests.hosts import Place

from .conftest import is_alive, wait_until
from .test_sync import credentials, token_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 30.0
HOST = "tests.simulators.forking_host" if is_forking() else "aperio_cli"
SECRET = "s3cr3t-of-acme-corp"
VERSION = "1.2.0"
KINDS = {"acts": "remediation", "dies": "remediation", "takes": "destination"}
SIMULATORS = {"dies": "acts"}
PLUGINS_OF_HOME = (
    *("acts", "atoms", "bare", "choosy", "crashes", "dies", "drips", "expiring", "finds"),
    *("mortal", "pours", "takes", "tells"),
)
TABLE = """
[[run]]
plugin = "acme/tells"
organization = "acme-corp"
integration = "configured"
settings = { mode = "", account = "me", api_key = "configured-key" }
"""


@dataclass
class Served:
    """A host that serves simulators, and how to call it."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.folder / "host" / "control.sock"

    @property
    def log(self) -> str:
        """Whatever plugins, or the host about them, have said, as messages."""
        files = (self.folder / "host" / "logs").rglob("*.jsonl")
        lines = [line for file in files for line in file.read_text().splitlines()]
        return "\n".join(json.loads(line)["message"] for line in lines)

    @property
    def output(self) -> str:
        """What the host itself has said."""
        return (self.folder / "host" / "output").read_text()

    def answers(self) -> bool:
        """Whether it is this process that answers."""
        try:
            return bool(self.call(lambda host: host.host()).pid == self.process.pid)
        except AperioError:
            return False

    def ready(self, plugin: str, integration: str = "one") -> None:
        """Wait until an instance that died is up again."""
        key = InstanceKey(PluginId("acme", plugin), "acme-corp", integration)

        def is_ready() -> bool:
            found = self.call(lambda host: host.plugins())
            return any(
                each.key == key and each.phase is Phase.READY
                for _, those in found
                for each in those
            )

        assert wait_until(is_ready, within_s=TIMEOUT_S)

    def call(self, use: Callable[[HostClient], Awaitable[Any]]) -> Any:
        """Use a client, in time."""

        async def connected() -> Any:
            async with connect(self.socket) as host:
                return await use(host)

        # gRPC keeps the connection of a call that failed until its error is collected, which is
        # seldom here: the host would let nobody else in.
        gc.collect(1)
        return asyncio.run(asyncio.wait_for(connected(), TIMEOUT_S))

    def unary(self, method: str, request: Any) -> Any:
        return self.call(lambda host: host.unary(method, request))

    def sync(self, plugin: str = "bare", **more: Any) -> Synced:
        """Sync to the end, whatever that is."""
        synced = Synced()

        async def use(host: HostClient) -> None:
            request = sync_request(plugin, **more)
            try:
                async with contextlib.aclosing(host.stream("Sync", request)) as items:
                    async for item in items:
                        synced.items.append(item)
            except AperioError as error:
                synced.error = error

        self.call(use)
        return synced


@dataclass
class Synced:
    """What came of a sync."""

    items: list[Any] = field(default_factory=list)
    error: AperioError | None = None

    @property
    def kinds(self) -> list[str]:
        return [item.WhichOneof("item") for item in self.items]

    @property
    def envelopes(self) -> list[dict[str, Any]]:
        return [
            json.loads(each.envelope_json) for item in self.items for each in item.batch.envelopes
        ]

    @property
    def ids(self) -> list[str]:
        return [each["source_event_id"] for each in self.envelopes]

    @property
    def cursor(self) -> bytes:
        return next(
            (i.checkpoint.cursor for i in self.items[::-1] if i.HasField("checkpoint")), b""
        )

    @property
    def receipt(self) -> Any:
        assert self.items[-1].HasField("receipt")
        return self.items[-1].receipt


def call_of(plugin: str, **more: Any) -> control_pb2.Call:
    """A call; settings as a dictionary."""
    settings = more.pop("settings", None)
    values = {
        "plugin": f"acme/{plugin}" if plugin.isalpha() else plugin,
        "organization_id": "acme-corp",
        "integration_id": "one",
    }
    made = control_pb2.Call(**(values | more))
    if settings is not None:
        made.config_json = json.dumps(settings).encode()
    return made


def sync_request(plugin: str, **more: Any) -> control_pb2.SyncRequest:
    of_request = {name: more.pop(name) for name in list(more) if name in SYNC_FIELDS}
    return control_pb2.SyncRequest(call=call_of(plugin, **more), **of_request)


SYNC_FIELDS = set(control_pb2.SyncRequest.DESCRIPTOR.fields_by_name)


def furnish(folder: Path) -> None:
    """Install the simulators in a home, and have the host keep one of them up."""
    place = Place(folder)
    for name in PLUGINS_OF_HOME:
        kind = KINDS.get(name, "connector")
        place.put(f"acme/{name}", SIMULATORS.get(name, name), VERSION, kind=kind)
    box = f"sys.path.insert(0, {str(ROOT / 'plugins' / 'box')!r})"
    place.put("acme/box", "plugin", VERSION, code=box)
    place.allow(TABLE)
    (folder / "run").mkdir(mode=0o700)


def start(folder: Path, stdout: int | None = None) -> Served:
    """Start a host on a home, and wait until it answers.

    Args:
        folder: its home.
        stdout: where its lines go; None: into a file of its home.
    """
    if not (folder / "config.toml").exists():
        furnish(folder)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "APERIO_HOME": str(folder),
        "APERIO_SANDBOX": "none",
        "XDG_RUNTIME_DIR": str(folder / "run"),
    }
    (folder / "host").mkdir(mode=0o700, exist_ok=True)
    with (folder / "host" / "output").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", HOST, "host", "run"],
            stdout=output if stdout is None else stdout,
            stderr=output,
            cwd=ROOT,
            env=environment,
        )
    made = Served(folder, process)
    assert wait_until(lambda: process.poll() is not None or made.answers(), within_s=TIMEOUT_S)
    assert process.poll() is None, made.output
    return made


def end(served: Served) -> None:
    """Kill a host."""
    served.process.kill()
    served.process.wait(TIMEOUT_S)


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder in which a socket can be made."""
    folder = Path(tempfile.mkdtemp(prefix="ct", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def serving() -> Iterator[Served]:
    """Start a host; at the end nothing of it may be left."""
    with short_folder() as folder:
        made = start(folder)
        try:
            yield made
            made.process.terminate()
            assert made.process.wait(TIMEOUT_S) == 0, made.output
            assert not list((folder / "run").iterdir())
            assert not made.socket.exists()
        finally:
            end(made)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as made:
        yield made


# ── the host and its plugins ──────────────────────────────────────────────────────────────────────


def test_a_host_says_who_it_is(served: Served) -> None:
    answer = served.call(lambda host: host.host())

    assert (answer.version, answer.minor) == (aperio_cli.__version__, 0)
    assert (answer.interface_major, answer.interface_minor) == (1, 0)
    assert answer.pid == served.process.pid
    assert answer.home == str(served.folder)
    assert answer.started_at.ToDatetime(UTC) < datetime.now(UTC)


def test_plugins_come_with_their_instances_and_are_described(served: Served) -> None:
    served.sync("bare", integration_id="listed")

    found = served.call(lambda host: host.plugins())

    names = sorted(f"acme/{name}" for name in ("box", *PLUGINS_OF_HOME))
    assert [str(plugin.id) for plugin, _ in found] == names
    plugin, instances = next(each for each in found if each[0].id.name == "bare")
    assert (plugin.kind, plugin.version, plugin.refusal) == ("connector", VERSION, "")
    assert plugin.badge
    assert plugin.signer
    key = InstanceKey(PluginId("acme", "bare"), "acme-corp", "listed")
    status = next(each for each in instances if each.key == key)
    assert status.phase is Phase.READY
    assert status.pid is not None
    assert is_alive(status.pid)


@pytest.mark.parametrize(
    ("plugin", "declared", "key"),
    [
        ("bare", "connector", "provider"),
        ("takes", "capabilities", "kind"),
        ("acts", "capabilities", "provider"),
    ],
)
def test_a_plugin_is_described_as_it_declares_itself_and_as_the_product_has_it(
    served: Served, plugin: str, declared: str, key: str
) -> None:
    answer = served.call(lambda host: host.describe(PluginId("acme", plugin)))

    assert answer.WhichOneof("declared") == declared
    assert getattr(answer, declared).provider == "BOX"
    assert json.loads(answer.definition_json)[key] == "BOX"


def test_an_instance_is_paused_and_goes_on_and_whoever_watches_sees_it(served: Served) -> None:
    key = InstanceKey(PluginId("acme", "bare"), "acme-corp", "paused")
    served.sync("bare", integration_id="paused")
    seen: list[Phase] = []

    async def use(host: HostClient) -> None:
        async with contextlib.aclosing(host.watch()) as statuses:
            async for status in statuses:
                if status.key != key:
                    continue
                if seen[-1:] != [status.phase]:
                    seen.append(status.phase)
                if seen == [Phase.READY]:
                    await host.pause(key, "maintenance\x1b[31m", "alice")
                elif status.phase is Phase.PAUSED:
                    with pytest.raises(PluginNotReady):
                        await host.unary("Sync", sync_request("bare", integration_id="paused"))
                    await host.resume(key)
                elif Phase.PAUSED in seen and status.phase is Phase.READY:
                    return

    served.call(use)

    paused = seen.index(Phase.PAUSED)
    assert set(seen[1:paused]) <= {Phase.STOPPING}
    assert set(seen[paused + 1 : -1]) <= {Phase.STARTING}
    (said,) = (line for line in served.log.splitlines() if "paused by alice " in line)
    assert ": maintenance\ufffd[31m" in said
    assert served.sync("bare", integration_id="paused").error is None


def test_a_call_belongs_to_its_callers_trace_and_the_plugin_is_told(served: Served) -> None:
    caller = f"00-{'ab' * 16}-{'cd' * 8}-01"
    settings = {"mode": "", "account": "me", "api_key": "a-key-of-mine"}

    async def ask(call: control_pb2.Call, metadata: Any = ()) -> Any:
        request = control_pb2.TestConnectionRequest(call=call)
        async with grpc.aio.insecure_channel(f"unix:{served.socket}") as channel:
            method = channel.unary_unary(
                "/aperio.host.v1.HostService/TestConnection",
                request_serializer=control_pb2.TestConnectionRequest.SerializeToString,
                response_deserializer=control_pb2.TestConnectionResponse.FromString,
            )
            return await method(request, metadata=metadata, timeout=TIMEOUT_S)

    by_field = call_of("tells", settings=settings, traceparent=caller)
    plain = call_of("tells", settings=settings)
    for answer in (
        asyncio.run(ask(by_field)),
        asyncio.run(ask(plain, (("traceparent", caller),))),
    ):
        assert answer.receipt.traceparent == caller
        told = answer.answer.account["traceparent"]
        assert told[:36] == caller[:36]
        assert told[36:52] not in {"", "cd" * 8}
        assert told[52:] == "-01"
    for answer in (
        asyncio.run(ask(plain)),
        asyncio.run(ask(plain, (("traceparent", "no traceparent"),))),
    ):
        assert (answer.receipt.traceparent, answer.answer.account["traceparent"]) == ("", "")
    state = "vendor=a b, other@them=1"
    with_both = call_of("tells", settings=settings, traceparent=caller, tracestate=state)
    by_metadata = (("traceparent", caller), ("tracestate", "vendor=a b"), ("tracestate", "x=1"))
    for answer, told in (
        (asyncio.run(ask(with_both)), state),
        (asyncio.run(ask(plain, by_metadata)), "vendor=a b,x=1"),
        (asyncio.run(ask(by_field, by_metadata)), ""),  # that belongs to another span
        (asyncio.run(ask(plain, (("traceparent", caller), ("tracestate", "no state")))), ""),
    ):
        assert answer.receipt.traceparent == caller
        assert answer.answer.account["traceparent"][:36] == caller[:36]
        assert answer.answer.account["tracestate"] == told
    alone = asyncio.run(ask(plain, (("tracestate", state),)))
    assert alone.answer.account["tracestate"] == ""


# ── sync ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_sync_gives_stamped_envelopes_then_the_checkpoint_then_the_receipt(
    served: Served,
) -> None:
    synced = served.sync("bare")

    assert synced.error is None
    assert synced.kinds == ["batch", "checkpoint", "receipt"]
    origin = Origin("acme/bare@1.2.0", "acme-corp", "one", "BOX")
    first = synced.items[0].batch.envelopes[0]
    assert (first.id, first.kind) == (envelope_id(origin, "e0"), "event")
    assert synced.envelopes[0]["organization_id"] == "acme-corp"
    assert b'"record":{"n": 0}' in first.envelope_json
    receipt = synced.receipt
    assert (receipt.seen, receipt.sent, receipt.status) == (2, 2, receipt.STATUS_SUCCEEDED)
    assert receipt.checkpoint_sha256 == hashlib.sha256(b"2").hexdigest()


def test_the_caller_keeps_the_cursor_and_the_host_none(served: Served) -> None:
    first = served.sync("bare", integration_id="kept")
    second = served.sync("bare", integration_id="kept", cursor=first.cursor)
    again = served.sync("bare", integration_id="kept")

    assert (first.cursor, second.cursor) == (b"2", b"4")
    assert (first.ids, second.ids, again.ids) == (["e0", "e1"], ["e2", "e3"], ["e0", "e1"])


def test_a_crash_ends_the_sync_behind_what_came_before_it_and_nothing_is_lost(
    served: Served,
) -> None:
    crashed = served.sync("crashes")
    resumed = served.sync("bare", cursor=crashed.cursor)

    assert isinstance(crashed.error, PluginCrashed)
    assert (crashed.ids, resumed.ids) == (["e0", "e1"], ["e2", "e3"])
    receipt = crashed.receipt
    assert (receipt.status, receipt.code) == (receipt.STATUS_FAILED, "plugin-crashed")
    served.ready("crashes")
    assert served.sync("crashes").ids == ["e0", "e1"]  # it was started again


def test_findings_and_audit_log_entries_come_with_events_in_their_order(served: Served) -> None:
    synced = served.sync("finds")

    kinds = [each["kind"] for each in synced.envelopes]
    assert kinds[:5] == ["event", "event", "finding", "audit_log", "audit_log"]
    assert synced.receipt.sent == len(kinds)


def test_a_dead_letter_comes_before_the_checkpoint_that_covers_it(served: Served) -> None:
    synced = served.sync("mortal")
    strict = served.sync("mortal", strict=True)

    assert synced.kinds == ["dead_letter", "batch", "dead_letter", "checkpoint", "receipt"]
    assert synced.items[2].dead_letter.code == "record-invalid"
    assert (synced.receipt.sent, synced.receipt.dead_letters) == (2, 2)
    assert isinstance(strict.error, EventNotPassedOn)
    assert strict.kinds == ["dead_letter", "receipt"]


def test_what_was_not_asked_for_is_left_out_and_counted(served: Served) -> None:
    some = served.sync("choosy", event_types=["box.logout"])
    begun = served.sync("choosy", streams=["sign_ins"])

    assert {each["event_type"] for each in some.envelopes} == {"box.logout"}
    assert some.receipt.filtered > 0
    assert begun.error is None


@pytest.mark.parametrize(
    ("request_fields", "named"),
    [
        ({"streams": ["files"]}, "`streams files`"),
        ({"event_types": ["box.unheard"]}, "`event_types box.unheard`"),
    ],
)
def test_what_a_connector_does_not_have_is_refused_by_the_names_of_the_api(
    served: Served, request_fields: dict[str, Any], named: str
) -> None:
    synced = served.sync("choosy", **request_fields)

    assert isinstance(synced.error, UsageError)
    assert named in synced.error.what
    assert "--" not in str(synced.error.to_json())


def test_a_beginning_counts_without_a_cursor_only(served: Served) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    first = served.sync("choosy", **{"from": begin})
    further = served.sync("choosy", **{"from": begin}, cursor=first.cursor)

    assert first.error is further.error is None
    refused = served.sync("bare", **{"from": begin})
    assert isinstance(refused.error, UsageError)
    assert refused.error.what.startswith("`from` is nothing")


def test_the_host_performs_the_grant_and_renews_by_itself(served: Served) -> None:
    with token_server() as (url, asked):
        synced = served.sync("expiring", settings=credentials(url))

    assert synced.error is None
    assert list(dict.fromkeys(synced.ids)) == ["e0", "e1", "e2", "e3", "e4", "e5"]
    notices = [item.notice.code for item in synced.items if item.HasField("notice")]
    assert notices == ["token-renewed", "token-renewed"]
    assert (len(asked), synced.receipt.tokens) == (3, 3)


def test_a_caller_with_the_grant_goes_on_from_the_last_checkpoint_with_a_new_token(
    served: Served,
) -> None:
    """Its settings need no client: nobody can obtain a token here but the caller."""
    ids: list[str] = []
    cursor = b""
    synced = Synced()
    for number in range(3):
        token = {"value": f"token-of-the-caller-{number}"}
        synced = served.sync("expiring", settings={}, token=token, cursor=cursor)
        ids += synced.ids
        cursor = synced.cursor
        if number < 2:
            assert isinstance(synced.error, PluginUnauthenticated)
            assert synced.kinds == ["batch", "checkpoint", "batch", "receipt"]
    assert synced.error is None
    assert list(dict.fromkeys(ids)) == ["e0", "e1", "e2", "e3", "e4", "e5"]
    assert "token-of-the-caller" not in served.log


def test_a_token_for_a_plugin_that_takes_none_is_refused(served: Served) -> None:
    synced = served.sync("bare", token={"value": "token"})

    assert isinstance(synced.error, CallInvalid)
    assert "`acme/bare` takes none" in synced.error.why


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────


def test_a_secret_is_used_masked_and_neither_stored_nor_logged(served: Served) -> None:
    """The simulator prints, logs and answers with its key, as an author may by accident."""
    settings = {"mode": "", "account": "me", "api_key": SECRET}

    tested = served.unary(
        "TestConnection",
        control_pb2.TestConnectionRequest(call=call_of("tells", settings=settings)),
    )
    synced = served.sync("tells", settings=settings)

    assert "[masked: api_key]" in tested.answer.diagnostics[0].summary
    assert SECRET not in str(tested)
    assert synced.ids == [f"e-{SECRET}"]  # an event is passed on as it is
    noted = [item for item in synced.items if not item.HasField("batch")]
    assert SECRET not in str(noted)
    # What it prints comes by a way of its own, beside its answers.
    assert wait_until(lambda: "using [masked: api_key]" in served.log, within_s=TIMEOUT_S)
    for path in served.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in str(served.call(lambda host: host.receipts()))


def test_without_settings_the_hosts_own_are_used(served: Served) -> None:
    request = control_pb2.TestConnectionRequest(call=call_of("tells", integration_id="configured"))

    tested = served.unary("TestConnection", request)

    assert "[masked: api_key]" in tested.answer.diagnostics[0].summary


def test_settings_that_do_not_fit_are_told_by_the_names_of_the_api(
    served: Served, tmp_path: Path
) -> None:
    request = execute_request(tmp_path, dry_run=True)
    request.call.config_json = b"{}"

    with pytest.raises(PluginConfigInvalid, match="`folder` of `acme/acts`") as caught:
        served.unary("Execute", request)

    assert caught.value.next[0] == "give `folder` a value in `config_json`"


def test_settings_that_are_no_json_are_refused_without_being_shown(served: Served) -> None:
    call = call_of("tells")
    call.config_json = b'{"api_key": "%s' % SECRET.encode()

    with pytest.raises(CallInvalid, match="`config_json`") as caught:
        served.unary("TestConnection", control_pb2.TestConnectionRequest(call=call))

    assert SECRET not in str(caught.value.to_json())


# ── execute ───────────────────────────────────────────────────────────────────────────────────────


def execute_request(folder: Path, **more: Any) -> control_pb2.ExecuteRequest:
    values = {"action": "box.unshare", "target": "f1", "idempotency_key": folder.name}
    call = call_of("acts", settings={"folder": str(folder)})
    return control_pb2.ExecuteRequest(call=call, **(values | more))


def approval_of(action: str, target: str, parameters: bytes = b"{}") -> dict[str, str]:
    parts = (action.encode(), target.encode(), parameters)
    bound = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    return {"reference": "act_1", "sha256": hashlib.sha256(bound).hexdigest()}


def test_a_dry_run_says_what_an_approval_is_bound_to_and_that_is_executed_once(
    served: Served, tmp_path: Path
) -> None:
    parameters = b'{"reason": "because"}'
    dry = served.unary(
        "Execute", execute_request(tmp_path, dry_run=True, parameters_json=parameters)
    )
    approval = {"reference": "act_7", "sha256": dry.approval_sha256}

    done = served.unary(
        "Execute", execute_request(tmp_path, approval=approval, parameters_json=parameters)
    )

    assert dry.answer.outcome == dry.answer.OUTCOME_WOULD_CHANGE
    assert approval == approval_of("box.unshare", "f1", b'{"reason":"because"}') | {
        "reference": "act_7"
    }
    assert done.answer.outcome == done.answer.OUTCOME_CHANGED
    assert done.answer.provider_request_id == "act_7"
    assert done.receipt.operation == "execute"
    assert (tmp_path / "done").read_text() == f"box.unshare f1 {tmp_path.name}\n"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, ConsentMissing),
        ({"approval": approval_of("box.unshare", "f2")}, ApprovalMismatch),
        ({"approval": approval_of("box.unshare", "f1") | {"reference": ""}}, CallInvalid),
        ({"approval": approval_of("box.unshare", "f1"), "idempotency_key": ""}, CallInvalid),
        ({"approval": approval_of("box.unshare", "f1"), "idempotency_key": "k" * 257}, CallInvalid),
        ({"action": "box.unheard"}, UsageError),
        ({"dry_run": True, "parameters_json": b'{"unheard": 1}'}, PluginConfigInvalid),
        ({"dry_run": True, "parameters_json": b"[]"}, CallInvalid),
        ({"target": ""}, CallInvalid),
    ],
)
def test_nothing_is_executed_that_was_not_approved_as_it_is(
    served: Served, tmp_path: Path, changes: dict[str, Any], error: type[AperioError]
) -> None:
    with pytest.raises(error):
        served.unary("Execute", execute_request(tmp_path, **changes))
    assert not (tmp_path / "done").exists()


def test_an_action_that_nobody_has_to_approve_is_executed(served: Served, tmp_path: Path) -> None:
    answer = served.unary("Execute", execute_request(tmp_path, action="box.note")).answer

    assert answer.outcome == answer.OUTCOME_CHANGED
    assert (tmp_path / "done").exists()


def test_a_crash_leaves_the_outcome_unknown_which_is_an_answer(
    served: Served, tmp_path: Path
) -> None:
    approval = approval_of("box.die", "f1")

    request = execute_request(tmp_path, action="box.die", approval=approval)
    request.call.plugin = "acme/dies"
    done = served.unary("Execute", request)

    assert done.answer.outcome == done.answer.OUTCOME_UNKNOWN
    assert done.answer.diagnostics[0].code == "outcome-unknown"
    assert (done.receipt.status, done.receipt.code) == (
        done.receipt.STATUS_FAILED,
        "outcome-unknown",
    )


def test_a_repeat_after_a_crash_is_told_to_look_first(served: Served, tmp_path: Path) -> None:
    approval = approval_of("box.die", "f1")
    request = execute_request(tmp_path, action="box.die", approval=approval, idempotency_key="k")
    request.call.plugin = "acme/dies"
    trial = execute_request(tmp_path, action="box.die", dry_run=True)
    trial.call.plugin = "acme/dies"
    done = tmp_path / "done"

    def executes(asked: Any) -> bool:
        # While it is started again, a call is refused. One may also go to a process that has just
        # died, which nobody can tell from one that acted: both tests here let it die.
        with contextlib.suppress(PluginNotReady):
            answer = served.unary("Execute", asked).answer
            return bool(answer.outcome == answer.OUTCOME_WOULD_CHANGE)
        return False

    def is_done(times: int) -> bool:
        executes(request)
        return done.exists() and len(done.read_text().splitlines()) == times

    assert wait_until(functools.partial(executes, trial), within_s=TIMEOUT_S)
    for times in (1, 2):
        assert wait_until(functools.partial(is_done, times), within_s=TIMEOUT_S)
    other = execute_request(tmp_path, action="box.note", idempotency_key="j")
    for _ in range(2):
        served.unary("Execute", other)

    assert done.read_text().splitlines() == [
        "box.die f1 k", "box.die f1 k again", "box.note f1 j", "box.note f1 j again",
    ]  # fmt: skip


def test_an_idempotency_key_is_not_used_for_something_else(served: Served, tmp_path: Path) -> None:
    request = execute_request(tmp_path, action="box.note", idempotency_key="of f1")
    served.unary("Execute", request)
    request.target = "f2"
    with pytest.raises(UsageError, match="was used for something else"):
        served.unary("Execute", request)
    request.idempotency_key = "of f2"
    served.unary("Execute", request)

    assert (tmp_path / "done").read_text() == "box.note f1 of f1\nbox.note f2 of f2\n"


def test_an_action_goes_on_to_its_end_when_the_caller_goes_away(
    served: Served, tmp_path: Path
) -> None:
    request = execute_request(tmp_path, action="box.slow", approval=approval_of("box.slow", "f1"))

    async def use(host: HostClient) -> None:
        asked = asyncio.ensure_future(host.unary("Execute", request))
        began = functools.partial(wait_until, (tmp_path / "began").exists, within_s=TIMEOUT_S)
        assert await asyncio.to_thread(began)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    served.call(use)
    assert not (tmp_path / "done").exists()
    (tmp_path / "go").touch()

    assert wait_until((tmp_path / "done").exists, within_s=TIMEOUT_S)
    assert wait_until(
        lambda: (
            served.call(lambda host: host.receipts(PluginId("acme", "acts"), 1))[0].status
            == "SUCCEEDED"
        ),
        within_s=TIMEOUT_S,
    )


# ── deliver ───────────────────────────────────────────────────────────────────────────────────────


def envelope(want: str, number: int = 0, organization: str = "acme-corp", **more: Any) -> Any:
    """An envelope of the product's, as OutboundEnvelope."""
    document = {
        "schema_version": "aperio.event.v1",
        "source": "aperio",
        "producer": "aperio.sspm",
        "destination_id": "one",
        "organization_id": organization,
        "kind": "event",
        "occurred_at": "2026-01-01T00:00:00Z",
        "record": {"id": f"r{number}", "want": want},
    }
    return {"kind": "event", "envelope_json": json.dumps(document).encode()} | more


def deliver(served: Served, *envelopes: Any) -> Any:
    request = control_pb2.DeliverRequest(call=call_of("takes"), envelopes=envelopes)
    return served.unary("Deliver", request)


def test_each_envelope_is_answered_for_in_its_place(served: Served) -> None:
    foreign = envelope("accept", 9, organization="acme-other", id="key-9")
    broken = {"id": "key-8", "kind": "event", "envelope_json": b"{"}
    given = [envelope(want, n) for n, want in enumerate(("accept", "reject", "nothing", "accept"))]

    answer = deliver(served, given[0], foreign, given[1], broken, *given[2:])

    statuses = [result.status for result in answer.results]
    assert statuses == [1, 2, 2, 2, 3, 1]
    codes = [result.diagnostic.code for result in answer.results]
    assert codes[1:4:2] == ["organization-foreign", "envelope-invalid"]
    assert [answer.results[1].id, answer.results[3].id] == ["key-9", "key-8"]
    assert (answer.receipt.seen, answer.receipt.sent, answer.receipt.dead_letters) == (6, 2, 3)


def test_the_callers_key_is_kept_and_else_the_delivery_key_is_made(served: Served) -> None:
    answer = deliver(served, envelope("accept", 1, id="sdel-1"), envelope("accept", 1))

    document = {
        "organizationId": "acme-corp",
        "destinationId": "one",
        "stream": "EVENTS",
        "kind": "event",
        "stableRecordId": "r1",
    }
    made = hashlib.sha256(json.dumps(document, separators=(",", ":")).encode()).hexdigest()
    assert [result.id for result in answer.results] == ["sdel-1", made]


def test_one_envelope_that_a_destination_fails_at_does_not_keep_back_the_rest(
    served: Served,
) -> None:
    wants = ("accept", "fail", "accept", "accept", "accept")

    answer = deliver(served, *(envelope(want, n) for n, want in enumerate(wants)))

    assert [result.status for result in answer.results] == [1, 2, 1, 1, 1]


def test_what_fails_behind_an_answer_is_to_be_tried_again_and_before_it_the_call_fails(
    served: Served,
) -> None:
    wants = ("accept", "accept", "accept", "limit", "accept")

    answer = deliver(served, *(envelope(want, n) for n, want in enumerate(wants)))

    assert [result.status for result in answer.results] == [1, 1, 1, 3, 3]
    assert answer.results[4].retry_after.seconds == 7
    with pytest.raises(PluginRateLimited) as caught:
        deliver(served, envelope("limit"))
    assert caught.value.retry_after_s == 7


def test_an_id_that_stands_twice_or_is_too_long_is_refused(served: Served) -> None:
    for given in (
        [envelope("accept", 1, id="same"), envelope("accept", 2, id="same")],
        [envelope("accept", 1, id="x" * 513)],
    ):
        with pytest.raises(CallInvalid):
            deliver(served, *given)
    assert [
        r.status for r in deliver(served, envelope("accept", 1), envelope("accept", 1)).results
    ] == [1, 1]


# ── bad calls ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"plugin": ""}, AperioError),
        ({"plugin": "../../etc/passwd"}, AperioError),
        ({"plugin": "unheard"}, NotInstalled),
        ({"organization_id": ""}, CallInvalid),
        ({"integration_id": ""}, CallInvalid),
        ({"integration_id": "a\nb"}, CallInvalid),
        ({"organization_id": "x" * 257}, CallInvalid),
        ({"version": "9.9.9"}, VersionNotRunning),
        ({"token": {"value": "a b\n"}}, CallInvalid),
        ({"config_json": b"[]"}, CallInvalid),
        ({"config_json": b'{"a": 1, "a": 2}'}, CallInvalid),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(
    served: Served, changes: dict[str, Any], error: type[AperioError]
) -> None:
    synced = served.sync(**({"plugin": "bare"} | changes))

    assert isinstance(synced.error, error)
    assert synced.items == []
    assert served.sync("bare").error is None


def test_a_connector_is_no_destination(served: Served) -> None:
    with pytest.raises(UsageError, match="is a connector, not a destination"):
        served.unary("Deliver", control_pb2.DeliverRequest(call=call_of("bare")))


def test_an_error_of_the_plugin_keeps_its_status_and_what_it_says(served: Served) -> None:
    """By a client that knows nothing of ours but the standard details."""
    import grpc

    async def use(host: HostClient) -> grpc.aio.AioRpcError:
        call: Any = host._channel.unary_unary("/aperio.host.v1.HostService/TestConnection")
        request = control_pb2.TestConnectionRequest(call=call_of("bare"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request.SerializeToString(), timeout=TIMEOUT_S)
        return caught.value

    error = served.call(use)

    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    metadata = dict(error.trailing_metadata())
    assert b"type.googleapis.com/aperio.host.v1.Error" in metadata["grpc-status-details-bin"]
    with pytest.raises(PluginReportedError) as reported:
        served.unary("TestConnection", control_pb2.TestConnectionRequest(call=call_of("bare")))
    assert reported.value.code == "plugin-reported-error"
