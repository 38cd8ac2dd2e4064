"""What there is to see of one version, wherever it is: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.models.evidence import proof_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.evidence import Evidence
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.models.proof import Provenance
    from aperio_cli.models.publisher import Signer


@dataclass(frozen=True, slots=True)
class Component:
    """One dependency, as a bill of materials names it.

    Attributes:
        versions: those that are in it; interpreters may need different ones.
        digests: of its files, hex.
    """

    versions: tuple[str, ...]
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenFile:
    """One file: digest of its contents in hex, mode, length."""

    sha256: str
    mode: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One version of a plugin.

    Attributes:
        place: `installed`, `artifact` or `registry`.
        manifest: what it declares.
        evidence: why it is admitted; None when it is not.
        refusal: the code of the error when it is not; empty when it is.
        components: its dependencies, by name; None when it has no bill of materials that can be
            read.
        files: by path, without compiled Python, which no artifact has.
    """

    place: str
    manifest: Manifest
    evidence: Evidence | None
    refusal: str
    components: Mapping[str, Component] | None
    files: Mapping[str, SeenFile]

    @property
    def size_bytes(self) -> int:
        """The length of its files together."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def signer(self) -> Signer | None:
        """Who signed it, as was verified; None for nobody."""
        proof = proof_of(self.evidence) if self.evidence else None
        return proof.signer if proof else None

    @property
    def provenance(self) -> tuple[Provenance, ...]:
        """How it was built, as was verified."""
        proof = proof_of(self.evidence) if self.evidence else None
        stated = proof.attestations if proof else ()
        return tuple(each.provenance for each in stated if each.provenance)

    def to_json(self) -> dict[str, object]:
        """Return which version it is, as reports carry it."""
        manifest = self.manifest
        return {"id": str(manifest.id), "version": manifest.version, "place": self.place}
