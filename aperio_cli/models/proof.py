"""What verification found out: facts that signatures prove, and nothing that they do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.models.publisher import Signer

if TYPE_CHECKING:
    from aperio_cli.models.reading import Table

# Predicate types of in-toto statements (Sigstore and SLSA specifications name them).
PROVENANCE_TYPE: Final = "https://slsa.dev/provenance/v1"
SBOM_TYPE: Final = "https://cyclonedx.org/bom"
RELEASE_TYPES: Final = (
    "https://in-toto.io/attestation/release/v0.1",
    "https://in-toto.io/attestation/release/v0.2",
)
UNATTESTED_BUILDER: Final = "https://local.aperio.invalid/builders/unattested"
"""Builder of a provenance that vouches for nothing: whoever signed built it, as they say."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """Where a signature stands in a transparency log, as its inclusion proof proves.

    Attributes:
        log: the log, as the trusted root names it.
        index: position of the entry in the log's tree.
        tree_size: number of entries of the tree that the proof is about.
    """

    log: str
    index: int
    tree_size: int

    def to_json(self) -> dict[str, object]:
        """Return the entry as receipts and reports carry it."""
        return {"log": self.log, "index": self.index, "tree_size": self.tree_size}

    @classmethod
    def from_json(cls, table: Table) -> LogEntry:
        """Return the entry that a record carries."""
        return cls(table.recorded("log"), table.integer("index"), table.integer("tree_size"))


@dataclass(frozen=True, slots=True)
class RootFacts:
    """Which trusted root something was verified against.

    Attributes:
        name: name of the trust domain.
        digest: sha256 of the root's document, 64 hex digits.
        origin: `vendored`, `refreshed`, `file` or `local`.
        as_of: when the document was known to be current, RFC 3339 in UTC; empty when unknown.
    """

    name: str
    digest: str
    origin: str
    as_of: str

    def to_json(self) -> dict[str, object]:
        """Return the root as receipts and reports carry it."""
        return {
            "name": self.name,
            "sha256": self.digest,
            "origin": self.origin,
            "as_of": self.as_of,
        }

    @classmethod
    def from_json(cls, table: Table) -> RootFacts:
        """Return the root that a record carries; facts that it lacks are blank."""
        return cls(
            name=table.recorded("name"),
            digest=table.recorded("sha256", ""),
            origin=table.recorded("origin", ""),
            as_of=table.recorded("as_of", ""),
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """How an artifact came to be, as a signed SLSA provenance says (slsa.dev, provenance v1).

    Attributes:
        builder: `runDetails.builder.id`.
        build_type: `buildDefinition.buildType`.
        source_repository: the repository that was built, without revision; empty when unstated.
        source_digest: its git commit; empty when unstated.
        invocation: the run; empty when unstated.
    """

    builder: str
    build_type: str
    source_repository: str = ""
    source_digest: str = ""
    invocation: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the provenance as receipts and reports carry it."""
        return {
            "builder": self.builder,
            "build_type": self.build_type,
            "source_repository": self.source_repository,
            "source_sha": self.source_digest,
            "invocation": self.invocation,
        }

    @classmethod
    def from_json(cls, table: Table) -> Provenance:
        """Return the provenance that a record carries."""
        return cls(
            builder=table.recorded("builder"),
            build_type=table.recorded("build_type"),
            source_repository=table.recorded("source_repository", ""),
            source_digest=table.recorded("source_sha", ""),
            invocation=table.recorded("invocation", ""),
        )


@dataclass(frozen=True, slots=True)
class Attestation:
    """A verified in-toto statement about the artifact.

    Attributes:
        predicate_type: what kind of statement it is.
        signer: who made it.
        provenance: its contents, when it is SLSA provenance; else None.
    """

    predicate_type: str
    signer: Signer
    provenance: Provenance | None = None

    def to_json(self) -> dict[str, object]:
        """Return the attestation as receipts and reports carry it."""
        return {
            "predicate_type": self.predicate_type,
            "signer": self.signer.to_json(),
            "provenance": self.provenance.to_json() if self.provenance else None,
        }

    @classmethod
    def from_json(cls, table: Table) -> Attestation:
        """Return the attestation that a record carries."""
        provenance = table.optional_table("provenance")
        return cls(
            predicate_type=table.recorded("predicate_type"),
            signer=Signer.from_json(table.table("signer")),
            provenance=Provenance.from_json(provenance) if provenance else None,
        )


@dataclass(frozen=True, slots=True)
class Proof:
    """What a bundle proves about an artifact.

    Attributes:
        signer: who signed.
        root: against which trusted root that was verified.
        log_entry: where the signature was logged; None when the log gave only its promise.
        form: `signature` over the file, or `statement` that names it among its subjects.
        attestations: further statements about it that verified.
    """

    signer: Signer
    root: RootFacts
    log_entry: LogEntry | None = None
    form: str = "signature"
    attestations: tuple[Attestation, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the proof as receipts and reports carry it, without the signer."""
        return {
            "form": self.form,
            "root": self.root.to_json(),
            "log_entry": self.log_entry.to_json() if self.log_entry else None,
            "attestations": [attestation.to_json() for attestation in self.attestations],
        }

    @classmethod
    def from_json(cls, table: Table, signer: Signer) -> Proof:
        """Return the proof that a record carries; its signer stands beside it.

        A record that kept the signer only has no attestations, and the root's facts are blank.
        """
        root, entry = table.optional_table("root"), table.optional_table("log_entry")
        return cls(
            signer=signer,
            root=RootFacts.from_json(root) if root else RootFacts(signer.domain, "", "", ""),
            log_entry=LogEntry.from_json(entry) if entry else None,
            form=table.recorded("form", "signature"),
            attestations=tuple(map(Attestation.from_json, table.optional_tables("attestations"))),
        )
