"""One sync: the author's generator in a thread of its own, its items as messages for the host.

Batches close at 256 items, 1 MiB or 200 ms, whichever comes first; a checkpoint, a dead letter, or
an item of another kind closes the batch before it. The generator is held up while `_READY` messages
wait for the host.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from aperio_plugin._convert import events, findings
from aperio_plugin._convert.letters import dead_letter_message, letter_of
from aperio_plugin._launch import keep_threads
from aperio_plugin.connector import (
    AuditLogEntry,
    Checkpoint,
    DeadLetter,
    Event,
    Finding,
    Progress,
)
from aperio_plugin.errors import InvalidRecord
from aperio_plugin.limits import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aperio_plugin._generated.aperio.plugin.v1.connector_pb2 import SyncEvent
    from aperio_plugin.connector import Item

BATCH_BYTES: Final = 1024 * 1024
BATCH_S: Final = 0.2
_READY: Final = 2
"""More would not be faster, measured, and costs memory."""
_CLOSING_S: Final = 1.0
"""How long an ended call waits for the generator's own cleaning up."""


class _Batching:
    """How the items of one kind are batched.

    Args:
        fields: of an item, and an upper bound of its size; or InvalidRecord.
        letter: the dead letter of such an item.
        message: of the fields of a batch.
    """

    def __init__(
        self,
        fields: Callable[[Any], tuple[dict[str, Any], int]],
        letter: Callable[[Any, str], DeadLetter],
        message: Callable[[list[dict[str, Any]]], SyncEvent],
    ) -> None:
        self.fields, self.letter, self.message = fields, letter, message


_EVENTS: Final = _Batching(events.event_fields, letter_of, events.batch_message)
_FINDINGS: Final = _Batching(
    findings.finding_fields, findings.letter_of_finding, findings.finding_batch
)
_ENTRIES: Final = _Batching(findings.entry_fields, findings.letter_of_entry, findings.entry_batch)


class EventStream:
    """The messages of one sync, in order; iterate once, and `stop` when no more are wanted.

    Args:
        start: begins the author's generator; called in the stream's own thread.
        name: of that thread.
    """

    def __init__(self, start: Callable[[], Iterator[Item]], name: str) -> None:
        self._start = start
        self._lock = threading.RLock()  # by itself for each event: it is quicker than the condition
        self._changed = threading.Condition(self._lock)
        self._ready: deque[SyncEvent] = deque()
        self._batch: list[dict[str, Any]] = []
        self._batching = _EVENTS
        self._batch_bytes = 0
        self._batch_until = 0.0
        self._stopped = False
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._produce, name=name, daemon=True)

    def __iter__(self) -> Iterator[SyncEvent]:
        """Give the messages, then raise what the generator raised, if it did."""
        self._thread.start()
        try:
            while (message := self._next()) is not None:
                yield message
        finally:
            self.stop()
            self._thread.join(_CLOSING_S)
        if isinstance(self._error, GeneratorExit):
            # Raised here, it would mean that the host has ended the call, who waits for its end.
            raise RuntimeError("sync raised GeneratorExit") from self._error  # noqa: TRY004 - no type
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Have the generator closed at its next yield; does not wait for that."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    # ── the host's side ───────────────────────────────────────────────────────────────────────────

    def _next(self) -> SyncEvent | None:
        """Wait for the next message; None: there are no more, or no more are wanted."""
        with self._changed:
            while not self._stopped:
                if self._ready:
                    self._changed.notify_all()
                    return self._ready.popleft()
                if self._ended:
                    return None
                wait_s = self._batch_until - time.monotonic() if self._batch else None
                if wait_s is not None and wait_s <= 0:
                    self._close_batch()
                else:
                    self._changed.wait(wait_s)
            return None

    # ── the generator's side ──────────────────────────────────────────────────────────────────────

    def _produce(self) -> None:
        error: BaseException | None = None
        try:
            self._consume(self._start())
        except BaseException as raised:  # noqa: BLE001 - raised again on the host's side
            error = raised
        keep_threads()
        with self._changed:
            self._close_batch()
            self._error = error
            self._ended = True
            self._changed.notify_all()

    def _consume(self, items: Iterator[object]) -> None:
        if not hasattr(items, "__iter__"):
            raise TypeError(f"sync must be a plain generator, not {type(items).__name__}")
        close: Callable[[], Any] | None = getattr(items, "close", None)
        try:
            for item in items:
                if isinstance(item, Event):
                    self._add(item, _EVENTS)
                else:
                    self._take(item)
                if self._stopped:
                    return
        finally:
            if close is not None:
                close()

    def _take(self, item: object) -> None:
        """Take what is no event.

        Raises:
            TypeError: it is nothing that a sync yields.
        """
        keep_threads()
        match item:
            case Checkpoint():
                self._put(events.checkpoint_message(item))
            case Progress():
                self._put(events.progress_message(item))
            case DeadLetter():
                self._put(dead_letter_message(item))
            case Finding():
                self._add(item, _FINDINGS)
            case AuditLogEntry():
                self._add(item, _ENTRIES)
            case _:
                known = "Event, Finding, AuditLogEntry, Checkpoint, Progress or DeadLetter"
                raise TypeError(f"sync must yield {known}, not {type(item).__name__}")

    def _add(self, item: Event | Finding | AuditLogEntry, batching: _Batching) -> None:
        try:
            fields, size = batching.fields(item)
        except InvalidRecord as error:
            self._put(dead_letter_message(batching.letter(item, error.summary)))
            return
        with self._lock:
            if self._batch and (
                self._batch_bytes + size > BATCH_BYTES or self._batching is not batching
            ):
                self._close_batch()
                self._wait_for_room()
            if not self._batch:
                keep_threads()
                self._batching = batching
                self._batch_until = time.monotonic() + BATCH_S
                self._changed.notify_all()  # the host's side waits no longer than that
            self._batch.append(fields)
            self._batch_bytes += size
            if len(self._batch) >= MAX_BATCH:
                self._close_batch()
                self._wait_for_room()

    def _put(self, message: SyncEvent) -> None:
        with self._changed:
            self._close_batch()
            self._ready.append(message)
            self._changed.notify_all()
            self._wait_for_room()

    # ── for both sides, with the lock held ────────────────────────────────────────────────────────

    def _close_batch(self) -> None:
        if self._batch:
            self._ready.append(self._batching.message(self._batch))
            self._batch = []
            self._batch_bytes = 0
            self._changed.notify_all()

    def _wait_for_room(self) -> None:
        while len(self._ready) >= _READY and not self._stopped:
            self._changed.wait()
