"""models/reading.py: which documents it refuses, whatever their format, and what its tables say."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.reading import (
    Bounds,
    Table,
    Unreadable,
    described,
    parse_json,
    parse_toml,
    parse_yaml,
    read_json,
    read_toml,
    read_yaml,
    require_few_members,
)
from tests.rows import each_row, for_each, for_rows

BOUNDS = Bounds(1024 * 1024, depth=8, members=50_000)
Read = Callable[[bytes, Bounds], Any]


class Failed(Exception):
    """What `fail` raises here."""


def fail(key: str, why: str) -> NoReturn:
    raise Failed(described(key, why))


def table(**values: Any) -> Table:
    return Table(values, fail)


HOSTILE: dict[str, tuple[Read, bytes, str]] = {
    "JSON: empty": (read_json, b"", "it is not JSON: Expecting value"),
    "JSON: not UTF-8": (read_json, b'{"a": "\xff"}', "it is not UTF-8 text from byte 7"),
    "JSON: UTF-16": (read_json, '{"a": 1}'.encode("utf-16"), "it is not UTF-8 text"),
    "TOML: UTF-16": (read_toml, "a = 1".encode("utf-16-le"), "it looks like UTF-16"),
    "YAML: UTF-16": (read_yaml, "a: 1".encode("utf-16-be"), "it looks like UTF-16"),
    "JSON: byte order mark twice": (read_json, b"\xef\xbb\xbf" * 2 + b"{}", "two byte order marks"),
    "JSON: key twice": (read_json, b'{"b": {"a": 1, "a": 1}}', "key 'a' stands twice"),
    "JSON: escaped key twice": (read_json, b'{"a": 1, "\\u0061": 1}', "key 'a' stands twice"),
    "JSON: NaN": (read_json, b"[NaN]", "NaN is no number"),
    "JSON: infinity": (read_json, b"[-Infinity]", "-Infinity is no number"),
    "JSON: beyond a float": (read_json, b"[1e400]", "not finite"),
    "JSON: many digits": (read_json, b"[" + b"1" * 5000 + b"]", "more than 300 digits"),
    "JSON: 301 digits": (read_json, b"[-" + b"1" * 301 + b"]", "more than 300 digits"),
    "JSON: half a pair": (read_json, b'["\\ud800"]', "half of a surrogate pair"),
    "JSON: half a pair as key": (read_json, b'{"\\udc00": 1}', "half of a surrogate pair"),
    "JSON: NUL": (read_json, b'["\0"]', "it is not JSON: Invalid control character"),
    "JSON: deep lists": (read_json, b"[" * 49_999, "nested too deeply"),
    "JSON: deep objects": (read_json, b'{"":' * 24_999 + b"1" + b"}" * 24_999, "too deeply"),
    "JSON: nine levels": (read_json, b"[" * 9 + b"1" + b"]" * 9, "at most 8 levels"),
    "JSON: too large": (read_json, b" " * 1024 * 1024 + b"1", "expected at most 1048576 bytes"),
    "JSON: too many members": (read_json, b"[" + b"{}," * 50_000 + b"{}]", "at most 50000"),
    "TOML: byte order mark twice": (read_toml, b"\xef\xbb\xbf" * 2 + b"a = 1", "two byte order"),
    "TOML: not UTF-8": (read_toml, b"a = '\xff'", "it is not UTF-8 text"),
    "TOML: key twice": (read_toml, b"a = 1\na = 1", "it is not TOML"),
    "TOML: nan": (read_toml, b"a = nan", "not finite"),
    "TOML: inf": (read_toml, b"a = [{b = -inf}]", "not finite"),
    "TOML: beyond a float": (read_toml, b"a = 1e400", "not finite"),
    "TOML: many digits": (read_toml, b"a = " + b"1" * 5000, "it is not TOML"),
    "TOML: half a pair": (read_toml, b'a = "\\ud800"', "it is not TOML"),
    "TOML: NUL": (read_toml, b'a = "\0"', "it is not TOML"),
    "TOML: deep": (read_toml, b"a = " + b"[" * 100_000, "nested too deeply"),
    "TOML: dotted for hours": (read_toml, b".".join([b"a"] * 500_000) + b" = 1", "too deeply"),
    "TOML: dotted in quotes": (
        read_toml,
        b"[" + b" . ".join([rb'"\".\\"', b"'.\"'", b"a-b"] * 40_000) + b"]",
        "too deeply",
    ),
    "TOML: dotted behind strings": (
        read_toml,
        b'a = """x"\n"""\nb = \'\'\'y\'\n\'\'\' # "\nc = {'
        + b".".join([b"a"] * 500_000)
        + b" = 1}",
        "too deeply",
    ),
    "TOML: quotes without end": (read_toml, b'"""\n' + b"'''\n\"" * 200_000, "it is not TOML"),
    "TOML: quotes that begin anew": (read_toml, b'"a' * 500_000, "it is not TOML"),
    "TOML: dotted deep": (read_toml, b".".join([b"a"] * 500) + b" = 1", "nested too deeply"),
    "YAML: byte order mark twice": (read_yaml, b"\xef\xbb\xbf" * 2 + b"a: 1", "two byte order"),
    "YAML: not UTF-8": (read_yaml, b"a: \xff", "it is not UTF-8 text"),
    "YAML: key twice": (read_yaml, b"a: 1\nb: 1\na: 1", "line 3 has the key 'a' a second time"),
    "YAML: alias": (read_yaml, b"a: &x 1\nb: *x", "line 1 has an alias"),
    "YAML: anchor inside itself": (read_yaml, b"&x [*x]", "line 1 has an alias"),
    "YAML: key is a list": (read_yaml, b"a: 1\n? [a]\n: b", "line 2 has a key that is no text"),
    "YAML: half a pair": (read_yaml, b'a: "\\ud800"', "half of a surrogate pair"),
    "YAML: beyond Unicode": (read_yaml, b'a: "\\UFFFFFFFF"', "it is not YAML"),
    "YAML: NUL": (read_yaml, b"a: \0", "it is not YAML"),
    "YAML: deep": (read_yaml, b"[" * 20_000, "nested too deeply"),
    "YAML: nine levels": (read_yaml, b"[" * 9 + b"1" + b"]" * 9, "at most 8 levels"),
    "YAML: two documents": (read_yaml, b"a: 1\n---\nb: 1\n", "it is not YAML"),
    "YAML: version of many digits": (read_yaml, b"%YAML 1." + b"1" * 5000 + b"\n--- a", "YAML"),
}


@for_rows(HOSTILE.values())
def test_hostile_document_is_refused(read: Read, data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(why)):
        read(data, BOUNDS)


@each_row(
    ("read", "data", "value"),
    [
        (read_json, b'\xef\xbb\xbf{"a": [1, -2.5, true, null]}', {"a": [1, -2.5, True, None]}),
        (read_json, b'"\\ud83d\\ude00 \\u0000"', "\N{GRINNING FACE} \0"),
        (read_json, b"[" * 8 + b"1" + b"]" * 8, [[[[[[[[1]]]]]]]]),
        (read_json, b"1" * 300, int("1" * 300)),
        (read_toml, b"\xef\xbb\xbfa = 1\n[b]\nc = ['x']", {"a": 1, "b": {"c": ["x"]}}),
        (read_yaml, b"\xef\xbb\xbfa: 1.10\nb: [no, ~]", {"a": "1.10", "b": ["no", "~"]}),
        (read_yaml, b"", None),
    ],
)
def test_benign_document_is_read(read: Read, data: bytes, value: object) -> None:
    assert read(data, BOUNDS) == value


def test_dots_inside_of_strings_and_comments_are_no_parts_of_keys() -> None:
    dotted = ".".join(["a"] * 100)
    text = f'# {dotted}\na = "{dotted}"\nb = \'{dotted}\'\nc = """\n"{dotted}"""\n"{dotted}" = 1\n'
    found = read_toml((text + f"d = '''\n'{dotted}'''\na-b . 'c'.\"d\\n\" = 2").encode(), BOUNDS)
    assert list(found) == ["a", "b", "c", dotted, "d", "a-b"]
    assert found["a-b"] == {"c": {"d\n": 2}}


def test_marks_inside_of_strings_are_no_members() -> None:
    text = b'["' + b'{\\",[' * 40_000 + b'"]'
    assert read_json(text, BOUNDS)
    require_few_members(b'{"a": "[[[[["}', 1)
    with pytest.raises(Unreadable, match="members"):
        require_few_members(b'{"a": ["[[[[["]}', 1)


@pytest.mark.parametrize("unit", [b'{"":{}},', b"[],", b'"",', b'"a":1,'])
def test_memory_stays_bounded_whatever_a_large_text_repeats(unit: bytes) -> None:
    text = b"[" + unit * (2 * 1024 * 1024 // len(unit))
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="members"):
            read_json(text, Bounds(len(text), members=20_000))
        assert tracemalloc.get_traced_memory()[1] < 2 * len(text)
    finally:
        tracemalloc.stop()


def test_place_of_a_fault_shows_nothing_of_the_contents() -> None:
    with pytest.raises(Unreadable) as caught:
        read_toml(b"a = 1\nb = s3cret\n", BOUNDS)
    assert caught.value.place == "it is not TOML from line 2, column 5"
    with pytest.raises(Unreadable) as caught:
        read_json(b'{"a": s3cret}', BOUNDS)
    assert caught.value.place == "it is not JSON from line 1, column 7"


@each_row(
    ("parse", "data"),
    [(parse_json, b"[]"), (parse_json, b"1"), (parse_yaml, b""), (parse_toml, b"=")],
)
def test_document_that_is_no_table_fails_as_a_whole(parse: Any, data: bytes) -> None:
    with pytest.raises(Failed, match=r"^it is not"):
        parse(data, BOUNDS, fail)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────


def test_message_names_the_path_of_the_key() -> None:
    document = parse_json(b'{"versions": [{}, {"downloads": {"os": 7}}]}', BOUNDS, fail)
    _, version = document.tables("versions")
    with pytest.raises(Failed, match=r"^`versions\[1\]\.downloads\.os`: expected text"):
        version.table("downloads").text("os")
    with pytest.raises(Failed, match=r"^`versions\[1\]\.downloads\.arch`: `arch` is missing"):
        version.table("downloads").text("arch")
    with pytest.raises(Failed, match=r"^`versions\[1\]\.a\.b\.c`: `c` is missing"):
        version.inner("a", "b").value("c")


def test_unknown_keys_and_choices_name_the_nearest() -> None:
    with pytest.raises(Failed, match=r"`colour`: unknown: colour; did you mean `color`\?"):
        table(colour=1).check_keys(("color", "size"))
    with pytest.raises(Failed, match=r"did you mean `connector`\?"):
        table(kind="conector").choice("kind", ("connector", "destination"))
    with pytest.raises(Failed, match=r"`size` is missing$"):
        table(colour=1).check_keys(("color", "size"), required=("size",))
    with pytest.raises(Failed, match=r"`color` is missing; `colour` is unknown, and near to it$"):
        table(colour=1).check_keys(("color", "size"), required=("color",))


def test_a_fault_of_yaml_is_told_where_it_is_and_not_in_whose_text() -> None:
    with pytest.raises(Failed, match=r"cannot start any token\n +in line 2, column 1") as caught:
        parse_yaml(b"limits:\n\tcpu: 1\n", BOUNDS, fail)
    assert "unicode string" not in str(caught.value)


GETTERS: dict[str, tuple[Callable[[Table], object], Any, tuple[Any, ...]]] = {
    "text": (lambda t: t.text("k", limit=3), "abc", (None, "", " ", "a\n", "abcd", 1, [], {})),
    "optional_text": (lambda t: t.optional_text("k"), "abc", (" ", "\0", 1, 0, False, [], {})),
    "prose": (lambda t: t.prose("k", limit=3), "a\nb", (None, "", " ", "abcd", 1, [], {})),
    "matching": (
        lambda t: t.matching("k", re.compile("a+"), "a"),
        "aa",
        (None, "", "ab", "a\n", 1, ["a"], {}),
    ),
    "texts": (lambda t: t.texts("k"), ["a"], (None, "a", [""], [1], [["a"]], {})),
    "flag": (lambda t: t.flag("k"), True, (None, 0, 1, "true", [], {})),
    "integer": (
        lambda t: t.integer("k", least=1, most=9),
        9,
        (None, 0, 10, True, 1.0, "1", [], {}),
    ),
    "choice": (lambda t: t.choice("k", ("a", "b")), "a", (None, "c", 1, [], ["a"], {"a": "b"})),
    "number_text": (lambda t: t.number_text("k"), "12", (None, 0, True, 1.0, "a", [], {})),
    "url": (lambda t: t.url("k"), "https://a.example", (None, "ftp://a", 1, [], {})),
    "day": (lambda t: t.day("k"), "2026-01-31", (None, "2026-02-30", 1, [], {})),
    "moment": (lambda t: t.moment("k"), "2026-01-31T00:00:00Z", (None, "x", 1, 1.5, [], {})),
    "table": (lambda t: t.table("k").values, {"a": 1}, (None, [], "a", 1)),
    "optional_table": (
        lambda t: (found := t.optional_table("k")) and found.values,
        {"a": 1},
        ([], "a", 1),
    ),
    "recorded": (lambda t: t.recorded("k", ""), "a\n", (None, 1, [], {})),
    "tables": (
        lambda t: [each.values for each in t.tables("k", most=1)],
        [{"a": 1}],
        (None, {}, [1], [[]], [{}, {}], "a"),
    ),
    "converted": (
        lambda t: str(t.converted("k", PluginId.parse)),
        "acme/box",
        (None, "acme", "../x", 1, ["acme/box"], {}),
    ),
}


@for_each(GETTERS)
def test_getter_takes_its_own_type_only(name: str) -> None:
    get, good, wrong = GETTERS[name]
    found = get(table(k=good))
    assert (list(found) if isinstance(found, tuple) else found) == good
    for value in wrong:
        with pytest.raises(Failed, match=r"^`k`: "):
            get(table(k=value))


def test_keys_of_a_later_release_are_ignored_in_records_only() -> None:
    inner = {"inner": {"known": 1, "later": 2}}
    Table(inner, fail, is_record=True).table("inner").check_keys(("known",))
    with pytest.raises(Failed, match=r"inner\.later"):
        Table(inner, fail).table("inner").check_keys(("known",))


def test_keys_that_may_be_missing() -> None:
    nothing = table()
    assert nothing.optional_text("k") == table(k=None).optional_text("k") == ""
    assert (nothing.texts("k"), nothing.flag("k")) == ((), False)
    assert nothing.optional_table("k") is table(k=None).optional_table("k") is None
    assert list(nothing.optional_tables("k")) == []
    assert nothing.recorded("k", "a") == "a"
    assert nothing.inner("a", "b").values == {}
    assert table(a="text").inner("a", "b").values == {}
    assert table(k=7).display("k", limit=9) == ""
    assert table(k="a\x1bb").display("k", limit=9) == "a\N{REPLACEMENT CHARACTER}b"
