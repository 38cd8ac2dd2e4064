"""What maintainers are told when what they published is about to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.context import Context


def expiry_notes(context: Context, expires_at: str, directory: Path) -> Iterator[str]:
    """Yield a warning from two weeks before the end of an edition on.

    Args:
        context: gives the trusted roots, by which is told how it is signed.
        expires_at: its last moment, RFC 3339 in UTC.
        directory: the source that it is of, or the folder that was built.
    """
    from aperio_cli import clock
    from aperio_cli.publishing.steps import renewal_step
    from aperio_cli.text import counted
    from aperio_cli.trust.registry_root import WARNED_DAYS, days_until

    left = days_until(expires_at, clock.now())
    if left >= WARNED_DAYS:
        return
    step = renewal_step(directory, lambda: context.trusted_roots)
    if left < 0:
        yield f"this edition ended on {expires_at}: no client reads it; {step}"
    else:
        yield f"this edition ends on {expires_at}, in {counted(left, 'day')}: {step}"
