"""`aperio plugin sign`: a Sigstore bundle beside each artifact."""

from __future__ import annotations

from typing import Annotated

import typer

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.context import Context
from aperio_cli.output import Report


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
            help="local: this machine's trust domain.", metavar="local", show_default=False
        ),
    ],
) -> Report:
    """Sign artifacts; each gets a bundle beside it (default: those in dist)."""
    from aperio_cli.commands.artifacts import find_artifacts
    from aperio_cli.errors import UsageError
    from aperio_cli.signing import sign
    from aperio_cli.signing.local import open_domain

    if trust != "local":
        raise UsageError(
            f"nothing was signed: `{trust}` is not a trust domain that this version signs with",
            why="expected local",
            next=["`aperio plugin sign --trust local`"],
        )
    domain = open_domain(context.paths.local_domain)
    signed = sign(find_artifacts(artifacts or ["dist"]), domain=domain)
    data = {
        "bundles": [
            {
                "artifact": str(item.artifact.path),
                "bundle": str(item.bundle_path),
                "sha256": item.artifact.digest.hex,
                "signer": item.signer.to_json(),
            }
            for item in signed
        ]
    }
    lines = [f"{item.bundle_path}\n  signed by {item.signer.identity}" for item in signed]
    return Report(data, "\n".join(lines))
