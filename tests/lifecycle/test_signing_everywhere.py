"""Signing as CI jobs and people do it: the real command, and stand-ins of who identifies them."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import pytest

from aperio_cli import clock
from aperio_cli.models.digest import Digest
from aperio_cli.proving.attestations import verify_attestations
from aperio_cli.proving.signature import verify_signature
from aperio_cli.signing.local import server
from aperio_cli.signing.local.server import Reply
from tests.lifecycle.cli import DEADLINE_S, ROOT, Aperio, Done, finish
from tests.simulators.ci import agents, artifacts, claims, github, provider, web
from tests.simulators.ci.instance import Instance, instance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from aperio_cli.models.proof import Proof

WORKFLOW = (
    "https://github.com/acme/aperio-plugin-box/.github/workflows/release.yml@refs/tags/v1.2.3"
)
# What a person's machine does when a program opens a page: follow where it leads.
BROWSER = """#!{python} -I
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
opener.open(sys.argv[1], timeout=20).read()
"""


@pytest.fixture(name="private")
def _private(tmp_path: Path) -> Iterator[Instance]:
    with instance(tmp_path / "instance") as answering:
        yield answering


@pytest.fixture(name="artifact")
def _artifact(stranger: Aperio) -> Path:
    return artifacts.artifact_at(stranger.folder / artifacts.NAME).path


@pytest.fixture(name="job")
def _job(stranger: Aperio, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(stranger, monkeypatch)


class Job:
    """Types `plugin sign` in some environment."""

    def __init__(self, aperio: Aperio, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aperio = aperio
        self._monkeypatch = monkeypatch

    def given(self, environment: Mapping[str, str]) -> None:
        """Set variables."""
        for name, value in environment.items():
            self._monkeypatch.setenv(name, value)

    def signs(self, artifact: Path, *words: object, stdin: str = "") -> Done:
        """Run the command to its end, whatever comes of it."""
        return self.types("plugin", "sign", artifact, *words, stdin=stdin)

    def types(self, *words: object, stdin: str = "") -> Done:
        """Type any command, in this process; what is on a terminal, or interrupted, has its own."""
        read = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", read)
            return self.aperio.type(*words)

    def runs(self, *words: object, stdin: str) -> Done:
        """Run any command as a process of its own, to its end."""
        process = self.aperio.start(*words, stdin=subprocess.PIPE)
        assert process.stdin
        process.stdin.write(stdin.encode())
        process.stdin.close()
        process.stdin = None
        return finish(process)

    def refused(self, artifact: Path, *words: object, stdin: str = "") -> dict[str, Any]:
        """The error of a command that writes nothing beside the artifact and shows no secret."""
        done = self.signs(artifact, *words, "--json", stdin=stdin)
        assert not done.err
        (error,) = done.document["errors"]
        assert sorted(path.name for path in artifact.parent.iterdir()) == [artifact.name]
        for secret in (stdin.strip(), github.REQUEST_TOKEN, *map(str, words)):
            assert len(secret) < 20 or secret.startswith("/") or secret not in done.out
        found: dict[str, Any] = error
        return found | {"exit": done.status}


def proof_of(artifact: Path, private: Instance) -> Proof:
    """What the files beside an artifact prove, once all of them verified."""
    digest = Digest.of(artifact.read_bytes())
    bundle = artifact.with_name(f"{artifact.name}.sigstore.json").read_bytes()
    lines = artifact.with_name(f"{artifact.name}.intoto.jsonl").read_bytes()
    proof = verify_signature(digest, bundle, [private.root])
    made = verify_attestations(digest, lines, [private.root])
    assert [one.predicate_type for one in made] == [
        "https://slsa.dev/provenance/v1",
        "https://cyclonedx.org/bom",
    ]
    certificates = {one.signer.certificate_digest for one in made}
    assert certificates == {proof.signer.certificate_digest}
    return proof


# ── a token that is given ─────────────────────────────────────────────────────────────────────────


def test_token_on_stdin_signs_as_whom_it_names(job: Job, artifact: Path, private: Instance) -> None:
    words = ("plugin", "sign", artifact, "--trust", private.file, "--identity-token", "-")
    done = job.runs(*words, stdin=private.mint(claims.dex()))
    assert (done.status, done.err) == (0, "")
    signer = proof_of(artifact, private).signer
    # Sigstore's provider passes on Google's word, so that Google is the issuer.
    assert (signer.identity, signer.issuer) == ("alice@acme.example", claims.GOOGLE_ISSUER)
    assert "signed by alice@acme.example" in done.out
    assert private.entries == 3


def test_token_as_an_argument_signs_too(job: Job, artifact: Path, private: Instance) -> None:
    token = private.mint(claims.google())
    done = job.signs(artifact, "--trust", private.file, "--identity-token", token, "--json")
    (bundle,) = done.data["bundles"]
    assert bundle["attestations"] == f"{artifact}.intoto.jsonl"
    assert bundle["statements"] == ["https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom"]
    assert proof_of(artifact, private).signer.identity == "release@acme.iam.gserviceaccount.com"


def test_given_token_counts_before_the_one_of_the_service(
    job: Job, artifact: Path, private: Instance
) -> None:
    job.given(github.WITHOUT_PERMISSION)  # asking the service would fail
    token = private.mint(claims.gitlab())
    done = job.signs(artifact, "--trust", private.file, "--identity-token", "-", stdin=token)
    assert done.status == 0
    assert proof_of(artifact, private).signer.issuer == claims.GITLAB_ISSUER


HOSTILE_TOKENS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": 1_700_000_000}, "its `exp` is wrong: it ended 2023-11-14T22:13:20Z"),
    "other audience": ({"aud": "npm:registry"}, "its `aud` is wrong"),
    "no subject": ({"sub": None}, "its `sub` is missing"),
    "not begun": ({"nbf": 4_000_000_000}, "its `nbf` is wrong"),
}


@pytest.mark.parametrize("case", HOSTILE_TOKENS)
def test_token_that_cannot_count_is_refused_before_any_request(
    case: str, job: Job, artifact: Path, private: Instance
) -> None:
    changes, expected = HOSTILE_TOKENS[case]
    token = private.mint(claims.github(), **changes)
    # Nobody listens there: whoever asked it would end with `network-unavailable`.
    unreachable(private)
    words = ["--trust", private.file, "--identity-token", "-"]
    error = job.refused(artifact, *words, stdin=token)
    assert (error["code"], error["exit"]) == ("identity-token-invalid", 1)
    assert error["why"].startswith(expected)


@pytest.mark.parametrize("given", ["not-a-token", "a.b.c", "\0" * 40, "x" * 20_000])
def test_garbage_as_token_is_refused_without_showing_it(
    given: str, job: Job, artifact: Path, private: Instance
) -> None:
    words = ["--trust", private.file, "--identity-token", "-"]
    error = job.refused(artifact, *words, stdin=given)
    assert error["code"] == "identity-token-invalid"
    assert given not in json.dumps(error)


def test_empty_stdin_is_no_token(job: Job, artifact: Path, private: Instance) -> None:
    error = job.refused(artifact, "--trust", private.file, "--identity-token", "-", stdin="\n")
    assert (error["code"], error["exit"]) == ("identity-token-invalid", 1)


# ── CI services ───────────────────────────────────────────────────────────────────────────────────


def test_github_job_signs_as_its_workflow(job: Job, artifact: Path, private: Instance) -> None:
    with github.endpoint(private) as endpoint:
        job.given(endpoint.environment)
        done = job.signs(artifact, "--trust", private.file)
    assert (done.status, done.err) == (0, "")
    signer = proof_of(artifact, private).signer
    assert (signer.identity, signer.issuer) == (WORKFLOW, claims.GITHUB_ISSUER)
    assert signer.claim("source_repository_owner_identifier") == "789"
    assert [asked.query["audience"] for asked in endpoint.site.asked] == ["sigstore"]


def test_github_job_without_permission_is_told_the_line_to_add(
    job: Job, artifact: Path, private: Instance
) -> None:
    job.given(github.WITHOUT_PERMISSION)
    error = job.refused(artifact, "--trust", private.file)
    assert (error["code"], error["exit"]) == ("credential-missing", 1)
    assert "permissions:\n  id-token: write" in error["next"][0]
    assert "pull request from a fork" in error["next"][1]


def test_gitlab_job_signs_as_its_pipeline(job: Job, artifact: Path, private: Instance) -> None:
    job.given({"CI": "true", "GITLAB_CI": "true"})
    job.given({"SIGSTORE_ID_TOKEN": private.mint(claims.gitlab())})
    assert job.signs(artifact, "--trust", private.file).status == 0
    signer = proof_of(artifact, private).signer
    pipeline = "https://gitlab.com/acme/aperio-plugin-box//.gitlab-ci.yml@refs/tags/v1.2.3"
    assert (signer.identity, signer.issuer) == (pipeline, claims.GITLAB_ISSUER)


def test_gitlab_job_without_token_is_told_the_lines_to_add(
    job: Job, artifact: Path, private: Instance
) -> None:
    job.given({"CI": "true", "GITLAB_CI": "true"})
    error = job.refused(artifact, "--trust", private.file)
    assert error["code"] == "credential-missing"
    assert "id_tokens:\n  SIGSTORE_ID_TOKEN:\n    aud: sigstore" in error["next"][0]


def test_gitlab_token_for_another_audience_names_the_claim(
    job: Job, artifact: Path, private: Instance
) -> None:
    job.given({"GITLAB_CI": "true"})
    job.given({"SIGSTORE_ID_TOKEN": private.mint(claims.gitlab(), aud="https://gitlab.com")})
    error = job.refused(artifact, "--trust", private.file)
    assert error["code"] == "identity-token-invalid"
    assert "of GitLab CI in SIGSTORE_ID_TOKEN cannot be used" in error["what"]
    assert "its `aud` is wrong\nexpected sigstore\nfound    https://gitlab.com" in error["why"]
    assert "aud: sigstore" in error["next"][0]


def on_path(job: Job, folder: Path) -> None:
    job.given({"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"})


def test_buildkite_job_signs_as_its_pipeline(
    job: Job, artifact: Path, private: Instance, tmp_path: Path
) -> None:
    agents.buildkite_agent(tmp_path / "bin", private.mint(claims.buildkite()))
    on_path(job, tmp_path / "bin")
    job.given({"CI": "true", "BUILDKITE": "true"})
    assert job.signs(artifact, "--trust", private.file).status == 0
    signer = proof_of(artifact, private).signer
    assert (signer.identity, signer.issuer) == (
        "https://buildkite.com/acme/box",
        claims.BUILDKITE_ISSUER,
    )


def test_buildkite_job_without_agent_is_told_what_it_needs(
    job: Job, artifact: Path, private: Instance
) -> None:
    job.given({"CI": "true", "BUILDKITE": "true"})
    error = job.refused(artifact, "--trust", private.file)
    assert error["code"] == "credential-missing"
    assert "could not find Buildkite agent" in error["why"]
    assert "`buildkite-agent oidc request-token --audience sigstore`" in error["next"][0]


def test_buildkite_agent_that_refuses_is_quoted(
    job: Job, artifact: Path, private: Instance, tmp_path: Path
) -> None:
    agents.failing_buildkite_agent(tmp_path / "bin", "the job may not\x1b[2J have tokens")
    on_path(job, tmp_path / "bin")
    job.given({"CI": "true", "BUILDKITE": "true"})
    error = job.refused(artifact, "--trust", private.file)
    assert error["code"] == "credential-missing"
    assert "the job may not" in error["why"]
    assert "\x1b" not in error["why"]


def test_circleci_job_signs_as_its_pipeline(
    job: Job, artifact: Path, private: Instance, tmp_path: Path
) -> None:
    agents.circleci(tmp_path / "bin", private.mint(claims.circleci()))
    on_path(job, tmp_path / "bin")
    job.given({"CI": "true", "CIRCLECI": "true"})
    assert job.signs(artifact, "--trust", private.file).status == 0
    signer = proof_of(artifact, private).signer
    assert signer.identity == "https://circleci.com/api/v2/projects/2/pipeline-definitions/4"


def test_circleci_that_refuses_is_quoted_with_what_it_needs(
    job: Job, artifact: Path, private: Instance, tmp_path: Path
) -> None:
    agents.failing_circleci(tmp_path / "bin", "no such command: oidc")
    on_path(job, tmp_path / "bin")
    job.given({"CI": "true", "CIRCLECI": "true"})
    error = job.refused(artifact, "--trust", private.file)
    assert error["code"] == "credential-missing"
    assert "no such command: oidc" in error["why"]
    assert "circleci run oidc get" in error["next"][0]


def test_unknown_ci_service_is_told_to_give_a_token(
    job: Job, artifact: Path, private: Instance
) -> None:
    job.given({"CI": "true"})
    error = job.refused(artifact, "--trust", private.file)
    assert (error["code"], error["exit"]) == ("credential-missing", 1)
    assert "`--identity-token -`" in error["next"][0]


def refusing(_: web.Asked) -> web.Answer:
    return web.Answer(403, b'{"message": "Resource not accessible\x1b[2J"}')


def talking_nonsense(_: web.Asked) -> web.Answer:
    return web.Answer(200, b"\xff<html>hello")


def giving_no_token(_: web.Asked) -> web.Answer:
    return web.Answer(200, b'{"value": "abc"}')


def failing(_: web.Asked) -> web.Answer:
    return web.Answer(500, b"internal error")


def forgetting(_: web.Asked) -> web.Answer:
    return web.Answer(401, b'{"message": "not authorized"}')


HOSTILE_ENDPOINTS = {
    "refuses": (refusing, "credential-missing", 1, "Resource not accessible"),
    "forgets the job": (forgetting, "credential-missing", 1, "not authorized"),
    "nonsense": (talking_nonsense, "network-unavailable", 4, "asked 4 times"),
    "fails every time": (failing, "network-unavailable", 4, "code=500"),
    "no token": (giving_no_token, "identity-token-invalid", 1, "Malformed"),
    "redirects for ever": (web.redirecting, "network-unavailable", 4, ""),
}


@pytest.mark.parametrize("case", HOSTILE_ENDPOINTS)
def test_github_endpoint_that_misbehaves_ends_in_an_error_that_quotes_it(
    case: str, job: Job, artifact: Path, private: Instance
) -> None:
    answer, code, status, said = HOSTILE_ENDPOINTS[case]
    with github.endpoint(private, answer) as endpoint:
        job.given(endpoint.environment)
        error = job.refused(artifact, "--trust", private.file)
    assert (error["code"], error["exit"]) == (code, status)
    assert said in error["why"]
    assert "\x1b" not in error["why"]
    # The permission is named where it is missing, and nowhere else.
    assert ("id-token: write" in str(error["next"])) is (case == "refuses")


PASSING = {
    "fails": web.Answer(500, b"internal error"),
    "is busy": web.Answer(429, b"slow down", {"Retry-After": "1"}),
    "was too slow": web.Answer(408, b""),
    "is not ready": web.Answer(425, b""),
    "is away": web.Answer(503, b"<html>unavailable"),
    "answers with text": web.Answer(200, b"try again"),
    "answers with bytes": web.Answer(502, b"\xff\xfe"),
}


@pytest.mark.parametrize("case", PASSING)
def test_github_endpoint_that_misbehaves_once_is_asked_again(
    case: str, job: Job, artifact: Path, private: Instance
) -> None:
    with github.endpoint(private) as honest:

        def answer(asked: web.Asked) -> web.Answer:
            if len(endpoint.site.asked) == 1:
                return PASSING[case]
            url = f"{honest.site.url}{asked.path}?api-version=2.0&audience=sigstore"
            again = urllib.request.Request(url)  # noqa: S310 - on this machine
            again.add_header("Authorization", asked.headers["authorization"])
            with urllib.request.urlopen(again, timeout=20) as said:  # noqa: S310
                return web.Answer(body=said.read())

        with github.endpoint(private, answer) as endpoint:
            job.given(endpoint.environment)
            done = job.signs(artifact, "--trust", private.file)
    assert (done.status, done.err) == (0, "")
    assert len(endpoint.site.asked) == 2
    assert proof_of(artifact, private).signer.identity == WORKFLOW


# ── people ────────────────────────────────────────────────────────────────────────────────────────


class Terminal:
    """A terminal for the stdin and the stderr of one command."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.master)

    def start(self, job: Job, artifact: Path, *words: object) -> subprocess.Popen[bytes]:
        """Start the command on this terminal."""
        process = job.aperio.start(
            "plugin", "sign", artifact, *words, stdin=self.slave, stderr=self.slave
        )
        os.close(self.slave)
        return process

    def read_until(self, pattern: str) -> re.Match[str]:
        """Wait for words on the terminal."""
        alarm = threading.Timer(DEADLINE_S, os.close, (self.master,))
        alarm.start()
        try:
            while not (found := re.search(pattern, self.text)):
                self.text += os.read(self.master, 4096).decode()
        finally:
            alarm.cancel()
        return found

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self.master, f"{line}\n".encode())

    def rest(self) -> str:
        """Everything that was shown, once the command has ended."""
        try:
            while more := os.read(self.master, 4096):
                self.text += more.decode()
        except OSError:  # the other end is closed
            pass
        return self.text


def test_person_logs_in_with_a_browser(
    job: Job, artifact: Path, private: Instance, tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(BROWSER.format(python=sys.executable))
    browser.chmod(0o755)
    job.given({"BROWSER": str(browser)})
    with provider.providing_login(private), Terminal() as terminal:
        process = terminal.start(job, artifact, "--trust", private.file, "--json")
        done = finish(process)
        shown = terminal.rest()
    assert done.status == 0, shown
    assert done.data["bundles"][0]["signer"]["identity"] == "alice@acme.example"
    assert proof_of(artifact, private).signer.identity == "alice@acme.example"


def test_person_logs_in_with_a_code(job: Job, artifact: Path, private: Instance) -> None:
    with provider.providing_login(private), Terminal() as terminal:
        process = terminal.start(job, artifact, "--trust", private.file, "--oob", "--json")
        link = terminal.read_until(r"(http://127\.0\.0\.1\S+)\s")[1]
        with urllib.request.urlopen(link, timeout=20) as page:  # noqa: S310 - http, as matched
            code = re.search(r"<code>(.*)</code>", page.read().decode())
        assert code
        terminal.read_until("Enter verification code: ")
        terminal.type(code[1])
        done = finish(process)
        shown = terminal.rest()
    assert done.status == 0, shown
    assert done.data["bundles"][0]["signer"]["identity"] == "alice@acme.example"
    assert json.loads(done.out)  # the prompt went to stderr


def test_wrong_code_signs_nothing(job: Job, artifact: Path, private: Instance) -> None:
    with provider.providing_login(private), Terminal() as terminal:
        process = terminal.start(job, artifact, "--trust", private.file, "--oob", "--json")
        terminal.read_until("Enter verification code: ")
        terminal.type("guessed")
        done = finish(process)
    assert done.status == 1
    assert done.document["errors"][0]["code"] == "signing-failed"
    assert private.entries == 0


def test_code_is_not_asked_for_without_a_terminal(
    job: Job, artifact: Path, private: Instance
) -> None:
    with provider.providing_login(private):
        error = job.refused(artifact, "--trust", private.file, "--oob")
    assert (error["code"], error["exit"]) == ("credential-missing", 1)


def test_nobody_to_ask_says_what_can_be_done(job: Job, artifact: Path, private: Instance) -> None:
    error = job.refused(artifact, "--trust", private.file)
    assert (error["code"], error["exit"]) == ("credential-missing", 1)
    assert any("--identity-token -" in step for step in error["next"])


@pytest.mark.parametrize("trust", ["public", "staging"])
def test_public_log_needs_consent_before_anybody_logs_in(
    trust: str, job: Job, artifact: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy, Terminal() as terminal:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        job.given({"HTTPS_PROXY": address, "HTTP_PROXY": address})
        process = terminal.start(job, artifact, "--trust", trust)
        terminal.read_until(r"public log.*\[y/N\]")
        terminal.type("n")
        done = finish(process)
        shown = terminal.rest()
        proxy.setblocking(False)  # noqa: FBT003 - the interface of sockets
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert done.status == 1
    assert "consent-missing" in shown


# ── instances that fail ───────────────────────────────────────────────────────────────────────────


def unreachable(private: Instance) -> None:
    """Point the trust configuration at a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    text = private.file.read_text()
    private.file.write_text(text.replace(private.url, f"http://127.0.0.1:{port}"))


def test_instance_that_is_away_is_exit_status_4(
    job: Job, artifact: Path, private: Instance
) -> None:
    unreachable(private)
    token = private.mint(claims.github())
    error = job.refused(artifact, "--trust", private.file, "--identity-token", "-", stdin=token)
    assert (error["code"], error["exit"]) == ("network-unavailable", 4)


def test_public_instance_behind_a_proxy_that_is_away_is_exit_status_4(
    job: Job, artifact: Path, private: Instance
) -> None:
    job.given({"HTTPS_PROXY": "http://127.0.0.1:9"})
    token = private.mint(claims.github())
    error = job.refused(artifact, "--identity-token", "-", stdin=token)
    assert (error["code"], error["exit"]) == ("proxy-unavailable", 4)
    assert "HTTPS_PROXY" in error["next"][0]


def test_file_named_public_is_not_the_public_instance(
    job: Job, artifact: Path, private: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = job.aperio.folder.parent / "project"
    project.mkdir()
    shutil.copy(private.file, project / "public")
    job.given({"HTTPS_PROXY": "http://127.0.0.1:9"})
    token = private.mint(claims.github())
    words = ("--trust", "public", "--identity-token", "-")
    there = Job(replace(job.aperio, folder=project), monkeypatch)
    error = there.refused(artifact, *words, stdin=token)
    assert error["code"] == "proxy-unavailable"
    assert private.entries == 0


def test_instance_that_does_not_know_the_issuer_is_quoted(
    job: Job, artifact: Path, private: Instance
) -> None:
    token = private.mint(claims.github(iss="https://ci.elsewhere.example"))
    error = job.refused(artifact, "--trust", private.file, "--identity-token", "-", stdin=token)
    assert (error["code"], error["exit"]) == ("signing-failed", 1)
    assert "the identity token was refused" in error["why"]
    assert "did not accept the identity" in error["next"][0]


@pytest.mark.parametrize(("trust", "code"), [("nonsense", "usage"), (".", "not-found")])
@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_what_is_no_trust_domain_is_named_with_or_without_a_network(
    job: Job, artifact: Path, trust: str, code: str, offline: tuple[str, ...]
) -> None:
    error = job.refused(artifact, "--trust", trust, *offline)
    assert error["code"] == code
    assert error["what"].startswith("nothing was signed: ")
    assert f"`{trust}`" in error["what"]


def test_offline_refuses_before_anything_is_asked(
    job: Job, artifact: Path, private: Instance
) -> None:
    token = private.mint(claims.github())
    words = ["--trust", private.file, "--identity-token", "-", "--offline"]
    error = job.refused(artifact, *words, stdin=token)
    assert (error["code"], error["exit"]) == ("offline", 4)
    assert private.entries == 0


def test_stored_password_does_not_replace_the_token(
    job: Job, artifact: Path, private: Instance, tmp_path: Path
) -> None:
    netrc = tmp_path / "user-home" / ".netrc"
    netrc.write_text("default login mallory password secret\n")
    netrc.chmod(0o600)
    token = private.mint(claims.github())
    done = job.signs(artifact, "--trust", private.file, "--identity-token", "-", stdin=token)
    assert done.status == 0
    assert proof_of(artifact, private).signer.identity == WORKFLOW


def test_two_artifacts_share_one_certificate(job: Job, stranger: Aperio, private: Instance) -> None:
    dist = stranger.folder / "dist"
    dist.mkdir()
    for architecture in ("amd64", "arm64"):
        path = dist / f"box-connector_1.2.3_linux_{architecture}.tar.gz"
        artifacts.artifact_at(path, architecture.encode())
    token = private.mint(claims.github())
    words = ["--trust", private.file, "--identity-token", "-", "--json"]
    bundles = job.signs(dist, *words, stdin=token).data["bundles"]
    assert len(bundles) == 2
    assert len({bundle["signer"]["certificate_sha256"] for bundle in bundles}) == 1


# ── Google Cloud ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.sandbox
def test_google_cloud_signs_as_its_service_account(tmp_path: Path) -> None:
    """Its hosts and files are fixed, so that it takes a machine of its own: a namespace."""
    script = ROOT / "tests" / "simulators" / "ci" / "google_machine.py"
    unshared = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--kill-child"]
    if subprocess.run([*unshared, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespaces may be made here")
    done = subprocess.run(
        [*unshared, sys.executable, str(script), str(tmp_path)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr.decode()
    signers = json.loads(done.stdout)
    assert {way: signer["identity"] for way, signer in signers.items()} == dict.fromkeys(
        ("machine", "impersonation"), "release@acme.iam.gserviceaccount.com"
    )


# ── interruptions, and words that do not fit ──────────────────────────────────────────────────────


def test_interrupt_while_a_code_is_awaited_ends_the_command(
    job: Job, artifact: Path, private: Instance
) -> None:
    with provider.providing_login(private), Terminal() as terminal:
        process = terminal.start(job, artifact, "--trust", private.file, "--oob", "--json")
        terminal.read_until("Enter verification code: ")
        process.send_signal(signal.SIGINT)
        done = finish(process)
        shown = terminal.rest()
    assert done.status == 130, shown
    assert "Fatal" not in shown
    assert done.document["errors"][0]["code"] == "interrupted"


def test_interrupt_while_an_instance_hangs_ends_the_command(
    job: Job, artifact: Path, private: Instance
) -> None:
    asked, released = threading.Event(), threading.Event()

    def hang(_: bytes) -> Reply:
        asked.set()
        released.wait(DEADLINE_S)
        return Reply(HTTPStatus.OK, "application/json", b"{}")

    private.services.faults[server.CERTIFICATES_PATH] = hang
    token = private.mint(claims.github())
    words = ("plugin", "sign", artifact, "--trust", private.file, "--identity-token", token)
    process = job.aperio.start(*words, "--json")
    assert asked.wait(DEADLINE_S)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    released.set()
    assert (done.status, done.err) == (130, "")
    assert sorted(path.name for path in artifact.parent.iterdir()) == [artifact.name]


WORDS = {
    "token and code": ("--identity-token", "x.y.z", "--oob"),
    "token for the local domain": ("--trust", "local", "--identity-token", "x.y.z"),
    "code for the local domain": ("--trust", "local", "--oob"),
    "unknown domain": ("--trust", "nowhere", "--identity-token", "x.y.z"),
}


@pytest.mark.parametrize("case", WORDS)
def test_words_that_do_not_fit_are_wrong_usage(case: str, job: Job, artifact: Path) -> None:
    error = job.refused(artifact, *WORDS[case])
    assert (error["code"], error["exit"]) == ("usage", 2)


def test_configuration_file_that_is_not_there_is_named(job: Job, artifact: Path) -> None:
    error = job.refused(artifact, "--trust", "./trust_config.json", "--identity-token", "x.y.z")
    assert (error["code"], error["exit"]) == ("not-found", 1)
    assert "./trust_config.json" in error["what"]


def test_configuration_file_without_services_is_refused(
    job: Job, artifact: Path, private: Instance
) -> None:
    private.file.write_text(private.domain.trusted_root_json())
    error = job.refused(artifact, "--trust", private.file, "--identity-token", "x.y.z")
    assert (error["code"], error["exit"]) == ("trust-root-invalid", 3)


def test_publishers_are_signed_with_a_token_from_stdin(job: Job, private: Instance) -> None:
    """With the credentials of `plugin sign`, which are the same code."""
    path = job.aperio.folder / "publishers.json"
    expires = (clock.now() + timedelta(days=30)).date().isoformat()
    listed = {"schema": "aperio.publishers/v1", "serial": 1, "expires": expires, "publishers": []}
    path.write_text(json.dumps(listed))
    words = ("--trust", private.file, "--identity-token", "-", "--json")
    token = private.mint(claims.github())
    done = job.types("trust", "sign-publishers", path, *words, stdin=token)
    assert done.status == 0, done
    assert done.data["signer"]["issuer"] == claims.github()["iss"]


def test_configured_domain_is_named_by_its_name(
    job: Job, artifact: Path, private: Instance
) -> None:
    home = job.aperio.home
    home.mkdir(mode=0o700)
    config = home / "config.toml"
    config.write_text(f'[[domains]]\nname = "acme"\nfile = "{private.file}"\n')
    token = private.mint(claims.github())
    done = job.signs(artifact, "--trust", "acme", "--identity-token", "-", "--json", stdin=token)
    assert done.data["bundles"][0]["signer"]["domain"] == "acme"
