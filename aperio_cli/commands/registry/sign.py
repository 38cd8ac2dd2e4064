"""`aperio registry sign`: the Sigstore bundle of a registry's root."""

from __future__ import annotations

import shlex
from typing import Annotated

from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Directory, IdentityToken, OutOfBand, Trust, option
from aperio_cli.commands.signing import SigningOptions, open_signing_domain
from aperio_cli.context import Context
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report


@command(
    registry,
    "registry",
    "sign",
    examples=["aperio registry sign --dir registry --trust local"],
)
def registry_sign(
    context: Context,
    *,
    directory: Directory = ".",
    out: Annotated[
        str,
        option(help="Where it was built (default: public in it).", metavar="DIR"),
    ] = "",
    trust: Trust = "public",
    identity_token: IdentityToken = "",
    oob: OutOfBand = False,
) -> Report:
    """Sign what was built; clients read it when they are told who signs it.

    The root is signed, and the root states all the rest. A build that waits for it takes the place
    of the earlier one now. Its source notes which root was signed, so that the next edition
    continues it: keep that change.
    """
    from aperio_cli.commands.registry.expiry import expiry_notes
    from aperio_cli.publishing import find_sealable, note_sealed, place_sealed
    from aperio_cli.signing import sign_file

    elsewhere = f" --out {shlex.quote(out)}" if out else ""
    command_line = f"aperio registry sign --dir {shlex.quote(directory)}{elsewhere}"
    asked = SigningOptions(command_line, trust, identity_token, out_of_band=oob)
    asked.require_one_identity()
    found = find_sealable(as_path(directory), as_path(out) if out else None)
    domain = open_signing_domain(context, asked)
    signed = sign_file(found.path, found.digest, domain=domain)
    note_sealed(as_path(directory), found)
    place_sealed(as_path(directory), found)
    path, bundle = (found.folder / each.name for each in (signed.path, signed.bundle_path))
    data = {
        "file": str(path),
        "bundle": str(bundle),
        "sha256": signed.digest.hex,
        "name": found.root.name,
        "epoch": found.root.epoch,
        "serial": found.root.serial,
        "expires_at": found.root.expires_at,
        "signer": signed.signer.to_json(),
    }
    text = (
        f"{bundle}\n  signed by {signed.signer.identity}\n"
        f"  serial {found.root.serial}, until {found.root.expires_at}"
    )
    return Report(
        data, text, tuple(expiry_notes(context, found.root.expires_at, as_path(directory)))
    )
