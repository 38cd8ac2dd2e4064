"""Typed calls to real plugins of every kind, and what comes of bad answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.data.state import StateDatabase
from aperio_cli.errors.running import (
    OutcomeUnknown,
    PluginConfigInvalid,
    PluginContractBroken,
    PluginCrashed,
    PluginDeadlineExceeded,
    PluginFault,
    PluginReportedError,
)
from aperio_cli.host.calls.envelopes import Outbound
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.calls.remediation import Execution
from aperio_cli.host.calls.session import SessionRequest, open_session

from .conftest import PLUGINS, Host, development, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.host.launch import RunningPlugin


pytestmark = pytest.mark.usefixtures("forked_plugins")


def run_kind(host: Host, kind: str, use: Callable[..., Any]) -> Any:
    return host.run(development(PLUGINS / "other_kinds.py", kind=kind), use)


# ── remediation and destination ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("dry_run", "outcome"), [(True, 3), (False, 1)])
def test_a_remediation_executes_an_action(host: Host, *, dry_run: bool, outcome: int) -> None:
    async def use(plugin: RunningPlugin) -> int:
        execution = Execution("box.unshare", "item-1", "once", dry_run=dry_run)
        return (await plugin.remediation.execute(Invocation(), execution)).outcome

    assert run_kind(host, "remediation", use) == outcome


@pytest.mark.parametrize("action", ["box.die", "box.fail"])
def test_an_action_that_may_have_been_done_is_neither_done_nor_failed(
    host: Host, action: str
) -> None:
    async def use(plugin: RunningPlugin) -> None:
        execution = Execution(action, "item-1", "key-7").approved("ticket 12")
        await plugin.remediation.execute(Invocation(may_write=True), execution)

    with pytest.raises(OutcomeUnknown) as caught:
        run_kind(host, "remediation", use)

    assert caught.value.what == f"it is not known whether `{action}` was done on `item-1`"
    assert caught.value.to_json()["idempotency_key"] == "key-7"
    assert any("--idempotency-key key-7" in step for step in caught.value.next)


@pytest.mark.parametrize(
    ("action", "kind"), [("box.die", PluginCrashed), ("box.fail", PluginFault)]
)
def test_a_dry_run_that_breaks_off_leaves_nothing_open(
    host: Host, action: str, kind: type[PluginFault]
) -> None:
    async def use(plugin: RunningPlugin) -> None:
        execution = Execution(action, "item-1", "once", dry_run=True)
        await plugin.remediation.execute(Invocation(), execution)

    with pytest.raises(kind) as caught:
        run_kind(host, "remediation", use)

    assert not isinstance(caught.value, OutcomeUnknown)


def test_a_plugin_is_told_the_mode_the_scopes_and_the_approval(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> str:
        execution = Execution(
            "box.tell", "item-1", "once", b'{"a":1}', target_type="file", context_json=b'{"b":2}'
        ).approved("ticket 12")
        invocation = Invocation(may_write=True, granted_scopes=("files.write",))
        answer = await plugin.remediation.execute(invocation, execution)
        return answer.diagnostics[0].summary

    told = run_kind(host, "remediation", use)

    digest = hashlib.sha256(b'8:box.tell6:item-17:{"a":1}').hexdigest()
    for line in (
        "mode: MODE_REMEDIATION",
        'granted_scopes: "files.write"',
        'target_type: "file"',
        'reference: "ticket 12"',
        f'sha256: "{digest}"',
    ):
        assert line in told


def test_an_error_comes_with_its_diagnostics(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await plugin.remediation.execute(Invocation(), Execution("box.other", "item-1", "once"))

    with pytest.raises(PluginReportedError) as caught:
        run_kind(host, "remediation", use)

    assert caught.value.what.endswith("could not do Execute: no such action (action) [no]")
    assert caught.value.why == "status INVALID_ARGUMENT"
    assert caught.value.next == ("the plugin says: use box.unshare",)
    assert caught.value.exit_status == 5


def test_a_destination_answers_for_each_envelope(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> list[tuple[str, int]]:
        envelopes = [Outbound(n, "event", b"{}", "local", key=f"key of {n}") for n in ("a", "b")]
        response = await plugin.destination.deliver(Invocation(), envelopes)
        return [(result.id, result.status) for result in response.results]

    assert run_kind(host, "destination", use) == [("key of a", 1), ("key of b", 1)]


@pytest.mark.parametrize("kind", ["remediation", "destination"])
def test_every_kind_has_its_settings_checked(host: Host, kind: str) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await open_session(plugin, SessionRequest())

    with pytest.raises(PluginConfigInvalid, match="`url` of `acme/box`") as caught:
        run_kind(host, kind, use)
    assert caught.value.next[-1] == "the operation `capabilities` shows every key with its type"


# ── bad answers ───────────────────────────────────────────────────────────────────────────────────


def test_bytes_that_are_no_message_break_the_interface(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await plugin.connector.schema(Invocation())

    with pytest.raises(PluginContractBroken, match="answered Schema"):
        host.run("garbage", use)


def test_bytes_that_are_no_message_in_a_stream_end_it_with_an_error(host: Host) -> None:
    seen = []

    async def use(plugin: RunningPlugin) -> None:
        async for message in plugin.connector.sync(Invocation()):
            seen.append(message.WhichOneof("item"))  # noqa: PERF401 - it ends with an error

    with pytest.raises(PluginContractBroken, match="answered Sync"):
        host.run("garbage", use)

    assert seen == ["batch"]


def test_a_message_over_4_mib_is_an_error_and_not_a_crash(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> str:
        with pytest.raises(PluginReportedError) as caught:
            await plugin.connector.test_connection(Invocation())
        messages = plugin.connector.sync(Invocation())
        assert (await anext(messages)).WhichOneof("item") == "batch"
        return caught.value.why

    assert "RESOURCE_EXHAUSTED" in host.run("garbage", use)


def test_a_method_that_a_plugin_lacks_is_told(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await plugin.connector.test_connection(Invocation())

    with pytest.raises(PluginReportedError) as caught:
        host.run("bare", use)

    assert "UNIMPLEMENTED" in caught.value.why


def test_another_provider_than_the_manifests_breaks_the_interface(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await plugin.connector.schema(Invocation())

    with pytest.raises(PluginContractBroken) as caught:
        host.run(development(PLUGINS / "bare.py", provider="SLACK"), use)

    assert "expected SLACK\nreceived BOX" in caught.value.why


def test_a_sync_that_falls_silent_is_ended(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare, threading\n"
        "from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2\n"
        "def sync(request, context):\n"
        "    yield bare.batch(0, 1)\n"
        "    threading.Event().wait()\n"
        "bare.serve({'Sync': bare.stream(sync, connector_pb2.SyncRequest)})\n"
    )

    async def use(plugin: RunningPlugin) -> None:
        async for _message in plugin.connector.sync(Invocation(), silence_s=0.3):
            pass

    with pytest.raises(PluginDeadlineExceeded, match="did not answer Sync in time"):
        host.run(script, use)


def test_a_reader_that_leaves_cancels_the_call(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "plugin.py"
    ended = tmp_path / "ended"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare\n"
        "from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2\n"
        "def sync(request, context):\n"
        f"    context.add_callback(lambda: open({str(ended)!r}, 'w').close())\n"
        "    while context.is_active():\n"
        "        yield bare.batch(0, 1)\n"
        "bare.serve({'Sync': bare.stream(sync, connector_pb2.SyncRequest)})\n"
    )

    async def use(plugin: RunningPlugin) -> None:
        messages = plugin.connector.sync(Invocation())
        await anext(messages)
        await messages.aclose()
        assert await asyncio.to_thread(wait_until, ended.exists, within_s=30)

    host.run(script, use)


# ── a plugin made with the SDK ────────────────────────────────────────────────────────────────────


def test_an_sdk_plugin_syncs_and_its_prints_and_logs_arrive(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> int:
        messages = [message async for message in plugin.connector.sync(Invocation())]
        return sum(len(message.batch.events) for message in messages)

    assert host.run("with_sdk", use) == 1000

    told = {record.message: record for record in host.logs}
    assert told["printed by the author"].stream == "stdio"
    assert told["logged by the author"].level == "warn"


def test_an_sdk_plugins_error_keeps_its_diagnostics(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> None:
        async for _ in plugin.connector.sync(Invocation(config_json=b'{"mode": "denied"}')):
            pass

    with pytest.raises(PluginReportedError) as caught:
        host.run("with_sdk", use)

    assert "the scope is missing (mode)" in caught.value.what
    assert "PERMISSION_DENIED" in caught.value.why
    assert "the plugin says: grant it" in caught.value.next


def failed_sync(host: Host, **config: object) -> PluginReportedError:
    """Return the error of a sync that the SDK's example was asked to fail."""

    async def use(plugin: RunningPlugin) -> None:
        async for _ in plugin.connector.sync(Invocation(config_json=json.dumps(config).encode())):
            pass

    with pytest.raises(PluginReportedError) as caught:
        host.run("with_sdk", use)
    return caught.value


@pytest.mark.parametrize(
    ("asked_s", "wait_s", "step"),
    [
        (120, 120, "wait 120 s, then run it again"),
        (119.2, 120, "wait 120 s, then run it again"),
        (0.25, 1, "wait 1 s, then run it again"),
        (None, None, "wait some minutes, then run it again"),
        (1e10, 2_592_000, "wait 2592000 s, then run it again"),
        (-5, None, "wait some minutes, then run it again"),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(
    host: Host, asked_s: float | None, wait_s: int | None, step: str
) -> None:
    error = failed_sync(host, mode="limited", wait_s=asked_s)

    assert (error.code, error.exit_status) == ("plugin-rate-limited", 4)
    assert "too many calls" in error.what
    assert error.next[0] == step
    assert error.to_json()["retry_after_s"] == wait_s
    assert ("asked to wait" in error.why) is (wait_s is not None)


def test_another_error_is_no_rate_limit_and_says_the_wait_all_the_same(host: Host) -> None:
    error = failed_sync(host, mode="unavailable")

    assert (error.code, error.exit_status) == ("plugin-reported-error", 5)
    assert error.why == "status UNAVAILABLE\nasked to wait 30 s"
    assert error.next[0] == "wait 30 s, then run it again"
    assert "retry_after_s" not in error.to_json()


def test_an_sdk_plugin_keeps_state_between_launches(host: Host, tmp_path: Path) -> None:
    async def use(plugin: RunningPlugin) -> str:
        return str((await plugin.connector.test_connection(Invocation())).account["runs"])

    with StateDatabase(tmp_path / "state.db") as state:
        host.options["state"] = state
        target = development(PLUGINS / "with_sdk.py", state=True)

        assert [host.run(target, use), host.run(target, use)] == ["0", "1"]
