"""The ids that were read lately, to drop what Box repeats."""

from collections import deque
from typing import Final

WINDOW: Final = 20_000  # about 3 MB; more than two weeks of a small enterprise


class RecentIds:
    """Remembers the last `window` ids."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._order: deque[str] = deque()
        self._known: set[str] = set()

    def is_new(self, event_id: str) -> bool:
        """Tell whether the id was not among the last ones, and remember it."""
        if event_id in self._known:
            return False
        self._known.add(event_id)
        self._order.append(event_id)
        if len(self._order) > self._window:
            self._known.discard(self._order.popleft())
        return True
