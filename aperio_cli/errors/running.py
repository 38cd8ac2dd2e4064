"""Run: the plugin's process, its calls, its stored state, what a start requires."""

from __future__ import annotations

from typing import Self

from aperio_cli.errors import INCOMPATIBLE, PLUGIN_FAILED, UNAVAILABLE, USAGE, AperioError, Refusal


class PluginFault(AperioError):
    """The base of what a plugin did wrong; it has been stopped."""

    exit_status = PLUGIN_FAILED


class HandshakeMalformed(PluginFault):
    """The plugin's first line on stdout is not a go-plugin handshake."""

    code = "handshake-malformed"


class HandshakeTooLong(PluginFault):
    """The plugin printed 64 KiB on stdout without ending its first line."""

    code = "handshake-too-long"


class HandshakeTimeout(PluginFault):
    """The plugin started and did not print its handshake in time."""

    code = "handshake-timeout"


class HandshakeAddressRefused(PluginFault):
    """The plugin's handshake names an address that is not a socket in its own private folder."""

    code = "handshake-address-refused"


class PluginExitedEarly(PluginFault):
    """The plugin ended, or closed its stdout, before it printed its handshake."""

    code = "plugin-exited-early"


class PluginNotExecutable(PluginFault):
    """The system could not execute the plugin at all."""

    code = "plugin-not-executable"


class PluginNotHealthy(PluginFault):
    """The plugin printed its handshake, and then did not answer its health check."""

    code = "plugin-not-healthy"


class PluginCrashed(PluginFault):
    """The plugin's process ended while it was at work."""

    code = "plugin-crashed"


class PluginHung(PluginFault):
    """The plugin did not answer the health checks of a host that supervises it, and was killed."""

    code = "plugin-hung"


class PluginInterrupted(PluginFault):
    """The plugin was stopped by its host in the middle of a call.

    It was paused, may not be run any more, or the host itself was stopping and could not wait.
    """

    code = "plugin-interrupted"


class PluginNotReady(PluginFault):
    """The plugin is supervised, and does not run at this moment; nothing was asked of it."""

    code = "plugin-not-ready"


class TooManyPlugins(AperioError):
    """The host already runs as many plugins for the sake of single calls as it may."""

    code = "too-many-plugins"
    exit_status = UNAVAILABLE


class TooManyPaused(AperioError):
    """As many instances are paused as may be: all of them are remembered, and read at a start."""

    code = "too-many-paused"
    exit_status = UNAVAILABLE


class PluginLimitReached(PluginFault):
    """The plugin was stopped, or failed, at one of its limits."""

    code = "plugin-limit-reached"


class PluginDeadlineExceeded(PluginFault):
    """The plugin did not answer a call in time."""

    code = "plugin-deadline-exceeded"


class PluginReportedError(PluginFault):
    """The plugin answered a call with an error of its own, shown with its diagnostics.

    Attributes:
        status: the name of its gRPC status.
        is_transient: whether the same call may succeed later.
        is_failure: whether it is none of the errors that are foreseen, such as an exception.
        retry_after_s: whole seconds that it asks to wait; None: it does not say.
        detail: what it says beyond that, such as what to do about it.
    """

    code = "plugin-reported-error"

    status: str = ""
    is_transient: bool = False
    is_failure: bool = False
    retry_after_s: int | None = None
    detail: str = ""


class PluginUnauthenticated(PluginReportedError):
    """The service that the plugin reads refuses the credentials in use."""

    code = "plugin-unauthenticated"


class PluginRateLimited(PluginReportedError):
    """The service that the plugin uses asks to be called less often; wait as long as it says."""

    code = "plugin-rate-limited"
    exit_status = UNAVAILABLE

    def to_json(self) -> dict[str, object]:
        """Return the error as an entry of the JSON envelope, with `retry_after_s`."""
        return super().to_json() | {"retry_after_s": self.retry_after_s}


class OutcomeUnknown(PluginFault):
    """An action was asked for, and it is not known whether it was done: neither done nor failed.

    Attributes:
        idempotency_key: with it the action may be asked for again: it is not done twice.
    """

    code = "outcome-unknown"

    idempotency_key: str = ""

    @classmethod
    def of(cls, fault: PluginFault, action: str, target: str, idempotency_key: str) -> Self:
        """Make it of what went wrong meanwhile."""
        error = cls(
            f"it is not known whether `{action}` was done on `{target}`",
            why="\n".join(filter(None, [fault.what, fault.why])),
            next=[
                "look in the service for what became of it",
                f"then repeat it with `--idempotency-key {idempotency_key}`: it looks first",
                *fault.next,
            ],
        )
        error.idempotency_key = idempotency_key
        return error

    def to_json(self) -> dict[str, object]:
        """Return the error as an entry of the JSON envelope, with `idempotency_key`."""
        return super().to_json() | {"idempotency_key": self.idempotency_key}


class ApprovalMismatch(Refusal):
    """The approval is of another action, target or set of parameters than was asked for."""

    code = "approval-mismatch"


class PluginContractBroken(PluginFault):
    """The plugin sent something that the plugin interface does not allow."""

    code = "plugin-contract-broken"


class DestinationUnavailable(AperioError):
    """A destination did not take envelopes for as long as they were to be tried again.

    Attributes:
        retry_after_s: whole seconds that it asks to wait; None: it does not say.
    """

    code = "destination-unavailable"
    exit_status = UNAVAILABLE

    retry_after_s: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return the error as an entry of the JSON envelope, with `retry_after_s`."""
        return super().to_json() | {"retry_after_s": self.retry_after_s}


class CheckpointMoved(AperioError):
    """The destination keeps the cursor of the sync, and it has another one than it had before.

    It was brought back from a backup while the sync went on, or another sync of the same
    integration goes on beside it. Nothing was stored over that cursor; the next sync goes on from
    it.
    """

    code = "checkpoint-moved"
    exit_status = UNAVAILABLE


class EventNotPassedOn(PluginFault):
    """A connector read an event that cannot be passed on, and the sync was asked to be strict."""

    code = "event-not-passed-on"


class InterpreterChanged(AperioError):
    """The Python that a plugin was installed for is gone, or is another version now."""

    code = "interpreter-changed"
    exit_status = INCOMPATIBLE


class PluginConfigInvalid(AperioError):
    """A configuration key of a plugin is missing, unknown or of a wrong type."""

    code = "plugin-config-invalid"
    exit_status = USAGE


class TokenUrlRefused(Refusal):
    """The address to ask for tokens is not one that the plugin's manifest permits."""

    code = "token-url-refused"


class TokenRefused(AperioError):
    """The service did not give a token for the client id and secret in the configuration."""

    code = "token-refused"


class TokenUnavailable(AperioError):
    """The service that gives tokens could not be reached, or answered something unusable."""

    code = "token-unavailable"
    exit_status = UNAVAILABLE


class StateUnreadable(AperioError):
    """The database of checkpoints and stored values cannot be read or written."""

    code = "state-unreadable"


class StateLimit(AperioError):
    """A key, a value or a whole slice of the key-value store is larger than allowed."""

    code = "state-limit"


class StateConflict(AperioError):
    """A conditional write to the key-value store found another revision than it asked for."""

    code = "state-conflict"


class RequiredLimit(Refusal):
    """`[sandbox] require` names a limit that is not enforced on this machine."""

    code = "limit-required"


class SandboxFailed(Refusal):
    """The sandbox that this machine offers could not be made around the plugin; it did not run."""

    code = "sandbox-failed"


class ExceptionExpired(Refusal):
    """The plugin was installed without proof until a date, and that date has passed."""

    code = "exception-expired"
