"""Answers with words of a newer minor version, and with JSON that is none: nothing else is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.commands.plugin import showing
from aperio_cli.errors.running import PluginContractBroken
from aperio_cli.host.calls import session as sessions
from aperio_cli.host.calls.configuration import check_config
from aperio_cli.host.calls.envelopes import Outbound
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.calls.remediation import Execution
from aperio_cli.host.calls.session import SessionRequest, open_session
from aperio_cli.running.delivering import Deliverer, Deliveries, DeliveryTask

from .conftest import PLUGINS, Host, development

if TYPE_CHECKING:
    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.output import Report

pytestmark = pytest.mark.usefixtures("forked_plugins")
SECRET = "hunter2-hunter2"


def test_new_words_of_a_connector_are_unknown_and_its_events_arrive(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> tuple[Report, Report, bytes]:
        session = await open_session(plugin, SessionRequest(settings={"pick": SECRET}))
        assert plugin.masks.text(f"it is {SECRET}") == "it is [masked: pick]"
        schema = showing.declaration(await plugin.connector.schema(Invocation()))
        invocation = await session.invocation()
        tested = showing.test(await plugin.connector.test_connection(invocation))
        message = await anext(plugin.connector.sync(invocation))
        return schema, tested, message.batch.events[0].record_json

    schema, tested, settings = host.run("newer_words", use)

    assert "auth       unknown\n" in schema.text
    assert "pick     unknown 77" in schema.text
    assert schema.data["fields"][0]["type"] == schema.data["availability"] == 77
    assert (tested.exit_status, tested.text) == (
        0,
        "the connection works\nunknown 77: said in new words",
    )
    assert json.loads(settings) == {"pick": SECRET}


def test_settings_of_the_hosts_own_are_held_against_the_fields_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = check_config
    checked: list[object] = []

    def count(*arguments: Any, **named: Any) -> Any:
        checked.append(arguments[1])
        return check(*arguments, **named)

    monkeypatch.setattr(sessions, "check_config", count)
    own, given = {"pick": SECRET}, {"pick": "of-a-single-call"}

    async def use(plugin: RunningPlugin) -> None:
        for _ in range(2):
            one = await open_session(plugin, SessionRequest(settings=given))
            assert one.config.values == given
        assert plugin.fitted is None
        for _ in range(2):
            await open_session(plugin, SessionRequest(settings=own, are_own=True))
        await open_session(plugin, SessionRequest(settings=given))
        again = await open_session(plugin, SessionRequest(settings=own, are_own=True))
        assert again.config.values == own
        await open_session(plugin, SessionRequest(settings=dict(own), are_own=True))

    host.run("newer_words", use)

    assert checked == [given, given, own, given, own]


def test_a_setting_of_an_unknown_type_has_its_default(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> Any:
        return (await open_session(plugin, SessionRequest())).config.values

    assert host.run("newer_words", use) == {"pick": {"deep": [1.5]}}


def test_an_action_with_an_unknown_outcome_keeps_its_result(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> Report:
        await plugin.remediation.capabilities(Invocation())
        execution = Execution("box.a", "item-1", "once")
        answer = await plugin.remediation.execute(Invocation(), execution)
        return showing.execution(answer, execution, failed_status=5)

    report = host.run(development(PLUGINS / "newer_words.py", kind="remediation"), use)

    assert (report.exit_status, report.data["outcome"]) == (5, "unknown_77")
    assert report.data["changes"] == [
        {"attribute": "role", "before": {"n": 1}, "after": None},
        {"attribute": "target", "before": None, "after": None},
    ]
    assert [problem.partition(" cannot")[0] for problem in report.data["problems"]] == [
        "the plugin's `changes[0].after`",
        "the plugin's `changes[1].before`",
        "the plugin's `changes[1].after`",
    ]
    lines = report.text.splitlines()
    assert lines[0].startswith("unknown 77: of a newer version of the plugin interface")
    assert lines[1] == "unknown 77: said in new words"
    assert lines[2].startswith('  role: {"n": 1} -> [[[')
    assert [line.startswith("warning: ") for line in lines[4:]] == [True] * 3


def test_a_delivery_with_an_unknown_status_is_to_be_tried_again(host: Host) -> None:
    async def use(plugin: RunningPlugin) -> Deliveries:
        deliverer = Deliverer(await open_session(plugin, SessionRequest()), DeliveryTask())
        await deliverer([Outbound(name, "event", b"{}", "local") for name in ("a", "b")])
        return deliverer.tally

    tally = host.run(development(PLUGINS / "newer_words.py", kind="destination"), use)

    assert (tally.accepted, tally.rejected, tally.retry) == (1, 0, 1)
    said = {"id": "b", "status": "unknown_77", "reason": "said in new words"}
    assert tally.reasons == [said | {"code": "", "line": None}]


def test_what_nobody_foresaw_about_an_answer_breaks_the_interface(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(plugin: RunningPlugin) -> None:
        await plugin.connector.schema(Invocation())

    def fails(*_: object) -> None:
        raise LookupError("nobody thought\nof this")

    monkeypatch.setattr("aperio_cli.host.calls.declaration.auth_problems", fails)

    with pytest.raises(PluginContractBroken, match="answered Schema") as caught:
        host.run("bare", use)

    assert caught.value.why.splitlines() == [
        "its answer cannot be read",
        "LookupError: nobody thought of this",
    ]
