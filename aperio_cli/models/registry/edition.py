"""An edition of a registry: what was read, and who stands for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperio_cli.models.publisher import Signer


@dataclass(frozen=True, slots=True)
class Edition:
    """One edition of a registry.

    Attributes:
        registry: the folder or the address that the operator named; mirrors are not it.
        epoch: counts up when serials start anew; None when it does not say.
        serial: which edition it says it is; None when it does not say.
        expires_at: its last moment, RFC 3339 in UTC; empty when it has none.
        signer: who signed it; None where nobody is stated who has to have, and nothing is checked.
    """

    registry: str
    epoch: int | None = None
    serial: int | None = None
    expires_at: str = ""
    signer: Signer | None = None

    @property
    def name(self) -> str:
        """What people are shown: where it is, and whether somebody signed for it."""
        return self.registry if self.signer else f"{self.registry} (unchecked index)"

    def to_json(self) -> dict[str, object]:
        """Return the edition as reports carry it."""
        return {
            "registry": self.registry,
            "is_signed": self.signer is not None,
            "signer": self.signer.to_json() if self.signer else None,
            "epoch": self.epoch,
            "serial": self.serial,
            "expires_at": self.expires_at or None,
        }
