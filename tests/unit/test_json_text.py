"""Texts of JSON, checked by msgspec and by Python's own reader: the same answers."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.calls import json_text
from aperio_cli.host.calls.json_text import one_line_object
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED = [
    b"{}",
    b' {"a" : [ ] , "b":{} }\r\n\t ',
    b'{"a":1,"a":2}',
    b'{"":"","a":[null,true,false,{}]}',
    b'{"a":0.10,"b":-0,"c":1E+5,"d":-0.0e-0,"e":1e400}',
    b'{"a":18446744073709551616,"b":-9223372036854775809,"c":' + b"9" * 5000 + b"}",
    b'{"a":"\\u0000\\u001f\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u00E9"}',
    b'{"a":"\\ud83d\\ude00"}',
    b'{"a":"\\ud800","\\udc00":1,"b":"\\ude00\\ud83d"}',
    '{"é☃😀":"\x7f\x85\u2028\ufeff\U0010ffff"}'.encode(),
    b'{"a":' * 511 + b"{}" + b"}" * 511,
    b'{"a":' + b"[" * 511 + b"]" * 511 + b"}",
    b'{"a":"' + b"[{" * 600 + b'"}',
]
"""Each passes as it is, line ends and C1 controls aside."""

SAYS_COMMA = sys.version_info >= (3, 13)
COMMA = "Illegal trailing comma"
REFUSED = {
    b"": "Expecting value",
    b"  ": "Expecting value",
    b"null": "JSON that is no object",
    b"[{}]": "JSON that is no object",
    b'"{}"': "JSON that is no object",
    b'{"a":NaN}': "NaN is not JSON",
    b'{"a":Infinity}': "Infinity is not JSON",
    b'{"a":-Infinity}': "-Infinity is not JSON",
    b'{"a":nan}': "Expecting value",
    b'{"a":tru}': "Expecting value",
    b'{"a":01}': "Expecting ',' delimiter",
    b'{"a":1.}': "Expecting ',' delimiter",
    b'{"a":.5}': "Expecting value",
    b'{"a":+1}': "Expecting value",
    b'{"a":1e}': "Expecting ',' delimiter",
    b'{"a":0x1}': "Expecting ',' delimiter",
    b'{"a":1,}': COMMA if SAYS_COMMA else "Expecting property name",
    b'{"a":[1,]}': COMMA if SAYS_COMMA else "Expecting value",
    b"{'a':1}": "Expecting property name",
    b"{a:1}": "Expecting property name",
    b"{1:1}": "Expecting property name",
    b'{"a"}': "Expecting ':' delimiter",
    b'{"a":1 "b":2}': "Expecting ',' delimiter",
    b'{"a":1': "Expecting ',' delimiter",
    b'{"a":"x': "Unterminated string",
    b'{"a":"\\': "Unterminated string",
    b'{"a":"\\x41"}': "Invalid \\escape",
    b'{"a":"\\u12g4"}': "Invalid \\uXXXX escape",
    b'{"a":"\\u12"}': "Invalid \\uXXXX escape",
    b'{"a":"raw\nline end"}': "Invalid control character",
    b'{"a":"\x00"}': "Invalid control character",
    b'{"a":"\x1f"}': "Invalid control character",
    b'{"a":1} {"b":2}': "Extra data",
    b'{"a":1}}': "Extra data",
    b'{"a":1}\x00': "Extra data",
    b'{"a":1}//': "Extra data",
    b'{"a":1/**/}': "Expecting ',' delimiter",
    b"{\x0b}": "Expecting property name",
    b"\xef\xbb\xbf{}": "Expecting value",
    b'{"a":\xef\xbb\xbf1}': "Expecting value",
    b'{"a":"\xff"}': "can't decode byte 0xff",
    b'{"a":"\xc0\x80"}': "can't decode byte 0xc0",
    b'{"a":"\xed\xa0\x80"}': "can't decode byte 0xed",
    b'{"a":"\xf4\x90\x80\x80"}': "can't decode byte 0xf4",
    '{"a":1}'.encode("utf-16-le"): "Expecting property name",
    b'{"a":' * 512 + b"{}" + b"}" * 512: "nested too deeply: 512",
    b'{"a":' * 5000 + b"{}" + b"}" * 5000: "nested too deeply: 512",
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}": "nested too deeply: 512",
    b'{"a":' + b"[" * 100_000: "nested too deeply: 512",
}
"""What is said of each."""

PIECES = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"\\udc00", b"\\x"),
    *(b"0", b"01", b"-", b".", b"1.", b".5", b"e", b"1e", b"+", b"true", b"nul", b"NaN"),
    *(b" ", b"\t", b"\n", b"\r", b"\x0b", b"\x00", b"\x1f", b"\x7f", b"\x80", b"\xc3\xa9"),
    *(b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc0\x80", b"\xf4\x90\x80\x80", b"//", b"/*", b"'"),
)
MUTATIONS = 4000


@pytest.fixture(params=["msgspec", "Python's own"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two readers."""
    if request.param != "msgspec":
        monkeypatch.setattr(json_text, "_skimmer", lambda: None)


def said_of(data: bytes) -> str:
    """What comes back of a text, or what is said of it."""
    try:
        return one_line_object(data).decode()
    except ValueError as error:
        return f"refused: {error}"


@pytest.mark.usefixtures("reader")
@each_row("data", ACCEPTED, ids=lambda data: repr(data[:30]))
def test_an_object_passes_with_its_own_digits_and_escapes(data: bytes) -> None:
    expected = data.decode().replace("\r", " ").replace("\n", " ").replace("\x85", "\\u0085")
    assert one_line_object(data).decode() == expected


@pytest.mark.usefixtures("reader")
@each_row(("data", "why"), REFUSED.items(), ids=lambda one: repr(one[:30]))
def test_what_is_no_object_is_refused_in_the_same_words(data: bytes, why: str) -> None:
    said = said_of(data)
    assert said.startswith("refused: ")
    assert why in said


def test_msgspec_alone_accepts_a_usual_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_is_object", pytest.fail)
    assert one_line_object(b'{"a":0.10}') == b'{"a":0.10}'


def mutations() -> Iterator[bytes]:
    """Texts that are nearly JSON."""
    chance = random.Random(20)  # noqa: S311 - no secret
    while True:
        text = bytearray(chance.choice(ACCEPTED[:10]))
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.choice((0, 0, 1, 3))] = chance.choice((b"", *PIECES))
        yield bytes(text)


def test_both_readers_agree_about_what_is_nearly_json(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for text, _ in zip(mutations(), range(MUTATIONS), strict=False)]
    quick = [said_of(text) for text in texts]
    monkeypatch.setattr(json_text, "_skimmer", lambda: None)
    assert [said_of(text) for text in texts] == quick
    refused = sum(words.startswith("refused: ") for words in quick)
    assert MUTATIONS // 10 < refused < MUTATIONS * 95 // 100  # both kinds are among them
