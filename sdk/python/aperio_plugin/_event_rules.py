"""What the events of one sync are beside their form: one rule for hosts and for tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_plugin.limits import MAX_ACTOR_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

__all__ = ["NUL_DOUBT", "EventRules", "Flaw", "Remembered", "actor_text", "has_nul"]

REMEMBERED_IDS: Final = 16_384
"""At least so many ids before an event are compared with its own, and at most twice as many."""

NUL_DOUBT: Final = "record: a text in it has U+0000, which Aperio's server cannot store"
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")


def actor_text(text: str) -> str:
    """Return a text of an actor as it may be: cut visibly, without U+0000."""
    text = text.replace("\0", "\ufffd")
    if len(text) <= MAX_ACTOR_CHARACTERS:
        return text
    return text[: MAX_ACTOR_CHARACTERS - 1] + "\u2026"


def has_nul(data: bytes) -> bool:
    """Return whether a key or a text in JSON has U+0000, which the product's database refuses."""
    return rb"\u0000" in data and _NUL.search(data) is not None


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with an event, or a finding, or an entry of an audit log.

    Attributes:
        text: says it of the event; may hold what that says, not cleaned.
        is_breach: whether a host has to refuse it. Anything else it passes on and says: an event
            that is there must not be lost because its connector told less than the truth.
    """

    text: str
    is_breach: bool


class Remembered:
    """The latest things of a sync: at least `REMEMBERED_IDS`, and at most twice as many.

    Args:
        known: that came before all others.
    """

    def __init__(self, known: Iterable[Hashable] = ()) -> None:
        self._known = set(known)
        self._older: set[Hashable] = set()

    def add(self, thing: Hashable) -> bool:
        """Remember a thing; return whether it is new."""
        if thing in self._known or thing in self._older:
            return False
        if len(self._known) >= REMEMBERED_IDS:
            self._known, self._older = set(), self._known
        self._known.add(thing)
        return True


class EventRules:
    """Looks at the events of one sync, in their order.

    Args:
        provider: upper-case name of the service, as in the manifest.
        declared: the schema's event types; none: it says nothing about them. `provider.*` among
            them says that others come as well.
    """

    def __init__(self, provider: str, declared: Iterable[str] = ()) -> None:
        self._prefix = f"{provider.lower()}."
        self._declared = frozenset(declared)
        self._takes_any = not self._declared or f"{self._prefix}*" in self._declared
        self._seen_types = {name for name in self._declared if self._is_ours(name)}
        self._ids: set[str] = set()
        self._older_ids: set[str] = set()

    def restart(self) -> None:
        """Forget the ids: the sync goes on from a checkpoint, and repeats what came after it."""
        self._ids, self._older_ids = set(), set()

    def flaws(self, source_event_id: str, event_type: str) -> Iterable[Flaw]:
        """Return what is wrong with the next event; an undeclared type once only."""
        ids = self._ids
        if (
            event_type in self._seen_types
            and source_event_id not in ids
            and source_event_id not in self._older_ids
            and len(ids) < REMEMBERED_IDS
        ):  # the usual case, of every event
            ids.add(source_event_id)
            return ()
        return self._flaws(source_event_id, event_type)

    def _flaws(self, source_event_id: str, event_type: str) -> Iterator[Flaw]:
        if event_type not in self._seen_types:
            if not self._is_ours(event_type):
                yield Flaw(
                    f"event_type {event_type}: expected `{self._prefix}` and a name", is_breach=True
                )
                return
            self._seen_types.add(event_type)
            if not self._takes_any:
                yield Flaw(
                    f"event_type {event_type}: the schema does not declare it", is_breach=False
                )
        if source_event_id in self._ids or source_event_id in self._older_ids:
            yield Flaw("source_event_id: another event of this sync has it, too", is_breach=False)
            return
        if len(self._ids) >= REMEMBERED_IDS:
            self._ids, self._older_ids = set(), self._ids
        self._ids.add(source_event_id)

    def _is_ours(self, name: str) -> bool:
        return name.startswith(self._prefix) and len(name) > len(self._prefix)
