"""Whom the test instances certify: their OIDC issuers, the tokens, and Fulcio's configuration.

One issuer vouches for people by their e-mail address, one for builds with the claims of GitHub
Actions (GitHub Docs, "OpenID Connect reference"), one with those of GitLab CI (GitLab Docs, "OIDC
ID tokens"). `EXTENSIONS` and `SUBJECTS` say how Fulcio makes certificates of them, after its own
config/identity/config.yaml; the embedded authority has rules of its own for that, which a test
holds to the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from aperio_cli import clock

AUDIENCE = "sigstore"
ISSUER_PORT = 8888
PEOPLE = f"http://127.0.0.1:{ISSUER_PORT}/people"
BUILDS = f"http://127.0.0.1:{ISSUER_PORT}/builds"
PIPELINES = f"http://127.0.0.1:{ISSUER_PORT}/pipelines"

# Whom tokens speak for, unless a test says otherwise, as their certificates say it.
ALICE = "alice@example.com"
COMMIT = "8f6f1d3c2b5a49786f5e4d3c2b1a09f8e7d6c5b4"
REPOSITORY = "https://github.com/acme/box-connector"
WORKFLOW = f"{REPOSITORY}/.github/workflows/release.yml@refs/tags/v1.2.3"
PIPELINE = "https://gitlab.com/acme/box-connector//.gitlab-ci.yml@refs/tags/v1.2.3"

# By issuer, the name of an extension in Fulcio's configuration, and the claim, or the template of
# Go's text/template, that gives its value.
EXTENSIONS = {
    BUILDS: {
        "github-workflow-trigger": "event_name",
        "github-workflow-sha": "sha",
        "github-workflow-name": "workflow",
        "github-workflow-repository": "repository",
        "github-workflow-ref": "ref",
        "build-signer-uri": "{{ .url }}/{{ .job_workflow_ref }}",
        "build-signer-digest": "job_workflow_sha",
        "runner-environment": "runner_environment",
        "source-repository-uri": "{{ .url }}/{{ .repository }}",
        "source-repository-digest": "sha",
        "source-repository-ref": "ref",
        "source-repository-identifier": "repository_id",
        "source-repository-owner-uri": "{{ .url }}/{{ .repository_owner }}",
        "source-repository-owner-identifier": "repository_owner_id",
        "build-config-uri": "{{ .url }}/{{ .workflow_ref }}",
        "build-config-digest": "workflow_sha",
        "build-trigger": "event_name",
        "run-invocation-uri": (
            "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}"
        ),
        "source-repository-visibility-at-signing": "repository_visibility",
    },
    PIPELINES: {
        "build-signer-uri": "https://{{ .ci_config_ref_uri }}",
        "build-signer-digest": "ci_config_sha",
        "runner-environment": "runner_environment",
        "source-repository-uri": "{{ .url }}/{{ .project_path }}",
        "source-repository-digest": "sha",
        "source-repository-ref": (
            'refs/{{ if eq .ref_type "branch" }}heads/{{ else }}tags/{{ end }}{{ .ref }}'
        ),
        "source-repository-identifier": "project_id",
        "source-repository-owner-uri": "{{ .url }}/{{ .namespace_path }}",
        "source-repository-owner-identifier": "namespace_id",
        "build-config-uri": "https://{{ .ci_config_ref_uri }}",
        "build-config-digest": "ci_config_sha",
        "build-trigger": "pipeline_source",
        "run-invocation-uri": "{{ .url }}/{{ .project_path }}/-/jobs/{{ .job_id }}",
        "source-repository-visibility-at-signing": "project_visibility",
    },
}
SUBJECTS = {
    BUILDS: "{{ .url }}/{{ .job_workflow_ref }}",
    PIPELINES: "https://{{ .ci_config_ref_uri }}",
}

Claims = dict[str, Any]

_LIFETIME = timedelta(minutes=5)
_ALGORITHM = "ES256"
_KEY_ID = "tokens"


def person(email: str = ALICE) -> Claims:
    """The claims of somebody who showed an e-mail address."""
    return {"sub": email, "email": email, "email_verified": True}


def build(version: str = "1.2.3", **changes: Any) -> Claims:
    """The claims of a build of `acme/box-connector` at the tag of a version; some may differ."""
    ref = f"refs/tags/v{version}"
    workflow = f"acme/box-connector/.github/workflows/release.yml@{ref}"
    claims = {
        "sub": f"repo:acme/box-connector:ref:{ref}",
        "repository": "acme/box-connector",
        "repository_id": "514202610",
        "repository_owner": "acme",
        "repository_owner_id": "70114201",
        "repository_visibility": "public",
        "workflow": "release",
        "workflow_ref": workflow,
        "workflow_sha": COMMIT,
        "job_workflow_ref": workflow,
        "job_workflow_sha": COMMIT,
        "ref": ref,
        "ref_type": "tag",
        "sha": COMMIT,
        "event_name": "push",
        "run_id": "9034112775",
        "run_attempt": "1",
        "runner_environment": "github-hosted",
        "actor": "alice",
    }
    return claims | changes


def pipeline(version: str = "1.2.3", **changes: Any) -> Claims:
    """The claims of a pipeline for the tag of a version; some may differ."""
    tag = f"v{version}"
    claims = {
        "sub": f"project_path:acme/box-connector:ref_type:tag:ref:{tag}",
        "project_path": "acme/box-connector",
        "project_id": "51420261",
        "project_visibility": "public",
        "namespace_path": "acme",
        "namespace_id": "7011420",
        "ci_config_ref_uri": f"gitlab.com/acme/box-connector//.gitlab-ci.yml@refs/tags/{tag}",
        "ci_config_sha": COMMIT,
        "ref": tag,
        "ref_type": "tag",
        "sha": COMMIT,
        "pipeline_source": "push",
        "pipeline_id": "9034112",
        "job_id": "77120356",
        "runner_environment": "gitlab-hosted",
        "user_login": "alice",
    }
    return claims | changes


def issuer_of(claims: Claims) -> str:
    """The URL of the issuer that vouches for such claims."""
    if "email" in claims:
        return PEOPLE
    return PIPELINES if "project_path" in claims else BUILDS


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """The issuers of an instance: they share one key.

    Attributes:
        key: P-256, signs tokens with ES256 (RFC 7518).
    """

    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def token(self, claims: Claims) -> str:
        """A JWT (RFC 7519) for five minutes; what `claims` says about its frame wins."""
        now = clock.now()
        frame = {
            "iss": issuer_of(claims),
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + _LIFETIME,
        }
        return jwt.encode(frame | claims, self.key, _ALGORITHM, headers={"kid": _KEY_ID})

    def documents(self) -> dict[str, Claims]:
        """What the issuers serve, by path: OpenID Connect Discovery 1.0 and RFC 7517."""
        key = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        keys = {"keys": [key | {"kid": _KEY_ID, "alg": _ALGORITHM, "use": "sig"}]}
        served: dict[str, Claims] = {}
        for issuer in (PEOPLE, BUILDS, PIPELINES):
            path = issuer.partition(f":{ISSUER_PORT}")[2]
            served[f"{path}/keys"] = keys
            served[f"{path}/.well-known/openid-configuration"] = {
                "issuer": issuer,
                "jwks_uri": f"{issuer}/keys",
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [_ALGORITHM],
            }
        return served


def fulcio_configuration() -> Claims:
    """Fulcio's configuration file, with every issuer; keys as its YAML form has them."""
    people = {"issuer-url": PEOPLE, "client-id": AUDIENCE, "type": "email"}
    services = {
        BUILDS: ("github-workflow", "https://github.com"),
        PIPELINES: ("gitlab-pipeline", "https://gitlab.com"),
    }
    builds = {
        issuer: {
            "issuer-url": issuer,
            "client-id": AUDIENCE,
            "type": "ci-provider",
            "ci-provider": provider,
        }
        for issuer, (provider, _) in services.items()
    }
    providers = {
        provider: {
            "default-template-values": {"url": url},
            "extension-templates": EXTENSIONS[issuer],
            "subject-alternative-name-template": SUBJECTS[issuer],
        }
        for issuer, (provider, url) in services.items()
    }
    return {"oidc-issuers": {PEOPLE: people} | builds, "ci-issuer-metadata": providers}
