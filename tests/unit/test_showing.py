"""What `plugin run` shows people of a plugin's words, and what it does not show twice."""

from __future__ import annotations

import io
import json
from typing import Any

from aperio_plugin.wire import capabilities_pb2, common_pb2, connector_pb2

from aperio_cli.commands.plugin.showing import declaration, log_sink
from aperio_cli.errors.running import PluginExitedEarly
from aperio_cli.host.process.logs import LogRecord
from aperio_cli.output import Output

Field = common_pb2.ConfigField
TRACEBACK = ["Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: gone"]


def lines(text: str) -> list[str]:
    """The lines, without the padding between cells."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_declaration_shows_options_defaults_and_helpers() -> None:
    fields = [
        Field(
            key="region", label="Region", helper="Where the tenant is.", options=["eu", "us"],
            type=Field.TYPE_SELECT, default_json='"eu"', required=True,
        ),
        Field(
            key="api_key", label="Key", placeholder="k-123", type=Field.TYPE_PASSWORD,
            secret=True, host_only=True,
        ),
        Field(key="limit", type=Field.TYPE_NUMBER, default_json="100"),
    ]  # fmt: skip
    answer = connector_pb2.SchemaResponse(provider="BOX", fields=fields, event_types=["box.a"])
    shown = lines(declaration(answer).text)
    assert shown[5:] == [
        "setting type default",
        'region select: eu, us "eu" required Region: Where the tenant is',
        "api_key password secret host-only Key: such as k-123",
        "limit number 100",
        "",
        "event types",
        "box.a",
    ]


def test_capabilities_show_actions_with_their_parameters() -> None:
    action = capabilities_pb2.RemediationCapabilities.Action(
        key="box.unshare", description="Ends a link.", target_types=["folder"],
        supports_dry_run=True,
        parameters=[Field(key="notify", type=Field.TYPE_BOOLEAN, default_json="false")],
    )  # fmt: skip
    kind = capabilities_pb2.RemediationCapabilities(actions=[action])
    shown = lines(declaration(capabilities_pb2.CapabilitiesResponse(remediation=kind)).text)
    assert shown[-6:] == [
        "action box.unshare", "Ends a link.", "target folder", "has a dry run",
        "parameter type default", "notify boolean false",
    ]  # fmt: skip


def test_capabilities_show_streams() -> None:
    streams: Any = [1, 2, 77]  # the last of a newer version
    kind = capabilities_pb2.DestinationCapabilities(streams=streams)
    shown = lines(declaration(capabilities_pb2.CapabilitiesResponse(destination=kind)).text)
    assert shown[-4:] == ["streams", "finding", "event", "unknown 77"]


def failed(*, json_mode: bool = False, quiet: bool = False, level: str = "error") -> Output:
    """An output that was told of a plugin that wrote a traceback and ended."""
    output = Output(json_mode, quiet, stdout=io.TextIOWrapper(io.BytesIO()), stderr=io.StringIO())
    sink = log_sink(output)
    for line in TRACEBACK:
        sink(LogRecord(level, line, "stderr"))
    why = "\n".join(["exit status 1", "its last lines on stderr:", *(f"  {x}" for x in TRACEBACK)])
    output.fail(["plugin", "run"], PluginExitedEarly("`acme/box` did not start", why=why))
    return output


def test_a_traceback_that_was_logged_is_not_printed_once_more() -> None:
    stderr = failed().stderr
    assert isinstance(stderr, io.StringIO)
    told = stderr.getvalue()
    assert told.count("Traceback") == told.count("x.py") == 1
    assert told.count("ValueError: gone") == 2  # the last line says most


def test_a_traceback_that_nobody_was_shown_is_quoted() -> None:
    stderr = failed(quiet=True, level="info").stderr
    assert isinstance(stderr, io.StringIO)
    assert stderr.getvalue().count("Traceback") == 1


def test_scripts_get_all_of_the_evidence() -> None:
    output = failed(json_mode=True)
    output.stdout.seek(0)
    [error] = json.loads(output.stdout.read())["errors"]
    assert "Traceback" in error["why"]
