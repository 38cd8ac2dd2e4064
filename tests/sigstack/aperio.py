"""Our own command at both ends: whoever publishes, on an instance, and whoever verifies."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.__main__ import main
from aperio_cli.models.artifact import ATTESTATIONS_SUFFIX, BUNDLE_SUFFIX
from tests.builders import write_artifact
from tests.sigstack import instances
from tests.sigstack.identities import ALICE, BUILDS, PEOPLE, PIPELINES, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from tests.sigstack.clients import Document
    from tests.sigstack.identities import Claims
    from tests.sigstack.instances import Instance

Rule = dict[str, Any]
PERSON_RULE: Rule = {
    "namespace": "acme",
    "domain": instances.DOMAIN,
    "identity": ALICE,
    "issuer": PEOPLE,
}
BUILD_RULE: Rule = {
    "namespace": "acme",
    "domain": instances.DOMAIN,
    "ci": "github",
    "issuer": BUILDS,
    "repository": REPOSITORY,
    "repository_id": "514202610",
    "owner_id": "70114201",
    "workflow": ".github/workflows/release.yml",
    "ref": "refs/tags/v{version}",
    "runner": "github-hosted",
    "tier": "verified",
}
PIPELINE_RULE: Rule = BUILD_RULE | {
    "ci": "gitlab",
    "issuer": PIPELINES,
    "repository": "https://gitlab.com/acme/box-connector",
    "repository_id": "51420261",
    "owner_id": "7011420",
    "workflow": ".gitlab-ci.yml",
    "runner": "gitlab-hosted",
}


@dataclass(frozen=True, slots=True)
class Done:
    """A command of ours that has ended.

    Attributes:
        status: its exit status.
        document: what it wrote to stdout with `--json`.
    """

    status: int
    document: Document

    @property
    def data(self) -> Any:
        """What was asked for."""
        return self.document["data"]

    @property
    def error(self) -> Document:
        """The only error: code, what, why, next."""
        (error,) = self.document["errors"]
        return dict(error)

    @classmethod
    def of(cls, status: int, stdout: str, stderr: str) -> Done:
        """The outcome of a command; one that writes no document fails the test."""
        assert stdout, stderr
        return cls(status, json.loads(stdout))


def bundle_of(artifact: Path) -> Path:
    """Where the artifact's bundle stands."""
    return artifact.with_name(artifact.name + BUNDLE_SUFFIX)


def attestations_of(artifact: Path) -> Path:
    """Where its attestations stand."""
    return artifact.with_name(artifact.name + ATTESTATIONS_SUFFIX)


def sign(
    instance: Instance, artifact: Path, token: str, home: Path, *, trust_config: Path | None = None
) -> Done:
    """`aperio plugin sign` on an instance, where its services are reachable.

    Args:
        instance: where to sign.
        artifact: what to sign.
        token: an identity token.
        home: of the user.
        trust_config: what describes the instance; its own file, unless another is given.
    """
    program = (sys.executable, "-m", "aperio_cli", "--json")
    trust = ("--trust", str(trust_config or instance.trust_config), "--identity-token", token)
    argv = (*program, "plugin", "sign", str(artifact), *trust)
    ended = instance.run(argv, instances.environment(home))
    return Done.of(ended.returncode, ended.stdout, ended.stderr)


def release(instance: Instance, folder: Path, claims: Claims) -> Path:
    """A new artifact, signed with a token of these claims; a failure is the test's."""
    artifact = write_artifact(folder / "dist")
    done = sign(instance, artifact, instance.token(claims), folder)
    assert done.status == 0, done.document
    return artifact


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever verifies: in this process, offline, outside of the instance's network.

    Attributes:
        home: of aperio; holds `config.toml`.
    """

    home: Path
    capsys: pytest.CaptureFixture[str]

    def states(
        self, domain: Path, *rules: Rule, policy: Mapping[str, Any] | None = None
    ) -> Operator:
        """The same operator, whose configuration says this.

        Args:
            domain: the file that the trust domain `sigstack` is read from.
            rules: entries of `[[publishers]]`.
            policy: `[policy]`.
        """
        domains = {"name": instances.DOMAIN, "file": str(domain)}
        tables = [("[[domains]]", domains), *(("[[publishers]]", rule) for rule in rules)]
        tables += [("[policy]", dict(policy or {}))]
        self.home.mkdir(mode=0o700, exist_ok=True)
        text = "\n".join(_table(header, values) for header, values in tables)
        (self.home / "config.toml").write_text(text, encoding="utf-8")
        return self

    def run(self, *words: str) -> Done:
        """Type a command of ours, which may use no network."""
        self.capsys.readouterr()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            status = main(["--json", "--offline", "--home", str(self.home), *words])
        finally:
            signal.signal(signal.SIGTERM, handler)
        said = self.capsys.readouterr()
        return Done.of(status, said.out, said.err)

    def verifies(self, artifact: Path) -> Done:
        """`aperio plugin verify` of an artifact file."""
        return self.run("plugin", "verify", str(artifact))


def _table(header: str, values: Mapping[str, Any]) -> str:
    # What JSON writes for text and truth values is TOML too.
    return "\n".join([header, *(f"{key} = {json.dumps(value)}" for key, value in values.items())])
