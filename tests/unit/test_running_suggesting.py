"""Suggesting: what a plugin did for weeks, as permissions; from the host's records alone."""

from __future__ import annotations

import json
from typing import Any

from aperio_cli.host.egress import Decision, Verdict
from aperio_cli.host.egress.decisions import Reason
from aperio_cli.host.process.logs import LogRecord
from aperio_cli.running.suggesting import suggest
from tests.builders import manifest
from tests.rows import each_row

MANIFEST = manifest(permissions={"egress": ["api.box.com:443", "upload.box.com:443"]})


def record(stream: str = "host", **changes: Any) -> LogRecord:
    stated: dict[str, Any] = {"host": "api.box.com", "port": 443} | changes
    decision = Decision("acme/box", "org_1", "2026-01-01T00:00:00Z", "proxy", **stated)
    return LogRecord("debug", f"egress {json.dumps(decision.to_json())}", stream)


USED = record(rule="api.box.com:443 (manifest)")
REFUSED = record(host="evil.example", verdict=Verdict.REFUSED, reason=Reason.NOT_GRANTED)


def test_connections_that_were_made_and_refused_are_proposed_with_evidence() -> None:
    proposal, refused = suggest(MANIFEST, [USED, REFUSED, USED, REFUSED], 100 * 1024**2)

    assert refused == ("evil.example:443",)
    document = proposal.to_json()
    assert document["permissions"]["egress"] == ["api.box.com:443", "evil.example:443"]
    assert "api.box.com:443: 2 connections" in document["evidence"]
    assert "evil.example:443: 2 connections, not in the manifest" in document["evidence"]
    assert "upload.box.com:443: asked for, and not used" in document["evidence"]
    assert document["limits"]["memory"] == "160MiB"


def test_what_was_refused_for_another_reason_is_told_and_not_proposed() -> None:
    hidden = record(verdict=Verdict.REFUSED, reason=Reason.SNI_ENCRYPTED)
    proposal, refused = suggest(MANIFEST, [hidden], None)
    assert refused == ()
    assert proposal.to_json()["permissions"]["egress"] == []
    assert any("hides for which host" in note for note in proposal.notes)


@each_row("stream", ["stderr", "stdout", "stdio"])
def test_what_a_plugin_writes_cannot_pass_for_a_decision_of_the_host(stream: str) -> None:
    forged = record(stream, host="evil.example", verdict=Verdict.REFUSED, reason=Reason.NOT_GRANTED)
    proposal, refused = suggest(MANIFEST, [forged], None)
    assert (refused, proposal.egress) == ((), ())
    assert suggest(MANIFEST, [REFUSED], None)[1] == ("evil.example:443",)


@each_row("message", ["egress {", "egress {}", 'egress {"port": "x"}', "egress refused: x:443", ""])
def test_a_record_that_is_cut_or_about_something_else_is_passed_over(message: str) -> None:
    assert suggest(MANIFEST, [LogRecord("debug", message, "host")], None)[1] == ()
