from __future__ import annotations

import json
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aperio_cli.errors.trust import (
    IdentityInvalid,
    TrustDomainBroken,
    TrustDomainExists,
    TrustDomainMissing,
)
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.signing.local import create_domain, keyring, open_domain
from aperio_cli.signing.local.authority import LeafIdentity
from tests.rows import each_row
from tests.trust import IDENTITY, Forge, new_domain, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = ["certificate_log", "certificates", "log", "timestamps", "tokens"]


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    return tmp_path / "trust" / "local"


# ── making one ────────────────────────────────────────────────────────────────────────────────────


def test_new_domain_opens_with_its_identity_and_issuer(place: Path) -> None:
    create_domain(place, IDENTITY)
    domain = open_domain(place)
    assert (domain.name, domain.identity, domain.issuer) == ("local", IDENTITY, LOCAL_ISSUER)


def test_new_domain_is_private_and_keeps_no_root_key(place: Path) -> None:
    create_domain(place, IDENTITY)
    assert sorted(path.stem for path in (place / "keys").iterdir()) == KEYS
    for path in (place / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (place, place / "keys", place / "log"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_new_domain_is_private_whatever_the_umask(place: Path) -> None:
    before = os.umask(0)
    try:
        create_domain(place, IDENTITY)
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "keys" / "log.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_trusted_root_holds_no_private_key(place: Path) -> None:
    domain = create_domain(place, IDENTITY)
    assert "PRIVATE" not in domain.trusted_root_json()
    root = json.loads(domain.trusted_root_json())
    assert [len(root[kind]) for kind in ("tlogs", "ctlogs", "certificateAuthorities")] == [1, 1, 1]


def test_issuer_and_origin_are_names_without_ports(place: Path) -> None:
    domain = create_domain(place, IDENTITY)
    assert "127.0.0.1" not in domain.trusted_root_json()
    assert domain.issuer.endswith(".invalid")


def test_second_domain_refuses_and_changes_nothing(place: Path) -> None:
    create_domain(place, IDENTITY)
    before = snapshot(place.parent)
    with pytest.raises(TrustDomainExists) as caught:
        create_domain(place, "bob@local")
    assert snapshot(place.parent) == before
    assert (caught.value.code, caught.value.exit_status) == ("trust-domain-exists", 1)


def test_file_or_link_in_the_place_refuses_and_stays(place: Path) -> None:
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    with pytest.raises(TrustDomainExists):
        create_domain(place, IDENTITY)
    assert place.read_text() == "mine"
    place.unlink()
    place.symlink_to("nowhere")
    with pytest.raises(TrustDomainExists):
        create_domain(place, IDENTITY)
    assert place.is_symlink()


def test_empty_folder_in_the_place_is_used(place: Path) -> None:
    place.mkdir(parents=True)
    create_domain(place, IDENTITY)
    assert open_domain(place).identity == IDENTITY


@each_row("fault", [OSError(5, "input/output"), KeyboardInterrupt(), MemoryError()])
def test_interrupted_creation_leaves_nothing(
    fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "trust" / "local"
    make = keyring.make

    def fail(directory: Path) -> None:
        make(directory)
        raise fault

    monkeypatch.setattr(keyring, "make", fail)
    with pytest.raises(type(fault)):
        create_domain(place, IDENTITY)
    assert list(place.parent.iterdir()) == []


def test_two_creations_at_once_make_one_domain(place: Path) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def create() -> None:
        start.wait(timeout=10)
        try:
            create_domain(place, IDENTITY)
            outcomes.append("made")
        except TrustDomainExists:
            outcomes.append("exists")

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(outcomes) == ["exists", "exists", "exists", "made"]
    assert [path.name for path in place.parent.iterdir()] == ["local"]


@each_row(
    "identity",
    ["", "alice", "@local", "alice@example.com", "al ice@local", "alice@local\n", "älice@local",
     "a" * 80 + "@local", "alice@local,bob@local", "<alice@local>", ".alice@local"],
)  # fmt: skip
def test_identity_refuses_when_it_is_not_a_login_at_local(identity: str, tmp_path: Path) -> None:
    place = tmp_path / "trust" / "local"
    with pytest.raises(IdentityInvalid):
        create_domain(place, identity)
    assert not place.parent.exists()


@each_row("login", ["a", "root", "alice.b-c_d+e", "A1", "svc_"])
def test_identity_may_be_any_usual_login(login: str, tmp_path: Path) -> None:
    place = tmp_path / "trust" / "local"
    domain = create_domain(place, f"{login}@local")
    leaf = Forge.of(domain).but(identity=LeafIdentity(domain.identity, LOCAL_ISSUER)).certificate()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == [f"{login}@local"]


# ── opening one ───────────────────────────────────────────────────────────────────────────────────


def test_missing_domain_refuses_with_the_command_that_makes_one(place: Path) -> None:
    with pytest.raises(TrustDomainMissing) as caught:
        open_domain(place)
    assert caught.value.next == ("`aperio trust local init`",)
    assert caught.value.exit_status == 1


DOCUMENTS: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "a list": b"[]",
    "binary": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "long": b" " * (256 * 1024 + 1),
}


@each_row("contents", DOCUMENTS.values(), ids=list(DOCUMENTS))
@each_row("name", ["domain.json", "trusted_root.json"])
def test_domain_refuses_when_a_document_cannot_be_read(
    name: str, contents: bytes | None, tmp_path: Path
) -> None:
    place = tmp_path / "trust" / "local"
    create_domain(place, IDENTITY)
    (place / name).unlink()
    if contents is not None:
        (place / name).write_bytes(contents)
    with pytest.raises(TrustDomainBroken) as caught:
        open_domain(place)
    assert name in caught.value.why


@each_row(
    "described",
    [{}, {"schema": 0, "identity": IDENTITY}, {"schema": 1}, {"schema": 1, "identity": 7},
     {"schema": 1, "identity": "ceo@example.com"}],
)  # fmt: skip
def test_domain_refuses_when_its_description_is_unknown(
    described: dict[str, object], tmp_path: Path
) -> None:
    place = tmp_path / "trust" / "local"
    create_domain(place, IDENTITY)
    (place / "domain.json").write_text(json.dumps(described))
    with pytest.raises(TrustDomainBroken):
        open_domain(place)


def _foreign_key(path: Path) -> None:
    other = new_domain(path.parent / "other")
    path.write_bytes((other.directory / "keys" / path.name).read_bytes())


def _other_type(path: Path) -> None:
    keys = path.parent
    other = "certificates.pem" if path.name == "log.pem" else "log.pem"
    path.write_bytes((keys / other).read_bytes())


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n"),
    "long": lambda path: path.write_bytes(b"-" * 9000),
    "readable by the group": lambda path: path.chmod(0o640),
    "writable by others": lambda path: path.chmod(0o602),
    "of another type": _other_type,
}


@each_row("damage", DAMAGES)
@each_row("name", KEYS)
def test_domain_refuses_to_sign_when_a_key_is_damaged(
    name: str, damage: str, tmp_path: Path
) -> None:
    place = tmp_path / "trust" / "local"
    domain = create_domain(place, IDENTITY)
    DAMAGES[damage](place / "keys" / f"{name}.pem")
    with pytest.raises(TrustDomainBroken) as caught, domain.serving():
        pytest.fail("the services started")
    assert name in caught.value.why


@each_row("name", ["certificate_log", "certificates", "log", "timestamps"])
def test_domain_refuses_to_sign_when_a_key_is_of_another_domain(name: str, tmp_path: Path) -> None:
    place = tmp_path / "trust" / "local"
    domain = create_domain(place, IDENTITY)
    _foreign_key(place / "keys" / f"{name}.pem")
    with pytest.raises(TrustDomainBroken) as caught, domain.serving():
        pytest.fail("the services started")
    assert "trusted_root.json" in caught.value.why


def test_encrypted_key_refuses(place: Path) -> None:
    domain = create_domain(place, IDENTITY)
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (place / "keys" / "tokens.pem").write_bytes(pem)
    with pytest.raises(TrustDomainBroken):
        domain.identity_token()


def test_no_error_shows_a_key(place: Path) -> None:
    domain = create_domain(place, IDENTITY)
    path = place / "keys" / "log.pem"
    secret = path.read_text().splitlines()[1]
    path.write_text(path.read_text().replace("-----END", "-----ENDE"))
    with pytest.raises(TrustDomainBroken) as caught:
        domain.services()
    assert secret not in str(caught.value.to_json())
