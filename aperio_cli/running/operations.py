"""One operation: a plugin is started, does one thing that its kind can do, and is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aperio_cli.data.state import StateDatabase
from aperio_cli.errors.files import FilesChanged
from aperio_cli.errors.usage import ConsentMissing, UsageError
from aperio_cli.files import writing
from aperio_cli.host.answers import understood
from aperio_cli.host.calls.executing import (
    Execute,
    approved,
    declared_action,
    execute,
    execution_of,
)
from aperio_cli.host.calls.invocation import (
    DEFAULT_INTEGRATION,
    DEFAULT_ORGANIZATION,
    Invocation,
)
from aperio_cli.host.calls.scope import EVERYTHING, SyncScope
from aperio_cli.host.calls.session import SessionRequest, declare, open_session
from aperio_cli.host.calls.sync import SyncTask, sync_connector
from aperio_cli.host.launch import LaunchOptions, launch
from aperio_cli.host.lifecycle import Patience
from aperio_cli.host.way_out import Egress, stubs_of
from aperio_cli.models.artifact import DevelopmentBuild
from aperio_cli.models.protocol import DECLARING, OPERATIONS
from aperio_cli.paths import runtime_base
from aperio_cli.running.containing import given_folders, sandbox_of
from aperio_cli.running.delivering import Deliverer, DeliveryTask
from aperio_cli.running.recording import recorded, run_of
from aperio_cli.running.rejects import Rejects
from aperio_cli.running.targets import id_of, kind_of, manifest_of
from aperio_cli.text import nearest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from aperio_cli.host.calls.envelopes import Outbound
    from aperio_cli.host.calls.lines import BadLine
    from aperio_cli.host.calls.remediation import Execution
    from aperio_cli.host.calls.session import Session
    from aperio_cli.host.calls.sync import SyncSummary
    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.running.collaborators import Collaborators, Listener
    from aperio_cli.running.delivering import Deliveries
    from aperio_cli.verifying.clearing import Cleared


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to do with a plugin, once.

    Attributes:
        operation: what its kind can do; empty: the first of `OPERATIONS`.
        organization: the tenant.
        integration: the connected account.
        settings: values by key, already resolved; may hold secrets.
        full: sync: read everything again, whatever the stored checkpoint.
        strict: sync: stop at the first dead letter.
        scope: sync: what is asked for.
        execute: execute: what to do.
        accept: sync: takes the events, as `SyncTask` says.
        envelopes: deliver: what to deliver, and what was found in its place.
        retry_for_s: deliver: how long to try again while nothing is taken; 0: once.
        rejects: deliver: the file that keeps in full what was not taken; None: it is counted.
    """

    operation: str = ""
    organization: str = DEFAULT_ORGANIZATION
    integration: str = DEFAULT_INTEGRATION
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    full: bool = False
    strict: bool = False
    scope: SyncScope = EVERYTHING
    execute: Execute = field(default_factory=Execute)
    accept: Callable[[Sequence[Outbound]], Awaitable[None]] | None = None
    envelopes: AsyncIterator[Outbound | BadLine] | None = None
    retry_for_s: float = 0.0
    rejects: Path | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What a plugin answered.

    Attributes:
        operation: to which question.
        message: the protobuf message; outside text.
        execution: what was executed; None for every other operation.
    """

    operation: str
    message: Any
    execution: Execution | None = None


def choose_operation(target: Receipt | DevelopmentBuild, request: RunRequest) -> str:
    """Return the operation that is meant; the first of the kind when none is named.

    Raises:
        UsageError: the kind has no such operation, or it is not said what to execute.
        ConsentMissing: writing to a service was asked for, and nobody approved it.
    """
    kind = kind_of(target)
    operation = request.operation or OPERATIONS[kind][0]
    if operation not in OPERATIONS[kind]:
        raise UsageError(
            f"`{id_of(target)}` was not run: a {kind} has no operation `{operation}`",
            why=f"expected {', '.join(OPERATIONS[kind])}",
            next=nearest(operation, OPERATIONS[kind])
            or [f"`aperio plugin run {id_of(target)}` without one does `{OPERATIONS[kind][0]}`"],
        )
    if operation == "execute":
        _require_consent(request.execute)
    return operation


def _require_consent(wanted: Execute) -> None:
    """Require that it is said what to do and that somebody approved it; a dry run needs nobody.

    Raises:
        UsageError: action or target are missing.
        ConsentMissing: nobody approved it.
    """
    if not wanted.action or not wanted.target:
        raise UsageError(
            "nothing was executed: `--action A` and `--target T` are needed",
            next=["`capabilities` shows which actions there are, and what each is done to"],
        )
    if not wanted.dry_run and not wanted.approved:
        raise ConsentMissing(
            f"`{wanted.action}` was not executed: nobody approved it",
            next=["see what would change with `--dry-run`", "then consent with `--approve`"],
        )


def open_state(collaborators: Collaborators) -> StateDatabase:
    """Return the operator's checkpoints and stored values, to be used in a `with` block.

    Raises:
        StateUnreadable: the database cannot be read or written.
    """
    writing.ensure_own(collaborators.paths.home)
    return StateDatabase(collaborators.paths.state_database)


@contextlib.contextmanager
def _state_for(
    collaborators: Collaborators, cleared: Cleared, operation: str
) -> Iterator[StateDatabase | None]:
    """Give what an operation keeps; None in a home for reading only, when it keeps nothing.

    Raises:
        StateUnreadable, PlaceUnusable, FolderNotPrivate: it has to keep something, and cannot.
    """
    manifest = manifest_of(cleared.target)
    keeps = operation == "sync" or (manifest.state and operation not in DECLARING)
    if keeps or _may_write(collaborators.paths.home):
        with open_state(collaborators) as state:
            yield state
    else:
        yield None


def _may_write(folder: Path) -> bool:
    """Return whether this user may write in a folder, or make it where it is missing."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(there, os.W_OK | os.X_OK)


@contextlib.asynccontextmanager
async def launched(
    collaborators: Collaborators,
    cleared: Cleared,
    state: StateDatabase | None,
    listener: Listener,
    settings: Mapping[str, object],
    organization: str = "",
) -> AsyncIterator[RunningPlugin]:
    """Give the running plugin; the store is told the outcome of the check of its files.

    Args:
        collaborators: whose store and configuration are used.
        cleared: leave to start it; it is used up.
        state: the open database of checkpoints and stored values; None keeps nothing.
        listener: hears its log.
        settings: values by key, some of which may name hosts, or folders that it is given.
        organization: for whom it works.

    Raises:
        AperioError: as `host.launch.launch`, `sandbox_of` and `given_folders`.
    """
    store, sandbox = collaborators.store, sandbox_of(collaborators)
    options = LaunchOptions(
        runtime_base(collaborators.environment),
        store=store,
        state=state,
        patience=Patience.stated(collaborators.config().handshake_timeout_s),
        mtls=collaborators.config().mtls,
        chatter=listener.chatter,
        log_level=listener.log_level,
        sandbox=sandbox,
        writable=given_folders(manifest_of(cleared.target), settings, sandbox),
        egress=_egress(collaborators, cleared, listener, settings, organization),
        count=listener.count,
        checks=collaborators.checks,
    )
    receipt = None if isinstance(cleared.target, DevelopmentBuild) else cleared.target
    try:
        async with launch(cleared, options, listener.log) as plugin:
            if receipt:
                # Aside: it waits for the disk, and others may be at work on this loop.
                await asyncio.to_thread(store.checks.note, receipt, passed=True)
            yield plugin
    except FilesChanged:
        if receipt:
            store.checks.note(receipt, passed=False)
        raise


def _egress(
    collaborators: Collaborators,
    cleared: Cleared,
    listener: Listener,
    settings: Mapping[str, object],
    organization: str,
) -> Egress:
    learned, opened = listener.learned, stubs_of(settings)
    is_reported = str(id_of(cleared.target)) in collaborators.config().reported
    egress = Egress(organization, settings, opened, is_learning=is_reported or learned is not None)
    return replace(egress, record=listener.record)


async def run_operation(
    collaborators: Collaborators, cleared: Cleared, request: RunRequest, listener: Listener
) -> Answered | SyncSummary | Deliveries:
    """Start a plugin, do one operation with it, stop it.

    Args:
        collaborators: whose store, state and configuration are used.
        cleared: leave to start it; it is used up.
        request: what to do.
        listener: hears what happens meanwhile.

    Raises:
        UsageError, ConsentMissing: as `choose_operation`; or the plugin has no such action.
        ApprovalMismatch: something else was approved.
        OutcomeUnknown: an action was asked for, and it is not known whether it was done.
        ValueError: nobody takes the events of a sync, or nothing is given to deliver.
        PluginConfigInvalid: the settings do not fit the plugin.
        AperioError: as `host.launch.launch`, `Session.invocation` and the call itself.
    """
    operation = choose_operation(cleared.target, request)
    if operation == "sync" and request.accept is None:
        raise ValueError("a sync needs somebody who accepts its events")
    if operation == "deliver" and request.envelopes is None:
        raise ValueError("a delivery needs envelopes")
    settings, who = request.settings, request.organization
    run = run_of(cleared.target, who, request.integration, operation)
    with (
        recorded(collaborators, run, listener) as recording,
        _state_for(collaborators, cleared, operation) as state,
    ):
        heard = replace(listener, tally=recording.tally)
        async with launched(collaborators, cleared, state, heard, settings, who) as plugin:
            outcome = await _Operations(plugin, request, state, heard).do(operation)
        if isinstance(outcome, Answered):
            with understood(plugin.broken, operation):
                recording.answered(operation, outcome.message)
        return outcome


@dataclass(frozen=True, slots=True)
class _Operations:
    """What can be done with a running plugin."""

    plugin: RunningPlugin
    request: RunRequest
    state: StateDatabase | None
    listener: Listener

    async def do(self, operation: str) -> Answered | SyncSummary | Deliveries:
        request = self.request
        if operation in DECLARING:
            blank = Invocation(request.organization, request.integration)
            return Answered(operation, await declare(self.plugin, blank))
        asked = SessionRequest(
            request.organization,
            request.integration,
            request.settings,
            tally=self.listener.tally,
        )
        session = await open_session(self.plugin, asked)
        match operation:
            case "test":
                invocation = await session.invocation()
                return Answered(operation, await self.plugin.connector.test_connection(invocation))
            case "connect":
                invocation = await session.invocation()
                answer = await self.plugin.connector.oauth_callback(invocation, {})
                return Answered(operation, answer)
            case "execute":
                return await self._execute(session)
            case "deliver":
                return await self._deliver(session)
            case _:
                return await self._sync(session)

    async def _sync(self, session: Session) -> SyncSummary:
        request = self.request
        assert request.accept and self.state  # noqa: S101, PT018 - run_operation has seen to it
        task = SyncTask(
            request.accept,
            self.state,
            self.listener.observe,
            request.full,
            request.strict,
            request.scope,
            tally=self.listener.tally,
        )
        return await sync_connector(session, task)

    async def _execute(self, session: Session) -> Answered:
        wanted = self.request.execute
        execution = execution_of(declared_action(session, wanted), wanted)
        if not wanted.dry_run:
            execution = approved(execution, wanted)
        return Answered("execute", await execute(session, execution), execution)

    async def _deliver(self, session: Session) -> Deliveries:
        """Deliver everything, in batches; what has to be tried again is said."""
        request = self.request
        assert request.envelopes  # noqa: S101 - run_operation has asked
        with contextlib.ExitStack() as opened:
            rejects = opened.enter_context(Rejects(request.rejects)) if request.rejects else None
            if rejects:
                rejects.open()
            must_settle = request.retry_for_s > 0
            observe = self.listener.observe
            task = DeliveryTask(rejects, request.retry_for_s, must_settle, observe)
            deliverer = Deliverer(session, task)
            try:
                await deliverer.deliver_all(request.envelopes)
            except BaseException:
                self.listener.observe(deliverer.tally)
                raise
            finally:
                deliverer.tally.count_in(self.listener.tally)
        return deliverer.tally
