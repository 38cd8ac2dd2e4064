"""What of a connector's events a sync asks for, and whether the connector can be asked for it.

A connector that does not name a feature would ignore the request and give everything: it is
refused instead (proto/aperio/plugin/v1/common.proto, `Interface.features`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors.usage import UsageError
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

COMMAND_LINE: Final = ("--from", "--stream", "--event-type")


@dataclass(frozen=True, slots=True)
class SyncScope:
    """What a sync asks for; nothing said: everything.

    Attributes:
        from_time: leave out what occurred before; aware. It counts without a checkpoint only.
        streams: names of declared streams.
        event_types: the types that are wanted.
        options: how the three are asked for, for messages.
    """

    from_time: datetime | None = None
    streams: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    options: tuple[str, str, str] = field(default=COMMAND_LINE, compare=False)

    @property
    def key(self) -> str:
        """The choice as a key of its checkpoint: the sorted names; empty: everything.

        Each choice has a key of its own: none may skip what another one left out.
        """
        names = ",".join(sorted(set(self.streams)))
        types = json.dumps(sorted(set(self.event_types))) if self.event_types else ""
        return f"{names} {types}".strip()


EVERYTHING: Final = SyncScope()


def require_understood(scope: SyncScope, schema: Any, subject: str) -> None:
    """Require that a connector can be asked for this.

    Args:
        scope: what is asked for.
        schema: the connector's.
        subject: what to call it in messages.

    Raises:
        UsageError: it lacks the feature, or declares no such stream or type; names it.
    """
    features = schema.interface.features
    of_from, of_stream, of_type = scope.options
    for option, feature, asked in (
        (of_from, "backfill", scope.from_time is not None),
        (of_stream, "streams", scope.streams),
        (of_type, "event-types", scope.event_types),
    ):
        if asked and feature not in features:
            raise UsageError(
                f"`{option}` is nothing that {subject} understands: nothing was read",
                why=f"expected the feature `{feature}` in its schema, found {_listed(features)}",
                next=[f"leave `{option}` out"],
            )
    streams = [stream.name for stream in schema.streams]
    _require_known(of_stream, scope.streams, streams, subject)
    wildcard = f"{schema.provider.lower()}."
    if f"{wildcard}*" not in schema.event_types:
        _require_known(of_type, scope.event_types, schema.event_types, subject)
    for name in scope.event_types:
        if not name.startswith(wildcard):
            _require_known(of_type, (name,), schema.event_types, subject)


def _require_known(
    option: str, wanted: Sequence[str], declared: Sequence[str], subject: str
) -> None:
    for name in wanted:
        if name not in declared:
            raise UsageError(
                f"`{option} {one_line(name)}` is nothing that {subject} has: nothing was read",
                why=f"its schema declares {_listed(declared)}",
                next=["the operation `schema` shows what there is"],
            )


def _listed(names: Sequence[str]) -> str:
    return one_line(", ".join(names), limit=400) if names else "none"
