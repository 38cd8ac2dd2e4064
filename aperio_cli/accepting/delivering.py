"""Checks of a destination: an answer for every envelope, and repeats that do no harm."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.accepting.checks import Check
from aperio_cli.accepting.verdicts import CheckFailed, CheckSkipped, expect
from aperio_cli.host.answers import word
from aperio_cli.host.calls.addressing import Address
from aperio_cli.host.calls.destination import DEFAULT_BATCH
from aperio_cli.host.calls.envelopes import KINDS, Outbound
from aperio_cli.host.calls.invocation import DEFAULT_INTEGRATION, DEFAULT_ORGANIZATION
from aperio_cli.host.calls.keeping import FEATURE, CheckpointToStore, SyncSource, position_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.accepting.bench import Bench
    from aperio_cli.host.calls.keeping import Position

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


async def _deliver(
    bench: Bench, envelopes: Sequence[Outbound], checkpoint: CheckpointToStore | None = None
) -> dict[str, Any]:
    """Return the results by id.

    Raises:
        CheckFailed: an envelope has no result, or several, or one that says nothing.
        PluginFault: the call failed.
    """
    return _results(envelopes, await _answer(bench, envelopes, checkpoint))


async def _answer(
    bench: Bench, envelopes: Sequence[Outbound], checkpoint: CheckpointToStore | None
) -> Any:
    """Return the answer of a call of Deliver.

    Raises:
        PluginFault: the call failed.
    """
    invocation = await bench.invocation()
    return await (await bench.plugin()).destination.deliver(invocation, envelopes, checkpoint)


def _results(envelopes: Sequence[Outbound], answer: Any) -> dict[str, Any]:
    """Return the results of an answer by id.

    Raises:
        CheckFailed: as `_deliver`.
    """
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


async def _position(bench: Bench, source: SyncSource) -> Position:
    """Return where the destination is in a sync.

    Raises:
        CheckFailed: what it says is out of bounds.
        PluginFault: the call failed.
    """
    invocation = await bench.invocation()
    answer = await (await bench.plugin()).destination.position(invocation, source)
    try:
        return position_of(answer)
    except ValueError as error:
        raise CheckFailed(f"Position: {error}") from error


async def _store(
    bench: Bench, envelopes: Sequence[Outbound], checkpoint: CheckpointToStore
) -> tuple[str, bool]:
    """Return what became of a checkpoint in a word, and whether every envelope was accepted.

    Raises:
        CheckFailed: as `_deliver`.
        PluginFault: the call failed.
    """
    answer = await _answer(bench, envelopes, checkpoint)
    results = _results(envelopes, answer)
    is_accepted = all(item.status == item.STATUS_ACCEPTED for item in results.values())
    return word(answer.CheckpointOutcome, answer.checkpoint_outcome), is_accepted


async def _require_stored(bench: Bench, checkpoint: CheckpointToStore, when: str) -> None:
    """Require that a checkpoint is the one that the destination has.

    Raises:
        CheckFailed: it has another, or none.
        PluginFault: the call failed.
    """
    found = (await _position(bench, checkpoint.source)).checkpoint
    expect(found, f"{when}, Position has no checkpoint")
    assert found  # noqa: S101 - expect has seen to it
    expect(found.cursor == checkpoint.cursor, f"{when}, Position has another cursor")
    of_it = f"expected {checkpoint.covered}, found {found.covered}"
    expect(found.covered == checkpoint.covered, f"{when}, Position covers something else: {of_it}")


async def _checkpoints(bench: Bench) -> str:
    if FEATURE not in bench.declaration.interface.features:
        raise CheckSkipped(f"it does not name the feature `{FEATURE}`")
    source = SyncSource(f"aperio/acceptance-test {secrets.token_hex(8)}")
    found = await _position(bench, source)
    if not found.kept:
        raise CheckSkipped("with these settings it keeps no checkpoints")
    expect(not found.checkpoint, "Position has a checkpoint of a sync that there never was")
    covered = {"": "2026-01-05T09:00:00Z", "logs": "2026-01-05T09:00:00.500Z"}
    first = CheckpointToStore(source, secrets.token_bytes(8), b"", covered, "1.0.0")
    envelopes = [sample(bench), sample(bench)]
    for when in ("at first", "the second time"):  # as when the first answer was lost
        outcome, is_accepted = await _store(bench, envelopes, first)
        expect(is_accepted, f"{when}, envelopes with a checkpoint were not all accepted")
        expect(outcome == "stored", f"{when}, a checkpoint after accepted envelopes: {outcome}")
        await _require_stored(bench, first, when)
    other = await _position(bench, replace(source, choice="logs"))
    expect(not other.checkpoint, "another choice of streams has the same checkpoint")
    stale = replace(first, cursor=secrets.token_bytes(8))
    outcome, _ = await _store(bench, [], stale)
    expect(outcome == "moved", f"a checkpoint that replaces what is not there: {outcome}")
    await _require_stored(bench, first, "after one that may not replace it")
    alone = replace(first, cursor=secrets.token_bytes(8), replaces=first.cursor, covered={})
    outcome, _ = await _store(bench, [], alone)
    expect(outcome == "stored", f"a checkpoint without envelopes: {outcome}")
    await _require_stored(bench, alone, "after one without envelopes")
    return await _bad_envelope(bench, alone)


async def _bad_envelope(bench: Bench, stored: CheckpointToStore) -> str:
    """Hand over an envelope with nothing in it, before a checkpoint.

    Raises:
        CheckFailed: it was not accepted, and the checkpoint was stored all the same.
        PluginFault: the call failed.
    """
    said = "stored with envelopes, again, alone, and not over another one"
    later = replace(stored, cursor=secrets.token_bytes(8), replaces=stored.cursor)
    empty = sample(bench)._replace(json=b"{}")
    outcome, is_accepted = await _store(bench, [sample(bench), empty], later)
    if is_accepted:
        return said
    expect(outcome != "stored", "a checkpoint was stored after an envelope that was not accepted")
    await _require_stored(bench, stored, "after an envelope that was not accepted")
    return f"{said}, nor after an envelope that was not accepted"


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
    Check(
        "checkpoints",
        "keeps a sync's checkpoint with the envelopes before it, or neither",
        "store the checkpoint in the transaction of its envelopes, only when all are accepted and"
        " the stored cursor is `replaces` or its own",
        _checkpoints,
        _DESTINATION,
        needs_settings=True,
        after="results",
    ),
)
