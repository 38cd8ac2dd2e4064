"""Checks of a connector against its service, or a stub or recording of it.

The guarantees are those of a sync that is at least once (connector.proto): stable ids in a stable
order, and nothing lost after any checkpoint.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aperio_plugin.wire import event_rules

from aperio_cli.accepting.bench import CALL_S, in_time
from aperio_cli.accepting.checks import Check
from aperio_cli.accepting.verdicts import CheckFailed, CheckSkipped, expect
from aperio_cli.data.state import MAX_CURSOR_BYTES
from aperio_cli.host.calls.envelopes import Origin, Promises, format_time
from aperio_cli.host.calls.scope import EVERYTHING, SyncScope
from aperio_cli.host.calls.stamping import ITEMS, MessageStamper
from aperio_cli.host.wire.channel import describe
from aperio_cli.text import counted

if TYPE_CHECKING:
    from aperio_plugin.wire import connector_pb2

    from aperio_cli.accepting.bench import Bench
    from aperio_cli.host.calls.letters import DeadLetter

MOST_EVENTS: Final = 10_000
"""How much of a sync is looked at."""
SYNC_S: Final = 120.0
"""How long that may take."""
MOST_DOUBTS: Final = 5
"""How many doubts about events are told."""
MOST_RESUMED: Final = 25
"""From how many checkpoints, spread evenly, a sync is resumed."""
MOST_PARTS: Final = 5
"""How many types of events are asked for."""
BROKEN_OFF: Final = 10
"""How many syncs are broken off."""
CANCEL_S: Final = 5.0
"""How long the first message of a sync may take after others were broken off."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was read of a sync.

    Attributes:
        ids: of the events, findings and audit log entries, in order.
        events: of each event its id, its type, and when it occurred in seconds since 1970.
        others: how many of them are findings or entries.
        letters: dead ones, as the plugin told them.
        checkpoints: cursors, each with the number of ids before it.
        doubts: about what would be passed on; the first 5.
        warnings: about what the service says, which the plugin's author cannot change.
    """

    ids: list[str] = field(default_factory=list)
    events: list[tuple[str, str, int]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    letters: list[DeadLetter] = field(default_factory=list)
    checkpoints: list[tuple[int, bytes]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def doubt(self, source_event_id: str, why: str) -> None:
        """Note a doubt about an event."""
        if why == event_rules.NUL_DOUBT:
            self.warnings.append(f"event {source_event_id!r}: {why}")
        elif len(self.doubts) < MOST_DOUBTS:
            self.doubts.append(f"event {source_event_id!r}: {why}")


async def _read(
    bench: Bench, cursor: bytes = b"", most: int = MOST_EVENTS, scope: SyncScope = EVERYTHING
) -> _Reading:
    """Sync from a cursor to the end, or to `most` events; all that comes is checked.

    Raises:
        CheckFailed: as `_read_on`, or neither end comes within `SYNC_S`.
        PluginFault: a message breaks the interface, or the sync failed.
    """
    late = f"a sync neither ended nor gave {most} events within {SYNC_S:g} s"
    return await in_time(_read_on(bench, cursor, most, scope), SYNC_S, late)


async def _read_on(bench: Bench, cursor: bytes, most: int, scope: SyncScope) -> _Reading:
    """Do the same without a bound on the time.

    Raises:
        CheckFailed: something is not as the interface says, or a cursor is too long.
        PluginFault: a message breaks the interface, or the sync failed.
    """
    program, invocation = bench.program, await bench.invocation()
    origin = Origin(program.producer, "local", "local", program.provider)
    plugin = await bench.plugin()
    reading = _Reading()
    promises = Promises.of(bench.declaration, reading.doubt)
    declared = {stream.name for stream in bench.declaration.streams}
    stamper = MessageStamper(origin, plugin.masks.cut, promises)
    messages = plugin.connector.sync(invocation, cursor, scope=scope, silence_s=CALL_S)
    try:
        async for message in messages:
            _take(message, stamper, reading)
            _require_covered(message, set(scope.streams) or declared)
            if len(reading.ids) >= most:
                break
    finally:
        await messages.aclose()
    return reading


def _take(message: connector_pb2.SyncEvent, stamper: MessageStamper, reading: _Reading) -> None:
    """Note what a message of a sync says.

    Raises:
        CheckFailed: something is not as the interface says, or a cursor is too long.
    """
    match message.WhichOneof("item"):
        case "batch" | "findings" | "audit_log" as kind:
            batch, name = getattr(message, kind), ITEMS[kind]
            made, dead = stamper.stamp(kind, batch)
            expect(not dead, f"{len(dead)} {name} cannot be passed on: {', '.join(map(str, dead))}")
            if kind == "batch":
                reading.ids.extend(event.source_event_id for event in batch.events)
                reading.events.extend(
                    (event.source_event_id, event.event_type, event.occurred_at.seconds)
                    for event in batch.events
                )
            else:
                given = zip(getattr(batch, name), made, strict=True)
                reading.ids.extend(f"{item.source_event_id} {to.id[:16]}" for item, to in given)
                reading.others[name] += len(made)
        case "dead_letter":
            reading.letters.append(stamper.letter(message.dead_letter))
        case "checkpoint":
            size_bytes = len(message.checkpoint.cursor)
            expect(size_bytes <= MAX_CURSOR_BYTES, f"a cursor of {size_bytes} bytes")
            reading.checkpoints.append((len(reading.ids), message.checkpoint.cursor))
        case _:
            pass


def _require_covered(message: connector_pb2.SyncEvent, declared: set[str]) -> None:
    """Require that a checkpoint speaks of a stream that is declared and asked for, and of a time.

    Raises:
        CheckFailed: it does not.
    """
    stream = message.checkpoint.stream
    known = not stream or stream in declared
    expect(known, f"a checkpoint of the stream {stream!r}, undeclared or not asked for")
    if message.checkpoint.HasField("covers_until"):
        until = format_time(message.checkpoint.covers_until)
        expect(until, "a checkpoint whose covers_until is outside of the years 1 to 9999")


async def _test_connection(bench: Bench) -> str:
    invocation = await bench.invocation()
    answer = await (await bench.plugin()).connector.test_connection(invocation)
    said = "; ".join(describe(item) for item in answer.diagnostics)
    expect(answer.ok, f"not ok: {said or 'and no diagnostic'}")
    return "ok: " + ", ".join(f"{key} {value}" for key, value in sorted(answer.account.items()))


async def _events(bench: Bench) -> str:
    reading = await _read(bench)
    expect(not reading.doubts, "\n".join(reading.doubts))
    counts = {"events": len(reading.ids) - reading.others.total(), **reading.others}
    counts["checkpoints"] = len(reading.checkpoints)
    found = ", ".join(f"{count} {name}" for name, count in counts.items()) + ", all within bounds"
    letters = [str(letter) for letter in reading.letters]
    if letters:
        found += f"; {len(letters)} dead letters: {'; '.join(letters[:3])}"
    return "\n".join([found, *(f"warning: {text}" for text in reading.warnings)])


async def _same_order(bench: Bench) -> str:
    first, again = (await _read(bench)).ids, (await _read(bench)).ids
    place = next(
        (n for n, ids in enumerate(zip(first, again, strict=False)) if len(set(ids)) > 1), -1
    )
    if place >= 0:
        raise CheckFailed(f"event {place} was `{first[place]}`, then `{again[place]}`")
    expect(len(first) == len(again), f"{len(first)} events, then {len(again)}")
    return f"twice the same {len(first)} ids in the same order"


async def _resume(bench: Bench) -> str:
    whole = await _read(bench)
    if not whole.ids:
        raise CheckSkipped("the source has no event; give settings for one that has some")
    expect(whole.checkpoints, f"{counted(len(whole.ids), 'event')}, and no checkpoint after them")
    step = -(-len(whole.checkpoints) // MOST_RESUMED)
    chosen = whole.checkpoints[::step]
    for count, cursor in chosen:
        rest = await _read(bench, cursor, MOST_EVENTS + len(whole.ids))
        lost = set(whole.ids[count:]) - set(whole.ids[:count]) - set(rest.ids)
        expect(
            not lost,
            f"resumed after event {count}, {len(lost)} are missing: {', '.join(sorted(lost)[:3])}",
        )
    return f"resumed from {len(chosen)} of {len(whole.checkpoints)} checkpoints, nothing was lost"


async def _parts(bench: Bench) -> str:
    features = set(bench.declaration.interface.features)
    whole = await _read(bench)
    asked = []
    if "event-types" in features:
        asked.append(await _types(bench, whole))
    if "backfill" in features:
        asked.append(await _backfill(bench, whole))
    if "streams" in features:
        asked.append(await _streams(bench, whole))
    if not asked:
        raise CheckSkipped("it names none of the features `backfill`, `event-types`, `streams`")
    return f"asked for {', '.join(asked)}: nothing of it was missing"


async def _types(bench: Bench, whole: _Reading) -> str:
    named = set(bench.declaration.event_types)
    types = sorted({of_type for _, of_type, _ in whole.events if of_type in named})[:MOST_PARTS]
    for name in types:
        part = await _read(bench, scope=SyncScope(event_types=(name,)))
        wanted = {each for each, of_type, _ in whole.events if of_type == name}
        _require_all(wanted, part, f"asked for events of the type {name!r}")
    return f"{len(types)} event types"


async def _backfill(bench: Bench, whole: _Reading) -> str:
    moments = sorted(at for _, _, at in whole.events)
    if not moments:
        return "events from a time, of which there are none"
    middle = datetime.fromtimestamp(moments[len(moments) // 2], UTC)
    part = await _read(bench, scope=SyncScope(from_time=middle))
    wanted = {each for each, _, at in whole.events if at >= middle.timestamp()}
    _require_all(wanted, part, f"asked for what occurred from {middle:%Y-%m-%dT%H:%M:%SZ} on")
    return "events from a time"


async def _streams(bench: Bench, whole: _Reading) -> str:
    names = [stream.name for stream in bench.declaration.streams]
    found = _Reading()
    for name in names:
        found.ids.extend((await _read(bench, scope=SyncScope(streams=(name,)))).ids)
    _require_all(set(whole.ids), found, f"asked for each of the streams {', '.join(names)}")
    return f"each of {len(names)} streams"


def _require_all(wanted: set[str], part: _Reading, asked: str) -> None:
    """Require that a sync for a part gave what belongs to it; more is no fault.

    Raises:
        CheckFailed: it did not; names three ids.
    """
    lost = sorted(wanted - set(part.ids))
    expect(not lost, f"{asked}, {len(lost)} are missing: {', '.join(lost[:3])}")


async def _cancel(bench: Bench) -> str:
    late = f"its first message did not come within {CANCEL_S:g} s"
    for number in range(BROKEN_OFF):
        await in_time(_break_off(bench), CANCEL_S, f"after {number} syncs were broken off, {late}")
    await in_time(bench.declare(await bench.shared()), CANCEL_S, "then it did not declare itself")
    return f"{BROKEN_OFF} syncs were broken off after their first message, each began at once"


async def _break_off(bench: Bench) -> None:
    messages = (await bench.plugin()).connector.sync(await bench.invocation(), silence_s=CANCEL_S)
    try:
        async for _ in messages:
            return
    finally:
        await messages.aclose()


_CONNECTOR: Final = frozenset({"connector"})

SYNCING: Final = (
    Check(
        "connection",
        "finds its service with the given settings",
        "correct the settings, or what TestConnection makes of them",
        _test_connection,
        _CONNECTOR,
        needs_settings=True,
        after="fields",
    ),
    Check(
        "events",
        "gives events and checkpoints within the interface's bounds",
        "correct the event that the evidence names (connector.proto)",
        _events,
        _CONNECTOR,
        needs_settings=True,
        after="fields",
    ),
    Check(
        "same-events",
        "gives the same ids in the same order again",
        "take source_event_id from the service's own record, and keep the service's order",
        _same_order,
        _CONNECTOR,
        needs_settings=True,
        after="events",
    ),
    Check(
        "resume",
        "loses nothing when resumed from any checkpoint",
        "give a checkpoint only after every event that its cursor is past",
        _resume,
        _CONNECTOR,
        needs_settings=True,
        after="same-events",
    ),
    Check(
        "parts",
        "loses nothing of a stream, an event type or a time that it is asked for",
        "leave out only what surely does not belong to what SyncRequest asks for",
        _parts,
        _CONNECTOR,
        needs_settings=True,
        after="same-events",
    ),
    Check(
        "cancel",
        "lets go of a sync that is broken off",
        "end a sync when its call is cancelled; hold no lock over a `yield` or a send",
        _cancel,
        _CONNECTOR,
        needs_settings=True,
        after="fields",
    ),
)
