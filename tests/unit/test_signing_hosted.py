from __future__ import annotations

import gc
import json
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors import UNAVAILABLE, AperioError
from aperio_cli.errors.files import InsecureUrl, NetworkUnavailable
from aperio_cli.errors.trust import (
    CredentialMissing,
    SigningFailed,
    SigningTimeout,
    TrustRootInvalid,
)
from aperio_cli.errors.usage import ConsentMissing
from aperio_cli.signing import ambient, client, login, sign
from aperio_cli.signing.hosted import HostedDomain, Identification, open_hosted
from aperio_cli.signing.local import server
from aperio_cli.signing.local.authority import LeafIdentity
from aperio_cli.signing.local.server import Reply
from tests.rows import each_row
from tests.simulators.ci import claims, github, issuers, provider, web
from tests.simulators.ci.artifacts import NAME, artifact_at
from tests.simulators.ci.google_machine import certificate
from tests.simulators.ci.instance import Instance, instance
from tests.trust import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.models.artifact import Artifact

SERVICES = {
    "certificates": server.CERTIFICATES_PATH,
    "log": server.LOG_PATH,
    "timestamps": server.TIMESTAMPS_PATH,
}
LEFT_BEHIND = "a signature may have been logged"


@pytest.fixture(name="private")
def _private(tmp_path: Path) -> Iterator[Instance]:
    with instance(tmp_path / "instance") as answering:
        yield answering


@pytest.fixture(name="artifact")
def _artifact(tmp_path: Path) -> Artifact:
    (tmp_path / "dist").mkdir()
    return artifact_at(tmp_path / "dist" / NAME)


def opened(private: Instance, **asked: Any) -> HostedDomain:
    return open_hosted("private", private.file.read_text(), Identification(**asked))


def given(private: Instance) -> HostedDomain:
    return opened(private, token=private.mint(claims.github()))


def refused(private: Instance, artifact: Artifact) -> AperioError:
    """The error of a signature that leaves nothing beside the artifact."""
    domain = given(private)
    before = snapshot(artifact.path.parent)
    with pytest.raises(AperioError) as caught:
        sign([artifact], domain=domain)
    assert snapshot(artifact.path.parent) == before
    assert domain.identification.token not in str(caught.value.to_json())
    return caught.value


# ── what can be opened ────────────────────────────────────────────────────────────────────────────

Change = Callable[[dict[str, Any]], object]
UNUSABLE: dict[str, Change] = {
    "no signing configuration": lambda d: d.pop("signingConfig"),
    "no trusted root": lambda d: d.pop("trustedRoot"),
    "no authority": lambda d: d["signingConfig"].pop("caUrls"),
    "no log": lambda d: d["signingConfig"].pop("rekorTlogUrls"),
    "unknown version": lambda d: d["signingConfig"]["caUrls"][0].update(majorApiVersion=9),
    "another document": lambda d: d.update(mediaType="application/json"),
    "something unknown in it": lambda d: d.update(surprise=1),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_configuration_that_cannot_sign_is_refused(case: str, private: Instance) -> None:
    document = json.loads(private.file.read_text())
    UNUSABLE[case](document)
    with pytest.raises(TrustRootInvalid) as caught:
        open_hosted("private", json.dumps(document), Identification())
    assert "ClientTrustConfig" in caught.value.why


@each_row("text", ["", "{", "[]", "null", "[" * 50_000, "\ufffd"])
def test_text_that_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(TrustRootInvalid):
        open_hosted("private", text, Identification())


@pytest.mark.parametrize("kind", ["caUrls", "oidcUrls"])
@pytest.mark.parametrize("url", ["http://ca.acme.example", "ftp://127.0.0.1", "//ca.acme.example"])
def test_token_goes_over_no_plain_connection(kind: str, url: str, private: Instance) -> None:
    private.provide_login("https://login.acme.example")
    document = json.loads(private.file.read_text())
    document["signingConfig"][kind][0]["url"] = url
    with pytest.raises(InsecureUrl) as caught:
        open_hosted("private", json.dumps(document), Identification())
    assert url in caught.value.why


def test_timestamps_may_come_over_a_plain_connection(private: Instance) -> None:
    document = json.loads(private.file.read_text())
    document["signingConfig"]["tsaUrls"][0]["url"] = "http://timestamps.acme.example"
    assert open_hosted("private", json.dumps(document), Identification()).name == "private"


# ── who is asked who signs ────────────────────────────────────────────────────────────────────────


def test_given_token_is_all_that_is_needed(private: Instance) -> None:
    assert given(private).credential().issuers == (claims.GITHUB_ISSUER,)


def test_service_is_asked_when_no_token_is_given(
    private: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with github.endpoint(private) as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        domain = opened(private, environment=endpoint.environment, has_terminal=True)
        assert domain.credential().issuers == (claims.GITHUB_ISSUER,)


def test_service_is_not_asked_when_somebody_wants_to_type_a_code(
    private: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def log_in(_: str, *, out_of_band: bool) -> str:
        asked.append(out_of_band)
        return private.mint(claims.dex())

    monkeypatch.setattr(login, "log_in", log_in)
    private.provide_login("https://login.acme.example")
    environment = github.WITHOUT_PERMISSION
    domain = opened(private, out_of_band=True, has_terminal=True, environment=environment)
    assert domain.credential().email == "alice@acme.example"
    assert asked == [True]


def test_nobody_logs_in_without_consent(private: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny() -> None:
        raise ConsentMissing("no")

    monkeypatch.setattr(login, "log_in", lambda *_, **__: pytest.fail("somebody logged in"))
    private.provide_login("https://login.acme.example")
    with pytest.raises(ConsentMissing):
        opened(private, has_terminal=True, consent=deny).credential()


def test_instance_without_a_provider_says_so(private: Instance) -> None:
    with pytest.raises(SigningFailed, match="no place to log in"):
        opened(private, has_terminal=True).credential()


def test_no_interactive_login_in_ci_even_with_a_terminal(private: Instance) -> None:
    private.provide_login("https://login.acme.example")
    with pytest.raises(CredentialMissing):
        opened(private, has_terminal=True, environment={"CI": "true"}).credential()


@each_row("value", ["", "0", "false", "False"])
def test_environment_that_denies_ci_is_none(value: str) -> None:
    assert ambient.current_service({"CI": value, "GITHUB_ACTIONS": value}) is None


def test_identification_shows_no_secret(private: Instance) -> None:
    domain = opened(private, token="secret-token", environment={"KEY": "secret-value"})
    assert "secret" not in repr(domain)


# ── services that fail ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("service", SERVICES)
def test_service_that_refuses_is_quoted(
    service: str, private: Instance, artifact: Artifact
) -> None:
    body = json.dumps({"code": 7, "message": "come back\x1b[2J in May"}).encode()
    denial = Reply(HTTPStatus.FORBIDDEN, "application/json", body)
    private.services.faults[SERVICES[service]] = lambda _: denial
    error = refused(private, artifact)
    assert error.code == "signing-failed"
    assert ("403" if service == "timestamps" else "in May") in error.why
    assert "\x1b" not in error.why
    assert (LEFT_BEHIND in error.why) == (service != "certificates")


def test_refused_identity_says_what_to_look_at(private: Instance, artifact: Artifact) -> None:
    empty = Reply(HTTPStatus.FORBIDDEN, "text/plain", b"")
    private.services.faults[SERVICES["certificates"]] = lambda _: empty
    error = refused(private, artifact)
    assert "the server answered 403" in error.why
    assert "did not accept the identity" in error.next[0]


def test_missing_timestamp_leaves_an_entry_and_says_so(
    private: Instance, artifact: Artifact, capfd: pytest.CaptureFixture[str]
) -> None:
    down = Reply(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"down")
    private.services.faults[SERVICES["timestamps"]] = lambda _: down
    error = refused(private, artifact)
    assert private.entries == 1
    assert LEFT_BEHIND in error.why
    assert "503" in error.why  # which sigstore only logs
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 60_000, b"<html>"])
@pytest.mark.parametrize("service", SERVICES)
def test_service_that_talks_nonsense_is_an_error(
    service: str, body: bytes, private: Instance, artifact: Artifact
) -> None:
    answer = Reply(HTTPStatus.OK, "application/json", body)
    private.services.faults[SERVICES[service]] = lambda _: answer
    assert refused(private, artifact).code == "signing-failed"


def moved(private: Instance, kind: str, url: str) -> None:
    document = json.loads(private.file.read_text())
    document["signingConfig"][kind][0]["url"] = url
    private.file.write_text(json.dumps(document))


@pytest.mark.parametrize("kind", ["caUrls", "rekorTlogUrls", "tsaUrls"])
def test_service_that_redirects_for_ever_is_an_error(
    kind: str, private: Instance, artifact: Artifact
) -> None:
    with web.serving(web.redirecting) as site:
        moved(private, kind, site.url)
        assert refused(private, artifact).code == "signing-failed"


@pytest.mark.parametrize("kind", ["caUrls", "rekorTlogUrls"])
def test_service_that_nobody_answers_for_is_named(
    kind: str, private: Instance, artifact: Artifact
) -> None:
    moved(private, kind, "http://user:hunter2@127.0.0.1:9")
    error = refused(private, artifact)
    assert (error.code, error.exit_status) == ("network-unavailable", UNAVAILABLE)
    assert "127.0.0.1:9" in error.why or "port=9" in error.why
    assert "hunter2" not in json.dumps(error.to_json())


@pytest.mark.parametrize("service", ["certificates", "log"])
def test_service_that_hangs_is_given_up(
    service: str, private: Instance, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(_: bytes) -> Reply:
        released.wait(web.HANG_S)
        return Reply(HTTPStatus.OK, "application/json", b"{}")

    private.services.faults[SERVICES[service]] = hang
    monkeypatch.setattr(client, "DEADLINE_S", 0.5)
    monkeypatch.setattr(client, "ENTRY_S", 0.1)
    started = time.monotonic()
    try:
        error = refused(private, artifact)
    finally:
        released.set()
    assert (error.code, error.exit_status) == ("signing-timeout", UNAVAILABLE)
    assert time.monotonic() - started < web.HANG_S / 2
    assert (LEFT_BEHIND in error.why) == (service == "log")


def test_service_with_a_certificate_that_nobody_trusts_is_not_told_the_token(
    private: Instance, artifact: Artifact, tmp_path: Path
) -> None:
    own = certificate(tmp_path)
    with web.serving(web.redirecting, certificate=own) as site:
        moved(private, "caUrls", site.url.replace("http://", "https://"))
        error = refused(private, artifact)
    assert error.code == "certificate-untrusted"
    assert "presented" in error.why
    assert site.asked == []


def test_certificate_for_somebody_else_is_not_used(private: Instance, artifact: Artifact) -> None:
    mallory = LeafIdentity("mallory@acme.example", claims.GITHUB_ISSUER)
    private.services.issuers[claims.GITHUB_ISSUER] = lambda _: mallory  # type: ignore[index]  # a dict
    error = refused(private, artifact)
    assert error.code == "signing-failed"
    assert "mallory@acme.example" in error.why


def test_certificate_of_another_instance_is_not_used(
    private: Instance, artifact: Artifact, tmp_path: Path
) -> None:
    with instance(tmp_path / "other") as other:
        other.services.issuers[claims.GITHUB_ISSUER] = issuers.github  # type: ignore[index]  # a dict
        key = private.services.token_key
        foreign = replace(other.services, token_key=key)
        with server.serving(foreign) as url:
            moved(private, "caUrls", url)
            error = refused(private, artifact)
    assert error.code == "signing-failed"
    assert private.entries == 0


# ── logging in ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(name="opened_pages")
def _opened_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A browser that opens a page, and a person who goes away; in the end she declines."""
    pages: list[str] = []

    def opens(page: str) -> bool:
        pages.append(page)
        return True

    monkeypatch.setattr("webbrowser.open", opens)
    before = threading.enumerate()
    yield pages
    for page in pages:
        declined = f"{page}/auth/callback?error=access_denied"
        with urllib.request.urlopen(declined, timeout=20):  # noqa: S310 - http on this machine
            pass
    for thread in {*threading.enumerate()} - {*before}:
        thread.join(web.HANG_S)
    # sigstore leaves the socket of its redirect server to the garbage collector.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_nobody_who_logs_in_is_given_up(
    private: Instance, opened_pages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "DEADLINE_S", 2.0)
    with (
        provider.providing_login(private) as provided,
        pytest.raises(SigningTimeout, match="nobody logged in"),
    ):
        login.log_in(provided.url, out_of_band=False)
    assert len(opened_pages) == 1


BROKEN_PROVIDERS = {
    "refuses": web.Answer(500, b"down"),
    "nonsense": web.Answer(200, b"<html>"),
    "no endpoints": web.Answer(200, b"{}"),
    "redirects for ever": web.Answer(
        302, headers={"Location": "/.well-known/openid-configuration"}
    ),
}


@pytest.mark.parametrize("case", BROKEN_PROVIDERS)
def test_provider_that_cannot_be_used_is_an_error(case: str, private: Instance) -> None:
    with provider.providing_login(private) as provided:
        provided.faults["/.well-known/openid-configuration"] = BROKEN_PROVIDERS[case]
        with pytest.raises(SigningFailed) as caught:
            login.log_in(provided.url, out_of_band=True)
    assert provided.url in caught.value.what


def test_provider_that_is_away_is_named() -> None:
    with pytest.raises(NetworkUnavailable) as caught:
        login.log_in("http://127.0.0.1:9", out_of_band=True)
    assert "http://127.0.0.1:9" in caught.value.what


# ── a CI service that hangs ───────────────────────────────────────────────────────────────────────


def test_service_of_a_job_that_hangs_is_given_up(
    private: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ambient, "DEADLINE_S", 0.3)
    released = threading.Event()

    def hang(_: web.Asked) -> web.Answer:
        released.wait(web.HANG_S)
        return web.Answer(500)

    with github.endpoint(private, hang) as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SigningTimeout, match="GitHub Actions does not answer"):
            ambient.ambient_token(endpoint.environment)
        released.set()
