"""One invocation: on whose behalf a plugin is called, and which slice of the state that opens."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aperio_cli.data.state import Slice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from aperio_plugin.wire import common_pb2

DEFAULT_ORGANIZATION: Final = "local"
DEFAULT_INTEGRATION: Final = "local"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token for one invocation.

    Attributes:
        value: the bearer token; secret, so it is not part of the text form.
        expires_at: when it stops working, aware; None: the service did not say.
    """

    value: str = field(repr=False)
    expires_at: datetime | None = None


def _new_id() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Invocation:
    """What every request to a plugin begins with.

    Attributes:
        organization_id: the tenant.
        integration_id: the connected account.
        config_json: the checked configuration, a JSON object; may hold secrets.
        token: the access token, when the plugin's auth is OAuth 2.0.
        invocation_id: unique; joins the host's and the plugin's logs.
        may_write: whether remediations may write to the service.
        granted_scopes: of those that the manifest asks for.
        traceparent: the host's span, as W3C Trace Context writes it; empty: nobody traces it.
        tracestate: what the systems above add to that, likewise; empty: nothing.
    """

    organization_id: str = DEFAULT_ORGANIZATION
    integration_id: str = DEFAULT_INTEGRATION
    config_json: bytes = field(default=b"{}", repr=False)
    token: AccessToken | None = None
    invocation_id: str = field(default_factory=_new_id)
    may_write: bool = False
    granted_scopes: tuple[str, ...] = ()
    traceparent: str = ""
    tracestate: str = ""

    def to_message(self) -> common_pb2.InvocationContext:
        """Return the invocation as field 1 of a request (common.proto)."""
        from aperio_plugin.wire import common_pb2

        message = common_pb2.InvocationContext(
            organization_id=self.organization_id,
            integration_id=self.integration_id,
            invocation_id=self.invocation_id,
            config_json=self.config_json,
            mode="MODE_REMEDIATION" if self.may_write else "MODE_READ_ONLY",
            granted_scopes=self.granted_scopes,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
        )
        if self.token:
            message.token.value = self.token.value
            if self.token.expires_at:
                message.token.expires_at.FromDatetime(self.token.expires_at)
        return message


class OpenInvocations:
    """The invocations in progress of one plugin: what its calls to the host are looked up in.

    Args:
        owner: whose stored state they open; part of every slice.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._slices: dict[str, Slice] = {}

    @contextlib.contextmanager
    def open(self, invocation: Invocation) -> Iterator[common_pb2.InvocationContext]:
        """Give the context message for a request; the slice is open while the block runs."""
        self._slices[invocation.invocation_id] = Slice(
            self._owner, invocation.organization_id, invocation.integration_id
        )
        try:
            yield invocation.to_message()
        finally:
            del self._slices[invocation.invocation_id]

    def find(self, invocation_id: str) -> Slice | None:
        """Return the slice of an invocation in progress, or None."""
        return self._slices.get(invocation_id)
