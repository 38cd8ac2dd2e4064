"""`aperio plugin sign`: a Sigstore bundle, and signed statements, beside each artifact."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.options import IdentityToken, OutOfBand, Trust, argument
from aperio_cli.commands.signing import SigningOptions, open_signing_domain
from aperio_cli.context import Context
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.models.artifact import SignedArtifact

_SHOWN_KINDS = {
    "https://slsa.dev/provenance/v1": "provenance",
    "https://cyclonedx.org/bom": "bill of materials",
}


@command(
    plugin, "plugin", "sign", examples=["aperio plugin sign aperio-plugin-hello/dist --trust local"]
)
def plugin_sign(
    context: Context,
    artifacts: Annotated[
        list[str] | None,
        argument(metavar="ARTIFACT|DIST", help="Artifacts, or folders of them."),
    ] = None,
    *,
    trust: Trust = "public",
    identity_token: IdentityToken = "",
    oob: OutOfBand = False,
) -> Report:
    """Sign artifacts; each gets a bundle and statements beside it (default: those in dist)."""
    from aperio_cli.commands.plugin.artifacts import find_artifacts
    from aperio_cli.signing import sign

    asked = SigningOptions("aperio plugin sign", trust, identity_token, out_of_band=oob)
    asked.require_one_identity()
    found = find_artifacts(artifacts or ["dist"])
    domain = open_signing_domain(context, asked)
    # A login speaks to people itself, and asks them.
    is_silent = trust != "local" and not identity_token
    with contextlib.nullcontext() if is_silent else context.output.working("signing"):
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
