from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerifierBuilder
from rfc3161_client import decode_timestamp_response as decode

from aperio_cli import clock
from aperio_cli.errors.files import DiskFull
from aperio_cli.files import locking
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.signing.local import log as transparency
from aperio_cli.signing.local import server, tokens
from aperio_cli.signing.local.log import (
    EntryInvalid,
    EntryRequest,
    LogDamaged,
)
from tests.simulators.ci import claims as shapes
from tests.simulators.ci import issuers
from tests.trust import IDENTITY, Forge, encoded, new_domain, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aperio_cli.signing.local.server import Reply, Services

DIGEST = Digest.of(b"the artifact")


@pytest.fixture(name="services")
def _services(tmp_path: Path) -> Services:
    return new_domain(tmp_path).services()


@pytest.fixture(name="forge")
def _forge(services: Services) -> Forge:
    return Forge(services.certificates, services.log, services.timestamps)


def message(reply: Reply) -> str:
    document: dict[str, Any] = json.loads(reply.body)
    assert document["code"] == reply.status.value
    return str(document["message"])


def request_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return json.dumps({"certificateSigningRequest": encoded(pem)}).encode()


# ── identity tokens and certificates ──────────────────────────────────────────────────────────────


def certify(services: Services, token: str, body: bytes = b"") -> Reply:
    wanted = body or request_of(ec.generate_private_key(ec.SECP256R1()))
    return services.answer(server.CERTIFICATES_PATH, f"Bearer {token}", wanted)


def test_token_gets_a_certificate_for_its_identity(services: Services) -> None:
    reply = certify(services, tokens.mint(services.token_key, IDENTITY))
    chain = json.loads(reply.body)["signedCertificateEmbeddedSct"]["chain"]["certificates"]
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == [IDENTITY]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(minutes=10)


def test_certificate_names_the_issuer_in_both_forms(services: Services) -> None:
    reply = certify(services, tokens.mint(services.token_key, IDENTITY))
    chain = json.loads(reply.body)["signedCertificateEmbeddedSct"]["chain"]["certificates"]
    leaf = x509.load_pem_x509_certificate(chain[0].encode())
    values = {e.oid.dotted_string: e.value for e in leaf.extensions}
    old, new = (values[f"1.3.6.1.4.1.57264.1.{number}"] for number in (1, 8))
    assert isinstance(old, x509.UnrecognizedExtension)
    assert isinstance(new, x509.UnrecognizedExtension)
    assert old.value == LOCAL_ISSUER.encode()
    assert new.value == bytes([12, len(LOCAL_ISSUER)]) + LOCAL_ISSUER.encode()


def test_certificate_of_a_build_has_old_claims_raw_and_new_ones_encoded(
    services: Services,
) -> None:
    stated = shapes.github(aud="sigstore", iat=clock.now(), exp=clock.now() + timedelta(minutes=1))
    token = jwt.encode(stated, services.token_key, algorithm="ES256")
    known = replace(services, issuers={shapes.GITHUB_ISSUER: issuers.github})
    chain = json.loads(certify(known, token).body)["signedCertificateEmbeddedSct"]["chain"]
    leaf = x509.load_pem_x509_certificate(chain["certificates"][0].encode())
    values = {e.oid.dotted_string: e.value for e in leaf.extensions}
    old, new = (values[f"1.3.6.1.4.1.57264.1.{number}"] for number in (2, 20))
    assert isinstance(old, x509.UnrecognizedExtension)
    assert isinstance(new, x509.UnrecognizedExtension)
    assert (old.value, new.value) == (b"push", b"\x0c\x04push")


def test_domain_on_disk_certifies_no_issuer_but_its_own(services: Services) -> None:
    stated = shapes.github(aud="sigstore", iat=clock.now(), exp=clock.now() + timedelta(minutes=1))
    reply = certify(services, jwt.encode(stated, services.token_key, algorithm="ES256"))
    assert reply.status == 401


Claims = dict[str, Any]
HOSTILE_CLAIMS: dict[str, Callable[[Claims], object]] = {
    "expired": lambda c: c.update(exp=clock.now() - timedelta(seconds=1)),
    "not issued yet": lambda c: c.update(iat=clock.now() + timedelta(hours=1)),
    "other audience": lambda c: c.update(aud="npm"),
    "other issuer": lambda c: c.update(iss="https://oidc.local.aperio.invalid.evil.example"),
    "unverified e-mail": lambda c: c.update(email_verified=False),
    "e-mail verified by a string": lambda c: c.update(email_verified="true"),
    "no e-mail": lambda c: c.pop("email"),
    "e-mail of another type": lambda c: c.update(email=["alice@local"]),
    "no expiry": lambda c: c.pop("exp"),
}


@pytest.mark.parametrize("case", HOSTILE_CLAIMS)
def test_authority_refuses_when_a_claim_is_wrong(case: str, services: Services) -> None:
    token = tokens.mint(services.token_key, IDENTITY)
    claims = jwt.decode(token, options={"verify_signature": False})
    HOSTILE_CLAIMS[case](claims)
    reply = certify(services, jwt.encode(claims, services.token_key, algorithm="ES256"))
    assert (reply.status, message(reply)[:30]) == (401, "the identity token was refused")


def test_authority_refuses_when_the_token_is_forged(services: Services) -> None:
    claims = jwt.decode(
        tokens.mint(services.token_key, IDENTITY), options={"verify_signature": False}
    )
    public = services.token_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    forged = [
        jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims, hashlib.sha256(public).hexdigest(), algorithm="HS256"),
        "",
        "a.b.c",
        "\x00" * 100,
    ]
    assert [certify(services, token).status for token in forged] == [401] * len(forged)


def test_authority_refuses_when_the_request_is_not_for_a_proved_p256_key(
    services: Services,
) -> None:
    token = tokens.mint(services.token_key, IDENTITY)
    good = json.loads(request_of(ec.generate_private_key(ec.SECP256R1())))
    pem = base64.b64decode(good["certificateSigningRequest"])
    der = bytearray(base64.b64decode(b"".join(pem.splitlines()[1:-1])))
    der[-1] ^= 1
    unproved = b"-----BEGIN CERTIFICATE REQUEST-----\n%b\n-----END CERTIFICATE REQUEST-----\n"
    bodies = [
        request_of(rsa.generate_private_key(65537, 2048)),
        request_of(ec.generate_private_key(ec.SECP384R1())),
        json.dumps(
            {"certificateSigningRequest": encoded(unproved % base64.b64encode(bytes(der)))}
        ).encode(),
        b"{}",
        b"[]",
        b"[" * 60_000,
        b'{"certificateSigningRequest": 1}',
        b'{"certificateSigningRequest": "AAAA"}',
        b"\xff",
    ]
    replies = [certify(services, token, body) for body in bodies]
    assert [reply.status for reply in replies] == [400] * len(bodies)


# ── timestamps ────────────────────────────────────────────────────────────────────────────────────


def test_timestamp_verifies_and_says_when(services: Services) -> None:
    request = TimestampRequestBuilder().data(b"signature").hash_algorithm(HashAlgorithm.SHA256)
    built = request.nonce(nonce=True).build()
    assert built.nonce
    moment = clock.now() - timedelta(minutes=5)
    response = decode(services.timestamps.respond(built.as_bytes(), moment))
    verifier = (
        VerifierBuilder()
        .tsa_certificate(services.timestamps.certificate)
        .add_root_certificate(services.certificates.root)
        .nonce(built.nonce)
        .build()
    )
    assert verifier.verify_message(response, b"signature")
    assert response.tst_info.gen_time == moment.replace(microsecond=0)


def test_timestamp_authority_refuses_when_the_request_is_not_over_sha256(
    services: Services,
) -> None:
    sha512 = TimestampRequestBuilder().data(b"x").hash_algorithm(HashAlgorithm.SHA512).build()
    good = TimestampRequestBuilder().data(b"x").hash_algorithm(HashAlgorithm.SHA256).build()
    hostile = [b"", b"0", b"\x30\x80", sha512.as_bytes(), good.as_bytes() + b"\x00", os.urandom(99)]
    replies = [services.answer(server.TIMESTAMPS_PATH, "", body) for body in hostile]
    assert [reply.status for reply in replies] == [400] * len(hostile)


# ── the log on disk ───────────────────────────────────────────────────────────────────────────────


def signed_request(forge: Forge, digest: Digest = DIGEST) -> EntryRequest:
    document = forge.bundle(digest)
    raw = base64.b64decode(document["verificationMaterial"]["certificate"]["rawBytes"])
    signature = base64.b64decode(document["messageSignature"]["signature"])
    return EntryRequest(digest.raw, signature, x509.load_der_x509_certificate(raw))


def entry_request(forge: Forge) -> dict[str, Any]:
    request = signed_request(forge)
    certificate = request.certificate.public_bytes(serialization.Encoding.DER)
    verifier = {
        "x509Certificate": {"rawBytes": encoded(certificate)},
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    }
    signature = {"content": encoded(request.signature), "verifier": verifier}
    return {"hashedRekordRequestV002": {"digest": encoded(request.digest), "signature": signature}}


def test_log_grows_by_one_entry_a_request(forge: Forge) -> None:
    request = signed_request(forge)
    indices = [forge.log.append(request)["logIndex"] for _ in range(3)]
    assert indices == ["1", "2", "3"]


def test_log_drops_an_entry_that_a_crash_cut_short(forge: Forge) -> None:
    request = signed_request(forge)
    entries = forge.log.directory / "entries.jsonl"
    before = entries.read_bytes()
    entries.write_bytes(before + b'{"apiVersion":"0.0.2","ki')
    assert forge.log.append(request)["logIndex"] == "1"
    assert entries.read_bytes().startswith(before + b'{"apiVersion":"0.0.2","kind"')


def test_log_keeps_an_entry_that_a_crash_left_without_checkpoint(forge: Forge) -> None:
    request = signed_request(forge)
    checkpoint = forge.log.directory / "checkpoint"
    before = checkpoint.read_bytes()
    forge.log.append(request)
    checkpoint.write_bytes(before)
    assert forge.log.append(request)["logIndex"] == "2"


def _cut(folder: Path) -> None:
    entries = folder / "entries.jsonl"
    entries.write_bytes(b"".join(entries.read_bytes().splitlines(keepends=True)[:-1]))


def _cut_in_the_middle(folder: Path) -> None:
    entries = folder / "entries.jsonl"
    entries.write_bytes(entries.read_bytes()[:-10])


def _change(folder: Path) -> None:
    entries = folder / "entries.jsonl"
    entries.write_bytes(entries.read_bytes().replace(b"0.0.2", b"0.0.3", 1))


def _empty(folder: Path) -> None:
    (folder / "entries.jsonl").write_bytes(b"")


def _forge_checkpoint(folder: Path) -> None:
    checkpoint = folder / "checkpoint"
    checkpoint.write_text(checkpoint.read_text().replace("\n2\n", "\n1\n"))


def _garbage_checkpoint(folder: Path) -> None:
    (folder / "checkpoint").write_text("hello")


@pytest.mark.parametrize(
    "damage", [_cut, _cut_in_the_middle, _change, _empty, _forge_checkpoint, _garbage_checkpoint]
)
def test_log_refuses_to_go_on_when_its_signed_history_changed(
    damage: Callable[[Path], None], forge: Forge
) -> None:
    request = signed_request(forge)
    forge.log.append(request)
    damage(forge.log.directory)
    before = snapshot(forge.log.directory)
    with pytest.raises(LogDamaged):
        forge.log.append(request)
    assert snapshot(forge.log.directory) == before


def test_log_takes_entries_from_many_threads(forge: Forge) -> None:
    request = signed_request(forge)
    found: list[int] = []

    def append() -> None:
        found.extend(int(forge.log.append(request)["logIndex"]) for _ in range(5))

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(found) == list(range(1, 21))


def test_log_that_stays_locked_is_an_error_after_a_while(
    services: Services, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps(entry_request(forge)).encode()
    monkeypatch.setattr(transparency, "LOCK_WAIT_S", 0.05)
    with locking.FileLock(forge.log.directory / "lock", what="the test holds it"):
        reply = services.answer(server.LOG_PATH, "", body)
    assert reply.status == 503
    assert str(os.getpid()) in message(reply)


def test_full_log_refuses(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    request = signed_request(forge)
    monkeypatch.setattr(transparency, "MAX_ENTRIES", 1)
    with pytest.raises(EntryInvalid, match="full"):
        forge.log.append(request)


def test_full_disk_refuses(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    request = signed_request(forge)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        forge.log.append(request)


def _flip(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[-1] ^= 1
    return encoded(bytes(raw))


Entry = dict[str, Any]
HOSTILE_ENTRIES: dict[str, Callable[[Entry], object]] = {
    "another digest": lambda e: e.update(digest=encoded(bytes(32))),
    "a short digest": lambda e: e.update(digest=encoded(bytes(31))),
    "another signature": lambda e: e["signature"].update(content=_flip(e["signature"]["content"])),
    "no signature": lambda e: e.pop("signature"),
    "a number as digest": lambda e: e.update(digest=7),
    "digest that is not base64": lambda e: e.update(digest="*" * 44),
    "no certificate": lambda e: e["signature"]["verifier"].pop("x509Certificate"),
    "garbage as certificate": lambda e: e["signature"]["verifier"].update(
        x509Certificate={"rawBytes": "AAAA"}
    ),
}


@pytest.mark.parametrize("case", HOSTILE_ENTRIES)
def test_log_refuses_what_does_not_verify(case: str, services: Services, forge: Forge) -> None:
    document = entry_request(forge)
    HOSTILE_ENTRIES[case](document["hashedRekordRequestV002"])
    before = snapshot(forge.log.directory)
    reply = services.answer(server.LOG_PATH, "", json.dumps(document).encode())
    assert reply.status == 400
    assert snapshot(forge.log.directory) == before


def test_log_refuses_a_certificate_of_another_domain(services: Services, tmp_path: Path) -> None:
    foreign = Forge.of(new_domain(tmp_path / "foreign"))
    reply = services.answer(server.LOG_PATH, "", json.dumps(entry_request(foreign)).encode())
    assert "not of this trust domain" in message(reply)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"[" * 60_000, b"\xff", b"null"])
def test_log_refuses_what_is_no_entry(body: bytes, services: Services) -> None:
    assert services.answer(server.LOG_PATH, "", body).status == 400


# ── HTTP ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(name="port")
def _port(services: Services) -> Iterator[int]:
    with server.serving(services) as url:
        yield int(url.rpartition(":")[2])


def post(port: int, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, {**headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_server_answers_unknown_paths_and_methods_with_an_error(port: int) -> None:
    assert post(port, "/api/v2/token", b"{}")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", server.LOG_PATH)
    assert connection.getresponse().status == 501
    connection.close()


@pytest.mark.parametrize("length", ["65537", "-1", "1e3", "", "9" * 5000, "\u0663"])
def test_server_refuses_a_body_whose_length_is_not_sensible(length: str, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"POST {server.LOG_PATH} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(100)


def test_server_hides_no_bug_behind_silence(
    services: Services, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(type(services), "_record", fail)
    status, body = post(port, server.LOG_PATH, b"{}")
    assert (status, json.loads(body)["message"]) == (500, "ZeroDivisionError: a bug")


def test_server_ends_at_once_and_wholly_while_clients_dawdle(services: Services) -> None:
    threads = threading.active_count()
    with server.serving(services) as url:
        port = int(url.rpartition(":")[2])
        silent, slow = (socket.create_connection(("127.0.0.1", port), 10) for _ in range(2))
        slow.sendall(b"POST / HTTP/1.0\r\nContent-Le")
        while threading.active_count() < threads + 3:
            threading.Event().wait(0.01)
        started = time.monotonic()
    assert time.monotonic() - started < server.READ_TIMEOUT_S / 2
    assert threading.active_count() == threads
    silent.close()
    slow.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 10)


def test_server_is_gone_after_an_interruption(services: Services) -> None:
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt), server.serving(services):
        raise KeyboardInterrupt
    assert threading.active_count() == threads


def test_environment_is_as_before_after_direct_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "example.com")
    monkeypatch.delenv("NETRC", raising=False)
    before = dict(os.environ)
    seen = []

    def interrupted() -> None:
        with server.direct_connections():
            seen.append(os.environ["no_proxy"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == ["127.0.0.1"]
    assert dict(os.environ) == before
