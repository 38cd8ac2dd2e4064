"""The destination `plugins/nats-jetstream`, run as operators run it, with a real nats-server."""

from __future__ import annotations

import json
import subprocess
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from tests.go_operators import (
    COMMAND,
    CONNECTOR,
    EVENTS,
    Operator,
    copy_plugin,
    go_test,
    install,
)
from tests.nats_server import STREAM, NatsServer, require_nats_server
from tests.projects import write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.go,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("forked_plugins"),
]
PLUGIN = "aperio/nats-jetstream"
PATIENCE_S = 60.0
# sha256 of the product's delivery keys, by an independent program.
DELIVERY_KEYS = [
    "541b84cbf9ef1139165999ebec44eb813d1d0468e9a23be37e663a0055e7eecf",
    "7b6349ce1941c76dcfdeb84a941f5166fb86dce4fb2873ed3d37c5a94f1dd8c5",
    "bd0fe02488bc53e9f1cd453eda46d247da262d10a584e2a65bea4173c90fe6b2",
    "4f5377f14cc0e307b1b006f79ea1534193c8ca586dbe457795da3e8827cf628a",
    "746847c4ead0e7c1e6ad583a104a1895b08fdefb6686e8567eeeed6b8676cc17",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_nats_server()
    return copy_plugin("nats-jetstream", tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Operator:
    return install(project, tmp_path_factory.mktemp("operator"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    with NatsServer(folder) as server:
        yield server


@pytest.fixture(scope="module")
def message_type(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The message on the bus, from the plugin's own proto."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from grpc_tools import protoc

    output = tmp_path_factory.mktemp("proto") / "set"
    words = [
        "protoc", f"-I{project / 'proto'}", f"-I{files('grpc_tools') / '_proto'}",
        "--include_imports", f"--descriptor_set_out={output}",
        "aperio/plugin/bus/v1/event_envelope.proto",
    ]  # fmt: skip
    assert protoc.main(words) == 0
    found = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("aperio.plugin.bus.v1.EventEnvelope")
    )


def digest(number: int) -> str:
    return f"{number:064x}"


def envelope(number: int, **changes: object) -> dict[str, Any]:
    return {
        "id": digest(number), "schema_version": "aperio.event.v1", "source": "aperio",
        "producer": "acme/box-connector@1.2.3", "organization_id": "local",
        "integration_id": "int_1", "provider": "BOX", "kind": "event",
        "event_type": "box.file_downloaded", "actor": None,
        "occurred_at": "2026-01-05T09:00:00.5Z", "source_event_id": f"e{number}",
        "record": {"size": 0.10, "text": "Grüße\n\u2028"}, **changes,
    }  # fmt: skip


def by_server(kind: str, **record: object) -> dict[str, Any]:
    """An envelope as the product's server hands it over: eight keys, no id."""
    return {
        "schema_version": f"aperio.{kind}.v1", "source": "aperio", "producer": "aperio.sspm",
        "destination_id": "siem_1", "organization_id": "org_1", "kind": kind,
        "occurred_at": "2026-01-05T09:00:00Z", "record": record,
    }  # fmt: skip


def lines(*envelopes: dict[str, Any]) -> str:
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in envelopes)


def deliver(
    operator: Operator, server: NatsServer, given: str, *further: str, status: int = 0
) -> dict[str, Any]:
    settings = ["--set", f"servers={server.address}", "--set", f"stream={STREAM}"]
    words = ("plugin", "run", PLUGIN, "deliver", *settings, *further)
    return operator.aperio(*words, given=given, status=status)


@pytest.mark.slow  # half a minute of waiting for a server that is stopped and started
def test_its_own_tests_pass(project: Path) -> None:
    go_test(project)


def test_the_acceptance_suite_passes(operator: Operator, project: Path, server: NatsServer) -> None:
    server.make_stream()
    settings = ["--set", f"servers={server.address}", "--set", f"stream={STREAM}"]
    data = operator.aperio("plugin", "test", str(project), *settings)["data"]
    others = [each["key"] for each in data["verdicts"] if each["outcome"] != "passed"]
    assert others == ["checkpoints"]  # skipped: a stream keeps none
    assert data["passed"]
    assert server.count() == 260


def test_envelopes_reach_the_stream_as_the_bus_has_them(
    operator: Operator, server: NatsServer, message_type: Any
) -> None:
    server.make_stream()
    given = lines(envelope(1))
    assert deliver(operator, server, given)["data"]["accepted"] == 1
    [stored] = server.stored()
    assert stored.subject == "events.aperio.event.box.file_downloaded"
    assert stored.headers["Nats-Msg-Id"] == digest(1)
    event = message_type.FromString(stored.data)
    assert event.payload == given.removesuffix("\n").encode()
    assert (event.id, event.tenant_id, event.source_id) == (digest(1), "local", "aperio")
    assert (event.kind, event.schema_ref) == ("aperio.event.box.file_downloaded", "aperio/event/v1")
    assert event.occurred_at.ToJsonString() == "2026-01-05T09:00:00.500Z"
    assert dict(event.attributes) == {
        "event_type": "box.file_downloaded", "integration_id": "int_1", "provider": "BOX",
        "producer": "acme/box-connector@1.2.3", "source_event_id": "e1",
    }  # fmt: skip


def test_what_a_connector_reads_reaches_the_stream_once(
    operator: Operator, server: NatsServer, message_type: Any, tmp_path: Path
) -> None:
    server.make_stream()
    request = ScaffoldRequest("github.com/acme/aperio-plugin-source", output=tmp_path / "source")
    source = scaffold(request).path
    write(source, "connector.py", CONNECTOR)
    to = ("--to", PLUGIN, "--to-set", f"servers={server.address}", "--to-set", f"stream={STREAM}")
    for _ in range(2):
        operator.lines("plugin", "run", str(source), "sync", "--full", *to)
    events = [message_type.FromString(stored.data) for stored in server.stored()]
    assert [event.attributes["source_event_id"] for event in events] == [
        f"e{number}" for number in range(EVENTS)
    ]
    assert {event.kind for event in events} == {"aperio.event.source.login"}
    assert json.loads(events[7].payload)["record"] == {"number": 7, "text": "Grüße\n\u2028"}


def test_repeats_are_published_once(
    operator: Operator, server: NatsServer, message_type: Any
) -> None:
    server.make_stream()
    given = lines(envelope(1), envelope(2))
    for _ in range(2):
        assert deliver(operator, server, given + given)["data"]["accepted"] == 4
    ids = [message_type.FromString(stored.data).id for stored in server.stored()]
    assert ids == [digest(1), digest(2)]


def test_what_the_server_hands_over_is_published_once_for_each_delivery_key(
    operator: Operator, server: NatsServer, message_type: Any
) -> None:
    server.make_stream()
    opened = {"findingId": "fnd_1", "sourceEventId": "evt_1", "status": "OPEN"}
    given = [
        by_server("finding", **opened),
        by_server("finding", **opened | {"status": "RESOLVED"}),
        by_server("finding", **opened | {"sourceEventId": "evt_2"}),
        by_server("event", id="src_1", eventType="MFA_DISABLED", provider="SLACK"),
        by_server("audit_log", id="log_1"),
    ]
    who = ("--org", "org_1", "--integration", "siem_1")
    for _ in range(2):
        assert deliver(operator, server, lines(*given), *who)["data"]["accepted"] == 5
    stored = server.stored()
    assert [each.headers["Nats-Msg-Id"] for each in stored] == DELIVERY_KEYS
    events = [message_type.FromString(each.data) for each in stored]
    assert [event.id for event in events] == DELIVERY_KEYS
    assert [event.payload.decode() + "\n" for event in events] == list(map(lines, given))
    assert {event.tenant_id for event in events} == {"org_1"}
    assert [event.kind for event in events] == [
        *["aperio.finding"] * 3, "aperio.event.slack.mfa_disabled", "aperio.audit_log",
    ]  # fmt: skip


def test_what_is_too_large_is_rejected_alone_and_kept(
    operator: Operator, server: NatsServer, tmp_path: Path
) -> None:
    server.make_stream(max_msg_size=65536)
    large = envelope(2, record={"text": "x" * 65536})
    rejects = tmp_path / "rejects.ndjson"
    given = lines(envelope(1), large, envelope(3))
    data = deliver(operator, server, given, "--rejects", str(rejects), status=1)["data"]
    assert (data["accepted"], data["rejected"]) == (2, 1)
    [kept] = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert kept["envelope"]["id"] == digest(2)
    assert kept["rejected"]["code"] == "message-too-large"
    assert server.count() == 2


def test_without_the_stream_nothing_is_rejected_and_the_setting_is_named(
    operator: Operator, server: NatsServer
) -> None:
    answer = deliver(operator, server, lines(envelope(1)), status=5)
    [error] = answer["errors"]
    assert f"there is no stream {STREAM}" in json.dumps(error)
    server.make_stream()
    assert deliver(operator, server, lines(envelope(1)))["data"]["accepted"] == 1


def test_a_wrong_password_is_told_and_the_right_one_delivers(
    operator: Operator, tmp_path: Path
) -> None:
    config = 'authorization { user: "u", password: "right-word" }'
    login = {"user": "u", "pass": "right-word"}
    with NatsServer(tmp_path, config, login) as server:
        server.make_stream()
        wrong = ("--set", "user=u", "--set", "password=wrong-word")
        answer = deliver(operator, server, lines(envelope(1)), *wrong, status=5)
        assert "does not accept the user" in json.dumps(answer)
        assert "wrong-word" not in json.dumps(answer)
        right = ("--set", "user=u", "--set", "password=right-word")
        assert deliver(operator, server, lines(envelope(1)), *right)["data"]["accepted"] == 1
        assert server.count() == 1


def test_a_server_that_is_down_is_status_4(operator: Operator, server: NatsServer) -> None:
    server.make_stream()
    server.kill()
    answer = deliver(operator, server, lines(envelope(1)), status=4)
    assert answer["errors"][0]["code"] == "destination-unavailable"
    server.start()
    assert deliver(operator, server, lines(envelope(1)))["data"]["accepted"] == 1


def test_nothing_is_lost_when_the_server_is_killed_in_between(
    operator: Operator, server: NatsServer, message_type: Any
) -> None:
    server.make_stream()
    count = 1500
    words = [
        *COMMAND, "plugin", "run", PLUGIN, "deliver", "--json", "--retry-for", "60",
        "--set", f"servers={server.address}", "--set", f"stream={STREAM}",
    ]  # fmt: skip
    with subprocess.Popen(
        words, env=operator.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin
        assert running.stdout
        running.stdin.write(lines(*map(envelope, range(count // 2))))
        running.stdin.flush()
        until = time.monotonic() + PATIENCE_S
        while not server.count():
            assert time.monotonic() < until
            time.sleep(0.005)
        server.kill()
        running.stdin.write(lines(*map(envelope, range(count // 2, count))))
        running.stdin.close()
        server.start()
        answer = json.loads(running.stdout.read())
        assert running.wait(PATIENCE_S) == 0
    assert answer["data"]["accepted"] == count
    ids = [message_type.FromString(stored.data).id for stored in server.stored()]
    assert sorted(ids) == [digest(number) for number in range(count)]
