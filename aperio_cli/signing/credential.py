"""Who signs: an identity token, read before anything is sent to anybody.

A token is a JWT (RFC 7519) with the claims of OpenID Connect Core 1.0, section 2. Its signature is
for the certificate authority to check; here it is found out whether the authority could take it, so
that a token that is late or meant for somebody else is named by what is wrong with it, not by a
refusal from far away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_cli import clock
from aperio_cli.errors.trust import IdentityTokenInvalid
from aperio_cli.models.reading import Bounds, parse_json
from aperio_cli.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aperio_cli.models.publisher import Signer

AUDIENCE: Final = "sigstore"
MAX_TOKEN_BYTES: Final = 16 * 1024
# Clocks differ a little; sigstore's own client allows the same.
_LEEWAY_S = 5
_EVIDENCE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Credential:
    """An identity token, and whom a certificate for it may name.

    Attributes:
        token: a secret: never printed, logged or stored.
        issuers: who may be named as the issuer: whoever issued the token, and whoever that one says
            logged the user in.
        email: the e-mail address that the token says is verified; empty when it says none.
    """

    token: str = field(repr=False)
    issuers: tuple[str, ...]
    email: str = ""

    def names(self, signer: Signer) -> bool:
        """Return whether a certificate with this signer can have been issued for the token.

        The authority makes the identity of a CI build out of many claims, so only an e-mail address
        can be foretold.
        """
        # A blank that equals a blank would be a check of nothing.
        is_ours = bool(self.email) and signer.identity == self.email
        return (is_ours or "://" in signer.identity) and signer.issuer in self.issuers

    def __str__(self) -> str:
        return f"{self.email or 'the bearer of a token'}, issuer {self.issuers[0]}"


def read_credential(token: str) -> Credential:
    """Return the credential in an identity token for Sigstore.

    Raises:
        IdentityTokenInvalid: when it is not a token, is not for Sigstore, or not for now; says
            which claim is wrong and never shows the token.
    """
    claims = _claims(token)
    for fault in _faults(claims, clock.now()):
        raise _invalid(fault)
    issuers = _issuers(token, claims)
    return Credential(token, issuers, claims["email"] if _is_verified(claims) else "")


def _claims(token: str) -> Mapping[str, Any]:
    import jwt

    if len(token) > MAX_TOKEN_BYTES:
        raise _invalid(f"it is longer than {MAX_TOKEN_BYTES} bytes")
    try:
        payload: bytes = jwt.PyJWS().decode(token, options={"verify_signature": False})
    except Exception as error:
        raise _invalid("it is not a JSON Web Token (RFC 7519)") from error
    return parse_json(payload, Bounds(MAX_TOKEN_BYTES), _fail).values


def _issuers(token: str, claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the issuers that a certificate may name, the one that vouches for the login first."""
    from sigstore.oidc import IdentityToken

    try:
        federated = IdentityToken(token, AUDIENCE).federated_issuer
    except Exception as error:
        raise _invalid(clean(error, limit=_EVIDENCE_CHARACTERS)) from error
    return tuple(dict.fromkeys((federated, claims["iss"])))


def _faults(claims: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """Yield what is wrong with the claims, the first thing first."""
    for name in ("iss", "sub"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            yield f"its `{name}` is missing"
    if _is_verified(claims) and not isinstance(claims.get("email"), str):
        yield "its `email` is missing"
    stated = claims.get("aud")
    if AUDIENCE not in (stated if isinstance(stated, list) else [stated]):
        yield f"its `aud` is wrong\nexpected {AUDIENCE}\nfound    {_shown(stated)}"
    yield from _faults_of_time(claims, now)


def _faults_of_time(claims: Mapping[str, Any], now: datetime) -> Iterator[str]:
    seconds = now.timestamp()
    bounds = {
        "exp": ("it ended", seconds, math.inf),
        "iat": ("it was issued", -math.inf, seconds + _LEEWAY_S),
        "nbf": ("it begins", -math.inf, seconds + _LEEWAY_S),
    }
    for name, (meaning, earliest, latest) in bounds.items():
        stated = claims.get(name, seconds if name == "nbf" else None)  # `nbf` may be left out
        if not isinstance(stated, int | float) or not math.isfinite(stated):
            yield f"its `{name}` is not a time\nfound {_shown(stated)}"
        elif not earliest < stated < latest:
            moment = clock.format_timestamp(now)
            yield f"its `{name}` is wrong: {meaning} {_moment(stated)}\nit is now {moment}"


def _is_verified(claims: Mapping[str, Any]) -> bool:
    """Return whether the issuer has made sure of the e-mail address; some write it as a text."""
    return claims.get("email_verified") is True or claims.get("email_verified") == "true"


def _moment(seconds: float) -> str:
    try:
        return clock.format_timestamp(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} seconds after 1970"


def _shown(claim: object) -> str:
    return "nothing" if claim is None else one_line(claim, limit=_EVIDENCE_CHARACTERS)


def _fail(_key: str, why: str) -> NoReturn:
    raise _invalid(f"it is not a JSON Web Token (RFC 7519): {why}")


def _invalid(why: str) -> IdentityTokenInvalid:
    return IdentityTokenInvalid(
        "nothing was signed: the identity token cannot be used",
        why=why,
        next=[f"get a new token whose audience is `{AUDIENCE}` and sign at once: it lives minutes"],
    )
