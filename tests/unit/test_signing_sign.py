from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock, signing
from aperio_cli.errors.files import DiskFull, NetworkUnavailable
from aperio_cli.errors.trust import (
    ArtifactChanged,
    ClockSuspect,
    SigningFailed,
    TrustDomainBroken,
)
from aperio_cli.files import writing
from aperio_cli.models.digest import Digest
from aperio_cli.proving.signature import verify_signature
from aperio_cli.signing import bundle_path, sign
from aperio_cli.signing.local import server, tokens
from tests.simulators.ci.artifacts import artifact_at
from tests.trust import IDENTITY, Forge, new_domain, root_of, snapshot

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

    from aperio_cli.models.artifact import SignedArtifact
    from aperio_cli.signing.local import LocalDomain
    from aperio_cli.signing.local.server import Reply, Services

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60
SIGNATURES = 3  # of the artifact, its provenance, its bill of materials

# Signs FILES with the domain in DIRECTORY: what another process of the same user does.
SCRIPT = """
import sys
from pathlib import Path
from aperio_cli.signing import sign
from aperio_cli.signing.local import open_domain
from tests.simulators.ci.artifacts import artifact_at
domain = open_domain(Path(sys.argv[1]))
for name in sys.argv[2:]:
    (signed,) = sign([artifact_at(Path(name), name.encode())], domain=domain)
    print(signed.signer.identity)
"""


@pytest.fixture(name="domain")
def _domain(tmp_path: Path) -> LocalDomain:
    return new_domain(tmp_path)


@pytest.fixture(name="dist")
def _dist(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    folder.mkdir()
    return folder


def entries_of(domain: LocalDomain) -> int:
    return len((domain.directory / "log" / "entries.jsonl").read_bytes().splitlines())


def process(domain: LocalDomain, *names: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(domain.directory), *map(str, names)],
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# ── signing ───────────────────────────────────────────────────────────────────────────────────────


def test_signed_artifact_verifies_against_the_domain(domain: LocalDomain, dist: Path) -> None:
    artifact = artifact_at(dist / "box_1.2.3_linux_amd64.tar.gz")
    (signed,) = sign([artifact], domain=domain)
    assert signed.bundle_path == dist / "box_1.2.3_linux_amd64.tar.gz.sigstore.json"
    signer = verify_signature(
        artifact.digest, signed.bundle_path.read_bytes(), [root_of(domain)]
    ).signer
    assert signer == signed.signer
    assert (signer.domain, signer.identity, signer.issuer) == ("local", IDENTITY, domain.issuer)


def test_many_artifacts_share_one_certificate_and_report_in_order(
    domain: LocalDomain, dist: Path
) -> None:
    artifacts = [artifact_at(dist / f"{i}.tar.gz", b"%d" % i) for i in range(5)]
    reported: list[SignedArtifact] = []
    signed = sign(artifacts, domain=domain, on_signed=reported.append)
    assert [one.artifact for one in signed] == artifacts
    assert reported == signed
    assert len({one.signer.certificate_digest for one in signed}) == 1
    assert entries_of(domain) == 5 * SIGNATURES


def test_nothing_to_sign_starts_nothing(
    domain: LocalDomain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "serving", lambda _: pytest.fail("the services started"))
    assert sign([], domain=domain) == []


def test_signing_again_replaces_the_bundle_and_both_verify(domain: LocalDomain, dist: Path) -> None:
    artifact = artifact_at(dist / "a.tar.gz")
    bundles = []
    for _ in range(2):
        (signed,) = sign([artifact], domain=domain)
        bundles.append(signed.bundle_path.read_bytes())
    assert bundles[0] != bundles[1]
    for bundle in bundles:
        assert (
            verify_signature(artifact.digest, bundle, [root_of(domain)]).signer.identity == IDENTITY
        )


def test_signing_leaves_no_thread_and_no_changed_environment(
    domain: LocalDomain, dist: Path
) -> None:
    threads, environment = threading.active_count(), dict(os.environ)
    sign([artifact_at(dist / "a.tar.gz")], domain=domain)
    assert (threading.active_count(), dict(os.environ)) == (threads, environment)


def test_bundle_holds_no_token(
    domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minted: list[str] = []
    mint = tokens.mint

    def noting(key: ec.EllipticCurvePrivateKey, identity: str) -> str:
        minted.append(mint(key, identity))
        return minted[-1]

    monkeypatch.setattr(tokens, "mint", noting)
    (signed,) = sign([artifact_at(dist / "a.tar.gz")], domain=domain)
    kept = signed.bundle_path.read_text() + str(snapshot(domain.directory))
    assert len(minted) == 1
    assert minted[0] not in kept


def test_link_in_the_bundles_place_is_replaced_not_followed(
    domain: LocalDomain, dist: Path
) -> None:
    artifact = artifact_at(dist / "a.tar.gz")
    elsewhere = dist / "precious"
    elsewhere.write_text("mine")
    bundle_path(artifact.path).symlink_to(elsewhere)
    sign([artifact], domain=domain)
    assert elsewhere.read_text() == "mine"
    assert not bundle_path(artifact.path).is_symlink()


# ── refusing ──────────────────────────────────────────────────────────────────────────────────────


def test_changed_artifact_refuses_and_signs_none(domain: LocalDomain, dist: Path) -> None:
    good, changed = artifact_at(dist / "a.tar.gz"), artifact_at(dist / "b.tar.gz")
    changed.path.write_bytes(b"something else")
    before = snapshot(dist.parent)
    with pytest.raises(ArtifactChanged) as caught:
        sign([good, changed], domain=domain)
    assert snapshot(dist.parent) == before
    assert str(changed.digest) in caught.value.why
    assert str(Digest.of(b"something else")) in caught.value.why


FAULTS = {
    "certificate": server.CERTIFICATES_PATH,
    "log": server.LOG_PATH,
    "timestamp": server.TIMESTAMPS_PATH,
}


@pytest.mark.parametrize("path", FAULTS.values(), ids=FAULTS)
def test_service_that_refuses_is_quoted_and_no_bundle_appears(
    path: str, domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server.Services.answer

    def refusing(self: Services, asked: str, authorization: str, body: bytes) -> Reply:
        if asked == path:
            document = json.dumps({"code": 503, "message": "the moon is in the way\x1b[2J"})
            return server.Reply(
                HTTPStatus.SERVICE_UNAVAILABLE, "application/json", document.encode()
            )
        return answer(self, asked, authorization, body)

    monkeypatch.setattr(server.Services, "answer", refusing)
    artifact = artifact_at(dist / "a.tar.gz")
    with pytest.raises(SigningFailed) as caught:
        sign([artifact], domain=domain)
    expected = "503" if path == server.TIMESTAMPS_PATH else "the moon is in the way"
    assert expected in caught.value.why
    assert "\x1b" not in caught.value.why
    assert list(dist.iterdir()) == [artifact.path]


def test_token_that_a_service_sends_back_is_not_shown(
    domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def talkative(_: Services, _path: str, authorization: str, _body: bytes) -> Reply:
        sent.append(authorization.removeprefix("Bearer "))
        document = json.dumps({"code": 7, "message": f"nobody knows {sent[0]} here"})
        return server.Reply(HTTPStatus.FORBIDDEN, "application/json", document.encode())

    monkeypatch.setattr(server.Services, "answer", talkative)
    with pytest.raises(SigningFailed) as caught:
        sign([artifact_at(dist / "a.tar.gz")], domain=domain)
    assert caught.value.why.startswith("nobody knows *** here")
    assert sent[0][:20] not in str(caught.value.to_json())


REPLIES = {
    "empty": b"",
    "a list": b"[]",
    "no certificate": b"{}",
    "garbage": b"\xff\x00",
    "deep": b"[" * 60_000,
}


@pytest.mark.parametrize("body", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("path", FAULTS.values(), ids=FAULTS)
def test_service_that_answers_nonsense_is_an_error_and_no_bundle_appears(
    path: str, body: bytes, domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server.Services.answer

    def nonsense(self: Services, asked: str, authorization: str, sent: bytes) -> Reply:
        if asked == path:
            return server.Reply(HTTPStatus.OK, "application/json", body)
        return answer(self, asked, authorization, sent)

    monkeypatch.setattr(server.Services, "answer", nonsense)
    artifact = artifact_at(dist / "a.tar.gz")
    with pytest.raises(SigningFailed):
        sign([artifact], domain=domain)
    assert list(dist.iterdir()) == [artifact.path]


def test_server_that_cuts_the_connection_is_an_error(
    domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise ConnectionAbortedError

    monkeypatch.setattr(server._Handler, "_send", cut)
    with pytest.raises(NetworkUnavailable) as caught:
        sign([artifact_at(dist / "a.tar.gz")], domain=domain)
    assert "ConnectionError" in caught.value.why


def test_changed_log_is_an_error_that_says_so(domain: LocalDomain, dist: Path) -> None:
    artifact = artifact_at(dist / "a.tar.gz")
    sign([artifact], domain=domain)
    (domain.directory / "log" / "entries.jsonl").write_bytes(b"")
    before = snapshot(dist)
    with pytest.raises(SigningFailed) as caught:
        sign([artifact], domain=domain)
    assert "entries of the log that were already signed have changed" in caught.value.why
    assert snapshot(dist) == before


@pytest.mark.parametrize(
    "call",
    [
        "sigstore.models.ClientTrustConfig.from_json",
        "sigstore.sign.SigningContext.from_trust_config",
        "sigstore.sign.Signer.sign_artifact",
        "sigstore.sign.Signer.sign_dsse",
        "sigstore.dsse.Statement.__init__",
        "sigstore.models.Bundle.to_json",
    ],
)
def test_any_fault_of_a_foreign_call_is_an_error_and_no_bundle_appears(
    call: str, domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = threading.active_count()

    def fail(*_: object, **__: object) -> None:
        raise KeyError("inside")

    artifact = artifact_at(dist / "a.tar.gz")
    monkeypatch.setattr(call, fail)
    with pytest.raises(SigningFailed) as caught:
        sign([artifact], domain=domain)
    assert caught.value.why.splitlines()[0] == "KeyError: 'inside'"
    assert list(dist.iterdir()) == [artifact.path]
    assert threading.active_count() == threads


def test_interruption_leaves_no_bundle_and_no_thread(
    domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = threading.active_count()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    artifact = artifact_at(dist / "a.tar.gz")
    monkeypatch.setattr("sigstore.sign.Signer.sign_artifact", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sign([artifact], domain=domain)
    assert list(dist.iterdir()) == [artifact.path]
    assert threading.active_count() == threads


def test_own_bundle_that_does_not_verify_is_not_written(
    domain: LocalDomain, dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = Forge.of(new_domain(tmp_path / "foreign"))
    artifacts = [artifact_at(dist / name) for name in ("a.tar.gz", "b.tar.gz")]
    bundles = [Forge.of(domain).bundle_json(artifacts[0].digest)]
    bundles.append(foreign.bundle_json(artifacts[1].digest))
    made = iter(bundles)
    monkeypatch.setattr(signing.client.SigningSession, "sign_digest", lambda *_: next(made))
    with pytest.raises(SigningFailed) as caught:
        sign(artifacts, domain=domain)
    assert caught.value.why.startswith("trust-domain-unknown: ")
    assert sorted(dist.iterdir()) == [artifact.path for artifact in artifacts]


def test_own_bundle_for_somebody_else_is_not_written(
    domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_at(dist / "a.tar.gz")
    forge = Forge.of(domain)
    other = forge.but(identity=replace(forge.identity, subject="bob@local"))
    bundle = other.bundle_json(artifact.digest)
    monkeypatch.setattr(signing.client.SigningSession, "sign_digest", lambda *_: bundle)
    with pytest.raises(SigningFailed, match="does not verify"):
        sign([artifact], domain=domain)
    assert list(dist.iterdir()) == [artifact.path]


def test_full_disk_leaves_the_old_bundle(
    domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_at(dist / "a.tar.gz")
    sign([artifact], domain=domain)
    before = snapshot(dist)
    write = writing.AsideFile.commit

    def full(self: writing.AsideFile) -> None:
        if self._path.parent == dist:
            raise OSError(28, "No space left on device")
        write(self)

    monkeypatch.setattr(writing.AsideFile, "commit", full)
    with pytest.raises(DiskFull):
        sign([artifact], domain=domain)
    assert snapshot(dist) == before


@pytest.mark.parametrize("days", [3650, 1, 0])
def test_domain_that_was_made_by_a_clock_ahead_names_the_clock(
    tmp_path: Path, dist: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    made = clock.now() + timedelta(days=days)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: made)
        domain = new_domain(tmp_path / "ahead")
    artifact = artifact_at(dist / "a.tar.gz", b"a")
    if not days:
        assert sign([artifact], domain=domain)
        return
    with pytest.raises(ClockSuspect) as caught:
        sign([artifact], domain=domain)
    assert caught.value.what.startswith("nothing was signed: the trust domain `local` begins at")
    assert clock.format_timestamp(made - timedelta(hours=1)) in caught.value.why
    assert "set this machine's clock" in caught.value.next[0]
    assert not bundle_path(artifact.path).exists()


def test_log_that_may_not_be_written_is_named_and_no_service_blamed(
    domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: str, flags: int, *rest: int, **options: int) -> int:
        if flags & os.O_CREAT and "aside" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *rest, **options)

    artifact = artifact_at(dist / "a.tar.gz", b"a")
    with monkeypatch.context() as patch:
        patch.setattr("os.open", refuse)
        with pytest.raises(PermissionError) as caught:
            sign([artifact], domain=domain)
    assert str(caught.value.filename).startswith(f"{domain.directory}/log/")
    assert not bundle_path(artifact.path).exists()
    assert sign([artifact], domain=domain)


def test_broken_domain_keeps_its_own_error(domain: LocalDomain, dist: Path) -> None:
    (domain.directory / "keys" / "tokens.pem").unlink()
    with pytest.raises(TrustDomainBroken):
        sign([artifact_at(dist / "a.tar.gz")], domain=domain)


def test_error_of_a_domain_without_services_is_mapped(
    domain: LocalDomain, dist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_port(_: Services) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(server, "serving", no_port)
    with pytest.raises(SigningFailed, match="nothing was signed") as caught:
        sign([artifact_at(dist / "a.tar.gz")], domain=domain)
    assert "Too many open files" in caught.value.why


# ── other processes, other environments ───────────────────────────────────────────────────────────


def test_two_processes_without_home_or_proxy_sign_at_once_and_everything_verifies(
    domain: LocalDomain, dist: Path
) -> None:
    dead = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), dead)
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null"}
    names = [[dist / f"{who}{i}.tar.gz" for i in range(4)] for who in "ab"]
    running = [process(domain, *some, **nowhere, **proxies) for some in names]
    for child in running:
        out, err = child.communicate(timeout=TIMEOUT_S)
        assert (child.returncode, out, err) == (0, f"{IDENTITY}\n" * 4, "")
    assert entries_of(domain) == 8 * SIGNATURES
    for name in [*names[0], *names[1]]:
        bundle = bundle_path(name).read_bytes()
        digest = Digest.of(name.read_bytes())
        assert verify_signature(digest, bundle, [root_of(domain)]).signer.identity == IDENTITY


def test_signing_writes_only_bundle_and_log(
    domain: LocalDomain, dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "user-home"
    monkeypatch.setenv("HOME", str(home))
    artifact = artifact_at(dist / "a.tar.gz")
    before = snapshot(tmp_path)
    sign([artifact], domain=domain)
    changed = {name for name, now in snapshot(tmp_path).items() if before.get(name) != now}
    assert changed == {
        "dist/a.tar.gz.intoto.jsonl",
        "dist/a.tar.gz.sigstore.json",
        "trust/local/log/checkpoint",
        "trust/local/log/entries.jsonl",
        "trust/local/log/lock",
    }


def test_stored_password_does_not_replace_the_token(
    domain: LocalDomain, dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "another-home"
    home.mkdir()
    (home / ".netrc").write_text("default login mallory password secret\n")
    (home / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    (signed,) = sign([artifact_at(dist / "a.tar.gz")], domain=domain)
    assert signed.signer.identity == IDENTITY
