from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from aperio_cli import clock
from aperio_cli.errors.trust import IdentityTokenInvalid
from aperio_cli.signing.credential import MAX_TOKEN_BYTES, read_credential
from tests.builders import signer
from tests.rows import each_row, for_each
from tests.simulators.ci import claims

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = ec.generate_private_key(ec.SECP256R1())


def token(stated: dict[str, Any], **changes: Any) -> str:
    now = clock.now()
    times = {"aud": "sigstore", "iat": now, "exp": now + timedelta(minutes=5)}
    made = {**times, **stated, **changes}
    return jwt.encode({k: v for k, v in made.items() if v is not None}, KEY, algorithm="ES256")


# ── what a token says ─────────────────────────────────────────────────────────────────────────────


def test_credential_of_a_build_names_its_issuer_and_no_address() -> None:
    credential = read_credential(token(claims.github()))
    assert (credential.issuers, credential.email) == ((claims.GITHUB_ISSUER,), "")


def test_credential_of_a_login_names_who_vouched_for_it_first() -> None:
    credential = read_credential(token(claims.dex()))
    assert credential.issuers == (claims.GOOGLE_ISSUER, claims.DEX_ISSUER)
    assert credential.email == "alice@acme.example"


def test_audience_among_several_counts() -> None:
    assert read_credential(token(claims.github(), aud=["vault", "sigstore"])).issuers


@pytest.mark.parametrize("stated", [True, "true"])
def test_verified_address_counts_in_both_spellings(stated: object) -> None:
    credential = read_credential(token(claims.google(email_verified=stated)))
    assert credential.email == "release@acme.iam.gserviceaccount.com"


@each_row("stated", [False, "yes", 1, ["true"], None])
def test_address_that_nobody_verified_does_not_count(stated: object) -> None:
    made = token(claims.person("https://login.acme.example", email_verified=stated))
    assert read_credential(made).email == ""


def test_credential_shows_no_token() -> None:
    secret = token(claims.github())
    credential = read_credential(secret)
    assert secret not in f"{credential!r} {credential}"


# ── who may be named in the certificate ───────────────────────────────────────────────────────────


def test_certificate_for_the_same_address_is_of_the_credential() -> None:
    credential = read_credential(token(claims.dex()))
    named = signer(identity="alice@acme.example", issuer=claims.GOOGLE_ISSUER)
    assert credential.names(named)


def test_certificate_for_another_address_is_not() -> None:
    credential = read_credential(token(claims.dex()))
    assert not credential.names(signer(identity="bob@acme.example", issuer=claims.GOOGLE_ISSUER))


def test_certificate_of_another_issuer_is_not() -> None:
    credential = read_credential(token(claims.github()))
    assert not credential.names(signer(identity="https://x.example/y", issuer="https://x.example"))


def test_certificate_for_an_address_is_not_of_a_token_without_one() -> None:
    credential = read_credential(token(claims.github()))
    assert not credential.names(signer(identity="", issuer=claims.GITHUB_ISSUER))
    assert not credential.names(signer(identity="bob@acme.example", issuer=claims.GITHUB_ISSUER))


# ── what is refused ───────────────────────────────────────────────────────────────────────────────

HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": 1}, "its `exp` is wrong: it ended 1970-01-01T00:00:01Z"),
    "far too long ago": ({"exp": -1e300}, "its `exp` is wrong: it ended -1e+300 seconds"),
    "ends never": ({"exp": float("inf")}, "Infinity is no number"),
    "ends after any float": ({"exp": 10**400}, "a number of more than 300 digits"),
    "ends at nothing": ({"exp": float("nan")}, "NaN is no number"),
    "ends at a word": ({"exp": "tomorrow"}, "its `exp` is not a time\nfound tomorrow"),
    "no end": ({"exp": None}, "its `exp` is not a time\nfound nothing"),
    "issued later": ({"iat": 4e9}, "its `iat` is wrong: it was issued 2096-"),
    "no issue": ({"iat": None}, "its `iat` is not a time"),
    "begins later": ({"nbf": 4e9}, "its `nbf` is wrong: it begins 2096-"),
    "other audience": ({"aud": "npm"}, "its `aud` is wrong\nexpected sigstore\nfound    npm"),
    "other audiences": ({"aud": ["a", "b"]}, "its `aud` is wrong"),
    "audience like ours": ({"aud": "sigstore.example"}, "its `aud` is wrong"),
    "no audience": ({"aud": None}, "its `aud` is wrong\nexpected sigstore\nfound    nothing"),
    "no issuer": ({"iss": None}, "its `iss` is missing"),
    "issuer is no text": ({"iss": 5}, "its `iss` is missing"),
    "no subject": ({"sub": None}, "its `sub` is missing"),
    "verified nothing": ({"email_verified": True}, "its `email` is missing"),
    "odd federation": ({"federated_claims": "x"}, "unexpected claim type: federated_claims"),
}


@for_each(HOSTILE)
def test_token_is_refused_by_the_claim_that_is_wrong(case: str) -> None:
    changes, expected = HOSTILE[case]
    made = _encoded(claims.github(), changes)
    with pytest.raises(IdentityTokenInvalid) as caught:
        read_credential(made)
    assert expected in caught.value.why
    assert made not in str(caught.value.to_json())


def _encoded(stated: dict[str, Any], changes: dict[str, Any]) -> str:
    if isinstance(changes.get("iss"), int):  # PyJWT does not encode what we want to read
        unsigned = jwt.api_jws.PyJWS()
        body = token({**stated, "iss": "5"}).split(".")[1]
        text = jwt.utils.base64url_decode(body).replace(b'"iss":"5"', b'"iss":5')
        return unsigned.encode(text, KEY, algorithm="ES256")
    return token(stated, **changes)


GARBAGE: dict[str, Callable[[str], str]] = {
    "nothing": lambda _: "",
    "a word": lambda _: "token",
    "dots": lambda _: "a.b.c",
    "cut off": lambda good: good[: len(good) // 2],
    "not text": lambda _: "\x00\x01.\xff.",
    "a list": lambda _: jwt.api_jws.PyJWS().encode(b"[1]", KEY, algorithm="ES256"),
    "deep": lambda _: jwt.api_jws.PyJWS().encode(b"[" * 9000, KEY, algorithm="ES256"),
}


@each_row("case", GARBAGE)
def test_garbage_is_refused_without_a_trace_of_it(case: str) -> None:
    given = GARBAGE[case](token(claims.github()))
    with pytest.raises(IdentityTokenInvalid) as caught:
        read_credential(given)
    assert "not a JSON Web Token" in caught.value.why
    assert len(given) < 10 or given not in str(caught.value.to_json())


def test_token_of_the_greatest_length_is_read_and_a_longer_one_is_not() -> None:
    short = token(claims.github(filler=""))
    room = (MAX_TOKEN_BYTES - len(short)) * 3 // 4
    assert read_credential(token(claims.github(filler="x" * (room - 4)))).issuers
    with pytest.raises(IdentityTokenInvalid, match="cannot be used") as caught:
        read_credential(token(claims.github(filler="x" * (room + 8))))
    assert f"longer than {MAX_TOKEN_BYTES} bytes" in caught.value.why
