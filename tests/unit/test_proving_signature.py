from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from aperio_cli import clock
from aperio_cli.errors import Refusal
from aperio_cli.errors.trust import SignatureDigestMismatch
from aperio_cli.models.artifact import MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.proof import RELEASE_TYPES, SBOM_TYPE, Attestation, LogEntry
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.proving.signature import TrustedRootSource, verify_signature
from aperio_cli.signing.local.authority import CertificateAuthority, LeafIdentity
from tests.rows import each_row
from tests.trust import (
    REPOSITORY,
    Forge,
    OldLog,
    encoded,
    github_identity,
    new_domain,
    provenance,
    root_of,
    snapshot,
)

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

DIGEST = Digest.of(b"the artifact")
WORKFLOW = "https://github.com/acme/box/.github/workflows/release.yml@refs/tags/v1.2.3"
GITHUB = "https://token.actions.githubusercontent.com"


@pytest.fixture(name="domain")
def _domain(tmp_path: Path) -> LocalDomain:
    return new_domain(tmp_path / "own")


@pytest.fixture(name="forge")
def _forge(domain: LocalDomain) -> Forge:
    return Forge.of(domain)


@pytest.fixture(name="root")
def _root(domain: LocalDomain) -> TrustedRootSource:
    return root_of(domain)


def refusal(bundle: bytes, *roots: TrustedRootSource) -> Refusal:
    with pytest.raises(Refusal) as caught:
        verify_signature(DIGEST, bundle, roots)
    return caught.value


# ── what a signer says ────────────────────────────────────────────────────────────────────────────


def test_signer_has_identity_issuer_time_and_certificate_of_the_bundle(
    forge: Forge, root: TrustedRootSource
) -> None:
    leaf = forge.certificate()
    stamped = forge.issued_at + timedelta(seconds=7)
    bundle = forge.but(leaf=lambda _: leaf, stamped_at=stamped).bundle_json(DIGEST)
    signer = verify_signature(DIGEST, bundle, [root]).signer
    assert signer.to_json() == {
        "domain": "local",
        "identity": "alice@local",
        "issuer": LOCAL_ISSUER,
        "signed_at": clock.format_timestamp(stamped),
        "certificate_sha256": leaf.fingerprint(hashes.SHA256()).hex(),
        "claims": {},
        "further_domains": [],
    }


# ── times that lie ahead ──────────────────────────────────────────────────────────────────────────


def test_signature_of_a_time_yet_to_come_refuses_and_names_the_clock(
    forge: Forge, root: TrustedRootSource
) -> None:
    ahead = clock.now() + timedelta(days=3650)

    refused = refusal(forge.but(issued_at=ahead).bundle_json(DIGEST), root)

    assert (refused.code, refused.exit_status) == ("clock-suspect", 3)
    assert f"signed at {clock.format_timestamp(ahead)}" in refused.why
    assert "set this machine's clock" in refused.next[0]
    assert "tell the publisher" in refused.next[1]


@pytest.mark.parametrize("minutes", [-60, 4])
def test_signature_of_a_clock_that_is_a_little_ahead_verifies(
    forge: Forge, root: TrustedRootSource, minutes: int
) -> None:
    bundle = forge.but(issued_at=clock.now() + timedelta(minutes=minutes)).bundle_json(DIGEST)

    assert verify_signature(DIGEST, bundle, [root]).signer.identity == "alice@local"


def test_clock_that_is_years_behind_is_told_by_the_roots_beside_the_signature(
    forge: Forge, root: TrustedRootSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = forge.bundle_json(DIGEST)
    shipped = replace(root, name="public", as_of="2026-05-07T13:58:18Z")
    monkeypatch.setattr(clock, "now", lambda: datetime(2016, 11, 29, tzinfo=UTC))

    refused = refusal(bundle, root, shipped)

    assert refused.code == "clock-suspect"
    assert "this clock 2016-11-29T00:00:00Z" in refused.why
    assert "`public` was current at 2026-05-07T13:58:18Z" in refused.why
    assert refused.next == ("set this machine's clock, then run the same command again",)


def test_clock_that_is_years_ahead_does_not_undo_a_signature(
    forge: Forge, root: TrustedRootSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = forge.bundle_json(DIGEST)
    monkeypatch.setattr(clock, "now", lambda: datetime(2036, 11, 29, tzinfo=UTC))

    assert verify_signature(DIGEST, bundle, [root]).signer.identity == "alice@local"


def test_signer_has_claims_of_a_workflow_by_name(forge: Forge, root: TrustedRootSource) -> None:
    claims = {
        11: "github-hosted",
        12: "https://github.com/acme/box",
        14: "refs/tags/v1.2.3",
        15: "1234",
        17: "99",
        18: WORKFLOW,
    }
    identity = LeafIdentity(WORKFLOW, GITHUB, claims)
    signer = verify_signature(
        DIGEST, forge.but(identity=identity).bundle_json(DIGEST), [root]
    ).signer
    assert (signer.identity, signer.issuer) == (WORKFLOW, GITHUB)
    assert signer.claims == (
        ("runner_environment", "github-hosted"),
        ("source_repository_uri", "https://github.com/acme/box"),
        ("source_repository_ref", "refs/tags/v1.2.3"),
        ("source_repository_identifier", "1234"),
        ("source_repository_owner_identifier", "99"),
        ("build_config_uri", WORKFLOW),
    )


def test_signer_time_ignores_the_unsigned_time_in_the_entry(
    forge: Forge, root: TrustedRootSource
) -> None:
    document = forge.bundle(DIGEST)
    document["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1"
    signer = verify_signature(DIGEST, json.dumps(document).encode(), [root]).signer
    assert signer.signed_at.startswith(str(forge.issued_at.year))


# ── what a proof says besides ─────────────────────────────────────────────────────────────────────


def test_proof_has_facts_of_the_root_and_the_entry(forge: Forge, root: TrustedRootSource) -> None:
    for other in (b"1", b"2"):
        forge.bundle(Digest.of(other))
    stated = replace(root, name="acme", origin="file", as_of="2026-08-01T00:00:00Z")
    proof = verify_signature(DIGEST, forge.bundle_json(DIGEST), [stated])
    assert proof.to_json() == {
        "form": "signature",
        "root": {
            "name": "acme",
            "sha256": Digest.of(root.document).hex,
            "origin": "file",
            "as_of": "2026-08-01T00:00:00Z",
        },
        "log_entry": {"log": "https://log.local.aperio.invalid", "index": 2, "tree_size": 3},
        "attestations": [],
    }


def test_proof_ignores_the_index_beside_the_proof(forge: Forge, root: TrustedRootSource) -> None:
    document = forge.bundle(DIGEST)
    genuine = verify_signature(DIGEST, json.dumps(document).encode(), [root])
    document["verificationMaterial"]["tlogEntries"][0]["logIndex"] = "5000"
    assert verify_signature(DIGEST, json.dumps(document).encode(), [root]) == genuine


def test_proof_names_the_log_that_proved_it_when_the_root_has_several(
    forge: Forge, root: TrustedRootSource
) -> None:
    old = OldLog(forge.issued_at + timedelta(seconds=3))
    both = old.in_root(root)
    proof = verify_signature(DIGEST, forge.bundle_json(DIGEST), [both])
    assert proof.log_entry == LogEntry("https://log.local.aperio.invalid", 0, 1)
    proof = verify_signature(DIGEST, forge.but(log=old).bundle_json(DIGEST), [both])
    assert proof.log_entry == LogEntry("https://rekor.acme.example", 0, 1)


def test_signer_time_is_the_log_s_when_the_log_signed_it(
    forge: Forge, root: TrustedRootSource
) -> None:
    logged = forge.issued_at + timedelta(minutes=4)
    old = OldLog(logged)
    document = forge.but(log=old).bundle(DIGEST)
    raw = json.dumps(document).encode()
    proof = verify_signature(DIGEST, raw, [old.in_root(root)])
    assert proof.signer.signed_at == clock.format_timestamp(logged)
    del document["verificationMaterial"]["timestampVerificationData"]
    raw = json.dumps(document).encode()
    assert verify_signature(DIGEST, raw, [old.in_root(root)]) == proof


# ── a statement in place of the signature ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("predicate_type", RELEASE_TYPES)
def test_release_statement_about_several_files_proves_each(
    predicate_type: str, forge: Forge, root: TrustedRootSource
) -> None:
    others = [Digest.of(b"linux"), Digest.of(b"windows")]
    bundle = forge.statement(
        others[0], DIGEST, others[1], predicateType=predicate_type, predicate={"purl": "pkg:x/y"}
    )
    for digest in (DIGEST, *others):
        proof = verify_signature(digest, bundle, [root])
        assert (proof.form, proof.signer.identity) == ("statement", "alice@local")
        assert proof.attestations == (Attestation(predicate_type, proof.signer),)
        assert proof.log_entry == LogEntry("https://log.local.aperio.invalid", 0, 1)


def test_provenance_is_a_signature_and_an_attestation(
    forge: Forge, root: TrustedRootSource
) -> None:
    build = forge.but(identity=github_identity())
    proof = verify_signature(DIGEST, build.statement(DIGEST), [root])
    assert proof.form == "statement"
    (attestation,) = proof.attestations
    assert attestation.signer == proof.signer
    assert attestation.provenance is not None
    assert attestation.provenance.source_repository == REPOSITORY


def test_statement_about_other_files_refuses_with_their_digests(
    forge: Forge, root: TrustedRootSource
) -> None:
    others = [Digest.of(bytes([number])) for number in range(5)]
    refused = refusal(forge.statement(*others), root)
    assert refused.code == "signature-digest-mismatch"
    signed = ", ".join(map(str, others[:3]))
    assert refused.why == f"expected {DIGEST}\nsigned   {signed}, 2 more"


@each_row(
    "predicate_type",
    [
        SBOM_TYPE,
        "https://spdx.dev/Document/v2.3",
        "https://slsa.dev/provenance/v0.2",
        "https://slsa.dev/verification_summary/v1",
        "https://slsa.dev/provenance/v1/",
        "https://in-toto.io/attestation/vulns/v0.1",
    ],
)
def test_statement_of_another_type_is_no_signature(
    predicate_type: str, forge: Forge, root: TrustedRootSource
) -> None:
    refused = refusal(forge.statement(DIGEST, predicateType=predicate_type), root)
    assert refused.code == "signature-invalid"
    assert refused.why.endswith(f"found    {predicate_type}")


def test_provenance_that_contradicts_the_certificate_is_no_signature(
    forge: Forge, root: TrustedRootSource
) -> None:
    build = forge.but(identity=github_identity())
    lie = provenance(repository="https://github.com/acme/other")
    assert refusal(build.statement(DIGEST, predicate=lie), root).code == "provenance-mismatch"


# ── several roots, or none ────────────────────────────────────────────────────────────────────────


def test_signer_names_the_root_that_verified(
    forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    other = TrustedRootSource("other", root_of(new_domain(tmp_path / "b")).document)
    own = TrustedRootSource("mine", root.document)
    assert verify_signature(DIGEST, forge.bundle_json(DIGEST), [other, own]).signer.domain == "mine"


@pytest.mark.parametrize("form", ["signature", "statement"])
def test_signer_names_every_root_that_verifies(
    forge: Forge, root: TrustedRootSource, tmp_path: Path, form: str
) -> None:
    other = TrustedRootSource("other", root_of(new_domain(tmp_path / "b")).document)
    mine, theirs = (TrustedRootSource(name, root.document) for name in ("mine", "theirs"))
    bundle = forge.bundle_json(DIGEST) if form == "signature" else forge.statement(DIGEST)
    proof = verify_signature(DIGEST, bundle, [other, mine, TrustedRootSource("bad", b""), theirs])
    assert proof.signer.domains == ("mine", "theirs")
    assert proof.root.name == "mine"
    assert {each.signer.domains for each in proof.attestations} <= {("mine", "theirs")}


def test_signer_names_one_root_when_the_others_only_look_alike(
    forge: Forge, root: TrustedRootSource
) -> None:
    document = json.loads(root.document)
    document["tlogs"] = []
    logless = TrustedRootSource("logless", json.dumps(document).encode())
    signer = verify_signature(DIGEST, forge.bundle_json(DIGEST), [root, logless]).signer
    assert signer.domains == ("local",)


def test_root_that_cannot_be_read_does_not_hide_a_good_one(
    forge: Forge, root: TrustedRootSource
) -> None:
    broken = TrustedRootSource("broken", b"{}")
    assert (
        verify_signature(DIGEST, forge.bundle_json(DIGEST), [broken, root]).signer.domain == "local"
    )


def test_broken_root_is_named_when_it_may_have_been_the_one(forge: Forge, tmp_path: Path) -> None:
    other = TrustedRootSource("other", root_of(new_domain(tmp_path / "a")).document)
    broken = TrustedRootSource("broken", b"not JSON")
    refused = refusal(forge.bundle_json(DIGEST), other, broken)
    assert refused.code == "trust-root-invalid"
    assert "`broken`" in refused.what
    assert "other" not in refused.what + refused.why


def test_broken_roots_are_all_named_when_there_is_no_other(forge: Forge) -> None:
    first, second = (TrustedRootSource(name, b"{}") for name in ("first", "second"))
    refused = refusal(forge.bundle_json(DIGEST), first, second)
    assert refused.code == "trust-root-invalid"
    assert "`first`, `second`" in refused.what


def test_root_without_a_document_refuses_with_its_problem(
    forge: Forge, root: TrustedRootSource
) -> None:
    lost = TrustedRootSource("lost", root.document, problem="its file is a folder")
    refused = refusal(forge.bundle_json(DIGEST), lost)
    assert (refused.code, refused.why) == ("trust-root-invalid", "its file is a folder")


def test_refusal_says_what_each_root_found_that_may_be_meant(
    forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    other = TrustedRootSource("other", root_of(new_domain(tmp_path / "a")).document)
    retired = json.loads(root.document)
    retired["tlogs"][0]["publicKey"]["validFor"]["end"] = "2021-01-01T00:00:00Z"
    own = TrustedRootSource("own", json.dumps(retired).encode())
    broken = TrustedRootSource("broken", b"not JSON")
    refused = refusal(forge.bundle_json(DIGEST), other, own, broken)
    assert refused.code == "signature-invalid"
    assert [line.partition(":")[0] for line in refused.why.splitlines()] == ["own", "broken"]


def test_refusal_is_that_of_the_only_root_that_may_be_meant(
    forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    other = TrustedRootSource("other", root_of(new_domain(tmp_path / "a")).document)
    late = forge.but(stamped_at=forge.issued_at + timedelta(minutes=11))
    for roots in ([other, root], [root, other]):
        refused = refusal(late.bundle_json(DIGEST), *roots)
        assert refused.code == "signature-invalid"
        assert "not valid at" in refused.why


def test_authority_that_names_its_key_in_its_own_way_is_recognised(
    forge: Forge, root: TrustedRootSource
) -> None:
    """RFC 5280, 4.2.1.2: the digest of the key is one common way, not the only one."""
    document = json.loads(root.document)
    document["ctlogs"] = []
    named = _renamed_authority(forge)
    raw = named.certificate.public_bytes(serialization.Encoding.DER)
    document["certificateAuthorities"][0]["certChain"]["certificates"][0]["rawBytes"] = encoded(raw)
    own = TrustedRootSource("own", json.dumps(document).encode())
    refused = refusal(forge.but(certificates=named).bundle_json(DIGEST), own)
    assert refused.code == "signature-invalid"
    assert "no ctlogs" in refused.why


def _renamed_authority(forge: Forge) -> CertificateAuthority:
    """The authority with the same key, which its certificate calls `1234`."""
    own = forge.certificates
    builder = x509.CertificateBuilder(
        own.root.subject,
        own.certificate.subject,
        own.key.public_key(),
        own.certificate.serial_number,
        own.certificate.not_valid_before_utc,
        own.certificate.not_valid_after_utc,
    )
    named = builder.add_extension(x509.SubjectKeyIdentifier(b"1234"), critical=False)
    return replace(own, certificate=named.sign(own.key, hashes.SHA256()))


def test_mismatch_is_told_when_only_one_of_several_roots_proves_it(
    forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    other = TrustedRootSource("other", root_of(new_domain(tmp_path / "a")).document)
    bundle = forge.bundle_json(Digest.of(b"another"))
    assert refusal(bundle, other, root).code == "signature-digest-mismatch"


def test_no_root_refuses(forge: Forge) -> None:
    assert refusal(forge.bundle_json(DIGEST)).code == "trust-root-missing"


@each_row(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"mediaType": "application/vnd.dev.sigstore.trustedroot.v0.2+json"}',
        b'{"certificateAuthorities": [1], "ctlogs": [], "tlogs": []}',
    ],
    ids=["empty", "list", "object", "binary", "deep", "version", "numbers"],
)
def test_root_refuses_when_it_is_not_one(document: bytes, forge: Forge) -> None:
    refused = refusal(forge.bundle_json(DIGEST), TrustedRootSource("local", document))
    assert refused.code == "trust-root-invalid"


@each_row("period", [{"start": "yesterday"}, {}, {"start": "2020-01-01T00:00:00"}])
def test_root_refuses_when_a_period_cannot_be_read(
    period: dict[str, str], forge: Forge, root: TrustedRootSource
) -> None:
    document = json.loads(root.document)
    document["certificateAuthorities"][0]["validFor"] = period
    broken = TrustedRootSource("local", json.dumps(document).encode())
    assert refusal(forge.bundle_json(DIGEST), broken).code == "trust-root-invalid"


def test_root_file_is_all_that_verification_needs(
    domain: LocalDomain, forge: Forge, tmp_path: Path
) -> None:
    copy = tmp_path / "trusted_root.json"
    copy.write_bytes((domain.directory / "trusted_root.json").read_bytes())
    bundle = forge.bundle_json(DIGEST)
    for key in (domain.directory / "keys").iterdir():
        key.unlink()
    source = TrustedRootSource("local", copy.read_bytes(), "file")
    assert verify_signature(DIGEST, bundle, [source]).signer.identity == "alice@local"


def test_refusals_name_the_file_as_whoever_asked_calls_it(
    forge: Forge, root: TrustedRootSource
) -> None:
    bundle = forge.bundle_json(Digest.of(b"another file"))
    for subject in ("`box.tar.gz`", "the artifact"):
        with pytest.raises(SignatureDigestMismatch) as caught:
            verify_signature(DIGEST, bundle, [root], subject=subject)
        expected = f"{subject} was refused: its bundle is the signature of another file"
        assert caught.value.what == expected


# ── side effects ──────────────────────────────────────────────────────────────────────────────────


def test_verifying_writes_nothing(
    domain: LocalDomain, forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    bundle = forge.bundle_json(DIGEST)
    before = snapshot(tmp_path)
    verify_signature(DIGEST, bundle, [root])
    refusal(b"{}", root)
    assert snapshot(tmp_path) == before
    assert domain.directory.is_relative_to(tmp_path)


def test_refusal_does_not_quote_the_unverified_bundle(
    forge: Forge, root: TrustedRootSource
) -> None:
    document = forge.bundle(DIGEST) | {"certificateOf": "the-most-trusted-publisher"}
    why = refusal(json.dumps(document).encode(), root).why
    assert "the-most-trusted-publisher" not in why
    assert "http" not in why


@each_row("member", [b"{}", b"[]", b"1", b'""'])
def test_bundle_of_very_many_members_refuses_before_a_parser_sees_it(
    member: bytes, forge: Forge, root: TrustedRootSource
) -> None:
    # sigstore's models would take two gigabytes to say what is wrong with each of them.
    many = b",".join([member] * 300_000)
    bundle = forge.bundle_json(DIGEST).removesuffix(b"}") + b',"more":[' + many + b"]}"
    assert len(bundle) < MAX_BUNDLE_BYTES
    started_s = time.process_time()
    refused = refusal(bundle, root)
    assert time.process_time() - started_s < 1
    assert refused.code == "bundle-malformed"
    assert refused.why.startswith("it has too many members: expected at most 4096")


def test_sigstore_prints_nothing_of_its_own() -> None:
    script = (
        "import logging; from aperio_cli.errors.trust import BundleMalformed\n"
        "from aperio_cli.models.digest import Digest\n"
        "from aperio_cli.proving.signature import *; root = TrustedRootSource('local', b'')\n"
        "try: verify_signature(Digest('0' * 64), b'', [root])\n"
        "except BundleMalformed: logging.getLogger('sigstore.models').warning('a root CA')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_import_of_the_module_loads_neither_sigstore_nor_cryptography() -> None:
    script = (
        "import sys, aperio_cli.proving.signature, aperio_cli.signing, aperio_cli.signing.local;"
        "print([n for n in ('sigstore', 'cryptography', 'requests', 'jwt') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
