from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes

from aperio_cli import clock, errors
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.signing.local.authority import LeafIdentity
from aperio_cli.verifying.signature import (
    TrustedRootSource,
    read_trusted_root,
    verify_signature,
)
from tests.trust import Forge, new_domain, root_of, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

DIGEST = Digest.of(b"the artifact")
WORKFLOW = "https://github.com/acme/box/.github/workflows/release.yml@refs/tags/v1.2.3"
GITHUB = "https://token.actions.githubusercontent.com"


class Panic(BaseException):
    """What a panic in a parser written in Rust looks like: no Exception."""


@pytest.fixture(name="domain")
def _domain(tmp_path: Path) -> LocalDomain:
    return new_domain(tmp_path / "own")


@pytest.fixture(name="forge")
def _forge(domain: LocalDomain) -> Forge:
    return Forge.of(domain)


@pytest.fixture(name="root")
def _root(domain: LocalDomain) -> TrustedRootSource:
    return root_of(domain)


def refusal(bundle: bytes, *roots: TrustedRootSource) -> errors.Refusal:
    with pytest.raises(errors.Refusal) as caught:
        verify_signature(DIGEST, bundle, roots)
    return caught.value


# ── what a signer says ────────────────────────────────────────────────────────────────────────────


def test_signer_has_identity_issuer_time_and_certificate_of_the_bundle(
    forge: Forge, root: TrustedRootSource
) -> None:
    leaf = forge.certificate()
    stamped = forge.issued_at + timedelta(seconds=7)
    bundle = forge.but(leaf=lambda _: leaf, stamped_at=stamped).bundle_json(DIGEST)
    signer = verify_signature(DIGEST, bundle, [root])
    assert signer.to_json() == {
        "domain": "local",
        "identity": "alice@local",
        "issuer": LOCAL_ISSUER,
        "signed_at": clock.format_timestamp(stamped),
        "certificate_sha256": leaf.fingerprint(hashes.SHA256()).hex(),
        "claims": {},
    }


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
    signer = verify_signature(DIGEST, forge.but(identity=identity).bundle_json(DIGEST), [root])
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
    signer = verify_signature(DIGEST, json.dumps(document).encode(), [root])
    assert signer.signed_at.startswith(str(forge.issued_at.year))


# ── several roots, or none ────────────────────────────────────────────────────────────────────────


def test_signer_names_the_root_that_verified(
    forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    other = TrustedRootSource("other", root_of(new_domain(tmp_path / "b")).document)
    own = TrustedRootSource("mine", root.document)
    assert verify_signature(DIGEST, forge.bundle_json(DIGEST), [other, own]).domain == "mine"


def test_root_that_cannot_be_read_does_not_hide_a_good_one(
    forge: Forge, root: TrustedRootSource
) -> None:
    broken = TrustedRootSource("broken", b"{}")
    assert verify_signature(DIGEST, forge.bundle_json(DIGEST), [broken, root]).domain == "local"


def test_refusal_says_what_each_root_found(forge: Forge, tmp_path: Path) -> None:
    first = TrustedRootSource("first", root_of(new_domain(tmp_path / "a")).document)
    second = TrustedRootSource("second", b"not JSON")
    refused = refusal(forge.bundle_json(DIGEST), first, second)
    assert refused.code == "signature-invalid"
    assert [line.partition(":")[0] for line in refused.why.splitlines()] == ["first", "second"]


def test_mismatch_is_told_when_only_one_of_several_roots_proves_it(
    forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    other = TrustedRootSource("other", root_of(new_domain(tmp_path / "a")).document)
    bundle = forge.bundle_json(Digest.of(b"another"))
    assert refusal(bundle, other, root).code == "signature-digest-mismatch"


def test_no_root_refuses(forge: Forge) -> None:
    assert refusal(forge.bundle_json(DIGEST)).code == "trust-root-missing"


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("period", [{"start": "yesterday"}, {}, {"start": "2020-01-01T00:00:00"}])
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
    source = read_trusted_root("local", copy)
    assert verify_signature(DIGEST, bundle, [source]).identity == "alice@local"


def test_missing_root_file_refuses_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(errors.TrustRootMissing) as caught:
        read_trusted_root("local", tmp_path / "none.json")
    assert "`aperio trust local init`" in caught.value.next[0]


def test_root_file_refuses_when_it_is_too_long_or_no_file(tmp_path: Path) -> None:
    long = tmp_path / "long.json"
    long.write_bytes(b" " * (1024 * 1024 + 1))
    for path in (long, tmp_path):
        with pytest.raises(errors.TrustRootInvalid):
            read_trusted_root("local", path)


# ── faults inside the verifier ────────────────────────────────────────────────────────────────────

FOREIGN_CALLS = (
    "sigstore.models.Bundle.from_json",
    "sigstore.models.Bundle.to_json",
    "sigstore.models.ClientTrustConfig.from_json",
    "sigstore.verify.Verifier.__init__",
    "sigstore.verify.Verifier.verify_artifact",
    "sigstore.models.TimestampVerificationData.rfc3161_timestamps",
    "cryptography.hazmat.asn1.decode_der",
)


@pytest.mark.parametrize("crash", [RuntimeError, MemoryError, RecursionError, KeyError, Panic])
@pytest.mark.parametrize("call", FOREIGN_CALLS)
def test_any_fault_of_a_foreign_call_refuses(
    call: str,
    crash: type[BaseException],
    forge: Forge,
    root: TrustedRootSource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = forge.bundle_json(DIGEST)

    def fail(*_: object, **__: object) -> None:
        raise crash("inside")

    monkeypatch.setattr(call, property(fail) if call.endswith("timestamps") else fail)
    refused = refusal(bundle, root)
    assert (refused.exit_status, refused.code) in {
        (3, code) for code in ("verifier-crashed", "bundle-malformed", "trust-root-invalid")
    }


def test_crash_names_its_type(
    forge: Forge, root: TrustedRootSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = forge.bundle_json(DIGEST)

    def fail(*_: object) -> None:
        raise Panic("index\x1b[2J out of range")

    monkeypatch.setattr("sigstore.verify.Verifier.verify_artifact", fail)
    refused = refusal(bundle, root)
    assert refused.code == "verifier-crashed"
    assert refused.why == "Panic: index\N{REPLACEMENT CHARACTER}[2J out of range"


def test_verifier_that_never_asks_the_policy_refuses(
    forge: Forge, root: TrustedRootSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = forge.bundle_json(DIGEST)
    monkeypatch.setattr("sigstore.verify.Verifier.verify_artifact", lambda *_: None)
    assert refusal(bundle, root).code == "signature-invalid"


def test_interruption_is_no_refusal(
    forge: Forge, root: TrustedRootSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = forge.bundle_json(DIGEST)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sigstore.verify.Verifier.verify_artifact", interrupt)
    with pytest.raises(KeyboardInterrupt):
        verify_signature(DIGEST, bundle, [root])


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


def test_sigstore_prints_nothing_of_its_own() -> None:
    script = (
        "import logging; from aperio_cli import errors\n"
        "from aperio_cli.models.digest import Digest\n"
        "from aperio_cli.verifying.signature import *; root = TrustedRootSource('local', b'')\n"
        "try: verify_signature(Digest('0' * 64), b'', [root])\n"
        "except errors.BundleMalformed: logging.getLogger('sigstore.models').warning('a root CA')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_import_of_the_module_loads_neither_sigstore_nor_cryptography() -> None:
    script = (
        "import sys, aperio_cli.verifying.signature, aperio_cli.signing, aperio_cli.signing.local;"
        "print([n for n in ('sigstore', 'cryptography', 'requests', 'jwt') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
