"""What the services of all kinds share: requests in, answers or errors out.

`_connecting`, `_remediating` and `_delivering` put an author's class behind these. None knows how
calls arrive: `_server` puts gRPC in front, `testing` does without.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aperio_plugin import errors
from aperio_plugin._convert import calls
from aperio_plugin._logging import InvocationLogger
from aperio_plugin._state import HostState
from aperio_plugin.context import Context, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aperio_plugin._generated.aperio.plugin.v1 import common_pb2
    from aperio_plugin.context import State


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it arrived.

    Attributes:
        cancelled: set when it ended early.
        deadline: on the clock of `time.monotonic`; None: none.
        state: takes the place of the host's key-value store.
    """

    cancelled: threading.Event = field(default_factory=threading.Event)
    deadline: float | None = None
    state: State | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service.

    Attributes:
        request: the protobuf message class of its requests.
        answer: takes a request and the call; gives a message, or an iterator of them.
        streams: it gives an iterator.
    """

    request: Any
    answer: Callable[[Any, Call], Any]
    streams: bool = False


class Service(Protocol):
    """A service of the plugin interface around an author's class."""

    name: str
    """Its full name in the interface's package."""

    def methods(self) -> Mapping[str, Method]:
        """Give the methods by name."""


def context_of(message: common_pb2.InvocationContext, call: Call) -> Context:
    """Give what the author sees of a call.

    Raises:
        errors.InvalidArgument: the configuration is not a JSON object.
    """
    identity: dict[str, Any] = {
        "organization_id": message.organization_id,
        "integration_id": message.integration_id,
        "invocation_id": message.invocation_id,
    }
    return Context(
        **identity,
        config=calls.config_from(message),
        token=calls.token_from(message),
        logger=InvocationLogger(logging.getLogger("plugin"), identity),
        cancelled=call.cancelled,
        state=call.state or HostState(message.invocation_id),
        deadline=call.deadline,
        # A host that does not say, and one that says something new, allow no more than reading.
        mode=Mode.REMEDIATION if message.mode == message.MODE_REMEDIATION else Mode.READ_ONLY,
        granted_scopes=tuple(message.granted_scopes),
        traceparent=message.traceparent,
        tracestate=message.tracestate,
    )


def failure(raised: BaseException) -> errors.PluginError:
    """Give the error that the host is told; anything unforeseen is logged with its traceback."""
    if isinstance(raised, errors.PluginError):
        return raised
    logging.getLogger("aperio_plugin").error("the plugin failed", exc_info=raised)
    trace = raised.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    # Not the exception's own text: it may quote a secret, and the log record has it anyway.
    return errors.PluginError(
        f"the plugin failed with {type(raised).__name__}",
        detail=f"Raised{place}; the plugin's log has the traceback.",
    )
