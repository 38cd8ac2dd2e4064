"""OIDC identity tokens of a local trust domain: minted for its one user, checked by its CA.

A token is a JWT signed with ES256 (RFC 7519, RFC 7518) carrying the claims that Fulcio reads from
an `email` issuer (sigstore/fulcio, docs/oidc.md).

This module loads `cryptography` and `jwt`: import it inside functions only.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import jwt

from aperio_cli import clock
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.signing.local.authority import LeafIdentity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

AUDIENCE = "sigstore"
LIFETIME = timedelta(minutes=5)
_ALGORITHM = "ES256"
_REQUIRED = ("aud", "email", "email_verified", "exp", "iat", "iss", "sub")


class TokenInvalid(ValueError):
    """A token that this domain did not mint, or did not mint for now."""


def mint(key: ec.EllipticCurvePrivateKey, identity: str) -> str:
    """A token that says for five minutes that its bearer is `identity`."""
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


def check(token: str, key: ec.EllipticCurvePublicKey) -> LeafIdentity:
    """Whom a token speaks for.

    Raises:
        TokenInvalid: when signature, issuer, audience, time or the verified e-mail is wrong.
    """
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            audience=AUDIENCE,
            issuer=LOCAL_ISSUER,
            options={"require": list(_REQUIRED)},
        )
    except jwt.PyJWTError as error:
        raise TokenInvalid(f"the identity token was refused: {error}") from error
    if claims["email_verified"] is not True or not isinstance(claims["email"], str):
        raise TokenInvalid("the identity token was refused: its e-mail is not verified")
    return LeafIdentity(subject=claims["email"], issuer=LOCAL_ISSUER)
