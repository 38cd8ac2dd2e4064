"""Envelopes: what the host says about an event, and what it lets through untouched."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2
from aperio_plugin.limits import MAX_CURSOR_BYTES, MAX_RECORD_BYTES
from aperio_plugin.limits import MAX_RECORD_DEPTH as MAX_DEPTH
from aperio_plugin.wire import event_rules

from aperio_cli.data import state
from aperio_cli.host.calls.envelopes import (
    MAX_ENVELOPE_BYTES,
    Origin,
    Outbound,
    Promises,
    Stamper,
    envelope_id,
    format_time,
    lines_of,
    netstrings,
)
from aperio_cli.host.calls.json_text import one_line_object
from aperio_cli.host.calls.letters import INVALID, DeadLetter
from aperio_cli.host.calls.lines import BadLine, read_line
from tests.projects import ROOT
from tests.rows import each_row, for_each, for_rows

ORIGIN = Origin("acme/box@1.2.0", "acme-corp", "main", "BOX")


def event(**changes: Any) -> connector_pb2.Event:
    made = connector_pb2.Event(
        source_event_id=changes.pop("source_event_id", "e1"),
        event_type=changes.pop("event_type", "box.login"),
        record_json=changes.pop("record_json", b'{"a": 1}'),
        **changes,
    )
    made.occurred_at.seconds = 1_700_000_000
    return made


def stamp(made: connector_pb2.Event) -> bytes:
    return Stamper(ORIGIN).envelope(made).json


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def padded(size: int, text: bytes = b"x") -> bytes:
    """A record of so many bytes."""
    return b'{"p":"' + text * ((size - 8) // len(text)) + b'"}'


def expanded(value: Any) -> Any:
    """A value of a file of sdk/testdata with its repeats written out; see the README there."""
    if isinstance(value, dict):
        if value.keys() == {"repeat"}:
            text, times = value["repeat"]
            return text * times
        if value.keys() == {"joined"}:
            return "".join(map(expanded, value["joined"]))
        return {key: expanded(item) for key, item in value.items()}
    return value


LIMITS = json.loads((ROOT / "sdk/testdata/limits.json").read_text(encoding="utf-8"))["cases"]


@for_each(LIMITS)
def test_an_event_passes_up_to_the_limits_that_plugins_keep_to(case: dict[str, Any]) -> None:
    values = expanded(case["event"])
    made = connector_pb2.Event(
        source_event_id=values["source_event_id"],
        event_type=values["event_type"],
        origin=values["origin"],
        native_event_type=values.get("native_event_type", ""),
        record_json=values["record"].encode(),
        actor=values.get("actor"),
    )
    made.occurred_at.seconds = values["seconds"]
    try:
        Stamper(ORIGIN).envelope(made)
        passes = True
    except ValueError:
        passes = False
    assert passes is case["passes"]


def cases_of(name: str) -> list[Any]:
    document = json.loads((ROOT / "sdk/testdata" / name).read_text(encoding="utf-8"))
    return list(document["cases"])


@each_row("case", cases_of("actors.json"))
def test_an_actor_of_a_plugin_without_the_sdk_is_cut_visibly(case: dict[str, Any]) -> None:
    made = event(actor=connector_pb2.Actor(id="u1", display_name=expanded(case["text"])))

    shown = json.loads(stamp(made))["actor"]

    wanted = expanded(case["expect"])
    assert shown == {"id": "u1"} | ({"display_name": wanted} if wanted else {})


@each_row("case", cases_of("nul.json"))
def test_what_the_product_cannot_store_is_passed_on_and_told_once(case: dict[str, Any]) -> None:
    doubts: list[str] = []
    promises = Promises(doubt=lambda identity, why: doubts.append(f"{identity} {why}"))
    events = [event(record_json=case["record"].encode(), source_event_id=f"e{n}") for n in (1, 2)]

    passed, dead = Stamper(ORIGIN, promises=promises).stamp(connector_pb2.EventBatch(events=events))

    assert (len(passed), dead) == (2, [])
    assert json.loads(passed[0].json)["record"] == json.loads(case["record"])
    told = [f"e1 {event_rules.NUL_DOUBT}"] if case["has_nul"] else []
    assert doubts == told


def test_the_store_takes_the_longest_cursor() -> None:
    assert state.MAX_CURSOR_BYTES == MAX_CURSOR_BYTES


def buried(made: connector_pb2.Event) -> DeadLetter:
    """The dead letter of an event that is sent between two good ones, which pass."""
    events = [event(source_event_id="before"), made, event(source_event_id="after")]
    passed, (letter,) = Stamper(ORIGIN).stamp(connector_pb2.EventBatch(events=events))
    names = [json.loads(each.json)["source_event_id"] for each in passed]
    assert names == ["before", "after"]
    return letter


# ── the id ────────────────────────────────────────────────────────────────────────────────────────


def test_the_id_is_the_digest_of_the_netstrings() -> None:
    tuple_bytes = b"9:acme-corp4:main3:BOX2:e1"

    assert envelope_id(ORIGIN, "e1") == hashlib.sha256(tuple_bytes).hexdigest()
    assert json.loads(stamp(event()))["id"] == envelope_id(ORIGIN, "e1")


def test_no_two_tuples_give_the_same_input() -> None:
    assert netstrings("a", "bc") != netstrings("ab", "c")
    assert netstrings("1:a", "") != netstrings("", "1:a")
    assert netstrings("é") == b"2:\xc3\xa9"


# ── the keys ──────────────────────────────────────────────────────────────────────────────────────


def test_the_keys_stand_in_the_order_of_the_proto() -> None:
    document = json.loads(stamp(event(origin="admin_logs", native_event_type="FAILED_LOGIN")))

    assert list(document) == [
        "id",
        "schema_version",
        "source",
        "producer",
        "organization_id",
        "integration_id",
        "provider",
        "kind",
        "event_type",
        "actor",
        "occurred_at",
        "source_event_id",
        "record",
        "origin",
        "native_event_type",
    ]
    assert document["native_event_type"] == "FAILED_LOGIN"
    assert not {"origin", "native_event_type"} & json.loads(stamp(event())).keys()


def test_an_actor_is_an_object_without_its_empty_keys_or_null() -> None:
    known = event(actor=connector_pb2.Actor(email="a@b.c", ip_address="192.0.2.1"))

    assert json.loads(stamp(known))["actor"] == {"email": "a@b.c", "ip_address": "192.0.2.1"}
    assert json.loads(stamp(event(actor=connector_pb2.Actor())))["actor"] == {}
    assert json.loads(stamp(event()))["actor"] is None


def test_text_of_the_plugin_cannot_break_out_of_its_place() -> None:
    nasty = '"},"organization_id":"other\n\u2028\\'
    made = event(source_event_id=nasty, event_type=nasty, origin=nasty, native_event_type=nasty)
    made.actor.id = nasty

    line = stamp(made)
    document = json.loads(line)

    assert b"\n" not in line
    assert document["organization_id"] == "acme-corp"
    assert document["source_event_id"] == document["origin"] == document["actor"]["id"] == nasty
    assert document["native_event_type"] == nasty


def test_a_record_cannot_speak_for_another_tenant() -> None:
    made = event(record_json=b'{"a": 1}, "organization_id": {"b": 2}')

    assert "record_json" in buried(made).reason


@each_row(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01T00:00:00Z"),
        (1_700_000_000, 500_000_000, "2023-11-14T22:13:20.500Z"),
        (1_700_000_000, 1_000, "2023-11-14T22:13:20.000001Z"),
        (1_700_000_000, 1, "2023-11-14T22:13:20.000000001Z"),
        (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
        (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        (253_402_300_800, 0, ""),
        (-62_135_596_801, 0, ""),
        (0, -1, ""),
        (0, 1_000_000_000, ""),
    ],
)
def test_times_are_rfc_3339_in_utc(seconds: int, nanos: int, text: str) -> None:
    made = connector_pb2.Event()
    made.occurred_at.seconds, made.occurred_at.nanos = seconds, nanos

    assert format_time(made.occurred_at) == text


# ── the record ────────────────────────────────────────────────────────────────────────────────────


@each_row(
    "record",
    [
        b'{"price": 1.10, "big": 123456789012345678901234567890, "e": 1E2}',
        b'{"text": "\\u00e9 \\ud83d\\ude00 \\ud800", "raw": "\xc3\xa9"}',
        b'{ "spaces" :  [ ] }',
        b'{"twice": 1, "twice": 2}',
        b"{}",
    ],
)
def test_a_record_is_spliced_in_byte_for_byte(record: bytes) -> None:
    assert b'"record":' + record + b"}" in stamp(event(record_json=record))


def test_line_ends_between_tokens_become_spaces_and_nothing_else_changes() -> None:
    record = b'{\r\n  "a": 1.10,\n  "b": "x\\ny"\n}'

    assert one_line_object(record) == b'{    "a": 1.10,   "b": "x\\ny" }'


@for_each(
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1',
        b'{"a": 1} {"b": 2}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "raw\nline end"}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": "' + b"x" * 1024 * 1024 + b'"}',
    ]
)
def test_a_record_that_is_not_one_json_object_is_a_dead_letter(record: bytes) -> None:
    letter = buried(event(source_event_id="the-one", origin="admin_logs", record_json=record))

    assert letter.reason.startswith("expected record_json: ")
    assert str(letter).startswith("event 'the-one' (box.login): expected record_json: ")
    assert (letter.code, letter.origin) == (INVALID, "admin_logs")
    assert letter.record_bytes == len(record)
    assert len(letter.excerpt) <= 1024


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"source_event_id": ""}, "source_event_id"),
        ({"source_event_id": "é" * 257}, "source_event_id"),
        ({"event_type": ""}, "event_type"),
        ({"event_type": "é" * 65}, "event_type"),
        ({"origin": "x" * 129}, "origin: at most 128 bytes"),
        ({"native_event_type": "é" * 65}, "native_event_type: at most 128 bytes"),
        ({"record_json": padded(MAX_RECORD_BYTES + 1)}, "record_json: at most 1048576 bytes"),
        (
            {"record_json": padded(MAX_RECORD_BYTES, "\x9b".encode())},
            "an envelope of at most 1572864 bytes",
        ),
        (
            {"record_json": nested(MAX_DEPTH + 1)},
            "record_json: one JSON object; received JSON that",
        ),
    ],
)
def test_an_event_that_could_not_be_read_again_is_a_dead_letter(
    changes: dict[str, Any], named: str
) -> None:
    assert buried(event(**changes)).reason.startswith(f"expected {named}")


@pytest.mark.parametrize("seconds", [None, 253_402_300_800])
def test_an_event_without_a_time_is_a_dead_letter(seconds: int | None) -> None:
    made = event()
    made.ClearField("occurred_at")
    if seconds:
        made.occurred_at.seconds = seconds

    assert buried(made).reason == "expected occurred_at: a time in years 1 to 9999"


def test_a_dead_letter_is_one_line_without_secrets_and_controls_whatever_the_plugin_sends() -> None:
    text = "s3cr3t\n\x1b[2J" + "x" * 5000
    message = connector_pb2.DeadLetter(
        reason=text, code=text, source_event_id=text, position=text, event_type=text, origin=text,
        excerpt=text, record_bytes=2**64 - 1,
    )  # fmt: skip

    letter = Stamper(ORIGIN, mask=lambda text: text.replace("s3cr3t", "***")).letter(message)

    texts = [value for value in letter.to_json().values() if isinstance(value, str)]
    assert all(len(text) <= 1024 and text.isprintable() for text in [*texts, letter.code])
    assert "s3cr3t" not in json.dumps(letter.to_json())
    assert letter.record_bytes == 2**64 - 1


@each_row(
    ("message", "said"),
    [
        ({}, "an event without an id: the plugin gives no reason"),
        ({"position": "entry 3", "reason": "r"}, "entry 3: r"),
        ({"source_event_id": "e1", "event_type": "box.x", "reason": "r"}, "event 'e1' (box.x): r"),
    ],
)
def test_a_dead_letter_says_where_to_find_it(message: dict[str, Any], said: str) -> None:
    assert str(Stamper(ORIGIN).letter(connector_pb2.DeadLetter(**message))) == said


def test_lines_are_ndjson_one_for_each_event() -> None:
    batch = connector_pb2.EventBatch(events=[event(), event(source_event_id="e2")])

    lines = lines_of(Stamper(ORIGIN).stamp(batch)[0]).splitlines(keepends=True)

    assert [json.loads(line)["type"] for line in lines] == ["event", "event"]
    assert all(line.endswith(b"}\n") and line.count(b"\n") == 1 for line in lines)
    assert lines_of([]) == b""


def test_the_first_second_of_1970_is_a_time_where_it_is_said() -> None:
    made = event()
    made.occurred_at.seconds = 0
    assert b'"occurred_at":"1970-01-01T00:00:00Z"' in stamp(made)
    made.ClearField("occurred_at")
    assert buried(made).reason.startswith("expected occurred_at: a time")


# ── reading them again ────────────────────────────────────────────────────────────────────────────


def written(made: connector_pb2.Event) -> bytes:
    return lines_of([Stamper(ORIGIN).envelope(made)])


LONGEST = {
    "source_event_id": "\x7f" * 512,
    "event_type": "\x7f" * 128,
    "origin": "\x7f" * 128,
    "native_event_type": "\x7f" * 128,
    "actor": connector_pb2.Actor(id="\x7f" * 32 * 1024, display_name="\x7f" * 255),
}
"""What an event may have at most beside its record, each byte of which becomes six."""


def test_a_line_that_was_written_is_read_with_the_envelope_as_it_was() -> None:
    made = event(record_json=b'{"price": 1.10}')

    identity = envelope_id(ORIGIN, "e1")
    expected = Outbound(identity, "event", stamp(made), ORIGIN.organization_id, 1)
    assert read_line(written(made), number=1) == expected
    assert read_line(stamp(made), number=1) == expected


@pytest.mark.parametrize(
    "made",
    [
        event(record_json=padded(MAX_RECORD_BYTES - 300)),
        event(record_json=padded(MAX_RECORD_BYTES), **LONGEST),
        event(record_json=padded(128 * 1024, "\x9b".encode()), **LONGEST),
        event(record_json=nested(MAX_DEPTH)),
    ],
    ids=["large", "largest", "escaped", "deepest"],
)
def test_whatever_is_written_is_read_again(made: connector_pb2.Event) -> None:
    read = read_line(written(made), number=1)

    assert isinstance(read, Outbound)
    assert read.id == envelope_id(ORIGIN, made.source_event_id)
    assert read.json == stamp(made)
    assert len(read.json) <= MAX_ENVELOPE_BYTES


RESPACED = (
    b'{ "id" : "a" , "schema_version": "v", "organization_id" :"o", "kind":"event",\t'
    b'"record": { "v" : %b } }'
)


@each_row(
    "value",
    [
        b"1.10",
        b"9007199254740993.0",
        b"-0",
        b"1E+2",
        b"1e400",
        b"9" * 5000,
        b'{"twice": 1, "twice": 2}',
        b'"\\ud83d"',
        b'"\\u00e9\\/"',
        '"\u2028\x9b"'.encode(),
        b"[ 1 ,\r 2 ]",
    ],
)
@each_row(
    "line",
    [
        b"%b",
        b'{"type": "event", "envelope": %b}\r',
        b' { "envelope" :%b , "more": [1e400], "type" : "event" } ',
        b'{"type":"event","envelope":%b,"x":{}}',
    ],
    ids=["bare", "spaced", "turned", "longer"],
)
def test_an_envelope_is_cut_out_by_its_place_and_no_value_is_written_again(
    line: bytes, value: bytes
) -> None:
    envelope = RESPACED % value

    assert read_line(line % envelope, number=1) == Outbound("a", "event", envelope, "o", 1)


@pytest.mark.parametrize("number", [1, 2])
def test_a_byte_order_mark_may_begin_a_line(number: int) -> None:
    """Of the input, or of a file that was appended to it."""
    line = b'\xef\xbb\xbf{"id":"a","organization_id":"o","kind":"event","record":{}}'

    assert read_line(line, number=number) == Outbound("a", "event", line[3:], "o", number)
    assert isinstance(read_line(line[:3] + line, number=number), BadLine)


@each_row("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_lines_of_utf_16_are_told_as_that(encoding: str) -> None:
    text = '{"id":"a","organization_id":"o","kind":"event","record":{}}\n' * 2
    first, second = text.encode(encoding).split(b"\n")[:2]

    for number, line in ((1, first), (2, second)):
        bad = read_line(line, number=number)
        assert isinstance(bad, BadLine)
        assert "it looks like UTF-16; save it as UTF-8" in bad.reason


ENVELOPE = b'{"kind": "event", "organization_id": %b, "record": %b}'
WHOLE = ENVELOPE[:-1] % (b'"o"', b"{}") + b",%b}"


@each_row("line", [b"", b"  \n", b'{"type": "summary", "events": 3}\n'])
def test_other_lines_are_passed_over(line: bytes) -> None:
    assert read_line(line, number=1) is None


@for_rows(
    [
        (b"no json", "expected `{` at character 0"),
        (b"[]", "expected `{` at character 0"),
        (b'{"id": "a", "kind": "event"', "expected `,` at character 27"),
        (b'{"id": "a", "kind": "event",}', "Expecting value"),
        (b'{"id": "a", "kind": "event", 5: 1}', "expected a key at character 29"),
        (b'{"id": "a", "kind": "event"} {}', "expected the end at character 28"),
        (b'{"id": "a", "kind": "event", "x": 01}', "expected `,`"),
        (b'{"id": "a", "kind": "event", "x": NaN}', "NaN is not JSON"),
        (b'{"id": "a", "kind": "event", "x": "\x01"}', "Invalid control character"),
        (b'{"id": "a", "kind": "event", "x": ' + nested(100_000) + b"}", "nested too deeply"),
        (b'{"type": "event"}', "expected `envelope` once, received it 0 times"),
        (b'{"type": "event", "envelope": 5}', "expected `{` at character 0"),
        (b'{"type": "event", "envelope": {}, "envelope": {}}', "`envelope` once, received it 2"),
        (WHOLE % b'"id":"a","id":"b"', "expected `id` once, received it 2 times"),
        (WHOLE % b'"id":5', "expected an `id` of 1 to 512 bytes"),
        (WHOLE % b'"id":null', "expected an `id` of 1 to 512 bytes"),
        (WHOLE % b'"id":""', "expected an `id` of 1 to 512 bytes"),
        (WHOLE % (b'"id":"' + b"x" * 513 + b'"'), "expected an `id` of 1 to 512"),
        (WHOLE % b'"id":"\\ud83d"', "received half of a surrogate pair"),
        (WHOLE % b'"kind":"event"', "expected `kind` once, received it 2 times"),
        (WHOLE % b'"record":{}', "expected `record` once, received it 2 times"),
        (WHOLE % b'"organization_id":"p"', "`organization_id` once, received it 2 times"),
        (WHOLE % b'"Organization_ID":"p"', "`organization_id` once, in small letters and capitals"),
        (WHOLE % b'"organization\\u005FID":"o"', "once, in small letters and capitals"),
        (WHOLE % (b'"x":' + nested(514)), "nested too deeply"),
        (WHOLE % (b'"x":"' + b"x" * 1_572_864 + b'"'), "at most 1572864 bytes"),
        (b'{"id": "a", "kind": "other"}', "expected a `kind` that is one of"),
        (b'{"id": "a", "kind": ["event"]}', "expected a `kind` that is one of"),
        (b'{"id": "a", "kind": "event", "record": {}}', "`organization_id` once, received it 0"),
        (ENVELOPE % (b"null", b"{}"), "expected an `organization_id` that is text"),
        (ENVELOPE % (b"5", b"{}"), "expected an `organization_id` that is text"),
        (ENVELOPE % (b'""', b"{}"), "expected an `organization_id` that is text"),
        (ENVELOPE % (b'["o"]', b"{}"), "expected an `organization_id` that is text"),
        (b'{"kind": "event", "organization_id": "o"}', "expected `record` once, received it 0"),
        (ENVELOPE % (b'"o"', b"null"), "expected a `record` that is an object"),
        (ENVELOPE % (b'"o"', b"[]"), "expected a `record` that is an object"),
        (b"\xff", "it is not UTF-8 text from byte 0"),
    ]
)
def test_a_line_that_is_no_envelope_is_told_with_its_number_and_kept(
    line: bytes, reason: str
) -> None:
    found = read_line(line, number=7)

    assert isinstance(found, BadLine)
    assert (found.number, found.data) == (7, line)
    assert reason in found.reason


@each_row("record", ['{"name":"\x9b2J\u0080x"}', '{"\x85":1}', '{"name":"\u00e9"}'])
def test_a_record_keeps_its_value_and_loses_what_a_terminal_obeys(record: str) -> None:
    line = one_line_object(record.encode()).decode()

    assert json.loads(line) == json.loads(record)
    assert not any("\x7f" < character < "\xa0" for character in line)


def test_a_record_that_is_not_json_does_not_become_it_by_escaping() -> None:
    with pytest.raises(ValueError, match="escape"):
        one_line_object('{"name":"\\\x9b"}'.encode())
