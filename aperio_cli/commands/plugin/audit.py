"""`aperio plugin audit`: what is known against what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.errors import DONE, NOT_DONE
from aperio_cli.output import Report
from aperio_cli.text import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.receipt import Receipt
    from aperio_cli.models.registry.plugin_file import VersionStatus
    from aperio_cli.registry.refreshing import Refreshed

_SHOWN = 5


@command(
    plugin,
    "plugin",
    "audit",
    examples=["aperio plugin audit --registry ./mirror"],
)
def plugin_audit(context: Context) -> Report:
    """Look for known faults of what is installed, in the registries' advisories (OSV).

    Exit status 1 when there are any. Every installed version is looked at, and what registries say
    against it (revoked, yanked, deprecated) is a finding, too.
    """
    from aperio_cli.registry.refreshing import find_faults, refresh

    inventory = context.store.inventory()
    receipts = inventory.receipts
    for problem in inventory.problems:  # nobody can say what those are; they are not started
        context.output.warn(f"not looked at: {problem.what}")
    with context.output.working("asking the registries"):
        asked = refresh(context.registry, dict.fromkeys(receipt.id for receipt in receipts))
        versions = [(receipt.id, receipt.version) for receipt in receipts]
        found = find_faults(context.registry, versions)
    known = context.known_versions
    against = [
        {"id": str(receipt.id), "version": receipt.version, **status.report}
        for receipt in receipts
        if (status := known.status(receipt.id, receipt.version) or _said_now(receipt, asked))
    ]
    data = {
        "plugins": len(receipts),
        "advisories": [finding.to_json() for finding in found],
        "withdrawn": against,
        "unknown": [str(each) for each in asked.unknown],
    }
    outcome = NOT_DONE if found or against else DONE
    return Report(data, "\n".join(_lines(data)), exit_status=outcome)


def _said_now(receipt: Receipt, asked: Refreshed) -> VersionStatus | None:
    """Return what was heard just now, also from a registry whose word is not remembered."""
    listing = asked.listings.get(receipt.id)
    candidates = listing.candidates if listing else ()
    return next((each.status for each in candidates if each.version == receipt.version), None)


def _lines(data: dict[str, Any]) -> Iterator[str]:
    for found in data["advisories"]:
        summary = one_line(found["summary"])
        yield f"{found['id']} {found['version']}: {found['advisory']} {summary}".rstrip()
        if found["fixed_in"]:
            yield f"  fixed in {one_line(', '.join(found['fixed_in']))}"
        yield from (f"  {one_line(reference)}" for reference in found["references"][:_SHOWN])
    for found in data["withdrawn"]:
        instead = f"; use {found['replacement']}" if found["replacement"] else ""
        yield f"{found['id']} {found['version']}: {found['state']}: {found['reason']}{instead}"
    for plugin_id in data["unknown"]:
        yield f"{plugin_id}: no registry has it, so nobody says anything of it"
    count = len(data["advisories"]) + len(data["withdrawn"])
    faults = counted(count, "known fault") if count else "no known faults"
    yield f"{faults} in {counted(data['plugins'], 'version')}"
