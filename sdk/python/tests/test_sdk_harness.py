"""`aperio_plugin.testing`, and through it what does not need a process of its own."""

from __future__ import annotations

import itertools
import json
import logging
import re
import threading
from collections import UserDict
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from aperio_plugin import _remediating, connector, declarations, destination, errors, remediation
from aperio_plugin._convert.events import event_fields
from aperio_plugin._delivering import DestinationService
from aperio_plugin.connector import (
    Actor,
    AuditLogEntry,
    Checkpoint,
    Event,
    Feature,
    Field,
    FieldType,
    Finding,
    FindingSeverity,
    FindingStatus,
    Progress,
)
from aperio_plugin.context import Config, Context, Token
from aperio_plugin.testing import Harness, MemoryState

from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from aperio_plugin.connector import Item

RESOLVED = FindingStatus.RESOLVED
DEFAULTS = {"occurred_at": 0, "record": b"{}", "event_type": "x.y", "source_event_id": "e"}
FIELDS = (
    Field(key="region", label="Region", default="us"),
    Field(key="secret", label="Secret", type=FieldType.PASSWORD, secret=True, host_only=True),
    Field(key="pages", label="Pages", type=FieldType.NUMBER),
    Field(key="deep", label="Deep", type=FieldType.BOOLEAN),
)


class Scripted(connector.Connector):
    """A connector whose sync is a function."""

    def __init__(self, sync: Callable[[Context, bytes | None], Iterator[Item]]) -> None:
        self._sync = sync

    def schema(self) -> connector.Schema:
        return connector.Schema(provider="X", name="X", fields=FIELDS)

    def test_connection(self, context: Context) -> connector.TestResult:
        return connector.TestResult(ok=True, account={"region": context.config.text("region")})

    def sync(self, context: Context, cursor: bytes | None) -> Iterator[Item]:
        return self._sync(context, cursor)


def _yielding(*items: Item) -> Scripted:
    return Scripted(lambda _context, _cursor: iter(items))


def _event(**values: Any) -> Event:
    return Event(**{**DEFAULTS, **values})


def _pages(context: Context, cursor: bytes | None) -> Iterator[Item]:
    """Three pages of three events."""
    del context
    for page in range(int(cursor or b"0"), 3):
        for number in range(3):
            yield _event(source_event_id=f"{page}.{number}")
        yield Checkpoint(b"%d" % (page + 1))


# ── the harness ───────────────────────────────────────────────────────────────────────────────────


def test_a_sync_gives_what_the_host_receives() -> None:
    actor = Actor(id="7", email="a@example.com")
    at = datetime(2026, 1, 2, 5, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    result = Harness(
        _yielding(
            Progress(done=1, total=2, message="x"),
            _event(occurred_at=at, record={"a": [1]}, actor=actor, origin="s"),
            Checkpoint(b"c"),
            _event(source_event_id="e2"),
        )
    ).sync()
    first, second = result.events
    assert first.occurred_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert (first.record, first.actor, first.origin) == ({"a": [1]}, actor, "s")
    assert (second.record, second.actor) == ({}, None)
    assert [(c.cursor, c.events_before) for c in result.checkpoints] == [(b"c", 1)]
    assert result.progress == (Progress(done=1, total=2, message="x"),)
    assert result.error is None
    assert result.messages == 4


def test_batches_are_the_hosts() -> None:
    events = [_event(source_event_id=f"e{number}") for number in range(600)]
    result = Harness(_yielding(*events)).sync()
    assert (len(result.events), result.messages) == (600, 3)


def test_an_error_keeps_the_events_before_it() -> None:
    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        del context, cursor
        yield _event()
        raise errors.RateLimited("slow down", retry_after_s=3)

    result = Harness(Scripted(sync)).sync()
    assert len(result.events) == 1
    assert isinstance(result.error, errors.RateLimited)
    assert result.error.retry_after_s == 3


def test_a_bug_is_told_as_the_host_is_told_and_its_cause_is_at_hand(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        del context, cursor
        yield _event()
        raise KeyError("x")

    result = Harness(Scripted(sync)).sync()
    assert result.error is not None
    assert result.error.summary == "the plugin failed with KeyError"
    assert isinstance(result.error.__cause__, KeyError)
    assert caplog.records[0].exc_info is not None


def test_resuming_from_every_checkpoint_gives_the_full_sync() -> None:
    full = Harness(Scripted(_pages)).resume_from_every_checkpoint()
    assert (len(full.events), len(full.checkpoints)) == (9, 3)


def test_resuming_names_what_a_checkpoint_loses() -> None:
    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        # The checkpoint comes before the last event of its page.
        for item in _pages(context, cursor):
            if isinstance(item, Event) and item.source_event_id == "0.2":
                yield Checkpoint(b"1")
            yield item

    with pytest.raises(AssertionError, match=r"checkpoint 1 \(b'1'\) lost 1 events: 0\.2"):
        Harness(Scripted(sync)).resume_from_every_checkpoint()


def test_resuming_names_a_sync_that_fails() -> None:
    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        if cursor:
            raise errors.InvalidCursor("forgotten")
        yield from _pages(context, cursor)

    with pytest.raises(AssertionError, match=r"checkpoint 1 .* failed: forgotten"):
        Harness(Scripted(sync)).resume_from_every_checkpoint()


FINDING = Finding(
    rule_id="ms365.r",
    title="T",
    target="t",
    severity=FindingSeverity.HIGH,
    risk_score=70,
    occurred_at="2026-01-05T09:00:00Z",
    source_event_id="e1",
    remediation_steps=["look"],
    actor=Actor(id="7"),
    evidence={"a": [1]},
)
ENTRY = AuditLogEntry(source_event_id="a1", action="policy.updated", occurred_at=0, record=b"{}")


class Judging(Scripted):
    """A connector that declares a check, and says that it gives findings and entries."""

    def schema(self) -> connector.Schema:
        checks = (connector.Check(key="ms365.r", title="R"),)
        features = (Feature.FINDINGS, Feature.AUDIT_LOG)
        return replace(super().schema(), checks=checks, features=features)


def test_findings_and_entries_are_what_the_host_receives() -> None:
    again = replace(FINDING, status=RESOLVED)
    items: list[Item] = [_event(), FINDING, ENTRY, Checkpoint(b"1"), again]

    result = Harness(Judging(lambda _context, _cursor: iter(items))).sync()

    assert result.error is None
    first, second = result.findings
    came = replace(FINDING, occurred_at=datetime(2026, 1, 5, 9, tzinfo=UTC))
    assert first == replace(came, remediation_steps=("look",))
    assert second.status is RESOLVED
    assert result.audit_log == (
        replace(ENTRY, occurred_at=datetime(1970, 1, 1, tzinfo=UTC), record={}),
    )
    (checkpoint,) = result.checkpoints
    assert (checkpoint.findings_before, checkpoint.audit_log_before) == (1, 1)


@each_row(
    ("items", "why"),
    [
        ([replace(FINDING, rule_id="ms365.other")], "no check of the schema has this key"),
        ([replace(FINDING, event_type="y.z")], r"expected `x\.` and a name"),
        ([FINDING, FINDING], "the same finding came"),
        ([ENTRY, ENTRY], "another entry of this sync has it"),
    ],
)
def test_a_sync_ends_with_a_finding_or_an_entry_that_breaks_a_promise(
    items: list[Item], why: str
) -> None:
    result = Harness(Judging(lambda _context, _cursor: iter(items))).sync()

    assert isinstance(result.error, errors.InvalidRecord)
    assert re.search(why, result.error.summary)


@pytest.mark.parametrize(("item", "feature"), [(FINDING, "`findings`"), (ENTRY, "`audit-log`")])
def test_what_the_schema_does_not_speak_of_ends_a_sync(item: Item, feature: str) -> None:
    result = Harness(_yielding(item)).sync()

    assert result.error is not None
    assert feature in result.error.summary


def test_resuming_names_the_findings_and_entries_that_a_checkpoint_loses() -> None:
    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        del context
        yield Checkpoint(b"1")
        if cursor is None:
            yield from (FINDING, ENTRY)

    with pytest.raises(
        AssertionError, match=r"finding ms365\.r of t \(OPEN, e1\), audit log .* a1"
    ):
        Harness(Judging(sync)).resume_from_every_checkpoint()


@each_row(
    "odd",
    [
        {"title": 7},
        {"description": "d" * 10_000_000},
        {"title": "\ud83d"},
        {"tags": "one"},
        {"tags": [7]},
        {"risk_score": True},
        {"risk_score": 1.5},
        {"actor": "Ann"},
        {"evidence": [1]},
        {"evidence": {"a": object()}},
        {"evidence": {"a": float("nan")}},
        {"occurred_at": "yesterday"},
        {"rule_id": None, "target": None},
    ],
    ids=lambda odd: str(odd)[:40],
)
def test_a_malformed_finding_becomes_a_dead_letter_that_names_the_part(odd: dict[str, Any]) -> None:
    bad = replace(FINDING, source_event_id="bad", **odd)

    result = Harness(Judging(lambda _context, _cursor: iter([FINDING, bad, ENTRY]))).sync()

    assert (len(result.findings), len(result.audit_log), result.error) == (1, 1, None)
    (letter,) = result.dead_letters
    assert (letter.source_event_id, letter.code) == ("bad", "record-invalid")
    assert next(iter(odd)) in letter.reason


def test_breaking_off_closes_the_generator() -> None:
    closed = threading.Event()

    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        del cursor
        try:
            for number in itertools.count():
                yield _event(source_event_id=f"e{number}")
                context.cancelled.wait(0.001)
        finally:
            closed.set()

    result = Harness(Scripted(sync)).sync(stop_after_events=3)
    assert len(result.events) == 3
    assert result.error is None
    assert closed.wait(5)


def test_the_deadline_ends_a_sync_that_waits() -> None:
    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        del cursor
        yield _event()
        context.sleep(60)

    result = Harness(Scripted(sync), timeout_s=0.3).sync()
    assert isinstance(result.error, errors.Cancelled)
    assert len(result.events) == 1


def test_the_configuration_is_what_the_host_would_hand_over() -> None:
    seen: list[Config] = []

    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        del cursor
        seen.append(context.config)
        yield Checkpoint(b"")

    Harness(Scripted(sync), config={"secret": "s", "deep": True}).sync()
    assert dict(seen[0]) == {"region": "us", "deep": True}


def test_a_setting_that_the_plugin_does_not_declare_is_refused() -> None:
    with pytest.raises(ValueError, match="declares no field regoin"):
        Harness(Scripted(_pages), config={"regoin": "eu"})


class Demanding(Scripted):
    """It needs a setting."""

    def schema(self) -> connector.Schema:
        needed = Field(key="key", label="Key", required=True)
        return connector.Schema(provider="X", name="X", fields=[needed], event_types=["x.y"])


def test_what_a_plugin_declares_can_be_asked_without_settings_that_it_needs() -> None:
    harness = Harness(Demanding(_pages))
    assert [field.key for field in harness.schema().fields] == ["key"]
    with pytest.raises(ValueError, match="key: missing, and the plugin needs it"):
        harness.sync()
    with pytest.raises(ValueError, match="key: missing"):
        Harness(Demanding(_pages), config={})
    assert len(Harness(Demanding(_pages), config={"key": "k"}).sync().events) == 9


@each_row(
    ("event", "why"),
    [
        ({"event_type": "z.y"}, "expected `x.` and a name"),
        ({"event_type": "x.z"}, "x.z: the schema does not declare it"),
        ({"source_event_id": "1"}, "another event of this sync has it"),
    ],
)
def test_a_sync_ends_with_an_event_that_breaks_a_promise(event: dict[str, Any], why: str) -> None:
    events = [_event(source_event_id="1"), _event(**{"source_event_id": "2", **event})]
    connector_ = Demanding(_yielding(*events)._sync)
    result = Harness(connector_, config={"key": "k"}).sync()
    assert isinstance(result.error, errors.InvalidRecord)
    assert why in str(result.error)
    assert [event.source_event_id for event in result.events] == ["1"]


def test_a_connection_test_gives_its_result() -> None:
    harness = Harness(Scripted(_pages), config={"region": "eu"})
    assert harness.test_connection().account == {"region": "eu"}
    assert harness.schema().provider == "X"


def test_the_state_lasts_from_call_to_call() -> None:
    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        del cursor
        found = context.state.get("n")
        count = int(found.value) if found else 0
        context.state.put("n", b"%d" % (count + 1))
        yield Progress(done=count)

    harness = Harness(Scripted(sync))
    assert [harness.sync().progress[0].done for _ in range(3)] == [0, 1, 2]
    assert list(harness.state.keys()) == ["n"]


def test_the_state_knows_revisions() -> None:
    state = MemoryState()
    assert (state.put("a", b"1", if_revision=0), state.put("a", b"2", if_revision=1)) == (1, 2)
    with pytest.raises(errors.StateConflict):
        state.put("a", b"3", if_revision=1)
    state.delete("a")
    state.delete("a")
    assert state.get("a") is None


def test_an_oauth_callback_is_unsupported_unless_overridden() -> None:
    with pytest.raises(errors.Unsupported):
        Harness(Scripted(_pages)).oauth_callback({})


def test_a_call_of_another_kind_is_refused() -> None:
    harness = Harness(Scripted(_pages))
    with pytest.raises(TypeError):
        harness.deliver([])
    with pytest.raises(TypeError):
        harness.capabilities()


# ── events ────────────────────────────────────────────────────────────────────────────────────────


@each_row(
    ("given", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789+02:00", datetime(2026, 1, 2, 1, 4, 5, 123456, tzinfo=UTC)),
        (1.5, datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC)),
        (-0.25, datetime(1969, 12, 31, 23, 59, 59, 750000, tzinfo=UTC)),
        (1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_kept(given: datetime | str | float, expected: datetime) -> None:
    (event,) = Harness(_yielding(_event(occurred_at=given))).sync().events
    assert event.occurred_at == expected


LIMIT = 1024 * 1024


@each_row(
    "values",
    [
        {"source_event_id": "i" * 512},
        {"source_event_id": "\N{SNOWMAN}" * 170},
        {"event_type": f"x.{'t' * 126}"},
        {"origin": "s" * 128},
        {"record": b'{"x":"' + b"y" * (LIMIT - 8) + b'"}'},
        {"actor": Actor(display_name="\N{SNOWMAN}" * 20_000)},
    ],
)
def test_an_event_up_to_its_limits_is_passed_on(values: dict[str, Any]) -> None:
    result = Harness(_yielding(_event(**values), _event(source_event_id="e2"))).sync()
    assert result.error is None
    assert len(result.events) == 2


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


class _Failing(UserDict[str, Any]):
    """A mapping that fails when it is read."""

    def __iter__(self) -> NoReturn:
        raise LookupError("this mapping fails")


RECURSIVE: dict[str, Any] = {}
RECURSIVE["self"] = RECURSIVE


@each_row(
    ("values", "reason"),
    [
        ({"source_event_id": ""}, "source_event_id is empty"),
        ({"source_event_id": "i" * 513}, "513 bytes, 512 are the most"),
        ({"source_event_id": "\N{SNOWMAN}" * 171}, "513 bytes"),
        ({"event_type": ""}, "event_type is empty"),
        ({"event_type": "t" * 129}, "129 bytes"),
        ({"origin": "s" * 129}, "129 bytes"),
        ({"record": b"x" * (LIMIT + 1)}, f"{LIMIT + 1} bytes, {LIMIT} are the most"),
        ({"record": {"x": "y" * LIMIT}}, "are the most"),
        ({"record": {"at": datetime.now(UTC)}}, "datetime has no JSON form"),
        ({"record": {"x": float("nan")}}, "JSON"),
        ({"record": RECURSIVE}, "nested too deeply"),
        ({"record": None}, "NoneType"),
        ({"record": "text"}, "record: expected an object, received str"),
        ({"occurred_at": datetime(2026, 1, 2)}, "no time zone"),  # noqa: DTZ001 - that is the point
        ({"occurred_at": "2026-01-02T03:04:05"}, "no time zone"),
        ({"occurred_at": "yesterday"}, "yesterday"),
        ({"occurred_at": float("nan")}, "nan"),
        ({"occurred_at": float("inf")}, "inf"),
        ({"occurred_at": 1e12}, "years 1 to 9999"),
        (
            {"occurred_at": None},
            "occurred_at: expected a datetime, text or seconds, received NoneType",
        ),
        ({"actor": Actor(email=5)}, "actor.email: expected text, received int"),  # type: ignore[arg-type]  # what an untyped author does
        ({"actor": Actor(email=None)}, "actor.email: expected text, received NoneType"),  # type: ignore[arg-type]  # likewise
        ({"actor": "ann"}, "actor: expected an Actor, received str"),
        ({"source_event_id": 17}, "source_event_id: expected text, received int"),
        ({"source_event_id": "\ud83d"}, "source_event_id has half of a surrogate pair"),
        ({"event_type": None}, "event_type: expected text, received NoneType"),
        ({"occurred_at": True}, "received bool"),
        ({"occurred_at": 10**5000}, "digits"),
        ({"occurred_at": 1772356297000}, "years 1 to 9999"),
        ({"occurred_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}, "years 1 to"),
        (
            {"occurred_at": datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=14)))},
            "1 to",
        ),
        ({"record": {"a": float("inf")}}, "JSON compliant"),
        ({"record": {"a": 10**5000}}, "digits"),
        ({"record": _nested(200_000)}, "nested too deeply"),
        ({"record": _nested(600)}, "more than 512 levels"),
        ({"record": _Failing()}, "this mapping fails"),
        ({"record": b'{"a": 1'}, "not JSON"),
    ],
)
def test_a_malformed_event_becomes_a_dead_letter_and_the_sync_goes_on(
    values: dict[str, Any], reason: str
) -> None:
    items = (_event(), _event(**values), _event(source_event_id="e2"), Checkpoint(b"3"))
    result = Harness(_yielding(*items)).sync()
    assert result.error is None
    assert len(result.events) == 2
    assert result.checkpoints[0].events_before == 2
    (letter,) = result.dead_letters
    assert reason in letter.reason
    assert letter.code == "record-invalid"


@each_row(
    ("given", "expected"),
    [
        ({"a": "\ud83d"}, b'{"a":"\\ud83d"}'),
        (UserDict({"\ud83d": "\u2603"}), '{"\\ud83d":"\u2603"}'.encode()),
        ({"a": UserDict(b=MappingProxyType({"c": ()}))}, b'{"a":{"b":{"c":[]}}}'),
        ({"a": "\x85\u2028\u2603"}, '{"a":"\x85\u2028\u2603"}'.encode()),
    ],
)
def test_a_mapping_of_any_class_and_text_is_a_record(given: Any, expected: bytes) -> None:
    assert event_fields(_event(record=given))[0]["record_json"] == expected


def test_a_dead_letter_of_an_event_shows_what_it_was() -> None:
    broken = _event(origin="logs", occurred_at="soon", record={"a": float("inf"), "b": object})
    (letter,) = Harness(_yielding(broken)).sync().dead_letters
    assert (letter.source_event_id, letter.event_type, letter.origin) == ("e", "x.y", "logs")
    assert letter.excerpt.startswith('{"a": Infinity, "b": "<class')


@each_row("cursor", [b"x" * 65_537, "text", None])
def test_a_malformed_cursor_is_told(cursor: Any) -> None:
    result = Harness(_yielding(_event(), Checkpoint(cursor))).sync()
    assert len(result.events) == 1
    assert isinstance(result.error, errors.InvalidRecord)


# ── context and declarations ──────────────────────────────────────────────────────────────────────


def test_a_token_is_never_part_of_a_text_form() -> None:
    token = Token("s3cret", datetime(2026, 1, 2, tzinfo=UTC))
    assert "s3cret" not in f"{token!r} {token}"
    assert "2026" in repr(token)


def test_a_configuration_shows_keys_only() -> None:
    assert repr(Config({"api_key": "s3cret", "a": 1})) == "Config(a, api_key)"


def test_settings_are_read_by_type() -> None:
    config = Config({"t": "x", "n": 3, "f": False})
    assert (config.text("t"), config.number("n"), config.flag("f")) == ("x", 3, False)
    assert (config.text("u", "d"), config.number("u", 2.5), config.flag("u", default=True)) == (
        "d",
        2.5,
        True,
    )


@each_row(
    "read",
    [
        lambda config: config.text("n"),
        lambda config: config.number("t"),
        lambda config: config.number("f"),
        lambda config: config.flag("n"),
        lambda config: config.text("absent"),
    ],
)
def test_a_setting_of_another_type_is_named(read: Callable[[Config], object]) -> None:
    with pytest.raises(errors.InvalidConfig) as caught:
        read(Config({"t": "x", "n": 3, "f": False}))
    assert caught.value.attribute in {("n",), ("t",), ("f",), ("absent",)}


def test_sleep_wakes_when_the_call_ends() -> None:
    def sync(context: Context, cursor: bytes | None) -> Iterator[Item]:
        del cursor
        threading.Timer(0.05, context.cancelled.set).start()
        context.sleep(60)
        yield _event()

    assert isinstance(Harness(Scripted(sync)).sync().error, errors.Cancelled)


@each_row(
    ("fields", "auth", "reason"),
    [
        ((Field(key="Bad-Key", label=""),), declarations.NoAuth(), "lower-case"),
        ((Field(key="a", label=""), Field(key="a", label="")), declarations.NoAuth(), "twice"),
        ((Field(key="a", label="", type=FieldType.SELECT),), declarations.NoAuth(), "options"),
        ((Field(key="a", label="", options=["x"]),), declarations.NoAuth(), "options"),
        ((), declarations.ApiKey("key"), "'key'"),
        (
            (Field(key="client_id", label=""),),
            declarations.OAuth2(token_url="", grants=()),
            "client_secret",
        ),
    ],
)
def test_declarations_that_make_no_sense_are_refused(
    fields: Sequence[Field], auth: declarations.Auth, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        declarations.check(fields, auth)


# ── remediation and destination ───────────────────────────────────────────────────────────────────


class Counting(remediation.Remediation):
    """Counts what it executes."""

    executed = 0

    def capabilities(self) -> remediation.Capabilities:
        action = remediation.Action(key="x.a", label="A", target_types=["user"])
        return remediation.Capabilities(provider="X", name="X", actions=[action])

    def execute(
        self, context: Context, request: remediation.ExecuteRequest
    ) -> remediation.ExecuteResult:
        del context, request
        self.executed += 1
        return remediation.unchanged()


def _request(key: str) -> remediation.ExecuteRequest:
    return remediation.ExecuteRequest(action="x.a", target="t", idempotency_key=key)


def test_the_harness_executes_and_remembers_keys() -> None:
    plugin = Counting()
    harness = Harness(plugin)
    assert harness.execute(_request("k")) == harness.execute(_request("k"))
    assert plugin.executed == 1
    with pytest.raises(errors.InvalidArgument):
        harness.execute(_request(""))


class Looking(Counting):
    """Acts only when it was not asked before."""

    def execute(
        self, context: Context, request: remediation.ExecuteRequest
    ) -> remediation.ExecuteResult:
        del context
        return remediation.unchanged() if request.is_after_unknown else remediation.changed()


def test_the_harness_says_that_another_process_was_asked() -> None:
    again = replace(_request("k"), is_after_unknown=True)
    assert Harness(Looking()).execute(again).outcome is remediation.Outcome.UNCHANGED
    assert Harness(Looking()).execute(_request("k")).outcome is remediation.Outcome.CHANGED


def test_the_oldest_keys_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _remediating.REMEMBERED_KEYS == 10_000
    kept = 50
    monkeypatch.setattr(_remediating, "REMEMBERED_KEYS", kept)
    plugin = Counting()
    harness = Harness(plugin)
    for number in range(kept + 1):
        harness.execute(_request(str(number)))
    harness.execute(_request(str(kept)))
    assert plugin.executed == kept + 1
    harness.execute(_request("0"))
    assert plugin.executed == kept + 2


class Echo(destination.Destination):
    """Takes what has something in its record; keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def capabilities(self) -> destination.Capabilities:
        return destination.Capabilities(provider="X", name="X", streams=[destination.Stream.EVENT])

    def deliver(
        self, context: Context, envelopes: Sequence[destination.Envelope]
    ) -> Iterator[destination.DeliveryResult]:
        del context
        for envelope in envelopes:
            self.seen.append(envelope.json)
            if envelope.value()["record"]:
                yield destination.accepted(envelope)


def test_the_harness_delivers_and_gives_a_result_for_each() -> None:
    given = b'{"record": {"n": 1.10, "text": "\\u003c"}, "kind": "finding"}'
    envelopes: list[Mapping[str, Any] | bytes] = [{"id": "1", "kind": "event", "record": {}}, given]
    echo = Echo()

    results = Harness(echo).deliver(envelopes)

    assert [(result.id, result.status.name) for result in results] == [
        (local_key(envelopes[0]), "RETRY"),
        (local_key(given), "ACCEPTED"),
    ]
    assert echo.seen == [b'{"id":"1","kind":"event","record":{}}', given]


def local_key(envelope: Mapping[str, Any] | bytes) -> str:
    return destination.delivery_key(envelope, organization_id="local", destination_id="local")


@each_row("given", [{"id": "1", "kind": "other"}, {"kind": "event"}, b"[]"])
def test_what_is_no_envelope_is_not_delivered(given: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        Harness(Echo()).deliver([given])


# ── log lines ─────────────────────────────────────────────────────────────────────────────────────


def test_a_traceback_is_shortened_in_its_middle() -> None:
    from aperio_plugin import _logging

    error = ValueError("x" * 100_000)
    record = logging.LogRecord("n", logging.ERROR, "p", 1, "m", None, (ValueError, error, None))
    line = _logging.line(record)
    assert len(line) <= _logging.MAX_LINE_BYTES + 1
    assert "characters left out" in json.loads(line)["traceback"]


def test_lines_that_escape_badly_stay_below_the_limit() -> None:
    from aperio_plugin import _logging

    record = logging.LogRecord("n", logging.ERROR, "p", 1, "\U0001f600" * 100_000, None, None)
    record.__dict__.update({f"k{number}": "\U0001f600" * 9000 for number in range(9)})
    line = _logging.line(record)
    assert len(line) <= _logging.MAX_LINE_BYTES + 1
    assert json.loads(line)["keys_dropped"] == 9


def test_a_checkpoint_shows_what_it_covers_and_no_stream_that_is_not_declared() -> None:
    streams = [connector.Stream(name="logs")]

    class Covering(connector.Connector):
        def schema(self) -> connector.Schema:
            return connector.Schema(provider="X", name="X", streams=streams)

        def test_connection(self, context: Any) -> connector.TestResult:
            raise NotImplementedError

        def sync(self, context: Any, cursor: Any) -> Any:  # noqa: ARG002
            yield connector.Checkpoint(b"1", "logs", "2026-01-05T09:00:00Z")
            yield connector.Checkpoint(b"2")
            yield connector.Checkpoint(b"3", "other")

    result = Harness(Covering()).sync()

    first, second = result.checkpoints
    assert (first.stream, first.covers_until) == ("logs", datetime(2026, 1, 5, 9, tzinfo=UTC))
    assert (second.stream, second.covers_until) == ("", None)
    assert isinstance(result.error, errors.InvalidRecord)
    assert "stream other: the schema does not declare it" in str(result.error)


# ── destinations that keep checkpoints ────────────────────────────────────────────────────────────


class Ledger(Echo, destination.CheckpointKeeper):
    """A destination whose rows and checkpoints are one thing; `flaw` says how it errs."""

    def __init__(self, flaw: str = "", *, keeps: bool = True) -> None:
        self.flaw = flaw
        self.keeps = keeps
        self.rows: list[str] = []
        self.stored: dict[destination.SyncSource, destination.SyncCheckpoint] = {}

    def position(
        self, context: Context, source: destination.SyncSource
    ) -> destination.Position | None:
        del context
        return destination.Position(self.stored.get(source)) if self.keeps else None

    def deliver_and_store(
        self,
        context: Context,
        envelopes: Sequence[destination.Envelope],
        request: destination.StoreCheckpoint,
    ) -> destination.Delivered:
        del context
        before, outcomes = self.stored.get(request.source), destination.CheckpointOutcome
        results = [
            destination.rejected(each, "it is empty")
            if each.value()["record"] == {}
            else destination.accepted(each)
            for each in envelopes
        ]
        is_whole = all(each.status is destination.Status.ACCEPTED for each in results)
        if not is_whole and self.flaw != "early":
            if self.flaw == "hidden":
                self.stored[request.source] = request.checkpoint
            return destination.Delivered(results, outcomes.NOT_STORED)
        if self.flaw != "any" and not request.may_replace(before.cursor if before else b""):
            return destination.Delivered(results, outcomes.MOVED)
        if self.flaw != "forgets":
            self.stored[request.source] = request.checkpoint
        self.rows += [each.id for each in envelopes]
        return destination.Delivered(results, outcomes.STORED)


def entry(identity: str, **record: object) -> dict[str, Any]:
    return {"id": identity, "kind": "event", "record": record}


FIRST = destination.SyncCheckpoint(b"1", {"logs": datetime(2026, 1, 5, tzinfo=UTC)}, "1.0.0")


def test_a_checkpoint_is_stored_with_its_envelopes_and_found_again() -> None:
    ledger = Ledger()
    harness = Harness(ledger)
    assert harness.position() == destination.Position()
    delivered = harness.deliver_and_store([entry("a", n=1)], FIRST)
    assert delivered.outcome is destination.CheckpointOutcome.STORED
    assert harness.position() == destination.Position(FIRST)
    again = harness.deliver_and_store([entry("a", n=1)], FIRST, replaces=b"")  # its answer was lost
    assert again.outcome is destination.CheckpointOutcome.STORED
    second = replace(FIRST, cursor=b"2")
    assert harness.deliver_and_store([], second).outcome is delivered.outcome
    refused = harness.deliver_and_store([entry("b")], replace(FIRST, cursor=b"3"))
    assert refused.outcome is destination.CheckpointOutcome.NOT_STORED
    moved = harness.deliver_and_store([], replace(FIRST, cursor=b"3"), replaces=b"1")
    assert moved.outcome is destination.CheckpointOutcome.MOVED
    assert harness.position() == destination.Position(second)
    assert harness.position(destination.SyncSource("another/connector")) == destination.Position()


@each_row(
    ("flaw", "envelopes", "replaces", "said"),
    [
        ("early", [entry("a")], None, "stored, but 1 envelopes before it were not accepted"),
        ("hidden", [entry("a")], None, "not_stored, but the stored cursor is b'1'"),
        ("any", [entry("a", n=1)], b"0", "stored over b'' in the place of b'0'"),
        ("forgets", [entry("a", n=1)], None, "stored, but the stored cursor is b''"),
    ],
)
def test_a_destination_that_errs_about_a_checkpoint_fails_its_test(
    flaw: str, envelopes: list[dict[str, Any]], replaces: bytes | None, said: str
) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        Harness(Ledger(flaw)).deliver_and_store(envelopes, FIRST, replaces=replaces)


def test_a_destination_may_keep_no_checkpoints_and_one_without_the_feature_cannot() -> None:
    assert Harness(Ledger(keeps=False)).position() is None
    with pytest.raises(errors.Unsupported, match="checkpoints"):
        Harness(Echo()).position()
    with pytest.raises(errors.InvalidRecord, match="65537 bytes"):
        Harness(Ledger()).deliver_and_store([], destination.SyncCheckpoint(b"x" * 65537))


def test_the_class_says_whether_it_keeps_checkpoints() -> None:
    for plugin, features in ((Ledger(), ("checkpoints",)), (Echo(), ())):
        assert DestinationService(plugin).features == features
