"""Publishers: who signed, and the operator's rules about who may sign."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.reading import Table

ANY_NAMESPACE = "*"
LOCAL_DOMAIN: Final = "local"
PUBLIC_DOMAIN: Final = "public"
STAGING_DOMAIN: Final = "staging"
SIGSTORE_DOMAINS: Final = (PUBLIC_DOMAIN, STAGING_DOMAIN)
"""Instances of Sigstore's own: their trusted roots ship with aperio, their logs are public."""

RESERVED_DOMAINS: Final = (*SIGSTORE_DOMAINS, LOCAL_DOMAIN)
"""Names of the trust domains that are known without being configured."""

# The issuer of the domain that `aperio trust local init` makes is a name that never resolves
# (RFC 2606, `.invalid`), so a rule for it cannot come to mean somebody else's server.
LOCAL_ISSUER = "https://oidc.local.aperio.invalid"

# Names of claims: sigstore/fulcio, docs/oid-info.md, 1.3.6.1.4.1.57264.1.9 to .22.
BUILD_CONFIG_URI: Final = "build_config_uri"
OWNER_ID: Final = "source_repository_owner_identifier"
REPOSITORY_ID: Final = "source_repository_identifier"
REPOSITORY_REF: Final = "source_repository_ref"
REPOSITORY_URI: Final = "source_repository_uri"
RUNNER: Final = "runner_environment"

RULE_KEYS: Final = {
    REPOSITORY_URI: "repository",
    REPOSITORY_ID: "repository_id",
    OWNER_ID: "owner_id",
    BUILD_CONFIG_URI: "workflow",
    REPOSITORY_REF: "ref",
    RUNNER: "runner",
}
"""The key of a rule that is about each claim."""

VERSION_FIELD: Final = "{version}"
TIERS: Final = ("community", "verified", "official")
"""How well a publisher is known, the least first; `verified` and better satisfy `verified`."""


@dataclass(frozen=True, slots=True)
class CiService:
    """How a CI service names what it builds.

    Attributes:
        issuer: its hosted instance's OIDC issuer.
        separator: what stands between repository and workflow file in a build config URI.
    """

    issuer: str
    separator: str


# sigstore/fulcio, config/identity/config.yaml: the templates of the two `build-config-uri`s.
CI_SERVICES: Final = {
    "github": CiService("https://token.actions.githubusercontent.com", "/"),
    "gitlab": CiService("https://gitlab.com", "//"),
}


@dataclass(frozen=True, slots=True)
class Signer:
    """Who a cryptographically valid bundle says signed: fields of its certificate and its time.

    Attributes:
        domain: name of the trust root that the bundle verified against, such as `local`.
        identity: the certificate's only subject alternative name.
        issuer: who vouched for the identity (Fulcio OID 1.3.6.1.4.1.57264.1.8).
        signed_at: the verified timestamp, RFC 3339 in UTC.
        certificate_digest: sha256 of the leaf certificate, 64 hex digits.
        claims: other Fulcio claims of the certificate by name, in the order of their OIDs.
        further_domains: other trust roots that the bundle verified against.
    """

    domain: str
    identity: str
    issuer: str
    signed_at: str
    certificate_digest: str
    claims: tuple[tuple[str, str], ...] = ()
    further_domains: tuple[str, ...] = ()

    def claim(self, name: str) -> str:
        """Return one claim of the certificate, by name; empty when it makes none."""
        return dict(self.claims).get(name, "")

    @property
    def domains(self) -> tuple[str, ...]:
        """Every trust root that the bundle verified against."""
        return (self.domain, *self.further_domains)

    @property
    def name(self) -> str:
        """The identity as people know it from version to version.

        The identity of a CI build ends in the ref that was built, so it differs at every release;
        without `@ref` it names the workflow.
        """
        return self.identity.rpartition("@")[0] if self._is_build else self.identity

    @property
    def lineage(self) -> tuple[str, ...]:
        """What two signatures have in common when the same publisher made them.

        For a CI build: numeric ids, so that a renamed and re-registered owner is somebody else,
        and the workflows, without the ref.
        """
        if not self._is_build:
            return (self.domain, self.issuer, self.identity)
        workflow = self.claim(BUILD_CONFIG_URI).rpartition("@")[0]
        ids = (self.claim(OWNER_ID), self.claim(REPOSITORY_ID))
        return (self.domain, self.issuer, self.name, workflow, *ids)

    @property
    def _is_build(self) -> bool:
        """Whether it names a workflow at a ref, and says by numbers whose."""
        numbered = (self.claim(BUILD_CONFIG_URI), self.claim(OWNER_ID), self.claim(REPOSITORY_ID))
        return all(numbered) and "@" in self.identity

    def to_json(self) -> dict[str, object]:
        """Return the signer as receipts and reports carry it."""
        return {
            "domain": self.domain,
            "identity": self.identity,
            "issuer": self.issuer,
            "signed_at": self.signed_at,
            "certificate_sha256": self.certificate_digest,
            "claims": dict(self.claims),
            "further_domains": list(self.further_domains),
        }

    @classmethod
    def from_json(cls, table: Table) -> Signer:
        """Return the signer that a record carries; a record of 0.1.0 names one domain."""
        claims = table.table("claims")
        return cls(
            domain=table.recorded("domain"),
            identity=table.recorded("identity"),
            issuer=table.recorded("issuer"),
            signed_at=table.recorded("signed_at"),
            certificate_digest=table.recorded("certificate_sha256"),
            claims=tuple((name, claims.recorded(name)) for name in claims.values),
            further_domains=table.texts("further_domains"),
        )


@dataclass(frozen=True, slots=True)
class CiIdentity:
    """A build in a CI service, by fields that its certificate states one by one.

    Every field is stated by the operator and none is a pattern, but for `{version}` in `ref`,
    which stands for the version that was offered.

    Attributes:
        service: a key of `CI_SERVICES`.
        repository: URI of the source repository.
        repository_id: its number, which a repository of the same name does not inherit.
        owner_id: the number of its owner (GitLab: of its namespace).
        workflow: path of the workflow file in the repository.
        ref: the git ref that is built, with `{version}` in it.
        runner: `github-hosted`, `gitlab-hosted` or `self-hosted`.
        signer_workflow: the identity of a reusable workflow that signs for the repository, with
            its ref; empty when the repository's own workflow does.
    """

    service: str
    repository: str
    repository_id: str
    owner_id: str
    workflow: str
    ref: str
    runner: str
    signer_workflow: str = ""

    def expected(self, version: str) -> dict[str, str]:
        """Return what the certificate of a build of this version has to say, by claim."""
        ref = self.ref.replace(VERSION_FIELD, version)
        separator = CI_SERVICES[self.service].separator
        config = f"{self.repository}{separator}{self.workflow}@{ref}"
        return {
            "identity": self.signer_workflow or config,
            OWNER_ID: self.owner_id,
            REPOSITORY_ID: self.repository_id,
            REPOSITORY_URI: self.repository,
            REPOSITORY_REF: ref,
            BUILD_CONFIG_URI: config,
            RUNNER: self.runner,
        }

    def told(self, signer: Signer, version: str) -> Iterator[Difference]:
        """Yield in what a signer is another one, by the keys of the rule."""
        found = {key: signer.claim(claim) for claim, key in RULE_KEYS.items()}
        config = found["workflow"]
        if not any(found.values()):
            wanted = f"a build of {self.repository} in {self.service}"
            yield Difference("signer", wanted, f"{signer.identity}, which is no build")
            return
        prefix = found["repository"] + CI_SERVICES[self.service].separator
        if config.startswith(prefix) and config.endswith(f"@{found['ref']}"):
            found["workflow"] = config.removeprefix(prefix).removesuffix(f"@{found['ref']}")
        stated = self.to_json() | {"ref": self.ref.replace(VERSION_FIELD, version)}
        for key, given in found.items():
            if not stated[key] or stated[key] != given:
                yield Difference(key, stated[key] or "a value", given or "nothing")
        expected = self.signer_workflow or config
        if expected != signer.identity:
            wanted = self.signer_workflow or "none: its own workflow signs"
            yield Difference("signer_workflow", wanted, signer.identity)

    def to_json(self) -> dict[str, str]:
        """Return the build as rules carry it; `signer_workflow` only when there is one."""
        document = {
            "ci": self.service,
            "repository": self.repository,
            "repository_id": self.repository_id,
            "owner_id": self.owner_id,
            "workflow": self.workflow,
            "ref": self.ref,
            "runner": self.runner,
        }
        return document | (
            {"signer_workflow": self.signer_workflow} if self.signer_workflow else {}
        )

    @classmethod
    def from_json(cls, table: Table) -> CiIdentity:
        """Return the build that a recorded rule names; its keys stand beside the rule's."""
        return cls(
            service=table.choice("ci", tuple(CI_SERVICES)),
            repository=table.recorded("repository"),
            repository_id=table.recorded("repository_id"),
            owner_id=table.recorded("owner_id"),
            workflow=table.recorded("workflow"),
            ref=table.recorded("ref"),
            runner=table.recorded("runner"),
            signer_workflow=table.recorded("signer_workflow", ""),
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which a signer is not the one that a rule names."""

    field: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Demands:
    """What a rule asks of the build's provenance, besides the signature.

    Attributes:
        provenance: whether there has to be any; implied by the other two.
        builder: the exact builder id; empty for any.
        source_repository: the exact source repository URI; empty for any.
    """

    provenance: bool = False
    builder: str = ""
    source_repository: str = ""

    @property
    def is_any(self) -> bool:
        """Whether provenance is asked for at all."""
        return self.provenance or bool(self.builder or self.source_repository)

    def to_json(self) -> dict[str, object]:
        """Return the demands as rules carry them; only what is asked for."""
        document = {
            "require_provenance": self.provenance,
            "builder": self.builder,
            "source_repository": self.source_repository,
        }
        return {key: value for key, value in document.items() if value}

    @classmethod
    def from_json(cls, table: Table) -> Demands:
        """Return the demands of a recorded rule; their keys stand beside the rule's."""
        return cls(
            provenance=table.flag("require_provenance"),
            builder=table.recorded("builder", ""),
            source_repository=table.recorded("source_repository", ""),
        )


@dataclass(frozen=True, slots=True)
class PublisherRule:
    """One rule of the operator: who may sign for a namespace.

    Attributes:
        namespace: a namespace, or `*` for every namespace that has no rule of its own.
        domain: name of a trust root that must have verified the bundle.
        identity: the exact identity, never a pattern; empty when `ci` names it. It names no build:
            a certificate with the number of a repository needs a rule with `ci`.
        issuer: the exact issuer.
        stated_in: file that states the rule, for messages; empty for one that a record kept.
        ci: the CI build that signs; None when a person or a service account does.
        plugin: the only plugin of the namespace that the rule is about; empty for all of them.
        tier: one of `TIERS`: how well whoever states the rule knows the publisher.
        valid_from: nothing signed earlier counts; RFC 3339 in UTC, or empty.
        valid_until: nothing signed later counts; RFC 3339 in UTC, or empty.
        demands: what is asked of the provenance.
    """

    namespace: str
    domain: str
    identity: str
    issuer: str
    stated_in: str
    ci: CiIdentity | None = None
    plugin: str = ""
    tier: str = TIERS[0]
    valid_from: str = ""
    valid_until: str = ""
    demands: Demands = Demands()

    def covers(self, plugin: PluginId) -> bool:
        """Return whether the rule speaks about this plugin."""
        return self.namespace in {ANY_NAMESPACE, plugin.namespace} and self.plugin in {
            "",
            plugin.name,
        }

    def differences(self, signer: Signer, version: str) -> tuple[Difference, ...]:
        """Return every field in which the signer of this version is not whom the rule names."""
        return tuple(self._differences(signer, version))

    def _differences(self, signer: Signer, version: str) -> Iterator[Difference]:
        expected = {"domain": self.domain, "issuer": self.issuer}
        expected |= self.ci.expected(version) if self.ci else {"identity": self.identity}
        found = {"domain": signer.domain, "issuer": signer.issuer, "identity": signer.identity}
        if self.domain in signer.further_domains:
            found["domain"] = self.domain
        for field, wanted in expected.items():
            given = found[field] if field in found else signer.claim(field)
            # A blank that equals a blank would be a check of nothing.
            if not wanted or wanted != given:
                yield Difference(field, wanted or "a value", given or "nothing")
        number = signer.claim(REPOSITORY_ID)
        if number and not self.ci:
            # Of a build the identity is the workflow: a reusable one's, whoever called it, and a
            # path that a repository of the same name inherits.
            yield Difference(REPOSITORY_ID, "a rule that states it, with `ci`", number)
        # RFC 3339 in UTC, written in one way only, so that text order is time order.
        if self.valid_from and signer.signed_at < self.valid_from:
            yield Difference("signed at", f"not before {self.valid_from}", signer.signed_at)
        if self.valid_until and signer.signed_at > self.valid_until:
            yield Difference("signed at", f"not after {self.valid_until}", signer.signed_at)

    def told_differences(self, signer: Signer, version: str) -> tuple[Difference, ...]:
        """Return the differences by the keys of the rule, for people who wrote or read it."""
        differences = self.differences(signer, version)
        if not self.ci:
            return tuple(replace(d, field=RULE_KEYS.get(d.field, d.field)) for d in differences)
        compared = self.ci.expected(version)
        others = [each for each in differences if each.field not in compared]
        told = list(self.ci.told(signer, version)) if len(others) < len(differences) else []
        return (*others, *told) if told else differences

    def admits(self, signer: Signer, version: str) -> bool:
        """Return whether this signer is the one that the rule names, field by field."""
        return not self.differences(signer, version)

    def to_json(self) -> dict[str, object]:
        """Return the rule as reports carry it; keys as in config.toml."""
        document: dict[str, object] = {
            "namespace": self.namespace,
            "domain": self.domain,
            "identity": self.identity,
            "issuer": self.issuer,
        }
        if self.ci:
            del document["identity"]
            document |= self.ci.to_json()
        optional = {
            "plugin": self.plugin,
            "tier": self.tier if self.tier != TIERS[0] else "",
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
        }
        document |= {key: value for key, value in optional.items() if value}
        return document | self.demands.to_json()

    @classmethod
    def from_json(cls, table: Table) -> PublisherRule:
        """Return a rule that was in force when a record was made.

        It says who was admitted then and decides nothing: rules that count come from files.
        """
        return cls(
            namespace=table.recorded("namespace"),
            domain=table.recorded("domain"),
            identity=table.recorded("identity", ""),
            issuer=table.recorded("issuer"),
            stated_in="",
            ci=CiIdentity.from_json(table) if "ci" in table else None,
            plugin=table.recorded("plugin", ""),
            tier=table.recorded("tier", TIERS[0]),
            valid_from=table.recorded("valid_from", ""),
            valid_until=table.recorded("valid_until", ""),
            demands=Demands.from_json(table),
        )

    def to_toml(self) -> str:
        """Return the rule as lines of config.toml, without a line end behind the last."""
        # A printable string or a truth value in JSON is TOML too.
        lines = (f"{key} = {json.dumps(value)}" for key, value in self.to_json().items())
        return "\n".join(["[[publishers]]", *lines])
