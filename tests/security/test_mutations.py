"""Random mutations of bundle, attestations, manifest and archive: none makes another truth.

A mutant is refused, or it is equivalent: it is admitted as the same artifact on the same evidence,
by which are meant the digest, the manifest, the signer with all claims and the verified time, the
trusted root, the place in the log, and the rule that admits them. Attestations may be missing: to
leave out a line is to not deliver it, and to demand provenance is what helps against that.
Bytes of a bundle that nothing covers, such as a hint beside a proof, can differ in equivalent
mutants; this is why a bundle's bytes are no identifier.

Keys and times are fresh in every run, so a seed repeats the kinds and places of the changes; the
mutant itself is kept in the folder that a failure names.
"""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.archive import writing
from aperio_cli.errors import AperioError, catalogue
from aperio_cli.errors.trust import VerifierCrashed
from aperio_cli.models.artifact import ATTESTATIONS_SUFFIX, BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import Verified
from aperio_cli.models.policy import Policy
from aperio_cli.models.proof import SBOM_TYPE
from tests import mutations
from tests.builders import (
    VERSION,
    Machine,
    build_rule,
    go_members,
    manifest_bytes,
    manifest_document,
    offer,
)
from tests.trust import attestations, github_identity, new_domain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.offer import Offer
    from aperio_cli.verifying.decide import AdmittedArtifact

CODES = {"admitted", *(error.code for error in catalogue())}
SEED = 20
FEW, MANY = 300, 10_000
FEW_SIGNED, MANY_SIGNED = 50, 500
BUILD = github_identity()
POLICY = Policy((build_rule(domain="local"),), require_provenance=True)


@dataclass(frozen=True)
class Parts:
    """An artifact and what came with it."""

    archive: bytes
    bundle: bytes
    attestations: bytes


@dataclass(frozen=True)
class Outcome:
    """What is compared: all that is known of an artifact that was admitted."""

    digest: Digest
    manifest: dict[str, object]
    evidence: Verified

    @classmethod
    def of(cls, admitted: AdmittedArtifact) -> Outcome:
        """What was found out about it."""
        artifact = admitted.artifact
        assert isinstance(admitted.evidence, Verified)
        return cls(artifact.digest, artifact.manifest.to_json(), admitted.evidence)

    def is_equivalent_to(self, genuine: object) -> bool:
        """Whether it says the same, of which no attestation, all or some may be left."""
        if not isinstance(genuine, Outcome):
            return False
        told, known = (outcome.evidence.proof for outcome in (self, genuine))
        same = replace(self.evidence, proof=replace(told, attestations=known.attestations))
        return replace(self, evidence=same) == genuine and (
            set(told.attestations) <= set(known.attestations)
        )


class Lab:
    """A machine with a policy, genuine parts of two forms, and everything to change them.

    Attributes:
        counts: how many mutants came to what.
        crashes: what was unforeseen, and for which mutant.
    """

    def __init__(self, folder: Path) -> None:
        self.machine = Machine(folder, new_domain(folder / "trust"), POLICY)
        self.path = self.machine.signed()
        self.signer = self.machine.forge(BUILD)
        self.counts: Counter[str] = Counter()
        self.crashes: list[str] = []
        contents = self.path.read_bytes()
        self.signed = self.sign(contents)
        digest = Digest.of(contents)
        self.stated = replace(self.signed, bundle=self.signer.statement(digest))

    def sign(self, contents: bytes) -> Parts:
        """The parts of a release: signature, provenance, bill of materials."""
        digest = Digest.of(contents)
        bom = {"bomFormat": "CycloneDX", "components": [{"name": "x"}]}
        lines = [
            self.signer.statement(digest),
            self.signer.statement(digest, predicateType=SBOM_TYPE, predicate=bom),
        ]
        return Parts(contents, self.signer.bundle_json(digest), attestations(lines))

    def outcome(self, parts: Parts, *, is_offered: bool) -> Outcome | AperioError:
        """What verification comes to: of a local file, or of what a registry offers."""
        source: Offer | Path = self.path
        self.path.write_bytes(parts.archive)
        if is_offered:
            source = offer(
                location=str(self.path),
                digest=None,
                bundle=parts.bundle,
                attestations=parts.attestations,
            )
        else:
            self.beside(BUNDLE_SUFFIX).write_bytes(parts.bundle)
            self.beside(ATTESTATIONS_SUFFIX).write_bytes(parts.attestations)
        try:
            with self.machine.verify(source) as admitted:
                return Outcome.of(admitted)
        except AperioError as error:
            return error

    def count(self, outcome: Outcome | AperioError, which: str) -> None:
        """Note what a mutant came to: an error of the catalogue, with its code, or the genuine."""
        code = "admitted" if isinstance(outcome, Outcome) else outcome.code
        assert code in CODES
        self.counts[code] += 1
        if isinstance(outcome, VerifierCrashed):
            self.crashes.append(f"{which}: {outcome.why}")

    def keep(self, parts: Parts) -> Path:
        """Write parts where they can be looked at; gives the folder."""
        folder = Path(tempfile.mkdtemp(prefix="mutant-", dir=self.machine.root))
        for name in ("archive", "bundle", "attestations"):
            (folder / name).write_bytes(getattr(parts, name))
        return folder

    def beside(self, suffix: str) -> Path:
        """A file beside the artifact."""
        return self.path.with_name(self.path.name + suffix)


@pytest.fixture(name="lab", scope="module")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


# ── what is changed ───────────────────────────────────────────────────────────────────────────────


def _bundle(parts: Parts, chooser: random.Random) -> tuple[Parts, str]:
    change = chooser.choice((mutations.of_json, mutations.of_json, mutations.of_bytes))
    mutant = change(parts.bundle, chooser)
    return replace(parts, bundle=mutant.data), f"bundle: {mutant.changes}"


def _attestations(parts: Parts, chooser: random.Random) -> tuple[Parts, str]:
    change = chooser.choice((mutations.of_json_lines, mutations.of_json_lines, mutations.of_bytes))
    mutant = change(parts.attestations, chooser)
    return replace(parts, attestations=mutant.data), f"attestations: {mutant.changes}"


def _archive(parts: Parts, chooser: random.Random) -> tuple[Parts, str]:
    change = chooser.choice((mutations.of_bytes, mutations.of_gzip))
    mutant = change(parts.archive, chooser)
    return replace(parts, archive=mutant.data), f"archive: {mutant.changes}"


def _manifest(parts: Parts, chooser: random.Random) -> tuple[Parts, str]:
    """The manifest as text, or as JSON, which is YAML too; then packed in the usual way."""
    text, change = manifest_bytes(), mutations.of_bytes
    if chooser.randrange(2):
        text, change = json.dumps(manifest_document()).encode(), mutations.of_json
    mutant = change(text, chooser)
    members = [writing.Member("manifest.yaml", mutant.data), *go_members()[1:]]
    return replace(parts, archive=_packed(members)), f"manifest: {mutant.changes}"


def _packed(members: list[writing.Member]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact"
        writing.write(path, members, mtime=0)
        return path.read_bytes()


MUTATED = (_bundle, _bundle, _bundle, _attestations, _archive, _manifest)


# ── nobody signed the mutant ──────────────────────────────────────────────────────────────────────


def _try_mutants(lab: Lab, count: int) -> int:
    """Mutants of both forms, offered and local; how many were equivalent."""
    forms = (lab.signed, lab.stated)
    genuine = {
        (form, is_offered): lab.outcome(parts, is_offered=is_offered)
        for form, parts in enumerate(forms)
        for is_offered in (False, True)
    }
    equivalent = 0
    for number in range(count):
        chooser = random.Random(f"{SEED}-{number}")  # noqa: S311 - repeatable, not secret
        form, is_offered = number % 2, chooser.random() < 0.5
        parts, changes = chooser.choice(MUTATED)(forms[form], chooser)
        which = f"seed {SEED}-{number}, {changes}"
        with _told(lab, parts, which):
            outcome = lab.outcome(parts, is_offered=is_offered)
            lab.count(outcome, which)
            if isinstance(outcome, Outcome):
                assert outcome.is_equivalent_to(genuine[form, is_offered])
                equivalent += 1
    return equivalent


@contextlib.contextmanager
def _told(lab: Lab, parts: Parts, which: str) -> Iterator[None]:
    """Say which mutant it was when the block fails, and keep it."""
    try:
        yield
    except Exception as error:
        kept = lab.keep(parts)
        message = f"{which}; kept in {kept}: {type(error).__name__}: {error}"
        raise AssertionError(message) from error


def _check_crashes(lab: Lab) -> None:
    """A crash is a refusal; but it means that a kind of damage was not foreseen."""
    assert not lab.crashes, f"{len(lab.crashes)} of {lab.counts.total()}: {lab.crashes[:10]}"


def test_mutant_is_refused_or_equivalent(lab: Lab) -> None:
    assert _try_mutants(lab, FEW) < FEW / 4
    _check_crashes(lab)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mutant_is_refused_or_equivalent_in_many_more_cases(lab: Lab) -> None:
    _try_mutants(lab, MANY)
    _check_crashes(lab)


# ── the publisher signed the mutant ───────────────────────────────────────────────────────────────


def _try_signed_mutants(lab: Lab, count: int) -> None:
    """Everything behind the signature meets bytes that are hostile and genuinely signed."""
    for number in range(count):
        chooser = random.Random(f"{SEED}-signed-{number}")  # noqa: S311 - repeatable, not secret
        parts, changes = chooser.choice((_archive, _manifest))(lab.signed, chooser)
        signed = lab.sign(parts.archive)
        which = f"seed {SEED}-signed-{number}, {changes}"
        with _told(lab, signed, which):
            outcome = lab.outcome(signed, is_offered=chooser.random() < 0.5)
            lab.count(outcome, which)
            if isinstance(outcome, Outcome):
                assert outcome.digest == Digest.of(signed.archive)
                # The certificate is for a tag of this version, in a repository of this namespace.
                assert outcome.manifest["version"] == VERSION
                assert str(outcome.manifest["id"]).startswith("acme/")
    _check_crashes(lab)


def test_signed_mutant_is_refused_or_is_what_its_signature_allows(lab: Lab) -> None:
    _try_signed_mutants(lab, FEW_SIGNED)


@pytest.mark.slow
def test_signed_mutant_is_refused_or_is_what_its_signature_allows_in_many_more_cases(
    lab: Lab,
) -> None:
    """The quick test above begins with the same mutants; each is signed three times."""
    _try_signed_mutants(lab, MANY_SIGNED)
