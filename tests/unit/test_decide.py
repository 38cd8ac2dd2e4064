from __future__ import annotations

import dataclasses
import io
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from aperio_cli.errors import (
    AperioError,
    DigestMismatch,
    ExceptionExpired,
    ManifestMismatch,
    PlatformIncompatible,
    ProtocolIncompatible,
    PublisherUnknown,
    SignatureIdentityMismatch,
    SignatureMissing,
    UsageError,
)
from aperio_cli.models.artifact import Artifact
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.policy import Policy
from aperio_cli.verifying.decide import (
    AdmittedArtifact,
    ExceptionGranted,
    Question,
    Verified,
    check_receipt,
    decide,
    judge_signer,
)
from tests.builders import ARM, LINUX, manifest, offer, receipt, rule, signer

TODAY = date(2026, 1, 1)
GRANTED = ExceptionGranted("unsigned", "2026-02-01", "trying it out")


def question(**changes: Any) -> Question:
    asked = Question(
        offer=offer(),
        signer=signer(),
        bundle=b"{}",
        exception=None,
        policy=Policy((rule(),)),
        config_file="/home/me/config.toml",
        platform=LINUX,
    )
    return replace(asked, **changes)


def artifact(**changes: Any) -> Artifact:
    found = Artifact(Path("/x"), Digest.of(b"artifact"), 8, manifest(), LINUX)
    return replace(found, **changes)


def ask(asked: Question | None = None, found: Artifact | None = None) -> AdmittedArtifact:
    return decide(asked or question(), found or artifact(), io.BytesIO())


def refused(asked: Question | None = None, found: Artifact | None = None) -> AperioError:
    with pytest.raises(AperioError) as caught:
        ask(asked, found)
    assert caught.value.what.startswith("`acme/box-connector` 1.2.3 was refused")
    return caught.value


# ── admitted ──────────────────────────────────────────────────────────────────────────────────────


def test_decide_admits_whom_a_rule_names() -> None:
    admitted = ask()
    assert admitted.evidence == Verified(signer(), rule())
    assert admitted.bundle == b"{}"
    assert (admitted.badge, admitted.subject) == ("local", "`acme/box-connector` 1.2.3")


def test_decide_admits_an_exception_without_a_bundle() -> None:
    admitted = ask(question(signer=None, bundle=None, exception=GRANTED))
    assert (admitted.evidence, admitted.bundle, admitted.badge) == (GRANTED, None, "unsigned")


def test_decide_admits_by_any_of_several_rules() -> None:
    rules = (rule(namespace="acme", identity="bob@local"), rule(namespace="acme"))
    assert ask(question(policy=Policy(rules))).evidence == Verified(signer(), rules[1])


def test_decide_admits_a_newer_minor_of_the_interface() -> None:
    assert ask(found=artifact(manifest=manifest(protocol="1.99"))).badge == "local"


def test_decide_admits_another_platform_when_it_is_not_to_run_here() -> None:
    other = question(offer=offer(platform=ARM), platform=None)
    assert ask(other, artifact(platform=ARM)).artifact.platform == ARM


def test_decide_admits_a_length_that_is_right() -> None:
    assert ask(question(offer=offer(size_bytes=8))).artifact.size == 8


# ── only decide admits ────────────────────────────────────────────────────────────────────────────


def test_admitted_artifact_refuses_every_other_maker() -> None:
    with pytest.raises(TypeError, match="only verifying"):
        AdmittedArtifact(
            offer(),
            artifact(),
            GRANTED,
            None,
            io.BytesIO(),
            seal=object(),  # type: ignore[arg-type] # the attack
        )


def test_admitted_artifact_refuses_to_be_replaced_in_part() -> None:
    with pytest.raises((TypeError, ValueError), match="seal"):
        dataclasses.replace(ask(), artifact=artifact(size=9))  # type: ignore[call-arg] # the attack


def test_admitted_artifact_closes_its_file() -> None:
    with ask() as admitted:
        pass
    assert admitted.content.closed


# ── refused ───────────────────────────────────────────────────────────────────────────────────────


def test_decide_refuses_other_bytes_and_shows_both_digests() -> None:
    error = refused(found=artifact(digest=Digest.of(b"other")))
    assert isinstance(error, DigestMismatch)
    assert error.exit_status == 3
    assert str(Digest.of(b"other")) in error.why
    assert str(Digest.of(b"artifact")) in error.why


def test_decide_refuses_another_length() -> None:
    error = refused(question(offer=offer(size_bytes=9)))
    assert isinstance(error, DigestMismatch)
    assert "9 bytes" in error.why


def test_decide_refuses_without_bundle_and_without_exception() -> None:
    error = refused(question(signer=None, bundle=None))
    assert isinstance(error, SignatureMissing)
    assert (error.code, error.exit_status) == ("signature-missing", 3)


def test_decide_ignores_an_exception_when_there_is_a_bundle() -> None:
    error = refused(question(policy=Policy(), exception=GRANTED))
    assert isinstance(error, PublisherUnknown)


def test_decide_refuses_a_namespace_without_a_rule_and_gives_the_rule_to_add() -> None:
    shown = signer(claims=(("source_repository_uri", "https://example.org/box"),))
    error = refused(question(policy=Policy((rule(namespace="other"),)), signer=shown))
    assert isinstance(error, PublisherUnknown)
    assert (error.code, error.exit_status) == ("publisher-unknown", 3)
    for field in ("alice@local", "https://oidc.local.aperio.invalid", "2026-01-02T03:04:05Z"):
        assert field in error.why
    assert "https://example.org/box" in error.why
    assert "/home/me/config.toml" in error.next[-1]
    assert '[[publishers]]\nnamespace = "acme"\ndomain = "local"' in error.next[-1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"identity": "mallory@local"}, "identity: expected alice@local, found mallory@local"),
        ({"issuer": "https://evil"}, "issuer: expected https://oidc.local.aperio.invalid, found"),
        ({"domain": "public"}, "domain: expected local, found public"),
        ({"identity": "alice@local.evil"}, "found alice@local.evil"),
        ({"identity": "ALICE@local"}, "found ALICE@local"),
    ],
)
def test_decide_refuses_a_signer_who_differs_in_one_field(
    change: dict[str, str], named: str
) -> None:
    error = refused(question(signer=signer(**change)))
    assert isinstance(error, SignatureIdentityMismatch)
    assert (error.code, error.exit_status) == ("signature-identity-mismatch", 3)
    assert named in error.why


def test_decide_does_not_open_a_namespace_with_a_rule_to_everybody() -> None:
    rules = (rule(), rule(namespace="acme", identity="bob@local"))
    assert isinstance(refused(question(policy=Policy(rules))), SignatureIdentityMismatch)


@pytest.mark.parametrize(
    ("stated", "key"),
    [
        ({"id": PluginId("acme", "other")}, "id"),
        ({"version": "9.9.9"}, "version"),
        ({"kind": "destination"}, "kind"),
        ({"platform": ARM}, "platform"),
    ],
)
def test_decide_refuses_an_offer_that_the_manifest_does_not_keep(
    stated: dict[str, Any], key: str
) -> None:
    with pytest.raises(ManifestMismatch) as caught:
        ask(question(offer=offer(**stated)))
    assert f"{key}: offered" in caught.value.why
    assert (caught.value.code, caught.value.exit_status) == ("manifest-mismatch", 3)


def test_decide_refuses_another_platform_and_names_both() -> None:
    error = refused(question(offer=offer(platform=ARM)), artifact(platform=ARM))
    assert isinstance(error, PlatformIncompatible)
    assert error.exit_status == 6
    assert "linux/amd64" in error.why
    assert "linux/arm64" in error.why


def test_decide_refuses_another_major_of_the_interface_and_names_both() -> None:
    error = refused(found=artifact(manifest=manifest(protocol="2.0")))
    assert isinstance(error, ProtocolIncompatible)
    assert (error.code, error.exit_status) == ("protocol-incompatible", 6)
    assert error.why == "plugin 2.0\naperio 1.0"


def test_judge_signer_needs_no_artifact() -> None:
    assert judge_signer(question()) == Verified(signer(), rule())


def test_refusal_shows_no_control_characters_of_a_signer() -> None:
    error = refused(question(policy=Policy(), signer=signer(identity="a\x1b[31mb")))
    assert "\x1b" not in error.why + "".join(error.next)


# ── exceptions ────────────────────────────────────────────────────────────────────────────────────


def test_exception_holds_from_tomorrow_to_a_year() -> None:
    for until in ("2026-01-02", "2027-01-01", "2027-01-02"):
        assert ExceptionGranted.unsigned(until=until, reason="why", today=TODAY).until == until


@pytest.mark.parametrize(
    "until",
    [
        "",
        "2026-01-01",
        "2025-12-31",
        "2027-01-03",
        "9999-01-01",
        "tomorrow",
        "20260201",
        "2026-W05-1",
        "2026-02-30",
        "2026-02-01T00:00:00",
    ],
)
def test_exception_refuses_a_date_that_is_no_day_of_the_next_year(until: str) -> None:
    with pytest.raises(UsageError, match="`--until`") as caught:
        ExceptionGranted.unsigned(until=until, reason="why", today=TODAY)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "a\x1bb", "two\nlines"])
def test_exception_refuses_a_reason_that_says_nothing(reason: str) -> None:
    with pytest.raises(UsageError, match="`--reason`"):
        ExceptionGranted.unsigned(until="2026-02-01", reason=reason, today=TODAY)


@pytest.mark.parametrize("until", ["2026-01-01", "2026-01-02"])
def test_check_receipt_passes_to_the_last_day_of_an_exception(until: str) -> None:
    check_receipt(receipt(exception={"rule": "unsigned", "until": until}), today=TODAY)


@pytest.mark.parametrize("until", ["2025-12-31", "", "never", "2026-02-30", "20260201"])
def test_check_receipt_refuses_an_exception_that_has_ended(until: str) -> None:
    stale = receipt(exception={"rule": "unsigned", "until": until, "reason": "trying it out"})
    with pytest.raises(ExceptionExpired) as caught:
        check_receipt(stale, today=TODAY)
    assert caught.value.exit_status == 3
    assert "trying it out" in caught.value.why


def test_check_receipt_passes_what_is_signed() -> None:
    check_receipt(receipt(), today=TODAY)
