"""A remediation's calls, and the idempotency keys of the latest ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aperio_plugin import declarations, errors, remediation
from aperio_plugin._convert import answering, declaring
from aperio_plugin._services import Method, context_of
from aperio_plugin.context import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aperio_plugin._generated.aperio.plugin.v1 import remediation_pb2
    from aperio_plugin._services import Call
    from aperio_plugin.context import Context

REMEMBERED_KEYS: Final = 10_000
_MAX_KEY_BYTES = 256
_MAX_TARGET_TYPE_BYTES = 120


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
                lambda request, call: answering.execute_message(self.execute(request, call)),
            ),
        }

    def capabilities(self) -> remediation.Capabilities:
        """Give what the remediation declares.

        Raises:
            ValueError: a part of it makes no sense.
        """
        capabilities = self._plugin.capabilities()
        declarations.check(capabilities.fields, capabilities.auth)
        _check_actions(capabilities.actions)
        return capabilities

    def execute(
        self, message: remediation_pb2.ExecuteRequest, call: Call
    ) -> remediation.ExecuteResult:
        """Execute an action, or answer from memory when its idempotency key was seen.

        Raises:
            errors.InvalidArgument: unknown action or type of target; no key, or one of another
                request; a part of the context is missing.
            errors.PermissionDenied: the integration is for reading only, a scope was not granted,
                or no approval of this very action was given.
            errors.Unsupported: a dry run of an action that has none.
        """
        context = context_of(message.context, call)
        request = answering.execute_request_from(message)
        action = self._action(request)
        request = _fitted(action, request)
        _require_leave(action, request, context, message.parameters_json)
        if request.dry_run:
            return self._plugin.execute(context, request)
        return self._done.once(
            (context.organization_id, context.integration_id, request.idempotency_key),
            request,
            lambda asked: self._sent(context, asked),
        )

    def _sent(
        self, context: Context, request: remediation.ExecuteRequest
    ) -> remediation.ExecuteResult:
        try:
            return self._plugin.execute(context, request)
        except errors.ResultUnknown as error:
            return remediation.unknown(error.summary, detail=error.detail)

    def _action(self, request: remediation.ExecuteRequest) -> remediation.Action:
        actions = {action.key: action for action in self.capabilities().actions}
        if request.action not in actions:
            raise errors.InvalidArgument(f"unknown action {request.action!r}")
        if request.dry_run and not actions[request.action].supports_dry_run:
            raise errors.Unsupported(f"{request.action} has no dry run")
        if not 0 < len(request.idempotency_key.encode()) <= _MAX_KEY_BYTES:
            raise errors.InvalidArgument(f"an idempotency key has 1 to {_MAX_KEY_BYTES} bytes")
        return actions[request.action]


def _check_actions(actions: Sequence[remediation.Action]) -> None:
    """Refuse actions that no host could offer.

    Raises:
        ValueError: saying which one and why.
    """
    keys = [action.key for action in actions]
    for action in actions:
        declarations.check(action.parameters)
        if keys.count(action.key) > 1:
            raise ValueError(f"action {action.key!r} is declared twice")
        if not action.target_types or isinstance(action.target_types, str):
            raise ValueError(f"action {action.key!r} needs a list of the types of its target")
        lengths = [len(kind.encode()) for kind in action.target_types]
        if not 0 < min(lengths) <= max(lengths) <= _MAX_TARGET_TYPE_BYTES:
            raise ValueError(
                f"action {action.key!r}: a type of target has 1 to {_MAX_TARGET_TYPE_BYTES} bytes"
            )
        if action.reverse_action and action.reverse_action not in keys:
            raise ValueError(
                f"action {action.key!r}: {action.reverse_action!r}, its reverse, is not declared"
            )


def _fitted(
    action: remediation.Action, request: remediation.ExecuteRequest
) -> remediation.ExecuteRequest:
    """Return the request with its type of target, once it fits the action.

    Raises:
        errors.InvalidArgument: it does not.
    """
    kind = request.target_type or (action.target_types[0] if len(action.target_types) == 1 else "")
    if kind not in action.target_types:
        raise errors.InvalidArgument(
            f"{action.key} takes the types of target {', '.join(action.target_types)};"
            f" received {kind!r}"
        )
    missing = [key for key in action.required_context if key not in request.context]
    if missing:
        raise errors.InvalidArgument(f"the context of {action.key} lacks {', '.join(missing)}")
    return replace(request, target_type=kind)


def _require_leave(
    action: remediation.Action,
    request: remediation.ExecuteRequest,
    context: Context,
    parameters_json: bytes,
) -> None:
    """Refuse what the operator did not allow.

    Raises:
        errors.PermissionDenied: saying what is missing.
    """
    missing = [scope for scope in action.scopes if scope not in context.granted_scopes]
    if missing:
        raise errors.PermissionDenied(f"{action.key} needs the scope {', '.join(missing)}")
    if request.dry_run:
        return
    if context.mode is not Mode.REMEDIATION:
        raise errors.PermissionDenied("the integration is for reading only")
    approval = request.approval
    if approval is None:
        if not action.approval_optional:
            raise errors.PermissionDenied(f"{action.key} needs an approval")
    elif not 0 < len(approval.reference.encode()) <= _MAX_KEY_BYTES:
        raise errors.InvalidArgument(f"an approval's reference has 1 to {_MAX_KEY_BYTES} bytes")
    elif approval.sha256 != remediation.approval_sha256(
        request.action, request.target, parameters_json
    ):
        raise errors.PermissionDenied("the approval is of another action, target or parameters")


class _Entry:
    """A request that is or was executed; `lock` is held meanwhile."""

    def __init__(self, request: remediation.ExecuteRequest) -> None:
        self.request = request
        self.lock = threading.Lock()
        self.result: remediation.ExecuteResult | None = None
        self.is_unknown = False


class _Done:
    """The latest idempotency keys and what was answered, of this process only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()

    def once(
        self,
        key: tuple[str, ...],
        request: remediation.ExecuteRequest,
        execute: Callable[[remediation.ExecuteRequest], remediation.ExecuteResult],
    ) -> remediation.ExecuteResult:
        """Give the remembered result, else that of executing; a repeat meanwhile waits for it.

        A failed one may be tried again: nothing was changed. One that ended *unknown* is asked for
        again with a word that says so.
        """
        entry = self._entry(key, request)
        if _intent(entry.request) != _intent(request):
            raise errors.InvalidArgument("the idempotency key was used for another request")
        with entry.lock:
            if entry.result is not None:
                return entry.result
            entry.is_unknown |= request.is_after_unknown  # the host knows of other processes
            try:
                result = execute(replace(request, is_after_unknown=entry.is_unknown))
            except Exception as error:
                # An error that was foreseen says that nothing was done; of another nobody knows.
                foreseen = isinstance(error, errors.PluginError)
                entry.is_unknown |= not foreseen or isinstance(error, errors.Cancelled)
                raise
            if result.outcome is remediation.Outcome.UNKNOWN:
                entry.is_unknown = True
            elif result.outcome is not remediation.Outcome.FAILED:
                entry.result = result
            return result

    def _entry(self, key: tuple[str, ...], request: remediation.ExecuteRequest) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry(request))
            self._entries.move_to_end(key)
            while len(self._entries) > REMEMBERED_KEYS:
                self._entries.popitem(last=False)
            return entry


def _intent(request: remediation.ExecuteRequest) -> remediation.ExecuteRequest:
    """Return what two calls with one key must agree in: another approval is no other intent."""
    return replace(request, approval=None, is_after_unknown=False)
