"""Remediations: they write back into a SaaS product, after approval."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aperio_plugin.context import Config, Context, State, StoredValue, Token
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
    "NoAuth",
    "OAuth2",
    "Outcome",
    "Remediation",
    "Severity",
    "SeverityHint",
    "State",
    "StoredValue",
    "Token",
    "changed",
    "failed",
    "serve",
    "unchanged",
    "would_change",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing that the remediation can do.

    Attributes:
        key: such as `okta.suspend_user`.
        label: what a button says.
        target_type: what kind of thing a target names, such as `user`.
        description: what it does.
        severity_hint: how grave its effect is.
        parameters: what it takes beside the target.
        reversible: whether another action can undo it.
        supports_dry_run: whether `ExecuteRequest.dry_run` is understood; else the SDK refuses it.
        scopes: OAuth scopes that it needs.
    """

    key: str
    label: str
    target_type: str
    description: str = ""
    severity_hint: SeverityHint = SeverityHint.MEDIUM
    parameters: Sequence[Field] = ()
    reversible: bool = False
    supports_dry_run: bool = False
    scopes: Sequence[str] = ()


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
class ExecuteRequest:
    """One action to perform.

    Attributes:
        action: the key of one of the declared actions.
        target: id of the target in the service.
        idempotency_key: unique for the intent, 1 to 256 bytes; for services that take one.
        parameters: of the action.
        dry_run: say what would change; change nothing.
    """

    action: str
    target: str
    idempotency_key: str
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    dry_run: bool = False


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
    """How an action ended."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    WOULD_CHANGE = "would_change"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteResult:
    """What `Remediation.execute` answers; made by `changed`, `unchanged`, `would_change`, `failed`.

    Attributes:
        outcome: how it ended.
        changes: each change, made or proposed.
        diagnostics: what is wrong, or what to know.
    """

    outcome: Outcome
    changes: Sequence[Change] = ()
    diagnostics: Sequence[Diagnostic] = ()


def changed(*changes: Change) -> ExecuteResult:
    """Give the result of an action that was done now."""
    return ExecuteResult(outcome=Outcome.CHANGED, changes=changes)


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


class Remediation(ABC):
    """The base of every remediation. Methods run in threads, several at once."""

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Declare what the remediation needs and can do, without the network."""

    @abstractmethod
    def execute(self, context: Context, request: ExecuteRequest) -> ExecuteResult:
        """Perform one action.

        The SDK answers a repeat of an idempotency key from memory as long as the process lives (the
        latest 10,000 keys); across restarts the plugin must look before it acts, or pass the key on
        to the service.

        Raises:
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
