"""A remediation's calls, and the idempotency keys of the latest ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from aperio_plugin import declarations, errors, remediation
from aperio_plugin._convert import answering, declaring
from aperio_plugin._services import Method, context_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aperio_plugin.context import Context

REMEMBERED_KEYS: Final = 10_000
_MAX_KEY_BYTES = 256


class RemediationService:
    """A remediation's calls."""

    name = "aperio.plugin.v1.RemediationPlugin"

    def __init__(self, plugin: remediation.Remediation) -> None:
        self._plugin = plugin
        self._done = _Done()

    def methods(self) -> Mapping[str, Method]:
        """Give the methods by name."""
        from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2, remediation_pb2

        return {
            "Capabilities": Method(
                capabilities_pb2.CapabilitiesRequest,
                lambda _request, _call: declaring.capabilities_message(self.capabilities()),
            ),
            "Execute": Method(
                remediation_pb2.ExecuteRequest,
                lambda request, call: answering.execute_message(
                    self.execute(
                        context_of(request.context, call), answering.execute_request_from(request)
                    )
                ),
            ),
        }

    def capabilities(self) -> remediation.Capabilities:
        """Give what the remediation declares.

        Raises:
            ValueError: a part of it makes no sense.
        """
        capabilities = self._plugin.capabilities()
        declarations.check(capabilities.fields, capabilities.auth)
        for action in capabilities.actions:
            declarations.check(action.parameters)
        return capabilities

    def execute(
        self, context: Context, request: remediation.ExecuteRequest
    ) -> remediation.ExecuteResult:
        """Execute an action, or answer from memory when its idempotency key was seen.

        Raises:
            errors.InvalidArgument: unknown action; no key, or one of another request.
            errors.Unsupported: a dry run of an action that has none.
        """
        self._check(request)
        if request.dry_run:
            return self._plugin.execute(context, request)
        return self._done.once(
            (context.organization_id, context.integration_id, request.idempotency_key),
            request,
            lambda: self._plugin.execute(context, request),
        )

    def _check(self, request: remediation.ExecuteRequest) -> None:
        actions = {action.key: action for action in self.capabilities().actions}
        if request.action not in actions:
            raise errors.InvalidArgument(f"unknown action {request.action!r}")
        if request.dry_run and not actions[request.action].supports_dry_run:
            raise errors.Unsupported(f"{request.action} has no dry run")
        if not 0 < len(request.idempotency_key.encode()) <= _MAX_KEY_BYTES:
            raise errors.InvalidArgument(f"an idempotency key has 1 to {_MAX_KEY_BYTES} bytes")


class _Entry:
    """A request that is or was executed; `lock` is held meanwhile."""

    def __init__(self, request: remediation.ExecuteRequest) -> None:
        self.request = request
        self.lock = threading.Lock()
        self.result: remediation.ExecuteResult | None = None


class _Done:
    """The latest idempotency keys and what was answered, of this process only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()

    def once(
        self,
        key: tuple[str, ...],
        request: remediation.ExecuteRequest,
        execute: Callable[[], remediation.ExecuteResult],
    ) -> remediation.ExecuteResult:
        """Give the remembered result, else that of executing; a repeat meanwhile waits for it."""
        entry = self._entry(key, request)
        if entry.request != request:
            raise errors.InvalidArgument("the idempotency key was used for another request")
        with entry.lock:
            if entry.result is None:
                result = execute()
                if result.outcome is remediation.Outcome.FAILED:
                    return result  # nothing was changed: it may be tried again
                entry.result = result
            return entry.result

    def _entry(self, key: tuple[str, ...], request: remediation.ExecuteRequest) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry(request))
            self._entries.move_to_end(key)
            while len(self._entries) > REMEMBERED_KEYS:
                self._entries.popitem(last=False)
            return entry
