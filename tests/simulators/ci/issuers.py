"""How certificate authorities make identities of the claims in tokens, by the kind of issuer.

The rules are those of Fulcio's configuration (sigstore/fulcio, config/identity/config.yaml) for the
kinds of issuers that publishers use; a value that a template asks for and a token lacks refuses it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.signing.local.authority import LeafIdentity
from aperio_cli.signing.local.tokens import ClaimsUnfit, email

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.signing.local.tokens import Claims

_FIELD = re.compile(r"\{([^{}]+)\}")
_TOKEN_SUBJECT = 24


@dataclass(frozen=True, slots=True)
class Templates:
    """What certificates of a CI service's builds say; `{name}` stands for a claim.

    Attributes:
        subject: the subject alternative name, a URI.
        claims: texts by their number under Fulcio's arc 1.3.6.1.4.1.57264.1 (docs/oid-info.md).
        defaults: claims that a token may leave out.
    """

    subject: str
    claims: Mapping[int, str]
    defaults: Mapping[str, str]


def federated_email(claims: Claims) -> LeafIdentity:
    """The same, where the issuer only passes on the word of another: that one is named."""
    federated = claims.get("federated_claims")
    issuer = federated.get("connector_id") if isinstance(federated, dict) else None
    if not isinstance(issuer, str) or not issuer:
        raise ClaimsUnfit("it does not say who logged its bearer in")
    return LeafIdentity(email(claims).subject, issuer)


def github(claims: Claims) -> LeafIdentity:
    """A job of GitHub Actions."""
    return _build(_GITHUB, claims)


def gitlab(claims: Claims) -> LeafIdentity:
    """A job of GitLab CI."""
    kind = "heads" if claims.get("ref_type") == "branch" else "tags"
    return _build(_GITLAB, {"ref_kind": kind, **claims})


def buildkite(claims: Claims) -> LeafIdentity:
    """A job of Buildkite."""
    return _build(_BUILDKITE, claims)


def circleci(claims: Claims) -> LeafIdentity:
    """A job of CircleCI."""
    return _build(_CIRCLECI, claims)


def _build(templates: Templates, claims: Claims) -> LeafIdentity:
    values = {**templates.defaults, **{name: _text(value) for name, value in claims.items()}}
    texts = {number: _filled(text, values) for number, text in templates.claims.items()}
    stated = {number: text for number, text in texts.items() if text}
    stated[_TOKEN_SUBJECT] = values["sub"]
    return LeafIdentity(_filled(templates.subject, values), claims["iss"], stated)


def _filled(template: str, values: Mapping[str, str]) -> str:
    try:
        return _FIELD.sub(lambda found: values[found[1]], template)
    except KeyError as error:
        raise ClaimsUnfit(f"it has no {error}") from error


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


_GITHUB: Final = Templates(
    subject="{url}/{job_workflow_ref}",
    claims={
        2: "{event_name}",
        3: "{sha}",
        4: "{workflow}",
        5: "{repository}",
        6: "{ref}",
        9: "{url}/{job_workflow_ref}",
        10: "{job_workflow_sha}",
        11: "{runner_environment}",
        12: "{url}/{repository}",
        13: "{sha}",
        14: "{ref}",
        15: "{repository_id}",
        16: "{url}/{repository_owner}",
        17: "{repository_owner_id}",
        18: "{url}/{workflow_ref}",
        19: "{workflow_sha}",
        20: "{event_name}",
        21: "{url}/{repository}/actions/runs/{run_id}/attempts/{run_attempt}",
        22: "{repository_visibility}",
        23: "{environment}",
    },
    defaults={"url": "https://github.com", "environment": ""},
)

_GITLAB: Final = Templates(
    subject="https://{ci_config_ref_uri}",
    claims={
        9: "https://{ci_config_ref_uri}",
        10: "{ci_config_sha}",
        11: "{runner_environment}",
        12: "{url}/{project_path}",
        13: "{sha}",
        14: "refs/{ref_kind}/{ref}",
        15: "{project_id}",
        16: "{url}/{namespace_path}",
        17: "{namespace_id}",
        18: "https://{ci_config_ref_uri}",
        19: "{ci_config_sha}",
        20: "{pipeline_source}",
        21: "{url}/{project_path}/-/jobs/{job_id}",
        22: "{project_visibility}",
        23: "{environment}",
    },
    defaults={"url": "https://gitlab.com", "environment": ""},
)

_BUILDKITE: Final = Templates(
    subject="{url}/{organization_slug}/{pipeline_slug}",
    claims={
        11: "{runner_environment}",
        13: "{build_commit}",
        20: "{build_source}",
        21: "{url}/{organization_slug}/{pipeline_slug}/builds/{build_number}#{job_id}",
    },
    defaults={"url": "https://buildkite.com"},
)

_CIRCLECI_PIPELINE = (
    "{api_url}/projects/{oidc.circleci.com/project-id}"
    "/pipeline-definitions/{oidc.circleci.com/pipeline-definition-id}"
)
_CIRCLECI_JOB = (
    "{platform_url}/workflow/{oidc.circleci.com/workflow-id}/job/{oidc.circleci.com/job-id}"
)
_CIRCLECI: Final = Templates(
    subject=_CIRCLECI_PIPELINE,
    claims={
        9: _CIRCLECI_PIPELINE,
        12: "{oidc.circleci.com/vcs-origin}",
        14: "{oidc.circleci.com/vcs-ref}",
        18: "{api_url}/pipeline/{oidc.circleci.com/pipeline-id}/config",
        21: _CIRCLECI_JOB,
    },
    defaults={
        "api_url": "https://circleci.com/api/v2",
        "platform_url": "https://app.circleci.com/",
    },
)
