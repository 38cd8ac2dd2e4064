"""`aperio plugin sign`: a Sigstore bundle, and signed statements, beside each artifact."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.models.artifact import SignedArtifact
    from aperio_cli.signing.domain import SigningDomain
    from aperio_cli.signing.hosted import Identification

_FROM_STDIN = "-"
_SHOWN_KINDS = {
    "https://slsa.dev/provenance/v1": "provenance",
    "https://cyclonedx.org/bom": "bill of materials",
}


@command(plugin, "plugin", "sign")
def plugin_sign(
    context: Context,
    artifacts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARTIFACT|DIST]...", help="Artifacts, or folders of them.", show_default=False
        ),
    ] = None,
    *,
    trust: Annotated[
        str,
        typer.Option(
            help="Who certifies: Sigstore's public instance, its staging, this machine's own"
            " domain, a private instance's trust configuration, or one of config.toml's domains.",
            metavar="public|staging|local|FILE",
        ),
    ] = "public",
    identity_token: Annotated[
        str,
        typer.Option(
            help="An OIDC identity token; - reads it from stdin, out of sight of other processes.",
            metavar="TOKEN|-",
            show_default=False,
        ),
    ] = "",
    oob: Annotated[
        bool, typer.Option("--oob", help="Log in with a code, without a browser on this machine.")
    ] = False,
) -> Report:
    """Sign artifacts; each gets a bundle and statements beside it (default: those in dist)."""
    from aperio_cli.commands.plugin.artifacts import find_artifacts
    from aperio_cli.errors.usage import UsageError
    from aperio_cli.signing import sign

    if identity_token and oob:
        raise UsageError(
            "nothing was signed: `--identity-token` and `--oob` are two ways to say who signs",
            why="expected one of them",
            next=["leave one out"],
        )
    found = find_artifacts(artifacts or ["dist"])
    domain = _open_domain(context, trust, identity_token, out_of_band=oob)
    return _report(sign(found, domain=domain))


def _report(signed: list[SignedArtifact]) -> Report:
    data = {
        "bundles": [
            {
                "artifact": str(item.artifact.path),
                "bundle": str(item.bundle_path),
                "attestations": str(item.attestations_path),
                "statements": list(item.statements),
                "sha256": item.artifact.digest.hex,
                "signer": item.signer.to_json(),
            }
            for item in signed
        ]
    }
    return Report(data, "\n".join(_lines(item) for item in signed))


def _lines(item: SignedArtifact) -> str:
    kinds = ", ".join(_SHOWN_KINDS.get(kind, kind) for kind in item.statements)
    return (
        f"{item.bundle_path}\n  signed by {item.signer.identity}\n"
        f"{item.attestations_path}\n  {kinds}"
    )


def _open_domain(
    context: Context, trust: str, identity_token: str, *, out_of_band: bool
) -> SigningDomain:
    from aperio_cli.models.publisher import LOCAL_DOMAIN

    if trust != LOCAL_DOMAIN:
        asked = _identification(context, trust, identity_token, out_of_band=out_of_band)
        return _open_hosted(context, trust, asked)
    from aperio_cli.errors.usage import UsageError
    from aperio_cli.signing.local import open_domain

    if identity_token or out_of_band:
        raise UsageError(
            "nothing was signed: the local trust domain knows its one user and asks for nothing",
            why="`--identity-token` and `--oob` are for `--trust public`, `staging` and FILE",
            next=["`aperio plugin sign --trust local`"],
        )
    return open_domain(context.paths.local_domain)


def _open_hosted(context: Context, trust: str, asked: Identification) -> SigningDomain:
    from aperio_cli.errors.files import Offline
    from aperio_cli.signing.hosted import open_hosted

    trust_config = _trust_config(context, trust)
    if context.settings.offline:
        raise Offline(
            f"nothing was signed: signing with `{trust}` needs its services",
            why="`--offline` allows no network at all",
            next=["leave `--offline` out", "`aperio plugin sign --trust local`"],
        )
    return open_hosted(trust, trust_config, asked)


def _trust_config(context: Context, trust: str) -> str:
    """The ClientTrustConfig of a domain: in a file, or that of a name."""
    from aperio_cli.errors.files import FileNotRegular, FileTooLarge
    from aperio_cli.errors.usage import NotFound
    from aperio_cli.files import reading
    from aperio_cli.models.publisher import SIGSTORE_DOMAINS
    from aperio_cli.trust import roots
    from aperio_cli.trust.refreshed import MAX_DOCUMENT_BYTES

    path = Path(trust).expanduser()
    # A name counts before a file of that name, which a project could bring along.
    names = {*SIGSTORE_DOMAINS, *(rule.name for rule in context.config.domains)}
    if trust in names or not (trust.startswith((".", "/", "~")) or path.is_file()):
        return roots.trust_config_json(trust, context.config, context.paths)
    try:
        return reading.read_capped(path, MAX_DOCUMENT_BYTES).decode("utf-8", "replace")
    except (FileNotRegular, FileTooLarge, OSError) as error:
        raise NotFound(
            f"nothing was signed: the trust configuration `{trust}` cannot be read",
            why=str(error.strerror) if isinstance(error, OSError) else error.why,
            next=["name the file that whoever runs the instance gave you"],
        ) from error


def _identification(
    context: Context, trust: str, identity_token: str, *, out_of_band: bool
) -> Identification:
    from aperio_cli.models.publisher import SIGSTORE_DOMAINS
    from aperio_cli.signing.hosted import Identification

    token = _token_on_stdin() if identity_token == _FROM_STDIN else identity_token
    has_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    is_public = trust in SIGSTORE_DOMAINS
    consent = functools.partial(_consent, context) if is_public else (lambda: None)
    return Identification(token, out_of_band, has_terminal, os.environ, consent)


def _consent(context: Context) -> None:
    context.ask(
        "Signing puts your e-mail address into a public log, where anybody can read it and nobody"
        " can take it out again. Log in and sign?",
        what="nothing was signed: nobody agreed to what it makes public",
    )


def _token_on_stdin() -> str:
    """The token that stdin holds.

    Raises:
        IdentityTokenInvalid: it holds none, or something far too long.
    """
    from aperio_cli.errors.trust import IdentityTokenInvalid
    from aperio_cli.signing.credential import MAX_TOKEN_BYTES

    data = sys.stdin.buffer.read(MAX_TOKEN_BYTES + 1)
    token = data.decode("ascii", "replace").strip()
    if token and len(data) <= MAX_TOKEN_BYTES:
        return token
    raise IdentityTokenInvalid(
        "nothing was signed: stdin holds no identity token",
        why=f"expected 1 to {MAX_TOKEN_BYTES} bytes, found {'more' if token else 'none'}",
        next=["write the token to stdin: `aperio plugin sign --identity-token - < FILE`"],
    )
