"""What a plugin knows about the call it is answering."""

from __future__ import annotations

import enum
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aperio_plugin import errors

if TYPE_CHECKING:
    import logging
    import threading
    from datetime import datetime

__all__ = ["Config", "Context", "Mode", "State", "StoredValue", "SyncRequest", "Token"]


class Config(Mapping[str, Any]):
    """The operator's settings by key, without those that only the host may use.

    Its text form shows keys only, because values may be secrets.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({', '.join(sorted(self._values))})"

    def text(self, key: str, default: str | None = None) -> str:
        """Give a setting that is text.

        Raises:
            errors.InvalidConfig: there is none and no default, or it is not text.
        """
        value = self._required(key, default)
        if not isinstance(value, str):
            raise errors.InvalidConfig(f"{key} must be text", field=key)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Give a setting that is a number; a whole one is an int.

        Raises:
            errors.InvalidConfig: there is none and no default, or it is not a number.
        """
        value = self._required(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise errors.InvalidConfig(f"{key} must be a number", field=key)
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Give a setting that is true or false.

        Raises:
            errors.InvalidConfig: there is none and no default, or it is neither.
        """
        value = self._required(key, default)
        if not isinstance(value, bool):
            raise errors.InvalidConfig(f"{key} must be true or false", field=key)
        return value

    def _required(self, key: str, default: Any) -> Any:
        value = self._values.get(key, default)
        if value is None:
            raise errors.InvalidConfig(f"{key} is not set", field=key)
        return value


@dataclass(frozen=True, slots=True)
class Token:
    """An access token that the host obtained for this call.

    Attributes:
        value: the bearer token. Secret: never log or store it; it is not part of the text form.
        expires_at: when it stops working, in UTC; None: unknown.
    """

    value: str = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value in the key-value store.

    Attributes:
        value: at most 1 MiB.
        revision: grows with each change of the key, from 1.
    """

    value: bytes
    revision: int


class State(ABC):
    """The plugin's slice of the host's key-value store: this organization and integration only.

    Keys are 1 to 512 bytes of UTF-8, values at most 1 MiB, the slice at most 16 MiB. The manifest
    must say `state: true`.
    """

    @abstractmethod
    def get(self, key: str) -> StoredValue | None:
        """Give the value of a key, or None.

        Raises:
            errors.StateUnavailable: the host offers no store, or does not answer.
        """

    @abstractmethod
    def put(self, key: str, value: bytes, *, if_revision: int | None = None) -> int:
        """Store a value and give its revision.

        Args:
            key: what to store it under.
            value: at most 1 MiB.
            if_revision: store only if the key has this revision (0: if it is absent).

        Raises:
            errors.StateConflict: the key has another revision.
            errors.StateUnavailable: the host offers no store, does not answer, or has no room.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a key; done as well when there is none.

        Raises:
            errors.StateUnavailable: the host offers no store, or does not answer.
        """

    @abstractmethod
    def keys(self, prefix: str = "") -> Iterator[str]:
        """Give the keys that begin with a prefix, in bytewise order.

        Raises:
            errors.StateUnavailable: the host offers no store, or does not answer.
        """


class Mode(enum.Enum):
    """What the operator allows on an integration."""

    READ_ONLY = "read_only"
    REMEDIATION = "remediation"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """What a sync is asked for beside its cursor; nothing said: everything.

    A host asks only for what the schema's `features` name, so a connector that declares none need
    not look at it.

    Attributes:
        from_time: leave out what occurred before, in UTC; None: everything. With a cursor it is
            None: keep it in the cursor where it has to hold on. (feature `BACKFILL`)
        streams: names of declared streams; none: all of them. (feature `STREAMS`)
        event_types: the types that are wanted; none: all. The host filters once more. (feature
            `EVENT_TYPES`)
    """

    from_time: datetime | None = None
    streams: Sequence[str] = ()
    event_types: Sequence[str] = ()

    def wants_stream(self, name: str) -> bool:
        """Tell whether a stream is asked for."""
        return not self.streams or name in self.streams

    def wants_event_type(self, name: str) -> bool:
        """Tell whether events of a type are asked for."""
        return not self.event_types or name in self.event_types


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One call: on whose behalf, with which settings, and how long it may take.

    Attributes:
        organization_id: the tenant. A plugin must keep nothing of it for another call.
        integration_id: the connected account of that organization.
        invocation_id: unique for this call; every log record of `logger` carries it.
        config: the operator's settings.
        token: the access token; None when the plugin's auth is not OAuth 2.0.
        logger: writes structured records to the host's log.
        cancelled: set when the host ended the call or its deadline passed.
        state: the key-value store.
        deadline: when the call must be done, on the clock of `time.monotonic`; None: never.
        mode: what the operator allows on the integration.
        granted_scopes: the scopes that were granted, of those that the manifest asks for.
        request: of a sync: what is asked for beside the cursor.
        traceparent: the host's span, as W3C Trace Context writes it; empty: nobody traces it.
        tracestate: what the systems above add to that, to be passed on with it; empty: nothing.
    """

    organization_id: str
    integration_id: str
    invocation_id: str
    config: Config
    token: Token | None
    logger: logging.LoggerAdapter[logging.Logger]
    cancelled: threading.Event
    state: State
    deadline: float | None = None
    mode: Mode = Mode.READ_ONLY
    granted_scopes: tuple[str, ...] = ()
    request: SyncRequest = SyncRequest()
    traceparent: str = ""
    tracestate: str = ""

    @property
    def time_left_s(self) -> float | None:
        """Seconds until the deadline, not below 0; None: there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the call lasts.

        Raises:
            errors.Cancelled: the call ended meanwhile, or had ended before.
        """
        if self.cancelled.wait(seconds):
            raise errors.Cancelled("the call ended while the plugin was waiting")
