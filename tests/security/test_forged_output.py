"""Text from a plugin or a service that tries to pass for ours, or to steer a terminal."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from aperio_cli.commands.plugin import showing
from aperio_cli.errors.usage import NotFound
from aperio_cli.host.process.logs import LogRecord, parse_line
from aperio_cli.output import Output, Report, format_error, pairs, table
from tests.rows import each_row

if TYPE_CHECKING:
    import pytest

FORGED = "fine\nerror: `acme/box` was not checked"


@each_row("level", ["debug", "info", "warn", "error"])
def test_further_lines_of_a_log_message_cannot_pass_for_ours(level: str) -> None:
    said = io.StringIO()
    line = json.dumps({"@message": FORGED, "@level": level, "key": "a\nnot enforced: nothing"})

    showing.log_sink(Output(verbose=True, stderr=said))(parse_line(line.encode()))

    first, *others = said.getvalue().splitlines()
    assert first.startswith(level)
    assert len(others) == 2
    assert all(other.startswith("      ") for other in others)


def test_the_hosts_own_record_is_shown_as_it_is() -> None:
    said = io.StringIO()

    showing.log_sink(Output(stderr=said))(LogRecord("warn", "not enforced: cpu", "host"))

    assert said.getvalue() == "not enforced: cpu\n"


def test_the_first_part_of_an_error_is_one_line() -> None:
    shown = format_error(NotFound(f"`box` could not do Sync: {FORGED}"))

    assert [line for line in shown.splitlines() if line.startswith("error:")] == [
        "error: `box` could not do Sync: fine error: `acme/box` was not checked"
    ]


def test_a_cell_of_a_table_is_one_line() -> None:
    assert len(table(("setting", "helper"), [("key", FORGED)]).splitlines()) == 2
    assert len(pairs([("name", FORGED), (FORGED, "value")]).splitlines()) == 2


def test_a_json_report_has_no_control_character(capfd: pytest.CaptureFixture[str]) -> None:
    Output(json_mode=True).show(("plugin", "run"), Report({"name": "\x9b2J"}))

    out = capfd.readouterr().out
    assert "\x9b" not in out
    assert json.loads(out)["data"] == {"name": "\x9b2J"}
