from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from aperio_cli.signing.local.authority import LeafIdentity
from aperio_cli.signing.local.tokens import Certify, Claims, ClaimsUnfit, email
from tests.rows import each_row
from tests.simulators.ci import claims as shapes
from tests.simulators.ci import issuers

BOX = "https://github.com/acme/aperio-plugin-box"
# What docs/oid-info.md calls the numbers, as the keys of Fulcio's configuration.
OIDS = {
    "github-workflow-trigger": 2,
    "github-workflow-sha": 3,
    "github-workflow-name": 4,
    "github-workflow-repository": 5,
    "github-workflow-ref": 6,
    "build-signer-uri": 9,
    "build-signer-digest": 10,
    "runner-environment": 11,
    "source-repository-uri": 12,
    "source-repository-digest": 13,
    "source-repository-ref": 14,
    "source-repository-identifier": 15,
    "source-repository-owner-uri": 16,
    "source-repository-owner-identifier": 17,
    "build-config-uri": 18,
    "build-config-digest": 19,
    "build-trigger": 20,
    "run-invocation-uri": 21,
    "source-repository-visibility-at-signing": 22,
    "deployment-environment": 23,
}
MODULES = Path(os.environ.get("GOMODCACHE", "")) if os.environ.get("GOMODCACHE") else None
REPOSITORY_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "go"


def test_github_job_is_named_by_its_workflow() -> None:
    identity = issuers.github(shapes.github())
    assert identity.subject == f"{BOX}/.github/workflows/release.yml@refs/tags/v1.2.3"
    assert identity.issuer == shapes.GITHUB_ISSUER
    assert identity.claims[12] == BOX
    assert identity.claims[21] == f"{BOX}/actions/runs/1001/attempts/1"


def test_github_job_of_a_reusable_workflow_is_named_by_that_one() -> None:
    reusable = "acme/ci/.github/workflows/sign.yml@refs/tags/v2"
    identity = issuers.github(shapes.github(job_workflow_ref=reusable))
    assert identity.subject == f"https://github.com/{reusable}"
    assert identity.claims[18] == f"{BOX}/.github/workflows/release.yml@refs/tags/v1.2.3"


def test_environment_is_stated_only_when_there_is_one() -> None:
    assert 23 not in issuers.github(shapes.github()).claims
    assert issuers.github(shapes.github(environment="release")).claims[23] == "release"


@pytest.mark.parametrize(
    ("kind", "ref", "expected"),
    [("tag", "v1.2.3", "refs/tags/v1.2.3"), ("branch", "main", "refs/heads/main")],
)
def test_gitlab_ref_is_written_out(kind: str, ref: str, expected: str) -> None:
    identity = issuers.gitlab(shapes.gitlab(ref_type=kind, ref=ref))
    assert identity.claims[14] == expected


def test_login_through_another_issuer_names_that_one() -> None:
    identity = issuers.federated_email(shapes.dex())
    assert identity == LeafIdentity("alice@acme.example", shapes.GOOGLE_ISSUER)


MISSING: dict[str, tuple[Certify, Claims, str]] = {
    "github": (issuers.github, shapes.github(), "repository_id"),
    "gitlab": (issuers.gitlab, shapes.gitlab(), "namespace_id"),
    "buildkite": (issuers.buildkite, shapes.buildkite(), "pipeline_slug"),
    "circleci": (issuers.circleci, shapes.circleci(), "oidc.circleci.com/project-id"),
    "e-mail": (email, shapes.google(), "email"),
    "e-mail unverified": (email, shapes.google(), "email_verified"),
    "federation": (issuers.federated_email, shapes.dex(), "federated_claims"),
}


@each_row("case", MISSING)
def test_token_without_a_claim_that_is_needed_is_refused(case: str) -> None:
    certify, stated, name = MISSING[case]
    certify(stated)
    with pytest.raises(ClaimsUnfit):
        certify({key: value for key, value in stated.items() if key != name})


def test_braces_in_a_claim_are_only_text() -> None:
    identity = issuers.github(shapes.github(ref="refs/tags/{repository_id}"))
    assert identity.claims[14] == "refs/tags/{repository_id}"


# ── held to Fulcio's own configuration, where its source is on this machine ───────────────────────


@pytest.fixture
def fulcio() -> dict[str, Any]:
    """What Fulcio's configuration says of each kind of issuer."""
    folders = [folder for folder in (MODULES, REPOSITORY_CACHE) if folder]
    for folder in folders:
        for found in sorted(
            folder.glob("github.com/sigstore/fulcio@*/config/identity/config.yaml")
        ):
            document: dict[str, Any] = yaml.safe_load(found.read_text())["ci-issuer-metadata"]
            return document
    pytest.skip("Fulcio's source is not in the module cache")


def filled(template: str, values: dict[str, str]) -> str:
    """Go's text/template, as much of it as these templates use."""
    if "{{" not in template:
        return values[template]
    known = re.sub(
        r"\{\{if eq \.ref_type \"branch\"\}\}heads/\{\{ else \}\}tags/\{\{end\}\}",
        "tags/",
        template,
    )
    text = re.sub(r"\{\{\s*\.([a-z_]+)\s*\}\}", lambda found: values[found[1]], known)
    by_index = r"\{\{\s*\(?index \. \"([^\"]+)\"\)?\s*\}\}"
    return re.sub(by_index, lambda found: values[found[1]], text)


KINDS: dict[str, tuple[Certify, dict[str, Any]]] = {
    "github-workflow": (issuers.github, shapes.github(environment="release")),
    "gitlab-pipeline": (issuers.gitlab, shapes.gitlab(environment="release")),
    "buildkite-job": (issuers.buildkite, shapes.buildkite()),
    "circleci-job": (issuers.circleci, shapes.circleci()),
}


@each_row("kind", KINDS)
def test_certificates_say_what_fulcio_would_say(kind: str, fulcio: dict[str, Any]) -> None:
    certify, stated = KINDS[kind]
    described = fulcio[kind]
    values = {**described["default-template-values"], **{k: str(v) for k, v in stated.items()}}
    templates = dict(described["extension-templates"])
    if kind == "circleci-job":
        # It says of every build, in quotes, that there is nothing to say.
        del templates["runner-environment"]
    expected = {OIDS[name]: filled(text, values) for name, text in templates.items()}
    identity = certify(stated)
    assert identity.subject == filled(described["subject-alternative-name-template"], values)
    assert identity.claims == {**expected, 24: stated["sub"]}, json.dumps(expected, indent=1)
