"""The decision: what was offered, what the bytes are, who signed, what the operator allows.

Pure: everything that was found out is given. An `AdmittedArtifact` comes from `decide`
and from nowhere else, so whoever holds one holds the proof that it was asked. Before each launch
`check_receipt` asks the same of what the receipt kept, against the rules of that day.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from aperio_cli.errors.files import DigestMismatch
from aperio_cli.errors.installing import ManifestMismatch, PlatformIncompatible
from aperio_cli.models.evidence import Evidence, ExceptionGranted, Verified, proof_of
from aperio_cli.models.policy import REQUIREMENTS, REVOKED_RULE, UNSIGNED, UNVERIFIED
from aperio_cli.models.proof import UNATTESTED_BUILDER
from aperio_cli.models.protocol import require_compatible
from aperio_cli.models.publisher import LOCAL_DOMAIN, TIERS, Demands, Difference
from aperio_cli.models.receipt import BUNDLE_FILE_NAME
from aperio_cli.models.registry.plugin_file import REVOKED
from aperio_cli.text import clean
from aperio_cli.verifying import policy_refusals as refusals
from aperio_cli.verifying.judgement import Case, Judgement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from aperio_cli.archive.reading import Inflated
    from aperio_cli.models.artifact import Artifact
    from aperio_cli.models.digest import Digest
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.policy import Policy, PolicyException
    from aperio_cli.models.proof import Proof, Provenance
    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.models.receipt import Receipt

__all__ = [
    "AdmittedArtifact",
    "Case",
    "Judgement",
    "check_bytes",
    "check_platform",
    "check_receipt",
    "decide",
    "judge",
]


class _Seal:
    """Known to this module only."""


_SEAL: Final = _Seal()


@dataclass(frozen=True, slots=True)
class AdmittedArtifact:
    """An artifact that may be installed here.

    Use it as a context manager: it holds a file open.

    Attributes:
        offer: what it was offered as.
        artifact: what it is; its manifest is no longer a claim.
        judgement: why it was admitted.
        content: the very open file that was digested and verified, private to this process and
            without a name that anybody could put another file under.
        inflated: what is inside of it, as it was walked; None when it was not kept.

    Raises:
        TypeError: when anything but `decide` constructs one.
    """

    offer: Offer
    artifact: Artifact
    judgement: Judgement
    content: BinaryIO = field(repr=False, compare=False)
    inflated: Inflated | None = field(default=None, repr=False, compare=False)
    _: KW_ONLY
    # InitVar: not stored, so `dataclasses.replace` cannot carry it over to other contents.
    seal: InitVar[_Seal]

    def __post_init__(self, seal: _Seal) -> None:
        if seal is not _SEAL:
            message = "only verifying.decide admits an artifact"
            raise TypeError(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the bytes."""
        self.content.close()
        if self.inflated:
            self.inflated.close()

    @property
    def subject(self) -> str:
        """Its name in messages: "`acme/box` 1.2.0"."""
        return f"`{self.offer.id}` {self.offer.version}"

    @property
    def evidence(self) -> Evidence:
        """The proof and the rule that admitted it, or the exception."""
        return self.judgement.evidence

    @property
    def bundle(self) -> bytes | None:
        """The Sigstore bundle that was verified; None for an exception."""
        return self.offer.bundle if isinstance(self.evidence, Verified) else None

    @property
    def attestations(self) -> bytes | None:
        """The statements about it that were verified, as its offer has them; None for none."""
        return self.offer.attestations if isinstance(self.evidence, Verified) else None

    @property
    def badge(self) -> str:
        """`unsigned`, `local`, or the tier of the rule that admitted it; `list` shows it."""
        return self.judgement.badge


def decide(
    offer: Offer,
    case: Case,
    artifact: Artifact,
    content: BinaryIO,
    inflated: Inflated | None = None,
    *,
    platform: Platform | None,
) -> AdmittedArtifact:
    """Return the artifact, admitted; every other answer is an error that says why.

    Args:
        offer: what somebody says the artifact is, with the bundle that gave the case its proof.
        case: that version before the operator's policy.
        artifact: what was found in its bytes.
        content: the open file that these bytes were read from.
        inflated: what is inside of it, where that was kept.
        platform: the machine that has to run it; None when it is not to be run here.

    Raises:
        ValueError: the case is about something else than what is offered.
        DigestMismatch: the bytes are not those that were offered.
        Refusal: the policy does not allow it; one subclass for each cause, as `judge`.
        ManifestMismatch: the artifact is not what it was offered as.
        PlatformIncompatible: it is for another platform.
        ProtocolIncompatible: it speaks another major version of the interface.
    """
    if (case.plugin, case.version) != (offer.id, offer.version):
        message = f"{case.subject} is not {_subject(offer)}"
        raise ValueError(message)
    check_bytes(offer, artifact.digest, artifact.size, case.outcome)
    judgement = judge(case)
    _check_manifest(offer, artifact, case.outcome)
    check_platform(offer, platform, case.outcome)
    require_compatible(artifact.manifest.protocol, subject=_subject(offer), left=case.outcome)
    return AdmittedArtifact(offer, artifact, judgement, content, inflated, seal=_SEAL)


def check_bytes(offer: Offer, digest: Digest, size_bytes: int, outcome: str) -> None:
    """Refuse bytes whose digest or length is not that of the offer.

    Raises:
        DigestMismatch: they are not.
    """
    is_same_size = offer.size_bytes in {None, size_bytes}
    if offer.digest in {None, digest} and is_same_size:
        return
    expected_size = "" if is_same_size else f", {offer.size_bytes} bytes"
    received_size = "" if is_same_size else f", {size_bytes} bytes"
    raise DigestMismatch(
        f"{_subject(offer)} {outcome}: these are not the bytes that were offered",
        why=f"expected {offer.digest}{expected_size}, as {offer.source} says\n"
        f"received {digest}{received_size}, from {offer.location}",
        next=[
            "try again, in case the file was changed on the way",
            "if it repeats, tell whoever maintains the registry and do not use this file",
        ],
    )


def check_platform(offer: Offer, platform: Platform | None, outcome: str) -> None:
    """Refuse an artifact for another platform, unless it is not to be run here.

    Raises:
        PlatformIncompatible: it is for another one.
    """
    if platform is None or offer.platform == platform:
        return
    raise PlatformIncompatible(
        f"{_subject(offer)} {outcome}: it is for another platform",
        why=f"this machine {platform}\nartifact     {offer.platform}",
        next=[f"get or build it for {platform}"],
    )


def _check_manifest(offer: Offer, artifact: Artifact, outcome: str) -> None:
    manifest = artifact.manifest
    pairs = {
        "id": (str(offer.id), str(manifest.id)),
        "version": (offer.version, manifest.version),
        "kind": (offer.kind, manifest.kind),
        "platform": (str(offer.platform), str(artifact.platform)),
    }
    wrong = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if wrong:
        raise ManifestMismatch(
            f"{_subject(offer)} {outcome}: it is something else than it was offered as",
            why="\n".join(
                f"{key}: offered {clean(offered, limit=120)}, found {clean(found, limit=120)}"
                for key, (offered, found) in wrong.items()
            ),
            next=["tell whoever maintains the registry; do not use this artifact"],
        )


# ── judging ───────────────────────────────────────────────────────────────────────────────────────


def judge(case: Case) -> Judgement:
    """Return why the operator's policy allows this version: proof and rule, or the exception.

    Raises:
        VersionRevoked: a registry has revoked it, and no exception lifts that.
        SignatureMissing: there is no bundle, and no exception from having to have one.
        PublisherUnknown: no rule speaks about the plugin.
        SignatureIdentityMismatch: rules do, and none of them names the signer.
        PublisherUnverified: a verified publisher is required, and it has another.
        ProvenanceMissing: provenance is required, and there is none.
        ProvenanceMismatch: there is, and by somebody else or with other contents than demanded;
            or further statements are by somebody whom no rule names.
        ExceptionExpired: an exception would have lifted what is lacking, and it has ended.
    """
    revoked = _lifted_revocation(case)
    if case.proof is None:
        return _judge_unsigned(case, revoked)
    rule = _admitting_rule(case, case.proof)
    lifted = (*revoked, *_lifted_level(case, rule))
    _check_attestations(case, case.proof)
    _check_provenance(case, case.proof, rule)
    return Judgement(Verified(case.proof, rule), lifted)


def check_receipt(
    receipt: Receipt,
    policy: Policy,
    *,
    today: date,
    organization: str = "",
    outcome: str = "was not started",
) -> Judgement:
    """Return why an installed version may be started, by the policy as it is before this launch.

    Args:
        receipt: what was found out when it was installed; nothing is verified once more.
        policy: the operator's rules now.
        today: the day on which exceptions have to hold.
        organization: for whom it is started; empty for the requirements of the whole machine.
        outcome: what a refusal comes to, for messages.

    Raises:
        Refusal: the policy does not allow it, or not any more; one subclass for each cause, as
            `judge`.
    """
    return judge(
        Case(
            plugin=receipt.id,
            version=receipt.version,
            proof=proof_of(receipt.evidence),
            exception=_granted(receipt),
            is_local=True,
            policy=policy,
            today=today,
            location=receipt.source,
            bundle_name=str(receipt.folder / BUNDLE_FILE_NAME),
            outcome=outcome,
            organization=organization,
        )
    )


def _granted(receipt: Receipt) -> ExceptionGranted | None:
    """Return what the command line granted; what the configuration states is looked up there."""
    recorded = receipt.evidence
    return recorded if isinstance(recorded, ExceptionGranted) and not recorded.stated_in else None


def _lifted_revocation(case: Case) -> tuple[PolicyException, ...]:
    """Return the exception that it took to use what a registry has revoked, if it took one."""
    status = case.policy.known.status(case.plugin, case.version)
    if status is None or status.state != REVOKED:
        return ()
    if exception := case.lifting(REVOKED_RULE):
        return (exception,)
    raise refusals.revoked(case, status)


def _judge_unsigned(case: Case, revoked: tuple[PolicyException, ...]) -> Judgement:
    exception = _unsigned_exception(case)
    lifted = (*revoked, *_lifted_level(case, None))
    # Whoever may go unsigned may still have to say how it was built, and nobody signed that.
    if case.policy.require_provenance:
        raise refusals.without_provenance(case, None)
    return Judgement(exception, lifted)


def _unsigned_exception(case: Case) -> ExceptionGranted:
    granted = case.exception if case.policy.allow_unsigned else None
    if not case.is_local:
        raise refusals.unsigned(case)
    if granted and granted.rule == UNSIGNED and granted.holds(case.today):
        return granted
    if stated := case.lifting(UNSIGNED):
        return ExceptionGranted.stated(stated)
    if ended := granted or case.ended(UNSIGNED):
        raise refusals.ended(case, ended)
    raise refusals.unsigned(case)


def _admitting_rule(case: Case, proof: Proof) -> PublisherRule:
    rules = case.policy.rules_for(case.plugin)
    if not rules:
        raise refusals.unknown_publisher(case, proof.signer)
    rule = case.policy.admitting(case.plugin, proof.signer, case.version)
    if rule is None:
        raise refusals.other_signer(case, proof.signer, rules)
    return rule


def _lifted_level(case: Case, rule: PublisherRule | None) -> tuple[PolicyException, ...]:
    """Return the exception that it took to meet what is required of publishers, if it took one."""
    is_local = case.proof is not None and LOCAL_DOMAIN in case.proof.signer.domains
    is_verified = rule is not None and rule.tier != TIERS[0] and not is_local
    if is_verified or case.policy.required(case.organization) == REQUIREMENTS[0]:
        return ()
    if exception := case.lifting(UNVERIFIED):
        return (exception,)
    if ended := case.ended(UNVERIFIED):
        raise refusals.ended(case, ended)
    raise refusals.unverified(case, rule)


def _check_attestations(case: Case, proof: Proof) -> None:
    """Refuse statements about the version by somebody whom no rule names."""
    rules = case.policy.rules_for(case.plugin)
    foreign = [
        attestation
        for attestation in proof.attestations
        if not any(rule.admits(attestation.signer, case.version) for rule in rules)
    ]
    if foreign:
        raise refusals.foreign_attestations(case, foreign)


def _check_provenance(case: Case, proof: Proof, rule: PublisherRule) -> None:
    if not (case.policy.require_provenance or rule.demands.is_any):
        return
    stated = [
        attestation.provenance
        for attestation in proof.attestations
        if attestation.provenance and rule.admits(attestation.signer, case.version)
    ]
    if not stated:
        raise refusals.without_provenance(case, rule)
    found = [tuple(_unmet(provenance, rule.demands)) for provenance in stated]
    if all(found):
        raise refusals.other_provenance(case, rule, found[0])


def _unmet(provenance: Provenance, demands: Demands) -> Iterator[Difference]:
    builder, source = provenance.builder, provenance.source_repository
    if demands.builder not in {"", builder}:
        yield Difference("builder", demands.builder, builder or "nothing")
    elif not demands.builder and builder in {"", UNATTESTED_BUILDER}:
        # It says itself that nobody vouches for the build: that is no answer to "how was it built".
        yield Difference("builder", "one that vouches for the build", builder or "nothing")
    if demands.source_repository not in {"", source}:
        yield Difference("source repository", demands.source_repository, source or "nothing")


# ── what the refusals of bytes and manifests say ──────────────────────────────────────────────────


def _subject(offer: Offer) -> str:
    return f"`{offer.id}` {offer.version}"
