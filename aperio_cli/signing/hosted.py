"""Trust domains that others run: Sigstore's public instance, its staging, private instances."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from aperio_cli.errors.files import InsecureUrl
from aperio_cli.errors.trust import (
    CredentialMissing,
    IdentityTokenInvalid,
    SigningFailed,
    TrustRootInvalid,
)
from aperio_cli.models.address import is_loopback, shown
from aperio_cli.models.reading import Bounds, read_json
from aperio_cli.signing import ambient, client_environment, login
from aperio_cli.signing.credential import read_credential
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aperio_cli.signing.credential import Credential

_EVIDENCE_CHARACTERS = 300
_BOUNDS: Final = Bounds(8 * 1024 * 1024)  # a trusted root and a signing configuration
# Services that are sent the identity token; the others get signatures only.
_TOLD_THE_TOKEN = ("caUrls", "oidcUrls")


@dataclass(frozen=True, slots=True)
class Identification:
    """How the user can be identified.

    Attributes:
        token: an identity token that was given; empty when none was.
        out_of_band: log in with a code instead of a browser on this machine.
        has_terminal: whether somebody can be asked.
        environment: that of this process.
        consent: asked before somebody logs in; raises when they do not agree.
    """

    token: str = field(default="", repr=False)
    out_of_band: bool = False
    has_terminal: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    consent: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class HostedDomain:
    """A trust domain on the network, which certifies whoever its OIDC issuers vouch for.

    Attributes:
        name: as rules and reports call it.
        trust_config: its ClientTrustConfig (sigstore_trustroot.proto) as JSON.
        issuer_url: the OpenID provider where people log in; empty when it has none.
        identification: how the user can be identified.
    """

    name: str
    trust_config: str
    issuer_url: str
    identification: Identification

    def trusted_root_json(self) -> str:
        """Return the root that verifies what this domain signs (sigstore_trustroot.proto)."""
        return json.dumps(json.loads(self.trust_config)["trustedRoot"])

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Yield its ClientTrustConfig; in the block no stored password replaces the token."""
        with client_environment.of_clients():
            yield self.trust_config

    def credential(self) -> Credential:
        """Return who signs: by the token that was given, a CI service's, or a login, in this order.

        Whoever asks for the out-of-band login wants to sign in person, so that no CI service is
        asked then.

        Raises:
            CredentialMissing: when there is none of them.
            IdentityTokenInvalid: when the token is not for Sigstore, or not for now.
            ConsentMissing: when the user does not agree to what a login makes public.
            NetworkUnavailable, SigningTimeout, SigningFailed: as who was asked failed.
        """
        asked = self.identification
        if asked.token:
            return read_credential(asked.token)
        token = None if asked.out_of_band else ambient.ambient_token(asked.environment)
        if token is None:
            return read_credential(self._log_in())
        try:
            return read_credential(token)
        except IdentityTokenInvalid as error:
            raise ambient.unusable(asked.environment, error) from error

    def _log_in(self) -> str:
        asked = self.identification
        if not asked.has_terminal:
            raise _nobody_to_ask(out_of_band=asked.out_of_band)
        if not self.issuer_url:
            raise SigningFailed(
                f"nothing was signed: `{self.name}` has no place to log in",
                why="its signing configuration names no OpenID provider (oidcUrls)",
                next=["give a token on stdin: the same command with `--identity-token -`"],
            )
        asked.consent()
        return login.log_in(self.issuer_url, out_of_band=asked.out_of_band)


def open_hosted(name: str, trust_config: str, identification: Identification) -> HostedDomain:
    """Return the trust domain that a ClientTrustConfig describes; nothing is asked of it yet.

    Args:
        name: as rules and reports call it.
        trust_config: sigstore_trustroot.proto's ClientTrustConfig as JSON.
        identification: how the user can be identified.

    Raises:
        TrustRootInvalid: when it is not one that can sign.
        InsecureUrl: when the identity token would go over plain http to another machine.
    """
    from sigstore.models import ClientTrustConfig

    try:
        document = read_json(trust_config.encode(), _BOUNDS)
        signing = ClientTrustConfig.from_json(trust_config).signing_config
        signing.get_fulcio(), signing.get_tlogs(), signing.get_tsas()
        issuer_url = signing.get_oidc_url() if document["signingConfig"].get("oidcUrls") else ""
    except Exception as error:
        raise _unusable(name, error) from error
    for url in _urls_told_the_token(document["signingConfig"]):
        _require_secure(name, url)
    return HostedDomain(name, trust_config, issuer_url, identification)


def _urls_told_the_token(signing_config: Mapping[str, Any]) -> Iterator[str]:
    for kind in _TOLD_THE_TOKEN:
        for service in signing_config.get(kind, ()):
            yield service["url"]


def _require_secure(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise InsecureUrl(
        f"nothing was signed: `{name}` would send the identity token where others can read it",
        why=f"expected https, or http on this machine\nfound    {shown(url)}",
        next=["ask whoever runs it for its https address"],
    )


def _unusable(name: str, error: Exception) -> TrustRootInvalid:
    lines = str(error).splitlines() or [type(error).__name__]
    return TrustRootInvalid(
        f"nothing was signed: `{name}` is not a trust domain that can be signed with",
        why="expected a Sigstore ClientTrustConfig, with `trustedRoot` and `signingConfig`\n"
        f"found    {clean(' '.join(lines[:2]), limit=_EVIDENCE_CHARACTERS)}",
        next=["get the client trust configuration from whoever runs the instance"],
    )


def _nobody_to_ask(*, out_of_band: bool) -> CredentialMissing:
    tried = "no token was given, no CI service gives one, and there is no terminal to log in on"
    return CredentialMissing(
        "nothing was signed: nothing here says who signs",
        why="`--oob` needs a terminal to type the code on" if out_of_band else tried,
        next=[
            "run the same command on a terminal",
            "give a token on stdin: the same command with `--identity-token -`",
            "sign for this machine only: the same command with `--trust local`",
        ],
    )
