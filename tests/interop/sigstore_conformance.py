#!/usr/bin/env python3
"""The command line by which Sigstore's conformance suite drives a client; here it drives aperio.

    sigstore_conformance.py verify-bundle --bundle F --certificate-identity I
        --certificate-oidc-issuer U [--trusted-root F] [--staging] FILE_OR_DIGEST
    sigstore_conformance.py sign-bundle --identity-token T --bundle F [--in-toto]
        [--trusted-root F --signing-config F] [--staging] FILE

The protocol is that of sigstore-conformance, docs/cli_protocol.md. aperio's own modules do all of
the work: the verifier of `install`, a publisher rule for the identity, the client of `plugin sign`.
The exit status is 0, or that of the error on stderr. docs/reference/sigstore-conformance.md says
how the suite is run with it, and what it cannot pass.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigstore.dsse import Statement

from aperio_cli.config import Config, DomainRule
from aperio_cli.errors import NOT_DONE, AperioError
from aperio_cli.errors.trust import ProvenanceMismatch, SignatureIdentityMismatch
from aperio_cli.errors.usage import UsageError
from aperio_cli.files import reading, writing
from aperio_cli.models.artifact import MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import PUBLIC_DOMAIN, STAGING_DOMAIN
from aperio_cli.paths import find_paths
from aperio_cli.proving.refusals import refusing
from aperio_cli.proving.signature import (
    TrustedRootSource,
    verify_signature,
    verify_statement,
)
from aperio_cli.signing.client import with_session
from aperio_cli.signing.hosted import Identification, open_hosted
from aperio_cli.trust.roots import trust_config_json, trusted_roots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.models.publisher import Signer
    from aperio_cli.signing.client import SigningSession

_GIVEN = "given"
_TRUST_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}", re.ASCII)


def main(arguments: Sequence[str]) -> int:
    """Do what the suite asks; gives the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        (_verify if asked.command == "verify-bundle" else _sign)(asked)
    except AperioError as error:
        sys.stderr.write(f"{error.code}: {error.what}\n{error.why}\n")
        return error.exit_status
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return NOT_DONE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Sigstore conformance protocol.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("sign-bundle", "verify-bundle"):
        command = commands.add_parser(name, allow_abbrev=False)
        command.add_argument("--staging", action="store_true")
        command.add_argument("--bundle", type=Path, required=True)
        command.add_argument("--trusted-root", type=Path)
        command.add_argument("file")
        if name == "sign-bundle":
            command.add_argument("--in-toto", action="store_true")
            command.add_argument("--identity-token", required=True)
            command.add_argument("--signing-config", type=Path)
        else:
            command.add_argument("--certificate-identity", default="")
            command.add_argument("--certificate-oidc-issuer", default="")
            command.add_argument("--key", type=Path)
    return parser


# ── verify ────────────────────────────────────────────────────────────────────────────────────────


def _verify(asked: argparse.Namespace) -> None:
    if asked.key:
        raise UsageError(f"`{asked.key}` was not used: bundles over a bare key are not supported")
    if not (asked.certificate_identity and asked.certificate_oidc_issuer):
        raise UsageError("nothing was verified: there is no identity or no issuer to compare with")
    root = _root(asked)
    bundle = reading.read_capped(asked.bundle, MAX_BUNDLE_BYTES)
    signer = _signer(_digest(asked.file), bundle, root)
    # Not by a rule: those ask more of a CI build than its identity.
    expected = (asked.certificate_identity, asked.certificate_oidc_issuer)
    found = (signer.identity, signer.issuer)
    if found != expected:
        raise SignatureIdentityMismatch(
            f"`{asked.file}` was refused: somebody else signed it",
            why=f"expected {' of '.join(expected)}\nfound    {' of '.join(found)}",
        )


def _signer(digest: Digest, bundle: bytes, root: TrustedRootSource) -> Signer:
    try:
        return verify_signature(digest, bundle, [root]).signer
    except ProvenanceMismatch:
        # `install` refuses it for good. But the suite signs a sample of somebody else's provenance,
        # and asks about the signature only.
        with refusing("the artifact"):
            statement, proof = verify_statement(bundle, [root], limit_bytes=MAX_BUNDLE_BYTES)
            statement.check_subject(digest)
        return proof.signer


def _root(asked: argparse.Namespace) -> TrustedRootSource:
    given = asked.trusted_root
    domains = (DomainRule(_GIVEN, given, "", None, "--trusted-root"),) if given else ()
    known = trusted_roots(Config(domains=domains), find_paths(os.environ))
    return next(root for root in known if root.name == (_GIVEN if given else _instance(asked)))


def _digest(file_or_digest: str) -> Digest:
    """A digest is taken for one only when it is not the name of something on disk."""
    if _DIGEST.fullmatch(file_or_digest) and not Path(file_or_digest).exists():
        return Digest.parse(file_or_digest.lower())
    return reading.hash_file(Path(file_or_digest))


# ── sign ──────────────────────────────────────────────────────────────────────────────────────────


def _sign(asked: argparse.Namespace) -> None:
    domain = open_hosted(
        _GIVEN if asked.trusted_root else _instance(asked),
        _trust_config(asked),
        Identification(token=asked.identity_token),
    )

    def work(session: SigningSession) -> bytes:
        if not asked.in_toto:
            return session.sign_digest(reading.hash_file(Path(asked.file)))
        # The suite compares the payload byte by byte, so it is signed as it is.
        statement = Statement(reading.read_capped(Path(asked.file), MAX_BUNDLE_BYTES))
        return session.signer.sign_dsse(statement).to_json().encode()

    bundle = with_session(domain, domain.credential(), work, entries=1)
    writing.write_atomic(asked.bundle, bundle)


def _trust_config(asked: argparse.Namespace) -> str:
    """The services and the root as one ClientTrustConfig (sigstore_trustroot.proto)."""
    if not asked.trusted_root and not asked.signing_config:
        return trust_config_json(_instance(asked), Config(), find_paths(os.environ))
    if not (asked.trusted_root and asked.signing_config):
        raise UsageError(
            "nothing was signed: --trusted-root and --signing-config belong together",
        )
    document = {
        "mediaType": _TRUST_CONFIG,
        "trustedRoot": _read_json(asked.trusted_root),
        "signingConfig": _read_json(asked.signing_config),
    }
    return json.dumps(document)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(reading.read_capped(path, MAX_BUNDLE_BYTES))
    except ValueError as error:
        raise UsageError(f"`{path}` was not used: it is not JSON", why=str(error)) from error


def _instance(asked: argparse.Namespace) -> str:
    return STAGING_DOMAIN if asked.staging else PUBLIC_DOMAIN


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
