"""The methods of the control API (proto/aperio/host/v1/host.proto), over what is `Controlled`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aperio_plugin.wire import control_pb2

import aperio_cli
from aperio_cli.errors.controlling import HostBusy
from aperio_cli.errors.usage import NotFound
from aperio_cli.host.calls.invocation import DEFAULT_INTEGRATION, DEFAULT_ORGANIZATION, Invocation
from aperio_cli.host.calls.recording import Invoked, Recording
from aperio_cli.host.calls.session import SessionRequest, declare, open_session
from aperio_cli.host.catalogue import define
from aperio_cli.host.control import executing, syncing, telling
from aperio_cli.host.control.asking import (
    Asked,
    read_call,
    read_execute,
    read_key,
    read_organization,
    read_reason,
    read_sync,
    refuse_token,
)
from aperio_cli.host.control.delivering import Delivery
from aperio_cli.host.control.syncing import Outlet
from aperio_cli.host.lifecycle import Phase
from aperio_cli.host.supervising.instances import InstanceKey
from aperio_cli.models.plugin_id import PluginId, check_version
from aperio_cli.models.protocol import INTERFACE
from aperio_cli.models.traceparent import below
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from grpc.aio import ServicerContext

    from aperio_cli.host.calls.session import Session
    from aperio_cli.host.control.controlled import Controlled
    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.supervising.instances import Status

    Context = ServicerContext[Any, Any]

_Read = TypeVar("_Read")

MINOR: Final = 0
"""The minor version of the API."""
FEATURES: Final[tuple[str, ...]] = ()
"""Named behaviours beyond the minimum."""

_KINDS: Final = {
    "test": "connector",
    "sync": "connector",
    "execute": "remediation",
    "deliver": "destination",
}
_NO_SETTINGS: Final[Mapping[str, object]] = MappingProxyType({})
_DEFAULT_RECEIPTS: Final = 100
_MOST_RECEIPTS: Final = 1000
_LONGEST_PROBLEM: Final = 1000
_LONGEST_RELEASE_S: Final = 600.0
_MOST_LOGGED: Final = 10_000
_MOST_ACTIONS: Final = 256
"""In flight, of those that callers have left, too: each goes on to its end."""
_READ_AT_ONCE: Final = 2
"""What reads files for callers; the loop's threads are the supervisor's, too, and are few."""


class HostService:
    """Each method has the name of the proto, and answers with its messages.

    Args:
        controlled: what is served.
    """

    def __init__(self, controlled: Controlled) -> None:
        self._controlled = controlled
        self._actions: set[asyncio.Task[Any]] = set()
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)

    async def settle(self) -> None:
        """Wait until the actions that callers have left are done."""
        while self._actions:
            await asyncio.wait(self._actions)

    # ── the host and its plugins ──────────────────────────────────────────────────────────────────

    async def GetHost(self, _request: Any, _context: Context) -> Any:  # noqa: N802 - as in the proto
        """Answer who this is."""
        facts = self._controlled.facts
        major, minor = INTERFACE
        answer = control_pb2.GetHostResponse(
            version=aperio_cli.__version__,
            minor=MINOR,
            features=FEATURES,
            interface_major=major,
            interface_minor=minor,
            pid=os.getpid(),
            home=str(facts.home),
            registries_problem=one_line(facts.registries_problem, limit=_LONGEST_PROBLEM),
        )
        if facts.registries_heard_at:
            answer.registries_heard_at.FromJsonString(facts.registries_heard_at)
        answer.started_at.FromDatetime(facts.started_at)
        return answer

    async def ListPlugins(self, _request: Any, _context: Context) -> Any:  # noqa: N802 - gRPC's name
        """Answer what is installed, and what runs of it."""
        installed = await self._read(self._controlled.installed)
        statuses = self._controlled.statuses()
        plugins = [telling.plugin_message(each, statuses) for each in installed]
        return control_pb2.ListPluginsResponse(plugins=plugins)

    async def DescribePlugin(self, request: Any, _context: Context) -> Any:  # noqa: N802 - gRPC's name
        """Answer what a plugin declares."""
        organization = read_organization(request.organization_id)
        key = self._running(PluginId.parse(request.plugin), organization)
        async with self._controlled.use(key, self._controlled.configured(key) or {}) as plugin:
            if plugin.declaration is None:
                plugin.declaration = await declare(plugin, Invocation(key.organization))
            declaration, version = plugin.declaration, plugin.program.version
        definition = json.dumps(define(declaration).document, ensure_ascii=False)
        answer = control_pb2.DescribePluginResponse(
            id=str(key.plugin), version=version, definition_json=definition.encode()
        )
        is_connector = declaration.DESCRIPTOR.name == "SchemaResponse"
        declared = answer.connector if is_connector else answer.capabilities
        declared.CopyFrom(declaration)
        return answer

    def _running(self, plugin: PluginId, organization: str) -> InstanceKey:
        """Return an instance of a plugin that runs; one that would have to be started, else."""
        for status in self._controlled.statuses():
            is_wanted = organization in {"", status.key.organization}
            if status.key.plugin == plugin and status.phase is Phase.READY and is_wanted:
                return status.key
        return InstanceKey(plugin, organization or DEFAULT_ORGANIZATION, DEFAULT_INTEGRATION)

    async def WatchInstances(self, _request: Any, context: Context) -> None:  # noqa: N802 - gRPC's name
        """Give how each instance is, then each change."""
        watched = self._controlled.watch()
        async with contextlib.aclosing(watched):
            async for status in watched:
                message = telling.instance_message(status)
                await context.write(control_pb2.WatchInstancesResponse(instance=message))

    async def PauseInstance(self, request: Any, _context: Context) -> Any:  # noqa: N802 - gRPC's name
        """Pause an instance."""
        key = read_key(request.key)
        await self._controlled.pause(key, read_reason(request.by), read_reason(request.reason))
        return control_pb2.PauseInstanceResponse(instance=self._instance(key))

    async def ResumeInstance(self, request: Any, _context: Context) -> Any:  # noqa: N802 - gRPC's name
        """Take the pause of an instance back."""
        key = read_key(request.key)
        await self._controlled.resume(key)
        return control_pb2.ResumeInstanceResponse(instance=self._instance(key))

    async def ReleasePlugin(self, request: Any, context: Context) -> None:  # noqa: N802 - gRPC's name
        """End what runs of a plugin, and start nothing of it until the caller has gone."""
        plugin = PluginId.parse(request.plugin)
        version = check_version(request.version) if request.version else ""
        async with self._controlled.release(plugin, version) as ended:
            keys = [telling.key_message(key) for key in ended]
            await context.write(control_pb2.ReleasePluginResponse(ended=keys))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_RELEASE_S):
                    await asyncio.Event().wait()  # the end of the call cancels this

    def _instance(self, key: InstanceKey) -> control_pb2.Instance:
        found: Status | None = next(
            (each for each in self._controlled.statuses() if each.key == key), None
        )
        if found is None:
            raise NotFound(
                f"`{key.plugin}` has no instance for {key.organization} {key.integration}",
                next=["`aperio host status` shows what there is"],
            )
        return telling.instance_message(found)

    # ── invocations ───────────────────────────────────────────────────────────────────────────────

    async def TestConnection(self, request: Any, context: Context) -> Any:  # noqa: N802 - gRPC's name
        """Answer whether settings work."""
        async with self._invoked(_asked(request, context), "test") as (session, recording):
            invocation = await session.invocation()
            answer = await session.plugin.connector.test_connection(invocation)
            recording.answered("test", answer)
        return control_pb2.TestConnectionResponse(answer=answer, receipt=_receipt(recording))

    async def Sync(self, request: Any, context: Context) -> None:  # noqa: N802 - gRPC's name
        """Give what a connector reads, its checkpoints, and at the end the receipt."""
        asked, scope = _asked(request, context), read_sync(request)
        recording = None
        try:
            async with self._invoked(asked, "sync") as (session, recording):
                outlet = Outlet(context.write, request.cursor)
                await syncing.sync(session, outlet, scope, recording.tally, strict=request.strict)
        except Exception:
            if recording:
                await context.write(control_pb2.SyncResponse(receipt=_receipt(recording)))
            raise
        await context.write(control_pb2.SyncResponse(receipt=_receipt(recording)))

    async def Execute(self, request: Any, context: Context) -> Any:  # noqa: N802 - gRPC's name
        """Perform an action; it goes on to its end when the caller goes away."""
        asked, wanted = _asked(request, context), read_execute(request)
        if len(self._actions) >= _MOST_ACTIONS:
            raise HostBusy(
                f"`{wanted.action}` was not executed: the host is busy with other actions",
                why=f"{len(self._actions)} are in flight, and {_MOST_ACTIONS} may be",
                next=["call it again later, with the same idempotency key"],
            )
        action = asyncio.create_task(self._execute(asked, wanted))
        self._actions.add(action)
        action.add_done_callback(self._actions.discard)
        return await asyncio.shield(action)

    async def _execute(self, asked: Asked, wanted: Any) -> Any:
        async with self._invoked(asked, "execute") as (session, recording):
            execution = executing.plan(session, wanted)
            answer = await executing.execute(session, execution)
            recording.answered("execute", answer)
        return control_pb2.ExecuteResponse(
            answer=answer, approval_sha256=execution.sha256, receipt=_receipt(recording)
        )

    async def Deliver(self, request: Any, context: Context) -> Any:  # noqa: N802 - gRPC's name
        """Hand envelopes to a destination."""
        async with self._invoked(_asked(request, context), "deliver") as (session, recording):
            results = await Delivery(session, recording.tally).deliver(request.envelopes)
        return control_pb2.DeliverResponse(results=results, receipt=_receipt(recording))

    @contextlib.asynccontextmanager
    async def _invoked(
        self, asked: Asked, operation: str
    ) -> AsyncIterator[tuple[Session, Recording]]:
        """Give a session with the plugin that is called, and the recording of the invocation."""
        key, settings = asked.key, asked.settings
        if settings is None:
            settings = self._controlled.configured(key) or _NO_SETTINGS
        async with self._controlled.use(key, settings) as plugin:
            asked.require_version(plugin)
            getattr(plugin, _KINDS[operation])  # which refuses another kind
            version, left = plugin.program.version, self._controlled.left(key.plugin)
            run = Invoked(
                key.plugin,
                version,
                key.organization,
                key.integration,
                operation,
                instead_of=left if left != version else "",
                traceparent=asked.traceparent,
            )
            recording = Recording(run, self._controlled.keep)
            refused = plugin.egress_refused
            try:
                yield await _session(plugin, asked, settings, recording), recording
            except BaseException as error:
                _count(recording, plugin, refused)
                recording.end(error)
                raise
            _count(recording, plugin, refused)
            recording.end()

    # ── what was done, and said ───────────────────────────────────────────────────────────────────

    async def ListReceipts(self, request: Any, _context: Context) -> Any:  # noqa: N802 - gRPC's name
        """Answer with the newest receipts."""
        wanted = request.key
        plugin = PluginId.parse(wanted.plugin) if wanted.plugin else None
        most = min(request.limit or _DEFAULT_RECEIPTS, _MOST_RECEIPTS)
        found = await self._read(self._controlled.receipts, plugin, _MOST_RECEIPTS)
        receipts = [
            telling.receipt_message(each)
            for each in found
            if wanted.organization_id in {"", each.organization}
            and wanted.integration_id in {"", each.integration}
        ]
        return control_pb2.ListReceiptsResponse(receipts=receipts[:most])

    async def _read(self, read: Callable[..., _Read], *arguments: Any) -> _Read:
        """Return what is read in a thread, when it is its turn."""
        async with self._reading:
            return await asyncio.to_thread(read, *arguments)

    async def StreamLogs(self, request: Any, context: Context) -> None:  # noqa: N802 - gRPC's name
        """Give what plugins wrote."""
        plugin = PluginId.parse(request.plugin) if request.plugin else None
        last = min(request.last, _MOST_LOGGED)
        entries = self._controlled.logs(plugin, last, follow=request.follow)
        async with contextlib.aclosing(entries):
            async for entry in entries:
                response = control_pb2.StreamLogsResponse()
                if isinstance(entry, int):
                    response.left_out = entry
                else:
                    response.records.append(telling.log_message(entry))
                await context.write(response)


def _asked(request: Any, context: Context) -> Asked:
    """Return what the Call of a request says, and its metadata."""
    metadata: Any = context.invocation_metadata()
    return read_call(request.call, metadata)


async def _session(
    plugin: RunningPlugin, asked: Asked, settings: Any, recording: Recording
) -> Session:
    """Return a session with a plugin, once the call's settings fit it.

    Raises:
        PluginConfigInvalid: they do not.
        CallInvalid: there is a token, and the plugin has no use for one.
        PluginFault: as `open_session`.
    """
    key = asked.key
    request = SessionRequest(
        key.organization,
        key.integration,
        settings,
        option="config_json",
        token=asked.token,
        tally=recording.tally,
        are_own=asked.settings is None,
        traceparent=below(asked.traceparent, recording.run_id),
        tracestate=asked.tracestate,
    )
    session = await open_session(plugin, request)
    if asked.token and session.declaration.auth.WhichOneof("method") != "oauth2":
        refuse_token(asked)
    return session


def _count(recording: Recording, plugin: RunningPlugin, refused: int) -> None:
    """Note what was counted of the plugin; what others asked of it meanwhile is in that, too."""
    recording.tally.egress_refused = plugin.egress_refused - refused
    recording.tally.peak_memory_bytes = plugin.counters().memory_peak_bytes


def _receipt(recording: Recording) -> control_pb2.Receipt:
    return telling.receipt_message(recording.receipt)


def methods(service: HostService) -> dict[str, tuple[Callable[..., Any], type[Any], bool]]:
    """Return each method by its name, with its request, and whether it answers with a stream."""
    described = control_pb2.DESCRIPTOR.services_by_name["HostService"]
    return {
        method.name: (
            getattr(service, method.name),
            getattr(control_pb2, method.input_type.name),
            method.server_streaming,
        )
        for method in described.methods
    }
