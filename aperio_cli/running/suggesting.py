"""Suggesting: permissions and limits for a plugin that has been at work, from what was seen of it.

The host writes each decision about a connection beside the plugin's log, by itself: what a plugin
writes cannot pass for one, nor push one out. So what it did for weeks is known without having let
anything through that is not granted.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from aperio_cli.host.egress import Decision, Reason, Verdict
from aperio_cli.host.egress.decisions import LINE_BEGINS
from aperio_cli.host.sandbox.interface import Counters
from aperio_cli.running.learning import Learned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.running.learning import Proposal

_REASONS: Final = {reason.code: reason for reason in Reason}


def suggest(
    manifest: Manifest, records: Iterable[LogRecord], peak_memory_bytes: int | None
) -> tuple[Proposal, tuple[str, ...]]:
    """Return what a plugin's manifest should state, and the places that it was refused.

    Args:
        manifest: as it is granted.
        records: of the plugin's log.
        peak_memory_bytes: the most memory that was seen; None: nobody counted.
    """
    learned = Learned()
    refused: dict[str, None] = {}
    for record in records:
        if decision := _decision(record):
            if decision.reason is Reason.NOT_GRANTED and decision.verdict is Verdict.REFUSED:
                refused[decision.place] = None
                decision.verdict = Verdict.REPORTED  # as if it had been let through to learn
            learned.record(decision)
    learned.count(Counters(memory_peak_bytes=peak_memory_bytes))
    return learned.proposal(manifest), tuple(refused)


def _decision(record: LogRecord) -> Decision | None:
    """Return the decision that a record of the host's own is about; None: it is about another."""
    if record.stream != "host" or not record.message.startswith(LINE_BEGINS):
        return None
    try:
        stated = json.loads(record.message.removeprefix("egress "))
        return Decision(
            plugin=str(stated["plugin"]),
            organization=str(stated["organization"]),
            at=str(stated["at"]),
            by=str(stated["by"]),
            host=str(stated["host"]),
            port=int(stated["port"]),
            rule=str(stated["rule"]),
            verdict=Verdict(stated["verdict"]),
            reason=_REASONS.get(stated["reason"]),
        )
    except (ValueError, KeyError, TypeError):  # cut, or of another release
        return None
