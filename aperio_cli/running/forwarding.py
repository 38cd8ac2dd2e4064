"""Forwarding: a sync whose events go to a destination, and whose checkpoint follows acceptance.

Nothing is kept in between: what the destination has not answered for is read again by the next
sync. So a crash of either plugin, an interruption or a power failure loses nothing. A destination
may keep the checkpoint itself, beside what it writes (`keeping`).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.letters import DeadLetter
from aperio_cli.host.calls.session import SessionRequest, open_session
from aperio_cli.host.calls.sync import SyncTask, sync_connector
from aperio_cli.running.delivering import Deliverer, DeliveryTask
from aperio_cli.running.keeping import find_keeper
from aperio_cli.running.operations import choose_operation, launched, open_state
from aperio_cli.running.recording import recorded, run_of
from aperio_cli.running.rejects import Rejects, letter_line
from aperio_cli.running.streams import TakenStreams, require_common_stream
from aperio_cli.running.targets import id_of, kind_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from aperio_cli.data.state import StateDatabase
    from aperio_cli.host.calls.sync import Note, SyncSummary
    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.models.artifact import DevelopmentBuild
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.running.collaborators import Collaborators, Listener
    from aperio_cli.running.delivering import Deliveries
    from aperio_cli.running.operations import RunRequest
    from aperio_cli.verifying.clearing import Cleared

RETRY_FOR_S: Final = 300.0
"""How long a destination that takes nothing is tried, unless it is said otherwise."""


@dataclass(frozen=True, slots=True)
class Destined:
    """Where the events of a sync go.

    Attributes:
        cleared: leave to start the destination; it is used up.
        settings: the destination's, by key, already resolved; may hold secrets.
        retry_for_s: how long to try again while it takes nothing.
        rejects: the file that keeps what it will never take; None: one below the home.
    """

    cleared: Cleared
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    retry_for_s: float = RETRY_FOR_S
    rejects: Path | None = None


@dataclass(frozen=True, slots=True)
class Forwarding:
    """How far a sync to a destination got.

    Attributes:
        to: the destination, as `<id>@<version>`.
        deliveries: what became of the events, repeats included.
        rejects_file: where rejects and dead letters are kept in full; None: there is none.
        not_taken: how many were left out, of kinds that the destination does not take.
        summary: of the sync; None: it broke off.
    """

    to: str
    deliveries: Deliveries
    rejects_file: str | None
    not_taken: int = 0
    summary: SyncSummary | None = None


@dataclass(frozen=True, slots=True)
class _Listeners:
    """Who hears the connector, and who the destination."""

    source: Listener
    target: Listener


def check_forwarding(
    source: Receipt | DevelopmentBuild, target: Receipt | DevelopmentBuild, request: RunRequest
) -> None:
    """Require that the one reads events, and the other takes them.

    Raises:
        UsageError: it is another operation, or one of them is of another kind.
    """
    if choose_operation(source, request) != "sync":
        raise UsageError(
            f"`{id_of(source)}` was not run: `--to` goes with `sync` only",
            next=["leave `--to` out, or the operation: without one a connector syncs"],
        )
    if kind_of(target) != "destination":
        raise UsageError(
            f"nothing was run: `{id_of(target)}` takes no events",
            why=f"expected a destination after `--to`, found a {kind_of(target)}",
            next=["`aperio plugin search --kind destination` shows which there are"],
        )


def _hearing(rejects: Rejects, listener: Listener) -> Callable[[Note], None]:
    """Return what hears the notes of a sync: a dead letter is kept before it is told."""

    def hear(note: Note) -> None:
        if isinstance(note, DeadLetter):
            rejects.add([letter_line(note)])
        listener.observe(note)

    return hear


@contextlib.asynccontextmanager
async def _both(
    collaborators: Collaborators,
    cleared: Cleared,
    request: RunRequest,
    destined: Destined,
    listeners: _Listeners,
) -> AsyncIterator[tuple[RunningPlugin, RunningPlugin, StateDatabase]]:
    """Give the destination, the connector and the connector's state; stopped at the end."""
    of_source, of_target, who = listeners.source, listeners.target, request.organization
    with open_state(collaborators) as state, open_state(collaborators) as its_state:
        async with (
            launched(
                collaborators, destined.cleared, its_state, of_target, destined.settings, who
            ) as sink,
            launched(collaborators, cleared, state, of_source, request.settings, who) as connector,
        ):
            yield sink, connector, state


async def run_forwarding(
    collaborators: Collaborators,
    cleared: Cleared,
    request: RunRequest,
    destined: Destined,
    listener: Listener,
) -> Forwarding:
    """Sync a connector into a destination, both started for it; the checkpoint follows acceptance.

    Whatever ends it before it has caught up, the listener hears how far it got.

    Args:
        collaborators: whose store, state and configuration are used.
        cleared: leave to start the connector; it is used up.
        request: what to sync, and for whom; organization and integration are the destination's too.
        destined: where the events go.
        listener: hears what happens meanwhile.

    Raises:
        UsageError: as `check_forwarding`, or `require_common_stream`.
        DestinationUnavailable: it took nothing for too long; it is as after a crash.
        AperioError: as `run_operation`, of either plugin.
    """
    source, target = id_of(cleared.target), id_of(destined.cleared.target)
    check_forwarding(cleared.target, destined.cleared.target, request)
    place = destined.rejects or _place(collaborators, f"{source}.to.{target}")
    of = (request.organization, request.integration)
    with (
        Rejects(place) as rejects,
        recorded(
            collaborators, run_of(destined.cleared.target, *of, "deliver"), listener
        ) as delivery,
        recorded(collaborators, run_of(cleared.target, *of, "sync"), listener) as sync,
    ):
        if destined.rejects:  # before anything is read: a wrong name is found at once
            rejects.open()
        listeners = _Listeners(
            replace(_named(listener, str(source)), tally=sync.tally),
            replace(_named(listener, str(target)), tally=delivery.tally, learned=None),
        )
        async with _both(collaborators, cleared, request, destined, listeners) as plugins:
            return await _forward(plugins, request, destined, rejects, listeners)


async def _forward(
    plugins: tuple[RunningPlugin, RunningPlugin, StateDatabase],
    request: RunRequest,
    destined: Destined,
    rejects: Rejects,
    listeners: _Listeners,
) -> Forwarding:
    """Sync the one plugin into the other.

    Raises:
        AperioError: as `run_forwarding`.
    """
    sink, connector, state = plugins
    of_source, observe = listeners.source, listeners.source.observe
    tallies = of_source.tally, listeners.target.tally
    asked = SessionRequest(
        request.organization,
        request.integration,
        destined.settings,
        option="--to-set",
        tally=tallies[1],
    )
    target_session = await open_session(sink, asked)
    delivery = DeliveryTask(rejects, destined.retry_for_s, True, observe)  # noqa: FBT003 - see there
    deliverer = Deliverer(target_session, delivery)
    asked = replace(asked, settings=request.settings, option="--set", tally=tallies[0])
    session = await open_session(connector, asked)
    require_common_stream(session, target_session)
    hear = _hearing(rejects, of_source)
    task = SyncTask(
        deliverer, state, hear, request.full, request.strict, request.scope, tally=tallies[0]
    )
    keeper = await find_keeper(deliverer, session, target_session, task, observe)
    task = keeper.of(task) if keeper else task
    taken = TakenStreams(target_session, keeper or deliverer, observe)

    def reached(summary: SyncSummary | None = None) -> Forwarding:
        to, left_out = sink.program.producer, taken.left_out.total()
        return Forwarding(to, deliverer.tally, rejects.file, left_out, summary)

    try:
        return reached(await sync_connector(session, replace(task, accept=taken)))
    except BaseException:
        observe(reached())
        raise
    finally:
        tallies[0].leave_out(taken.left_out.total())
        tallies[0].sent -= keeper.held if keeper else 0  # when it broke off
        deliverer.tally.count_in(tallies[1])


def _named(listener: Listener, name: str) -> Listener:
    """Return a listener whose log says which of the two plugins speaks."""

    def log(record: LogRecord) -> None:
        listener.log(replace(record, message=f"{name}: {record.message}"))

    return replace(listener, log=log)


def _place(collaborators: Collaborators, name: str) -> Path:
    folder = collaborators.paths.home / "rejects"
    moment = clock.timestamp().replace(":", "").replace("-", "")
    return folder / f"{name.replace('/', '_')}.{moment}.ndjson"
