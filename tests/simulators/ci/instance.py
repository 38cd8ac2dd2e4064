"""A private Sigstore instance: the embedded domain's services, with issuers as Fulcio has them.

Every token is signed with the one token key, whoever its issuer is said to be: the stand-in
is for what clients do with tokens and what certificates say, not for telling issuers apart.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt

from aperio_cli import clock
from aperio_cli.proving.trusted_root import TrustedRootSource
from aperio_cli.signing.local import documents, server, tokens
from aperio_cli.signing.local.server import Reply, Services
from tests.simulators.ci import claims as shapes
from tests.simulators.ci import issuers
from tests.trust import new_domain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

LIFETIME = timedelta(minutes=5)
ISSUERS = {
    shapes.GITHUB_ISSUER: issuers.github,
    shapes.GITLAB_ISSUER: issuers.gitlab,
    shapes.BUILDKITE_ISSUER: issuers.buildkite,
    shapes.CIRCLECI_ISSUER: issuers.circleci,
    shapes.GOOGLE_ISSUER: tokens.email,
    shapes.DEX_ISSUER: issuers.federated_email,
}

Fault = Callable[[bytes], Reply]


@dataclass(frozen=True, slots=True)
class FaultyServices(Services):
    """Services of which some do something else, by path."""

    faults: dict[str, Fault] = field(default_factory=dict)

    def answer(self, path: str, authorization: str, body: bytes) -> Reply:
        """The fault for this path, if there is one."""
        if path in self.faults:
            return self.faults[path](body)
        return Services.answer(self, path, authorization, body)


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance that answers.

    Attributes:
        domain: the embedded domain behind it.
        services: what answers; `faults` may be set while it runs.
        url: where.
        file: its ClientTrustConfig.
    """

    domain: LocalDomain
    services: FaultyServices
    url: str
    file: Path

    @property
    def root(self) -> TrustedRootSource:
        """What its bundles verify against."""
        return TrustedRootSource(str(self.file), self.domain.trusted_root_json().encode())

    @property
    def entries(self) -> int:
        """How many signatures its log has."""
        log = self.domain.directory / "log" / "entries.jsonl"
        return len(log.read_bytes().splitlines()) if log.exists() else 0

    def mint(self, stated: dict[str, Any], **changes: Any) -> str:
        """A token with these claims, for Sigstore and for now, unless a change says otherwise.

        A change to None leaves the claim out.
        """
        now = clock.now()
        times = {"aud": "sigstore", "iat": now, "nbf": now, "exp": now + LIFETIME}
        made = {**times, **stated, **changes}
        kept = {name: value for name, value in made.items() if value is not None}
        return jwt.encode(kept, self.services.token_key, algorithm="ES256")

    def provide_login(self, url: str) -> None:
        """State an OpenID provider at a URL, whose word for e-mail addresses is taken."""
        document = json.loads(self.file.read_text())
        service = {**document["signingConfig"]["caUrls"][0], "url": url}
        document["signingConfig"]["oidcUrls"] = [service]
        self.file.write_text(json.dumps(document))
        self.services.issuers[url] = tokens.email  # type: ignore[index]  # ours: a plain dict


@contextlib.contextmanager
def instance(folder: Path) -> Iterator[Instance]:
    """An instance on 127.0.0.1 while the block runs; its files are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    domain = new_domain(folder)
    plain = domain.services()
    parts = {part.name: getattr(plain, part.name) for part in fields(plain)}
    services = FaultyServices(**{**parts, "issuers": {**plain.issuers, **ISSUERS}})
    with server.serving(services) as url:
        file = folder / "trust_config.json"
        root = json.loads(domain.trusted_root_json())
        file.write_text(documents.client_trust_config(root, url))
        yield Instance(domain, services, url, file)
