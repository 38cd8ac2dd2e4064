from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.trust import ArtifactChanged, SigningFailed
from aperio_cli.files import writing
from aperio_cli.proving.attestations import verify_attestations
from aperio_cli.proving.signature import verify_signature
from aperio_cli.proving.statement import parse_provenance
from aperio_cli.signing import attestations_path, client, sign, statements
from tests.builders import signer
from tests.rows import each_row
from tests.simulators.ci.artifacts import NAME, SBOM, artifact_at
from tests.trust import IDENTITY, new_domain, root_of, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aperio_cli.models.digest import Digest
    from aperio_cli.models.publisher import Signer
    from aperio_cli.signing.local import LocalDomain

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(name="domain")
def _domain(tmp_path: Path) -> LocalDomain:
    return new_domain(tmp_path)


def github(**changes: str) -> Signer:
    repository = "https://github.com/acme/aperio-plugin-box"
    stated = {
        "build_signer_uri": f"{repository}/.github/workflows/release.yml@refs/tags/v1.2.3",
        "runner_environment": "github-hosted",
        "source_repository_uri": repository,
        "source_repository_digest": COMMIT,
        "source_repository_ref": "refs/tags/v1.2.3",
        "source_repository_identifier": "123456",
        "source_repository_owner_identifier": "789",
        "build_config_uri": f"{repository}/.github/workflows/release.yml@refs/tags/v1.2.3",
        "build_trigger": "push",
        "run_invocation_uri": f"{repository}/actions/runs/1001/attempts/1",
    }
    kept = {name: value for name, value in (stated | changes).items() if value}
    return signer(identity=stated["build_signer_uri"], claims=tuple(kept.items()))


def gitlab() -> Signer:
    repository = "https://gitlab.com/acme/aperio-plugin-box"
    return github(
        source_repository_uri=repository,
        build_config_uri=f"{repository}//ci/release.yml@refs/tags/v1.2.3",
        run_invocation_uri=f"{repository}/-/jobs/3003",
        runner_environment="gitlab-hosted",
    )


# ── provenance ────────────────────────────────────────────────────────────────────────────────────


def test_provenance_of_a_github_build_says_what_the_certificate_says() -> None:
    repository = "https://github.com/acme/aperio-plugin-box"
    assert statements.provenance(github()) == {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {
                "workflow": {
                    "ref": "refs/tags/v1.2.3",
                    "repository": repository,
                    "path": ".github/workflows/release.yml",
                }
            },
            "internalParameters": {
                "github": {
                    "event_name": "push",
                    "repository_id": "123456",
                    "repository_owner_id": "789",
                    "runner_environment": "github-hosted",
                }
            },
            "resolvedDependencies": [
                {"uri": f"git+{repository}@refs/tags/v1.2.3", "digest": {"gitCommit": COMMIT}}
            ],
        },
        "runDetails": {
            "builder": {"id": "https://github.com/actions/runner/github-hosted"},
            "metadata": {"invocationId": f"{repository}/actions/runs/1001/attempts/1"},
        },
    }


def test_provenance_of_a_self_hosted_runner_says_so() -> None:
    made = statements.provenance(github(runner_environment="self-hosted"))
    assert made["runDetails"]["builder"]["id"] == "https://github.com/actions/runner/self-hosted"


def test_provenance_of_a_reusable_workflow_names_the_callers_repository() -> None:
    signing = "https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v2"
    made = statements.provenance(github(build_signer_uri=signing))
    workflow = made["buildDefinition"]["externalParameters"]["workflow"]
    assert workflow["repository"] == "https://github.com/acme/aperio-plugin-box"
    assert workflow["path"] == ".github/workflows/release.yml"


def test_provenance_of_a_gitlab_build_says_what_the_certificate_says() -> None:
    made = statements.provenance(gitlab())
    definition = made["buildDefinition"]
    assert definition["buildType"] == (
        "https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1"
    )
    assert definition["externalParameters"] == {
        "source": "https://gitlab.com/acme/aperio-plugin-box",
        "ref": "refs/tags/v1.2.3",
        "configuration": "ci/release.yml",
    }
    assert made["runDetails"]["builder"]["id"].endswith("/gitlab-runner/gitlab-hosted")


def test_provenance_leaves_out_what_the_certificate_does() -> None:
    made = statements.provenance(github(source_repository_digest="", run_invocation_uri=""))
    (source,) = made["buildDefinition"]["resolvedDependencies"]
    assert set(source) == {"uri"}
    assert made["runDetails"]["metadata"] == {}


NOT_BUILDS = {
    "a person": signer(),
    "another repository's workflow": github(
        build_config_uri="https://github.com/mallory/x/.github/workflows/release.yml@refs/tags/v1"
    ),
    "a repository whose name begins alike": github(
        build_config_uri="https://github.com/acme/aperio-plugin-box-evil/w.yml@refs/tags/v1"
    ),
    "no repository": github(source_repository_uri=""),
    "no workflow": github(build_config_uri=""),
}


@each_row("case", NOT_BUILDS)
def test_provenance_without_a_services_word_claims_no_source(case: str) -> None:
    found = parse_provenance(statements.provenance(NOT_BUILDS[case]))
    assert found.builder == "https://local.aperio.invalid/builders/unattested"
    assert found.build_type.startswith("https://local.aperio.invalid/")
    assert (found.source_repository, found.source_digest, found.invocation) == ("", "", "")


# ── bill of materials ─────────────────────────────────────────────────────────────────────────────


def test_bill_of_materials_is_that_of_the_artifact(tmp_path: Path) -> None:
    assert statements.read_sbom(artifact_at(tmp_path / NAME)) == SBOM


def test_artifact_without_one_has_none(tmp_path: Path) -> None:
    assert statements.read_sbom(artifact_at(tmp_path / NAME, sbom=None)) is None


UNFIT = {
    "not JSON": b"components: []",
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "another format": b'{"spdxVersion": "SPDX-2.3"}',
    "too long": json.dumps({"bomFormat": "CycloneDX", "x": "y" * 5_000_000}).encode(),
}


@pytest.mark.parametrize("case", UNFIT)
def test_unfit_bill_of_materials_refuses_and_nothing_is_signed(
    case: str, domain: LocalDomain, tmp_path: Path
) -> None:
    artifact = artifact_at(tmp_path / NAME, sbom=UNFIT[case])
    before = snapshot(tmp_path)
    with pytest.raises(SigningFailed, match="bill of materials"):
        sign([artifact], domain=domain)
    assert snapshot(tmp_path) == before


def test_file_that_is_no_archive_is_not_signed(domain: LocalDomain, tmp_path: Path) -> None:
    artifact = artifact_at(tmp_path / NAME)
    artifact.path.write_bytes(artifact.path.read_bytes()[:-10])
    with pytest.raises(ArtifactChanged):
        sign([artifact], domain=domain)


# ── what stands beside the artifact ───────────────────────────────────────────────────────────────


def payloads(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines()
    envelopes = [json.loads(line)["dsseEnvelope"] for line in lines]
    assert {envelope["payloadType"] for envelope in envelopes} == {"application/vnd.in-toto+json"}
    return [json.loads(base64.b64decode(envelope["payload"])) for envelope in envelopes]


def test_statements_stand_beside_the_artifact_one_a_line(
    domain: LocalDomain, tmp_path: Path
) -> None:
    artifact = artifact_at(tmp_path / NAME)
    (signed,) = sign([artifact], domain=domain)
    assert signed.attestations_path == tmp_path / f"{NAME}.intoto.jsonl"
    provenance, bill = payloads(signed.attestations_path)
    subject = {"name": NAME, "digest": {"sha256": artifact.digest.hex}}
    assert provenance["subject"] == bill["subject"] == [subject]
    assert provenance["_type"] == "https://in-toto.io/Statement/v1"
    assert signed.statements == (provenance["predicateType"], bill["predicateType"])
    assert bill["predicate"] == SBOM
    assert (
        provenance["predicate"]["runDetails"]["builder"]["id"]
        == "https://local.aperio.invalid/builders/unattested"
    )


def test_local_domain_logs_statements_so_that_they_verify(
    domain: LocalDomain, tmp_path: Path
) -> None:
    artifact = artifact_at(tmp_path / NAME)
    (signed,) = sign([artifact], domain=domain)
    found = verify_attestations(
        artifact.digest, signed.attestations_path.read_bytes(), [root_of(domain)]
    )
    assert {one.signer.identity for one in found} == {IDENTITY}
    bundle = signed.bundle_path.read_bytes()
    proof = verify_signature(artifact.digest, bundle, [root_of(domain)])
    assert {one.signer.certificate_digest for one in found} == {proof.signer.certificate_digest}


def test_artifact_without_bill_gets_its_provenance_only(
    domain: LocalDomain, tmp_path: Path
) -> None:
    (signed,) = sign([artifact_at(tmp_path / NAME, sbom=None)], domain=domain)
    assert signed.statements == ("https://slsa.dev/provenance/v1",)
    assert len(payloads(signed.attestations_path)) == 1


def test_signing_again_replaces_the_statements(domain: LocalDomain, tmp_path: Path) -> None:
    first = artifact_at(tmp_path / NAME)
    sign([first], domain=domain)
    second = artifact_at(tmp_path / NAME, b"another")
    sign([second], domain=domain)
    lines = attestations_path(second.path).read_bytes()
    assert len(verify_attestations(second.digest, lines, [root_of(domain)])) == 2


def test_statement_that_does_not_verify_stops_everything(
    domain: LocalDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_at(tmp_path / NAME)
    monkeypatch.setattr(client.SigningSession, "sign_statement", lambda *_: b"{}")
    with pytest.raises(SigningFailed, match="does not verify") as caught:
        sign([artifact], domain=domain)
    assert caught.value.why.startswith("bundle-malformed: ")
    assert sorted(path.name for path in tmp_path.glob("box*")) == [NAME]


def test_statement_of_another_kind_stops_everything(
    domain: LocalDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_at(tmp_path / NAME)
    honest = client.SigningSession.sign_statement

    def dishonest(
        self: client.SigningSession,
        subject: tuple[str, Digest],
        _: str,
        predicate: Mapping[str, Any],
    ) -> bytes:
        return honest(self, subject, "https://example.org/other", predicate)

    monkeypatch.setattr(client.SigningSession, "sign_statement", dishonest)
    with pytest.raises(SigningFailed, match="does not verify"):
        sign([artifact], domain=domain)
    assert sorted(path.name for path in tmp_path.glob("box*")) == [NAME]


def test_interrupted_bundle_takes_its_new_statements_with_it(
    domain: LocalDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_at(tmp_path / NAME)
    commit = writing.AsideFile.commit

    def interrupted(self: writing.AsideFile) -> None:
        if self._path.name.endswith(".sigstore.json"):
            raise KeyboardInterrupt
        commit(self)

    monkeypatch.setattr(writing.AsideFile, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sign([artifact], domain=domain)
    assert sorted(path.name for path in tmp_path.glob("box*")) == [NAME]
