"""A destination that fails at envelopes, or takes none for long: what becomes of them, and when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin.wire import destination_pb2

from aperio_cli import clock
from aperio_cli.errors.running import DestinationUnavailable, PluginReportedError
from aperio_cli.host.calls.envelopes import Outbound
from aperio_cli.host.calls.keeping import CheckpointToStore, SyncSource
from aperio_cli.running.delivering import Deliverer, Deliveries, DeliveryTask
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_IN_A_ROW = 10


@dataclass(frozen=True)
class Called:
    """What is looked at of an invocation."""

    invocation_id: str = ""
    token: None = None


class Failing:
    """A session with a destination that does as the first letter of an envelope's id says."""

    def __init__(self) -> None:
        self.request = SimpleNamespace(organization_id="acme", integration_id="main")
        limits = SimpleNamespace(max_batch_envelopes=4)
        self.declaration = SimpleNamespace(destination=limits)
        program = SimpleNamespace(producer="acme/moody@1.2.3", subject="`acme/moody`")
        self.plugin = SimpleNamespace(destination=self, broken=None, program=program)
        self.calls: list[str] = []  # those with a checkpoint, by the letters of their envelopes

    async def invocation(self) -> Any:
        return Called()

    async def deliver(
        self,
        _invocation: Any,
        batch: Sequence[Outbound],
        checkpoint: CheckpointToStore | None = None,
    ) -> Any:
        said = {envelope.id[0] for envelope in batch}
        if checkpoint:
            self.calls.append("".join(envelope.id[0] for envelope in batch))
            said.add(checkpoint.cursor.decode())
        if said & {"x", "w"}:
            error = PluginReportedError("it failed", why="", next=[])
            error.is_failure, error.is_transient = "x" in said, "w" in said
            raise error
        answer = destination_pb2.DeliverResponse()
        for envelope in batch:
            status = "STATUS_REJECTED" if envelope.id[0] == "r" else "STATUS_ACCEPTED"
            answer.results.add(id=envelope.key, status=status)
        if checkpoint and "r" not in said:
            answer.checkpoint_outcome = answer.CHECKPOINT_OUTCOME_STORED
        return answer


def delivered(pattern: str, task: DeliveryTask | None = None) -> Deliveries:
    """What becomes of envelopes, one for each letter.

    Args:
        pattern: `o` is taken, `r` rejected; it fails at `x`, and is down for `w`.
        task: how they are delivered.
    """
    session: Any = Failing()
    deliverer = Deliverer(session, task or DeliveryTask())
    names = [f"{letter}{number}" for number, letter in enumerate(pattern)]
    envelopes = [
        Outbound(name, "event", b'{"id":"%b"}' % name.encode(), "acme", 1) for name in names
    ]
    asyncio.run(asyncio.wait_for(deliverer(envelopes), timeout=30))
    return deliverer.tally


def stored(pattern: str, cursor: str = "o") -> tuple[Deliveries, list[str]]:
    """What becomes of envelopes with a checkpoint behind them, and the calls that had it.

    Args:
        pattern: as of `delivered`.
        cursor: likewise, of the checkpoint.
    """
    session: Any = Failing()
    deliverer = Deliverer(session, DeliveryTask(retry_for_s=0.0, must_settle=True))
    envelopes = [Outbound(f"{letter}{n}", "event", b"{}", "acme", 1, f"{letter}{n}")
                 for n, letter in enumerate(pattern)]  # fmt: skip
    checkpoint = CheckpointToStore(SyncSource("acme/box 1f"), cursor.encode())
    asyncio.run(asyncio.wait_for(deliverer.store(envelopes, checkpoint), timeout=30))
    return deliverer.tally, session.calls


@each_row(
    ("pattern", "calls"),
    [
        ("", [""]),
        ("ooo", ["ooo"]),
        ("oooooo", ["oo"]),  # four go in a call of their own
        ("oro", ["oro", ""]),
        ("rrr", ["rrr", ""]),
        ("oxo", ["oxo", ""]),  # what it fails at is found without the checkpoint
        ("x", ["x", ""]),
    ],
)
def test_a_checkpoint_is_stored_after_a_verdict_on_everything(
    pattern: str, calls: list[str]
) -> None:
    tally, made = stored(pattern)
    rejected = pattern.count("x") + pattern.count("r")
    assert (tally.accepted, tally.rejected) == (len(pattern) - rejected, rejected)
    assert made == calls


def test_no_envelope_is_rejected_for_a_checkpoint_at_which_it_fails() -> None:
    session: Any = Failing()
    deliverer = Deliverer(session, DeliveryTask(must_settle=True))
    checkpoint = CheckpointToStore(SyncSource("acme/box 1f"), b"x")
    envelope = Outbound("o1", "event", b"{}", "acme", 1, "o1")
    with pytest.raises(PluginReportedError, match="it failed"):
        asyncio.run(asyncio.wait_for(deliverer.store([envelope], checkpoint), timeout=30))
    assert (deliverer.tally.accepted, deliverer.tally.rejected) == (1, 0)
    with pytest.raises(DestinationUnavailable, match="did not store the checkpoint in time"):
        stored("", "w")


@each_row(
    "pattern",
    [
        "x" * MOST_IN_A_ROW,
        "x" * MOST_IN_A_ROW + "o" + "x" * MOST_IN_A_ROW,
        "o" + "x" * MOST_IN_A_ROW + "o",
        "xo" * 40,
        "xxxo" * 20,
    ],
)
def test_what_it_fails_at_is_rejected_while_it_takes_others(pattern: str) -> None:
    """However many there are: one that is taken shows that the destination works."""
    tally = delivered(pattern)
    assert (tally.accepted, tally.rejected) == (pattern.count("o"), pattern.count("x"))


@each_row("before", ["", "o", "xo" * 20, "o" * 8, "xr" * 5])
def test_a_destination_that_fails_at_all_in_a_row_is_at_fault(before: str) -> None:
    """What it only rejects shows nothing."""
    with pytest.raises(PluginReportedError, match="it failed"):
        delivered(before + "x" * (MOST_IN_A_ROW + 1 - before.count("xr")))


def test_waits_grow_to_a_minute_and_end_with_the_time_that_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 1000.0

    async def sleep(wait_s: float) -> None:
        nonlocal now_s
        now_s += wait_s

    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    waits: list[float] = []
    task = DeliveryTask(
        retry_for_s=200, must_settle=True, observe=lambda note: waits.append(note.wait_s)
    )
    with pytest.raises(DestinationUnavailable):
        delivered("w", task)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 17]
