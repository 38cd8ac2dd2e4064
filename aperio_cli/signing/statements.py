"""What is said about an artifact besides that it is signed: how it was built, what is in it.

in-toto statements (in-toto/attestation, spec/v1/statement.md) with two kinds of predicate: SLSA
provenance (slsa.dev, provenance v1) and the software bill of materials (CycloneDX, JSON).

The provenance says what the certificate says, no more: the service that issued it vouches for
repository, commit and workflow. It is put together by the job that signs, not by a builder that
the job could not influence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aperio_cli.archive import reading, rules
from aperio_cli.errors.trust import SigningFailed
from aperio_cli.files.reading import open_regular
from aperio_cli.models.proof import PROVENANCE_TYPE, SBOM_TYPE, UNATTESTED_BUILDER
from aperio_cli.models.publisher import (
    BUILD_CONFIG_URI,
    CI_SERVICES,
    OWNER_ID,
    REPOSITORY_ID,
    REPOSITORY_REF,
    REPOSITORY_URI,
    RUNNER,
)
from aperio_cli.models.reading import Bounds, Unreadable, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.artifact import Artifact
    from aperio_cli.models.publisher import Signer

MAX_SBOM_BYTES: Final = 4 * 1024 * 1024
_SBOM_BOUNDS: Final = Bounds(MAX_SBOM_BYTES, members=500_000)
SBOM_MEMBER: Final = "sbom.cdx.json"
"""The artifact's member with the bill of materials, which `plugin build` writes."""

UNATTESTED_TYPE: Final = "https://local.aperio.invalid/buildtypes/unattested/v1"
# What the services document for builds of theirs; the builder is their runner and where it runs.
_BUILD_TYPES: Final = {
    "github": "https://actions.github.io/buildtypes/workflow/v1",
    "gitlab": "https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1",
}
_RUNNERS: Final = {
    "github": "https://github.com/actions/runner",
    "gitlab": "https://gitlab.com/gitlab-org/gitlab-runner",
}
_INVOCATION: Final = "run_invocation_uri"
_REVISION: Final = "source_repository_digest"
_TRIGGER: Final = "build_trigger"


def statements(signer: Signer, sbom: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Return the predicates about an artifact, by predicate type, in the order of their signatures.

    Args:
        signer: who signed the artifact, as its certificate says.
        sbom: its bill of materials; None when it has none.
    """
    made: dict[str, Mapping[str, Any]] = {PROVENANCE_TYPE: provenance(signer)}
    return made if sbom is None else made | {SBOM_TYPE: sbom}


def read_sbom(artifact: Artifact) -> dict[str, Any] | None:
    """Return the bill of materials in an artifact, a CycloneDX document; None when it has none.

    Raises:
        SigningFailed: when it is longer than 4 MiB or not a CycloneDX document.
        ArchiveRefused: when the file is not an artifact.
        OSError: when it cannot be read.
    """
    with open_regular(artifact.path, follow_links=True) as content:
        reader = reading.Reader(content, rules.DEFAULT_LIMITS, subject=f"`{artifact.path}`")
        for entry in reader:
            if entry.path != SBOM_MEMBER:
                continue
            if entry.size_bytes > MAX_SBOM_BYTES:
                raise _no_sbom(artifact, f"{entry.size_bytes} bytes; at most {MAX_SBOM_BYTES}")
            return _parsed_sbom(artifact, b"".join(reader.body()))
    return None


def _parsed_sbom(artifact: Artifact, data: bytes) -> dict[str, Any]:
    try:
        document = read_json(data, _SBOM_BOUNDS)
    except Unreadable as error:
        raise _no_sbom(artifact, str(error)) from error
    if not isinstance(document, dict) or document.get("bomFormat") != "CycloneDX":
        raise _no_sbom(artifact, "not a CycloneDX document")
    return document


def _no_sbom(artifact: Artifact, why: str) -> SigningFailed:
    return SigningFailed(
        f"`{artifact.path}` was not signed: its bill of materials cannot be attested",
        why=f"{SBOM_MEMBER}: {why}",
        next=["build it again: `aperio plugin build`"],
    )


def provenance(signer: Signer) -> dict[str, Any]:
    """Return the SLSA provenance v1 of what this signer built, from the certificate's own claims.

    Without a CI service's claims it names nothing: no source, and a builder that nobody attests.
    """
    repository, config = signer.claim(REPOSITORY_URI), signer.claim(BUILD_CONFIG_URI)
    for service, described in CI_SERVICES.items():
        path = config.removeprefix(repository + described.separator)
        # GitLab's separator begins with GitHub's, so that a path never begins with `/`.
        if repository and path != config and not path.startswith("/"):
            return _of_build(service, signer, path.rpartition("@")[0])
    return {
        "buildDefinition": {"buildType": UNATTESTED_TYPE, "externalParameters": {}},
        "runDetails": {"builder": {"id": UNATTESTED_BUILDER}},
    }


def _of_build(service: str, signer: Signer, path: str) -> dict[str, Any]:
    source = f"git+{signer.claim(REPOSITORY_URI)}@{signer.claim(REPOSITORY_REF)}"
    commit = _stated({"gitCommit": signer.claim(_REVISION)})
    return {
        "buildDefinition": {
            "buildType": _BUILD_TYPES[service],
            **_PARAMETERS[service](signer, path),
            "resolvedDependencies": [_stated({"uri": source, "digest": commit})],
        },
        "runDetails": {
            "builder": {"id": f"{_RUNNERS[service]}/{signer.claim(RUNNER)}"},
            "metadata": _stated({"invocationId": signer.claim(_INVOCATION)}),
        },
    }


def _of_github(signer: Signer, path: str) -> dict[str, Any]:
    workflow = {
        "ref": signer.claim(REPOSITORY_REF),
        "repository": signer.claim(REPOSITORY_URI),
        "path": path,
    }
    github = {
        "event_name": signer.claim(_TRIGGER),
        "repository_id": signer.claim(REPOSITORY_ID),
        "repository_owner_id": signer.claim(OWNER_ID),
        "runner_environment": signer.claim(RUNNER),
    }
    return {
        "externalParameters": {"workflow": _stated(workflow)},
        "internalParameters": {"github": _stated(github)},
    }


def _of_gitlab(signer: Signer, path: str) -> dict[str, Any]:
    # GitLab documents `source` and the job's name as `entryPoint`. No certificate names the job;
    # what it does name is the file that defines it.
    external = {
        "source": signer.claim(REPOSITORY_URI),
        "ref": signer.claim(REPOSITORY_REF),
        "configuration": path,
    }
    gitlab = {
        "pipeline_source": signer.claim(_TRIGGER),
        "project_id": signer.claim(REPOSITORY_ID),
        "namespace_id": signer.claim(OWNER_ID),
        "runner_environment": signer.claim(RUNNER),
    }
    return {
        "externalParameters": _stated(external),
        "internalParameters": {"gitlab": _stated(gitlab)},
    }


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the values that the certificate leaves out."""
    return {name: value for name, value in values.items() if value}


_PARAMETERS: Final = {"github": _of_github, "gitlab": _of_gitlab}
