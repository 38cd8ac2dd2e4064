"""What commands that sign have in common: the trust domain that their options name."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.usage import UsageError
from aperio_cli.models.publisher import SIGSTORE_DOMAINS

if TYPE_CHECKING:
    from aperio_cli.context import Context
    from aperio_cli.signing.domain import SigningDomain
    from aperio_cli.signing.hosted import Identification

_FROM_STDIN = "-"


@dataclass(frozen=True, slots=True)
class SigningOptions:
    """How to sign, as it was typed.

    Attributes:
        command: the command, for messages: `aperio plugin sign`.
        trust: who certifies.
        identity_token: an OIDC token, `-` for stdin, or empty.
        out_of_band: whether to log in with a code.
    """

    command: str
    trust: str
    identity_token: str
    out_of_band: bool

    def require_one_identity(self) -> None:
        """Require that one way at most was given to say who signs.

        Raises:
            UsageError: there are two.
        """
        if self.identity_token and self.out_of_band:
            raise UsageError(
                "nothing was signed: `--identity-token` and `--oob` are two ways to say who signs",
                why="expected one of them",
                next=["leave one out"],
            )


def open_signing_domain(context: Context, asked: SigningOptions) -> SigningDomain:
    """Return the trust domain that the options name, ready to certify this user.

    Raises:
        UsageError: the options do not go together, or name no domain.
        AperioError: the domain cannot be used, or nobody can be identified.
    """
    from aperio_cli.models.publisher import LOCAL_DOMAIN

    if asked.trust != LOCAL_DOMAIN:
        return _open_hosted(context, asked, _identification(context, asked))
    from aperio_cli.signing.local import open_domain

    if asked.identity_token or asked.out_of_band:
        raise UsageError(
            "nothing was signed: the local trust domain knows its one user and asks for nothing",
            why="`--identity-token` and `--oob` are for `--trust public`, `staging` and FILE",
            next=[f"`{asked.command} --trust local`"],
        )
    return open_domain(context.paths.local_domain)


def _open_hosted(context: Context, asked: SigningOptions, who: Identification) -> SigningDomain:
    from aperio_cli.errors.files import Offline
    from aperio_cli.signing.hosted import open_hosted

    trust_config = _trust_config(context, asked.trust)
    if context.settings.offline:
        raise Offline(
            f"nothing was signed: signing with `{asked.trust}` needs its services",
            why="`--offline` allows no network at all",
            next=["leave `--offline` out", f"`{asked.command} --trust local`"],
        )
    return open_hosted(asked.trust, trust_config, who)


def _trust_config(context: Context, trust: str) -> str:
    """Return the ClientTrustConfig of a domain: in a file, or that of a name."""
    from aperio_cli.errors.files import FileNotRegular, FileTooLarge
    from aperio_cli.errors.usage import NotFound
    from aperio_cli.files import reading
    from aperio_cli.files.naming import as_path
    from aperio_cli.trust import roots
    from aperio_cli.trust.refreshed import MAX_DOCUMENT_BYTES

    path = as_path(trust)
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


def _identification(context: Context, asked: SigningOptions) -> Identification:
    from aperio_cli.signing.hosted import Identification

    is_on_stdin = asked.identity_token == _FROM_STDIN
    token = _token_on_stdin(asked.command) if is_on_stdin else asked.identity_token
    has_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    is_public = asked.trust in SIGSTORE_DOMAINS
    in_public = functools.partial(_consent, context) if is_public else (lambda: None)
    return Identification(token, asked.out_of_band, has_terminal, os.environ, in_public)


def _consent(context: Context) -> None:
    context.ask(
        "Signing puts your e-mail address into a public log, where anybody can read it and nobody"
        " can take it out again. Log in and sign?",
        what="nothing was signed: nobody agreed to what it makes public",
    )


def _token_on_stdin(command: str) -> str:
    """Return the token that stdin holds.

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
        next=[f"write the token to stdin: `{command} --identity-token - < FILE`"],
    )
