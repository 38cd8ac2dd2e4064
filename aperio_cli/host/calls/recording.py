"""Recording: the receipt of one run, from its beginning to its end."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.data.run_receipts import moment
from aperio_cli.errors import AperioError
from aperio_cli.errors.usage import InternalError, Interrupted
from aperio_cli.host.answers import word
from aperio_cli.host.calls.tally import Tally
from aperio_cli.models.run_receipt import (
    FAILED,
    MOST_MESSAGE,
    SUCCEEDED,
    RunReceipt,
    make_run_id,
)
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.models.plugin_id import PluginId

_LONG: Final = frozenset({"sync", "deliver", "execute"})
"""Operations whose receipt is there from their beginning: a kill must not hide that they began."""
_MOST_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class Invoked:
    """What is asked of whom, for whom.

    Attributes:
        plugin: which one.
        version: its version.
        organization: the tenant.
        integration: the connected account.
        operation: what it is asked to do.
        instead_of: the version in whose place that one runs; empty: none.
        traceparent: the caller's span; empty: none.
    """

    plugin: PluginId
    version: str
    organization: str
    integration: str
    operation: str
    instead_of: str = ""
    traceparent: str = ""


class Recording:
    """The receipt of one run, from its beginning to its end.

    Args:
        run: what is asked.
        keep: takes the receipt, at the end, and at the beginning of what may take long.

    Attributes:
        tally: what is counted meanwhile.
    """

    def __init__(self, run: Invoked, keep: Callable[[RunReceipt], None]) -> None:
        self.tally = Tally()
        self._keep = keep
        self._began_s = clock.monotonic_s()
        self._refusal = ("", "")
        self._begun: dict[str, Any] = {
            "run_id": make_run_id(os.urandom(12)),
            "plugin": run.plugin,
            "version": run.version,
            "organization": one_line(run.organization, limit=_MOST_NAME),
            "integration": one_line(run.integration, limit=_MOST_NAME),
            "operation": run.operation,
            "started_at": moment(),
            "instead_of": run.instead_of,
            "traceparent": run.traceparent,
        }
        self._ended: RunReceipt | None = None
        if run.operation in _LONG:
            keep(self.receipt)

    @property
    def receipt(self) -> RunReceipt:
        """The receipt as it is now."""
        return self._ended or RunReceipt(**self._begun)

    @property
    def run_id(self) -> str:
        """The run's id."""
        run_id: str = self._begun["run_id"]
        return run_id

    def answered(self, operation: str, message: Any) -> None:
        """Take what a plugin answered: that it was not done is said by the answer alone."""
        if operation == "test" and not message.ok:
            self._refusal = ("test-failed", _said(message))
        elif operation == "execute":
            outcome = word(message.Outcome, message.outcome)
            if outcome in {"failed", "unknown"}:
                code = "outcome-unknown" if outcome == "unknown" else "action-failed"
                self._refusal = (code, _said(message))

    def end(self, error: BaseException | None = None) -> RunReceipt:
        """Keep and return the receipt of a run that has ended.

        Args:
            error: with which; None: with an answer.
        """
        tally = self.tally
        code, said = self._refusal if error is None else _words(error)
        self._ended = RunReceipt(
            **self._begun,
            status=FAILED if code else SUCCEEDED,
            ended_at=moment(),
            duration_ms=round((clock.monotonic_s() - self._began_s) * 1000),
            seen=tally.seen,
            sent=tally.sent,
            filtered=tally.filtered,
            dead_letters=tally.dead_letters,
            checkpoint_sha256=tally.checkpoint_sha256,
            covers_until=tally.covers_until,
            tokens=tally.tokens,
            egress_refused=tally.egress_refused,
            peak_memory_bytes=tally.peak_memory_bytes,
            code=code,
            error_message=one_line(said, limit=MOST_MESSAGE),
        )
        self._keep(self._ended)
        return self._ended


def _said(message: Any) -> str:
    """Return the first of what a plugin says about its answer."""
    return next((item.summary for item in message.diagnostics), "")


def _words(error: BaseException) -> tuple[str, str]:
    """Return the code of what ended a run, and what it says."""
    if isinstance(error, AperioError):
        return error.code, error.what
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return Interrupted.code, "it was interrupted"
    return InternalError.code, type(error).__name__
