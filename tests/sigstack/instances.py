"""Two Sigstore instances behind one interface, so that one suite judges both.

`Stack` of `stack.py` is the real one. `Embedded` are the services of the local trust domain, served
over HTTP on 127.0.0.1 by this process, and certifying whom the issuers of `identities.py` vouch for
instead of one user.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from aperio_cli.proving.signature import TrustedRootSource
from aperio_cli.signing.local import documents, server, tokens
from tests.commands import typed
from tests.sigstack.forks import run_sigstore
from tests.sigstack.identities import BUILDS, PEOPLE, PIPELINES, TokenIssuer
from tests.sigstack.stack import run_client
from tests.simulators.ci import issuers
from tests.trust import new_domain

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.sigstack.identities import Claims

DOMAIN = "sigstack"
"""What the tests call an instance's trust domain."""

_CERTIFYING = {PEOPLE: tokens.email, BUILDS: issuers.github, PIPELINES: issuers.gitlab}


class Instance(Protocol):
    """A Sigstore instance that is running."""

    @property
    def trust_config(self) -> Path:
        """File with its ClientTrustConfig v0.1."""

    def token(self, claims: Claims) -> str:
        """An identity token with these claims, good for five minutes."""

    def run(self, argv: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command where the services are reachable; `env` is its whole environment."""


def root_of(instance: Instance) -> TrustedRootSource:
    """The instance's trusted root, as the verifier takes it."""
    return root_from(trusted_root(instance))


def trusted_root(instance: Instance) -> dict[str, Any]:
    """The instance's trusted root, to change something in it."""
    root: dict[str, Any] = json.loads(instance.trust_config.read_bytes())["trustedRoot"]
    return root


def root_from(document: Mapping[str, Any]) -> TrustedRootSource:
    """A changed trusted root, as the verifier takes it."""
    return TrustedRootSource(DOMAIN, json.dumps(document).encode())


@dataclass(frozen=True, slots=True)
class Embedded:
    """The services of a local trust domain, while this process serves them.

    Attributes:
        trust_config: names their address.
        issuer: makes tokens that they accept.
    """

    trust_config: Path
    issuer: TokenIssuer

    def token(self, claims: Claims) -> str:
        """An identity token with these claims."""
        return self.issuer.token(claims)

    def run(self, argv: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command; without a proxy, everything on this machine reaches the services.

        One of ours is done in this process, and sigstore's forked: to start Python and import
        either takes longer than to sign.
        """
        if tuple(argv[1:3]) == ("-m", "aperio_cli"):
            return typed(argv[3:], env)
        if tuple(argv[1:3]) == ("-m", "sigstore"):
            return run_sigstore(argv[3:], env)
        return run_client(argv, env)


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[Embedded]:
    """An instance of the local trust domain's services while the block runs."""
    domain = new_domain(folder)
    services = replace(domain.services(), issuers=_CERTIFYING)
    with server.serving(services) as url:
        path = folder / "trust_config.json"
        root = json.loads(domain.trusted_root_json())
        path.write_text(documents.client_trust_config(root, url), encoding="utf-8")
        yield Embedded(path, TokenIssuer(services.token_key))


def environment(home: Path) -> dict[str, str]:
    """The environment of a client: a home of its own and the programs of this machine."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "APERIO_HOME": str(home / "aperio"),
        "LANG": "C.UTF-8",
    }
