"""Decides whether an admitted artifact may follow what is installed of its plugin; pure.

An operator who trusted an installed version has a reason to trust the next one only as far as the
same people stand behind it. So a version keeps its contents, a plugin keeps its signer, and
provenance can rise, never fall, unless the operator names the change.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.installing import SignerChanged, VersionChanged
from aperio_cli.errors.trust import ProvenanceMissing
from aperio_cli.models.evidence import ExceptionGranted, Verified, proof_of
from aperio_cli.models.ownership import owner_by
from aperio_cli.models.policy import UNSIGNED
from aperio_cli.models.publisher import OWNER_ID, REPOSITORY_ID, RULE_KEYS
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_cli.models.policy import PolicyException
    from aperio_cli.models.proof import Attestation, Proof
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.receipt import Precedent, Receipt
    from aperio_cli.store.installed import Standing
    from aperio_cli.verifying.decide import AdmittedArtifact


NOT_INSTALLED: Final = "was not installed"
WOULD_NOT: Final = "would not be installed"


@dataclass(frozen=True, slots=True)
class Same:
    """The artifact is installed already, on evidence as good as what it comes with.

    Attributes:
        receipt: of the installed version.
    """

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Follows:
    """The artifact may be installed, and becomes the version that is used.

    Attributes:
        repairs: whether it takes the place of a damaged installation of the same version, or of
            what is left of one.
        state_owner: whose stored state it is to use.
    """

    repairs: bool
    state_owner: str


def find_same(before: Standing, admitted: AdmittedArtifact) -> Receipt | None:
    """Return the record of the installed version, when nothing would be better for being new."""
    receipt = before.receipt
    if receipt is None or receipt.artifact_digest != admitted.artifact.digest:
        return None
    return receipt if _is_as_good(receipt, admitted) else None


def decide_succession(
    before: Standing,
    admitted: AdmittedArtifact,
    accepted_signer: str,
    kept: Sequence[str] = (),
    outcome: str = NOT_INSTALLED,
) -> Same | Follows:
    """Return what installing the artifact comes to; a refusal is an error that says why.

    Args:
        before: what the store holds of the plugin; without a receipt whose files are damaged.
        admitted: the artifact.
        accepted_signer: who may follow the installed version's signer: an identity, of a CI build
            with its ref or without, or `unsigned`; empty accepts no change.
        kept: owners of what is stored under the plugin's id, the latest first; of importance only
            when a signer is accepted.
        outcome: what a refusal comes to, for messages.

    Raises:
        VersionChanged: this version is installed with other contents.
        SignerChanged: the installed version has another signer, and the change is not accepted.
        ProvenanceMissing: the installed version has provenance and this one has none, and the
            change is not accepted.
    """
    _refuse_other_contents(before.same, admitted, outcome)
    same = find_same(before, admitted)
    owner = _state_owner(before, admitted, accepted_signer, kept)
    if same and same.state_owner == owner:
        if before.predecessor and before.predecessor.version != same.version:
            # It becomes the current version again, on the evidence in its record.
            proof = proof_of(same.evidence)
            _check_succession(before.predecessor, proof, admitted, accepted_signer, outcome)
        return Same(same)
    for record in (before.same, before.predecessor):
        if record:
            proof = proof_of(admitted.evidence)
            _check_succession(record, proof, admitted, accepted_signer, outcome)
    is_repair = before.is_left_over or (before.same is not None and before.receipt is None)
    return Follows(repairs=is_repair, state_owner=owner)


def _state_owner(
    before: Standing, admitted: AdmittedArtifact, accepted_signer: str, kept: Sequence[str]
) -> str:
    """Return whose stored state the artifact is to use.

    It goes on with what an installed version of the same publisher uses. Anybody else's, of what is
    installed or of what was removed, is for a signer whom the operator accepts, and nobody else.
    """
    own = owner_by(admitted.offer.id, admitted.evidence, admitted.artifact.digest)
    after = proof_of(admitted.evidence)
    records = [record for record in (before.same, before.predecessor) if record]
    of_its_own = [each.state_owner for each in records if _is_same_line(each, after)]
    if same := find_same(before, admitted):
        of_its_own.insert(0, same.state_owner)
    owner = next(iter(of_its_own), own)
    if owner != own or not _is_accepted(after, accepted_signer):
        return owner
    of_others = [each.state_owner for each in records if each.state_owner != own]
    return next(iter((*of_others, *kept)), own)


def _is_same_line(before: Precedent, after: Proof | None) -> bool:
    """Return whether the same publisher signed both, or nobody either."""
    recorded = proof_of(before.evidence)
    if recorded is None or after is None:
        return recorded is after
    return recorded.signer.lineage == after.signer.lineage


def _is_accepted(after: Proof | None, accepted_signer: str) -> bool:
    """Return whether the operator accepts whoever signed, whom it is the successor of aside."""
    accepted = {after.signer.name, after.signer.identity} if after else {UNSIGNED}
    return accepted_signer in accepted


def _refuse_other_contents(
    same: Precedent | None, admitted: AdmittedArtifact, outcome: str
) -> None:
    """Refuse a version that is installed from another artifact.

    Raises:
        VersionChanged: it is.
    """
    if same is None or same.artifact_digest == admitted.artifact.digest:
        return
    raise VersionChanged(
        f"{admitted.subject} {outcome}: this version is installed with other contents",
        why=f"installed {same.artifact_digest}\noffered   {admitted.artifact.digest}",
        next=[
            "ask its publisher why a released version was changed",
            f"to take the new contents, first `aperio plugin remove {same.id}@{same.version}`",
        ],
    )


def _is_as_good(receipt: Receipt, admitted: AdmittedArtifact) -> bool:
    """Return whether the installed version rests on the same evidence as the offered, or better."""
    recorded, evidence = receipt.evidence, admitted.evidence
    if isinstance(evidence, ExceptionGranted):
        return isinstance(recorded, Verified) or recorded == evidence
    if not isinstance(recorded, Verified) or recorded.signer.lineage != evidence.signer.lineage:
        return False
    # As JSON: a record keeps neither the order of claims nor the file that states an exception.
    attested = _as_json(recorded.proof.attestations)
    is_all_attested = all(each in attested for each in _as_json(evidence.proof.attestations))
    # `list` shows these two from the record, so they have to be those of today's policy.
    lifted = _as_json(admitted.judgement.lifted)
    is_shown = receipt.badge == admitted.badge and _as_json(receipt.exceptions) == lifted
    return is_all_attested and is_shown


def _as_json(kept: Sequence[Attestation | PolicyException]) -> list[Mapping[str, object]]:
    return [each.to_json() for each in kept]


def _check_succession(
    before: Precedent,
    after: Proof | None,
    admitted: AdmittedArtifact,
    accepted_signer: str,
    outcome: str,
) -> None:
    """Check that an installed version's signer, and its provenance, come again.

    Raises:
        SignerChanged: it is somebody else's, or nobody's.
        ProvenanceMissing: it has none any more.
    """
    recorded = proof_of(before.evidence)
    if recorded is None:
        return
    if _is_accepted(after, accepted_signer):
        return
    if after is None or after.signer.lineage != recorded.signer.lineage:
        signer = after.signer if after else None
        refused = f"{admitted.subject} {outcome}"
        raise _signer_changed(before, recorded.signer, signer, refused)
    if _has_provenance(recorded) and not _has_provenance(after):
        raise _provenance_fell(before, admitted, after.signer, outcome)


def _has_provenance(proof: Proof) -> bool:
    return any(attestation.provenance for attestation in proof.attestations)


def _signer_changed(
    before: Precedent, installed: Signer, offered: Signer | None, refused: str
) -> SignerChanged:
    change = "somebody else signed it" if offered else "it is not signed"
    return SignerChanged(
        f"{refused}: {change}, unlike the installed {before.version}",
        why=f"installed {_shown(installed)}\noffered   {_shown(offered)}",
        next=[
            "ask its publisher, by another way, whether this is meant",
            f"if it is: {_accepting(offered)}",
        ],
    )


def _provenance_fell(
    before: Precedent, admitted: AdmittedArtifact, signer: Signer, outcome: str
) -> ProvenanceMissing:
    return ProvenanceMissing(
        f"{admitted.subject} {outcome}: nothing signed says how it was built, unlike the"
        f" installed {before.version}",
        why=f"installed {before.version}, with SLSA provenance\n"
        f"offered   {admitted.offer.version}, with none",
        next=[
            "get its attestations (.intoto.jsonl) and put them beside the artifact",
            f"if its publisher says that this is meant: {_accepting(signer)}",
        ],
    )


def _accepting(signer: Signer | None) -> str:
    name = clean(signer.name) if signer else UNSIGNED
    return f"install it with `--accept-new-signer {shlex.quote(name)}`"


def _shown(signer: Signer | None) -> str:
    """Return the signer as messages show it: of a CI build with ids, which a name does not tell."""
    if signer is None:
        return UNSIGNED
    stated = f"{signer.name} of {signer.issuer} ({signer.domain})"
    ids = [
        f"{RULE_KEYS[key]} {signer.claim(key)}"
        for key in (OWNER_ID, REPOSITORY_ID)
        if signer.claim(key)
    ]
    return clean(", ".join([stated, *ids]))
