"""The decision: what was offered, what the bytes are, who signed, what the operator allows.

Pure: everything that was found out is in the question. An `AdmittedArtifact` comes from `decide`
and from nowhere else, so whoever holds one holds the proof that it was asked.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import KW_ONLY, InitVar, dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from aperio_cli.errors import (
    DigestMismatch,
    ExceptionExpired,
    ManifestMismatch,
    PlatformIncompatible,
    PublisherUnknown,
    SignatureIdentityMismatch,
    SignatureMissing,
    UsageError,
    clean,
)
from aperio_cli.models.protocol import require_compatible
from aperio_cli.models.publisher import LOCAL_DOMAIN, PublisherRule

if TYPE_CHECKING:
    from aperio_cli.models.artifact import Artifact
    from aperio_cli.models.digest import Digest
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.policy import Policy
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.receipt import Receipt

LONGEST_EXCEPTION: Final = timedelta(days=366)
_MAX_REASON_CHARACTERS = 500
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_REFUSED = "was refused and nothing of it was installed"


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle proves who signed, and a rule of the operator says that they may."""

    signer: Signer
    rule: PublisherRule


@dataclass(frozen=True, slots=True)
class ExceptionGranted:
    """The operator takes one artifact without proof, for a time and for a reason.

    Attributes:
        rule: what is not asked for; `unsigned` is the only one.
        until: the last day on which it holds, `YYYY-MM-DD`.
        reason: in the operator's words.
    """

    rule: str
    until: str
    reason: str

    @classmethod
    def unsigned(cls, *, until: str, reason: str, today: date) -> Self:
        """The exception that `--allow-unsigned --until DATE --reason TEXT` asks for.

        Raises:
            UsageError: the date is none, is not in the future or is more than a year away, or
                the reason is blank, too long or not printable.
        """
        try:
            # date.fromisoformat also reads week dates and dates without hyphens.
            day = date.fromisoformat(until if _DATE.fullmatch(until) else "")
        except ValueError as error:
            raise _bad_exception("--until", until, "a date such as 2031-12-31") from error
        if not today < day <= today + LONGEST_EXCEPTION:
            raise _bad_exception("--until", until, "a day in the future, at most a year away")
        reason = reason.strip()
        if not reason or len(reason) > _MAX_REASON_CHARACTERS or not reason.isprintable():
            raise _bad_exception("--reason", reason, f"1 to {_MAX_REASON_CHARACTERS} characters")
        return cls("unsigned", until, reason)

    def to_json(self) -> dict[str, str]:
        """The exception as receipts and reports carry it."""
        return {"rule": self.rule, "until": self.until, "reason": self.reason}


Evidence = Verified | ExceptionGranted


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
        evidence: why it was admitted.
        bundle: the Sigstore bundle that was verified; None for an exception.
        content: the very open file that was digested and verified, private to this process and
            without a name that anybody could put another file under.

    Raises:
        TypeError: when anything but `decide` constructs one.
    """

    offer: Offer
    artifact: Artifact
    evidence: Evidence
    bundle: bytes | None
    content: BinaryIO = field(repr=False, compare=False)
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
        """Lets go of the bytes."""
        self.content.close()

    @property
    def subject(self) -> str:
        """What messages call it: "`acme/box` 1.2.0"."""
        return f"`{self.offer.id}` {self.offer.version}"

    @property
    def badge(self) -> str:
        """What `list` shows: `local` for the local trust domain, `unsigned` for an exception."""
        if isinstance(self.evidence, ExceptionGranted):
            return "unsigned"
        return "local" if self.evidence.signer.domain == LOCAL_DOMAIN else "community"


@dataclass(frozen=True, slots=True)
class Question:
    """All that a decision depends on, besides the artifact itself.

    Attributes:
        offer: what somebody says the artifact is.
        signer: whom its bundle proves; None when there is no bundle.
        bundle: that bundle.
        exception: what the operator granted for this one artifact; counts only without a bundle.
        policy: the operator's rules.
        config_file: where the operator would add a rule, for messages.
        platform: the machine that has to run it; None when it is not to be run here.
    """

    offer: Offer
    signer: Signer | None
    bundle: bytes | None
    exception: ExceptionGranted | None
    policy: Policy
    config_file: str
    platform: Platform | None


def decide(question: Question, artifact: Artifact, content: BinaryIO) -> AdmittedArtifact:
    """The artifact, admitted; every other answer is an error that says why.

    Args:
        question: what is known besides the artifact.
        artifact: what was found in its bytes.
        content: the open file that these bytes were read from.

    Raises:
        DigestMismatch: the bytes are not those that were offered.
        SignatureMissing: there is no bundle, and no exception was granted.
        PublisherUnknown: no rule speaks about the namespace.
        SignatureIdentityMismatch: rules do, and none of them names the signer.
        ManifestMismatch: the artifact is not what it was offered as.
        PlatformIncompatible: it is for another platform.
        ProtocolIncompatible: it speaks another major version of the interface.
    """
    offer = question.offer
    check_bytes(offer, artifact.digest, artifact.size)
    evidence = judge_signer(question)
    _check_manifest(offer, artifact)
    check_platform(offer, question.platform)
    require_compatible(artifact.manifest.protocol, subject=_subject(offer), left=_REFUSED)
    bundle = question.bundle if isinstance(evidence, Verified) else None
    return AdmittedArtifact(offer, artifact, evidence, bundle, content, seal=_SEAL)


def check_bytes(offer: Offer, digest: Digest, size_bytes: int) -> None:
    """Nothing, when digest and length are those of the offer.

    Raises:
        DigestMismatch: they are not.
    """
    is_same_size = offer.size_bytes in {None, size_bytes}
    if offer.digest in {None, digest} and is_same_size:
        return
    expected_size = "" if is_same_size else f", {offer.size_bytes} bytes"
    received_size = "" if is_same_size else f", {size_bytes} bytes"
    raise DigestMismatch(
        f"{_subject(offer)} {_REFUSED}: these are not the bytes that were offered",
        why=f"expected {offer.digest}{expected_size}, as {offer.source} says\n"
        f"received {digest}{received_size}, from {offer.location}",
        next=[
            "try again, in case the file was changed on the way",
            "if it repeats, tell whoever maintains the registry and do not use this file",
        ],
    )


def judge_signer(question: Question) -> Evidence:
    """Why the artifact may be taken: the proof and the rule, or the exception.

    Raises:
        SignatureMissing: there is no bundle, and no exception was granted.
        PublisherUnknown: no rule speaks about the namespace.
        SignatureIdentityMismatch: rules do, and none of them names the signer.
    """
    signer = question.signer
    if signer is None:
        if question.exception is None:
            raise _unsigned(question.offer)
        return question.exception
    rules = question.policy.rules_for(question.offer.id)
    if not rules:
        raise _unknown_publisher(question, signer)
    for rule in rules:
        if rule.admits(signer):
            return Verified(signer, rule)
    raise _other_signer(question.offer, signer, rules)


def check_platform(offer: Offer, platform: Platform | None) -> None:
    """Nothing, when the artifact is for this platform, or is not to be run here.

    Raises:
        PlatformIncompatible: it is for another one.
    """
    if platform is None or offer.platform == platform:
        return
    raise PlatformIncompatible(
        f"{_subject(offer)} {_REFUSED}: it is for another platform",
        why=f"this machine {platform}\nartifact     {offer.platform}",
        next=[f"get or build it for {platform}"],
    )


def check_receipt(receipt: Receipt, *, today: date) -> None:
    """Nothing, when what admitted an installed version still holds: asked before every launch.

    Raises:
        ExceptionExpired: it was admitted by an exception that has ended.
    """
    if receipt.exception is None:
        return
    until = receipt.exception.get("until", "")
    with contextlib.suppress(ValueError):  # a date that is none has ended
        if _DATE.fullmatch(until) and today <= date.fromisoformat(until):
            return
    raise ExceptionExpired(
        f"`{receipt.id}` {receipt.version} was not started: it is not signed,"
        " and the exception for it has ended",
        why=f"exception until {clean(until)}: {clean(receipt.exception.get('reason', ''))}",
        next=[
            "install a signed version",
            "grant it again: `aperio plugin install ARTIFACT --allow-unsigned ...`",
        ],
    )


def _check_manifest(offer: Offer, artifact: Artifact) -> None:
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
            f"{_subject(offer)} {_REFUSED}: it is something else than it was offered as",
            why="\n".join(
                f"{key}: offered {clean(offered, limit=120)}, found {clean(found, limit=120)}"
                for key, (offered, found) in wrong.items()
            ),
            next=["tell whoever maintains the registry; do not use this artifact"],
        )


# ── what the refusals say ─────────────────────────────────────────────────────────────────────────


def _subject(offer: Offer) -> str:
    return f"`{offer.id}` {offer.version}"


def _bad_exception(option: str, found: str, expected: str) -> UsageError:
    return UsageError(
        f"`{option}` of an exception was not accepted, and nothing was installed",
        why=f"expected {expected}\nfound    {clean(found, limit=80) or 'nothing'}",
    )


def _unsigned(offer: Offer) -> SignatureMissing:
    return SignatureMissing(
        f"{_subject(offer)} {_REFUSED}: it is not signed",
        why=f"there is no Sigstore bundle for {offer.location}",
        next=[
            "get the bundle from its publisher and name it with `--bundle FILE`",
            "if you built it yourself: `aperio plugin sign --trust local ARTIFACT`",
        ],
    )


def _fields(signer: Signer) -> str:
    shown = {"domain": signer.domain, "identity": signer.identity, "issuer": signer.issuer}
    shown |= {"signed at": signer.signed_at} | dict(signer.claims)
    return "\n".join(f"  {key}: {clean(text)}" for key, text in shown.items())


def _unknown_publisher(question: Question, signer: Signer) -> PublisherUnknown:
    namespace = question.offer.id.namespace
    rule = PublisherRule(namespace, signer.domain, signer.identity, signer.issuer, "")
    return PublisherUnknown(
        f"{_subject(question.offer)} {_REFUSED}:"
        f" no rule of yours says who may sign for `{namespace}`",
        why=f"its bundle is valid and proves this signer:\n{_fields(signer)}",
        next=[
            f"ask the people behind `{namespace}`, by another way, whether that is them",
            f"if it is, add this to {question.config_file}:\n{rule.to_toml()}",
        ],
    )


def _other_signer(
    offer: Offer, signer: Signer, rules: tuple[PublisherRule, ...]
) -> SignatureIdentityMismatch:
    found = {"domain": signer.domain, "identity": signer.identity, "issuer": signer.issuer}
    lines = []
    for rule in rules:
        lines.append(f"rule for `{rule.namespace}` in {rule.source}:")
        lines += [
            f"  {key}: expected {clean(expected)}, found {clean(found[key])}"
            for key, expected in rule.to_json().items()
            if key in found and found[key] != expected
        ]
    return SignatureIdentityMismatch(
        f"{_subject(offer)} {_REFUSED}: it is not signed by whom your rule names",
        why="\n".join(lines),
        next=[
            f"do not use it before the people behind `{offer.id.namespace}` have explained it",
            "if their signer did change, change the rule",
        ],
    )
