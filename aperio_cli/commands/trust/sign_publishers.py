"""`aperio trust sign-publishers`: a Sigstore bundle beside a file that states publishers."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import trust as group
from aperio_cli.commands.common import command
from aperio_cli.commands.options import IdentityToken, OutOfBand, Trust, argument
from aperio_cli.commands.signing import SigningOptions, open_signing_domain
from aperio_cli.context import Context
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.publisher_file import PublisherList


@command(
    group,
    "trust",
    "sign-publishers",
    examples=["aperio trust sign-publishers publishers.json --trust local"],
)
def trust_sign_publishers(
    context: Context,
    file: Annotated[str, argument(metavar="FILE", help="The file of publishers.")],
    *,
    trust: Trust = "public",
    identity_token: IdentityToken = "",
    oob: OutOfBand = False,
) -> Report:
    """Sign a file of publishers that other machines are to read; its bundle stands beside it.

    The file is read first as these machines will read it: a file that they would not accept is
    not signed.
    """
    from aperio_cli.models.digest import Digest
    from aperio_cli.signing import sign_file

    command_line = f"aperio trust sign-publishers {shlex.quote(file)}"
    asked = SigningOptions(command_line, trust, identity_token, out_of_band=oob)
    asked.require_one_identity()
    path = as_path(file)
    data = _read(path)
    stated = _parse(context, path, data)
    signed = sign_file(path, Digest.of(data), domain=open_signing_domain(context, asked))
    report = {
        "file": str(signed.path),
        "bundle": str(signed.bundle_path),
        "sha256": signed.digest.hex,
        "serial": stated.serial,
        "expires": stated.expires,
        "publishers": len(stated.rules),
        "signer": signed.signer.to_json(),
    }
    count = f"{len(stated.rules)} rule{'' if len(stated.rules) == 1 else 's'}"
    text = (
        f"{signed.bundle_path}\n  signed by {signed.signer.identity}\n"
        f"  serial {stated.serial}, {count}, until {stated.expires}"
    )
    return Report(report, text)


def _read(path: Path) -> bytes:
    """Return the contents of the file.

    Raises:
        NotFound: it cannot be read.
    """
    from aperio_cli.errors import AperioError
    from aperio_cli.errors.usage import NotFound
    from aperio_cli.files import reading
    from aperio_cli.models.publisher_file import MAX_PUBLISHER_FILE_BYTES

    try:
        return reading.read_capped(path, MAX_PUBLISHER_FILE_BYTES)
    except (AperioError, OSError) as error:
        why = error.why if isinstance(error, AperioError) else str(error.strerror)
        raise NotFound(
            f"`{path}` cannot be read; nothing was signed",
            why=why,
            next=["check the path for a typing error"],
        ) from error


def _parse(context: Context, path: Path, data: bytes) -> PublisherList:
    """Return what the file states.

    Raises:
        PublisherFileInvalid: it states nothing that a machine like this one would accept.
    """
    from aperio_cli import clock
    from aperio_cli.errors.trust import PublisherFileInvalid
    from aperio_cli.models.publisher_file import parse_publisher_file

    names = context.config.domain_names
    stated = parse_publisher_file(data, domains=names, source=str(path))
    if clock.format_timestamp(clock.now()) > stated.expires:
        raise PublisherFileInvalid(
            f"`{path}` was not signed: nobody would accept it",
            why=f"it ended on {stated.expires}",
            next=["give it a later `expires`, and a higher `serial`"],
        )
    return stated
