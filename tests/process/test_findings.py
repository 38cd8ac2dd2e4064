"""Syncs with findings and audit log entries: real plugin processes, a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.calls.letters import DeadLetter
from aperio_cli.host.calls.sync import CheckpointStored, EventDoubted

from .conftest import PLUGINS, Host
from .test_sync import Sink, state, sync

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aperio_cli.data.state import StateDatabase
    from aperio_cli.host.calls.envelopes import Outbound

pytestmark = pytest.mark.usefixtures("forked_plugins")


__all__ = ["state"]


def test_findings_entries_events_and_checkpoints_keep_their_order(
    host: Host, state: StateDatabase
) -> None:
    sink = Sink()

    summary, notes = sync(host, "finds", state, sink, organization_id="org_1")

    kinds = [(each["kind"], each["source_event_id"]) for each in sink.envelopes()]
    assert kinds == [
        ("event", "e0"),
        ("event", "e1"),
        ("finding", "e0"),
        ("audit_log", "a0"),
        ("audit_log", "a1"),
        ("finding", "e0"),
        ("event", "e2"),
        ("finding", "e2"),
    ]
    assert (summary.events, summary.findings, summary.audit_log) == (3, 3, 2)
    assert (summary.dead_letters, summary.checkpoints) == (1, 2)
    letter, first, doubt, second = notes
    assert isinstance(letter, DeadLetter)
    assert "finding 'ms365.open_link' of 'odd': expected severity" in str(letter)
    assert first == CheckpointStored(2)
    assert doubt == EventDoubted(
        "e0", "rule_id ms365.unheard_of: no check of the schema has this key"
    )
    assert second == CheckpointStored(3)
    opened, _, resolved = (each for each in sink.envelopes() if each["kind"] == "finding")
    assert opened["record"]["dedupeKey"] == resolved["record"]["dedupeKey"]
    assert opened["id"] != resolved["id"]
    assert (opened["organization_id"], opened["producer"]) == ("org_1", "acme/box@1.2.0")


def test_a_repeat_carries_the_same_ids(host: Host, state: StateDatabase) -> None:
    first, again = Sink(), Sink()

    sync(host, "finds", state, first)
    sync(host, "finds", state, again, full=True)

    assert first.lines == again.lines


def test_far_too_many_findings_in_one_message_are_taken_bit_by_bit(
    host: Host, state: StateDatabase, tmp_path: Path
) -> None:
    script = tmp_path / "plugin.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r})\n"
        "import bare, finds\n"
        "from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2\n"
        "def sync(request, context):\n"
        "    made = finds.findings()\n"
        "    for n in range(3000):\n"
        "        made.findings.findings.add(source_event_id=str(n))\n"
        "    yield made\n"
        "    yield bare.batch(0, 1)\n"
        "    yield finds.findings(*[finds.finding(target=str(n)) for n in range(1000)])\n"
        "bare.serve({'Sync': bare.stream(sync, connector_pb2.SyncRequest)})\n"
    )
    sizes: list[int] = []

    async def accept(envelopes: Sequence[Outbound]) -> None:
        sizes.append(len(envelopes))

    summary, _ = sync(host, script, state, accept)

    assert (summary.events, summary.findings, summary.dead_letters) == (1, 1000, 3000)
    assert sizes == [1, 256, 256, 256, 232]
