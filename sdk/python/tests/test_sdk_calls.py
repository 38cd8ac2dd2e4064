"""Calls over the wire: batches, back-pressure, cancellation, errors, tokens, state."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from aperio_plugin._generated.aperio.plugin.v1 import (
    capabilities_pb2,
    common_pb2,
    connector_pb2,
    destination_pb2,
    host_pb2,
    remediation_pb2,
)
from sdk_host import COOKIE, TIMEOUT_S, Launch, context, stop_by_signal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _connector(sync: str) -> str:
    """The body of a plugin with this `sync`."""
    lines = "\n".join(f"        {line}" for line in sync.strip().splitlines())
    return (
        "class Connector(Plain):\n"
        "    def sync(self, context, cursor):\n"
        f"{lines}\n"
        "connector.serve(Connector())\n"
    )


def _kinds(call: Any) -> list[str]:
    """What came, with the number of events for a batch."""
    return [
        f"{len(message.batch.events)}"
        if message.WhichOneof("item") == "batch"
        else str(message.WhichOneof("item"))
        for message in call
    ]


def _failure(call: Any) -> tuple[grpc.RpcError, common_pb2.Diagnostics]:
    """How a sync ends, with its diagnostics."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    metadata: dict[str, Any] = dict(caught.value.trailing_metadata())  # type: ignore[arg-type]  # pairs
    return caught.value, common_pb2.Diagnostics.FromString(metadata["aperio-diagnostics-bin"])


# ── batches ───────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_closes_at_256_events_and_at_a_checkpoint(launch: Launch) -> None:
    plugin = launch(
        _connector(
            """
for number in range(300):
    yield event(number)
yield Checkpoint(b"300")
yield Progress(done=300, message="two\\nlines")
yield event(301)
"""
        )
    )
    messages = list(plugin.sync())
    assert _kinds(messages) == ["256", "44", "checkpoint", "progress", "1"]
    assert messages[2].checkpoint.cursor == b"300"
    assert messages[3].progress.message == "two lines"
    assert [e.source_event_id for e in messages[0].batch.events[:2]] == ["e0", "e1"]


def test_a_batch_closes_before_1_mib(launch: Launch) -> None:
    plugin = launch(
        _connector(
            """
for number in range(5):
    yield event(number, b'{"x":"' + b"y" * 400_000 + b'"}')
"""
        )
    )
    messages = list(plugin.sync())
    assert _kinds(messages) == ["2", "2", "1"]
    assert all(message.ByteSize() <= 1024 * 1024 for message in messages)


def test_a_slow_generator_does_not_hold_back_its_events(launch: Launch) -> None:
    plugin = launch(_connector("yield event(1)\ncontext.cancelled.wait(60)\nyield event(2)"))
    plugin.health()
    started = time.monotonic()
    call = plugin.sync()
    assert next(call).batch.events[0].source_event_id == "e1"
    assert time.monotonic() - started < 30
    call.cancel()


def test_the_host_holds_the_generator_up_by_not_reading(launch: Launch) -> None:
    plugin = launch(
        """
        class Connector(Plain):
            made = 0
            def test_connection(self, context):
                return connector.TestResult(ok=True, account={"made": str(self.made)})
            def sync(self, context, cursor):
                for self.made in range(1_000_000):
                    yield event(self.made, b'{"x":"' + b"y" * 100_000 + b'"}')
        connector.serve(Connector())
        """
    )
    call = plugin.sync()
    next(call)
    path, pb = "/aperio.plugin.v1.ConnectorPlugin/TestConnection", connector_pb2

    def made() -> int:
        return int(plugin.unary(path, pb.TestRequest(), pb.TestResponse).account["made"])

    deadline = time.monotonic() + TIMEOUT_S
    readings: list[int] = []
    while len(set(readings[-50:])) != 1 or len(readings) < 50:  # until it stands still
        readings.append(made())
        assert time.monotonic() < deadline
    # 50 MB of a hundred thousand: what gRPC and the sockets hold, and a few batches. How much gRPC
    # holds depends on how the reading goes: 23 MB were seen on a busy machine.
    assert readings[-1] < 500
    call.cancel()


def test_a_record_is_passed_on_as_bytes_untouched_or_encoded(launch: Launch) -> None:
    plugin = launch(
        _connector(
            """
yield event(1, b'{ "a" : 1.0 }')
yield event(2, {"a": ["\\N{SNOWMAN}", None, True, 1.5], "b": {"c": "\\ud800"}})
"""
        )
    )
    (message,) = plugin.sync()
    first, second = message.batch.events
    assert first.record_json == b'{ "a" : 1.0 }'
    expected = '{"a":["\N{SNOWMAN}",null,true,1.5],"b":{"c":"\\ud800"}}'
    assert second.record_json == expected.encode()


@pytest.mark.parametrize(
    ("request_values", "seen"),
    [({}, b"None"), ({"cursor": b"7"}, b"b'7'")],
)
def test_the_cursor_is_none_from_the_beginning(
    launch: Launch, request_values: dict[str, Any], seen: bytes
) -> None:
    plugin = launch(_connector("yield Checkpoint(repr(cursor).encode())"))
    (message,) = plugin.sync(**request_values)
    assert message.checkpoint.cursor == seen


# ── the end of a sync ─────────────────────────────────────────────────────────────────────────────


def test_a_cancelled_sync_closes_its_generator(launch: Launch, tmp_path: Path) -> None:
    plugin = launch(
        _connector(
            f"""
try:
    while True:
        yield event(1)
        context.sleep(0.01)
finally:
    open({str(tmp_path / "closed")!r}, "w").write(str(context.cancelled.is_set()))
"""
        )
    )
    call = plugin.sync()
    next(call)
    call.cancel()
    deadline = time.monotonic() + TIMEOUT_S
    while not (tmp_path / "closed").exists() and time.monotonic() < deadline:
        plugin.health()
    plugin.shut_down()
    assert plugin.wait() == 0
    assert (tmp_path / "closed").read_text() == "True"
    assert plugin.records() == []  # Cancelled is no failure worth a log record


def test_the_deadline_is_known_and_ends_the_sync(launch: Launch) -> None:
    plugin = launch(
        _connector(
            """
yield Progress(message=str(context.time_left_s))
context.cancelled.wait(60)
yield Checkpoint(b"too late")
"""
        )
    )
    call = plugin.sync(timeout_s=0.7)
    assert 0 < float(next(call).progress.message) <= 0.7
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert plugin.health() == 1


def test_a_call_without_deadline_has_no_time_left(launch: Launch) -> None:
    plugin = launch(_connector("yield Progress(message=str(context.time_left_s))"))
    method: Any = plugin.channel.unary_stream("/aperio.plugin.v1.ConnectorPlugin/Sync")
    call = method(b"")
    assert connector_pb2.SyncEvent.FromString(next(call)).progress.message == "None"


ERRORS = [
    ('Unauthenticated("expired")', "UNAUTHENTICATED", "unauthenticated"),
    ('PermissionDenied("no")', "PERMISSION_DENIED", "permission-denied"),
    ('RateLimited("slow", retry_after_s=1.5)', "RESOURCE_EXHAUSTED", "rate-limited"),
    ('Unavailable("down")', "UNAVAILABLE", "service-unavailable"),
    ('InvalidConfig("bad", field=("a", 0))', "INVALID_ARGUMENT", "config-invalid"),
    ('InvalidArgument("bad")', "INVALID_ARGUMENT", "argument-invalid"),
    ('InvalidCursor("old")', "OUT_OF_RANGE", "cursor-invalid"),
    ('InvalidRecord("odd")', "INTERNAL", "record-invalid"),
    ('Unsupported("no")', "UNIMPLEMENTED", "unsupported"),
    ('Cancelled("no")', "CANCELLED", "cancelled"),
]


def test_an_error_becomes_a_status_with_diagnostics_after_the_events_before_it(
    launch: Launch,
) -> None:
    raising = 'raise eval("errors." + context.config["error"])'
    plugin = launch(
        _connector(f"yield event(1)\nyield Checkpoint(b'c')\nyield event(2)\n{raising}")
    )
    for error, status, code in ERRORS:
        call = plugin.sync(config={"error": error})
        assert _kinds([next(call), next(call), next(call)]) == ["1", "checkpoint", "1"], error
        raised, diagnostics = _failure(call)
        assert raised.code().name == status
        (item,) = diagnostics.items
        assert (item.code, item.severity) == (code, common_pb2.Diagnostic.SEVERITY_ERROR)
        assert item.summary == raised.details()
        if "InvalidConfig" in error:
            steps = [step.WhichOneof("selector") for step in item.attribute.steps]
            assert steps == ["key", "index"]
        assert diagnostics.HasField("retry_after") == ("RateLimited" in error)
    assert stop_by_signal(plugin) == 0
    assert plugin.records() == []


def test_a_bug_becomes_internal_and_one_error_record_with_the_traceback(launch: Launch) -> None:
    plugin = launch(_connector('yield event(1)\n{}["s3cret-key"]'))
    call = plugin.sync()
    next(call)
    raised, diagnostics = _failure(call)
    assert raised.code() is grpc.StatusCode.INTERNAL
    assert diagnostics.items[0].summary == "the plugin failed with KeyError"
    assert "s3cret" not in str(diagnostics)
    assert "plugin_0.py:" in diagnostics.items[0].detail
    assert stop_by_signal(plugin) == 0
    (record,) = plugin.records()
    assert record["@level"] == "error"
    assert record["traceback"].startswith("Traceback (most recent call last):")
    assert len(plugin.stderr().splitlines()) == 1


def test_a_bug_in_a_unary_call_leaves_the_plugin_alive(launch: Launch) -> None:
    bugs = ["sys.exit(3)", "raise KeyboardInterrupt", "1 / 0"]
    plugin = launch(
        f"""
        bugs = iter({bugs!r})
        class Buggy(Plain):
            def schema(self):
                exec(next(bugs))
        connector.serve(Buggy())
        """
    )
    for bug in bugs:
        with pytest.raises(grpc.RpcError) as caught:
            plugin.schema()
        assert caught.value.code() is grpc.StatusCode.INTERNAL, bug
        assert plugin.health() == 1, bug


def test_yielding_something_else_is_told(launch: Launch) -> None:
    plugin = launch(_connector('yield eval(context.config["item"])'))
    for item in ("1", "None", "'text'", '{"a": 1}', "Checkpoint('text')", "Event"):
        raised, _diagnostics = _failure(plugin.sync(config={"item": item}))
        assert raised.code() is grpc.StatusCode.INTERNAL, item


def test_a_sync_that_ends_with_an_odd_exception_is_told(launch: Launch) -> None:
    plugin = launch(_connector('yield event(1)\nexec(context.config["bug"])'))
    for bug in ("raise GeneratorExit", "sys.exit(3)", "raise StopIteration"):
        raised, _diagnostics = _failure(plugin.sync(config={"bug": bug}))
        assert raised.code() is grpc.StatusCode.INTERNAL, bug
        assert plugin.health() == 1, bug


def test_a_sync_that_is_no_generator_is_told(launch: Launch) -> None:
    plugin = launch(
        """
        class Wrong(Plain):
            async def sync(self, context, cursor):
                yield event(1)
        connector.serve(Wrong())
        """
    )
    raised, _diagnostics = _failure(plugin.sync())
    assert raised.code() is grpc.StatusCode.INTERNAL
    assert stop_by_signal(plugin) == 0
    assert "plain generator" in plugin.records()[0]["error"]


def test_very_long_and_odd_diagnostics_still_arrive(launch: Launch) -> None:
    plugin = launch(
        _connector(
            """
raise errors.Unavailable("\\ud800\\n\\N{SNOWMAN}" * 5000, detail="\\N{SNOWMAN}" * 9999)
yield
"""
        )
    )
    raised, diagnostics = _failure(plugin.sync())
    assert raised.code() is grpc.StatusCode.UNAVAILABLE
    assert "\n" not in diagnostics.items[0].summary
    assert diagnostics.items[0].detail.startswith("\N{SNOWMAN}")


# ── the other calls of a connector ────────────────────────────────────────────────────────────────


FULL_SCHEMA = """
from aperio_plugin.connector import *
class Full(Plain):
    def schema(self):
        return Schema(
            provider="BOX", name="Box", availability=Availability.PRODUCTION_READY,
            fields=[
                Field(key="client_id", label="Client id", required=True),
                Field(key="client_secret", label="Secret", type=FieldType.PASSWORD, secret=True,
                      host_only=True),
                Field(key="region", label="Region", type=FieldType.SELECT, options=["us", "eu"],
                      default="us"),
            ],
            auth=OAuth2(token_url="https://x/t", grants=[Grant.CLIENT_CREDENTIALS],
                        token_parameters={"box_subject_id": "{client_id}"}),
            checks=[Check(key="box.c", title="C", severity_hint=SeverityHint.HIGH)],
            actions=[Action(key="box.a", label="A")],
            event_types=["box.login"], read_scopes=["r"], remediation_scopes=["w"],
        )
    def test_connection(self, context):
        context.logger.info("checking %s", context.config["region"], extra={"page": 3})
        assert context.token.value == "s3cret-token"
        assert "s3cret" not in repr(context)
        raise errors.PermissionDenied("no scope", detail="enable it")
    def oauth_callback(self, context, parameters):
        return {"name": parameters["realm"]}
connector.serve(Full())
"""


def test_a_schema_arrives_whole(launch: Launch) -> None:
    schema = launch(FULL_SCHEMA).schema()
    assert schema.availability == connector_pb2.SchemaResponse.AVAILABILITY_PRODUCTION_READY
    assert [field.key for field in schema.fields] == ["client_id", "client_secret", "region"]
    assert schema.fields[2].default_json == '"us"'
    assert schema.fields[1].host_only
    assert schema.auth.oauth2.grants == [common_pb2.Auth.OAuth2.GRANT_CLIENT_CREDENTIALS]
    assert dict(schema.auth.oauth2.token_parameters) == {"box_subject_id": "{client_id}"}
    assert schema.checks[0].severity_hint == common_pb2.SEVERITY_HINT_HIGH
    assert schema.checks[0].enabled_by_default
    assert schema.remediation_actions[0].key == "box.a"


def test_a_configuration_that_does_not_work_is_a_response(launch: Launch) -> None:
    plugin = launch(FULL_SCHEMA)
    request = connector_pb2.TestRequest(context=context({"region": "eu"}))
    path = "/aperio.plugin.v1.ConnectorPlugin/TestConnection"
    answer = plugin.unary(path, request, connector_pb2.TestResponse)
    assert not answer.ok
    assert (answer.diagnostics[0].code, answer.diagnostics[0].detail) == (
        "permission-denied",
        "enable it",
    )
    assert stop_by_signal(plugin) == 0
    (record,) = plugin.records()
    assert record["@message"] == "checking eu"
    assert (record["page"], record["invocation_id"]) == (3, "inv-1")


def test_an_oauth_callback_gives_account_facts(launch: Launch) -> None:
    plugin = launch(FULL_SCHEMA)
    pb = connector_pb2
    request = pb.OAuthCallbackRequest(context=context(), parameters={"realm": "acme"})
    path = "/aperio.plugin.v1.ConnectorPlugin/OAuthCallback"
    assert dict(plugin.unary(path, request, pb.OAuthCallbackResponse).account) == {"name": "acme"}


def test_a_configuration_that_is_no_object_is_refused(launch: Launch) -> None:
    plugin = launch()
    path = "/aperio.plugin.v1.ConnectorPlugin/TestConnection"
    for config in (b"[]", b"{", b"\xff", b"[" * 100_000):
        request = connector_pb2.TestRequest(context={"config_json": config})
        with pytest.raises(grpc.RpcError) as caught:
            plugin.unary(path, request, connector_pb2.TestResponse)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, config[:2]


# ── remediation and destination ───────────────────────────────────────────────────────────────────


REMEDIATION = """
from aperio_plugin.remediation import *
class Suspender(Remediation):
    def __init__(self):
        self.executed = 0
    def capabilities(self):
        return Capabilities(provider="X", name="X", actions=[
            Action(key="x.suspend", label="Suspend", target_types=["user"], supports_dry_run=True),
            Action(key="x.delete", label="Delete", target_types=["user"]),
        ])
    def execute(self, context, request):
        if request.dry_run:
            return would_change(Change("status", "active", "suspended"))
        self.executed += 1
        if request.target == "absent":
            return failed("no such user", code="absent")
        time.sleep(0.2)
        return changed(Change(("count",), None, self.executed))
serve(Suspender())
"""
SUSPEND = {"action": "x.suspend", "target": "u1", "idempotency_key": "k1"}


def test_a_repeat_with_the_same_key_does_not_act_twice_even_at_the_same_time(
    launch: Launch,
) -> None:
    plugin = launch(REMEDIATION)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _number: plugin.execute(**SUSPEND), range(4)))
    answers.append(plugin.execute(**SUSPEND))
    changed = remediation_pb2.ExecuteResponse.OUTCOME_CHANGED
    assert [answer.outcome for answer in answers] == [changed] * 5
    assert {answer.changes[0].after_json for answer in answers} == {b"1"}


def test_a_failed_action_may_be_repeated(launch: Launch) -> None:
    plugin = launch(REMEDIATION)
    request = {**SUSPEND, "target": "absent"}
    for _ in range(2):
        answer = plugin.execute(**request)
        assert answer.outcome == remediation_pb2.ExecuteResponse.OUTCOME_FAILED
        assert answer.diagnostics[0].code == "absent"
    assert plugin.execute(**{**SUSPEND, "idempotency_key": "k2"}).changes[0].after_json == b"3"


def test_a_dry_run_acts_not_and_is_not_remembered(launch: Launch) -> None:
    plugin = launch(REMEDIATION)
    answer = plugin.execute(**SUSPEND, dry_run=True)
    assert answer.outcome == remediation_pb2.ExecuteResponse.OUTCOME_WOULD_CHANGE
    assert answer.changes[0].before_json == b'"active"'
    assert plugin.execute(**SUSPEND).changes[0].after_json == b"1"


SENSELESS: list[tuple[dict[str, Any], str]] = [
    ({**SUSPEND, "action": "x.other"}, "INVALID_ARGUMENT"),
    ({**SUSPEND, "idempotency_key": ""}, "INVALID_ARGUMENT"),
    ({**SUSPEND, "idempotency_key": "k" * 257}, "INVALID_ARGUMENT"),
    ({**SUSPEND, "parameters_json": b"[1]"}, "INVALID_ARGUMENT"),
    ({**SUSPEND, "action": "x.delete", "dry_run": True}, "UNIMPLEMENTED"),
]


def test_a_request_that_makes_no_sense_never_reaches_the_author(launch: Launch) -> None:
    plugin = launch(REMEDIATION)
    for values, status in SENSELESS:
        with pytest.raises(grpc.RpcError) as caught:
            plugin.execute(**values)
        assert caught.value.code().name == status, values
    assert plugin.execute(**SUSPEND).changes[0].after_json == b"1"


def test_a_key_of_another_request_is_refused(launch: Launch) -> None:
    plugin = launch(REMEDIATION)
    plugin.execute(**SUSPEND)
    with pytest.raises(grpc.RpcError) as caught:
        plugin.execute(**{**SUSPEND, "target": "u2"})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_remediation_declares_its_actions(launch: Launch) -> None:
    plugin = launch(REMEDIATION)
    pb = capabilities_pb2
    path = "/aperio.plugin.v1.RemediationPlugin/Capabilities"
    answer = plugin.unary(path, pb.CapabilitiesRequest(), pb.CapabilitiesResponse)
    assert [action.key for action in answer.remediation.actions] == ["x.suspend", "x.delete"]


DESTINATION = """
from aperio_plugin.destination import *
class Siem(Destination):
    def capabilities(self):
        return Capabilities(provider="SIEM", name="Siem", streams=[Stream.EVENT])
    def deliver(self, context, envelopes):
        for envelope in envelopes:
            if envelope.id == "bad":
                yield rejected(envelope, "malformed", code="too-large")
            elif envelope.id == "later":
                yield retry(envelope, "busy", after_s=1.5)
            elif envelope.id == "boom":
                raise errors.Unavailable("gone")
            elif envelope.id != "silent":
                yield accepted(envelope)
serve(Siem())
"""


def test_each_envelope_gets_a_result_and_a_missing_one_is_retried(launch: Launch) -> None:
    results = launch(DESTINATION).deliver("a", "bad", "later", "silent", "b").results
    pb = destination_pb2.EnvelopeResult
    assert [(result.id, result.status) for result in results] == [
        ("a", pb.STATUS_ACCEPTED),
        ("bad", pb.STATUS_REJECTED),
        ("later", pb.STATUS_RETRY),
        ("silent", pb.STATUS_RETRY),
        ("b", pb.STATUS_ACCEPTED),
    ]
    assert results[1].diagnostic.code == "too-large"
    assert results[2].retry_after.ToMilliseconds() == 1500
    assert results[3].diagnostic.code == "no-answer"


def test_an_error_in_mid_way_keeps_the_answers_before_it(launch: Launch) -> None:
    results = launch(DESTINATION).deliver("a", "boom", "b").results
    pb = destination_pb2.EnvelopeResult
    assert [result.status for result in results] == [
        pb.STATUS_ACCEPTED,
        pb.STATUS_RETRY,
        pb.STATUS_RETRY,
    ]
    assert results[1].diagnostic.code == "service-unavailable"


def test_an_error_before_any_answer_fails_the_call(launch: Launch) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        launch(DESTINATION).deliver("boom", "a")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


# ── the key-value store ───────────────────────────────────────────────────────────────────────────


STATE = """
class Stateful(Plain):
    def sync(self, context, cursor):
        state = context.state
        assert state.get("absent") is None
        first = state.put("a/1", b"one", if_revision=0)
        second = state.put("a/1", b"two")
        state.put("a/2", b"x"); state.put("b", b"x")
        state.delete("b"); state.delete("b")
        found = state.get("a/1")
        try:
            state.put("a/1", b"three", if_revision=first)
        except errors.StateConflict as error:
            conflict = str(error)
        keys = list(state.keys("a/"))
        yield Progress(message=f"{first} {second} {found.value} {keys} {conflict}")
connector.serve(Stateful())
"""


class _Store:
    """A host's key-value store, small pages, which notes whose slice was asked for."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, int]] = {}
        self.invocations: set[str] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(
                self._noting(getattr(self, name.lower())),
                getattr(host_pb2, f"{name}Request").FromString,
                lambda message: message.SerializeToString(),
            )
            for name in ("Get", "Put", "Delete", "List")
        }
        return grpc.method_handlers_generic_handler("aperio.plugin.v1.KeyValueStore", methods)

    def _noting(self, method: Any) -> Any:
        def call(request: Any, servicer: grpc.ServicerContext) -> Any:
            metadata: dict[str, Any] = dict(servicer.invocation_metadata())
            self.invocations.add(metadata["aperio-invocation"])
            return method(request, servicer)

        return call

    def get(self, request: Any, servicer: grpc.ServicerContext) -> Any:
        if request.key not in self.values:
            servicer.abort(grpc.StatusCode.NOT_FOUND, "absent")
        value, revision = self.values[request.key]
        return host_pb2.GetResponse(value=value, revision=revision)

    def put(self, request: Any, servicer: grpc.ServicerContext) -> Any:
        revision = self.values.get(request.key, (b"", 0))[1]
        if request.HasField("if_revision") and request.if_revision != revision:
            servicer.abort(grpc.StatusCode.FAILED_PRECONDITION, "another revision")
        self.values[request.key] = (request.value, revision + 1)
        return host_pb2.PutResponse(revision=revision + 1)

    def delete(self, request: Any, servicer: grpc.ServicerContext) -> Any:
        del servicer
        self.values.pop(request.key, None)
        return host_pb2.DeleteResponse()

    def list(self, request: Any, servicer: grpc.ServicerContext) -> Any:
        del servicer
        keys = sorted(k for k in self.values if k.startswith(request.prefix) and k > request.after)
        return host_pb2.ListResponse(keys=keys[:1], more=len(keys) > 1)


@pytest.fixture
def store(socket_folder: Path) -> Iterator[tuple[_Store, str]]:
    offered = _Store()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((offered.handler(),))
    path = str(socket_folder / "host")
    server.add_insecure_port(f"unix:{path}")
    server.start()
    yield offered, path
    server.stop(None).wait(TIMEOUT_S)


def test_the_store_of_the_host_is_at_hand(launch: Launch, store: tuple[_Store, str]) -> None:
    plugin = launch(STATE, environment={**COOKIE, "APERIO_HOST_SOCKET": store[1]})
    (message,) = plugin.sync()
    expected = "1 2 b'two' ['a/1', 'a/2'] a/1 does not have revision 1"
    assert message.progress.message == expected
    assert store[0].invocations == {"inv-1"}


@pytest.mark.parametrize("offered", [{}, {"APERIO_HOST_SOCKET": "/nonexistent/socket"}])
def test_a_host_without_a_store_is_named(launch: Launch, offered: dict[str, str]) -> None:
    plugin = launch(STATE, environment={**COOKIE, **offered})
    raised, diagnostics = _failure(plugin.sync())
    assert raised.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert diagnostics.items[0].code == "state-unavailable"


def test_log_records_of_all_shapes_are_single_json_lines(launch: Launch) -> None:
    plugin = launch(
        """
        class Logging(Plain):
            def schema(self):
                log = logging.getLogger("author")
                log.warning("warn %s", "\\ud800\\n\\x00")
                log.critical("worst", extra={"@message": 5, "number": 7, "object": object()})
                log.error("does not fit %d", "x")
                log.error("x" * 200_000, extra={"long": "y" * 200_000})
                log.debug("not shown")
                logging.getLogger().info(5)
                class Odd:
                    def __str__(self): raise ValueError
                log.error("%s", Odd(), extra={"odd": Odd(), "nan": float("nan")})
                return super().schema()
        connector.serve(Logging())
        """
    )
    plugin.schema()
    assert stop_by_signal(plugin) == 0
    lines = plugin.stderr().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["@level"] for record in records] == [
        "warn",
        "error",
        "error",
        "error",
        "info",
        "error",
    ]
    for record, line in zip(records, lines, strict=True):
        assert all(isinstance(record[f"@{key}"], str) for key in ("level", "message", "timestamp"))
        assert len(line) < 64 * 1024
        assert len(record["@timestamp"]) == len("2026-01-02T03:04:05.123456Z")
    assert (records[1]["number"], records[1]["_@message"]) == (7, 5)
