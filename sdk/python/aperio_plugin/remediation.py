"""Remediations: they write back into a SaaS product, after approval."""

from __future__ import annotations

import enum
import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aperio_plugin import errors
from aperio_plugin.context import Config, Context, Mode, State, StoredValue, Token
from aperio_plugin.declarations import (
    ApiKey,
    Auth,
    Field,
    FieldType,
    Grant,
    NoAuth,
    OAuth2,
    SeverityHint,
)
from aperio_plugin.errors import Diagnostic, Path, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_plugin._services import Service

__all__ = [
    "Action",
    "ApiKey",
    "Approval",
    "Auth",
    "Capabilities",
    "Change",
    "Config",
    "Context",
    "Diagnostic",
    "ExecuteRequest",
    "ExecuteResult",
    "Field",
    "FieldType",
    "Grant",
    "Mode",
    "NoAuth",
    "OAuth2",
    "Outcome",
    "Remediation",
    "ResponseKind",
    "Severity",
    "SeverityHint",
    "State",
    "StoredValue",
    "Token",
    "approval_sha256",
    "changed",
    "failed",
    "serve",
    "unchanged",
    "unknown",
    "would_change",
]


class ResponseKind(enum.Enum):
    """What the product calls an action."""

    REVOKE_OAUTH_GRANT = "revoke_oauth_grant"
    SUSPEND_USER = "suspend_user"
    RESET_MFA = "reset_mfa"
    REVOKE_SESSION = "revoke_session"
    REMOVE_EXTERNAL_SHARE = "remove_external_share"
    DISABLE_FORWARDING = "disable_forwarding"
    REMOVE_ADMIN_ROLE = "remove_admin_role"
    QUARANTINE_APP = "quarantine_app"
    OPEN_TICKET = "open_ticket"
    NOTIFY_SECOPS = "notify_secops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that the remediation can do.

    Attributes:
        key: such as `okta.suspend_user`.
        label: what a button says.
        target_types: the kinds of thing that a target may name, such as `user`; at least one, of at
            most 120 bytes each.
        description: what it does.
        severity_hint: how grave its effect is.
        parameters: what it takes beside the target.
        reversible: whether another action can undo it.
        supports_dry_run: whether `ExecuteRequest.dry_run` is understood; else the SDK refuses it.
        scopes: what the service must have granted for it, of the manifest's scopes; else the SDK
            refuses it.
        response_kind: what the product calls it; None: it has no word for it.
        required_context: keys that `ExecuteRequest.context` must have; else the SDK refuses it.
        reverse_action: the key of the action that undoes it, where there is one.
        rollback: how a person undoes it, or that nobody can; one line.
        approval_optional: nobody has to approve it. Else the SDK refuses a call that no approval of
            this very action, target and parameters came with.
    """

    key: str
    label: str
    target_types: Sequence[str]
    description: str = ""
    severity_hint: SeverityHint = SeverityHint.MEDIUM
    parameters: Sequence[Field] = ()
    reversible: bool = False
    supports_dry_run: bool = False
    scopes: Sequence[str] = ()
    response_kind: ResponseKind | None = None
    required_context: Sequence[str] = ()
    reverse_action: str = ""
    rollback: str = ""
    approval_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a remediation needs and can do; the same for the same build.

    Attributes:
        provider: upper-case name of the service, such as `OKTA`; equals the manifest's.
        name: what people call the service.
        actions: what it can do.
        fields: the settings.
        auth: how the service authenticates its callers.
        description: one paragraph.
        docs_url: where an operator reads on.
    """

    provider: str
    name: str
    actions: Sequence[Action]
    fields: Sequence[Field] = ()
    auth: Auth = field(default_factory=NoAuth)
    description: str = ""
    docs_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who allowed an action: a person's word for it, on one target, with one set of parameters.

    Attributes:
        reference: the product's id of the approved response, 1 to 256 bytes; for logs.
        sha256: of action, target and parameters, see `approval_sha256`.
    """

    reference: str
    sha256: str


def approval_sha256(action: str, target: str, parameters_json: bytes) -> str:
    """Return what an approval is bound to, in lower-case hex.

    Args:
        action: its key.
        target: id of the target in the service.
        parameters_json: the parameters as they are sent.

    The format is that of `Approval.sha256` in proto/aperio/plugin/v1/remediation.proto.
    """
    parts = (action.encode(), target.encode(), parameters_json)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteRequest:
    """One action to perform.

    Attributes:
        action: the key of one of the declared actions.
        target: id of the target in the service.
        idempotency_key: unique for the intent, 1 to 256 bytes; for services that take one.
        parameters: of the action.
        dry_run: say what would change; change nothing.
        target_type: one of the action's.
        context: facts of the finding that the action asks for in `required_context`.
        approval: who allowed it; None for a dry run, and where the action needs none.
        is_after_unknown: an earlier call with this key ended *unknown*, or was made of another
            process: look before acting.
    """

    action: str
    target: str
    idempotency_key: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    dry_run: bool = False
    target_type: str = ""
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    approval: Approval | None = None
    is_after_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One change, made or proposed.

    Attributes:
        attribute: what changes: one key, or keys and indices, outermost first.
        before: a JSON value; None: unknown. No secrets.
        after: a JSON value; None: unknown. No secrets.
    """

    attribute: Path
    before: Any = None
    after: Any = None


class Outcome(enum.Enum):
    """How an action ended.

    *Unknown*: the request was sent, and what came of it is not known. It is never reported as
    failed, and never repeated blindly.
    """

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    WOULD_CHANGE = "would_change"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteResult:
    """What `Remediation.execute` answers; made by `changed`, `failed` and their like.

    Attributes:
        outcome: how it ended.
        changes: each change, made or proposed.
        diagnostics: what is wrong, or what to know.
        provider_request_id: the service's own id of the request, for its support; at most 256
            bytes, what is longer is cut.
    """

    outcome: Outcome
    changes: Sequence[Change] = ()
    diagnostics: Sequence[Diagnostic] = ()
    provider_request_id: str = ""


def changed(*changes: Change, provider_request_id: str = "") -> ExecuteResult:
    """Give the result of an action that was done now."""
    return ExecuteResult(
        outcome=Outcome.CHANGED, changes=changes, provider_request_id=provider_request_id
    )


def unchanged() -> ExecuteResult:
    """Give the result of an action whose target already was as wanted."""
    return ExecuteResult(outcome=Outcome.UNCHANGED)


def would_change(*changes: Change) -> ExecuteResult:
    """Give the result of a dry run that found something to do."""
    return ExecuteResult(outcome=Outcome.WOULD_CHANGE, changes=changes)


def failed(summary: str, *, detail: str = "", code: str = "") -> ExecuteResult:
    """Give the result of an action that was not done and changed nothing."""
    reason = Diagnostic(summary, detail, code)
    return ExecuteResult(outcome=Outcome.FAILED, diagnostics=(reason,))


def unknown(summary: str, *, detail: str = "", provider_request_id: str = "") -> ExecuteResult:
    """Give the result of an action that was sent, and whose result is not known."""
    reason = Diagnostic(summary, detail, errors.ResultUnknown.code)
    return ExecuteResult(
        outcome=Outcome.UNKNOWN, diagnostics=(reason,), provider_request_id=provider_request_id
    )


class Remediation(ABC):
    """The base of every remediation. Methods run in threads, several at once."""

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Declare what the remediation needs and can do, without the network."""

    @abstractmethod
    def execute(self, context: Context, request: ExecuteRequest) -> ExecuteResult:
        """Perform one action.

        It is called when the operator allows writing, the scopes that the action needs are granted
        and an approval fits, or for a dry run. The SDK answers a repeat of an idempotency key from
        memory as long as the process lives (the latest 10,000 keys); across restarts the plugin
        must look before it acts, or pass the key on to the service.

        Raises:
            errors.ResultUnknown: something was sent, and what came of it is not known, which
                becomes the outcome *unknown*; the SDK's `rest` raises it where that is so.
            errors.PluginError: one that says why nothing was done; such a call may be repeated.
        """


def serve(plugin: Remediation) -> None:
    """Serve the remediation until the host says stop; ends the process, never returns.

    Raises:
        TypeError: it is something else, such as the class instead of an instance.
        SystemExit: status 1 when no go-plugin host started the process, or none that it can serve.
    """
    # Here: the serving modules build on this one, and take most of the time until the handshake.
    from aperio_plugin._serve import run

    def service() -> Service:
        from aperio_plugin._remediating import RemediationService

        return RemediationService(plugin)

    run(plugin, Remediation, service)
