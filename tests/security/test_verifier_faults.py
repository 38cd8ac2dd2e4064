"""Fault injection: whatever fails inside the verifier, the artifact is refused and nothing else.

Every call on the way is made to fail, one after the other, on bundles that are accepted otherwise:
with errors of many types, with a panic of a parser written in Rust (which is no Exception), and
with results of a wrong type.
"""

from __future__ import annotations

import importlib
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors import Refusal, catalogue
from aperio_cli.errors.trust import SignatureInvalid, VerifierCrashed
from aperio_cli.models.digest import Digest
from aperio_cli.proving.attestations import verify_attestations
from aperio_cli.proving.signature import TrustedRootSource, verify_signature
from tests.rows import each_row
from tests.trust import Forge, OldLog, github_identity, new_domain, root_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DIGEST = Digest.of(b"the artifact")
REFUSALS = {error.code for error in catalogue() if issubclass(error, Refusal)}


class Panic(BaseException):
    """What a panic in a parser written in Rust looks like: no Exception."""


CRASHES: tuple[BaseException, ...] = (
    RuntimeError("inside"),
    ValueError("inside"),
    TypeError("inside"),
    KeyError("inside"),
    OSError("inside"),
    StopIteration("inside"),
    MemoryError(),
    Panic("inside"),
    GeneratorExit("inside"),
)
WRONG_RESULTS: tuple[object, ...] = (None, False, True, 0, "", "x", b"", [], {}, (), object())

# Calls that give something, of sigstore and of what it stands on.
SOURCES = (
    "sigstore.models.Bundle.from_json",
    "sigstore.models.Bundle.to_json",
    "sigstore.models.Bundle.signing_certificate",
    "sigstore.models.Bundle.verification_material",
    "sigstore.models.Bundle.log_entry",
    "sigstore.models.Bundle.signature",
    "sigstore.models.ClientTrustConfig.from_json",
    "sigstore.models.ClientTrustConfig.trusted_root",
    "sigstore.models.TrustedRoot.get_fulcio_certs",
    "sigstore.models.TrustedRoot.get_timestamp_authorities",
    "sigstore.models.TrustedRoot.rekor_keyring",
    "sigstore.models.TrustedRoot.ct_keyring",
    "sigstore.models.TransparencyLogEntry._encode_canonical",
    "sigstore.models.TimestampVerificationData.rfc3161_timestamps",
    "sigstore.models.load_der_x509_certificate",
    "sigstore.models.decode_timestamp_response",
    "sigstore.verify.Verifier.verify_dsse",
    "sigstore.verify.verifier.Verifier._establish_time",
    "sigstore.verify.verifier.Verifier._verify_chain_at_time",
    "sigstore.verify.verifier.Verifier._verify_signed_timestamp",
    "sigstore.verify.verifier.PolicyBuilder",
    "sigstore.verify.verifier.Store",
    "sigstore.verify.verifier.VerifierBuilder",
    "sigstore.verify.verifier.sha256_digest",
    "sigstore.hashes.Hashed",
    "sigstore._internal.rekor.checkpoint.SignedCheckpoint.from_text",
    "cryptography.hazmat.asn1.decode_der",
    "json.loads",
)
# Calls whose answer is whether they raise: what they return is looked at by nobody.
CHECKS = (
    "sigstore.verify.Verifier.__init__",
    "sigstore.verify.Verifier.verify_artifact",
    "sigstore.verify.verifier.Verifier._verify_common_signing_cert",
    "sigstore.verify.verifier.verify_sct",
    "sigstore.verify.verifier.dsse._verify",
    "sigstore.verify.verifier._validate_hashedrekord_v001_entry_body",
    "sigstore.verify.verifier._validate_hashedrekord_v002_entry_body",
    "sigstore.verify.verifier._validate_hashedrekord_v002_dsse_entry_body",
    "sigstore.models.TransparencyLogEntry._verify",
    "sigstore.models.TransparencyLogEntry._verify_set",
    "sigstore.models.verify_merkle_inclusion",
    "sigstore.models.verify_checkpoint",
    "sigstore._internal.trust.Keyring.verify",
)
# Our own steps, and what they stand on where any text or number is as good as another.
OWN = (
    "json.dumps",
    "base64.b64decode",
    "logging.Logger.addHandler",
    "aperio_cli.clock.format_timestamp",
    "aperio_cli.proving.signature.urlsplit",
    "aperio_cli.proving.signature.check_leaf",
    "aperio_cli.proving.signature.narrowed",
    "aperio_cli.proving.signature.signer_of",
    "aperio_cli.proving.signature._log_entry",
    "aperio_cli.proving.signature._verified_time",
    "aperio_cli.proving.statement.Statement.parse",
    "aperio_cli.proving.statement.Statement.check_subject",
    "aperio_cli.proving.statement.parse_provenance",
)
PROPERTIES = {
    "signing_certificate",
    "verification_material",
    "log_entry",
    "signature",
    "trusted_root",
    "rfc3161_timestamps",
}


@dataclass(frozen=True)
class Genuine:
    """Evidence of every form that is accepted as long as nothing fails."""

    root: TrustedRootSource
    signature: bytes
    logged_by_an_old_log: bytes
    statement: bytes

    def forms(self) -> tuple[Callable[[], object], ...]:
        """What verifies each of them."""
        roots = [self.root]
        return (
            lambda: verify_signature(DIGEST, self.signature, roots),
            lambda: verify_signature(DIGEST, self.logged_by_an_old_log, roots),
            lambda: verify_signature(DIGEST, self.statement, roots),
            lambda: verify_attestations(DIGEST, self.statement, roots),
        )


@pytest.fixture(name="genuine", scope="module")
def _genuine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Genuine]:
    """What is refused below is accepted as long as nothing fails, before and afterwards."""
    domain = new_domain(tmp_path_factory.mktemp("domain"))
    forge = Forge.of(domain).but(identity=github_identity())
    old = OldLog(forge.issued_at)
    logged = forge.but(log=old).bundle(DIGEST)
    del logged["verificationMaterial"]["timestampVerificationData"]  # one source of time, not two
    made = Genuine(
        root=old.in_root(root_of(domain)),
        signature=forge.bundle_json(DIGEST),
        logged_by_an_old_log=json.dumps(logged).encode(),
        statement=forge.statement(DIGEST),
    )
    for verify in made.forms():
        verify()
    yield made
    for verify in made.forms():
        verify()


class Fault:
    """Stands in for a call, fails, and knows whether it was made."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome
        self.was_met = False

    def __call__(self, *_: object, **__: object) -> Any:
        self.was_met = True
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def _holder(path: str) -> tuple[Any, str]:
    """The module or class that holds the last part of a dotted path, and that part."""
    *parents, name = path.split(".")
    for length in range(len(parents), 0, -1):
        try:
            holder: Any = importlib.import_module(".".join(parents[:length]))
        except ModuleNotFoundError:
            continue
        for part in parents[length:]:
            holder = getattr(holder, part)
        return holder, name
    raise AssertionError(path)


def _in_place(fault: Fault, holder: Any, name: str) -> object:
    """The fault as what stands there: a property, a method of the class, or a function."""
    if name in PROPERTIES:
        return property(fault)
    is_unbound = isinstance(vars(holder).get(name), classmethod | staticmethod)
    return staticmethod(fault) if is_unbound else fault


def _refuse_whatever_comes_of(path: str, outcomes: Sequence[object], genuine: Genuine) -> None:
    """Have every form that comes to a call refused with one outcome, and one with each other."""
    first, *others = outcomes
    forms = [verify for verify in genuine.forms() if _meets_and_refuses(path, first, verify)]
    assert forms, path
    for outcome, verify in zip(others, itertools.cycle(forms), strict=False):
        assert _meets_and_refuses(path, outcome, verify)


def _meets_and_refuses(path: str, outcome: object, verify: Callable[[], object]) -> bool:
    """Whether it comes to a call; if so, it refuses whatever that gives."""
    holder, name = _holder(path)
    fault = Fault(outcome)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holder, name, _in_place(fault, holder, name))
        caught = _refusal_of(verify)
    if fault.was_met:
        assert caught is not None, f"accepted although {path} gave {outcome!r}"
        assert (caught.code in REFUSALS, caught.exit_status) == (True, 3)
        assert caught.what.startswith("the artifact was refused")
    return fault.was_met


def _refusal_of(verify: Callable[[], object]) -> Refusal | None:
    try:
        verify()
    except Refusal as refusal:
        return refusal
    return None


@each_row("call", [*SOURCES, *CHECKS, *OWN])
def test_artifact_is_refused_when_a_call_fails(call: str, genuine: Genuine) -> None:
    _refuse_whatever_comes_of(call, CRASHES, genuine)


@each_row("call", SOURCES)
def test_artifact_is_refused_when_a_call_gives_something_else(call: str, genuine: Genuine) -> None:
    _refuse_whatever_comes_of(call, WRONG_RESULTS, genuine)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(7)])
def test_interruption_is_no_refusal(interruption: BaseException, genuine: Genuine) -> None:
    for verify in genuine.forms():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sigstore.models.Bundle.from_json", Fault(interruption))
            with pytest.raises(type(interruption)):
                verify()


# ── a verifier that says nothing against it ───────────────────────────────────────────────────────


@each_row("answer", [None, True, "verified"])
def test_artifact_is_refused_when_the_policy_was_never_asked(
    answer: object, genuine: Genuine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sigstore.verify.Verifier.verify_artifact", lambda *_: answer)
    with pytest.raises(SignatureInvalid, match="does not prove"):
        verify_signature(DIGEST, genuine.signature, [genuine.root])


def test_statement_is_refused_when_the_policy_was_never_asked(
    genuine: Genuine, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = ("application/vnd.in-toto+json", b"{}")
    monkeypatch.setattr("sigstore.verify.Verifier.verify_dsse", lambda *_: content)
    for verify in genuine.forms()[2:]:
        with pytest.raises(SignatureInvalid):
            verify()


def test_artifact_is_refused_when_the_policy_was_shown_another_certificate(
    genuine: Genuine, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Forge.of(new_domain(tmp_path_factory.mktemp("other"))).certificate()
    monkeypatch.setattr(
        "sigstore.verify.Verifier.verify_artifact", lambda *given: given[-1].verify(other)
    )
    with pytest.raises(SignatureInvalid) as caught:
        verify_signature(DIGEST, genuine.signature, [genuine.root])
    assert "did not look at its certificate" in caught.value.why


def test_fault_with_one_root_leaves_the_others_to_be_tried(
    genuine: Genuine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sigstore.models import ClientTrustConfig

    usual = ClientTrustConfig.from_json

    def fail_once(document: str) -> ClientTrustConfig:
        monkeypatch.setattr(ClientTrustConfig, "from_json", usual)
        raise Panic(document[:10])

    monkeypatch.setattr(ClientTrustConfig, "from_json", fail_once)
    second = TrustedRootSource("second", genuine.root.document)
    proof = verify_signature(DIGEST, genuine.signature, [genuine.root, second])
    assert proof.root.name == "second"


def test_crash_names_its_type_without_controls(
    genuine: Genuine, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = Panic("index\x1b[2J out of range")
    monkeypatch.setattr("sigstore.verify.Verifier.verify_artifact", Fault(crash))
    with pytest.raises(VerifierCrashed) as caught:
        verify_signature(DIGEST, genuine.signature, [genuine.root])
    assert caught.value.why == "Panic: index\N{REPLACEMENT CHARACTER}[2J out of range"
