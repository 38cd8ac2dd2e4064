"""Records that are objects of Python, encoded by python-rapidjson and by the standard encoder.

Both give the same values and refuse the same in the same words.
"""

from __future__ import annotations

import enum
import json
import uuid
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NoReturn

import pytest
from aperio_plugin import errors
from aperio_plugin._convert import objects
from aperio_plugin._convert.events import batch_message, event_fields
from aperio_plugin._convert.findings import finding_fields
from aperio_plugin.connector import Event, Finding, FindingSeverity

from tests.rows import each_row


class _Text(str):
    """Says something else of itself than it holds."""

    __slots__ = ()

    def __str__(self) -> str:
        return "wrong"

    __repr__ = __str__


class _Whole(int):
    def __repr__(self) -> str:
        return "wrong"


class _Real(float):
    def __repr__(self) -> str:
        return "wrong"


class _Dict(dict[str, Any]):
    """Has other items than it holds."""

    def items(self) -> Any:
        return {"from": "items"}.items()


class _List(list[Any]):
    pass


class _Plain(enum.Enum):
    ONE = 1
    TEXT = "text"


class _Number(enum.IntEnum):
    ONE = 1


class _Flag(enum.IntFlag):
    ONE = 1
    TWO = 2


class _Word(enum.StrEnum):
    ONE = "one"


@dataclass
class _Data:
    value: int = 1


class _Failing(UserDict[str, Any]):
    def __iter__(self) -> NoReturn:
        raise LookupError("this mapping fails")


_Pair = namedtuple("_Pair", "a b")  # noqa: PYI024 - as authors write it


def nested(levels: int, *, lists: bool = False) -> Any:
    """So many levels, the record itself included."""
    value: Any = [] if lists else {}
    for _ in range(levels - 2):
        value = [value] if lists else {"a": value}
    return {"a": value}


ENCODED: Mapping[str, tuple[Any, str]] = {
    "nothing": ({}, "{}"),
    "plain values": ({"a": None, "b": [True, False], "c": {"d": "x"}}, ""),
    "order of keys": ({"b": 1, "a": 2}, '{"b":1,"a":2}'),
    "text": (
        {"☃ é": "\x7f\x85\u2028\ufeff😀\U0010ffff"},
        '{"☃ é":"\x7f\x85\u2028\ufeff😀\U0010ffff"}',
    ),
    "controls": ({"a": "\0\x1f\b\f\n\r\t"}, '{"a":"\\u0000\\u001f\\b\\f\\n\\r\\t"}'),
    "quotes": ({'"': "\\/"}, '{"\\"":"\\\\/"}'),
    "half of a surrogate pair": ({"a": "\ud83d"}, '{"a":"\\ud83d"}'),
    "half of one in a key": ({"\udc00": ["☃"]}, '{"\\udc00":["☃"]}'),
    "no number of 64 bits": ({"a": 2**64, "b": -(2**63) - 1, "c": 10**4000}, ""),
    "numbers of 64 bits": ({"a": 2**64 - 1, "b": -(2**63), "c": 2**63}, ""),
    "reals": ({"a": [0.1, -0.0, 1e22, 1e16, 1e-7, 5e-324, 1.7976931348623157e308]}, ""),
    "text of its own class": ({_Text("k"): _Text("v")}, '{"k":"v"}'),
    "numbers of their own class": ({"a": [_Whole(5), _Real(1.5)]}, '{"a":[5,1.5]}'),
    "dict of its own class": ({"a": _Dict(b=1)}, '{"a":{"from":"items"}}'),
    "list of its own class": ({"a": _List([1])}, '{"a":[1]}'),
    "dicts of the library": ({"a": OrderedDict(b=1), "c": defaultdict(int, d=2)}, ""),
    "tuples": ({"a": (1, ()), "b": _Pair(1, 2)}, '{"a":[1,[]],"b":[1,2]}'),
    "mappings": ({"a": UserDict(b=MappingProxyType({"c": 1}))}, '{"a":{"b":{"c":1}}}'),
    "a mapping": (UserDict(a=1), '{"a":1}'),
    "members that are numbers": ({"a": [_Number.ONE, _Flag.ONE | _Flag.TWO]}, '{"a":[1,3]}'),
    "members that are text": ({_Word.ONE: _Word.ONE}, '{"one":"one"}'),
    "keys that are numbers": (
        {1: 1, 1.5: 2, 2**70: 3},
        '{"1":1,"1.5":2,"1180591620717411303424":3}',
    ),
    "other keys": ({None: 1, True: 2, _Number.ONE + 1: 3}, '{"null":1,"true":2,"2":3}'),
    "keys that become the same": ({1: "a", "1": "b"}, '{"1":"a","1":"b"}'),
    "the text null": ({"null": "null, NaN"}, '{"null":"null, NaN"}'),
    "512 levels": (nested(512), '{"a":' * 511 + "{}" + "}" * 511),
    "512 levels of lists": (nested(512, lists=True), '{"a":' + "[" * 511 + "]" * 511 + "}"),
}
"""Values and their JSON; empty: what `json.dumps` says."""

RECURSIVE: dict[str, Any] = {}
RECURSIVE["self"] = [RECURSIVE]

REFUSED: Mapping[str, tuple[Any, str]] = {
    "NaN": ({"a": float("nan"), "b": None}, "not JSON compliant"),
    "infinity": ({"a": [float("inf")]}, "not JSON compliant"),
    "infinity below": ({"a": {"b": -float("inf")}}, "not JSON compliant"),
    "NaN of its own class": ({"a": _Real("nan")}, "not JSON compliant"),
    "bytes": ({"a": b"x"}, "a bytes has no JSON form"),
    "bytearray": ({"a": bytearray(b"x")}, "a bytearray has no JSON form"),
    "memory": ({"a": memoryview(b"x")}, "a memoryview has no JSON form"),
    "set": ({"a": {1}}, "a set has no JSON form"),
    "frozen set": ({"a": frozenset()}, "a frozenset has no JSON form"),
    "generator": ({"a": (x for x in "ab")}, "a generator has no JSON form"),
    "range": ({"a": range(2)}, "a range has no JSON form"),
    "keys": ({"a": {}.keys()}, "a dict_keys has no JSON form"),
    "time": ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, "a datetime has no JSON form"),
    "date": ({"a": date(2026, 1, 1)}, "a date has no JSON form"),
    "time of day": ({"a": datetime.now(UTC).timetz()}, "a time has no JSON form"),
    "duration": ({"a": timedelta(1)}, "a timedelta has no JSON form"),
    "UUID": ({"a": uuid.UUID(int=1)}, "a UUID has no JSON form"),
    "decimal": ({"a": Decimal("1.0")}, "a Decimal has no JSON form"),
    "complex": ({"a": 1j}, "a complex has no JSON form"),
    "member": ({"a": _Plain.ONE}, "a _Plain has no JSON form"),
    "dataclass": ({"a": _Data()}, "a _Data has no JSON form"),
    "object": ({"a": object()}, "a object has no JSON form"),
    "class": ({"a": int}, "a type has no JSON form"),
    "key that is a UUID": ({uuid.UUID(int=1): 1}, "keys must be"),
    "key that is a member": ({_Plain.TEXT: 1}, "keys must be"),
    "key that is bytes": ({"a": {b"k": 1}}, "keys must be"),
    "key that is a tuple": ({"a": [{(1,): 1}]}, "keys must be"),
    "key that is a time": ({datetime(2026, 1, 1, tzinfo=UTC): 1}, "keys must be"),
    "too many digits": ({"a": 10**5000}, "digits"),
    "itself": (RECURSIVE, "nested too deeply"),
    "513 levels": (nested(513), "more than 512 levels"),
    "200,000 levels": (nested(200_000), "nested too deeply"),
    "a mapping that fails": ({"a": _Failing(b=1)}, "this mapping fails"),
    "a list": ([], "record: expected an object, received list"),
}


@pytest.fixture(params=["python-rapidjson", "standard"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two encoders."""
    if request.param == "standard":
        monkeypatch.setattr(objects, "_strict_encoder", lambda: None)


def _fields(record: Any) -> dict[str, Any]:
    event = Event(source_event_id="e", event_type="x.y", occurred_at=0, record=record)
    return event_fields(event)[0]


def _read(text: str | bytes) -> Any:
    """The values, every key and every digit of a whole number kept, lists apart from objects."""
    return json.loads(text, object_pairs_hook=lambda pairs: ("object", pairs), parse_int=str)


@pytest.mark.usefixtures("encoder")
@each_row(("record", "expected"), ENCODED.values(), ids=list(ENCODED))
def test_a_record_has_the_same_values_with_either_encoder(record: Any, expected: str) -> None:
    encoded: str = _fields(record)["record_json"].decode()
    assert " " not in encoded or " " in expected
    assert encoded == expected or _read(encoded) == _read(expected or json.dumps(record))


@pytest.mark.usefixtures("encoder")
@each_row(("record", "why"), REFUSED.values(), ids=list(REFUSED))
def test_what_has_no_json_is_refused_in_the_same_words(record: Any, why: str) -> None:
    with pytest.raises(errors.InvalidRecord, match=why):
        _fields(record)


class _Mapping(Mapping[str, Any]):
    """A mapping that is no dictionary, each level of which takes several calls."""

    def __init__(self, held: dict[str, Any]) -> None:
        self._held = held

    def __getitem__(self, key: str) -> Any:
        return self._held[key]

    def __iter__(self) -> Any:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


@pytest.mark.usefixtures("encoder")
@each_row("kind", [dict, UserDict, OrderedDict, MappingProxyType, _Mapping])
def test_each_kind_of_mapping_may_have_the_same_levels(kind: Any) -> None:
    """512 of them, however many calls its reader takes for one."""
    inner = kind({})
    for _ in range(511):
        inner = kind({"a": inner, "b": [1]})
    text = _fields(inner)["record_json"].decode()
    assert text == '{"a":' * 511 + "{}" + ',"b":[1]}' * 511
    with pytest.raises(errors.InvalidRecord, match="512 levels"):
        _fields(kind({"a": inner}))


@pytest.mark.usefixtures("encoder")
def test_a_mapping_that_contains_itself_is_refused() -> None:
    around = UserDict[str, Any]()
    around["a"] = around["b"] = [around, around]
    with pytest.raises(errors.InvalidRecord, match="512 levels"):
        _fields(around)


class _Liar(str):
    """A text that says of itself what its limits want to hear."""

    __slots__ = ()

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"x"

    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return True

    def isascii(self) -> bool:
        return True


@each_row("text", ["x" * 600, "\u00e9" * 400, "", "\ud800"])
@each_row("name", ["source_event_id", "event_type"])
def test_what_a_text_says_of_itself_does_not_count(name: str, text: str) -> None:
    """A host measures what comes; half a surrogate pair would take its batch with it."""
    for odd in (text, _Liar(text)):
        stated: dict[str, Any] = {"source_event_id": "e1", "event_type": "x.y", name: odd}
        with pytest.raises(errors.InvalidRecord, match=name):
            event_fields(Event(occurred_at=0, record={}, **stated))
    usual: dict[str, Any] = {"source_event_id": "e1", "event_type": "x.y", name: _Liar("\u00e9")}
    fields, _ = event_fields(Event(occurred_at=0, record={}, **usual))
    made = batch_message([fields]).batch.events[0]
    assert getattr(made, name) == "\u00e9"


@each_row("text", ["x" * 600, "\u00e9" * 400, "", "\ud800"])
@each_row("name", ["source_event_id", "rule_id", "title", "target"])
def test_what_a_text_of_a_finding_says_of_itself_does_not_count(name: str, text: str) -> None:
    stated: dict[str, Any] = {
        "rule_id": "x.y", "title": "t", "target": "t", "source_event_id": "e1",
        "severity": FindingSeverity.LOW, "risk_score": 1, "occurred_at": 0,
    }  # fmt: skip
    assert finding_fields(Finding(**stated | {name: _Liar("usual")}))
    for odd in (text, _Liar(text)):
        with pytest.raises(errors.InvalidRecord, match=name):
            finding_fields(Finding(**stated | {name: odd}))


def test_python_rapidjson_alone_encodes_a_usual_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_encode_standard", pytest.fail)
    record = {"a": [None, True, 2**64, 0.5, "é\0"], "b": {"c": {}}}
    assert _read(_fields(record)["record_json"]) == _read(json.dumps(record))
