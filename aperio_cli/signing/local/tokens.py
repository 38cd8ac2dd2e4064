"""OIDC identity tokens of a local trust domain: minted for its one user, checked by its CA.

A token is a JWT signed with ES256 (RFC 7519, RFC 7518).

This module loads `cryptography` and `jwt`: import it inside functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt

from aperio_cli import clock
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.signing.credential import AUDIENCE
from aperio_cli.signing.local.authority import LeafIdentity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

Claims = Mapping[str, Any]
Certify = Callable[[Claims], LeafIdentity]
"""Makes an identity of a token's claims; raises `ClaimsUnfit`."""

LIFETIME = timedelta(minutes=5)
_ALGORITHM = "ES256"
_REQUIRED = ("aud", "exp", "iat", "iss", "sub")


class ClaimsUnfit(ValueError):
    """The claims are not those of tokens of this kind of issuer."""


class TokenInvalid(ValueError):
    """A token that this domain did not mint, or did not mint for now."""


def mint(key: ec.EllipticCurvePrivateKey, identity: str) -> str:
    """Return a token that says for five minutes that its bearer is `identity`."""
    now = clock.now()
    claims = {
        "aud": AUDIENCE,
        "email": identity,
        "email_verified": True,
        "exp": now + LIFETIME,
        "iat": now,
        "iss": LOCAL_ISSUER,
        "sub": identity,
    }
    return jwt.encode(claims, key, algorithm=_ALGORITHM)


def email(claims: Claims) -> LeafIdentity:
    """Return whom an issuer names by an address that it has verified.

    Raises:
        ClaimsUnfit: it has verified none.
    """
    address = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(address, str):
        raise ClaimsUnfit("its e-mail is not verified")
    return LeafIdentity(address, claims["iss"])


def check(
    token: str, key: ec.EllipticCurvePublicKey, issuers: Mapping[str, Certify]
) -> LeafIdentity:
    """Return whom a token speaks for.

    Args:
        token: a JWT.
        key: the key that has to have signed it.
        issuers: how an identity is made of the claims, by issuer; no other issuer is known.

    Raises:
        TokenInvalid: when signature, issuer, audience or time is wrong, or the issuer's tokens
            have other claims.
    """
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            audience=AUDIENCE,
            issuer=list(issuers),
            options={"require": list(_REQUIRED)},
        )
        return issuers[claims["iss"]](claims)
    except (jwt.PyJWTError, ClaimsUnfit) as error:
        raise TokenInvalid(f"the identity token was refused: {error}") from error
