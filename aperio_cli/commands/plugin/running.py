"""What `plugin run` does: find the target, launch it, do the operation, show what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aperio_cli.commands.common import Exit
from aperio_cli.commands.plugin import showing
from aperio_cli.commands.plugin.debugging import check_debug, reattach_record
from aperio_cli.errors import NOT_DONE, PLUGIN_FAILED, AperioError
from aperio_cli.errors.files import FilesChanged
from aperio_cli.errors.usage import ConsentMissing, Interrupted, UsageError
from aperio_cli.files import writing
from aperio_cli.models.artifact import DevelopmentBuild
from aperio_cli.models.protocol import OPERATIONS
from aperio_cli.paths import runtime_base

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from aperio_cli.context import Context
    from aperio_cli.data.state import State
    from aperio_cli.host.calls.session import Session
    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.output import Report
    from aperio_cli.verifying.clearing import Cleared

_Result = TypeVar("_Result")
_SIGTERM_STATUS = 128 + signal.SIGTERM


@dataclass(frozen=True, slots=True)
class Execute:
    """What `execute` was asked to do."""

    action: str = ""
    target: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict, repr=False)
    idempotency_key: str = ""
    dry_run: bool = False
    approved: bool = False


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One `plugin run`; `settings` are resolved and may hold secrets."""

    target: str
    operation: str
    organization: str
    integration: str
    settings: Mapping[str, object] = field(repr=False)
    full: bool
    execute: Execute
    debug: bool = False


def run(context: Context, request: RunRequest) -> Report | None:
    """Do the operation; None when everything was said in lines already.

    Raises:
        AperioError: the target, the start, the settings or the plugin failed.
        Exit: a stream of lines has already told the error, or SIGTERM came.
    """
    target = find_target(context, request.target, organization=request.organization)
    cleared = clear_target(context, target, organization=request.organization)
    kind = showing.kind_of(target)
    if request.debug:
        is_development = isinstance(target, DevelopmentBuild)
        check_debug(context, request.target, request.operation, is_development=is_development)
        return on_loop(_Runner(context, request, "debug").run(cleared))
    operation = request.operation or OPERATIONS[kind][0]
    if operation not in OPERATIONS[kind]:
        raise UsageError(
            f"`{request.target}` was not run: a {kind} has no operation `{operation}`",
            why=f"expected {', '.join(OPERATIONS[kind])}",
        )
    _check_consent(request, operation)
    try:
        return on_loop(_Runner(context, request, operation).run(cleared))
    except (AperioError, KeyboardInterrupt) as stop:
        if operation != "sync" or not context.settings.json:
            raise
        error = stop if isinstance(stop, AperioError) else Interrupted("the sync was interrupted")
        # A stream keeps its form: the error is its last line.
        _write_line(
            context, {"type": "error"} | error.to_json() | {"exit_status": error.exit_status}
        )
        raise Exit(error.exit_status) from stop


def on_loop(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run on a loop; SIGTERM cancels, so that the plugin is stopped as for Ctrl-C.

    Raises:
        Exit: SIGTERM came.
    """

    async def main() -> _Result:
        task = asyncio.current_task()
        assert task  # noqa: S101 - a coroutine on a loop has one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError as error:
        raise Exit(_SIGTERM_STATUS) from error


def find_target(
    context: Context, text: str, *, organization: str = ""
) -> Receipt | DevelopmentBuild:
    """Return the installed version of an id, or the folder under development at a path.

    Args:
        context: whose store and policy are asked.
        text: the id, or the path.
        organization: for whom it is started; empty for the requirements of the whole machine.

    Raises:
        AperioError: it is not installed, or does not build.
        PublisherUnverified: it is a folder, and publishers have to be verified.
    """
    from aperio_cli.models.artifact import SUFFIX
    from aperio_cli.models.plugin_id import PluginRef, is_path
    from aperio_cli.verifying.clearing import check_folder

    if not is_path(text):
        return context.store.get(PluginRef.parse(text))
    path = Path(text).expanduser()
    if path.is_file() or text.endswith(SUFFIX):
        raise UsageError(
            f"`{text}` was not run: an artifact has to be installed first",
            next=[f"`aperio plugin install {text}`"],
        )
    check_folder(text, context.policy, organization)  # before anything is fetched or compiled
    return _develop(context, path)


def _develop(context: Context, path: Path) -> DevelopmentBuild:
    from aperio_cli.building import develop, load_project
    from aperio_cli.machine.interpreters import choose_interpreter

    project = load_project(path)
    interpreter = None
    if project.manifest.runtime.language == "python":
        interpreter = choose_interpreter(
            project.manifest.runtime.tags,
            context.config.python_interpreters,
            subject=f"`{project.manifest.id}` in {path}",
        )
    return develop(path, context.paths.cache, interpreter, dict(os.environ))


def clear_target(
    context: Context, target: Receipt | DevelopmentBuild, *, organization: str = ""
) -> Cleared:
    """Clear one start, by the policy and on the machine as they are now.

    Raises:
        AperioError: as `verifying.clear`.
    """
    from aperio_cli import clock
    from aperio_cli.host.options import ENFORCED
    from aperio_cli.machine.interpreters import missing_part
    from aperio_cli.models.machine import Machine
    from aperio_cli.verifying.clearing import clear

    needed = [target.interpreter] if target.interpreter else []
    found = tuple((interpreter, missing_part(interpreter)) for interpreter in needed)
    machine = Machine(context.platform, ENFORCED, found)
    return clear(target, context.policy, machine, clock.now().date(), organization)


def _check_consent(request: RunRequest, operation: str) -> None:
    """Writing to a service needs `--approve`; `--dry-run` changes nothing."""
    wanted = request.execute
    if operation != "execute":
        return
    if not wanted.action or not wanted.target:
        raise UsageError("nothing was executed: `--action A` and `--target T` are needed")
    if not wanted.dry_run and not wanted.approved:
        raise ConsentMissing(
            f"`{wanted.action}` was not executed: nobody approved it",
            next=["see what would change with `--dry-run`", "then consent with `--approve`"],
        )


class _Runner:
    """One operation on a launched plugin."""

    def __init__(self, context: Context, request: RunRequest, operation: str) -> None:
        self._context = context
        self._request = request
        self._operation = operation
        self._output = context.output

    async def run(self, cleared: Cleared) -> Report | None:
        from aperio_cli.data.state import State

        writing.make_private(self._context.paths.home)
        with State(self._context.paths.state_database) as state:
            async with self._launched(cleared, state) as plugin:
                if self._operation != "debug":
                    return await self._operate(plugin, state)
                _write_line(self._context, reattach_record(plugin))
                await plugin.ended()
        return None

    @contextlib.asynccontextmanager
    async def _launched(self, cleared: Cleared, state: State) -> AsyncIterator[RunningPlugin]:
        """The running plugin; the outcome of the check before it is recorded for `list`."""
        from aperio_cli.host.launch import LaunchOptions, launch
        from aperio_cli.models.receipt import Receipt

        store = self._context.store
        options = LaunchOptions(
            runtime_base(os.environ),
            store=store,
            state=state,
            mtls=self._context.config.mtls,
            log_level="debug" if self._context.settings.verbose else "info",
        )
        receipt = cleared.target if isinstance(cleared.target, Receipt) else None
        try:
            async with launch(cleared, options, showing.log_sink(self._output)) as plugin:
                if receipt:
                    store.record_check(receipt, passed=True)
                yield plugin
        except FilesChanged:
            if receipt:
                store.record_check(receipt, passed=False)
            raise

    async def _operate(self, plugin: RunningPlugin, state: State) -> Report | None:
        from aperio_cli.host.calls.invocation import Invocation
        from aperio_cli.host.calls.session import SessionRequest, declare, open_session

        request = self._request
        if self._operation in {"schema", "capabilities"}:
            blank = Invocation(request.organization, request.integration)
            return showing.declaration(await declare(plugin, blank))
        session = await open_session(
            plugin, SessionRequest(request.organization, request.integration, request.settings)
        )
        match self._operation:
            case "test":
                return showing.test(
                    await plugin.connector.test_connection(await session.invocation())
                )
            case "connect":
                answer = await plugin.connector.oauth_callback(await session.invocation(), {})
                return showing.connection(answer)
            case "execute":
                return await self._execute(session)
            case "deliver":
                return await self._deliver(session)
            case _:
                await self._sync(session, state)
                return None

    # ── sync ──────────────────────────────────────────────────────────────────────────────────────

    async def _sync(self, session: Session, state: State) -> None:
        from aperio_cli.host.calls.sync import SyncTask, WriterSink, sync_connector

        sink = WriterSink(lambda data: self._output.lines([data]))
        task = SyncTask(accept=sink, state=state, observe=self._observe, full=self._request.full)
        summary = await sync_connector(session, task)
        said = {
            "events": summary.events,
            "checkpoints": summary.checkpoints,
            "tokens_renewed": summary.tokens_renewed,
            "duration_s": round(summary.duration_s, 3),
        }
        self._tell({"type": "summary"} | said, showing.summary(summary))

    def _observe(self, note: Any) -> None:
        said, text = showing.note(note)
        self._tell(said, text)

    def _tell(self, said: dict[str, Any], text: str) -> None:
        """Beside the events: a line of the stream with `--json`, else words for people."""
        if self._context.settings.json:
            _write_line(self._context, said)
        elif said["type"] in {"summary", "token"}:
            self._output.note(text)
        else:
            self._output.detail(text)

    # ── execute and deliver ───────────────────────────────────────────────────────────────────────

    async def _execute(self, session: Session) -> Report:
        from aperio_cli.host.calls.configuration import check_config
        from aperio_cli.host.calls.remediation import Execution

        wanted = self._request.execute
        actions = {action.key: action for action in session.declaration.remediation.actions}
        if wanted.action not in actions:
            raise UsageError(
                f"`{wanted.action}` was not executed: the plugin has no such action",
                why=f"expected {', '.join(actions)}",
            )
        declared = actions[wanted.action]
        if wanted.dry_run and not declared.supports_dry_run:
            raise UsageError(f"`{wanted.action}` was not executed: it knows no dry run")
        parameters = check_config(
            declared.parameters, wanted.parameters, subject=f"action `{wanted.action}`"
        )
        execution = Execution(
            action=wanted.action,
            target=wanted.target,
            idempotency_key=wanted.idempotency_key or secrets.token_hex(16),
            parameters_json=parameters.plugin_json,
            dry_run=wanted.dry_run,
        )
        answer = await session.plugin.remediation.execute(await session.invocation(), execution)
        return showing.execution(answer, execution.idempotency_key, failed_status=PLUGIN_FAILED)

    async def _deliver(self, session: Session) -> Report:
        """Everything on stdin, in batches; what has to be tried again is said, not kept."""
        from aperio_cli.commands.plugin.delivering import batches, stdin_envelopes
        from aperio_cli.host.calls.destination import DEFAULT_BATCH, MAX_BATCH_BYTES

        most = session.declaration.destination.max_batch_envelopes or DEFAULT_BATCH
        found = batches(stdin_envelopes(), most=most, most_bytes=MAX_BATCH_BYTES)
        tally = showing.Deliveries()
        try:
            async for batch in found:
                invocation = await session.invocation()
                answer = await session.plugin.destination.deliver(invocation, batch)
                tally.count(batch, answer)
        except AperioError:
            self._output.note(f"before that: {tally}")
            raise
        return tally.report(undelivered_status=NOT_DONE)


def _write_line(context: Context, said: dict[str, Any]) -> None:
    context.output.lines([json.dumps(said, ensure_ascii=False).encode() + b"\n"])
