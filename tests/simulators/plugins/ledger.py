"""A destination that keeps checkpoints beside what it takes, as its setting `plan` says.

The plan is JSON: `out`, an SQLite file whose tables `taken`, `cursors` and `calls` have what it
took, what it keeps, and how many envelopes each call of Deliver had, with which cursor; `keep`,
false for none; `rejects`, ids in the service that it never takes; `calls`, what becomes of the
first calls of Deliver with a checkpoint; `positions`, of the first calls of Position. A word is
`ok`, a gRPC status, or `before` and `after`: it ends before, or after, its commit; `early`,
`never`: it stores a checkpoint that it must not, or none; `moves`: another cursor, `0`, is there
first; `long`: its cursor has 64 KiB and one byte.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections import Counter
from typing import Any

import bare
import grpc
from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2, destination_pb2

_ATTEMPTS: Counter[str] = Counter()
_TABLES = """
CREATE TABLE IF NOT EXISTS taken (id TEXT PRIMARY KEY, event TEXT);
CREATE TABLE IF NOT EXISTS cursors (source TEXT PRIMARY KEY, checkpoint BLOB, cursor BLOB);
CREATE TABLE IF NOT EXISTS calls (envelopes INTEGER, cursor BLOB);
"""


def capabilities(_request: Any, _context: Any) -> Any:
    made = capabilities_pb2.CapabilitiesResponse(provider="LEDGER", name="Ledger")
    made.interface.features.append("checkpoints")
    made.fields.add(key="plan", type="TYPE_TEXT", required=True)
    made.destination.streams.append(made.destination.STREAM_EVENT)
    made.destination.max_batch_envelopes = 2
    return made


def plan_of(request: Any) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(json.loads(request.context.config_json)["plan"])
    return plan


def word(kind: str, plan: dict[str, Any], context: Any) -> str:
    """What becomes of the next call of a kind; it may end here with a status."""
    planned, attempt = plan.get(kind, []), _ATTEMPTS[kind]
    _ATTEMPTS[kind] += 1
    told = planned[attempt] if attempt < len(planned) else "ok"
    if told.isupper():
        context.abort(grpc.StatusCode[told], "down")
    return str(told)


def key_of(request: Any, source: Any) -> str:
    of = request.context
    parts = (of.organization_id, of.integration_id, source.connector, source.choice)
    return json.dumps(parts)


@contextlib.contextmanager
def opened(plan: dict[str, Any]) -> Any:
    """The file, in one transaction that is committed at the end."""
    database = sqlite3.connect(plan["out"], isolation_level=None)
    with contextlib.closing(database):
        database.executescript(_TABLES)
        database.execute("BEGIN IMMEDIATE")
        yield database
        database.execute("COMMIT")


def position(request: Any, context: Any) -> Any:
    plan = plan_of(request)
    told = word("positions", plan, context)
    answer = destination_pb2.PositionResponse(kept=plan.get("keep", True))
    with opened(plan) as database:
        found = database.execute(
            "SELECT checkpoint FROM cursors WHERE source = ?", (key_of(request, request.source),)
        ).fetchone()
    if found:
        answer.checkpoint.ParseFromString(found[0])
        answer.stored_at.seconds = 1_700_000_000
    if told == "long":
        answer.checkpoint.cursor = b"x" * 65537
    return answer


def deliver(request: Any, context: Any) -> Any:
    plan, asked = plan_of(request), request.checkpoint
    has_checkpoint = request.HasField("checkpoint")
    told = word("calls", plan, context) if has_checkpoint else "ok"
    answer = destination_pb2.DeliverResponse()
    with opened(plan) as database:
        cursor = asked.checkpoint.cursor if has_checkpoint else None
        database.execute("INSERT INTO calls VALUES (?, ?)", (len(request.envelopes), cursor))
        take(request, answer, plan, database)
        if has_checkpoint:
            key = key_of(request, asked.source)
            if told == "moves":
                database.execute("REPLACE INTO cursors VALUES (?, ?, ?)", (key, b"", b"0"))
            store(asked, key, answer, told, database)
        if told == "before":
            os._exit(3)
    if told == "after":
        os._exit(3)
    return answer


def take(request: Any, answer: Any, plan: dict[str, Any], database: sqlite3.Connection) -> None:
    for item in request.envelopes:
        event = json.loads(item.envelope_json)["source_event_id"]
        if event in plan.get("rejects", []):
            answer.results.add(id=item.id, status="STATUS_REJECTED").diagnostic.summary = "never"
            continue
        database.execute("INSERT OR IGNORE INTO taken VALUES (?, ?)", (item.id, event))
        answer.results.add(id=item.id, status="STATUS_ACCEPTED")


def store(asked: Any, key: str, answer: Any, told: str, database: sqlite3.Connection) -> None:
    is_whole = all(result.status == result.STATUS_ACCEPTED for result in answer.results)
    if told == "never" or not (is_whole or told == "early"):
        return
    query = "SELECT cursor FROM cursors WHERE source = ?"
    found = database.execute(query, (key,)).fetchone()
    if (found[0] if found else b"") not in {asked.replaces, asked.checkpoint.cursor}:
        answer.checkpoint_outcome = answer.CHECKPOINT_OUTCOME_MOVED
        return
    row = (key, asked.checkpoint.SerializeToString(), asked.checkpoint.cursor)
    database.execute("REPLACE INTO cursors VALUES (?, ?, ?)", row)
    answer.checkpoint_outcome = answer.CHECKPOINT_OUTCOME_STORED


bare.SERVICES["aperio.plugin.v1.DestinationPlugin"] = {
    "Capabilities": bare.unary(capabilities, capabilities_pb2.CapabilitiesRequest),
    "Deliver": bare.unary(deliver, destination_pb2.DeliverRequest),
    "Position": bare.unary(position, destination_pb2.PositionRequest),
}
bare.serve()
