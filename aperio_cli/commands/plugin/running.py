"""What `plugin run` does around `running`: stdin and stdout, and what came of it as words."""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aperio_cli.commands.common import Exit
from aperio_cli.commands.loop import on_loop
from aperio_cli.commands.plugin import showing
from aperio_cli.commands.plugin.debugging import check_debug, reattach_record
from aperio_cli.commands.plugin.delivering import stdin_envelopes
from aperio_cli.commands.plugin.forwarding import Delivery, forward, require_all_accepted
from aperio_cli.errors import NOT_DONE, PLUGIN_FAILED, AperioError
from aperio_cli.errors.running import PluginContractBroken
from aperio_cli.errors.usage import Interrupted, UsageError
from aperio_cli.host.answers import understood
from aperio_cli.host.calls.sync import SyncSummary, WriterSink
from aperio_cli.models.artifact import DevelopmentBuild
from aperio_cli.models.protocol import DECLARING, OPERATIONS
from aperio_cli.running import Listener, clear_target, find_target
from aperio_cli.running.containing import sandbox_of
from aperio_cli.running.delivering import Deliveries
from aperio_cli.running.learning import Learned
from aperio_cli.running.operations import (
    Answered,
    RunRequest,
    choose_operation,
    launched,
    open_state,
    run_operation,
)
from aperio_cli.running.targets import kind_of, manifest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.context import Context
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.output import Report
    from aperio_cli.running.collaborators import Heard
    from aperio_cli.verifying.clearing import Cleared


@dataclass(frozen=True, slots=True)
class Manner:
    """How a plugin is run, and what came of it shown.

    Attributes:
        is_debug: keep it running for other hosts instead.
        is_catalog: show what it declares as the product's catalogue has it.
        is_learning: propose permissions and limits, from what it is seen to use.
    """

    is_debug: bool = False
    is_catalog: bool = False
    is_learning: bool = False


def run(
    context: Context,
    named: str,
    request: RunRequest,
    delivery: Delivery | None = None,
    manner: Manner | None = None,
) -> Report | None:
    """Do the operation; None when everything was said in lines already.

    Args:
        context: of the command.
        named: the target, as it was typed.
        request: what to do.
        delivery: where events go, and how; None: nothing is said about it.
        manner: how; None: for people, once.

    Raises:
        AperioError: the target, the start, the settings or the plugin failed.
        Exit: a stream of lines has already told the error, or SIGTERM came.
    """
    collaborators = context.collaborators
    target = find_target(collaborators, named, organization=request.organization)
    showing.tell_left_out(context.output, target)
    manner = manner or Manner()
    learned = _learned(context) if manner.is_learning else None
    who = request.organization
    cleared = clear_target(collaborators, target, who, is_learning=manner.is_learning)
    if manner.is_debug:
        is_development = isinstance(target, DevelopmentBuild)
        check_debug(context, named, request.operation, is_development=is_development)
        return on_loop(_debug(context, cleared))
    operation = choose_operation(target, request)
    if manner.is_catalog and operation not in DECLARING:
        declaring = next(each for each in OPERATIONS[kind_of(target)] if each in DECLARING)
        raise UsageError(
            f"`{named}` was not run: `--catalog` shows what a plugin declares",
            why=f"`{operation}` declares nothing; expected {' or '.join(sorted(DECLARING))}",
            next=[f"`aperio plugin run {shlex.quote(named)} {declaring} --catalog`"],
        )
    delivery = delivery or Delivery()
    delivery.check(operation)
    accept = WriterSink(lambda data: context.output.lines([data]))
    asked = replace(request, operation=operation, accept=accept, envelopes=stdin_envelopes())
    is_stream = operation == "sync"
    listener = replace(_listener(context, is_stream=is_stream), learned=learned)
    with (
        _stream(context) if is_stream else contextlib.nullcontext(),
        _taught(context, learned, manifest_of(target), is_stream=is_stream),
    ):
        if delivery.to:
            reached = forward(context, cleared, asked, delivery, listener)
            _tell(context, *showing.forwarding(reached))
            require_all_accepted(reached)
            return None
        asked = delivery.of_deliver(asked)
        outcome = on_loop(run_operation(collaborators, cleared, asked, listener))
        with understood(functools.partial(_broken, named), operation):
            if manner.is_catalog and isinstance(outcome, Answered):
                return showing.catalogue(outcome.message)
            return _shown(context, outcome)


def _learned(context: Context) -> Learned:
    """Return what takes what is learned.

    Raises:
        UsageError: plugins are not confined here, so that nobody sees what they use.
    """
    if sandbox_of(context.collaborators).name == "none":
        raise UsageError(
            "nothing was learned, and nothing was run: plugins are not confined here",
            why="what a plugin uses is seen by its sandbox",
            next=["`aperio doctor` says what a sandbox needs"],
        )
    return Learned()


@contextlib.contextmanager
def _taught(
    context: Context, learned: Learned | None, manifest: Manifest, *, is_stream: bool
) -> Iterator[None]:
    """Say what was learned in the block; of one that failed, if it connected to anybody."""
    has_ended = False
    try:
        yield
        has_ended = True
    finally:
        if learned and (has_ended or learned.has_seen):
            proposal = learned.proposal(manifest)
            if is_stream and context.settings.json:
                _write_line(context, {"type": "learned"} | proposal.to_json())
            else:
                context.output.note("\n".join(["for manifest.yaml:", *proposal.lines()]))


def _broken(named: str, operation: str, why: str) -> PluginContractBroken:
    return PluginContractBroken(
        f"`{operation}` of `{named}` was done, and what the plugin answered cannot be shown",
        why=why,
        next=["tell the plugin's publisher", "look in the service for what was done"],
    )


@contextlib.contextmanager
def _stream(context: Context) -> Iterator[None]:
    """Keep the form of a stream of JSON: an error is its last line.

    Raises:
        Exit: with the status of that error.
    """
    try:
        yield
    except (AperioError, KeyboardInterrupt) as stop:
        if not context.settings.json:
            raise
        error = stop if isinstance(stop, AperioError) else Interrupted("the sync was interrupted")
        _write_line(
            context, {"type": "error"} | error.to_json() | {"exit_status": error.exit_status}
        )
        raise Exit(error.exit_status) from stop


async def _debug(context: Context, cleared: Cleared) -> None:
    """Keep it running until it ends, and say how others reach it."""
    collaborators = context.collaborators
    with open_state(collaborators) as state:
        async with launched(collaborators, cleared, state, _listener(context), {}) as plugin:
            _write_line(context, reattach_record(plugin))
            await plugin.ended()


def _listener(context: Context, *, is_stream: bool = False) -> Listener:
    observe = functools.partial(_observe, context, is_stream=is_stream)
    level = "debug" if context.settings.verbose else "info"
    return Listener(showing.log_sink(context.output), observe, log_level=level)


def _observe(
    context: Context,
    note: Heard,
    *,
    is_stream: bool,
) -> None:
    if isinstance(note, Deliveries):
        context.output.note(f"before that: {note}")
        return
    said, text = showing.note(note)
    if is_stream:
        _tell(context, said, text)
    else:  # stdout is for one document
        context.output.note(text)


def _tell(context: Context, said: dict[str, Any], text: str) -> None:
    """Say it beside the events: as a line of the stream with `--json`, else in words."""
    if context.settings.json:
        _write_line(context, said)
    elif said["type"] in {"dead_letter", "doubt", "not_taken"}:
        context.output.warn(text)
    elif said["type"] in {"summary", "token", "retry", "deliveries", "cursor_kept"}:
        context.output.note(text)
    else:
        context.output.detail(text)


def _shown(context: Context, outcome: Answered | SyncSummary | Deliveries) -> Report | None:
    if isinstance(outcome, SyncSummary):
        _tell(context, *showing.summary(outcome))
        return None
    if isinstance(outcome, Deliveries):
        return showing.deliveries(outcome, undelivered_status=NOT_DONE)
    answer = outcome.message
    match outcome.operation:
        case "test":
            return showing.test(answer)
        case "connect":
            return showing.connection(answer)
        case "execute":
            assert outcome.execution  # noqa: S101 - `execute` has one
            return showing.execution(answer, outcome.execution, failed_status=PLUGIN_FAILED)
        case _:
            return showing.declaration(answer)


def _write_line(context: Context, said: dict[str, Any]) -> None:
    context.output.lines([json.dumps(said, ensure_ascii=False).encode() + b"\n"])
