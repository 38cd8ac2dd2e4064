"""In-toto statements: which files they are about, and what SLSA provenance says.

Formats: in-toto Attestation Framework, Statement v1 and v0.1; SLSA provenance v1 (slsa.dev). A
statement is its maker's word: a signature proves who gave it, not that it is true. Where the
maker's certificate knows better, the two have to agree.

What is read here was signed by somebody, who may still be hostile: every text that is kept is
bounded and printable, and a key that stands twice, which two readers could take differently, is
refused. sigstore-python's own reader of statements is not used: it knows few digests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_cli.errors.trust import ProvenanceMismatch
from aperio_cli.models.artifact import MAX_ATTESTATIONS_BYTES
from aperio_cli.models.proof import PROVENANCE_TYPE, Attestation, Provenance
from aperio_cli.models.publisher import REPOSITORY_URI
from aperio_cli.models.reading import Bounds, Table, described, parse_json
from aperio_cli.proving.refusals import Fault, another_file, malformed_statement
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.digest import Digest
    from aperio_cli.models.publisher import Signer

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_SUBJECTS = 1024
"""As many as GitHub's artifact attestations take."""

# The two have the members that are read here in common; cosign still writes the older one.
_STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
_MAX_TEXT_CHARACTERS = 2048
# A bill of materials says most: some ten members in a component of half a kibibyte.
_BOUNDS: Final = Bounds(MAX_ATTESTATIONS_BYTES, members=500_000)
_SHOWN_SUBJECTS = 3
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)  # SHA-1 or SHA-256 repositories
_GIT = "git+"

# Names of claims: sigstore/fulcio, docs/oid-info.md, 1.3.6.1.4.1.57264.1.9 and .13.
_BUILD_SIGNER = "build_signer_uri"
_SOURCE_DIGEST = "source_repository_digest"


@dataclass(frozen=True, slots=True)
class Statement:
    """An in-toto statement, of which only the form was checked.

    Attributes:
        predicate_type: what kind of statement it is.
        subjects: what it is about: digests by algorithm, one mapping a subject.
        predicate: what it says.
    """

    predicate_type: str
    subjects: tuple[Mapping[str, object], ...]
    predicate: Mapping[str, Any]

    @classmethod
    def parse(cls, payload_type: str, payload: bytes) -> Statement:
        """Return the statement in a DSSE envelope.

        Raises:
            Fault: AttestationMalformed, when it is none of version 1 or 0.1, has a key twice, or is
                about nothing or about more than 1024 files.
        """
        if payload_type != PAYLOAD_TYPE:
            raise malformed_statement(f"expected a payload of the type {PAYLOAD_TYPE}")
        table = parse_json(payload, _BOUNDS, _fail)
        if table.values.get("_type") not in _STATEMENT_TYPES:
            raise malformed_statement(f"expected the type {' or '.join(_STATEMENT_TYPES)}")
        subjects = tuple(table.tables("subject", most=MAX_SUBJECTS))
        if not subjects:
            table.fail("subject", f"expected 1 to {MAX_SUBJECTS} subjects")
        for subject in subjects:
            _check_digests(subject)
        return cls(
            predicate_type=table.text("predicateType", limit=_MAX_TEXT_CHARACTERS),
            subjects=tuple(subject.values["digest"] for subject in subjects),
            predicate=table.table("predicate").values if "predicate" in table else {},
        )

    def check_subject(self, digest: Digest) -> None:
        """Check that the statement is about the file of this digest.

        Raises:
            Fault: SignatureDigestMismatch, when it is about other files.
        """
        if all(subject.get("sha256") != digest.hex for subject in self.subjects):
            raise another_file(digest, self._shown_subjects())

    def _shown_subjects(self) -> str:
        digests = [str(s["sha256"]) for s in self.subjects[:_SHOWN_SUBJECTS] if "sha256" in s]
        shown = [f"sha256:{clean(digest, limit=64)}" for digest in digests]
        more = len(self.subjects) - len(shown)
        return ", ".join([*shown, f"{more} more"] if more else shown)

    def attestation(self, signer: Signer) -> Attestation:
        """Return the statement as a fact: this signer made it.

        Raises:
            Fault: AttestationMalformed, when it claims to be SLSA provenance and is not;
                ProvenanceMismatch, when it contradicts the certificate of whoever signed it.
        """
        if self.predicate_type != PROVENANCE_TYPE:
            return Attestation(self.predicate_type, signer)
        provenance = parse_provenance(self.predicate)
        _check_against_certificate(provenance, signer)
        return Attestation(self.predicate_type, signer, provenance)


def parse_provenance(predicate: Mapping[str, Any]) -> Provenance:
    """Return what a SLSA provenance v1 predicate says about the build.

    The source is `workflow.repository` of GitHub's build types, else the only repository among
    the resolved dependencies; its commit is that of the dependency on this repository.

    Raises:
        Fault: AttestationMalformed, when builder or build type are not stated, the source is
            stated in two versions, or a field is no printable text of bounded length.
    """
    table = Table(predicate, _fail)
    definition, run = table.table("buildDefinition"), table.inner("runDetails")
    repository, commit = _source(definition)
    return Provenance(
        builder=run.inner("builder").text("id", limit=_MAX_TEXT_CHARACTERS),
        build_type=definition.text("buildType", limit=_MAX_TEXT_CHARACTERS),
        source_repository=repository,
        source_digest=commit,
        invocation=_optional_text(run.inner("metadata"), "invocationId"),
    )


def _source(definition: Table) -> tuple[str, str]:
    """Return repository and commit that were built; empty when unstated."""
    revisions = _git_dependencies(definition)
    workflow = definition.inner("externalParameters", "workflow")
    repository = _optional_text(workflow, "repository")
    repositories = {found for found, _ in revisions}
    if not repository and len(repositories) == 1:
        (repository,) = repositories
    commits = {commit for found, commit in revisions if found == repository and commit}
    if len(commits) > 1:
        raise malformed_statement("it states two commits of one repository")
    return repository, "".join(commits)


def _git_dependencies(definition: Table) -> list[tuple[str, str]]:
    """Return repository and commit of each `git+` URI (SPDX download location, `git+URL@ref`)."""
    key = "resolvedDependencies"
    if definition.values.get(key) is None:
        return []
    found = []
    for dependency in definition.tables(key):
        uri = _optional_text(dependency, "uri")
        if uri.startswith(_GIT):
            digest = dependency.inner("digest")
            commit = _optional_text(digest, "gitCommit")
            if commit and not _COMMIT.fullmatch(commit):
                digest.fail("gitCommit", "it is no git commit")
            found.append((uri.removeprefix(_GIT).partition("@")[0], commit))
    return found


def _optional_text(table: Table, key: str) -> str:
    return table.optional_text(key, limit=_MAX_TEXT_CHARACTERS)


def _check_against_certificate(provenance: Provenance, signer: Signer) -> None:
    """Hold what was signed against what the certificate authority was told by the CI service.

    Only what both state can be compared. A builder that is a workflow (`…@ref`) has to be the one
    that signed; a builder that is a machine is not in the certificate.
    """
    pairs = [
        (provenance.source_repository, signer.claim(REPOSITORY_URI)),
        (provenance.source_digest, signer.claim(_SOURCE_DIGEST)),
    ]
    if "@" in provenance.builder:
        pairs.append((provenance.builder, signer.claim(_BUILD_SIGNER)))
    for said, certified in pairs:
        if said and certified and said != certified:
            raise Fault(
                ProvenanceMismatch,
                "its provenance contradicts the certificate of its maker",
                why=f"certified {certified}\nstated    {said}",
                next=["tell the publisher", "get an artifact that was signed where it was built"],
            )


def _check_digests(subject: Table) -> None:
    digests = subject.table("digest")
    for algorithm in digests.values:
        if not algorithm.isprintable() or len(algorithm) > _MAX_TEXT_CHARACTERS:
            subject.fail("digest", "expected printable names of algorithms")
        digests.text(algorithm, limit=_MAX_TEXT_CHARACTERS)


def _fail(key: str, why: str) -> NoReturn:
    raise malformed_statement(described(key, why))
