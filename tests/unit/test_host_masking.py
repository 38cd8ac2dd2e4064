"""What a plugin says is shown without the secrets that it was given."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse

import pytest
from aperio_plugin.wire import connector_pb2, destination_pb2, remediation_pb2

from aperio_cli.host.process import masking
from aperio_cli.host.process.logs import (
    LogRecord,
    StderrReader,
    Tail,
    TextReader,
    parse_line,
)
from aperio_cli.host.process.masking import Masks, Referenced, mark
from tests.rows import each_row, for_each

SECRET = 'pa"ss/wörd+&<x>= 42\\'
MARK = "[masked: api_key]"


def masks(secret: str = SECRET, name: str = "api_key") -> Masks:
    made = Masks()
    made.learn({name: secret})
    return made


def encoded(before: str) -> str:
    return base64.b64encode(f"{before}{SECRET}:after".encode()).decode()


FORMS = {
    "plain": SECRET,
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "base64 without padding": base64.b64encode(SECRET.encode()).decode().rstrip("="),
    "in an address": urllib.parse.quote(SECRET, safe=""),
    "in a path": urllib.parse.quote(SECRET),
    "in a form": urllib.parse.urlencode({"k": SECRET})[2:],
    "in lower case hex": re.sub(
        "%..", lambda found: found[0].lower(), urllib.parse.quote(SECRET, safe="")
    ),
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON in UTF-8": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "JSON in JSON": json.dumps(json.dumps(SECRET)[1:-1])[1:-1],
    "JSON of Go": json.dumps(SECRET, ensure_ascii=False)[1:-1]
    .replace("<", "\\u003c")
    .replace(">", "\\u003e")
    .replace("&", "\\u0026"),
    "JSON of Jackson": re.sub(
        r"\\u....", lambda found: found[0][:2] + found[0][2:].upper(), json.dumps(SECRET)[1:-1]
    ),
    "JSON of .NET": "pa\\u0022ss/w\\u00F6rd\\u002B\\u0026\\u003Cx\\u003E= 42\\\\",
    "a header's quotes": SECRET.replace("\\", "\\\\").replace('"', '\\"'),
    "repr": repr(SECRET)[1:-1],
    "repr of bytes": repr(SECRET.encode())[2:-1],
}


@for_each(FORMS)
def test_a_secret_is_masked_in_each_form(form: str) -> None:
    text = f"before {FORMS[form]} after"

    shown = masks().text(text)

    assert MARK in shown
    assert FORMS[form] not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@each_row("before", ["", "a", "ab", "client:", "clientid:"])
def test_a_secret_in_the_middle_of_base64_is_masked_at_each_alignment(before: str) -> None:
    shown = masks().text(f"Basic {encoded(before)}!")

    assert MARK in shown
    left = shown.replace(MARK, "").removeprefix("Basic ").removesuffix("!")
    assert len(left) <= len(encoded(before)) - len(SECRET)


def test_what_holds_no_secret_is_not_touched() -> None:
    text = "pass word GET /v1?key=value cGFzc3dvcmQ= 42"

    assert masks().text(text) is text
    assert Masks().text(text) is text


@each_row("secret", ["", "a", "abc"])
def test_a_very_short_secret_is_not_masked(secret: str) -> None:
    assert masks(secret).text("a abc YWJj") == "a abc YWJj"
    assert masks("abcd").text("a abcd") == f"a {MARK}"


def test_secrets_that_overlap_leave_nothing() -> None:
    made = Masks()
    made.learn({"one": "abcdef", "two": "defghi", "three": "abcdefxyz"})

    assert made.text("-abcdefghi-") == "-[masked: one]-"
    assert made.text("-abcdefxyz-") == "-[masked: three]-"


def test_tokens_are_masked_also_once_they_were_renewed() -> None:
    made = Masks()
    for number in range(40):
        made.learn({"access token": f"token-number-{number:02}"})

    assert made.text("token-number-39 token-number-30") == " ".join([mark("access token")] * 2)


def test_a_secret_that_is_known_takes_no_more_work(monkeypatch: pytest.MonkeyPatch) -> None:
    forms = masking._forms
    sought: list[str] = []

    def count(name: str, secret: str) -> list[masking._Form]:
        sought.append(secret)
        return forms(name, secret)

    monkeypatch.setattr(masking, "_forms", count)
    made = Masks()
    for _ in range(3):
        made.learn({"key": "secret-one", "pin": "12"})
    assert sought == ["secret-one"]
    made.learn({"key": "secret-two"})
    assert sought == ["secret-one", "secret-one", "secret-two"]

    assert made.text("secret-one secret-two") == " ".join([mark("key")] * 2)


def test_a_value_that_was_referred_to_does_not_show_itself() -> None:
    assert "open" not in repr({"k": Referenced("open-sesame")})
    assert Referenced("open-sesame") == "open-sesame"


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_record_is_masked_in_all_of_its_parts() -> None:
    line = {
        "@message": f"got {SECRET}",
        "@module": SECRET,
        "@timestamp": "2026-01-05T09:00:00.000000Z",
        "url": "https://api.example.com/?k=" + urllib.parse.quote(SECRET, safe=""),
        "nested": {"header": f"Bearer {SECRET}"},
        f"key {SECRET}": 1,
    }

    shown = repr(parse_line(json.dumps(line).encode(), masks()))

    assert shown.count(MARK) == 5
    assert "wörd" not in shown
    assert "https://api.example.com/?k=" in shown


@each_row("step", [997, 65_536, 1_000_000])
@each_row("padding", [0, 65_530, 65_536, 131_060])
def test_a_printed_secret_that_is_cut_anywhere_is_masked(step: int, padding: int) -> None:
    records: list[LogRecord] = []
    secret = "s3cr3t-" * 5
    reader = TextReader(records.append, "stdio", "info", masks(secret))
    data = b"x" * padding + secret.encode() + b"y" * 70_000 + secret.encode() + b"\nnext"

    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    reader.end()

    said = "".join(record.message for record in records)
    assert "s3cr3t" not in said
    assert "next" in said


def test_a_secret_at_the_limit_of_a_shown_text_leaves_no_half() -> None:
    line = json.dumps({"@message": "x" * 8180 + "open-sesame-open-sesame"}).encode()

    assert "open" not in parse_line(line, masks("open-sesame-open-sesame")).message
    assert "open" in parse_line(line).message


def test_the_tail_begins_with_no_half_of_a_secret() -> None:
    tail = Tail(limit_bytes=100, masks=masks("open-sesame-open-sesame"))

    tail.feed(b"open-sesame-open-sesame" + b"z" * 90 + b"\nlast open-sesame-open-sesame\n")

    lines = tail.last_lines(8)
    assert "sesame" not in " ".join(lines)
    assert lines[-1] == f"last {MARK}"


@pytest.mark.parametrize("said", ["open-sesam", "open"])
def test_a_line_that_ends_with_its_process_leaves_no_half_of_a_secret(said: str) -> None:
    records: list[LogRecord] = []
    made = masks("open-sesame-open-sesame")
    printed = TextReader(records.append, "stdio", "info", made)
    logged = StderrReader(records.append, made)

    for reader in (printed, logged):
        reader.feed(f"it is open\nwith {said}".encode())
        reader.end()

    assert [record.message for record in records] == ["it is open", f"with {MARK}"] * 2
    assert logged.tail.last_lines(2) == ["it is open", f"with {MARK}"]


def test_a_traceback_on_stderr_is_masked() -> None:
    records: list[LogRecord] = []
    reader = StderrReader(records.append, masks("s\u20accret-key"))
    error = "UnicodeEncodeError: 'latin-1' codec can't encode '\u20ac': 'Bearer s\u20accret-key'"

    reader.feed(f"Traceback (most recent call last):\n{error}\n".encode())

    assert records[-1].message.endswith(f"'Bearer {MARK}'")
    assert reader.tail.last_lines(1)[0].endswith(f"'Bearer {MARK}'")


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


def test_every_text_of_an_answer_is_masked() -> None:
    answer = connector_pb2.TestResponse(
        diagnostics=[
            {
                "summary": f"no: {SECRET}",
                "detail": json.dumps({"k": SECRET}),
                "attribute": {"steps": [{"key": SECRET}, {"index": 1}]},
            }
        ],
        account={"name": SECRET, "login": "ada", f"of {SECRET}": "x"},
    )

    masks().message(answer)

    (said,) = answer.diagnostics
    assert said.summary == f"no: {MARK}"
    assert said.detail == json.dumps({"k": MARK})
    assert [step.WhichOneof("selector") for step in said.attribute.steps] == ["key", "index"]
    assert said.attribute.steps[0].key == MARK
    assert dict(answer.account) == {"name": MARK, "login": "ada", f"of {MARK}": "x"}


@each_row("left", [4, 12, 22])
def test_a_text_that_was_cut_ends_with_no_half_of_a_secret(left: int) -> None:
    made = masks("open-sesame-open-sesame")

    assert made.cut("x" * 400 + "open-sesame-open-sesame"[:left]) == "x" * 400 + MARK
    assert made.cut("x" * 400 + "open-sesame-open-sesame") == "x" * 400 + MARK
    assert made.cut("the door is open") == "the door is open"
    assert made.cut("x" * 400 + "ope") == "x" * 400 + "ope"


def test_changes_are_masked_and_stay_json() -> None:
    change = remediation_pb2.ExecuteResponse.Change(
        before_json=json.dumps([SECRET, 1]).encode(), after_json=b"123456"
    )
    made = masks()
    made.learn({"pin": "2345"})

    made.message(answer := remediation_pb2.ExecuteResponse(changes=[change]))

    assert json.loads(answer.changes[0].before_json) == [MARK, 1]
    assert json.loads(answer.changes[0].after_json) == "1[masked: pin]6"


def test_the_id_of_a_result_is_not_touched() -> None:
    answer = destination_pb2.DeliverResponse(
        results=[{"id": "sesame", "diagnostic": {"summary": "sesame", "code": "no"}}]
    )

    masks("sesame").message(answer)

    assert answer.results[0].id == "sesame"
    assert answer.results[0].diagnostic.summary == MARK
