"""What is counted of one run while it goes on, for its receipt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Counts of one run; whoever does a part of it adds to them.

    Attributes:
        sent: records that were passed on and accepted.
        filtered: records that nobody had asked for, or that the destination does not take.
        dead_letters: records that could not be passed on, or will never be taken.
        left: records that have to be handed over again.
        checkpoint_sha256: of the cursor that was stored last, hex; empty: none was.
        covers_until: all up to this time was read, RFC 3339 in UTC; empty: not known.
        tokens: access tokens that were obtained.
        egress_refused: connections that were refused.
        peak_memory_bytes: the most memory that the plugin had; None: nobody has counted it.
    """

    sent: int = 0
    filtered: int = 0
    dead_letters: int = 0
    left: int = 0
    checkpoint_sha256: str = ""
    covers_until: str = ""
    tokens: int = 0
    egress_refused: int = 0
    peak_memory_bytes: int | None = None

    @property
    def seen(self) -> int:
        """Records that were read, or handed over."""
        return self.sent + self.filtered + self.dead_letters + self.left

    def leave_out(self, count: int) -> None:
        """Count as filtered what counted as sent, and a destination does not take."""
        self.sent -= count
        self.filtered += count
