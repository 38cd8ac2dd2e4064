"""Which of the limits that a manifest can ask for this host enforces."""

from __future__ import annotations

from typing import Final

ENFORCED: Final = frozenset({"open_files"})
NOT_ENFORCED: Final = ("cpu", "memory", "egress", "processes", "tmp")
"""Said at every start."""
