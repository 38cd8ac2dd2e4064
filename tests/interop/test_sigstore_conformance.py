"""The entry point for Sigstore's conformance suite, against the embedded trust domain."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import LOCAL_ISSUER
from tests.interop.sigstore_conformance import main
from tests.interop.sigstore_conformance_offline import Documents
from tests.trust import IDENTITY, REPOSITORY, Forge, github_identity, new_domain, provenance
from tests.trust import statement as statement_about

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.signing.local import LocalDomain

ENTRY_POINT = Path(__file__).with_name("sigstore_conformance.py")
CONTENTS = b"the artifact"
OTHER = Digest.of(b"another artifact")
REFUSED = 3
USAGE = 2


@dataclass(frozen=True)
class Case:
    """A signed file, and what somebody who verifies it has."""

    file: Path
    bundle: Path
    root: Path

    def verify(self, what: str = "", /, **changes: str | Path | None) -> int:
        """The exit status of `verify-bundle`; a change of None leaves an option out."""
        return main(self.arguments(what, **changes))

    def arguments(self, what: str = "", /, **changes: str | Path | None) -> list[str]:
        options: dict[str, str | Path | None] = {
            "bundle": self.bundle,
            "certificate_identity": IDENTITY,
            "certificate_oidc_issuer": LOCAL_ISSUER,
            "trusted_root": self.root,
        }
        given = (options | changes).items()
        pairs = [(f"--{key.replace('_', '-')}", str(value)) for key, value in given if value]
        return ["verify-bundle", *(word for pair in pairs for word in pair), what or str(self.file)]


@pytest.fixture(name="domain")
def _domain(tmp_path: Path) -> LocalDomain:
    return new_domain(tmp_path)


@pytest.fixture(name="case")
def _case(domain: LocalDomain, tmp_path: Path) -> Case:
    case = Case(tmp_path / "a.txt", tmp_path / "a.txt.sigstore.json", tmp_path / "root.json")
    case.file.write_bytes(CONTENTS)
    case.bundle.write_bytes(Forge.of(domain).bundle_json(Digest.of(CONTENTS)))
    case.root.write_text(domain.trusted_root_json())
    return case


# ── verify-bundle ─────────────────────────────────────────────────────────────────────────────────


def test_entry_point_runs_as_a_program(case: Case) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for issuer, status in ((LOCAL_ISSUER, 0), ("https://other.example", REFUSED)):
        done = subprocess.run(
            [str(ENTRY_POINT), *case.arguments(certificate_oidc_issuer=issuer)],
            env={"PATH": path},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stderr


def test_good_bundle_is_accepted_for_the_file_and_for_its_digest(case: Case) -> None:
    assert case.verify() == 0
    assert case.verify(str(Digest.of(CONTENTS))) == 0


def test_changed_file_is_refused(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    case.file.write_bytes(CONTENTS + b"\n")
    assert case.verify() == REFUSED
    assert "signature-digest-mismatch" in capsys.readouterr().err


def test_digest_of_another_file_is_refused(case: Case) -> None:
    assert case.verify(str(OTHER)) == REFUSED


def test_text_that_names_a_file_is_no_digest(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(str(OTHER)).write_bytes(CONTENTS)
    assert case.verify(str(OTHER)) == 0
    Path(str(Digest.of(CONTENTS))).write_bytes(b"something else")
    assert case.verify(str(Digest.of(CONTENTS))) == REFUSED


@pytest.mark.parametrize("what", ["sha256:abc", "sha512:" + 64 * "0", 64 * "0"])
def test_text_that_is_no_digest_is_a_file_that_is_missing(case: Case, what: str) -> None:
    assert case.verify(what) == 1


@pytest.mark.parametrize(
    "identity",
    [f"{IDENTITY}.evil.example", IDENTITY.upper(), IDENTITY[1:], "*", ".*", f" {IDENTITY}"],
)
def test_identity_is_compared_exactly(
    case: Case, identity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case.verify(certificate_identity=identity) == REFUSED
    told = capsys.readouterr().err
    assert f"expected {identity} of" in told
    assert f"found    {IDENTITY} of" in told


@pytest.mark.parametrize("issuer", [f"{LOCAL_ISSUER}/", LOCAL_ISSUER[:-1], "https://*"])
def test_issuer_is_compared_exactly(case: Case, issuer: str) -> None:
    assert case.verify(certificate_oidc_issuer=issuer) == REFUSED


def test_nothing_is_verified_without_somebody_to_compare_with(case: Case) -> None:
    assert case.verify(certificate_identity=None) == USAGE
    assert case.verify(certificate_oidc_issuer=None) == USAGE


def test_bundle_over_a_bare_key_is_not_supported(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key.pub"
    key.write_text("-----BEGIN PUBLIC KEY-----\n")
    assert case.verify(key=key, certificate_identity=None, certificate_oidc_issuer=None) == USAGE
    assert "not supported" in capsys.readouterr().err


def test_key_is_not_supported_beside_an_identity_either(case: Case) -> None:
    assert case.verify(key=case.root) == USAGE


def test_trusted_root_that_is_not_there_is_refused(case: Case, tmp_path: Path) -> None:
    assert case.verify(trusted_root=tmp_path / "missing.json") == REFUSED


def test_bundle_that_is_not_there_is_an_error(case: Case, tmp_path: Path) -> None:
    assert case.verify(bundle=tmp_path / "missing.json") == 1


@pytest.mark.parametrize("staging", [[], ["--staging"]])
def test_shipped_roots_are_used_when_none_is_given(
    case: Case, staging: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command, *rest = case.arguments(trusted_root=None)
    assert main([command, *staging, *rest]) == REFUSED
    assert "trust-domain-unknown" in capsys.readouterr().err


@pytest.mark.parametrize("repository", [REPOSITORY, "https://github.com/acme/other"])
def test_what_provenance_says_is_no_matter_of_its_signature(
    domain: LocalDomain, case: Case, repository: str
) -> None:
    builder = github_identity()
    forge = Forge.of(domain).but(identity=builder)
    case.bundle.write_bytes(forge.statement(OTHER, predicate=provenance(repository=repository)))
    named: dict[str, str | Path | None] = {
        "certificate_identity": builder.subject,
        "certificate_oidc_issuer": builder.issuer,
    }
    assert case.verify(str(OTHER), **named) == 0
    assert case.verify(**named) == REFUSED
    assert case.verify(str(OTHER)) == REFUSED


# ── sign-bundle ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Signing:
    """A file to sign, and what its signer has."""

    case: Case
    token: str
    signing_config: Path

    def sign(self, what: Path, *flags: str, **changes: str | Path | None) -> int:
        """The exit status of `sign-bundle`; a change of None leaves an option out."""
        options: dict[str, str | Path | None] = {
            "identity_token": self.token,
            "bundle": self.case.bundle,
            "trusted_root": self.case.root,
            "signing_config": self.signing_config,
        }
        given = (options | changes).items()
        pairs = [(f"--{key.replace('_', '-')}", str(value)) for key, value in given if value]
        return main(["sign-bundle", *flags, *(word for pair in pairs for word in pair), str(what)])


@pytest.fixture(name="signing")
def _signing(case: Case, domain: LocalDomain, tmp_path: Path) -> Iterator[Signing]:
    case.bundle.unlink()
    with domain.serving() as trust_config:
        signing_config = tmp_path / "signing_config.json"
        signing_config.write_text(json.dumps(json.loads(trust_config)["signingConfig"]))
        yield Signing(case, domain.identity_token(), signing_config)


def test_file_is_signed_and_its_bundle_accepted(signing: Signing) -> None:
    assert signing.sign(signing.case.file) == 0
    assert signing.case.verify() == 0
    assert signing.case.verify(certificate_identity="mallory@local") == REFUSED


def test_statement_is_signed_as_it_is_and_accepted_for_its_subject_only(
    signing: Signing, tmp_path: Path
) -> None:
    statement = tmp_path / "statement.json"
    statement.write_text(json.dumps(statement_about(Digest.of(CONTENTS)), indent=1))
    assert signing.sign(statement, "--in-toto") == 0
    envelope = json.loads(signing.case.bundle.read_bytes())["dsseEnvelope"]
    assert base64.b64decode(envelope["payload"]) == statement.read_bytes()
    assert signing.case.verify() == 0
    assert signing.case.verify(str(OTHER)) == REFUSED


@pytest.mark.parametrize("token", ["", "e30.e30.e30", "not a token"])
def test_nothing_is_signed_without_a_token_that_counts(
    signing: Signing, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if not token:
        with pytest.raises(SystemExit, match="2"):
            signing.sign(signing.case.file, identity_token=None)
    else:
        assert signing.sign(signing.case.file, identity_token=token) != 0
        assert token not in capsys.readouterr().err
    assert not signing.case.bundle.exists()


def test_token_of_another_domain_signs_nothing(
    signing: Signing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = new_domain(tmp_path / "foreign").identity_token()
    assert signing.sign(signing.case.file, identity_token=token) != 0
    assert not signing.case.bundle.exists()
    assert token not in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["trusted_root", "signing_config"])
def test_root_and_services_are_given_together(signing: Signing, missing: str) -> None:
    changes: dict[str, str | Path | None] = {missing: None}
    assert signing.sign(signing.case.file, **changes) == USAGE
    assert not signing.case.bundle.exists()


@pytest.mark.parametrize("option", ["trusted_root", "signing_config"])
@pytest.mark.parametrize("contents", ["{", "[]", "{}"])
def test_nothing_is_signed_with_a_document_that_is_damaged(
    signing: Signing, tmp_path: Path, option: str, contents: str
) -> None:
    damaged = tmp_path / "damaged.json"
    damaged.write_text(contents)
    changes: dict[str, str | Path | None] = {option: damaged}
    assert signing.sign(signing.case.file, **changes) in {USAGE, REFUSED}
    assert not signing.case.bundle.exists()


@pytest.mark.parametrize("contents", [b"", b"[]", b"\xff"])
def test_what_is_no_statement_is_not_signed_as_one(
    signing: Signing, tmp_path: Path, contents: bytes
) -> None:
    statement = tmp_path / "statement.json"
    statement.write_bytes(contents)
    assert signing.sign(statement, "--in-toto") == 1
    assert not signing.case.bundle.exists()


# ── the plugin that runs the suite without a network ──────────────────────────────────────────────

DOCUMENTS = Documents(Path("root.json"), Path("services.json"))
ROOT_OPTION = ("--trusted-root", "root.json")


def test_plugin_signs_in_its_own_domain() -> None:
    added = DOCUMENTS.added_to(("sign-bundle", "--identity-token", "T", "--bundle", "B", "a.txt"))
    services = ("--signing-config", "services.json")
    assert added == (
        *("sign-bundle", "--identity-token", "T", "--bundle", "B"),
        *(*ROOT_OPTION, *services, "a.txt"),
    )


def test_plugin_gives_its_root_for_what_was_signed_in_its_domain_only() -> None:
    asked = ("verify-bundle", "--certificate-oidc-issuer", "ISSUER", "a.txt")
    assert DOCUMENTS.added_to(asked) == asked
    own = tuple(LOCAL_ISSUER if word == "ISSUER" else word for word in asked)
    assert DOCUMENTS.added_to(own) == (*own[:-1], *ROOT_OPTION, "a.txt")


@pytest.mark.parametrize("command", ["sign-bundle", "verify-bundle"])
def test_plugin_changes_nothing_where_the_suite_names_a_root(command: str) -> None:
    asked = (command, "--certificate-oidc-issuer", LOCAL_ISSUER, "--trusted-root", "R", "a.txt")
    assert DOCUMENTS.added_to(asked) == asked
