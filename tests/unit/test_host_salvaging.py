"""Salvaging: one text that is not UTF-8 costs its own event at most."""

from __future__ import annotations

import pytest
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2
from google.protobuf.message import DecodeError

from aperio_cli.host.calls.salvaging import salvage
from tests.rows import each_row

HALF = b"\xed\xa0\xbd"
"""Half of a surrogate pair, as some makers of messages write it."""


def event(number: int) -> connector_pb2.Event:
    made = connector_pb2.Event(
        source_event_id=f"e{number}-AAA",
        event_type="box.BBB",
        origin="log-CCC",
        native_event_type="NATIVE-GGG",
        record_json=b'{"n": "DDD"}',
        actor=connector_pb2.Actor(display_name="Ada EEE", email="FFF@example.com"),
    )
    made.occurred_at.seconds = 1_700_000_000
    return made


def broken(mark: bytes) -> bytes:
    """A batch of three, in whose second event three letters are half of a surrogate pair."""
    message = connector_pb2.SyncEvent()
    message.batch.events.extend(event(number) for number in range(3))
    parts = message.SerializeToString().split(mark)
    assert len(parts) == 4
    return parts[0] + mark + parts[1] + HALF + parts[2] + mark + parts[3]


@each_row("mark", [b"AAA", b"BBB", b"CCC", b"GGG"])
def test_a_text_that_is_not_utf_8_makes_a_dead_letter_of_its_own_event(mark: bytes) -> None:
    with pytest.raises(DecodeError):
        connector_pb2.SyncEvent.FromString(broken(mark))

    batch, dead = salvage(broken(mark))

    assert list(batch.batch.events) == [event(0), event(2)]
    letter = dead.dead_letter
    assert letter.code == "event-invalid"
    assert "is not UTF-8 from byte" in letter.reason
    assert letter.source_event_id.startswith("e1-")
    assert (letter.excerpt, letter.record_bytes) == ('{"n": "DDD"}', 12)


@pytest.mark.parametrize(("mark", "field"), [(b"EEE", "display_name"), (b"FFF", "email")])
def test_a_name_that_is_not_utf_8_is_mended_visibly(mark: bytes, field: str) -> None:
    (batch,) = salvage(broken(mark))

    mended = event(1)
    text = getattr(mended.actor, field).replace(mark.decode(), "\N{REPLACEMENT CHARACTER}" * 3)
    setattr(mended.actor, field, text)
    assert list(batch.batch.events) == [event(0), mended, event(2)]


@each_row(
    "data",
    [
        b"",
        b"no message",
        b"\xff" * 20,
        broken(b"AAA")[:-3],
        b"\x0a\x02\x0a\x05",
        b"\x0a\x05\x0a\x03\x22\x05x",
        connector_pb2.SyncEvent(
            checkpoint=connector_pb2.Checkpoint(cursor=b"1")
        ).SerializeToString(),
    ],
)
def test_bytes_that_are_no_batch_are_not_made_one(data: bytes) -> None:
    assert salvage(data) == []


def finding(number: int) -> connector_pb2.Finding:
    made = connector_pb2.Finding(
        source_event_id=f"e{number}-AAA",
        rule_id="box.BBB",
        title="T",
        severity="SEVERITY_HIGH",
        risk_score=80,
        status="STATUS_OPEN",
        tags=["a", "CCC"],
        actor=connector_pb2.Actor(display_name="Ada EEE"),
        evidence_json=b'{"n": "DDD"}',
    )
    made.occurred_at.seconds = 1_700_000_000
    return made


def entry(number: int) -> connector_pb2.AuditLogEntry:
    made = connector_pb2.AuditLogEntry(
        source_event_id=f"e{number}-AAA", action="BBB", record_json=b'{"n": "DDD"}'
    )
    made.occurred_at.seconds = 1_700_000_000
    return made


def broken_in_the_second(message: connector_pb2.SyncEvent, mark: bytes) -> bytes:
    first, second, third = message.SerializeToString().split(mark)
    return first + mark + second + HALF + third


@each_row("mark", [b"AAA", b"BBB", b"CCC"])
def test_a_finding_that_is_not_utf_8_does_not_cost_those_beside_it(mark: bytes) -> None:
    message = connector_pb2.SyncEvent()
    message.findings.findings.extend([finding(0), finding(1)])

    batch, dead = salvage(broken_in_the_second(message, mark))

    assert list(batch.findings.findings) == [finding(0)]
    assert "is not UTF-8 from byte" in dead.dead_letter.reason
    assert (dead.dead_letter.excerpt, dead.dead_letter.record_bytes) == ('{"n": "DDD"}', 12)


def test_the_name_of_who_gave_rise_to_a_finding_is_mended() -> None:
    message = connector_pb2.SyncEvent()
    message.findings.findings.extend([finding(0), finding(1)])

    (batch,) = salvage(broken_in_the_second(message, b"EEE"))

    mended = finding(1)
    mended.actor.display_name = "Ada " + "\N{REPLACEMENT CHARACTER}" * 3
    assert list(batch.findings.findings) == [finding(0), mended]


@pytest.mark.parametrize("mark", [b"AAA", b"BBB"])
def test_an_entry_that_is_not_utf_8_does_not_cost_those_beside_it(mark: bytes) -> None:
    message = connector_pb2.SyncEvent()
    message.audit_log.entries.extend([entry(0), entry(1)])

    batch, dead = salvage(broken_in_the_second(message, mark))

    assert list(batch.audit_log.entries) == [entry(0)]
    assert "is not UTF-8 from byte" in dead.dead_letter.reason
