"""Checks of a destination: an answer for every envelope, and repeats that do no harm."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.accepting.checks import Check
from aperio_cli.accepting.verdicts import expect
from aperio_cli.host.answers import word
from aperio_cli.host.calls.addressing import Address
from aperio_cli.host.calls.destination import DEFAULT_BATCH
from aperio_cli.host.calls.envelopes import KINDS, Outbound
from aperio_cli.host.calls.invocation import DEFAULT_INTEGRATION, DEFAULT_ORGANIZATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.accepting.bench import Bench

PRODUCT_KEYS: Final = (
    "schema_version",
    "source",
    "producer",
    "destination_id",
    "organization_id",
    "kind",
    "occurred_at",
    "record",
)
"""The keys of the product's own envelope, in its order."""

_EVENT_TYPE: Final = "aperio.acceptance_test"
_MOST_SHOWN: Final = 3


def sample(bench: Bench, *, is_bare: bool = False) -> Outbound:
    """Return a new envelope of the first stream that the destination takes.

    It says that it is a test. Its delivery key is not the id in it.

    Args:
        bench: of the destination.
        is_bare: with the eight keys of the product's own envelope only, so without an id.
    """
    destination = bench.declaration.destination
    words = [word(destination.Stream, stream) for stream in destination.streams]
    kind = next((name for name in words if name in KINDS), "event")
    identity = secrets.token_hex(32)
    document = {
        "id": identity,
        "schema_version": f"aperio.{kind}.v1",
        "source": "aperio",
        "producer": bench.program.producer,
        "destination_id": DEFAULT_INTEGRATION,
        "organization_id": DEFAULT_ORGANIZATION,
        "integration_id": DEFAULT_INTEGRATION,
        "provider": "APERIO",
        "kind": kind,
        "event_type": _EVENT_TYPE,
        "actor": None,
        "occurred_at": clock.timestamp(),
        "source_event_id": identity,
        "record": _record(kind, identity),
    }
    if is_bare:
        document = {key: document[key] for key in PRODUCT_KEYS}
        identity = ""
    data = json.dumps(document, separators=(",", ":")).encode()
    made = Outbound(identity, kind, data, DEFAULT_ORGANIZATION)
    return Address(DEFAULT_ORGANIZATION, DEFAULT_INTEGRATION).addressed(made)


def _record(kind: str, identity: str) -> dict[str, Any]:
    note = "written by `aperio plugin test`"
    if kind != "finding":
        return {"id": identity, "eventType": _EVENT_TYPE, "provider": "APERIO", "note": note}
    return {
        "schemaVersion": "aperio.finding.v1",
        "findingId": f"fnd_{identity[:24]}",
        "dedupeKey": identity,
        "sourceEventId": identity,
        "status": "OPEN",
        "ruleId": _EVENT_TYPE,
        "title": "A test",
        "description": note,
        "severity": "INFO",
        "riskScore": 1,
    }


async def _deliver(bench: Bench, envelopes: Sequence[Outbound]) -> dict[str, Any]:
    """Return the results by id.

    Raises:
        CheckFailed: an envelope has no result, or several, or one that says nothing.
        PluginFault: the call failed.
    """
    invocation = await bench.invocation()
    answer = await (await bench.plugin()).destination.deliver(invocation, envelopes)
    sent, received = {item.key for item in envelopes}, Counter(item.id for item in answer.results)
    missing = sent - set(received)
    expect(not missing, f"{len(missing)} of {len(sent)} envelopes have no result")
    odd = [key for key, count in received.items() if count > 1 or key not in sent]
    expect(not odd, f"{len(odd)} ids have two results, or were never sent")
    said = {"accepted", "rejected", "retry"}
    mute = [r for r in answer.results if word(r.Status, r.status) not in said]
    expect(not mute, f"{len(mute)} results say neither accepted, rejected nor retry")
    return {item.id: item for item in answer.results}


def _expect_accepted(results: dict[str, Any], when: str) -> None:
    refused = [item for item in results.values() if item.status != item.STATUS_ACCEPTED]
    said = "; ".join(item.diagnostic.summary for item in refused[:_MOST_SHOWN])
    expect(not refused, f"{when}, {len(refused)} of {len(results)} were not accepted: {said}")


async def _full_batch(bench: Bench) -> str:
    count = min(bench.declaration.destination.max_batch_envelopes or DEFAULT_BATCH, DEFAULT_BATCH)
    results = await _deliver(bench, [sample(bench) for _ in range(count)])
    _expect_accepted(results, f"of a batch of {count}")
    return f"a batch of {count}: one result each, all accepted"


async def _repeat(bench: Bench) -> str:
    envelopes = [sample(bench), sample(bench)]
    _expect_accepted(await _deliver(bench, envelopes), "at first")
    _expect_accepted(await _deliver(bench, envelopes), "the second time")
    return "two envelopes were accepted, and accepted again"


async def _product_envelopes(bench: Bench) -> str:
    envelopes = [sample(bench, is_bare=True) for _ in range(2)]
    _expect_accepted(await _deliver(bench, envelopes), "without an id in them")
    return "two envelopes with the product's eight keys were accepted"


_DESTINATION: Final = frozenset({"destination"})

DELIVERING: Final = (
    Check(
        "results",
        "answers for every envelope of a full batch",
        "give one result for each id; correct the settings if the service refuses",
        _full_batch,
        _DESTINATION,
        needs_settings=True,
        after="fields",
    ),
    Check(
        "repeat",
        "accepts again what it accepted",
        "answer ACCEPTED for an id that was delivered before",
        _repeat,
        _DESTINATION,
        needs_settings=True,
        after="fields",
    ),
    Check(
        "product-envelopes",
        "takes the product's envelopes, which have no id",
        "use the id that an envelope is handed over with, not one inside of it",
        _product_envelopes,
        _DESTINATION,
        needs_settings=True,
        after="results",
    ),
)
