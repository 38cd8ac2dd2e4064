"""The destination `plugins/aperio-postgres`, run as operators run it, with a real PostgreSQL.

The tables are `testdata/server.sql` of the plugin: names, types, limits and keys of the server's.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.host.sandbox.choosing import choose_sandbox
from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from tests.go_operators import COMMAND, FINDER, Operator, copy_plugin, go_test, install
from tests.postgres_server import PASSWORD, Database, PostgresServer, postgres, require_postgres
from tests.projects import ROOT, write
from tests.simulators import box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.go,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("forked_plugins"),
]
PLUGIN = "aperio/aperio-postgres"
BOX = ROOT / "plugins" / "box"
PATIENCE_S = 60.0
MAPPINGS = [{"event_type": "slack.mfa_disabled", "product_event_type": "MFA_DISABLED"}]
# The types of events that the server has rules for; everything else is a dead letter there.
KNOWN_TO_THE_SERVER = {"EXTERNAL_SHARING_ENABLED"}

CURSORS = """CREATE TABLE aperio_sync_cursors (organization_id text, integration_id text,
    connector text, choice text, cursor bytea, covered jsonb, connector_version text,
    stored_at timestamptz, PRIMARY KEY (organization_id, integration_id, connector, choice))"""

# A job of another organization with the id of `envelope(1)`.
THEIRS = """INSERT INTO ingestion_jobs (id, organization_id, integration_id, provider, event_type,
    source, occurred_at, payload, updated_at) VALUES (lpad('1', 64, '0'), 'org_2', 'int_2', 'OKTA',
    'X', 'okta.x', now(), '{}', now())"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_postgres()
    return copy_plugin("aperio-postgres", tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Operator:
    return install(project, tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres(require_postgres()) as server:
        yield server


@pytest.fixture
def database(server: PostgresServer) -> Database:
    return server.new_database()


def digest(number: int) -> str:
    return f"{number:064x}"


def envelope(number: int, **changes: object) -> dict[str, Any]:
    return {
        "id": digest(number), "schema_version": "aperio.event.v1", "source": "aperio",
        "producer": "acme/slack-connector@1.2.3", "organization_id": "local",
        "integration_id": "int_1", "provider": "SLACK", "kind": "event",
        "event_type": "slack.mfa_disabled", "actor": None,
        "occurred_at": "2026-01-05T09:00:00.123956Z", "source_event_id": f"e{number}",
        "record": {"size": 0.10, "text": "Grüße\n\u2028"}, **changes,
    }  # fmt: skip


def finding(status: str) -> dict[str, Any]:
    record = {
        "schemaVersion": "aperio.finding.v1", "findingId": f"fnd_{digest(7)[:24]}",
        "dedupeKey": digest(7), "sourceEventId": "e1", "status": status,
        "ruleId": "slack.mfa_disabled", "title": "MFA was disabled", "description": "Of one user.",
        "severity": "HIGH", "riskScore": 70, "remediationSteps": None, "target": "u1",
        "provider": "SLACK", "integrationId": "int_1", "source": "slack.audit",
        "eventType": "slack.mfa_disabled", "actor": None,
    }  # fmt: skip
    of = digest(8 if status == "OPEN" else 9)
    return envelope(7, id=of, kind="finding", schema_version="aperio.finding.v1", record=record)


def lines(*envelopes: dict[str, Any]) -> str:
    return "".join(json.dumps(each) + "\n" for each in envelopes)


def words(option: str, database: Database, *more: str) -> list[str]:
    """The settings as options, a later one of a key in the place of an earlier one."""
    given = [*database.settings, f"event_mappings={json.dumps(MAPPINGS)}", *more]
    kept = {each.partition("=")[0]: each for each in given}
    return [word for each in kept.values() for word in (option, each)]


def deliver(
    operator: Operator, database: Database, given: str, *more: str, status: int = 0
) -> dict[str, Any]:
    run = ("plugin", "run", PLUGIN, "deliver", "--retry-for", "0" if status == 4 else "60")
    return operator.aperio(*run, *words("--set", database, *more), given=given, status=status)


@pytest.mark.slow  # half a minute of waiting for a server that is stopped and started
def test_its_own_tests_pass(project: Path) -> None:
    go_test(project)


def test_the_acceptance_suite_passes_but_for_what_comes_from_the_server(
    operator: Operator, project: Path, database: Database
) -> None:
    database.run("""ALTER TYPE "SaaSProvider" ADD VALUE 'APERIO'""")
    database.run(CURSORS)
    mapped = [{"event_type": "aperio.acceptance_test", "product_event_type": "TEST"}]
    stated = (f"event_mappings={json.dumps(mapped)}", "keep_cursor=true")
    settings = words("--set", database, *stated)
    data = operator.aperio("plugin", "test", str(project), *settings, status=1)["data"]
    failed = [each for each in data["verdicts"] if each["outcome"] != "passed"]
    assert [each["key"] for each in failed] == ["product-envelopes"], failed
    assert database.count() == 261
    assert len(database.rows("SELECT * FROM aperio_sync_cursors")) == 1


def test_box_reaches_the_rules_of_the_server(
    operator: Operator, database: Database, tmp_path: Path
) -> None:
    database.run("""ALTER TYPE "SaaSProvider" ADD VALUE 'BOX'""")
    schema = tmp_path / "box-schema.json"
    schema.write_text(json.dumps(operator.aperio("plugin", "run", str(BOX), "schema")))
    entries = box.make_events(300)
    with box.BoxSimulator(entries) as simulator:
        access = [
            f"base_url={simulator.url}", f"enterprise_id={box.ENTERPRISE_ID}",
            f"client_id={box.CLIENT_ID}", f"client_secret={box.CLIENT_SECRET}",
            "created_after=2026-01-01T00:00:00Z",
        ]  # fmt: skip
        synced = [
            "plugin", "run", str(BOX), "sync", "--full", "--integration", "int_1",
            *[word for each in access for word in ("--set", each)], "--to", PLUGIN,
            *words("--to-set", database, f"event_mappings=file:{schema}"),
        ]  # fmt: skip
        ran = [operator.lines(*synced)[-1]]
        rows = database.rows("SELECT * FROM ingestion_jobs ORDER BY id")
        ran.append(operator.lines(*synced)[-1])
    assert [summary["deliveries"]["accepted"] for summary in ran] == [300, 300]
    assert database.rows("SELECT * FROM ingestion_jobs ORDER BY id") == rows
    by_id = {entry["event_id"]: entry for entry in entries}
    assert 0 < len(rows) < 300
    for row in rows:
        assert_the_server_takes(row)
        payload = row["payload"]
        ours, source_event_id = payload.pop("_aperio"), payload.pop("sourceEventId")
        address = payload.pop("ipAddress")
        assert payload == by_id[source_event_id]
        assert address == payload["ip_address"]
        assert row["actor"] == payload["created_by"]["login"] == ours["actor"]["email"]
        assert (ours["id"], ours["producer"].partition("@")[0]) == (
            row["id"],
            "aperio/box-connector",
        )


def assert_the_server_takes(row: dict[str, Any]) -> None:
    """What the server's worker looks at before a rule does."""
    assert (row["provider"], row["organization_id"], row["integration_id"]) == (
        "BOX",
        "local",
        "int_1",
    )
    assert row["event_type"] in KNOWN_TO_THE_SERVER
    assert row["source"].startswith("box.admin_logs")
    assert (row["status"], row["attempts"], row["max_attempts"]) == ("QUEUED", 0, 3)
    assert row["next_attempt_at"] == row["created_at"] == row["updated_at"]
    assert isinstance(row["payload"], dict)


def test_what_a_connector_finds_is_opened_and_then_resolved(
    operator: Operator, database: Database, tmp_path: Path
) -> None:
    database.run("""ALTER TYPE "SaaSProvider" ADD VALUE 'SOURCE'""")
    request = ScaffoldRequest("github.com/acme/aperio-plugin-source", output=tmp_path / "source")
    source = scaffold(request).path
    write(source, "connector.py", FINDER)
    synced = ("plugin", "run", str(source), "sync", "--full", "--integration", "int_1")
    *_, summary = operator.lines(*synced, "--to", PLUGIN, *words("--to-set", database))
    assert summary["deliveries"]["accepted"] == 2
    [row] = database.rows("SELECT * FROM security_findings")
    assert (row["status"], row["resolved_at"]) == ("RESOLVED", "2026-01-01T00:00:00")
    assert row["id"] == f"fnd_{row['dedupe_key'][:24]}"
    assert (row["title"], row["severity"], row["risk_score"]) == ("A public link", "HIGH", 70)
    assert row["evidence"].items() >= {"ruleId": "source.public_link", "target": "folder-1"}.items()


def test_a_finding_that_comes_again_is_opened_again(operator: Operator, database: Database) -> None:
    given = [finding("OPEN"), finding("RESOLVED"), finding("RESOLVED"), finding("OPEN")]
    assert deliver(operator, database, lines(*given))["data"]["accepted"] == 4
    [row] = database.rows("SELECT * FROM security_findings")
    assert (row["status"], row["resolved_at"]) == ("OPEN", None)
    assert (row["id"], row["dedupe_key"]) == (f"fnd_{digest(7)[:24]}", digest(7))
    assert row["detected_at"] == "2026-01-05T09:00:00.123"
    assert row["remediation_steps"] == []


def test_what_the_columns_do_not_hold_is_made_to_fit_visibly(
    operator: Operator, database: Database
) -> None:
    actor = {"email": "ü" * 300, "ip_address": "203.0.113.9"}
    given = envelope(
        1, actor=actor, record={"a": "x\0y", "_aperio": "its own", "n": 9007199254740993}
    )
    assert deliver(operator, database, lines(given, envelope(2)))["data"]["accepted"] == 2
    [row, _] = database.rows("SELECT * FROM ingestion_jobs ORDER BY id")
    assert (row["event_type"], row["source"], row["actor"]) == ("MFA_DISABLED", "slack", "ü" * 255)
    assert row["occurred_at"] == "2026-01-05T09:00:00.123"
    assert row["payload"] == {
        "a": "x\ufffdy", "n": 9007199254740993, "sourceEventId": "e1", "ipAddress": "203.0.113.9",
        "_aperio": {
            "id": digest(1), "producer": "acme/slack-connector@1.2.3", "actor": actor,
            "occurred_at": "2026-01-05T09:00:00.123956Z",
        },
    }  # fmt: skip


def test_what_has_no_mapping_is_counted_and_left_out(
    operator: Operator, database: Database
) -> None:
    others = [envelope(number, event_type=f"slack.other_{number % 2}") for number in range(2, 7)]
    settings = words("--set", database)
    ran = subprocess.run(
        [*COMMAND, "plugin", "run", PLUGIN, "deliver", *settings], env=operator.environment,
        input=lines(envelope(1), *others), capture_output=True, text=True, timeout=PATIENCE_S,
        check=True,
    )  # fmt: skip
    assert "6 accepted, 0 rejected, 0 to try again" in ran.stdout
    assert ran.stderr.count("events without a mapping were left out") == 1
    assert "slack.other_0:3" in ran.stderr
    assert database.count() == 1


def test_the_servers_own_envelopes_are_rejected_with_a_reason(
    operator: Operator, database: Database
) -> None:
    given = {
        "schema_version": "aperio.event.v1", "source": "aperio", "producer": "aperio.sspm",
        "destination_id": "siem_1", "organization_id": "local", "kind": "event",
        "occurred_at": "2026-01-05T09:00:00Z", "record": {"id": "src_1"},
    }  # fmt: skip
    answer = deliver(operator, database, lines(given, envelope(1)), status=1)
    assert (answer["data"]["accepted"], answer["data"]["rejected"]) == (1, 1)
    assert "comes from Aperio's server" in json.dumps(answer)


def test_a_provider_that_the_server_does_not_know_is_refused_with_the_statement(
    operator: Operator, database: Database
) -> None:
    given = lines(envelope(1), envelope(2, provider="BOX"))
    answer = deliver(operator, database, given, status=5)
    statement = """ALTER TYPE "SaaSProvider" ADD VALUE 'BOX';"""
    assert json.dumps(statement)[1:-1] in json.dumps(answer["errors"])
    assert database.count() == 0
    database.run(statement)
    assert deliver(operator, database, given)["data"]["accepted"] == 2
    assert database.count() == 2


def test_a_row_of_another_organization_is_not_overwritten(
    operator: Operator, database: Database, tmp_path: Path
) -> None:
    database.run(THEIRS)
    rejects = tmp_path / "rejects.ndjson"
    theirs = database.rows("SELECT * FROM ingestion_jobs")
    given = [envelope(1), envelope(2), envelope(3, integration_id="int_2")]
    settings = words("--set", database)
    answer = operator.aperio(
        "plugin", "run", PLUGIN, "deliver", *settings, "--rejects", str(rejects),
        given=lines(*given), status=1,
    )  # fmt: skip
    assert (answer["data"]["accepted"], answer["data"]["rejected"]) == (1, 2)
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [each["rejected"]["code"] for each in kept] == ["row-refused"] * 2
    assert database.rows("SELECT * FROM ingestion_jobs WHERE organization_id = 'org_2'") == theirs
    assert database.count() == 2


def test_what_postgresql_refuses_is_rejected_alone(operator: Operator, database: Database) -> None:
    given = [envelope(number) for number in range(300)]
    for number in (0, 255, 256):
        given[number] |= {"origin": "o" * 200}
    answer = deliver(operator, database, lines(*given), status=1)
    assert (answer["data"]["accepted"], answer["data"]["rejected"]) == (297, 3)
    assert database.count() == 297


def test_a_wrong_password_is_told_and_not_shown(operator: Operator, database: Database) -> None:
    answer = deliver(operator, database, lines(envelope(1)), "password=wrong-word", status=5)
    assert "does not accept the user or the password" in json.dumps(answer)
    assert "wrong-word" not in json.dumps(answer)


def test_a_url_says_the_whole_connection(operator: Operator, database: Database) -> None:
    url = f"postgres://aperio:{PASSWORD}@127.0.0.1:{database.server.port}/{database.name}?schema=public"
    settings = ["--set", f"url={url}", "--set", f"event_mappings={json.dumps(MAPPINGS)}"]
    run = ("plugin", "run", PLUGIN, "deliver", *settings)
    assert operator.aperio(*run, given=lines(envelope(1)))["data"]["accepted"] == 1
    assert database.count() == 1


@pytest.mark.sandbox
def test_a_sandbox_lets_it_through_by_a_rule_of_the_operators(
    operator: Operator, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    if choose_sandbox("auto").name == "none":
        pytest.skip("no sandbox here")
    monkeypatch.setenv("APERIO_SANDBOX", "auto")
    grant = ("plugin", "grant", PLUGIN, "--as-asked")
    answer = deliver(operator, database, lines(envelope(1)), status=4)
    assert "--any-protocol" in json.dumps(answer["errors"])
    operator.aperio(*grant, "--own", f"127.0.0.1:{database.server.port}", "--any-protocol")
    assert deliver(operator, database, lines(envelope(1)))["data"]["accepted"] == 1
    operator.aperio(*grant)


def test_nothing_is_lost_when_the_server_is_killed_in_between(
    operator: Operator, server: PostgresServer
) -> None:
    count = 1500
    database = server.new_database()
    run = [
        *COMMAND, "plugin", "run", PLUGIN, "deliver", "--json", "--retry-for", "60",
        *words("--set", database),
    ]  # fmt: skip
    with subprocess.Popen(
        run, env=operator.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin
        assert running.stdout
        running.stdin.write(lines(*map(envelope, range(count // 2))))
        running.stdin.flush()
        until = time.monotonic() + PATIENCE_S
        while not database.count():
            assert time.monotonic() < until
            time.sleep(0.05)  # to ask takes a process
        server.kill()
        running.stdin.write(lines(*map(envelope, range(count // 2, count))))
        running.stdin.close()
        server.start()
        answer = json.loads(running.stdout.read())
        assert running.wait(PATIENCE_S) == 0
    assert answer["data"]["accepted"] == count
    found = [row["id"] for row in database.rows("SELECT id FROM ingestion_jobs ORDER BY id")]
    assert found == [digest(number) for number in range(count)]
