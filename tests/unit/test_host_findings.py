"""Findings and audit log entries: what the host makes of them, and what it lets through."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from aperio_plugin import _event_rules as event_rules
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2
from google.protobuf import json_format

from aperio_cli.host.calls.addressing import Address
from aperio_cli.host.calls.envelopes import (
    MAX_ENVELOPE_BYTES,
    Origin,
    Outbound,
    Promises,
    lines_of,
)
from aperio_cli.host.calls.findings import dedupe_key
from aperio_cli.host.calls.lines import BadLine, read_line
from aperio_cli.host.calls.stamping import MessageStamper, parts
from tests.projects import ROOT
from tests.rows import each_row, for_rows
from tests.unit.test_host_envelopes import expanded

if TYPE_CHECKING:
    from aperio_cli.host.calls.letters import DeadLetter

ORIGIN = Origin("acme/box@1.2.0", "org_1", "int_1", "BOX")
RULE = "box.public_shared_link"
PROMISES = Promises(checks=(RULE,), features=("findings", "audit-log"))
KEYS = [
    "schemaVersion",
    "findingId",
    "dedupeKey",
    "sourceEventId",
    "status",
    "ruleId",
    "title",
    "description",
    "severity",
    "riskScore",
    "remediationSteps",
    "tags",
    "target",
    "provider",
    "integrationId",
    "source",
    "eventType",
    "actor",
]


def cases(name: str) -> list[Any]:
    document = json.loads((ROOT / "sdk/testdata" / name).read_text(encoding="utf-8"))
    return [expanded_list(case) for case in document["cases"]]


def expanded_list(value: Any) -> Any:
    """As `expanded`, in lists, too."""
    if isinstance(value, dict) and not value.keys() & {"repeat", "joined"}:
        return {key: expanded_list(item) for key, item in value.items()}
    return [expanded(item) for item in value] if isinstance(value, list) else expanded(value)


def finding(**changes: Any) -> connector_pb2.Finding:
    """A finding, one thing of which is as a test says."""
    values: dict[str, Any] = {
        "rule_id": RULE,
        "title": "A link is open",
        "target": "plan.pdf",
        "severity": "SEVERITY_HIGH",
        "risk_score": 80,
        "status": "STATUS_OPEN",
        "source_event_id": "e1",
    }
    made = connector_pb2.Finding(**(values | changes))
    made.occurred_at.seconds = 1_700_000_000
    return made


def entry(**changes: Any) -> connector_pb2.AuditLogEntry:
    values: dict[str, Any] = {
        "source_event_id": "a1",
        "action": "policy.updated",
        "record_json": b"{}",
    }
    made = connector_pb2.AuditLogEntry(**(values | changes))
    made.occurred_at.seconds = 1_700_000_000
    return made


def findings(*items: connector_pb2.Finding) -> connector_pb2.SyncEvent:
    return connector_pb2.SyncEvent(findings=connector_pb2.FindingBatch(findings=items))


def entries(*items: connector_pb2.AuditLogEntry) -> connector_pb2.SyncEvent:
    return connector_pb2.SyncEvent(audit_log=connector_pb2.AuditLogBatch(entries=items))


def stamp(
    message: connector_pb2.SyncEvent, promises: Promises = PROMISES
) -> tuple[list[dict[str, Any]], list[DeadLetter]]:
    kind = message.WhichOneof("item")
    assert kind
    made, dead = MessageStamper(ORIGIN, str, promises).stamp(kind, getattr(message, kind))
    return [json.loads(each.json) for each in made], dead


def on_the_wire(values: dict[str, Any], kind: Any, record: str) -> Any:
    """What the author of a vector gives, as a careless SDK would send it."""
    values = {"status": "OPEN"} | values if kind is connector_pb2.Finding else dict(values)
    raw = values.pop(f"{record}_raw", None)
    raw = json.dumps(values.pop(record)) if record in values else raw
    for name in ("severity", "status"):
        if isinstance(values.get(name), str):
            values[name] = f"{name.upper()}_{values[name]}"
    made = json_format.ParseDict(values, kind())
    if raw is not None:
        setattr(made, f"{record}_json", raw.encode())
    return made


# ── vectors ───────────────────────────────────────────────────────────────────────────────────────


@each_row("case", cases("findings.json"))
def test_a_finding_passes_up_to_the_limits_that_plugins_keep_to(case: dict[str, Any]) -> None:
    made, dead = stamp(findings(on_the_wire(case["finding"], connector_pb2.Finding, "evidence")))

    assert (len(made), len(dead)) == ((0, 1) if "dead_letter" in case else (1, 0))
    if "envelope" in case:
        assert made == [case["envelope"]]
        assert list(made[0]) == list(case["envelope"])
        assert list(made[0]["record"]) == list(case["envelope"]["record"])


@each_row("case", cases("audit_log.json"))
def test_an_entry_passes_up_to_the_limits_that_plugins_keep_to(case: dict[str, Any]) -> None:
    made, dead = stamp(entries(on_the_wire(case["entry"], connector_pb2.AuditLogEntry, "record")))

    assert (len(made), len(dead)) == ((0, 1) if "dead_letter" in case else (1, 0))
    if "envelope" in case:
        assert made == [case["envelope"]]
        assert list(made[0]) == list(case["envelope"])


# ── keys and ids ──────────────────────────────────────────────────────────────────────────────────


def test_the_dedupe_key_is_the_products() -> None:
    assert (
        dedupe_key(ORIGIN, "okta.admin_role_assigned", "user@example.com")
        == "29cdd706521d07aa91b1a68d52f459c840c5338f1bff2142c49445b144ed262c"
    )


def test_a_record_has_the_products_keys_in_their_order() -> None:
    plain, full = (
        each["record"]
        for each in stamp(
            findings(finding(), finding(dedupe_target="d", evidence_json=b'{"a": 0.10}'))
        )[0]
    )

    assert list(plain) == KEYS
    assert list(full) == [*KEYS, "dedupeTarget", "evidence"]
    assert plain["findingId"] == f"fnd_{plain['dedupeKey'][:24]}"


def test_evidence_stays_as_it_was_written() -> None:
    message = findings(finding(evidence_json=b'{"a": 0.10,\n"b": 1e400}'))
    made, _ = MessageStamper(ORIGIN, str, PROMISES).stamp("findings", message.findings)

    assert b'"evidence":{"a": 0.10, "b": 1e400}}' in made[0].json


def test_another_status_or_occurrence_is_another_envelope_of_the_same_finding() -> None:
    made, _ = stamp(
        findings(
            finding(),
            finding(status="STATUS_RESOLVED"),
            finding(source_event_id="e2"),
            finding(title="Another title"),
        )
    )

    assert len({each["id"] for each in made}) == 3
    assert made[0]["id"] == made[3]["id"]
    assert len({each["record"]["findingId"] for each in made}) == 1


def test_a_destination_tells_a_change_of_status_from_a_repeat() -> None:
    message = findings(finding(), finding(), finding(status="STATUS_RESOLVED"))
    made, _ = MessageStamper(ORIGIN, str, PROMISES).stamp("findings", message.findings)
    address = Address("org_1", "siem_1")

    opened, again, resolved = (address.addressed(each).key for each in made)

    assert opened == again
    assert opened != resolved


def test_the_ids_of_an_event_a_finding_and_an_entry_differ() -> None:
    key = dedupe_key(ORIGIN, RULE, "plan.pdf")
    whose = b"5:org_15:int_13:BOX2:e1"
    wanted = [
        hashlib.sha256(whose + b"7:finding64:" + key.encode() + b"4:OPEN").hexdigest(),
        hashlib.sha256(whose + b"9:audit_log").hexdigest(),
    ]

    ((found,), _), ((noted,), _) = (
        stamp(findings(finding())),
        stamp(entries(entry(source_event_id="e1"))),
    )

    assert [found["id"], noted["id"]] == wanted


# ── what plugins send ─────────────────────────────────────────────────────────────────────────────


@for_rows(
    [
        (
            {"severity": 0},
            "expected severity: one of INFO, LOW, MEDIUM, HIGH, CRITICAL; received 0",
        ),
        ({"severity": 99}, "received 99"),
        ({"status": 0}, "expected status: one of OPEN, RESOLVED, MUTED; received 0"),
        ({"status": 99}, "received 99"),
        ({"status": -1}, "received -1"),
        ({"risk_score": 101}, "expected risk_score: 0 to 100; received 101"),
        ({"rule_id": ""}, "expected rule_id: 1 to 160 bytes"),
        ({"title": "\n\t "}, "expected title"),
        ({"description": "d" * 3_000_000}, "expected description: 0 to 16384 bytes"),
        ({"evidence_json": b"[]"}, "expected evidence_json: one JSON object"),
        ({"evidence_json": b'{"a":'}, "expected evidence_json: one JSON object"),
        ({"evidence_json": b"\xff"}, "expected evidence_json: one JSON object"),
        ({"tags": ["t"] * 100_000}, "expected tags: at most 32; received 100000"),
        ({"event_type": "okta.x"}, "expected `box.` and a name"),
    ]
)
def test_an_odd_finding_is_a_dead_letter_that_names_the_part(odd: dict[str, Any], why: str) -> None:
    made, (letter,) = stamp(findings(finding(), finding(**odd), finding(target="t2")))

    assert len(made) == 2
    assert why in letter.reason
    assert letter.reason.startswith("finding ")
    assert (letter.code, letter.source_event_id) == ("event-invalid", "e1")


@each_row(
    ("odd", "why"),
    [
        ({"action": ""}, "expected action: 1 to 128 bytes"),
        ({"record_json": b""}, "expected record_json: one JSON object"),
        ({"source_event_id": ""}, "expected source_event_id"),
    ],
)
def test_an_odd_entry_is_a_dead_letter_that_names_the_part(odd: dict[str, Any], why: str) -> None:
    made, (letter,) = stamp(entries(entry(), entry(**odd), entry(source_event_id="a2")))

    assert len(made) == 2
    assert why in letter.reason
    assert letter.reason.startswith("audit log entry ")


def test_who_gave_rise_to_a_finding_is_cut_visibly() -> None:
    ((made,), _) = stamp(findings(finding(actor={"email": "x" * 300, "id": "a\0b"})))

    assert made["actor"] == {"email": "x" * 254 + "…", "id": "a\N{REPLACEMENT CHARACTER}b"}
    assert made["record"]["actor"] == "x" * 254 + "…"


def test_a_text_that_the_product_cannot_store_is_told_of_the_first_only() -> None:
    heard: list[str] = []
    promises = Promises((), lambda _id, why: heard.append(why), (RULE,), ("findings",))
    nul = [finding(target=f"{n}", evidence_json=b'{"a": "\\u0000"}') for n in range(3)]

    made, _ = stamp(findings(*nul), promises)

    assert (len(made), heard) == (3, [event_rules.NUL_DOUBT])


def test_what_the_schema_does_not_promise_is_passed_on_and_doubted() -> None:
    heard: list[str] = []
    promises = Promises(doubt=lambda _id, why: heard.append(why))
    message = findings(finding(), finding(rule_id="ms365.other"), finding())
    stamper = MessageStamper(ORIGIN, str, promises)

    made, dead = stamper.stamp("findings", message.findings)
    stamper.restart()
    stamper.stamp("findings", findings(finding()).findings)
    stamper.stamp("audit_log", entries(entry(), entry()).audit_log)

    assert (len(made), dead) == (3, [])
    assert heard == [
        "the schema's interface does not name the feature `findings`",
        f"rule_id {RULE}: no check of the schema has this key",
        "rule_id ms365.other: no check of the schema has this key",
        "source_event_id: the same finding came with it and the same status before",
        "the schema's interface does not name the feature `audit-log`",
        "source_event_id: another entry of this sync has it, too",
    ]


def test_a_secret_in_what_cannot_be_passed_on_is_masked() -> None:
    stamper = MessageStamper(ORIGIN, lambda text: text.replace("s3cr3t", "***"), PROMISES)
    odd = finding(target="s3cr3t", evidence_json=b'["s3cr3t"]', source_event_id="s3cr3t")

    _, (letter,) = stamper.stamp("findings", findings(odd).findings)

    assert "s3cr3t" not in str(letter.to_json())


def test_a_batch_that_is_far_too_long_is_taken_in_parts() -> None:
    message = findings(*(finding(source_event_id=f"e{number}") for number in range(1000)))

    sizes = [len(part.findings) for part in parts("findings", message)]

    assert sizes == [256, 256, 256, 232]


def test_deliver_takes_the_longest_finding_that_sync_gives() -> None:
    deep = b'{"a":' * 511 + b"{}" + b"}" * 511
    long = finding(
        title="\N{SNOWMAN}" * 220,
        description="\N{CYRILLIC SMALL LETTER A}" * 8192,
        remediation_steps=["\N{CYRILLIC SMALL LETTER A}" * 512] * 64,
        tags=["\N{CYRILLIC SMALL LETTER A}" * 32] * 32,
        target="\N{SNOWMAN}" * 255,
        dedupe_target="\N{SNOWMAN}" * 255,
        evidence_json=b'{"p":"' + b"x" * (1024 * 1024 - 8) + b'"}',
    )
    message = findings(long, finding(evidence_json=deep))

    made, dead = MessageStamper(ORIGIN, str, PROMISES).stamp("findings", message.findings)

    assert dead == []
    assert max(len(each.json) for each in made) <= MAX_ENVELOPE_BYTES
    for each in made:
        read = read_line(lines_of([each]), number=1)
        assert isinstance(read, Outbound), read.reason if isinstance(read, BadLine) else read
        assert read.kind == "finding"
