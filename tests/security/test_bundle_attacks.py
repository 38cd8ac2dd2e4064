"""Each bundle here is genuine but for one thing, and is refused for that thing."""

from __future__ import annotations

import base64
import copy
import json
import random
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from aperio_cli import clock
from aperio_cli.errors import Refusal
from aperio_cli.models.artifact import MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.proof import RELEASE_TYPES
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.proving.refusals import Fault
from aperio_cli.proving.signature import TrustedRootSource, verify_signature
from aperio_cli.signing.local import authority
from aperio_cli.signing.local.authority import LeafIdentity
from tests.rows import each_row
from tests.trust import PAYLOAD_TYPE, Forge, OldLog, encoded, new_domain, root_of, statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

DIGEST = Digest.of(b"the artifact")
OTHER = Digest.of(b"another artifact")

Document = dict[str, Any]


@pytest.fixture(name="domain")
def _domain(tmp_path: Path) -> LocalDomain:
    return new_domain(tmp_path / "own")


@pytest.fixture(name="forge")
def _forge(domain: LocalDomain) -> Forge:
    return Forge.of(domain)


@pytest.fixture(name="root")
def _root(domain: LocalDomain) -> TrustedRootSource:
    return root_of(domain)


@pytest.fixture(name="foreign")
def _foreign(tmp_path: Path) -> Forge:
    return Forge.of(new_domain(tmp_path / "foreign"))


def refusal(
    document: Document | bytes, root: TrustedRootSource, digest: Digest = DIGEST
) -> Refusal:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(Refusal) as caught:
        verify_signature(digest, raw, [root])
    assert caught.value.exit_status == 3
    return caught.value


def entry_of(document: Document) -> Document:
    entry: Document = document["verificationMaterial"]["tlogEntries"][0]
    return entry


def proof_of(document: Document) -> Document:
    proof: Document = entry_of(document)["inclusionProof"]
    return proof


# ── the control: what every attack starts from is accepted ────────────────────────────────────────


def test_forged_bundle_is_accepted_when_nothing_deviates(
    forge: Forge, root: TrustedRootSource
) -> None:
    signer = verify_signature(DIGEST, forge.bundle_json(DIGEST), [root]).signer
    assert (signer.identity, signer.issuer) == ("alice@local", LOCAL_ISSUER)


def test_bundle_is_accepted_when_its_leaf_expired_after_the_timestamp(
    forge: Forge, root: TrustedRootSource
) -> None:
    earlier = clock.now() - timedelta(minutes=30)
    signer = verify_signature(
        DIGEST, forge.but(issued_at=earlier).bundle_json(DIGEST), [root]
    ).signer
    assert signer.signed_at == clock.format_timestamp(earlier + timedelta(seconds=1))


# ── another file ──────────────────────────────────────────────────────────────────────────────────


def test_bundle_of_another_file_refuses_with_both_digests(
    forge: Forge, root: TrustedRootSource
) -> None:
    refused = refusal(forge.bundle_json(OTHER), root)
    assert refused.code == "signature-digest-mismatch"
    assert refused.why == f"expected {DIGEST}\nsigned   {OTHER}"


def test_bundle_of_another_file_refuses_when_it_states_no_digest(
    forge: Forge, root: TrustedRootSource
) -> None:
    document = forge.bundle(OTHER)
    del document["messageSignature"]["messageDigest"]
    assert refusal(document, root).code == "signature-invalid"


def test_bundle_of_another_file_refuses_when_it_lies_about_the_digest(
    forge: Forge, root: TrustedRootSource
) -> None:
    document = forge.bundle(OTHER)
    document["messageSignature"]["messageDigest"]["digest"] = encoded(DIGEST.raw)
    assert refusal(document, root).code == "signature-invalid"


def test_stated_digest_is_no_fact_when_the_signature_is_bad(
    forge: Forge, foreign: Forge, root: TrustedRootSource
) -> None:
    document = forge.but(timestamps=foreign.timestamps).bundle(OTHER)
    refused = refusal(document, root)
    assert refused.code == "signature-invalid"
    assert OTHER.hex not in refused.why


# ── another authority, log or clock ───────────────────────────────────────────────────────────────


def _own_authority_without_timestamp(forge: Forge) -> x509.Certificate:
    builder = forge.certificates._leaf_builder(
        forge.key.public_key(), forge.identity, forge.issued_at
    )
    return builder.sign(forge.certificates.key, hashes.SHA256())


PARTS: dict[str, tuple[str, Callable[[Forge, Forge], Forge]]] = {
    "everything of another domain": ("log entry", lambda _own, foreign: foreign),
    "another authority": (
        "chain",
        lambda own, foreign: own.but(certificates=foreign.certificates),
    ),
    "another authority with our certificate log": (
        "chain",
        lambda own, foreign: own.but(
            certificates=replace(
                foreign.certificates, timestamp_log_key=own.certificates.timestamp_log_key
            )
        ),
    ),
    "our authority with another certificate log": (
        "SCT",
        lambda own, foreign: own.but(
            certificates=replace(
                own.certificates, timestamp_log_key=foreign.certificates.timestamp_log_key
            )
        ),
    ),
    "a key that only claims to be the authority's": (
        "chain",
        lambda own, foreign: own.but(
            certificates=replace(own.certificates, key=foreign.certificates.key)
        ),
    ),
    "no certificate timestamp": (
        "SCT",
        lambda own, _foreign: own.but(leaf=_own_authority_without_timestamp),
    ),
    "another timestamp authority": (
        "verified time",
        lambda own, foreign: own.but(timestamps=foreign.timestamps),
    ),
    "our timestamp certificate with another key": (
        "verified time",
        lambda own, foreign: own.but(
            timestamps=replace(own.timestamps, key=foreign.timestamps.key)
        ),
    ),
    "another log": ("log entry", lambda own, foreign: own.but(log=foreign.log)),
    "our log's name with another key": (
        "log entry",
        lambda own, foreign: own.but(log=replace(foreign.log, origin=own.log.origin)),
    ),
    "a leaf that expired before the timestamp": (
        "not valid at",
        lambda own, _foreign: own.but(stamped_at=own.issued_at + timedelta(minutes=11)),
    ),
    "a leaf that was not valid yet": (
        "not valid at",
        lambda own, _foreign: own.but(stamped_at=own.issued_at - timedelta(minutes=1)),
    ),
    "the authority's own certificate as leaf": (
        "at most 1 hour",
        lambda own, _foreign: own.but(
            key=own.certificates.key, leaf=lambda forge: forge.certificates.certificate
        ),
    ),
    "a timestamping certificate as leaf": (
        "at most 1 hour",
        lambda own, _foreign: own.but(
            key=own.timestamps.key, leaf=lambda forge: forge.timestamps.certificate
        ),
    ),
}


# Refused by the verification like all others; then told as what it is.
FROM_ELSEWHERE = {
    "everything of another domain",
    "another authority",
    "another authority with our certificate log",
}


@each_row("part", PARTS)
def test_bundle_refuses_when_one_part_is_foreign(
    part: str, forge: Forge, foreign: Forge, root: TrustedRootSource
) -> None:
    reason, deviate = PARTS[part]
    refused = refusal(deviate(forge, foreign).bundle(DIGEST), root)
    if part in FROM_ELSEWHERE:
        assert refused.code == "trust-domain-unknown"
        assert refused.__cause__ is not None
        of_the_root = refused.__cause__.__cause__
        assert isinstance(of_the_root, Fault)
        refused = of_the_root.about("the artifact")
    assert refused.code == "signature-invalid"
    assert reason in refused.why.replace("signed certificate timestamp", "SCT")


def test_leaf_that_lives_longer_than_an_hour_refuses(
    forge: Forge, root: TrustedRootSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority, "LEAF_LIFETIME", timedelta(minutes=61))
    refused = refusal(forge.bundle(DIGEST), root)
    assert (refused.code, refused.why) == (
        "signature-invalid",
        "its certificate is valid for 1:01:00, expected at most 1 hour",
    )


# ── parts of two genuine bundles mixed ────────────────────────────────────────────────────────────


def _older_checkpoint(own: Document, other: Document) -> None:
    proof_of(own)["checkpoint"] = proof_of(other)["checkpoint"]


def _entry_of_other(own: Document, other: Document) -> None:
    own["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]


def _timestamp_of_other(own: Document, other: Document) -> None:
    key = "timestampVerificationData"
    own["verificationMaterial"][key] = other["verificationMaterial"][key]


def _certificate_of_other(own: Document, other: Document) -> None:
    own["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"]


def _signature_of_other(own: Document, other: Document) -> None:
    own["messageSignature"]["signature"] = other["messageSignature"]["signature"]


def _short_proof(own: Document, _other: Document) -> None:
    proof_of(own)["hashes"].pop()


def _corrupt_proof(own: Document, _other: Document) -> None:
    proof_of(own)["hashes"][0] = encoded(bytes(32))


def _other_root_hash(own: Document, other: Document) -> None:
    proof_of(own)["rootHash"] = proof_of(other)["rootHash"]


def _unsigned_checkpoint(own: Document, _other: Document) -> None:
    checkpoint = proof_of(own)["checkpoint"]
    note, _, signature = checkpoint["envelope"].rpartition(" ")
    raw = bytearray(base64.b64decode(signature))
    raw[-1] ^= 1
    checkpoint["envelope"] = f"{note} {encoded(bytes(raw))}\n"


def _checkpoint_without_signature(own: Document, _other: Document) -> None:
    checkpoint = proof_of(own)["checkpoint"]
    checkpoint["envelope"] = checkpoint["envelope"].partition("\n\n")[0] + "\n\n"


def _two_timestamps(own: Document, other: Document) -> None:
    """One that counts and one that does not: nobody can tell afterwards which was verified."""
    key = "timestampVerificationData"
    stamps = own["verificationMaterial"][key]["rfc3161Timestamps"]
    stamps += other["verificationMaterial"][key]["rfc3161Timestamps"]


def _repeated_timestamps(own: Document, _other: Document) -> None:
    stamps = own["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps *= 40


@each_row(
    ("mix", "reason"),
    [
        (_older_checkpoint, "root hash"),
        (_entry_of_other, "inconsistent"),
        (_timestamp_of_other, "verified time"),
        (_certificate_of_other, "Signature is invalid"),
        (_signature_of_other, "verified time"),
        (_short_proof, "wrong size"),
        (_corrupt_proof, "root hash"),
        (_other_root_hash, "root hash"),
        (_unsigned_checkpoint, "invalid signature"),
        (_checkpoint_without_signature, "at least one signature"),
        (_two_timestamps, "expected one timestamp"),
        (_repeated_timestamps, "too many"),
    ],
)
def test_bundle_refuses_when_mixed_from_genuine_parts(
    mix: Callable[[Document, Document], None], reason: str, forge: Forge, root: TrustedRootSource
) -> None:
    other = forge.but(key=ec.generate_private_key(ec.SECP256R1())).bundle(OTHER)
    own = forge.bundle(DIGEST)
    mix(own, other)
    refused = refusal(own, root)
    assert refused.code == "signature-invalid"
    assert reason in refused.why


def _claims_our_log(own: Document, foreign: Document) -> None:
    """The entry of another log, which says that it is of ours."""
    log_id = entry_of(own)["logId"]
    own["verificationMaterial"] = foreign["verificationMaterial"]
    own["messageSignature"] = foreign["messageSignature"]
    entry_of(own)["logId"] = log_id


def _claims_our_log_in_the_checkpoint_too(own: Document, foreign: Document) -> None:
    hint = base64.b64decode(entry_of(own)["logId"]["keyId"])[:4]
    _claims_our_log(own, foreign)
    checkpoint = proof_of(own)["checkpoint"]
    note, _, signature = checkpoint["envelope"].rpartition(" ")
    raw = hint + base64.b64decode(signature)[4:]
    checkpoint["envelope"] = f"{note} {encoded(raw)}\n"


@pytest.mark.parametrize(
    ("mix", "reason"),
    [
        (_claims_our_log, "Signature not found"),
        (_claims_our_log_in_the_checkpoint_too, "invalid signature"),
    ],
)
def test_bundle_refuses_when_the_entry_of_another_log_claims_to_be_ours(
    mix: Callable[[Document, Document], None],
    reason: str,
    forge: Forge,
    foreign: Forge,
    root: TrustedRootSource,
) -> None:
    own = forge.bundle(DIGEST)
    mix(own, forge.but(log=foreign.log).bundle(DIGEST))
    refused = refusal(own, root)
    assert refused.code == "signature-invalid"
    assert reason in refused.why


def test_bundle_refuses_when_it_names_a_trusted_log_that_is_not_the_one(
    forge: Forge, root: TrustedRootSource
) -> None:
    """sigstore takes the name for a hint and tries every key; then nobody knows which log it was.

    Both logs are trusted, and the entry is genuine but for the name.
    """
    old = OldLog(forge.issued_at + timedelta(seconds=3))
    both = old.in_root(root)
    document = forge.bundle(DIGEST)
    assert verify_signature(DIGEST, json.dumps(document).encode(), [both]).form == "signature"
    log_id = base64.b64decode(entry_of(document)["logId"]["keyId"])
    entry_of(document)["logId"]["keyId"] = encoded(log_id[:4] + bytes(28))
    refused = refusal(document, both)
    assert "log entry is of a log that the trusted root `local` has not" in refused.why


def test_bundle_refuses_when_its_tree_is_not_of_the_size_that_the_log_signed(
    forge: Forge, root: TrustedRootSource
) -> None:
    """The path of entry 2 of 3 is a path of entry 1 of 2 as well; sigstore takes both."""
    for other in (b"1", b"2"):
        forge.bundle(Digest.of(other))
    document = forge.bundle(DIGEST)
    proof = proof_of(document)
    assert (proof["logIndex"], proof["treeSize"]) == ("2", "3")
    proof.update(logIndex="1", treeSize="2")
    refused = refusal(document, root)
    assert refused.code == "signature-invalid"
    assert "another size than the log signed" in refused.why


def test_bundle_refuses_when_the_checkpoint_names_another_log(
    forge: Forge, root: TrustedRootSource
) -> None:
    trusted = json.loads(root.document)
    trusted["tlogs"][0]["baseUrl"] = "https://log.acme.example:8443/v2"
    refused = refusal(
        forge.bundle(DIGEST), TrustedRootSource("local", json.dumps(trusted).encode())
    )
    assert refused.code == "signature-invalid"
    assert refused.why.splitlines()[1:] == [
        "expected log.acme.example",
        "found    log.local.aperio.invalid",
    ]


@pytest.mark.parametrize("url", ["https://LOG.local.aperio.invalid:8443/v2", ""])
def test_bundle_is_accepted_when_the_root_names_the_log_in_another_way(
    url: str, forge: Forge, root: TrustedRootSource
) -> None:
    trusted = json.loads(root.document)
    trusted["tlogs"][0]["baseUrl"] = url
    own = TrustedRootSource("local", json.dumps(trusted).encode())
    proof = verify_signature(DIGEST, forge.bundle_json(DIGEST), [own])
    assert proof.log_entry is not None
    assert proof.log_entry.log == url or trusted["tlogs"][0]["logId"]["keyId"]


@each_row(
    ("change", "reason"),
    [
        ({"integratedTime": "1700000000"}, "not valid at"),
        ({"integratedTime": "9" * 18}, "too large"),
        ({"inclusionPromise": {"signedEntryTimestamp": encoded(bytes(70))}}, "SET"),
        ({"inclusionPromise": {"signedEntryTimestamp": ""}}, "SET"),
        ({"logIndex": "7"}, "SET"),
    ],
    ids=["time", "time that is none", "promise", "no promise", "index"],
)
def test_bundle_of_an_old_log_refuses_when_its_promise_does_not_hold(
    change: Document, reason: str, forge: Forge, root: TrustedRootSource
) -> None:
    old = OldLog(forge.issued_at + timedelta(seconds=3))
    document = forge.but(log=old).bundle(DIGEST)
    entry_of(document).update(change)
    refused = refusal(document, old.in_root(root))
    assert refused.code == "signature-invalid"
    assert reason in refused.why


# ── envelopes ─────────────────────────────────────────────────────────────────────────────────────


def _other_payload(document: Document) -> None:
    payload = json.dumps(statement(DIGEST, predicateType=RELEASE_TYPES[0])).encode()
    document["dsseEnvelope"]["payload"] = encoded(payload)


def _no_signature(document: Document) -> None:
    document["dsseEnvelope"]["signatures"] = []


def _two_signatures(document: Document) -> None:
    document["dsseEnvelope"]["signatures"] *= 2


def _other_payload_type(document: Document) -> None:
    document["dsseEnvelope"]["payloadType"] = "application/json"


def _as_signature(document: Document) -> None:
    """The envelope's signature, passed off as one over the file."""
    (signature,) = document.pop("dsseEnvelope")["signatures"]
    document["messageSignature"] = {"signature": signature["sig"]}


ENVELOPES = (
    (_other_payload, "DSSE: invalid signature"),
    (_no_signature, "exactly one signature"),
    (_two_signatures, "exactly one signature"),
    (_other_payload_type, "DSSE: invalid signature"),
    (_as_signature, "Signature is invalid"),
)


@each_row(("change", "reason"), ENVELOPES)
def test_envelope_refuses_when_it_is_not_what_was_signed(
    change: Callable[[Document], None], reason: str, forge: Forge, root: TrustedRootSource
) -> None:
    document = json.loads(forge.statement(DIGEST))
    change(document)
    refused = refusal(document, root)
    assert refused.code == "signature-invalid"
    assert reason in refused.why


def test_envelope_refuses_when_its_entry_is_of_another_envelope(
    forge: Forge, root: TrustedRootSource
) -> None:
    own, other = json.loads(forge.statement(DIGEST)), json.loads(forge.statement(OTHER))
    _entry_of_other(own, other)
    assert "inconsistent" in refusal(own, root).why


def test_envelope_refuses_when_its_signer_signed_a_file_of_the_same_bytes(
    forge: Forge, root: TrustedRootSource
) -> None:
    """Only what is signed as an envelope counts as one: its type is part of what is signed."""
    payload = json.dumps(statement(DIGEST)).encode()
    document = forge.bundle(Digest.of(payload))
    signature = document.pop("messageSignature")["signature"]
    document["dsseEnvelope"] = {
        "payload": encoded(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": signature}],
    }
    assert refusal(document, root).code == "signature-invalid"


@each_row("payload_type", ["application/json", "application/vnd.in-toto+xml", ""])
def test_envelope_refuses_when_it_holds_no_statement(
    payload_type: str, forge: Forge, root: TrustedRootSource
) -> None:
    payload = json.dumps(statement(DIGEST)).encode()
    refused = refusal(forge.envelope(payload, payload_type), root)
    assert refused.code == "attestation-malformed"


# ── a trusted root that does not trust (any more) ─────────────────────────────────────────────────

Period = dict[str, str]
RETIRED: Period = {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
TO_COME: Period = {"start": "2190-01-01T00:00:00Z"}
KINDS = ("certificateAuthorities", "ctlogs", "tlogs", "timestampAuthorities")


@each_row("period", [RETIRED, TO_COME], ids=["retired", "to come"])
@each_row("kind", KINDS)
def test_bundle_refuses_when_a_part_of_the_root_was_not_trusted_then(
    kind: str, period: Period, forge: Forge, root: TrustedRootSource
) -> None:
    document = json.loads(root.document)
    entry = document[kind][0]
    entry.get("publicKey", entry)["validFor"] = period
    narrowed = TrustedRootSource("local", json.dumps(document).encode())
    refused = refusal(forge.bundle(DIGEST), narrowed)
    assert refused.code == "signature-invalid"
    # sigstore itself keeps to the period of the fourth kind, by not believing its timestamp.
    assert ("verified time" if kind == "timestampAuthorities" else f"no {kind}") in refused.why


@each_row("kind", KINDS)
def test_bundle_refuses_when_the_root_lacks_a_part(
    kind: str, forge: Forge, root: TrustedRootSource
) -> None:
    document = json.loads(root.document) | {kind: []}
    narrowed = TrustedRootSource("local", json.dumps(document).encode())
    assert refusal(forge.bundle(DIGEST), narrowed).code == "signature-invalid"


def test_retired_authority_still_proves_what_it_signed_before(
    forge: Forge, root: TrustedRootSource
) -> None:
    earlier = clock.now() - timedelta(minutes=30)
    document = json.loads(root.document)
    ended = clock.format_timestamp(clock.now() - timedelta(minutes=1))
    document["certificateAuthorities"][0]["validFor"]["end"] = ended
    narrowed = TrustedRootSource("local", json.dumps(document).encode())
    signer = verify_signature(
        DIGEST, forge.but(issued_at=earlier).bundle_json(DIGEST), [narrowed]
    ).signer
    assert signer.identity == "alice@local"


# ── certificates that name nobody, or two ─────────────────────────────────────────────────────────

ARC = "1.3.6.1.4.1.57264.1"


def _rebuilt(own: Forge, changes: dict[str, bytes | None], names: list[str]) -> x509.Certificate:
    """A leaf whose extensions are replaced or left out, with a fresh certificate timestamp."""

    class Deviating(authority.CertificateAuthority):
        def _leaf_builder(
            self, public_key: ec.EllipticCurvePublicKey, identity: LeafIdentity, now: datetime
        ) -> x509.CertificateBuilder:
            usual = own.certificates._leaf_builder(public_key, identity, now)
            kept = _changed(usual._extensions, changes, names)
            return replaced_extensions(usual, kept)

    parts = own.certificates
    deviating = Deviating(parts.key, parts.certificate, parts.root, parts.timestamp_log_key)
    return deviating.issue(own.key.public_key(), own.identity, own.issued_at)


def replaced_extensions(
    usual: x509.CertificateBuilder, extensions: Iterable[tuple[x509.ExtensionType, bool]]
) -> x509.CertificateBuilder:
    changed = x509.CertificateBuilder(
        usual._issuer_name,
        usual._subject_name,
        usual._public_key,
        usual._serial_number,
        usual._not_valid_before,
        usual._not_valid_after,
    )
    for value, critical in extensions:
        changed = changed.add_extension(value, critical)
    return changed


def _changed(
    usual: Iterable[x509.Extension[x509.ExtensionType]],
    changes: dict[str, bytes | None],
    names: list[str],
) -> Iterator[tuple[x509.ExtensionType, bool]]:
    for extension in usual:
        name = extension.oid.dotted_string
        if name in changes:
            value = changes[name]
            if value is not None:
                yield x509.UnrecognizedExtension(extension.oid, value), False
        elif not isinstance(extension.value, x509.SubjectAlternativeName):
            yield extension.value, extension.critical
        elif names:
            yield x509.SubjectAlternativeName([x509.RFC822Name(n) for n in names]), True


UTF8 = b"\x0c"
SERVER_PURPOSE = bytes.fromhex("300a06082b06010505070301")  # 1.3.6.1.5.5.7.3.1 in a list
ALICE = ["alice@local"]
LEAVES: dict[str, tuple[str, dict[str, bytes | None], list[str]]] = {
    "no issuer": ("no issuer", {f"{ARC}.8": None, f"{ARC}.1": None}, ALICE),
    "only the deprecated issuer": ("no issuer", {f"{ARC}.8": None}, ALICE),
    "empty issuer": ("blank", {f"{ARC}.8": UTF8 + b"\x00", f"{ARC}.1": None}, ALICE),
    "spaces as issuer": ("blank", {f"{ARC}.8": UTF8 + b"\x02  ", f"{ARC}.1": None}, ALICE),
    "two issuers": ("two different", {f"{ARC}.1": b"https://evil.example"}, ALICE),
    "issuer that moves the cursor": (
        "unprintable",
        {f"{ARC}.8": UTF8 + b"\x06\x1b[2Jxx", f"{ARC}.1": None},
        ALICE,
    ),
    "issuer that is no text": ("is no text", {f"{ARC}.8": b"\x02\x01\x05"}, ALICE),
    "issuer that is no DER": ("is no text", {f"{ARC}.8": b"https://evil.example"}, ALICE),
    "deprecated issuer that is no UTF-8": ("two different", {f"{ARC}.1": b"\xff\xfe"}, ALICE),
    "issuer that is too long": (
        "overlong",
        {f"{ARC}.8": UTF8 + b"\x82\x08\x01" + b"x" * 2049, f"{ARC}.1": None},
        ALICE,
    ),
    "names that are no DER": ("subjectAltName", {"2.5.29.17": b"\xff\xff"}, []),
    "no authority's key": ("2.5.29.35", {"2.5.29.35": None}, ALICE),
    "no usage": ("KeyUsage", {"2.5.29.15": None}, ALICE),
    "usage that is no DER": ("parsing error", {"2.5.29.15": b"\xff"}, ALICE),
    "no purpose": ("ExtendedKeyUsage", {"2.5.29.37": None}, ALICE),
    "another purpose": ("code signing", {"2.5.29.37": SERVER_PURPOSE}, ALICE),
    "two identities": ("exactly one identity", {}, [*ALICE, "bob@local"]),
    "no identity": ("2.5.29.17", {}, []),
}


@each_row("case", LEAVES)
def test_certificate_refuses_when_it_does_not_name_one_signer(
    case: str, forge: Forge, root: TrustedRootSource
) -> None:
    reason, changes, names = LEAVES[case]
    hostile = forge.but(leaf=lambda own: _rebuilt(own, changes, names))
    refused = refusal(hostile.bundle(DIGEST), root)
    assert refused.code == "signature-invalid"
    assert reason in refused.why


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate().public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
    ],
    ids=["Ed25519", "RSA"],
)
def test_certificate_refuses_when_its_key_is_not_for_ecdsa(
    key: Any, forge: Forge, root: TrustedRootSource
) -> None:
    other = forge.but(leaf=lambda own: own.certificates.issue(key, own.identity, own.issued_at))
    refused = refusal(other.bundle(DIGEST), root)
    assert refused.code == "signature-invalid"
    assert "expected an ECDSA key" in refused.why


def test_rebuilt_certificate_is_accepted_when_nothing_deviates(
    forge: Forge, root: TrustedRootSource
) -> None:
    plain = forge.but(leaf=lambda own: _rebuilt(own, {}, ["alice@local"]))
    assert (
        verify_signature(DIGEST, plain.bundle_json(DIGEST), [root]).signer.identity == "alice@local"
    )


def test_identity_of_a_longer_name_is_not_shortened(forge: Forge, root: TrustedRootSource) -> None:
    longer = LeafIdentity("alice@local.evil.example", LOCAL_ISSUER)
    signer = verify_signature(DIGEST, forge.but(identity=longer).bundle_json(DIGEST), [root]).signer
    assert signer.identity == "alice@local.evil.example"


# ── bytes that are no bundle ──────────────────────────────────────────────────────────────────────

NO_BUNDLES: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"-----BEGIN CERTIFICATE-----",
    "not UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "a number with 5000 digits": b"9" * 5000,
    "deep nesting": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "an empty object": b"{}",
    "lone surrogates": rb'{"mediaType": "\ud800"}',
}


@each_row("case", NO_BUNDLES)
def test_bytes_refuse_when_they_are_no_bundle(case: str, root: TrustedRootSource) -> None:
    assert refusal(NO_BUNDLES[case], root).code == "bundle-malformed"


def test_bundle_refuses_when_it_is_one_byte_too_long(forge: Forge, root: TrustedRootSource) -> None:
    longest = forge.bundle_json(DIGEST).ljust(MAX_BUNDLE_BYTES)
    assert verify_signature(DIGEST, longest, [root]).signer.identity == "alice@local"
    refused = refusal(longest + b" ", root)
    assert refused.why == f"expected at most {MAX_BUNDLE_BYTES} bytes\nfound    1048577"


REMOVED: dict[str, Callable[[Document], object]] = {
    "the entry": lambda d: d["verificationMaterial"].update(tlogEntries=[]),
    "the proof": lambda d: entry_of(d).pop("inclusionProof"),
    "the checkpoint": lambda d: proof_of(d).pop("checkpoint"),
    "the timestamps": lambda d: d["verificationMaterial"].pop("timestampVerificationData"),
    "the certificate": lambda d: d["verificationMaterial"].pop("certificate"),
    "the signature": lambda d: d.pop("messageSignature"),
    "a second entry is there": lambda d: d["verificationMaterial"]["tlogEntries"].append(
        entry_of(d)
    ),
    "an unknown media type": lambda d: d.update(mediaType="application/json"),
    "an unknown key": lambda d: d.update(trustMe=True),
    "an unknown entry version": lambda d: entry_of(d)["kindVersion"].update(version="9.9.9"),
    "a digest of another length": lambda d: d["messageSignature"]["messageDigest"].update(
        digest=encoded(b"short")
    ),
    "an envelope besides the signature": lambda d: d.update(
        dsseEnvelope={
            "payload": "e30=",
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": d["messageSignature"]["signature"]}],
        }
    ),
}


@each_row("part", REMOVED)
def test_bundle_refuses_when_its_shape_is_wrong(
    part: str, forge: Forge, root: TrustedRootSource
) -> None:
    document = forge.bundle(DIGEST)
    REMOVED[part](document)
    assert refusal(document, root).code == "bundle-malformed"


# ── many small changes ────────────────────────────────────────────────────────────────────────────


def leaves_of(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(document, dict):
        return [leaf for key in document for leaf in leaves_of(document[key], (*path, key))]
    if isinstance(document, list):
        return [leaf for i, item in enumerate(document) for leaf in leaves_of(item, (*path, i))]
    return [path]


def mutated(document: Document, chooser: random.Random) -> Document:
    changed = copy.deepcopy(document)
    *parents, last = chooser.choice(leaves_of(changed))
    holder: Any = changed
    for key in parents:
        holder = holder[key]
    text = holder[last]
    at = chooser.randrange(len(text))
    holder[last] = text[:at] + chooser.choice("Aa0+/=\n5z\x00") + text[at + 1 :]
    return changed


def test_no_small_change_makes_another_signer(forge: Forge, root: TrustedRootSource) -> None:
    other = forge.but(key=ec.generate_private_key(ec.SECP256R1()))
    other.bundle(OTHER)  # so that the proof has more than one hash
    document = forge.bundle(DIGEST)
    genuine = verify_signature(DIGEST, json.dumps(document).encode(), [root]).signer
    chooser = random.Random(20)  # noqa: S311 - repeatable, not secret
    refused = 0
    for _ in range(400):
        raw = json.dumps(mutated(document, chooser)).encode()
        try:
            assert verify_signature(DIGEST, raw, [root]).signer == genuine
        except Refusal:
            refused += 1
    assert refused > 300
