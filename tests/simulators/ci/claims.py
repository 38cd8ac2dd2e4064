"""Claims as the CI services and OpenID providers put them into their identity tokens.

Shapes: GitHub (docs.github.com, OpenID Connect reference), GitLab (docs.gitlab.com, ID token
authentication), Buildkite (buildkite.com/docs, cli-oidc), CircleCI (circleci.com/docs, OpenID
Connect tokens), Google (cloud.google.com, ID tokens), dex (dexidp.io, custom claims).
"""

from __future__ import annotations

from typing import Any

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
GITLAB_ISSUER = "https://gitlab.com"
BUILDKITE_ISSUER = "https://agent.buildkite.com"
CIRCLECI_ISSUER = "https://oidc.circleci.com"
GOOGLE_ISSUER = "https://accounts.google.com"
DEX_ISSUER = "https://oauth2.sigstore.dev/auth"

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def github(**changes: Any) -> dict[str, Any]:
    """A job of acme's release workflow on a tag."""
    claims: dict[str, Any] = {
        "iss": GITHUB_ISSUER,
        "sub": "repo:acme/aperio-plugin-box:ref:refs/tags/v1.2.3",
        "ref": "refs/tags/v1.2.3",
        "ref_type": "tag",
        "sha": COMMIT,
        "repository": "acme/aperio-plugin-box",
        "repository_owner": "acme",
        "repository_id": "123456",
        "repository_owner_id": "789",
        "repository_visibility": "public",
        "actor": "alice",
        "actor_id": "42",
        "event_name": "push",
        "workflow": "release",
        "workflow_ref": "acme/aperio-plugin-box/.github/workflows/release.yml@refs/tags/v1.2.3",
        "workflow_sha": COMMIT,
        "job_workflow_ref": "acme/aperio-plugin-box/.github/workflows/release.yml@refs/tags/v1.2.3",
        "job_workflow_sha": COMMIT,
        "run_id": "1001",
        "run_number": "7",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
        "base_ref": "",
        "head_ref": "",
        "ref_protected": "false",
    }
    return claims | changes


def gitlab(**changes: Any) -> dict[str, Any]:
    """A job of acme's pipeline on a tag."""
    claims: dict[str, Any] = {
        "iss": GITLAB_ISSUER,
        "sub": "project_path:acme/aperio-plugin-box:ref_type:tag:ref:v1.2.3",
        "ref": "v1.2.3",
        "ref_type": "tag",
        "ref_protected": "true",
        "sha": COMMIT,
        "project_path": "acme/aperio-plugin-box",
        "project_id": "654321",
        "project_visibility": "public",
        "namespace_path": "acme",
        "namespace_id": "987",
        "user_login": "alice",
        "user_email": "alice@acme.example",
        "pipeline_id": "2002",
        "pipeline_source": "push",
        "job_id": "3003",
        "runner_id": 12,
        "runner_environment": "gitlab-hosted",
        "ci_config_ref_uri": "gitlab.com/acme/aperio-plugin-box//.gitlab-ci.yml@refs/tags/v1.2.3",
        "ci_config_sha": COMMIT,
    }
    return claims | changes


def buildkite(**changes: Any) -> dict[str, Any]:
    """A job of acme's pipeline."""
    claims: dict[str, Any] = {
        "iss": BUILDKITE_ISSUER,
        "sub": "organization:acme:pipeline:box:ref:refs/tags/v1.2.3:commit:0123:step:sign",
        "organization_slug": "acme",
        "pipeline_slug": "box",
        "build_number": 7,
        "build_branch": "v1.2.3",
        "build_tag": "v1.2.3",
        "build_commit": COMMIT,
        "build_source": "webhook",
        "step_key": "sign",
        "job_id": "0184990a-477b-4fa8-9968-496074483cee",
        "agent_id": "0184990a-4782-42b5-afc1-16715b10b8ff",
        "runner_environment": "buildkite-hosted",
    }
    return claims | changes


def circleci(**changes: Any) -> dict[str, Any]:
    """A job of acme's pipeline."""
    prefix = "oidc.circleci.com"
    claims: dict[str, Any] = {
        "iss": CIRCLECI_ISSUER,
        "sub": "org/1/project/2/user/3",
        f"{prefix}/project-id": "2",
        f"{prefix}/pipeline-definition-id": "4",
        f"{prefix}/pipeline-id": "5",
        f"{prefix}/workflow-id": "6",
        f"{prefix}/job-id": "7",
        f"{prefix}/vcs-origin": "github.com/acme/aperio-plugin-box",
        f"{prefix}/vcs-ref": "refs/tags/v1.2.3",
        f"{prefix}/ssh-rerun": False,
    }
    return claims | changes


def google(**changes: Any) -> dict[str, Any]:
    """A service account."""
    claims: dict[str, Any] = {
        "iss": GOOGLE_ISSUER,
        "sub": "117042421",
        "azp": "117042421",
        "email": "release@acme.iam.gserviceaccount.com",
        "email_verified": True,
    }
    return claims | changes


def person(issuer: str, **changes: Any) -> dict[str, Any]:
    """Somebody who logged in at an OpenID provider."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": "CgVhbGljZQ",
        "email": "alice@acme.example",
        "email_verified": True,
    }
    return claims | changes


def dex(**changes: Any) -> dict[str, Any]:
    """Somebody whom Sigstore's own provider sent to Google to log in."""
    federated = {"connector_id": GOOGLE_ISSUER, "user_id": "117042421"}
    return person(DEX_ISSUER, federated_claims=federated) | changes
