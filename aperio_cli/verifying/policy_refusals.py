"""Refusals of a case: what was expected, what was found, and what to do; pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from aperio_cli.errors.registries import VersionRevoked
from aperio_cli.errors.running import ExceptionExpired
from aperio_cli.errors.trust import (
    ProvenanceMismatch,
    ProvenanceMissing,
    PublisherUnknown,
    PublisherUnverified,
    SignatureIdentityMismatch,
    SignatureMissing,
)
from aperio_cli.models.policy import REVOKED_RULE, UNVERIFIED
from aperio_cli.models.publisher import LOCAL_DOMAIN, RULE_KEYS
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aperio_cli.models.evidence import ExceptionGranted
    from aperio_cli.models.policy import PolicyException
    from aperio_cli.models.proof import Attestation
    from aperio_cli.models.publisher import Difference, PublisherRule, Signer
    from aperio_cli.models.registry.plugin_file import VersionStatus
    from aperio_cli.verifying.judgement import Case


def unsigned(case: Case) -> SignatureMissing:
    """Return the refusal of a case that nobody signed, as nothing lifts that somebody has to."""
    why = f"there is no Sigstore bundle for {case.location}"
    if case.exception and not case.policy.allow_unsigned:
        why += "\n`--allow-unsigned` has no effect: the site's configuration requires signatures"
    return SignatureMissing(
        f"{case.refused}: it is not signed",
        why=why,
        next=[
            "get the bundle from its publisher, and put it beside the artifact",
            "if you built it yourself: `aperio plugin sign --trust local ARTIFACT`",
        ],
    )


def revoked(case: Case, status: VersionStatus) -> VersionRevoked:
    """Return the refusal of a case that a registry has revoked: why, since when, what instead."""
    ended = case.ended(REVOKED_RULE)
    why = f"{clean(status.reason)}\nsince {status.at}"
    if ended:
        why += f"\nexception until {clean(ended.until, limit=80)}: {clean(ended.reason)}"
    install = f"aperio plugin install {case.plugin}"
    instead = f"`{install}`, where its registry has a version that may be used"
    if status.replacement:
        instead = f"`{install}@{status.replacement}`, which replaces it"
    return VersionRevoked(
        f"{case.refused}: its registry has revoked it",
        why=why,
        next=[
            instead,
            f"if you have to, for a time: {_exception_command(case, REVOKED_RULE)}",
        ],
    )


def ended(case: Case, exception: ExceptionGranted | PolicyException) -> ExceptionExpired:
    """Return the refusal of a case whose exception was for a time that is over."""
    lacking, better = "it is not signed", "a signed version"
    if exception.rule == UNVERIFIED:
        lacking, better = "its publisher is not verified", "a plugin of a verified publisher"
    return ExceptionExpired(
        f"{case.refused}: {lacking}, and the exception for it has ended",
        why=f"exception until {clean(exception.until, limit=80)}: {clean(exception.reason)}",
        next=[f"install {better}", f"grant it again: {_exception_command(case, exception.rule)}"],
    )


def unknown_publisher(case: Case, signer: Signer) -> PublisherUnknown:
    """Return the refusal of a case that no rule is about; the first step is ready to be typed."""
    namespace = case.plugin.namespace
    steps = [
        _adding(case),
        f"before you consent, ask the people behind `{namespace}`, by another way, if that is them",
    ]
    if namespace in case.policy.closed:
        steps = steps[:1]
    is_stated = any(rule.namespace == namespace for rule in case.policy.publishers)
    subject = str(case.plugin) if is_stated else namespace
    return PublisherUnknown(
        f"{case.refused}: no rule of yours says who may sign for `{subject}`",
        why=f"its bundle is valid and proves this signer:\n{_fields(signer)}",
        next=steps,
    )


def other_signer(
    case: Case, signer: Signer, rules: Sequence[PublisherRule]
) -> SignatureIdentityMismatch:
    """Return the refusal of a signer whom no rule names: key by key, rule by rule."""
    lines: list[str] = []
    for rule in rules:
        lines.append(f"{_named(rule)}:")
        lines += _differing(rule.told_differences(signer, case.version))
    return SignatureIdentityMismatch(
        f"{case.refused}: it is not signed by whom your rule names",
        why="\n".join(lines),
        next=[
            f"do not use it before the people behind `{case.plugin.namespace}` have explained it",
            f"if their signer did change: {_adding(case)}",
        ],
    )


def unverified(case: Case, rule: PublisherRule | None) -> PublisherUnverified:
    """Return the refusal of a publisher who is not verified, or nobody, where one has to be."""
    # What is required of every plugin is not the organization's own doing.
    is_general = case.policy.required() == case.policy.required(case.organization)
    whose = "every plugin" if is_general else f"plugins of organization {clean(case.organization)}"
    found = "nobody signed it"
    steps = ["choose a plugin of a verified publisher"]
    if case.proof and LOCAL_DOMAIN in case.proof.signer.domains:
        found = "signed in the local trust domain, for which only this machine vouches"
    elif rule:
        found = f"{rule.tier}, as the {_named(rule)} says"
        steps.append('once you have checked who they are, add `tier = "verified"` to that rule')
    return PublisherUnverified(
        f"{case.refused}: its publisher is not verified",
        why=f"expected verified, as is required of {whose} here\nfound    {found}",
        next=[*steps, f"for a time: {_exception_command(case, UNVERIFIED)}"],
    )


def without_provenance(case: Case, rule: PublisherRule | None) -> ProvenanceMissing:
    """Return the refusal of a case without the provenance that is demanded."""
    is_by_rule = rule is not None and rule.demands.is_any
    demanding = f"the {_named(rule)}" if rule and is_by_rule else "[policy] require_provenance"
    return ProvenanceMissing(
        f"{case.refused}: nothing signed says how it was built",
        why=f"expected SLSA provenance by its publisher, as {demanding} demands\nfound    none",
        next=[
            "get its attestations (.intoto.jsonl), put them beside the artifact, install it again",
            "ask its publisher to attest releases: `aperio plugin sign` does",
        ],
    )


def foreign_attestations(case: Case, foreign: Sequence[Attestation]) -> ProvenanceMismatch:
    """Return the refusal of statements that were made by somebody whom no rule names."""
    found = (
        f"  {clean(each.predicate_type)} by {clean(each.signer.identity)},"
        f" trust domain {clean(each.signer.domain)}"
        for each in foreign
    )
    return ProvenanceMismatch(
        f"{case.refused}: not all of its attestations are by its publisher",
        why="\n".join(["expected signers whom your rules name, found also", *found]),
        next=["get the attestations from its publisher"],
    )


def other_provenance(
    case: Case, rule: PublisherRule, differences: Iterable[Difference]
) -> ProvenanceMismatch:
    """Return the refusal of provenance that is not what is demanded."""
    return ProvenanceMismatch(
        f"{case.refused}: it was not built as your rules demand",
        why="\n".join([f"{_named(rule)}:", *_differing(differences)]),
        next=[
            f"do not use it before the people behind `{case.plugin.namespace}` have explained it",
            "if their build did change, change the rule",
        ],
    )


def _named(rule: PublisherRule) -> str:
    plugin = f"/{rule.plugin}" if rule.plugin else ""
    return f"rule for `{rule.namespace}{plugin}` in {rule.stated_in}"


def _adding(case: Case) -> str:
    """Return the step that states a rule about the signer of a case."""
    namespace = case.plugin.namespace
    if namespace in case.policy.closed:
        return f"ask whoever keeps the site's configuration for a publisher of `{namespace}`"
    command = f"trust publisher add {namespace} --from-bundle {shlex.quote(case.bundle_name)}"
    return f"`aperio {command}`, which shows these fields and asks before it writes a rule"


def _differing(differences: Iterable[Difference]) -> Iterator[str]:
    """Give found below expected, so that long addresses can be compared by eye."""
    for difference in differences:
        yield f"  {difference.field}"
        yield f"    expected  {clean(difference.expected)}"
        yield f"    found     {clean(difference.found)}"


def _fields(signer: Signer) -> str:
    shown = {"domain": signer.domain, "identity": signer.identity, "issuer": signer.issuer}
    claims = {RULE_KEYS.get(claim, claim): value for claim, value in signer.claims}
    shown |= {"signed at": signer.signed_at} | claims
    return "\n".join(f"  {key}: {clean(text)}" for key, text in shown.items())


def _exception_command(case: Case, rule: str) -> str:
    named = f"{case.plugin}@{case.version}"
    command = f"aperio trust exception add {named} --rule {rule} --until DATE --reason TEXT"
    return f"`{command}`"
