"""Clients of an instance that are not ours, and what our verifier says to what they make."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors import Refusal
from aperio_cli.models.digest import Digest
from aperio_cli.models.proof import PROVENANCE_TYPE
from aperio_cli.proving.attestations import verify_attestations
from aperio_cli.proving.signature import verify_signature
from tests.sigstack import instances
from tests.sigstack.identities import COMMIT, REPOSITORY, WORKFLOW

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping
    from pathlib import Path

    from aperio_cli.models.proof import Attestation, Proof
    from aperio_cli.proving.signature import TrustedRootSource
    from tests.sigstack.instances import Instance

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Signed:
    """A file and a bundle over it.

    Attributes:
        digest: of the file.
        bundle: the document; a test that changes it takes a copy.
    """

    digest: Digest
    bundle: Document

    def twin(self) -> Document:
        """A copy of the bundle, to change one thing in it."""
        return copy.deepcopy(self.bundle)


def sigstore(
    instance: Instance, env: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run sigstore-python's command where the instance is reachable."""
    trust = ("--trust-config", str(instance.trust_config))
    return instance.run([sys.executable, "-m", "sigstore", *trust, *arguments], env)


def sign(instance: Instance, folder: Path, contents: bytes, token: str) -> Signed:
    """Sign a file of these contents in a folder; a failure is the test's."""
    path, bundle = folder / "artifact", folder / "bundle.json"
    path.write_bytes(contents)
    env = instances.environment(folder)
    arguments = ("sign", "--overwrite", "--identity-token", token, "--bundle", str(bundle))
    done = sigstore(instance, env, *arguments, str(path))
    assert done.returncode == 0, done.stderr
    return Signed(Digest.of(contents), json.loads(bundle.read_bytes()))


def proof_of(instance: Instance, signed: Signed) -> Proof:
    """What our verifier finds out about a bundle; a refusal is the test's failure."""
    root = instances.root_of(instance)
    return verify_signature(signed.digest, json.dumps(signed.bundle).encode(), [root])


def refusal(digest: Digest, bundle: Mapping[str, Any], root: TrustedRootSource) -> Refusal:
    """Why our verifier refuses a bundle for the file of a digest."""
    with pytest.raises(Refusal) as caught:
        verify_signature(digest, json.dumps(bundle).encode(), [root])
    return caught.value


def attest(
    instance: Instance, folder: Path, contents: bytes, predicate: Mapping[str, Any], token: str
) -> Signed:
    """Sign SLSA provenance v1 about a file of these contents; a failure is the test's."""
    path, stated, bundle = folder / "artifact", folder / "predicate.json", folder / "bundle.json"
    path.write_bytes(contents)
    stated.write_text(json.dumps(predicate), encoding="utf-8")
    arguments = (
        *("attest", "--overwrite", "--identity-token", token, "--bundle", str(bundle)),
        *("--predicate-type", PROVENANCE_TYPE, "--predicate", str(stated)),
    )
    done = sigstore(instance, instances.environment(folder), *arguments, str(path))
    assert done.returncode == 0, done.stderr
    return Signed(Digest.of(contents), json.loads(bundle.read_bytes()))


def provenance(**changes: Any) -> Document:
    """A SLSA provenance v1 predicate of the tokens' build; its definition may differ."""
    definition = {
        "buildType": "https://actions.github.io/buildtypes/workflow/v1",
        "externalParameters": {
            "workflow": {
                "ref": "refs/tags/v1.2.3",
                "repository": REPOSITORY,
                "path": ".github/workflows/release.yml",
            }
        },
        "resolvedDependencies": [
            {"uri": f"git+{REPOSITORY}@refs/tags/v1.2.3", "digest": {"gitCommit": COMMIT}}
        ],
    }
    return {
        "buildDefinition": definition | changes,
        "runDetails": {"builder": {"id": WORKFLOW}},
    }


def attested(digest: Digest, bundle: Mapping[str, Any], root: TrustedRootSource) -> Attestation:
    """What our verifier makes of one bundle in a file of attestations."""
    (attestation,) = verify_attestations(digest, json.dumps(bundle).encode(), [root])
    return attestation


def attestation_refusal(
    digest: Digest, bundle: Mapping[str, Any], root: TrustedRootSource
) -> Refusal:
    """Why our verifier refuses one bundle in a file of attestations."""
    with pytest.raises(Refusal) as caught:
        attested(digest, bundle, root)
    return caught.value
